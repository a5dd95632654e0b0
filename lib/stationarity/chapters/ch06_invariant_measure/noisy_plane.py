"""SGD with momentum on a quadratic with any covariance of its gradient noise.

Weights and momentum buffer follow the linear recursion

    b ← β b + H θ + ξ,    θ ← θ − η b,

so that mean and covariance are known exactly. Unlike in :mod:`stationarity.theory`
the noise need not share the eigenvectors of the Hessian H. Book: chapter 6.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import chi2, ks_1samp

from ... import theory
from ...runs import metrics
from ...stats.estimate import mean_and_error

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import Plane


def linear_chain(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> tuple[NDArray, NDArray]:
    """Return the matrix and the noise covariance (2 P, 2 P) of one step of (θ, b).

    ``hessian`` and the covariance ``noise`` of a minibatch gradient are (P, P).
    Raises :class:`UsageError` where the Hessian is not positive definite or the
    learning rate is too large.
    """
    hessian, noise = np.asarray(hessian, float), np.asarray(noise, float)
    theory.check_stable(np.linalg.eigvalsh(hessian), learning_rate, momentum)
    one, rate = np.eye(len(hessian)), learning_rate
    matrix = np.block(
        [[one - rate * hessian, -rate * momentum * one], [hessian, momentum * one]]
    )
    response = np.vstack([-rate * one, one])
    return matrix, response @ noise @ response.T


def stationary_covariance(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the exact stationary covariance (2 P, 2 P) of weights and buffer.

    It solves C = M C Mᵀ + N, the discrete Lyapunov equation, with M and N of
    :func:`linear_chain`, and raises what that does.

    >>> stationary_covariance([[1.0]], [[3.0]], 0.5)[0, 0].round(12)
    np.float64(1.0)
    """
    return solve_discrete_lyapunov(*linear_chain(hessian, noise, learning_rate, momentum))


def plane_matrices(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the Hessian and the covariance of the gradient noise, both (2, 2)."""
    cosine, sine = (f(math.radians(settings.angle)) for f in (math.cos, math.sin))
    axes = np.array([[cosine, -sine], [sine, cosine]])
    return axes @ np.diag(settings.curvatures) @ axes.T, np.diag(settings.noise_variances)


def plane_sample(settings: Plane, recorded: ArrayLike) -> NDArray:
    """Return the weights (len(recorded), trajectories, 2) of the ensemble at some steps.

    The state itself is updated, without the matrices of the theory.
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


def noisy_plane(settings: Plane, place: Place) -> list[tuple]:
    """Compare an ensemble of SGD in the plane with its exact distributions.

    Rows at some steps: ``covariance`` of the weights i and j (``index`` 2 i + j) over
    the ensemble with standard errors, and ``distance``, the largest gap between the
    distribution function of θᵀ C⁻¹ θ, C the stationary covariance, and that of χ²
    with two degrees of freedom.
    """
    stationary = stationary_covariance(
        *plane_matrices(settings), settings.learning_rate, settings.momentum
    )[:2, :2]
    times = np.unique(np.geomspace(1, settings.steps, 16).round().astype(int))
    rows = []
    for step, theta in zip(times, plane_sample(settings, times), strict=True):
        centred = theta - theta.mean(0)
        correction = len(theta) / (len(theta) - 1)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            value, error = mean_and_error(centred[:, i] * centred[:, j])
            at = {"index": 2 * i + j, "step": step}
            rows += metrics.rows("covariance", value * correction, error, **at)
        squares = (theta @ np.linalg.inv(stationary) * theta).sum(1)
        gap = ks_1samp(squares, chi2(2).cdf).statistic
        rows += metrics.rows("distance", gap, step=step)
    return rows
