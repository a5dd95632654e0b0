"""SGD with momentum on a quadratic with any covariance of its gradient noise.

Weights and momentum buffer follow the linear recursion

    b ← β b + H θ + ξ,    θ ← θ − η b,

so that mean and covariance are known exactly at every step and in the
stationary state. Unlike in :mod:`stationarity.theory` the noise need not
share the eigenvectors of the Hessian H. Everything is float64. Book: chapter 6.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import chi2, ks_1samp

from ... import theory
from ...errors import UsageError
from .chains import mean_and_error
from .settings import Plane


def linear_chain(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> tuple[NDArray, NDArray]:
    """Return the matrix and the noise covariance (2 P, 2 P) of one step of (θ, b).

    ``hessian`` and the covariance ``noise`` of a minibatch gradient are (P, P);
    b ← β b + H θ + ξ, θ ← θ − η b. Raises :class:`UsageError` where the Hessian is
    not positive definite or the learning rate is too large.
    """
    hessian, noise = np.asarray(hessian, float), np.asarray(noise, float)
    theory.check_stable(np.linalg.eigvalsh(hessian), learning_rate, momentum)
    identity = np.eye(len(hessian))
    matrix = np.block(
        [
            [identity - learning_rate * hessian, -learning_rate * momentum * identity],
            [hessian, momentum * identity],
        ]
    )
    response = np.vstack([-learning_rate * identity, identity])
    return matrix, response @ noise @ response.T


def stationary_covariance(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the exact stationary covariance (2 P, 2 P) of weights and buffer.

    It solves C = M C Mᵀ + N, the discrete Lyapunov equation, with M and N of
    :func:`linear_chain`.

    >>> stationary_covariance([[1.0]], [[3.0]], 0.5)[0, 0].round(12)
    np.float64(1.0)
    """
    return solve_discrete_lyapunov(
        *linear_chain(hessian, noise, learning_rate, momentum)
    )


def gaussian_distance(
    mean: NDArray, covariance: NDArray, other_mean: NDArray, other_covariance: NDArray
) -> float:
    """Return the Wasserstein distance W₂ of two normal distributions.

    W₂² = ‖m − m′‖² + tr(C + C′ − 2 (C^½ C′ C^½)^½), in squared units of the variable.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    cross = np.linalg.eigvalsh(root @ other_covariance @ root)
    square = (
        np.sum((mean - other_mean) ** 2) - 2 * np.sqrt(np.maximum(cross, 0.0)).sum()
    )
    square += np.trace(covariance + other_covariance)
    return math.sqrt(max(square, 0.0))


def plane_matrices(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the Hessian and the covariance of the gradient noise, both (2, 2)."""
    for name in ("curvatures", "noise_variances", "start"):
        if len(getattr(settings, name)) != 2:
            raise UsageError(f"The setting {name} takes two numbers.")
    if min(settings.noise_variances) < 0:
        raise UsageError("A noise variance must not be negative.")
    angle = math.radians(settings.angle)
    axes = np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    return axes @ np.diag(settings.curvatures) @ axes.T, np.diag(
        settings.noise_variances
    )


def plane_moments(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the exact mean (K + 1, 4) and covariance (K + 1, 4, 4) at each step."""
    matrix, noise = linear_chain(
        *plane_matrices(settings), settings.learning_rate, settings.momentum
    )
    means, covariances = [np.array([*settings.start, 0.0, 0.0])], [np.zeros((4, 4))]
    for _ in range(settings.steps):
        means.append(matrix @ means[-1])
        covariances.append(matrix @ covariances[-1] @ matrix.T + noise)
    return np.array(means), np.array(covariances)


def distances_to_stationary(settings: Plane) -> NDArray:
    """Return the exact W₂ (K + 1,) between the weights' law at each step and its limit."""
    limit = stationary_covariance(
        *plane_matrices(settings), settings.learning_rate, settings.momentum
    )[:2, :2]
    means, covariances = plane_moments(settings)
    return np.array(
        [
            gaussian_distance(mean[:2], covariance[:2, :2], np.zeros(2), limit)
            for mean, covariance in zip(means, covariances, strict=True)
        ]
    )


def plane_sample(settings: Plane, recorded: ArrayLike) -> NDArray:
    """Return the weights (len(recorded), trajectories, 2) of the ensemble at some steps.

    The state itself is updated, b ← β b + H θ + ξ and θ ← θ − η b, without the
    matrices of the theory.
    """
    hessian, noise = plane_matrices(settings)
    generator = np.random.default_rng(settings.seed)
    deviations = np.sqrt(np.diag(noise))
    theta = np.tile(np.array(settings.start, float), (settings.trajectories, 1))
    buffer, kept = np.zeros_like(theta), {}
    for step in range(settings.steps + 1):
        if step in set(recorded):
            kept[step] = theta
        errors = deviations * generator.standard_normal(theta.shape)
        buffer = settings.momentum * buffer + theta @ hessian + errors
        theta = theta - settings.learning_rate * buffer
    return np.array([kept[step] for step in recorded])


def plane_times(settings: Plane) -> NDArray:
    """Return the steps at which the ensemble is measured, the last among them."""
    return np.unique(np.geomspace(1, settings.steps, 16).round().astype(int))


def noisy_plane(settings: Plane) -> list[tuple]:
    """Compare an ensemble of SGD in the plane with its exact distributions.

    Rows at some steps: ``covariance_11``, ``_12``, ``_22`` of the weights over the
    ensemble with standard errors, and ``distance``, the largest gap between the
    distribution function of θᵀ C⁻¹ θ, C the stationary covariance, and that of χ²
    with two degrees of freedom. Raises :class:`UsageError` for what is unstable.
    """
    if settings.trajectories < 2:
        raise UsageError("The setting trajectories must be at least 2, for errors.")
    stationary = stationary_covariance(
        *plane_matrices(settings), settings.learning_rate, settings.momentum
    )[:2, :2]
    rows, times = [], plane_times(settings)
    for step, theta in zip(times.tolist(), plane_sample(settings, times), strict=True):
        centred = theta - theta.mean(0)
        correction = len(theta) / (len(theta) - 1)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            value, error = mean_and_error(centred[:, i] * centred[:, j])
            name = f"covariance_{i + 1}{j + 1}"
            rows.append((step, math.nan, name, value * correction, error))
        squares = (theta @ np.linalg.inv(stationary) * theta).sum(1)
        gap = float(ks_1samp(squares, chi2(2).cdf).statistic)
        rows.append((step, math.nan, "distance", gap, math.nan))
    return rows


def reshuffled_ratio(
    curvature: float, learning_rate: float, momentum: float, per_epoch: int
) -> float:
    """Return E[θ f′(θ)] over η (1 + β)/2 E b² where epochs are reshuffled.

    One direction of a quadratic; the noises of the ``per_epoch`` minibatches do not
    depend on the weight, sum to zero, and come in a new random order in each epoch.
    The means are over the stationary state and the positions in an epoch. With
    independent minibatches the ratio is 1 (book: chapter 6). Raises
    :class:`UsageError` where there is no stationary state or a single minibatch.
    """
    if per_epoch < 2:
        raise UsageError("Reshuffling needs at least two minibatches in an epoch.")
    matrix, _ = linear_chain([[curvature]], [[1.0]], learning_rate, momentum)
    radius = max(abs(np.linalg.eigvals(matrix)))
    epochs = 2 + math.ceil(40 / (per_epoch * -math.log(radius)))  # what is left: e^-40
    state, responses = np.array([-learning_rate, 1.0]), []
    for _ in range(epochs * per_epoch):
        responses.append(state)
        state = matrix @ state
    weight, buffer = np.array(responses).T  # to the noise of m steps ago, m = 0, 1, ...
    products, squares = [], []
    for position in range(per_epoch):  # so many noises of the epoch came before
        products.append(-weight[:position].sum() / (per_epoch - 1))
        starts = np.arange(position + 1, len(buffer), per_epoch)
        sums = np.add.reduceat(buffer, np.r_[0, starts])
        square = per_epoch * (buffer**2).sum() - (sums**2).sum()
        squares.append(square / (per_epoch - 1))
    whole = learning_rate * (1 + momentum) / 2 * np.mean(squares)
    return float(1 - np.mean(products) / whole)
