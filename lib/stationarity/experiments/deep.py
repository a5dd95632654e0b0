"""Does a deep network obey? (chapter 12): small nets followed along Hessian modes."""
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ModeStudy:
    """Settings of replicas that branch from a trained net and are followed by mode."""

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlp; none: softmax regression
    batch_size: int
    learning_rate: float
    burn_in: int  # steps of the one net before the replicas branch
    averaged: int  # last of them, whose mean weights are the reference of the Hessian
    steps: int  # of every replica, of which all but the first ``discarded`` count
    discarded: int
    replicas: int
    examples: int = 0  # training examples; 0: all
    label_noise: float = 0.0  # part of the training examples that get a wrong label
    momentum: float = 0.0
    weight_decay: float = 0.0
    reshuffled: bool = False  # epochs without replacement instead of independent draws
    modes: int = 30  # top eigenpairs of the Hessian
    random_directions: int = 16  # random ones, orthogonal to these
    points: int = 8  # reference points of each replica
    draws: int = 32  # of the noise, for the spectrum of the rest
    nodes: int = 25  # of that spectrum, for each draw
    measure_every: int = 1000  # steps between losses
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


_SOFTMAX = ModeStudy(
    dataset="digits", hidden=(), batch_size=128, learning_rate=0.02, burn_in=8000,
    averaged=4000, steps=9000, discarded=1000, replicas=16, label_noise=0.15, momentum=0.9,
    weight_decay=5e-3, threads=1,
)  # fmt: skip
_CIFAR = ModeStudy(
    dataset="cifar10", examples=10000, hidden=(), batch_size=128, learning_rate=0.02,
    burn_in=200000, averaged=20000, steps=60000, discarded=10000, replicas=32,
    label_noise=0.15, momentum=0.9, weight_decay=5e-3, measure_every=10000,
)  # fmt: skip
_REGRESSION = {
    "classroom": _SOFTMAX,
    "two-cores": replace(
        _SOFTMAX, burn_in=200000, steps=60000, discarded=10000, replicas=32, measure_every=5000
    ),
    "single-gpu": _CIFAR,
    "paper": replace(
        _CIFAR, examples=0, burn_in=1000000, steps=200000, label_noise=0.0, draws=8
    ),
}  # fmt: skip


def _of_all_scales(**changes) -> dict[str, ModeStudy]:
    return {scale: replace(settings, **changes) for scale, settings in _REGRESSION.items()}


_MLP = _of_all_scales(hidden=(32,), weight_decay=2e-3)

DEEP = {
    "deep_modes": _MLP | {
        "classroom": replace(_MLP["classroom"], burn_in=40000),
        "single-gpu": replace(_MLP["single-gpu"], hidden=(64,)),
        "paper": replace(_MLP["paper"], hidden=(512, 512), weight_decay=5e-4),
    },
    "convex_modes": _REGRESSION,
    "reshuffled_modes": _of_all_scales(reshuffled=True),
}  # fmt: skip
