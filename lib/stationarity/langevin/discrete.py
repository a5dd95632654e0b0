"""SGD with momentum on noisy quadratics: the exact theory, in discrete time.

The model is SGD with heavy-ball momentum on a quadratic, one direction at a
time: curvature ``h``, learning rate ``η``, momentum ``β``, and in each step
independent gradient noise of mean zero and variance ``s``,

    v ← β v − (h θ + noise),    θ ← θ + η v.

The velocity ``v`` is minus PyTorch's momentum buffer. With weight decay λ,
``h`` is ρ + λ, where ρ is the curvature of the loss. Position and velocity
follow the linear recursion ``x ← M x + noise`` with ``M`` of
:func:`transition`, so their means and covariances are known exactly at every
step. Everything here is float64 and in the units of the problem. Book:
chapters 1 and 10.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError


def largest_stable_learning_rate(
    curvature: ArrayLike, momentum: float = 0.0
) -> NDArray:
    """Return ``2 (1 + β) / h``: learning rates below it are stable, others are not.

    Raises :class:`UsageError` where a curvature is not positive or the
    momentum lies outside [0, 1).

    >>> float(largest_stable_learning_rate(4.0))
    0.5
    """
    curvature = np.asarray(curvature, float)
    if not np.all(curvature > 0):
        raise UsageError(
            f"A curvature must be positive, not {curvature.min():g}: without it the "
            "quadratic has no minimum to settle around."
        )
    if not 0 <= momentum < 1:
        raise UsageError(f"The momentum must lie in [0, 1), not {momentum:g}.")
    return 2 * (1 + momentum) / curvature


def check_stable(curvature: ArrayLike, rates: ArrayLike, momentum: float = 0.0) -> None:
    """Raise :class:`UsageError` unless every rate is positive and stable."""
    limit = largest_stable_learning_rate(curvature, momentum)
    smallest, largest = np.min(rates), np.max(rates)
    if not smallest > 0:
        raise UsageError(f"A learning rate must be positive, not {smallest:g}.")
    if not np.all(np.asarray(rates)[..., None] < limit.ravel()):
        raise UsageError(
            f"The learning rate {largest:g} is too large: at curvature "
            f"{np.max(curvature):g} and momentum {momentum:g} the iterates stay "
            f"bounded only below 2 (1 + momentum) / curvature = {limit.min():g}."
        )


def transition(
    curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the matrices ``M`` of one step of (position, velocity), (..., 2, 2)."""
    curvature = np.asarray(curvature, float)
    matrix = np.empty((*curvature.shape, 2, 2))
    matrix[..., 0, 0] = 1 - learning_rate * curvature
    matrix[..., 0, 1] = learning_rate * momentum
    matrix[..., 1, 0] = -curvature
    matrix[..., 1, 1] = momentum
    return matrix


def noise_covariance(learning_rate: float, noise_variance: ArrayLike) -> NDArray:
    """Return the covariances that one step's noise adds, (..., 2, 2)."""
    direction = np.array([learning_rate, 1.0])
    noise_variance = np.asarray(noise_variance, float)
    return noise_variance[..., None, None] * np.outer(direction, direction)


def stationary_covariance(
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the exact stationary covariance of (position, velocity), (..., 2, 2).

    It solves ``C = M C Mᵀ + N``. The position's variance at momentum 0 is
    ``η s / (h (2 − η h))`` (book: chapter 1). Raises :class:`UsageError`
    where there is no stationary state.

    >>> stationary_covariance(1.0, 0.5, 3.0)[0, 0]
    np.float64(1.0)
    """
    check_stable(curvature, learning_rate, momentum)
    curvature, noise_variance = np.broadcast_arrays(
        np.asarray(curvature, float), np.asarray(noise_variance, float)
    )
    discrete = 1 / (1 - learning_rate * curvature / (2 * (1 + momentum)))
    velocity = discrete * noise_variance / (1 - momentum**2)
    covariance = np.empty((*curvature.shape, 2, 2))
    covariance[..., 0, 0] = velocity * learning_rate * (1 + momentum) / (2 * curvature)
    covariance[..., 0, 1] = covariance[..., 1, 0] = velocity * learning_rate / 2
    covariance[..., 1, 1] = velocity
    return covariance


def moments(
    curvature: ArrayLike,
    rates: ArrayLike,
    noise_variance: ArrayLike,
    *,
    start: float = 0.0,
    momentum: float = 0.0,
) -> tuple[NDArray, NDArray]:
    """Return the exact mean and covariance of (position, velocity) at every step.

    All trajectories start at position ``start`` with velocity 0. ``rates``
    (K,) are the learning rates of the K steps. Returns arrays of shapes
    (K + 1, ..., 2) and (K + 1, ..., 2, 2); entry k is the state after k steps.
    """
    check_stable(curvature, rates, momentum)
    curvature, noise_variance = np.broadcast_arrays(
        np.asarray(curvature, float), np.asarray(noise_variance, float)
    )
    mean = np.zeros((len(rates) + 1, *curvature.shape, 2))
    covariance = np.zeros((len(rates) + 1, *curvature.shape, 2, 2))
    mean[0, ..., 0] = start
    for k, rate in enumerate(rates):
        matrix = transition(curvature, rate, momentum)
        mean[k + 1] = (matrix @ mean[k, ..., None])[..., 0]
        covariance[k + 1] = matrix @ covariance[k] @ matrix.swapaxes(-1, -2)
        covariance[k + 1] += noise_covariance(rate, noise_variance)
    return mean, covariance
