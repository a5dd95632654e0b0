"""SGD as an underdamped Langevin equation (chapter 10): linear regression."""

from typing import ClassVar

from ...runs.settings import Count, NotNegative, Settings, Whole, register


class Regression(Settings):
    """Settings of linear regression by SGD with momentum, from its start to stationarity.

    The i-th learning rate, momentum and batch size belong together.
    """

    study: ClassVar[str] = "chapters.ch10_langevin.study:linear_regression"

    images: str  # the inputs, with the target: is it of the first class? Empty: synthetic
    examples: Whole
    dimensions: Whole  # of synthetic inputs; images have their pixels
    exponent: float  # synthetic: the curvatures are i^-exponent
    label_noise: NotNegative  # synthetic: standard deviation of the targets about the line
    distance: float  # synthetic: root mean square of the start about the minimum
    learning_rates: tuple[float, ...]
    momenta: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    weight_decay: NotNegative
    steps: Count  # from the start to the reference
    lags: Count  # steps after the reference, whose displacement is measured
    trajectories: Count  # with Gaussian noise
    minibatch_trajectories: Count  # with true minibatches, of either sampling
    directions: Count  # leading ones, whose moments are kept
    state_dependent: bool  # exact moments of minibatches: N D² operations a step


register(
    "linear_regression",
    Regression(
        images="", examples=1024, dimensions=20, exponent=1.5, label_noise=1.0, distance=0.3,
        learning_rates=(0.02, 0.1, 0.5, 0.05), momenta=(0.9, 0.0, 0.9, 0.9),
        batch_sizes=(32, 32, 32, 4), weight_decay=0.0, steps=1500, lags=1000,
        trajectories=10000, minibatch_trajectories=2000, directions=20, state_dependent=True,
    ),
    two_cores=dict(
        images="cifar10", examples=10240, dimensions=0, exponent=0.0, label_noise=0.0,
        distance=0.0, learning_rates=(1e-05, 1e-05, 1e-05), momenta=(0.9, 0.99, 0.999),
        batch_sizes=(128, 128, 128), steps=10000, lags=10000, trajectories=32,
        minibatch_trajectories=8, directions=30, state_dependent=False,
    ),
    single_gpu=dict(
        examples=8192, steps=5000, lags=5000, trajectories=40000,
        minibatch_trajectories=40000,
    ),
    paper=dict(
        images="cifar10", examples=50000, dimensions=0, exponent=0.0, label_noise=0.0,
        distance=0.0, learning_rates=(1e-05, 1e-05, 1e-05), momenta=(0.9, 0.99, 0.999),
        batch_sizes=(512, 512, 512), steps=50000, lags=50000, trajectories=100,
        minibatch_trajectories=8, directions=30, state_dependent=False,
    ),
)  # fmt: skip
