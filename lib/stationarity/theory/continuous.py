"""The underdamped Langevin equation of SGD: its Ornstein-Uhlenbeck process, mode by mode.

In one direction of curvature ``h`` (weight decay included) with gradient noise of
variance ``s`` a step, position and velocity x = (θ, v) follow, in the time t = η k
of k steps,

    dx = −A x dt + √(2 D) dW,

with ``A`` of :func:`drift` and ``D`` of :func:`diffusion`. It is the continuous
limit of the recursion of :mod:`stationarity.theory.discrete`, with its symbols;
what it misses at a finite learning rate is of relative size η h / (2 (1 + β)) in the
variances. Times are given in steps, whole or not, so that both modules answer the
same questions. Everything is float64. Source: paper: Kunin et al. 2024; our section:
SGD as an underdamped Langevin equation.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import check_stable


class Damping(NamedTuple):
    """How a direction is damped; arrays (...), the rates per unit of the time t = η k.

    ``rate`` γ = (1 − β) / (η (1 + β)); ``natural_frequency`` ω = √(2 h / (η (1 + β)));
    ``frequency`` ν = √(ω² − γ²), 0 where nothing oscillates; ``regime``:
    ``underdamped`` where γ < ω, ``overdamped`` where γ > ω, else ``critical``.
    """

    rate: NDArray
    natural_frequency: NDArray
    frequency: NDArray
    regime: NDArray


def damping(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> Damping:
    """Return the damping of each direction (...).

    A direction oscillates where ``η h > (1 − β)² / (2 (1 + β))``. Raises
    :class:`UsageError` where SGD has no stationary state.

    >>> damping([0.5, 2.0], 0.5).regime  # at momentum 0 the border is η h = 1/2
    array(['overdamped', 'underdamped'], dtype='<U11')
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
    velocity: for γ < ω they are ``e^{−γt} (cos νt ± (γ/ν) sin νt)``. One formula
    serves all regimes, with a complex ν, and does not cancel at the critical one.

    >>> propagator([0.0, 1.0], 1.0, 0.5)[:, 0, 0].round(3)
    array([1.   , 0.736])
    """
    cosine, sine, _ = _waves(steps, curvature, learning_rate, momentum)
    rate, natural, *_ = damping(curvature, learning_rate, momentum)
    rows = [cosine + rate * sine, sine], [-(natural**2) * sine, cosine - rate * sine]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def _waves(
    steps: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float
) -> tuple[NDArray, NDArray, NDArray]:
    """Return e^{−γt} cos νt, e^{−γt} sin νt / ν, and 1 − r(t), each (K, ...)."""
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
    lasting = np.where(root == 0, times, lasting)
    decayed = np.exp(-slow * times)
    sine = decayed * lasting
    cosine = decayed - root * sine
    lost = -np.expm1(-slow * times) - slow * sine  # as r = e^{−slow t} + slow sine
    return cosine.real, sine.real, lost.real


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


def mean_at(
    steps: ArrayLike, curvature: ArrayLike, learning_rate: float,
    momentum: float = 0.0, *, start: ArrayLike,
) -> NDArray:  # fmt: skip
    """Return the mean ``e^{−At} start`` of (position, velocity), (K, ..., 2).

    ``start`` (..., 2) is the mean at step 0, and t = η k for ``steps`` (K,).

    >>> mean_at([0, 1000], 1.0, 0.5, start=[2.0, 0.0]).round(6)
    array([[2., 0.],
           [0., 0.]])
    """
    matrix = propagator(steps, curvature, learning_rate, momentum)
    return (matrix @ np.asarray(start, float)[..., None])[..., 0]


def covariance_at(
    steps: ArrayLike, curvature: ArrayLike, learning_rate: float,
    noise_variance: ArrayLike, momentum: float = 0.0, *, start: ArrayLike | None = None,
) -> NDArray:  # fmt: skip
    """Return the covariance of (position, velocity) at ``steps`` (K,), (K, ..., 2, 2).

    It is ``B − e^{−At} (B − start) e^{−A't}``, with B of :func:`limiting_covariance`
    and the covariance ``start`` (..., 2, 2) at step 0, zero unless given. Its rounding
    error is relative to B.

    >>> covariance_at([0, 1000], 1.0, 0.5, 3.0)[:, 0, 0]
    array([0.  , 0.75])
    """
    limit = limiting_covariance(curvature, learning_rate, noise_variance, momentum)
    matrix = propagator(steps, curvature, learning_rate, momentum)
    missing = limit if start is None else limit - np.asarray(start, float)
    return limit - matrix @ missing @ matrix.swapaxes(-1, -2)


def displacement_squared(
    lags: ArrayLike,
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
    *,
    start: ArrayLike | None = None,
) -> NDArray:
    """Return E (θ_{t+ηk} − θ_t)², of the stationary process unless told, (len(lags), ...).

    It is ``2 V (1 − r(ηk))``, with the variance V and the autocorrelation r of the
    position: ballistic, E v² (ηk)², at first, and 2 V in the end. From any other state at
    time t, ``start`` (..., 2, 2) are the second moments of (position, velocity) there.

    >>> displacement_squared([1, 1000], 1.0, 0.5, 3.0).round(3)
    array([0.396, 1.5  ])
    """
    if start is not None:
        row = propagator(lags, curvature, learning_rate, momentum)[..., 0, :]
        row = row - np.array([1.0, 0.0])
        moved = np.einsum("...i,...ij,...j->...", row, np.asarray(start, float), row)
        added = covariance_at(lags, curvature, learning_rate, noise_variance, momentum)
        return moved + added[..., 0, 0]
    *_, lost = _waves(lags, curvature, learning_rate, momentum)
    limit = limiting_covariance(curvature, learning_rate, noise_variance, momentum)
    return 2 * limit[..., 0, 0] * lost


def velocity_sum_squared(
    lags: ArrayLike,
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the same displacement by velocity correlations (Green-Kubo), (len(lags), ...).

    ``η² E v² [k + 2 Σ_{0<j<k} (k − j) C(ηj)]`` for whole ``lags`` k sums the steps
    η v with the continuous autocorrelation C of the velocity. The sum is a
    trapezoidal rule for an integral that vanishes: its error leaves a slope of
    (1 − β) / (3 (1 + β)) times η² E v² a step, so that the sum is of no use at large k.

    >>> velocity_sum_squared([0, 1], 1.0, 0.5, 3.0)
    array([0.  , 0.75])
    """
    lags = np.atleast_1d(lags)
    if not (np.issubdtype(lags.dtype, np.integer) and np.all(lags >= 0)):
        raise UsageError("Lags must be whole numbers, 0 or more.")
    limit = limiting_covariance(curvature, learning_rate, noise_variance, momentum)
    every = np.arange(int(lags.max(initial=0)) + 1)
    correlation = propagator(every, curvature, learning_rate, momentum)[..., 1, 1]
    slope = 2 * np.cumsum(correlation, 0) - 1  # 1 + 2 Σ_{0<j≤k} C, from k to k + 1
    summed = np.cumsum(slope, 0) - slope
    return learning_rate**2 * limit[..., 1, 1] * summed[lags]
