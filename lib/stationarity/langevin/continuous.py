"""The underdamped Langevin equation of SGD: its Ornstein-Uhlenbeck process, mode by mode.

In one direction of curvature ``h`` (weight decay included) with gradient noise of
variance ``s`` a step, position and velocity x = (θ, v) follow, in the time t = η k
of k steps,

    dx = −A x dt + √(2 D) dW,

with ``A`` of :func:`drift` and ``D`` of :func:`diffusion`. It is the continuous
limit of the recursion of :mod:`stationarity.langevin.discrete`, with its symbols;
what it misses at a finite learning rate is of relative size η h / (2 (1 + β)) in the
variances. Everything is float64. Source: paper: Kunin et al. 2024; our section:
SGD as an underdamped Langevin equation.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .discrete import check_stable


def drift(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> NDArray:
    """Return the drift matrices ``A``, (..., 2, 2).

    ``[[0, −1], [2 h, 2 (1 − β)] / (η (1 + β))]``: the second row is the force of
    the quadratic and the friction, both over the mass ``η (1 + β) / 2``.

    >>> drift(1.0, 0.5)
    array([[ 0., -1.],
           [ 4.,  4.]])
    """
    curvature = np.asarray(curvature, float)
    mass = learning_rate * (1 + momentum) / 2
    matrix = np.zeros((*curvature.shape, 2, 2))
    matrix[..., 0, 1] = -1
    matrix[..., 1, 0] = curvature / mass
    matrix[..., 1, 1] = (1 - momentum) / mass
    return matrix


def diffusion(
    learning_rate: float, noise_variance: ArrayLike, momentum: float = 0.0
) -> NDArray:
    """Return the diffusion matrices ``D``, (..., 2, 2): ``2 s / (η (1 + β)²)`` for v.

    >>> diffusion(0.5, 3.0)
    array([[ 0.,  0.],
           [ 0., 12.]])
    """
    noise_variance = np.asarray(noise_variance, float)
    matrix = np.zeros((*noise_variance.shape, 2, 2))
    matrix[..., 1, 1] = 2 * noise_variance / (learning_rate * (1 + momentum) ** 2)
    return matrix


def limiting_covariance(
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the stationary covariance of (position, velocity) in continuous time.

    It solves ``A C + C Aᵀ = 2 D`` and is diagonal, (..., 2, 2): the variance of the
    position is ``η s / (2 h (1 − β))``, that of the velocity ``s / (1 − β²)``. Raises
    :class:`UsageError` where SGD has no stationary state.

    >>> limiting_covariance(1.0, 0.5, 3.0)
    array([[0.75, 0.  ],
           [0.  , 3.  ]])
    """
    check_stable(curvature, learning_rate, momentum)
    curvature, noise_variance = np.broadcast_arrays(
        np.asarray(curvature, float), np.asarray(noise_variance, float)
    )
    covariance = np.zeros((*curvature.shape, 2, 2))
    velocity = noise_variance / (1 - momentum**2)
    covariance[..., 0, 0] = learning_rate * (1 + momentum) / (2 * curvature) * velocity
    covariance[..., 1, 1] = velocity
    return covariance
