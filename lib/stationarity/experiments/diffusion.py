"""Anomalous diffusion (chapter 9): nets followed after their loss has settled."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DiffusionStudy:
    """Settings of small nets that settle, and go on with settings varied one at a time."""

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlps; none: a convex loss
    batch_size: int
    learning_rate: float
    settle: int  # steps at these settings before anything else
    longest: int  # the longest lag, in steps
    members: int  # independent initial weights and minibatches
    learning_rates: tuple[
        float, ...
    ] = ()  # with which the nets go on, beside the above
    batch_sizes: tuple[int, ...] = ()
    momenta: tuple[float, ...] = ()
    weight_decays: tuple[float, ...] = ()
    reshuffled: bool = False  # go on with reshuffled epochs, too
    burn_in: int = (
        0  # steps of everything that goes on, before its first reference point
    )
    references: int = 2  # reference points of each trajectory
    spacing: int = 0  # steps between them; 0: the longest lag
    branches: int = 0  # replicas of each settled net, that differ in their minibatches
    examples: int = 0  # training examples; 0: all
    label_noise: float = 0.0  # part of the training examples that get a wrong label
    momentum: float = 0.0
    weight_decay: float = 0.0
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


@dataclass(frozen=True)
class WalkStudy:
    """Settings of processes whose displacement is known, and of the fits on them."""

    members: int  # trajectories of an ensemble
    dimensions: int
    longest: int  # the longest lag, in steps
    references: int = 2  # reference points of each trajectory, a longest lag apart
    replicates: int = 400  # ensembles of each process
    hurst: tuple[float, ...] = (0.35, 0.7)  # of fractional Brownian motion
    drift: float = 0.08  # of each coordinate, in a step
    relaxation: float = 20.0  # steps, of the Ornstein-Uhlenbeck process
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


DIFFUSION = {
    "diffusion": {
        "classroom": DiffusionStudy(
            dataset="digits", hidden=(32,), batch_size=32, learning_rate=0.02,
            settle=30000, longest=4096, members=6, learning_rates=(0.002, 0.006, 0.06),
            batch_sizes=(8, 128), momenta=(0.0, 0.7, 0.97), weight_decays=(0.0, 5e-4, 8e-3),
            reshuffled=True, burn_in=3000, spacing=2048, branches=8, label_noise=0.15,
            momentum=0.9, weight_decay=2e-3, threads=1,
        ),
        "two-cores": DiffusionStudy(
            dataset="digits", hidden=(32,), batch_size=32, learning_rate=0.02,
            settle=500000, longest=65536, members=6, learning_rates=(0.002, 0.006, 0.06),
            batch_sizes=(8, 128), momenta=(0.0, 0.7, 0.97), weight_decays=(0.0, 5e-4, 8e-3),
            reshuffled=True, burn_in=65536, branches=8, label_noise=0.15,
            momentum=0.9, weight_decay=2e-3, threads=1,
        ),
        "single-gpu": DiffusionStudy(
            dataset="cifar10", examples=10000, hidden=(64,), batch_size=64,
            learning_rate=0.01, settle=200000, longest=32768, members=8,
            learning_rates=(0.001, 0.003, 0.03), batch_sizes=(16, 256),
            momenta=(0.0, 0.7, 0.97), weight_decays=(0.0, 5e-4, 8e-3), reshuffled=True,
            burn_in=32768, branches=8, label_noise=0.15, momentum=0.9, weight_decay=2e-3,
        ),
        "paper": DiffusionStudy(
            dataset="cifar10", hidden=(512, 512), batch_size=256, learning_rate=0.01,
            settle=500000, longest=131072, members=8, learning_rates=(0.001, 0.003, 0.03),
            batch_sizes=(32, 1024), momenta=(0.8, 0.99), weight_decays=(0.0, 5e-5, 5e-3),
            reshuffled=True, burn_in=131072, branches=8, momentum=0.9, weight_decay=5e-4,
        ),
    },
    "diffusion_convex": {
        "classroom": DiffusionStudy(
            dataset="digits", hidden=(), batch_size=32, learning_rate=0.02, settle=8000,
            longest=4096, members=12, label_noise=0.15, momentum=0.9, weight_decay=2e-2,
            threads=1,
        ),
        "single-gpu": DiffusionStudy(
            dataset="cifar10", examples=10000, hidden=(), batch_size=64,
            learning_rate=0.0005, settle=200000, longest=65536, members=8,
            label_noise=0.15, momentum=0.9, weight_decay=2e-2,
        ),
        "paper": DiffusionStudy(
            dataset="cifar10", hidden=(), batch_size=256, learning_rate=0.0005,
            settle=500000, longest=131072, members=8, momentum=0.9, weight_decay=2e-2,
        ),
    },
    "walks": {
        "classroom": WalkStudy(members=6, dimensions=20, longest=192, replicates=300, threads=1),
        "single-gpu": WalkStudy(members=6, dimensions=20, longest=192, replicates=1000),
        "paper": WalkStudy(members=6, dimensions=20, longest=192, replicates=2000),
    },
}  # fmt: skip
