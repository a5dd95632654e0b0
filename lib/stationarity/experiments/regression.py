"""SGD as an underdamped Langevin equation (chapter 10): linear regression."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Regression:
    """Settings of linear regression by SGD with momentum, from its start to stationarity.

    The i-th learning rate, momentum and batch size belong together.
    """

    images: str  # the inputs, with the target: is it of the first class? Empty: synthetic
    examples: int
    dimensions: int  # of synthetic inputs; images have their pixels
    exponent: float  # synthetic: the curvatures are i^-exponent
    label_noise: float  # synthetic: standard deviation of the targets about the line
    distance: float  # synthetic: root mean square of the start about the minimum
    learning_rates: tuple[float, ...]
    momenta: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    weight_decay: float
    steps: int  # from the start to the reference
    lags: int  # steps after the reference, whose displacement is measured
    trajectories: int  # with Gaussian noise
    minibatch_trajectories: int  # with true minibatches, of either sampling
    directions: int  # leading ones, whose moments are kept
    state_dependent: bool  # exact moments of minibatches: N D² operations a step
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


REGRESSION = {
    "linear_regression": {
        "classroom": Regression(
            images="", examples=1024, dimensions=20, exponent=1.5,
            label_noise=1.0, distance=0.3, learning_rates=(0.02, 0.1, 0.5, 0.05),
            momenta=(0.9, 0.0, 0.9, 0.9), batch_sizes=(32, 32, 32, 4), weight_decay=0.0,
            steps=1500, lags=1000, trajectories=10_000, minibatch_trajectories=2000,
            directions=20, state_dependent=True,
        ),
        "two-cores": Regression(
            images="cifar10", examples=10_240, dimensions=0, exponent=0.0,
            label_noise=0.0, distance=0.0, learning_rates=(1e-5, 1e-5, 1e-5),
            momenta=(0.9, 0.99, 0.999), batch_sizes=(128, 128, 128), weight_decay=0.0,
            steps=10_000, lags=10_000, trajectories=32, minibatch_trajectories=8,
            directions=30, state_dependent=False,
        ),
        "single-gpu": Regression(
            images="", examples=8192, dimensions=20, exponent=1.5,
            label_noise=1.0, distance=0.3, learning_rates=(0.02, 0.1, 0.5, 0.05),
            momenta=(0.9, 0.0, 0.9, 0.9), batch_sizes=(32, 32, 32, 4), weight_decay=0.0,
            steps=5000, lags=5000, trajectories=40_000, minibatch_trajectories=40_000,
            directions=20, state_dependent=True,
        ),
        "paper": Regression(
            images="cifar10", examples=50_000, dimensions=0, exponent=0.0,
            label_noise=0.0, distance=0.0, learning_rates=(1e-5, 1e-5, 1e-5),
            momenta=(0.9, 0.99, 0.999), batch_sizes=(512, 512, 512), weight_decay=0.0,
            steps=50_000, lags=50_000, trajectories=100, minibatch_trajectories=8,
            directions=30, state_dependent=False,
        ),
    },
}  # fmt: skip
