"""Two stories about training (chapter 1)."""

from typing import ClassVar, Self

from pydantic import model_validator

from ...runs.settings import Count, Drops, NotNegative, Positives, Settings, Share, register
from ...theory.discrete import check_stable
from ...train.settings import AtLeastTwo, Training


class NoisyQuadratic(Settings):
    """Settings of an ensemble of SGD trajectories on noisy quadratics."""

    study: ClassVar[str] = "chapters.ch01_two_stories.study:ensemble"

    curvatures: Positives  # eigenvalues of the Hessian
    noise_variance: NotNegative  # of the gradient, in each direction
    learning_rates: Positives
    steps: Count
    trajectories: AtLeastTwo
    drops: Drops = ()  # steps at which the learning rate is divided by 10
    start: float = 1.0  # initial distance from the minimum in each direction
    momentum: Share = 0.0
    total_steps = property(lambda self: self.trajectories * self.steps)

    @model_validator(mode="after")
    def _stable(self) -> Self:
        check_stable(self.curvatures, self.learning_rates, self.momentum)
        return self


QUADRATIC = NoisyQuadratic(
    curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
    steps=2000, trajectories=5000, start=3.0,
)  # fmt: skip
DROPS = QUADRATIC.but(learning_rates=(0.4,), steps=4000, drops=(500, 1500))
GPU, PAPER = dict(trajectories=20000), dict(trajectories=100000)
LONG = dict(steps=8000)
register("noisy_quadratic", QUADRATIC, single_gpu=GPU | LONG, paper=PAPER | LONG)
register("noisy_quadratic_drops", DROPS, single_gpu=GPU, paper=PAPER)
CIFAR = dict(dataset="cifar10", learning_rate=0.1, threads=0)
register(
    "full_batch",
    Training(
        dataset="digits", model="mlp", epochs=4000, batch_size=1437, learning_rate=0.5,
        hidden=(32,), weight_decay=0.002, precision="float64", threads=1, measure_every=100,
        measure_on="partition", sharpness_batches=1,
    ),
    two_cores=CIFAR | dict(
        epochs=20000, batch_size=1000, examples=1000, measure_every=500, threads=1,
    ),
    single_gpu=CIFAR | dict(
        epochs=20000, batch_size=5000, examples=5000, hidden=(256,), measure_every=500,
    ),
    paper=CIFAR | dict(epochs=100000, batch_size=50000, hidden=(1024,), measure_every=1000),
)  # fmt: skip
