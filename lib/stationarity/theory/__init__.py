"""The limiting dynamics of SGD: theory in closed form, and simulation.

:mod:`~stationarity.theory.discrete` is exact for SGD on noisy quadratics,
:mod:`~stationarity.theory.continuous` its Langevin equation,
:mod:`~stationarity.theory.simulation` draws ensembles of trajectories, and
:mod:`~stationarity.chapters.ch10_langevin.minibatches` is exact for linear regression on true
minibatches.
"""

from ..chapters.ch10_langevin import minibatches
from ..chapters.ch10_langevin.minibatches import (
    LeastSquares,
    displacement_from_moments,
    least_squares,
    minibatch_moments,
    noise_of_example,
)
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
    "LeastSquares",
    "check_stable",
    "continuous",
    "damping",
    "decay",
    "diffusion",
    "discrete",
    "displacement_from_moments",
    "displacement_squared",
    "drift",
    "largest_stable_learning_rate",
    "least_squares",
    "limiting_covariance",
    "minibatch_moments",
    "moments",
    "noise_covariance",
    "noise_of_example",
    "oscillation",
    "propagator",
    "regression",
    "simulate",
    "simulation",
    "stationary_covariance",
    "transition",
]
