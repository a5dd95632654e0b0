"""Modified loss and probability currents (chapter 11): ensembles in phase space.

``minibatch_currents`` at the scale ``paper`` has the settings of the authors' linear
regression: CIFAR-10, its learning rate, batch size and three momenta.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class PhaseSpace:
    """Settings of SGD on a quadratic, with two kinds of Gaussian gradient noise."""

    curvatures: tuple[float, ...]  # eigenvalues of the Hessian, descending
    learning_rate: float
    momentum: float
    noise: float  # variance of the gradient over the curvature (of noise like the Hessian)
    trajectories: int
    burn_in: int  # steps from the minimum, before anything is recorded
    steps: int  # recorded
    lags: int  # largest lag of a rotation
    segment: int  # steps that a spectrum is taken over
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


@dataclass(frozen=True)
class MinibatchCurrents:
    """Settings of true minibatch SGD on a linear regression of one-hot labels."""

    dataset: str
    examples: int  # 0: all
    batch_size: int  # drawn with replacement
    learning_rate: float
    momenta: tuple[float, ...]  # one ensemble for each
    modes: tuple[int, ...]  # eigenvectors of the Hessian that are followed, 0 the first
    trajectories: int
    burn_in: int
    steps: int
    lags: int
    segment: int
    threads: int = 0
    seed: int = 0


CURRENTS = {
    # From far beyond critical damping (of the curvature 0.0263) to far below.
    "phase_space": {
        "classroom": PhaseSpace(
            curvatures=(10.0, 2.0, 0.5, 0.1, 0.0263, 0.008), learning_rate=0.1,
            momentum=0.9, noise=1.0, trajectories=300, burn_in=1000, steps=4096,
            lags=60, segment=1024, threads=1,
        ),
        "single-gpu": PhaseSpace(
            curvatures=(10.0, 2.0, 0.5, 0.1, 0.0263, 0.008), learning_rate=0.1,
            momentum=0.9, noise=1.0, trajectories=500, burn_in=1000, steps=8192,
            lags=60, segment=2048, threads=1,
        ),
        "paper": PhaseSpace(
            curvatures=(10.0, 2.0, 0.5, 0.1, 0.0263, 0.008), learning_rate=0.1,
            momentum=0.9, noise=1.0, trajectories=1000, burn_in=1000, steps=8192,
            lags=60, segment=2048, threads=1,
        ),
    },
    "minibatch_currents": {
        "classroom": MinibatchCurrents(
            dataset="digits", examples=0, batch_size=128, learning_rate=0.02,
            momenta=(0.9,), modes=(0, 1, 3, 6, 10, 20, 30, 45), trajectories=24,
            burn_in=1000, steps=4096, lags=60, segment=1024, threads=1,
        ),
        "single-gpu": MinibatchCurrents(
            dataset="cifar10", examples=10000, batch_size=512, learning_rate=1e-5,
            momenta=(0.9,), modes=(0, 1, 2, 3, 5, 10), trajectories=16,
            burn_in=4000, steps=16384, lags=120, segment=2048,
        ),
        "paper": MinibatchCurrents(
            dataset="cifar10", examples=0, batch_size=512, learning_rate=1e-5,
            momenta=(0.9, 0.99, 0.999), modes=(0, 1, 2, 3, 5, 10, 20), trajectories=32,
            burn_in=20000, steps=65536, lags=240, segment=8192,
        ),
    },
}  # fmt: skip
