"""SGD as an underdamped Langevin equation (chapter 10): linear regression."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ...errors import UsageError
from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register
from ...train.settings import AtLeastTwo


class Regression(Settings):
    """Settings of linear regression by SGD with momentum, from its start to stationarity.

    The i-th learning rate, momentum and batch size belong together.
    """

    study: ClassVar[str] = "chapters.ch10_langevin.study:linear_regression"

    images: Literal["", "digits", "cifar10"]  # the inputs; the target: of the first class?
    examples: Count
    side: Whole = 0  # pixels a side that images are averaged down to; 0: as they are
    dimensions: Whole  # of synthetic inputs, where there are no images
    exponent: float  # synthetic: the curvatures are i^-exponent
    label_noise: NotNegative  # synthetic: standard deviation of the targets about the line
    distance: float  # synthetic: root mean square of the start about the minimum
    learning_rates: tuple[Positive, ...]
    momenta: tuple[Share, ...]
    batch_sizes: tuple[Count, ...]
    weight_decay: NotNegative
    steps: Count  # from the start to the reference
    lags: Count  # steps after the reference, whose displacement is measured
    trajectories: AtLeastTwo  # with Gaussian noise
    minibatch_trajectories: AtLeastTwo  # with true minibatches, of either sampling
    directions: Count  # leading ones, whose moments are kept
    state_dependent: bool  # exact moments of minibatches: N D² operations a step

    @property
    def triples(self) -> list[tuple[float, float, int]]:
        """The learning rates, momenta and batch sizes that belong together."""
        return list(zip(self.learning_rates, self.momenta, self.batch_sizes, strict=True))

    @model_validator(mode="after")
    def _possible(self) -> Self:
        counts = [len(part) for part in (self.learning_rates, self.momenta, self.batch_sizes)]
        if len(set(counts)) > 1 or not counts[0]:
            raise UsageError(
                "The settings learning_rates, momenta and batch_sizes belong together: give "
                f"equally many of each, not {', '.join(map(str, counts))}."
            )
        if max(self.batch_sizes) > self.examples:
            raise UsageError(
                f"A minibatch holds between 1 and all {self.examples} examples, not "
                f"{max(self.batch_sizes)}."
            )
        if not self.images and not 0 < self.dimensions < self.examples:
            raise UsageError(
                "The setting examples must exceed dimensions, which is positive: it is "
                f"{self.examples}, and dimensions is {self.dimensions}."
            )
        return self

    @property
    def total_steps(self) -> int:
        many = self.trajectories + 2 * self.minibatch_trajectories
        steps = len(self.triples) * (self.steps + self.lags)
        return many * steps * (self.dimensions or 3 * (self.side or 32) ** 2)  # of CIFAR-10


AUTHORS = dict(
    images="cifar10", dimensions=0, exponent=0.0, label_noise=0.0, distance=0.0,
    learning_rates=(1e-05, 1e-05, 1e-05), momenta=(0.9, 0.99, 0.999),
    minibatch_trajectories=8, directions=30, state_dependent=False,
)  # fmt: skip
register(
    "linear_regression",
    Regression(
        images="", examples=1024, dimensions=20, exponent=1.5, label_noise=1.0, distance=0.3,
        learning_rates=(0.02, 0.1, 0.5, 0.05), momenta=(0.9, 0.0, 0.9, 0.9),
        batch_sizes=(32, 32, 32, 4), weight_decay=0.0, steps=1500, lags=1000,
        trajectories=4000, minibatch_trajectories=2000, directions=20, state_dependent=True,
    ),
    # On few pixels: enough trajectories to judge. The smallest rate is the authors', in
    # relaxations of the top mode a step; the others are those of the synthetic inputs.
    two_cores=AUTHORS | dict(
        examples=4096, side=4, learning_rates=(6.6e-4, 7.5e-3, 0.0377, 0.00377),
        momenta=(0.9, 0.0, 0.9, 0.9), batch_sizes=(128, 32, 32, 4), steps=1500, lags=1000,
        minibatch_trajectories=4000, directions=8, state_dependent=True,
    ),
    single_gpu=dict(
        examples=8192, steps=5000, lags=5000, trajectories=40000,
        minibatch_trajectories=40000,
    ),
    paper=AUTHORS | dict(
        examples=50000, batch_sizes=(512,) * 3, steps=50000, lags=50000, trajectories=100,
    ),
)  # fmt: skip
