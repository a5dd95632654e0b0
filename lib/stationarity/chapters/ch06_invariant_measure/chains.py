"""Chains whose invariant measures are known, and how ensembles approach them (chapter 6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.linalg import solve_discrete_lyapunov
from scipy.stats import arcsine, chi2, ks_1samp

from ...errors import UsageError
from ...runs import metrics
from ...stats.estimate import mean_and_error
from ...theory.discrete import linear_chain

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import DescentMap, DoubleWell, FiniteChains, Plane

STARTS = (-1, 1)  # the minima of the double well


def orbits(starts: ArrayLike, steps: int) -> NDArray:
    """Return ``steps`` iterates (steps, ...) of the logistic map, the starts first.

    Its step θ ← 4 θ (1 − θ) is descent at learning rate 1 on f(θ) = 4 θ³ / 3 − 3 θ² / 2.
    """
    path = [np.asarray(starts, float)]
    while len(path) < steps:
        path.append(4 * path[-1] * (1 - path[-1]))
    return np.array(path)


def descent_map(settings: DescentMap, place: Place) -> list[tuple]:
    """Measure how fast histograms of :func:`orbits` approach the arcsine law.

    Rows at ``step`` T: ``distance``, the largest gap between the distribution function of
    T iterates and the law, and ``loss_change``, the size of the mean change of the loss per
    step, both means over independent uniform starts; ``different``, the smallest share of
    different numbers from any start.
    """
    starts = np.random.default_rng(settings.seed).uniform(size=settings.trajectories)
    rows, paths = [], orbits(starts, max(settings.times) + 1).T
    losses = 4 * paths**3 / 3 - 3 * paths**2 / 2
    for time in settings.times:
        gaps = [ks_1samp(path[:time], arcsine.cdf).statistic for path in paths]
        changes = np.abs(losses[:, time] - losses[:, 0]) / time
        different = min(len(np.unique(path[:time])) for path in paths) / time
        rows += metrics.rows("distance", *mean_and_error(gaps), step=time)
        rows += metrics.rows("loss_change", *mean_and_error(changes), step=time)
        rows += metrics.rows("different", different, 0.0, step=time)
    return rows


def finite_chains(settings: FiniteChains, place: Place) -> list[tuple]:
    """Compute :func:`telescoping` for three chains from their first states; ``step`` is T."""
    points, states = np.linspace(-4, 4, settings.states), np.eye(settings.states)
    far = 2 * max(settings.times) + 2  # states: more than a walk can pass
    matrices = {
        "rounded SGD": rounded_sgd(points, settings.learning_rate, settings.noise),
        "rotation": sparse.csr_array(np.roll(states, 1, axis=1)),  # one state a step
        "drifting walk": sparse.diags_array([0.5, 0.5], offsets=[0, 1], shape=(far, far)),
    }
    rows = []
    for name, matrix in matrices.items():
        start = np.eye(1, matrix.shape[0])[0]
        sums = telescoping(matrix, start, settings.times)
        rows += metrics.common_rows(sums, errors=0.0, of=name, step=settings.times)
    return rows


def telescoping(matrix: sparse.sparray, start: NDArray, times: ArrayLike) -> dict[str, NDArray]:
    """Follow distributions μ_k = μ_0 P^k from ``start`` (n,), and their averages ν_T over T.

    For each of ``times`` T the total variation: ``gap`` between ν_T P and ν_T; ``identity``,
    μ_T and μ_0, over T; ``one_step``, μ_T P and μ_T; ``ageing``, ν_T and ν_2T.
    """
    kept, times = [start], np.array(times)
    for _ in range(2 * max(times)):
        kept.append(kept[-1] @ matrix)
    kept = np.array(kept)
    sums = np.cumsum(kept, axis=0)
    average, longer = (sums[t - 1] / t[:, None] for t in (times, 2 * times))
    return {
        "gap": total_variation(np.ascontiguousarray(average @ matrix), average),
        "identity": total_variation(kept[times], start) / times,
        "one_step": total_variation(kept[times + 1], kept[times]),
        "ageing": total_variation(average, longer),
    }


def total_variation(one: ArrayLike, other: ArrayLike) -> NDArray:
    """Return the largest differences (...) of the probability of an event."""
    return np.abs(np.subtract(one, other)).sum(-1) / 2


def rounded_sgd(points: NDArray, learning_rate: float, noise: float) -> sparse.csr_array:
    """Return the transition matrix (n, n) of SGD on θ²/2, rounded to rising ``points`` (n,).

    The gradient is θ plus −noise, 0 or +noise, each with probability 1/3.
    """
    matrix = np.zeros((len(points), len(points)))
    middles = (points[1:] + points[:-1]) / 2
    for error in (-noise, 0.0, noise):
        places = np.searchsorted(middles, points - learning_rate * (points + error))
        matrix[np.arange(len(points)), places] += 1 / 3
    return sparse.csr_array(matrix)


def well_interval(learning_rate: float, width: float) -> tuple[float, float]:
    """Return the ends of an interval about 1 that SGD never leaves: zeros of θ³ − θ ± width.

    Raises :class:`UsageError` for noise or a rate too large for our proposition in chapter 6.
    """
    barrier = 2 / math.sqrt(27)
    if not 0 <= width < barrier:
        raise UsageError(
            f"Noise of width {width:g} is not below the steepest slope between the "
            f"wells, {barrier:.3f}: SGD can leave either of them."
        )
    low, high = (max(np.roots([1.0, 0.0, -1.0, shift]).real) for shift in (width, -width))
    if learning_rate * (3 * high**2 - 1) > 1:
        raise UsageError(
            f"The learning rate {learning_rate:g} is too large for the proof, which "
            f"needs at most {1 / (3 * high**2 - 1):.3g} here."
        )
    return float(low), float(high)


def well_paths(settings: DoubleWell, width: float, start: float) -> NDArray:
    """Return paths (steps, trajectories) of SGD on (θ² − 1)² / 4, with uniform noise."""
    generator = np.random.default_rng([settings.seed, round(1e6 * width), start > 0])
    path = [np.full(settings.trajectories, float(start))]
    for _ in range(settings.steps):
        gradient = path[-1] ** 3 - path[-1] + generator.uniform(-width, width, len(path[-1]))
        path.append(path[-1] - settings.learning_rate * gradient)
    return np.array(path[1:])


def double_well(settings: DoubleWell, place: Place) -> list[tuple]:
    """Measure the ``average`` of θ over the second half of paths.

    A row for each width of the noise, of ``width 0.3``, and each of ``STARTS`` (``index``).
    """
    rows = []
    for width in settings.widths:
        for index, start in enumerate(STARTS):
            late = well_paths(settings, width, start)[settings.steps // 2 :]
            at = {"of": f"width {width:g}", "index": index, "step": settings.steps}
            rows += metrics.rows("average", *mean_and_error(late.mean(0)), **at)
    return rows


def plane_matrices(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the Hessian and the covariance of the gradient noise, both (2, 2)."""
    cosine, sine = (f(math.radians(settings.angle)) for f in (math.cos, math.sin))
    axes = np.array([[cosine, -sine], [sine, cosine]])
    return axes @ np.diag(settings.curvatures) @ axes.T, np.diag(settings.noise_variances)


def stationary_covariance(hessian, noise, learning_rate: float, momentum=0.0) -> NDArray:
    """Return the exact stationary covariance (2 P, 2 P) of weights and buffer.

    It solves C = M C Mᵀ + N, with M and N of
    :func:`~stationarity.theory.discrete.linear_chain`, and raises what that does.
    """
    return solve_discrete_lyapunov(*linear_chain(hessian, noise, learning_rate, momentum))


def plane_sample(settings: Plane, recorded: ArrayLike) -> NDArray:
    """Return the weights (len(recorded), trajectories, 2) of the ensemble at rising steps."""
    hessian, noise = plane_matrices(settings)
    generator, deviations = np.random.default_rng(settings.seed), np.sqrt(np.diag(noise))
    theta = np.tile(np.array(settings.start, float), (settings.trajectories, 1))
    buffer, kept = np.zeros_like(theta), []
    for step in range(settings.steps + 1):
        if step in recorded:
            kept.append(theta)
        errors = deviations * generator.standard_normal(theta.shape)
        buffer = settings.momentum * buffer + theta @ hessian + errors
        theta = theta - settings.learning_rate * buffer
    return np.array(kept)


def noisy_plane(settings: Plane, place: Place) -> list[tuple]:
    """Compare an ensemble of SGD in the plane with its stationary law N(0, C).

    Rows at some steps: ``covariance`` of the weights i and j (``index`` 2 i + j), and
    ``distance``, the largest gap between the distribution functions of θᵀ C⁻¹ θ and of χ²
    with two degrees of freedom.
    """
    chosen = settings.learning_rate, settings.momentum
    stationary = stationary_covariance(*plane_matrices(settings), *chosen)[:2, :2]
    times = np.unique(np.geomspace(1, settings.steps, 16).round().astype(int))
    rows, correction = [], settings.trajectories / (settings.trajectories - 1)
    for step, theta in zip(times, plane_sample(settings, times), strict=True):
        centred = theta - theta.mean(0)
        value, error = mean_and_error(centred[:, [0, 0, 1]] * centred[:, [0, 1, 1]])
        at = {"index": [0, 1, 3], "step": step}
        rows += metrics.rows("covariance", value * correction, error, **at)
        squares = (theta @ np.linalg.inv(stationary) * theta).sum(1)
        rows += metrics.rows("distance", ks_1samp(squares, chi2(2).cdf).statistic, step=step)
    return rows
