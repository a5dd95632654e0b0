"""Two stories about training (chapter 1)."""

from typing import ClassVar, Self

from pydantic import model_validator

from ...runs.settings import Count, NotNegative, Settings, Share, register
from ...theory.discrete import check_stable
from ...train.settings import AtLeastTwo, Training


class NoisyQuadratic(Settings):
    """Settings of an ensemble of SGD trajectories on noisy quadratics."""

    study: ClassVar[str] = "chapters.ch01_two_stories.study:ensemble"

    curvatures: tuple[float, ...]  # eigenvalues of the Hessian
    noise_variance: NotNegative  # of the gradient, in each direction
    learning_rates: tuple[float, ...]
    steps: Count
    trajectories: AtLeastTwo
    drops: tuple[int, ...] = ()  # steps at which the learning rate is divided by 10
    start: float = 1.0  # initial distance from the minimum in each direction
    momentum: Share = 0.0

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_stable(self.curvatures, self.learning_rates, self.momentum)
        return self


QUADRATIC = NoisyQuadratic(
    curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
    steps=2000, trajectories=5000, start=3.0,
)  # fmt: skip
register(
    "noisy_quadratic", QUADRATIC, single_gpu=dict(steps=8000, trajectories=20000),
    paper=dict(steps=8000, trajectories=100000),
)  # fmt: skip
register(
    "noisy_quadratic_drops",
    QUADRATIC.but(learning_rates=(0.4,), steps=4000, drops=(500, 1500)),
    single_gpu=dict(trajectories=20000),
    paper=dict(trajectories=100000),
)
register(
    "full_batch",
    Training(
        dataset="digits", model="mlp", epochs=4000, batch_size=1437, learning_rate=0.5,
        hidden=(32,), weight_decay=0.002, precision="float64", threads=1, measure_every=100,
        measure_on="partition", sharpness_batches=1,
    ),
    single_gpu=dict(
        dataset="cifar10", epochs=20000, batch_size=5000, learning_rate=0.1, examples=5000,
        hidden=(256,), threads=0, measure_every=500,
    ),
    paper=dict(
        dataset="cifar10", epochs=100000, batch_size=50000, learning_rate=0.1, hidden=(1024,),
        threads=0, measure_every=1000,
    ),
)  # fmt: skip
