"""Modified loss and probability currents of SGD on a quadratic, mode by mode.

A mode is a direction of curvature ``h`` (weight decay included) whose minibatch
gradient has variance ``s``; its state x = (θ, v) is position and velocity. In the
continuous theory of :mod:`stationarity.theory` its stationary density is
exp(−Ψ) with the *modified loss* Ψ = ½ xᵀ C⁻¹ x, and the *probability current*
J = −Q ∇Ψ exp(−Ψ), Q = A C − D, turns it clockwise in the (θ, v) plane. What the
current does can be measured: :func:`rotation`. The same is known exactly for the
discrete recursion. Everything is float64; frequencies are in radians per step.
Source: paper: Kunin et al. 2024; our section: Modified loss and probability currents.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag, solve_discrete_lyapunov

from ... import theory
from ...errors import UsageError
from ...stats.modes import Estimate


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
    theory.check_stable(curvature, learning_rate, momentum)
    if not np.all(np.asarray(noise_variance) > 0):
        raise UsageError(
            "A mode without gradient noise comes to rest and has no density: "
            "leave out modes whose noise variance is not positive."
        )
    mass = learning_rate * (1 + momentum) / 2
    energy = np.multiply(curvature, np.square(position)) + mass * np.square(velocity)
    temperatures = temperature(learning_rate, noise_variance, momentum)
    return (energy / (2 * temperatures)).sum(-1)


def circulation(
    curvature: ArrayLike,
    learning_rate: float,
    noise_variance: ArrayLike,
    momentum: float = 0.0,
) -> NDArray:
    """Return the antisymmetric ``Q = A C − D`` of each mode, (..., 2, 2).

    >>> circulation(1.0, 0.5, 3.0).round(12)
    array([[ 0., -3.],
           [ 3.,  0.]])
    """
    covariance = theory.limiting_covariance(
        curvature, learning_rate, noise_variance, momentum
    )
    drift = theory.drift(curvature, learning_rate, momentum)
    return drift @ covariance - theory.diffusion(
        learning_rate, noise_variance, momentum
    )


def density(
    state: ArrayLike,
    curvature: float,
    learning_rate: float,
    noise_variance: float,
    momentum: float = 0.0,
) -> NDArray:
    """Return the stationary density of one mode at states (..., 2), in continuous time."""
    position, velocity = np.moveaxis(np.asarray(state, float)[..., None], -2, 0)
    mode = ([curvature], learning_rate, [noise_variance], momentum)
    covariance = theory.limiting_covariance(*mode)[0]
    scale = 2 * np.pi * np.sqrt(np.linalg.det(covariance))
    return np.exp(-modified_loss(position, velocity, *mode)) / scale


def current(
    state: ArrayLike,
    curvature: float,
    learning_rate: float,
    noise_variance: float,
    momentum: float = 0.0,
) -> NDArray:
    """Return the stationary probability current J of one mode at states (..., 2).

    ``J = −Q ∇Ψ p``, equal to the drift's ``−A x p`` less ``D ∇p``: clockwise in the
    (θ, v) plane, along the level sets of Ψ. The sign is checked in the tests.
    """
    state = np.asarray(state, float)
    mode = (curvature, learning_rate, noise_variance, momentum)
    gradient = state @ np.linalg.inv(theory.limiting_covariance(*mode))
    return -(gradient @ circulation(*mode).T) * density(state, *mode)[..., None]


def limiting_rotation(
    lags: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return :func:`rotation` after ``lags`` (L,) steps by the current, (L, ...).

    Continuous theory: ``e^{−γt} sin(νt) ω/ν`` with t = η k, and a hyperbolic sine
    where the mode does not oscillate. Its slope at 0 is ω in every mode.

    >>> limiting_rotation([1], 1.0, 0.2, 0.9).round(4)
    array([0.4204])
    """
    natural = theory.damping(curvature, learning_rate, momentum).natural_frequency
    waves = theory.propagator(lags, curvature, learning_rate, momentum)
    return natural * waves[..., 0, 1]


def discrete_rotation(
    lags: ArrayLike, curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return :func:`rotation` after ``lags`` (L,) steps, exact for SGD, (L, ...).

    The antisymmetric part of ``M^k C`` over √det C. At lag 1 it is
    ``½ √(η h (2 (1 + β) − η h))`` whatever the noise. Raises :class:`UsageError`
    where there is no stationary state.

    >>> discrete_rotation([1], 1.0, 0.2, 0.9).round(6)
    array([0.424264])
    """
    covariance = theory.stationary_covariance(curvature, learning_rate, 1.0, momentum)
    matrix = theory.transition(curvature, learning_rate, momentum)
    scale = np.sqrt(np.linalg.det(covariance))
    found = []
    for lag in np.asarray(lags, int):
        moment = np.linalg.matrix_power(matrix, lag) @ covariance
        found.append((moment[..., 0, 1] - moment[..., 1, 0]) / (2 * scale))
    return np.array(found)


def pair_rotation(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    covariance: float,
    learning_rate: float,
    momentum: float = 0.0,
) -> float:
    """Return :func:`rotation` of the positions of two modes in a step, exactly.

    Both arguments are (2,), and ``covariance`` is that of the two gradients' noise.
    Where it is 0, so is the rotation: positions then look the same in reversed time.
    Raises :class:`UsageError` where there is no stationary state.

    >>> pair_rotation([1.0, 0.2], [1.0, 1.0], 0.0, 0.1, 0.9)
    0.0
    """
    curvature = np.asarray(curvature, float)
    theory.check_stable(curvature, learning_rate, momentum)
    noise = np.diag(np.asarray(noise_variance, float))
    noise[0, 1] = noise[1, 0] = covariance
    matrix = block_diag(*theory.transition(curvature, learning_rate, momentum))
    response = np.array([learning_rate, 1.0])
    stationary = solve_discrete_lyapunov(
        matrix, np.kron(noise, np.outer(response, response))
    )
    positions, moment = stationary[::2, ::2], (matrix @ stationary)[::2, ::2]
    swept = (moment[0, 1] - moment[1, 0]) / 2
    return float(swept / np.sqrt(np.linalg.det(positions)))


def limiting_frequency(
    curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return η ν = η √(ω² − γ²) of the continuous theory; 0 without oscillation.

    >>> float(limiting_frequency(1.0, 1e-4, 0.0))
    0.0
    """
    return learning_rate * theory.damping(curvature, learning_rate, momentum).frequency


def spectrum_peak(
    curvature: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return where the power spectrum of the position is largest, exactly.

    ``cos ω* = (1 + β)(1 + β − η h) / (4 β)``; 0 (or π) where that exceeds 1 (or is
    below −1), as it does without momentum. It lies below the frequency of
    the oscillation. Raises :class:`UsageError` for an unstable learning rate.

    >>> spectrum_peak([0.01, 1.0], 0.1, 0.9).round(3)
    array([0.   , 0.318])
    """
    theory.check_stable(curvature, learning_rate, momentum)
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
    theory.check_stable(curvature, learning_rate, momentum)
    curvature = np.asarray(curvature, float)
    z = np.exp(1j * np.asarray(frequency, float)).reshape(-1, *[1] * curvature.ndim)
    response = z**2 - (1 + momentum - learning_rate * curvature) * z + momentum
    return learning_rate**2 * np.asarray(noise_variance, float) / np.abs(response) ** 2


def rotation(one: ArrayLike, other: ArrayLike, lags: ArrayLike) -> Estimate:
    """Measure how a pair of stationary series rotates within ``lags`` (L,) steps.

    ``E[y_t x_{t+k}] − E[x_t y_{t+k}]`` over twice √(E x² E y² − (E x y)²): positive where
    the pair turns clockwise in the (x, y) plane. It has no unit. In coordinates that
    make the pair's covariance the identity it is the mean area of the triangle of the
    origin and the states at t and t + k; for k = 1 that is the stochastic area of Lévy in a
    step, and for small steps the angle of a step in radians, weighted with the square of
    the radius. It is 0 for a process that looks the same in reversed time.

    ``one`` and ``other`` are (members, T, k) for k pairs, with mean zero. Returns
    estimates of shape (L, k), with standard errors by the jackknife over members. Raises
    :class:`UsageError` for fewer than two members or a lag that is not below T.
    """
    one, other = np.asarray(one, float), np.asarray(other, float)
    length = one.shape[1]
    lags = np.asarray(lags, int)
    if len(one) < 2:
        raise UsageError("A rotation needs at least two members, for its error.")
    if not (lags.min() >= 0 and lags.max() < length):
        raise UsageError(
            f"Series of {length} steps have lags from 0 to {length - 1}, not {lags.max()}."
        )
    swept = np.stack(
        [(_product(other, one, lag) - _product(one, other, lag)) / 2 for lag in lags]
    )  # (L, members, k)
    moments = np.stack(
        [_product(one, one, 0), _product(other, other, 0), _product(one, other, 0)]
    )
    return jackknife(
        lambda mean: mean[3:] / np.sqrt(mean[0] * mean[1] - mean[2] ** 2),
        np.concatenate([moments, swept]),
    )


def jackknife(function, moments: NDArray) -> Estimate:
    """Return a function of means over members, with its standard error.

    ``moments`` are (n, members, ...), and ``function`` takes their means (n, ...). The
    bias of first order in 1 / members is taken off.
    """
    count = moments.shape[1]
    whole = function(moments.mean(1))
    without = (moments.sum(1, keepdims=True) - moments) / (count - 1)
    parts = np.stack([function(without[:, member]) for member in range(count)])
    value = count * whole - (count - 1) * parts.mean(0)
    return Estimate(value, np.sqrt((count - 1) * parts.var(0)))


def temperature_exponent(series: ArrayLike, curvature: ArrayLike) -> Estimate:
    """Measure p in ``h E θ² ∝ h^p`` over modes, by least squares on logarithms.

    The temperature that the Gibbs law exp(−f/T) would need in each mode is h E θ²:
    p is 0 where one temperature serves all, and 1 (λ = 0) for the modified loss of
    noise proportional to the Hessian. ``series`` (members, T, k) have mean zero. The
    error is by the jackknife over members. Raises :class:`UsageError` for one mode.
    """
    curvature = np.asarray(curvature, float)
    if len(curvature) < 2:
        raise UsageError("An exponent needs modes of at least two curvatures.")
    logarithm = np.log(curvature) - np.log(curvature).mean()
    weights = logarithm / (logarithm**2).sum()
    series = np.asarray(series, float)
    return jackknife(
        lambda mean: np.log(curvature * mean[0]) @ weights,
        _product(series, series, 0)[None],
    )


def local_motion(
    position: ArrayLike, velocity: ArrayLike, edges: ArrayLike
) -> tuple[NDArray, NDArray]:
    """Measure the mean motion at each place of phase space: the current over the density.

    For a mode's positions and velocities (members, T), each over its root mean square,
    the mean of (x_{t+1} − x_{t−1}) / 2 in the cells of a square grid with ``edges``
    (G + 1,) in both directions. Returns the means (G, G, 2), NaN where a cell is
    empty, and the counts (G, G). Forward and backward means each have the symmetric
    part of the drift, which cancels.
    """
    states = np.stack(
        [one / np.sqrt(np.mean(np.square(one))) for one in (position, velocity)]
    )
    motion = (states[..., 2:] - states[..., :-2]) / 2
    cells = np.searchsorted(edges, states[..., 1:-1]) - 1
    size = len(edges) - 1
    inside = ((cells >= 0) & (cells < size)).all(0)
    index = (cells[0] * size + cells[1])[inside]
    counts = np.bincount(index, minlength=size**2)
    sums = [np.bincount(index, part[inside], size**2) for part in motion]
    means = np.where(counts > 0, sums, np.nan) / np.maximum(counts, 1)
    return means.T.reshape(size, size, 2), counts.reshape(size, size)


def _product(one: NDArray, other: NDArray, lag: int) -> NDArray:
    """Return the mean over t of one_t other_{t+lag} of each member, (members, k)."""
    length = one.shape[1] - lag
    return np.einsum("mtk,mtk->mk", one[:, :length], other[:, lag:]) / length
