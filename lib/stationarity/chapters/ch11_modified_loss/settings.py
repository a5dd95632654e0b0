"""Modified loss and probability currents (chapter 11): ensembles in phase space.

``minibatch_currents`` at the scale ``paper`` has the settings of the authors' linear
regression: CIFAR-10, its learning rate, batch size and three momenta.
"""

from typing import ClassVar

from ...runs.settings import Count, Positive, Settings, Share, Whole, register


class PhaseSpace(Settings):
    """Settings of SGD on a quadratic, with two kinds of Gaussian gradient noise."""

    study: ClassVar[str] = "chapters.ch11_modified_loss.study:phase_space"

    curvatures: tuple[float, ...]  # eigenvalues of the Hessian, descending
    learning_rate: Positive
    momentum: Share
    noise: float  # variance of the gradient over the curvature (of noise like the Hessian)
    trajectories: Count
    burn_in: Whole  # steps from the minimum, before anything is recorded
    steps: Count  # recorded
    lags: Count  # largest lag of a rotation
    segment: Count  # steps that a spectrum is taken over


class MinibatchCurrents(Settings):
    """Settings of true minibatch SGD on a linear regression of one-hot labels."""

    study: ClassVar[str] = "chapters.ch11_modified_loss.minibatches:minibatch_currents"

    dataset: str
    examples: Whole  # 0: all
    batch_size: Count  # drawn with replacement
    learning_rate: Positive
    momenta: tuple[float, ...]  # one ensemble for each
    modes: tuple[int, ...]  # eigenvectors of the Hessian that are followed, 0 the first
    trajectories: Count
    burn_in: Whole
    steps: Count
    lags: Count
    segment: Count


register(
    "phase_space",
    PhaseSpace(
        curvatures=(10.0, 2.0, 0.5, 0.1, 0.0263, 0.008), learning_rate=0.1, momentum=0.9,
        noise=1.0, trajectories=300, burn_in=1000, steps=4096, lags=60, segment=1024,
        threads=1,
    ),
    single_gpu=dict(trajectories=500, steps=8192, segment=2048),
    paper=dict(trajectories=1000, steps=8192, segment=2048),
)  # fmt: skip
register(
    "minibatch_currents",
    MinibatchCurrents(
        dataset="digits", examples=0, batch_size=128, learning_rate=0.02, momenta=(0.9,),
        modes=(0, 1, 3, 6, 10, 20, 30, 45), trajectories=24, burn_in=1000, steps=4096,
        lags=60, segment=1024, threads=1,
    ),
    single_gpu=dict(
        dataset="cifar10", examples=10000, batch_size=512, learning_rate=1e-05,
        modes=(0, 1, 2, 3, 5, 10), trajectories=16, burn_in=4000, steps=16384, lags=120,
        segment=2048, threads=0,
    ),
    paper=dict(
        dataset="cifar10", batch_size=512, learning_rate=1e-05, momenta=(0.9, 0.99, 0.999),
        modes=(0, 1, 2, 3, 5, 10, 20), trajectories=32, burn_in=20000, steps=65536, lags=240,
        segment=8192, threads=0,
    ),
)  # fmt: skip
