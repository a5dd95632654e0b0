"""Rotation and spectra of SGD on a quadratic, mode by mode: what its current does.

The *probability current* of the continuous theory is (v, −ω² θ) times the stationary
density, with the natural frequency ω. Frequencies are in radians per step; ``rate`` is the
learning rate. All raise :class:`UsageError` where there is no stationary state. Source:
paper: Kunin et al. 2024; our section: Modified loss and probability currents.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_discrete_lyapunov

from ...theory.continuous import damping, propagator
from ...theory.discrete import check_stable, linear_chain, stationary_covariance, transition


def limiting_rotation(lags, curvature: ArrayLike, rate: float, momentum: float) -> NDArray:
    """Return the area r(t) that the current sweeps within ``lags`` (L,) steps, (L, ...).

    ``r(t) = e^{−γt} sin(νt) ω/ν`` with t = η k, and a hyperbolic sine where the mode does
    not oscillate. Its slope at 0 is ω: in a step it is r(η), less than ηω.
    """
    natural = damping(curvature, rate, momentum).natural_frequency
    return natural * propagator(lags, curvature, rate, momentum)[..., 0, 1]


def discrete_rotation(lags, curvature, rate: float, momentum: float = 0.0) -> NDArray:
    """Return the rotation within ``lags`` (L,) steps, exact for SGD, (L, ...).

    The antisymmetric part of ``M^k C`` over √det C, whatever the noise.

    >>> discrete_rotation([1], 1.0, 0.2, 0.9).round(6)
    array([0.424264])
    """
    covariance = stationary_covariance(curvature, rate, 1.0, momentum)
    matrix = transition(curvature, rate, momentum)
    moments = np.stack([np.linalg.matrix_power(matrix, lag) @ covariance for lag in lags])
    swept = (moments[..., 0, 1] - moments[..., 1, 0]) / 2
    return swept / np.sqrt(np.linalg.det(covariance))


def pair_rotation(curvature, noise_variance, covariance, rate, momentum) -> float:
    """Return the rotation of the positions of two modes in a step, exactly.

    Both curvature and noise are (2,); ``covariance`` is that of the two gradients' noise.
    """
    noise = np.diag(noise_variance) + covariance * (1 - np.eye(2))
    matrix, added = linear_chain(np.diag(curvature), noise, rate, momentum)
    stationary = solve_discrete_lyapunov(matrix, added)
    positions, moment = stationary[:2, :2], (matrix @ stationary)[:2, :2]
    swept = (moment[0, 1] - moment[1, 0]) / 2
    return float(swept / np.sqrt(np.linalg.det(positions)))


def spectrum_peak(curvature: ArrayLike, rate: float, momentum: float = 0.0) -> NDArray:
    """Return where the power spectrum of the position is largest, exactly.

    ``cos ω* = (1 + β)(1 + β − η h) / (4 β)``; 0 (or π) where that exceeds 1 (or is
    below −1), as it does without momentum.
    """
    check_stable(curvature, rate, momentum)
    first = 1 + momentum - rate * np.asarray(curvature, float)
    # Without momentum the quotient would be infinite, of the sign of ``first``.
    cosine = (1 + momentum) * first / max(4 * momentum, np.finfo(float).tiny)
    return np.arccos(np.clip(cosine, -1.0, 1.0))


def power_spectrum(frequency, curvature, rate, noise_variance, momentum) -> NDArray:
    """Return the spectral density of the position of each mode, exact, (F, ...).

    ``η² s / |z² − (1 + β − η h) z + β|²`` at ``z = e^{i frequency}``. Two-sided: its mean
    over the frequencies from −π to π is the variance.
    """
    check_stable(curvature, rate, momentum)
    z = np.exp(1j * np.asarray(frequency, float)).reshape(-1, *[1] * np.ndim(curvature))
    response = z**2 - (1 + momentum - rate * np.asarray(curvature)) * z + momentum
    return rate**2 * np.asarray(noise_variance) / np.abs(response) ** 2
