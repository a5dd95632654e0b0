"""Modified loss and probability currents of SGD on a quadratic, mode by mode.

A mode is a direction of curvature ``h`` (weight decay included) whose minibatch
gradient has variance ``s``; its state x = (θ, v) is position and velocity. In the
continuous theory of :mod:`stationarity.theory` its stationary density is
exp(−Ψ) with the *modified loss* Ψ = ½ xᵀ C⁻¹ x, and the *probability current*
J = −Q ∇Ψ exp(−Ψ), Q = A C − D, turns it clockwise in the (θ, v) plane. What the
current does can be measured, by
:func:`stationarity.chapters.ch11_modified_loss.estimators.rotation`, and is known
exactly for the discrete recursion. Everything is float64; frequencies are in radians
per step. Source: paper: Kunin et al. 2024; our section: Modified loss and probability
currents.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, solve_discrete_lyapunov

from ...errors import UsageError
from ...theory.continuous import damping, limiting_covariance, propagator
from ...theory.discrete import check_stable, stationary_covariance, transition


def temperature(
    learning_rate: float, noise_variance: ArrayLike, momentum: float = 0.0
) -> NDArray:
    """Return ``T = η s / (2 (1 − β))`` of a mode, in units of the loss.

    In the continuous theory ``h E θ² = T``, and with the mass ``m = η (1 + β) / 2``
    ``m E v² = T``.

    >>> float(temperature(0.1, 2.0, 0.5))
    0.2
    """
    return learning_rate * np.asarray(noise_variance, float) / (2 * (1 - momentum))


def modified_loss(
    position: ArrayLike,
    velocity: ArrayLike,
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return Ψ, minus the logarithm of the stationary density up to a constant.

    Position and velocity are (..., D) for D modes; Ψ, without unit, is summed over
    them: ``Σ (h θ² + m v²) / (2 T)``, energy over :func:`temperature`, with the mass
    ``m = η (1 + β) / 2``. Raises :class:`UsageError` where there is no stationary
    state, or no noise in a mode.

    >>> float(modified_loss([1.0], [0.0], [2.0], 0.1, [2.0], 0.5))
    5.0
    """
    check_stable(curvature, learning_rate, momentum)
    if not np.all(np.asarray(noise_variance) > 0):
        raise UsageError(
            "A mode without gradient noise comes to rest and has no density: "
            "leave out modes whose noise variance is not positive."
        )
    mass = learning_rate * (1 + momentum) / 2
    energy = np.multiply(curvature, np.square(position)) + mass * np.square(velocity)
    temperatures = temperature(learning_rate, noise_variance, momentum)
    return (energy / (2 * temperatures)).sum(-1)


def density(state: ArrayLike, *mode: float) -> NDArray:
    """Return the stationary density of one mode at states (..., 2), in continuous time.

    ``mode`` are its curvature, the learning rate, its noise variance and the momentum.
    """
    covariance = limiting_covariance(*mode)
    psi = (state @ np.linalg.inv(covariance) * state).sum(-1) / 2
    return np.exp(-psi) / (2 * np.pi * np.sqrt(np.linalg.det(covariance)))


def current(state: ArrayLike, *mode: float) -> NDArray:
    """Return the stationary probability current J of one mode at states (..., 2).

    ``mode`` is as in :func:`density`. ``J = −Q ∇Ψ p`` is ``(v, −ω² θ) p``, with the natural
    frequency ω in all regimes of damping: clockwise in the (θ, v) plane, along the level
    sets of Ψ.
    """
    position, velocity = np.moveaxis(np.asarray(state, float), -1, 0)
    natural = damping(mode[0], mode[1], mode[3]).natural_frequency
    flow = np.stack([velocity, -(natural**2) * position], -1)
    return flow * density(state, *mode)[..., None]


def limiting_rotation(
    lags: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the rotation within ``lags`` (L,) steps by the current, (L, ...).

    Continuous theory: ``e^{−γt} sin(νt) ω/ν`` with t = η k, and a hyperbolic sine
    where the mode does not oscillate. Its slope at 0 is ω in every mode.

    >>> limiting_rotation([1], 1.0, 0.2, 0.9).round(4)
    array([0.4204])
    """
    natural = damping(curvature, learning_rate, momentum).natural_frequency
    waves = propagator(lags, curvature, learning_rate, momentum)
    return natural * waves[..., 0, 1]


def discrete_rotation(
    lags: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the rotation within ``lags`` (L,) steps, exact for SGD, (L, ...).

    The antisymmetric part of ``M^k C`` over √det C. At lag 1 it is
    ``½ √(η h (2 (1 + β) − η h))`` whatever the noise. Raises :class:`UsageError`
    where there is no stationary state.

    >>> discrete_rotation([1], 1.0, 0.2, 0.9).round(6)
    array([0.424264])
    """
    covariance = stationary_covariance(curvature, learning_rate, 1.0, momentum)
    matrix = transition(curvature, learning_rate, momentum)
    scale = np.sqrt(np.linalg.det(covariance))
    moments = np.stack([np.linalg.matrix_power(matrix, lag) @ covariance for lag in lags])
    return (moments[..., 0, 1] - moments[..., 1, 0]) / (2 * scale)


def pair_rotation(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    covariance: float,
    learning_rate: float,
    momentum: float = 0.0,
) -> float:
    """Return the rotation of the positions of two modes in a step, exactly.

    Both arguments are (2,), and ``covariance`` is that of the two gradients' noise.
    Where it is 0, so is the rotation: positions then look the same in reversed time.
    Raises :class:`UsageError` where there is no stationary state.

    >>> pair_rotation([1.0, 0.2], [1.0, 1.0], 0.0, 0.1, 0.9)
    0.0
    """
    curvature = np.asarray(curvature, float)
    check_stable(curvature, learning_rate, momentum)
    noise = np.diag(np.asarray(noise_variance, float))
    noise[0, 1] = noise[1, 0] = covariance
    matrix = block_diag(*transition(curvature, learning_rate, momentum))
    response = np.array([learning_rate, 1.0])
    stationary = solve_discrete_lyapunov(matrix, np.kron(noise, np.outer(response, response)))
    positions, moment = stationary[::2, ::2], (matrix @ stationary)[::2, ::2]
    swept = (moment[0, 1] - moment[1, 0]) / 2
    return float(swept / np.sqrt(np.linalg.det(positions)))


def spectrum_peak(curvature: ArrayLike, learning_rate: float, momentum: float = 0.0) -> NDArray:
    """Return where the power spectrum of the position is largest, exactly.

    ``cos ω* = (1 + β)(1 + β − η h) / (4 β)``; 0 (or π) where that exceeds 1 (or is
    below −1), as it does without momentum. It lies below the frequency of
    the oscillation. Raises :class:`UsageError` for an unstable learning rate.

    >>> spectrum_peak([0.01, 1.0], 0.1, 0.9).round(3)
    array([0.   , 0.318])
    """
    check_stable(curvature, learning_rate, momentum)
    first = 1 + momentum - learning_rate * np.asarray(curvature, float)
    # Without momentum the quotient would be infinite, of the sign of ``first``.
    cosine = (1 + momentum) * first / max(4 * momentum, np.finfo(float).tiny)
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def power_spectrum(
    frequency: ArrayLike,
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the spectral density of the position of each mode, exact, (F, ...).

    ``η² s / |z² − (1 + β − η h) z + β|²`` at ``z = e^{i frequency}``, as positions obey
    θ_{k+1} = (1 + β − η h) θ_k − β θ_{k−1} + noise. Two-sided: its mean over
    the frequencies from −π to π, in radians per step, is the variance.
    """
    check_stable(curvature, learning_rate, momentum)
    curvature = np.asarray(curvature, float)
    z = np.exp(1j * np.asarray(frequency, float)).reshape(-1, *[1] * curvature.ndim)
    response = z**2 - (1 + momentum - learning_rate * curvature) * z + momentum
    return learning_rate**2 * np.asarray(noise_variance, float) / np.abs(response) ** 2
