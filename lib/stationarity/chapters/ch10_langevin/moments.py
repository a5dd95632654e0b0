"""Mean, covariance and displacement from any start, by two theories of constant noise.

Directions of curvature h and gradient noise of variance s a step, as in
:mod:`stationarity.theory`, in arrays of any shape (...); states are (position,
velocity). Source: our section "A quadratic is solved exactly".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...theory import discrete
from ...theory.continuous import damping, limiting_covariance, propagator


class Theory(NamedTuple):
    """How a theory moves a mean in some steps, and the covariance B that it tends to."""

    propagator: Callable  # (steps, curvature, learning_rate, momentum) -> (K, ..., 2, 2)
    stationary: Callable  # (curvature, learning_rate, noise, momentum) -> (..., 2, 2)

    def mean_at(self, steps, curvature, learning_rate, momentum, *, start) -> NDArray:
        """Return the mean after ``steps`` (K,), (K, ..., 2), from ``start`` (..., 2)."""
        matrix = self.propagator(steps, curvature, learning_rate, momentum)
        return (matrix @ np.asarray(start, float)[..., None])[..., 0]

    def covariance_at(self, steps, curvature, rate, noise, momentum, *, start=0.0) -> NDArray:
        """Return the covariance after ``steps`` (K,), (K, ..., 2, 2).

        It is ``B − P (B − start) Pᵀ`` with the propagator P. Its rounding error is
        relative to B.
        """
        limit = self.stationary(curvature, rate, noise, momentum)
        matrix = self.propagator(steps, curvature, rate, momentum)
        return limit - matrix @ (limit - start) @ matrix.swapaxes(-1, -2)


def _powers(steps, curvature, learning_rate, momentum) -> NDArray:
    """Return the powers ``M^k`` of the matrix of one step of SGD, (K, ..., 2, 2)."""
    matrix = discrete.transition(curvature, learning_rate, momentum)[..., None, :, :]
    return discrete.iterate(matrix, np.zeros(2), np.eye(2), steps).swapaxes(-1, -2)


LANGEVIN = Theory(propagator, limiting_covariance)
EXACT = Theory(_powers, discrete.stationary_covariance)


def limiting_displacement(
    lags: ArrayLike, curvature: ArrayLike, rate: float, noise: ArrayLike, momentum: float
) -> NDArray:
    """Return E (θ_{t+ηk} − θ_t)² of the stationary Langevin equation, (len(lags), ...).

    It is ``2 V (1 − r(ηk))``, with the variance V and the autocorrelation r of the
    position: ballistic, E v² (ηk)², at first, and 2 V in the end. Short lags do not cancel.

    >>> limiting_displacement([1, 1000], 1.0, 0.5, 3.0, 0.0).round(3)
    array([0.396, 1.5  ])
    """
    limit = limiting_covariance(curvature, rate, noise, momentum)
    friction, natural, *_ = damping(curvature, rate, momentum)
    root = np.sqrt(((friction - natural) * (friction + natural)).astype(complex))  # iν
    slow = natural**2 / (friction + root)  # γ − iν, without cancellation
    sine = propagator(lags, curvature, rate, momentum)[..., 0, 1]
    times = rate * np.reshape(lags, (-1, *[1] * np.ndim(friction)))
    # As r = e^{−slow t} + slow e^{−γt} sin νt / ν.
    return 2 * limit[..., 0, 0] * (-np.expm1(-slow * times) - slow * sine).real


def velocity_sum_squared(
    lags: ArrayLike, curvature: ArrayLike, rate: float, noise: ArrayLike, momentum: float
) -> NDArray:
    """Return the same displacement by velocity correlations (Green-Kubo), (len(lags), ...).

    ``η² E v² [k + 2 Σ_{0<j<k} (k − j) C(ηj)]`` for whole ``lags`` k sums the steps
    η v with the continuous autocorrelation C of the velocity. The sum is a
    trapezoidal rule for an integral that vanishes: its error leaves a slope of
    (1 − β) / (3 (1 + β)) times η² E v² a step, so that the sum is of no use at large k.

    >>> velocity_sum_squared([0, 1], 1.0, 0.5, 3.0, 0.0)
    array([0.  , 0.75])
    """
    limit = limiting_covariance(curvature, rate, noise, momentum)
    every = np.arange(np.max(lags) + 1)
    correlation = propagator(every, curvature, rate, momentum)[..., 1, 1]
    slope = 2 * np.cumsum(correlation, 0) - 1  # 1 + 2 Σ_{0<j≤k} C, from k to k + 1
    summed = np.cumsum(slope, 0) - slope
    return rate**2 * limit[..., 1, 1] * summed[lags]
