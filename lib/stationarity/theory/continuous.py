"""The underdamped Langevin equation of SGD: its Ornstein-Uhlenbeck process, mode by mode.

In one direction of curvature ``h`` (weight decay included) with gradient noise of variance
``s`` a step, position and velocity x = (θ, v) follow, in the time t = η k of k steps,

    dx = −A x dt + √(2 D) dW,    A = [[0, −1], [2 h, 2 (1 − β)] / (η (1 + β))],

where ``D`` has the one entry ``2 s / (η (1 + β)²)``, for v. It is the continuous
limit of the recursion of :mod:`stationarity.theory.discrete`, with its symbols. Source:
paper: Kunin et al. 2024; our section: SGD as an underdamped Langevin equation.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import check_stable, matrices


class Damping(NamedTuple):
    """How a direction is damped; arrays (...), the rates per unit of the time t = η k."""

    rate: NDArray  # γ = (1 − β) / (η (1 + β))
    natural_frequency: NDArray  # ω = √(2 h / (η (1 + β)))
    frequency: NDArray  # ν = √(ω² − γ²), 0 where nothing oscillates
    regime: NDArray  # underdamped where γ < ω, overdamped where γ > ω, else critical


def damping(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> Damping:
    """Return the damping of each direction (...).

    Raises :class:`UsageError` where SGD has no stationary state.
    """
    check_stable(curvature, learning_rate, momentum)
    mass = learning_rate * (1 + momentum) / 2
    natural = np.sqrt(np.asarray(curvature, float) / mass)
    rate = np.full_like(natural, (1 - momentum) / (2 * mass))
    frequency = np.sqrt(np.maximum((natural - rate) * (natural + rate), 0))
    regime = np.where(natural > rate, "underdamped", "overdamped")
    regime = np.where(np.isclose(natural, rate, rtol=1e-12, atol=0), "critical", regime)
    return Damping(rate, natural, frequency, regime)


def propagator(
    steps: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the matrices ``e^{−A t}`` at the times t = η k of ``steps`` (K,), (K, ..., 2, 2).

    Its diagonal holds the stationary autocorrelations of the position and of the
    velocity. One formula serves all regimes, with a complex ν. Raises
    :class:`UsageError` for a negative time, and without a stationary state.
    """
    rate, natural, *_ = damping(curvature, learning_rate, momentum)
    times = learning_rate * np.atleast_1d(np.asarray(steps, float))
    if not np.all(times >= 0):
        raise UsageError("Lags and steps must not be negative.")
    times = times.reshape(-1, *[1] * np.ndim(rate))
    root = np.sqrt(((rate - natural) * (rate + natural)).astype(complex))  # i ν
    slow = natural**2 / (rate + root)  # γ − iν, without cancellation
    double = 2 * root
    # sin νt / ν with e^{−γt}: (1 − e^{−2iνt}) / (2iν) tends to t where ν vanishes.
    lasting = -np.expm1(-double * times) / np.where(root == 0, 1, double)
    lasting, decayed = np.where(root == 0, times, lasting), np.exp(-slow * times)
    sine, cosine = (decayed * lasting).real, (decayed - root * decayed * lasting).real
    return matrices(cosine + rate * sine, sine, -(natural**2) * sine, cosine - rate * sine)


def limiting_covariance(
    curvature: ArrayLike, learning_rate: float, noise_variance: ArrayLike, momentum: float = 0.0
) -> NDArray:
    """Return the stationary covariance of (position, velocity) in continuous time.

    It solves ``A C + C Aᵀ = 2 D`` and is diagonal, (..., 2, 2). Raises
    :class:`UsageError` where SGD has no stationary state.
    """
    check_stable(curvature, learning_rate, momentum)
    velocity = np.asarray(noise_variance, float) / (1 - momentum**2)
    position = learning_rate * (1 + momentum) / (2 * np.asarray(curvature, float)) * velocity
    return matrices(position, 0.0, 0.0, velocity)
