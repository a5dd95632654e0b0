"""SGD with momentum on noisy quadratics: the exact theory, in discrete time.

One direction at a time: curvature ``h``, learning rate ``η``, momentum ``β``, and in
each step independent gradient noise of mean zero and variance ``s``,

    v ← β v − (h θ + noise),    θ ← θ + η v.

The velocity ``v`` is minus PyTorch's momentum buffer; weight decay adds to ``h``.
Position and velocity follow the linear recursion ``x ← M x + noise`` with ``M`` of
:func:`transition`. Book: chapters 1 and 10.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

MODES = ("mode_variance", "mode_velocity_variance", "mode_frequency", "mode_decay")


def check_stable(curvature: ArrayLike, rates: ArrayLike, momentum: float = 0.0) -> None:
    """Raise :class:`UsageError` unless a quadratic has a stationary law at all ``rates``.

    They lie between 0 and ``2 (1 + β) / h``, with positive curvatures h and β in [0, 1).
    """
    curvature = np.asarray(curvature, float)
    if not np.all(curvature > 0):
        said = f"A curvature must be positive, not {curvature.min():g}"
        raise UsageError(f"{said}: without it the quadratic has no minimum to settle around.")
    if not 0 <= momentum < 1:
        raise UsageError(f"The momentum must lie in [0, 1), not {momentum:g}.")
    if not np.min(rates) > 0:
        raise UsageError(f"A learning rate must be positive, not {np.min(rates):g}.")
    largest, limit = np.max(rates), 2 * (1 + momentum) / curvature.max()
    if not largest < limit:
        said = f"The learning rate {largest:g} is too large: at curvature {curvature.max():g}"
        said += f" and momentum {momentum:g} the iterates stay bounded only below"
        raise UsageError(f"{said} 2 (1 + momentum) / curvature = {limit:g}.")


def matrices(*entries: ArrayLike) -> NDArray:
    """Return matrices (..., 2, 2) from their four entries, row by row, each (...)."""
    stacked = np.stack(np.broadcast_arrays(*entries), -1)
    return stacked.reshape(*stacked.shape[:-1], 2, 2)


def transition(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> NDArray:
    """Return the matrices ``M`` of one step of (position, velocity), (..., 2, 2)."""
    curvature = np.asarray(curvature, float)
    position = 1 - learning_rate * curvature, learning_rate * momentum
    return matrices(*position, -curvature, momentum)


def stationary_covariance(
    curvature: ArrayLike, learning_rate: float, noise_variance: ArrayLike, momentum: float = 0.0
) -> NDArray:
    """Return the exact stationary covariance of (position, velocity), (..., 2, 2).

    It solves ``C = M C Mᵀ + N``. Raises :class:`UsageError` where there is none.
    """
    check_stable(curvature, learning_rate, momentum)
    curvature, noise = np.asarray(curvature, float), np.asarray(noise_variance, float)
    discrete = 1 / (1 - learning_rate * curvature / (2 * (1 + momentum)))
    velocity = discrete * noise / (1 - momentum**2)
    position = velocity * learning_rate * (1 + momentum) / (2 * curvature)
    both = velocity * learning_rate / 2
    return matrices(position, both, both, velocity)


def linear_chain(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> tuple[NDArray, NDArray]:
    """Return the matrix and the noise covariance (2 P, 2 P) of one step of (θ, b).

    SGD on a quadratic follows b ← β b + H θ + ξ, θ ← θ − η b. The ``hessian`` H and the
    covariance ``noise`` of ξ are (P, P), and need not share eigenvectors. Raises
    :class:`UsageError` where the Hessian is not positive definite or the rate is too large.
    """
    hessian, noise = np.asarray(hessian, float), np.asarray(noise, float)
    check_stable(np.linalg.eigvalsh(hessian), learning_rate, momentum)
    one, rate = np.eye(len(hessian)), learning_rate
    rows = [[one - rate * hessian, -rate * momentum * one], [hessian, momentum * one]]
    response = np.vstack([-rate * one, one])
    return np.block(rows), response @ noise @ response.T


def displacement_squared(
    lags: ArrayLike,
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the exact E (θ_{t+k} − θ_t)² of stationary SGD, (len(lags), ...).

    ``lags`` (L,) are numbers k of steps. The displacement is ``2 V (1 − r_k)``: V is the
    stationary variance of the position and r its autocorrelation, with
    ``r_{k+1} = (1 + β − η h) r_k − β r_{k−1}``. What is iterated is 1 − r, which does not
    cancel for slow directions. Raises :class:`UsageError` where SGD has no stationary state.
    """
    stationary = stationary_covariance(curvature, learning_rate, noise_variance, momentum)
    step = learning_rate * np.asarray(curvature, float)
    matrix = matrices(1 - step, momentum, -step, momentum)  # of (1 − r_k, r_{k−1} − r_k)
    force = np.stack([step, step], -1)
    start = np.stack([np.zeros_like(step), -step / (1 + momentum)], -1)  # r_{−1} = r_1
    return 2 * stationary[..., 0, 0] * iterate(matrix, force, start, lags)[..., 0]


def oscillation(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> NDArray:
    """Return the angle in radians by which a direction turns in one step, (...).

    It is 0 for small ``η h`` (no oscillation) and π for large (it turns at every step).
    """
    check_stable(curvature, learning_rate, momentum)
    step, high = learning_rate * np.asarray(curvature, float), (1 + np.sqrt(momentum)) ** 2
    low = ((1 - momentum) / (1 + np.sqrt(momentum))) ** 2
    return np.arctan2(np.sqrt(np.maximum((step - low) * (high - step), 0)), 1 + momentum - step)


def decay(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> NDArray:
    """Return the rate per step at which a direction forgets its state, (...).

    Minus the logarithm of the largest modulus of the eigenvalues of :func:`transition`.
    """
    check_stable(curvature, learning_rate, momentum)
    eigenvalues = np.linalg.eigvals(transition(curvature, learning_rate, momentum))
    return -np.log(np.abs(eigenvalues).max(-1))


def iterate(matrix: ArrayLike, force: ArrayLike, start: ArrayLike, steps: ArrayLike) -> NDArray:
    """Return what the recursion ``x ← M x + force`` makes of a start, (K, ..., n).

    ``matrix`` (..., n, n), ``force`` and ``start`` (..., n). Raises :class:`UsageError`
    for ``steps`` (K,) that are not whole numbers, 0 or more.

    >>> iterate([[2.0]], [1.0], [0.0], [0, 1, 2, 6])[:, 0]
    array([ 0.,  1.,  3., 63.])
    """
    steps = np.atleast_1d(steps)
    if not (np.issubdtype(steps.dtype, np.integer) and np.all(steps >= 0)):
        raise UsageError("Lags and steps must be whole numbers, 0 or more.")
    matrix, force = np.asarray(matrix, float), np.asarray(force, float)
    shape = np.broadcast_shapes(matrix.shape[:-1], force.shape, np.shape(start))
    state = np.array(np.broadcast_to(start, (len(steps), *shape)), float)
    for digit in range(int(steps.max(initial=0)).bit_length()):
        chosen = (steps >> digit) & 1 == 1
        state[chosen] = (matrix @ state[chosen][..., None])[..., 0] + force
        force, matrix = (matrix @ force[..., None])[..., 0] + force, matrix @ matrix
    return state


def predictions(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    *,
    positive_only: bool = False,
) -> dict[str, NDArray]:
    """Return a column (k,) by each of ``MODES``; without oscillation no frequency (NaN).

    ``curvature`` (k,) are the Hessian's eigenvalues ρ of the loss without decay λ, and
    ``noise_variance`` (k,) those of the minibatch gradient along them. The noise is taken
    for independent between steps and of constant variance, the modes for uncoupled.
    :mod:`stationarity.stats.modes` measures the same. Source: our section "What theory
    predicts of one mode".

    Raises :class:`UsageError` for a mode without a stationary law; where ``positive_only``
    those whose ρ + λ is not positive are NaN.
    """
    total = np.asarray(curvature, float) + weight_decay
    positive = total > 0
    if not positive_only and not positive.all():
        first = int(np.argmin(positive))
        said = f"Mode {first} has curvature {total[first]:.3g}, with decay, and no stationary"
        raise UsageError(f"{said} law: leave such modes out by positive_only=True.")
    noise = np.broadcast_to(np.asarray(noise_variance, float), total.shape)[positive]
    optimiser = (learning_rate, momentum)
    covariance = stationary_covariance(total[positive], learning_rate, noise, momentum)
    angle = oscillation(total[positive], *optimiser)
    table = np.full((len(MODES), *total.shape), np.nan)
    variances = covariance[:, 0, 0], covariance[:, 1, 1]
    turning = np.where((angle > 0) & (angle < np.pi), angle, np.nan)
    table[:, positive] = *variances, turning, decay(total[positive], *optimiser)
    return dict(zip(MODES, table, strict=True))


def moments(
    curvature: ArrayLike,
    rates: ArrayLike,
    noise_variance: ArrayLike,
    *,
    start: float = 0.0,
    momentum: float = 0.0,
) -> tuple[NDArray, NDArray]:
    """Return the exact mean and covariance of (position, velocity) at every step.

    All begin at position ``start`` with velocity 0. ``rates`` (K,) are the learning rates
    of the steps; (K + 1, ..., 2) and (K + 1, ..., 2, 2), entry k after k steps.
    """
    check_stable(curvature, rates, momentum)
    shape = np.broadcast_shapes(np.shape(curvature), np.shape(noise_variance))
    mean, covariance = (np.zeros((len(rates) + 1, *shape, *n)) for n in ((2,), (2, 2)))
    mean[0, ..., 0] = start
    noise = np.asarray(noise_variance, float)[..., None, None]
    for k, rate in enumerate(rates):
        matrix = transition(curvature, rate, momentum)
        mean[k + 1] = (matrix @ mean[k, ..., None])[..., 0]
        covariance[k + 1] = matrix @ covariance[k] @ matrix.swapaxes(-1, -2)
        covariance[k + 1] += noise * np.outer([rate, 1.0], [rate, 1.0])
    return mean, covariance
