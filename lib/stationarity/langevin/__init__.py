"""The limiting dynamics of SGD: theory in closed form, and simulation.

:mod:`~stationarity.langevin.discrete` is exact for SGD on noisy quadratics,
:mod:`~stationarity.langevin.continuous` its Langevin equation, and
:mod:`~stationarity.langevin.simulation` draws ensembles of trajectories.
"""

from . import continuous, discrete, simulation
from .continuous import damping, diffusion, drift, limiting_covariance, propagator
from .discrete import (
    check_stable,
    decay,
    displacement_squared,
    largest_stable_learning_rate,
    moments,
    noise_covariance,
    oscillation,
    stationary_covariance,
    transition,
)
from .simulation import simulate

__all__ = [
    "check_stable",
    "continuous",
    "damping",
    "decay",
    "diffusion",
    "discrete",
    "displacement_squared",
    "drift",
    "largest_stable_learning_rate",
    "limiting_covariance",
    "moments",
    "noise_covariance",
    "oscillation",
    "propagator",
    "simulate",
    "simulation",
    "stationary_covariance",
    "transition",
]
