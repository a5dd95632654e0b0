"""Modified loss and probability currents (chapter 11): ensembles in phase space."""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from ...errors import UsageError
from ...runs.settings import Count, Positive, Settings, Share, Whole, register
from ...stats.modes import FEW, LAGS
from ...train.settings import SmallImages

NOISES = ("noise like the Hessian", "isotropic noise")


class Ensembles(Settings):
    """What the settings of ensembles in phase space have."""

    learning_rate: Positive
    trajectories: Count
    burn_in: Whole  # steps from the minimum, before anything is recorded
    steps: Count  # recorded
    lags: Count  # largest lag of a rotation
    segment: Count  # steps that a spectrum is taken over
    total_steps = property(lambda self: self.trajectories * (self.burn_in + self.steps))

    @model_validator(mode="after")
    def _enough(self) -> Self:
        needed = max(2 * LAGS, self.lags + 1, self.segment)
        if self.steps < needed:
            raise UsageError(
                f"The setting steps must be at least {needed}, for the lags and the segment."
            )
        if len(self.modes) < 2:
            raise UsageError("Temperatures are compared between modes: give at least two.")
        return self


class PhaseSpace(Ensembles):
    """Settings of SGD on a quadratic, with two kinds of Gaussian gradient noise."""

    study: ClassVar[str] = "chapters.ch11_modified_loss.study:phase_space"

    curvatures: tuple[Positive, ...]  # eigenvalues of the Hessian, descending
    momentum: Share
    trajectories: Annotated[Count, Field(ge=FEW)]  # as many as an error needs
    noise: Positive  # variance of the gradient over the curvature (of noise like the Hessian)

    @property
    def modes(self) -> range:
        return range(len(self.curvatures))

    @property
    def ensembles(self) -> dict[str, float]:
        """What rows are of: each kind of noise, with the momentum."""
        return dict.fromkeys(NOISES, self.momentum)


class MinibatchCurrents(Ensembles):
    """Settings of true minibatch SGD on a linear regression of one-hot labels."""

    study: ClassVar[str] = "chapters.ch11_modified_loss.study:minibatch_currents"

    dataset: SmallImages
    examples: Whole  # 0: all
    side: Whole = 0  # pixels a side that images are averaged down to; 0: as they are
    batch_size: Count  # drawn with replacement
    momenta: tuple[Share, ...]  # one ensemble for each
    modes: tuple[Whole, ...]  # eigenvectors of the Hessian that are followed

    @property
    def ensembles(self) -> dict[str, float]:
        """What rows are of, each with its momentum."""
        return {f"momentum {beta:g}": beta for beta in self.momenta}


register(
    "phase_space",
    PhaseSpace(
        curvatures=(10.0, 2.0, 0.5, 0.1, 0.0263, 0.008), learning_rate=0.1, momentum=0.9,
        noise=1.0, trajectories=300, burn_in=1000, steps=4096, lags=60, segment=1024,
        threads=1,
    ),
    two_cores=dict(trajectories=1000, steps=8192, segment=2048),
    single_gpu=dict(trajectories=500, steps=8192, segment=2048),
    paper=dict(trajectories=1000, steps=8192, segment=2048),
)  # fmt: skip
# The authors' linear regression, at the scale paper with its three momenta.
AUTHORS = dict(dataset="cifar10", batch_size=512, learning_rate=1e-05, threads=0)
register(
    "minibatch_currents",
    MinibatchCurrents(
        dataset="digits", examples=0, batch_size=128, learning_rate=0.02, momenta=(0.9,),
        modes=(0, 1, 3, 6, 10, 20, 30, 45), trajectories=24, burn_in=1000, steps=4096,
        lags=60, segment=1024, threads=1,
    ),
    # On few pixels, at the rate at which the top mode is as fast as on all.
    two_cores=AUTHORS | dict(
        examples=10000, side=8, batch_size=128, learning_rate=1.6e-4,
        modes=(0, 1, 2, 3, 5, 10), trajectories=64, burn_in=4000, steps=16384, lags=120,
        segment=2048,
    ),
    single_gpu=AUTHORS | dict(
        examples=10000, modes=(0, 1, 2, 3, 5, 10), trajectories=16, burn_in=4000,
        steps=16384, lags=120, segment=2048,
    ),
    paper=AUTHORS | dict(
        momenta=(0.9, 0.99, 0.999), modes=(0, 1, 2, 3, 5, 10, 20), trajectories=32,
        burn_in=20000, steps=65536, lags=240, segment=8192,
    ),
)  # fmt: skip
