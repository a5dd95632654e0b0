"""Does a deep network obey? (chapter 12): small nets followed along Hessian modes."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ...errors import UsageError
from ...runs.settings import Count, Whole, register
from ...train.settings import AtLeastTwo, SmallNet


class ModeStudy(SmallNet):
    """Settings of replicas that branch from a trained net and are followed by mode."""

    study: ClassVar[str] = "chapters.ch12_deep_network.study:followed_modes"
    paper_run: ClassVar[str] = "continued"  # that these nets would be models of

    side: Whole = 0  # pixels a side that images are averaged down to; 0: as they are
    burn_in: Whole  # steps of the one net before the replicas branch
    averaged: Count  # last of them, whose mean weights are the reference of the Hessian
    steps: Count  # of every replica, of which all but the first ``discarded`` count
    discarded: Whole
    replicas: Annotated[Count, Field(ge=4, multiple_of=2)]  # pairs of them are compared
    reshuffled: bool = False  # epochs without replacement instead of independent draws
    modes: Count = 30  # top eigenpairs of the Hessian
    random_directions: Count = 16  # random ones, orthogonal to these
    points: Count = 8  # reference points of each replica
    draws: AtLeastTwo = 32  # of the noise, for the spectrum of the rest
    nodes: Count = 25  # of that spectrum, for each draw
    measure_every: Count = 1000  # steps between losses

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.averaged > self.burn_in:
            raise UsageError("The setting averaged must be at most burn_in.")
        if self.steps - self.discarded < 16 * self.points:
            raise UsageError(
                f"Of {self.steps} steps {self.discarded} are discarded, too many for "
                f"{self.points} reference points: raise steps."
            )
        return self

    sampling = property(lambda self: "reshuffled" if self.reshuffled else "independent")
    # The rate, and the steps for which a replica is followed.
    spans = property(lambda self: [(self.learning_rate, self.steps - self.discarded)])
    total_steps = property(lambda self: self.burn_in + self.replicas * self.steps)


_DEEP = ModeStudy(
    dataset="digits", hidden=(32,), batch_size=128, learning_rate=0.02, burn_in=40000,
    averaged=4000, steps=9000, discarded=1000, replicas=16, label_noise=0.15, momentum=0.9,
    weight_decay=0.002, threads=1,
)  # fmt: skip
_CONVEX = _DEEP.but(hidden=(), burn_in=8000, weight_decay=0.005)
_TWO_CORES = dict(
    dataset="cifar10", side=4, examples=1408, burn_in=200000, steps=60000, discarded=10000,
    replicas=32, measure_every=5000,
)  # fmt: skip
_SINGLE_GPU = _TWO_CORES | dict(
    side=0, averaged=20000, examples=10000, measure_every=10000, threads=0,
)  # fmt: skip
_PAPER = _SINGLE_GPU | dict(examples=0, burn_in=1000000, steps=200000, label_noise=0.0, draws=8)
_scales = dict(two_cores=_TWO_CORES, single_gpu=_SINGLE_GPU, paper=_PAPER)
register(
    "deep_modes",
    _DEEP,
    two_cores=_TWO_CORES,
    single_gpu=_SINGLE_GPU | dict(hidden=(64,)),
    paper=_PAPER | dict(hidden=(512, 512), weight_decay=0.0005),
)
register("convex_modes", _CONVEX, **_scales)
register("reshuffled_modes", _CONVEX.but(reshuffled=True), **_scales)
