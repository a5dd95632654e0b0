"""What theory predicts of SGD around a minimum, in NumPy.

:mod:`~stationarity.theory.discrete` is exact for SGD on noisy quadratics,
:mod:`~stationarity.theory.continuous` its Langevin equation,
:mod:`~stationarity.theory.modes` what the exact one says of modes that are measured,
and :mod:`~stationarity.theory.simulation` draws ensembles of trajectories.
"""

from .continuous import damping, limiting_covariance, propagator
from .discrete import (
    check_stable,
    decay,
    displacement_squared,
    moments,
    oscillation,
    stationary_covariance,
    transition,
)

__all__ = [
    "check_stable",
    "damping",
    "decay",
    "displacement_squared",
    "limiting_covariance",
    "moments",
    "oscillation",
    "propagator",
    "stationary_covariance",
    "transition",
]
