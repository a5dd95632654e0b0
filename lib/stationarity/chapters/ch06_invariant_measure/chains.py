"""Chains whose invariant measures are known: closed forms, and simulation.

What the theorems of chapter 6 say is held here against examples that can be
computed: a map, chains on finitely many states, SGD on a double well, and
weights whose norm is bounded. Everything is float64. Book: chapter 6.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.stats import arcsine, ks_1samp

from ...errors import UsageError
from .settings import DescentMap, DoubleWell, FiniteChains

BARRIER = 2 / math.sqrt(27)  # the steepest slope between the wells of (θ² − 1)² / 4


def mean_and_error(values: ArrayLike) -> tuple[float, float]:
    """Return the mean and its standard error."""
    values = np.asarray(values, float)
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


# --- a map: descent without noise that never settles ----------------------------


def cubic_gradient(theta: ArrayLike) -> NDArray:
    """Return f′(θ) = 4 θ² − 3 θ of f(θ) = 4 θ³ / 3 − 3 θ² / 2.

    A step of descent at learning rate 1 is the logistic map θ ← 4 θ (1 − θ),
    which maps [0, 1] to itself and leaves the arcsine law invariant.

    >>> float(0.25 - cubic_gradient(0.25)), 4 * 0.25 * 0.75
    (0.75, 0.75)
    """
    theta = np.asarray(theta, float)
    return 4 * theta**2 - 3 * theta


def orbits(starts: ArrayLike, steps: int) -> NDArray:
    """Return ``steps`` iterates of descent on the cubic, (steps, ...), the starts first."""
    theta = np.asarray(starts, float)
    kept = np.empty((steps, *theta.shape))
    for step in range(steps):
        kept[step] = theta
        theta = 4 * theta * (1 - theta)
    return kept


def descent_map(settings: DescentMap) -> list[tuple]:
    """Measure how fast histograms of descent on the cubic approach the arcsine law.

    Rows at each length T: ``distance``, the largest gap between the distribution
    function of the first T iterates and the arcsine law, and ``loss_change``, the
    size of the mean change of the loss per step; means over independent uniform
    starts with standard errors. ``different``: the smallest share of different
    numbers among the first T iterates of a start. It is 1 as long as rounding has
    not closed a cycle.
    """
    if settings.trajectories < 2:
        raise UsageError("The setting trajectories must be at least 2, for errors.")
    starts = np.random.default_rng(settings.seed).uniform(size=settings.trajectories)
    rows, paths = [], orbits(starts, max(settings.times) + 1).T
    losses = 4 * paths**3 / 3 - 3 * paths**2 / 2
    for time in settings.times:
        gaps = [ks_1samp(path[:time], arcsine.cdf).statistic for path in paths]
        changes = np.abs(losses[:, time] - losses[:, 0]) / time
        different = min(len(np.unique(path[:time])) for path in paths) / time
        rows.append((time, math.nan, "distance", *mean_and_error(gaps)))
        rows.append((time, math.nan, "loss_change", *mean_and_error(changes)))
        rows.append((time, math.nan, "different", different, 0.0))
    return rows


# --- finitely many states: distributions are vectors, the kernel is a matrix ------


def total_variation(one: ArrayLike, other: ArrayLike) -> float:
    """Return the largest difference of the probability of an event, in [0, 1].

    >>> total_variation([1.0, 0.0], [0.25, 0.75])
    0.75
    """
    return float(np.abs(np.asarray(one) - np.asarray(other)).sum() / 2)


def rounded_sgd(
    points: NDArray, learning_rate: float, noise: float
) -> sparse.csr_array:
    """Return the transition matrix (n, n) of SGD on θ²/2 with weights on a grid.

    The gradient is θ plus −noise, 0 or +noise, each with probability 1/3; the new
    weight is rounded to the nearest of the ``points`` (n,), which ascend.
    """
    matrix = np.zeros((len(points), len(points)))
    middles = (points[1:] + points[:-1]) / 2
    for error in (-noise, 0.0, noise):
        places = np.searchsorted(middles, points - learning_rate * (points + error))
        matrix[np.arange(len(points)), places] += 1 / 3
    return sparse.csr_array(matrix)


def rotation(states: int) -> sparse.csr_array:
    """Return the matrix of the chain that goes round its states, one a step."""
    return sparse.csr_array(np.roll(np.eye(states), 1, axis=1))


def drifting_walk(states: int) -> sparse.csr_array:
    """Return the matrix of a walk that stays or goes one up, each with 1/2.

    It stops in the last state, which no walk from the first reaches in fewer steps
    than there are states.
    """
    stays = np.full(states, 0.5)
    stays[-1] = 1.0
    rises = np.full(states - 1, 0.5)
    return sparse.diags_array([stays, rises], offsets=[0, 1], format="csr")


def telescoping(
    matrix: sparse.csr_array, start: NDArray, times: ArrayLike
) -> dict[str, NDArray]:
    """Follow distributions μ_k = μ_0 P^k and their averages ν_T over the first T.

    ``start`` (n,) is μ_0. Returns, for each T of ``times``: ``gap``, the total
    variation between ν_T P and ν_T; ``identity``, that between μ_T and μ_0 over T;
    ``one_step``, that between μ_T P and μ_T; ``ageing``, that between ν_T and ν_2T.
    """
    kept = [start]
    for _ in range(2 * max(times)):
        kept.append(kept[-1] @ matrix)
    sums = np.cumsum(kept, axis=0)
    rows = {"gap": [], "identity": [], "one_step": [], "ageing": []}
    for time in times:
        average, longer = sums[time - 1] / time, sums[2 * time - 1] / (2 * time)
        rows["gap"].append(total_variation(average @ matrix, average))
        rows["identity"].append(total_variation(kept[time], start) / time)
        rows["one_step"].append(total_variation(kept[time + 1], kept[time]))
        rows["ageing"].append(total_variation(average, longer))
    return {name: np.array(values) for name, values in rows.items()}


def finite_chains(settings: FiniteChains) -> list[tuple]:
    """Compute :func:`telescoping` for three chains; each starts in its first state.

    Names of rows end in the chain: ``gap (rounded SGD)``, ``(rotation)``,
    ``(drifting walk)``. Nothing is random: errors are zero.
    """
    if settings.states < 2:
        raise UsageError("The setting states must be at least 2.")
    points = np.linspace(-4, 4, settings.states)
    matrices = {
        "rounded SGD": rounded_sgd(points, settings.learning_rate, settings.noise),
        "rotation": rotation(settings.states),
        "drifting walk": drifting_walk(2 * max(settings.times) + 2),
    }
    rows = []
    for name, matrix in matrices.items():
        start = np.eye(1, matrix.shape[0])[0]
        for quantity, values in telescoping(matrix, start, settings.times).items():
            rows += [
                (time, math.nan, f"{quantity} ({name})", float(value), 0.0)
                for time, value in zip(settings.times, values, strict=True)
            ]
    return rows


# --- two wells: how many invariant measures --------------------------------------


def well_radius(learning_rate: float, width: float) -> float:
    """Return an R such that SGD on (θ² − 1)²/4 maps [−R, R] to itself.

    The noise is uniform on [−width, width]. Raises :class:`UsageError` where the
    step is so large that weights may leave for good.

    >>> round(well_radius(0.3, 0.3), 3)
    1.132
    """
    if not (learning_rate > 0 and width >= 0):
        raise UsageError(
            f"The double well needs a positive learning rate, not {learning_rate:g}, "
            f"and a noise width that is not negative, not {width:g}."
        )
    grown, kick = 1 + learning_rate, learning_rate * width
    # The step without noise is grown θ − η θ³: its largest value for θ ≥ 0.
    radius = 2 / 3 * grown * math.sqrt(grown / (3 * learning_rate)) + kick
    if grown * radius - learning_rate * radius**3 - kick < -radius:
        raise UsageError(
            f"The learning rate {learning_rate:g} is too large for noise of width "
            f"{width:g} on the double well: weights may leave for good; take less."
        )
    return radius


def well_interval(learning_rate: float, width: float) -> tuple[float, float]:
    """Return the ends of an interval about the minimum 1 that SGD never leaves.

    They are the zeros of θ³ − θ + width and θ³ − θ − width next to 1 (book:
    proposition of chapter 6). Raises :class:`UsageError` where the noise is too
    wide for two wells, or the learning rate too large for the proof.

    >>> well_interval(0.3, 0.0)
    (1.0, 1.0)
    """
    if not 0 <= width < BARRIER:
        raise UsageError(
            f"Noise of width {width:g} is not below the steepest slope between the "
            f"wells, {BARRIER:.3f}: SGD can leave either of them."
        )
    low, high = (
        max(np.roots([1.0, 0.0, -1.0, shift]).real) for shift in (width, -width)
    )
    if learning_rate * (3 * high**2 - 1) > 1:
        raise UsageError(
            f"The learning rate {learning_rate:g} is too large for the proof, which "
            f"needs at most {1 / (3 * high**2 - 1):.3g} here."
        )
    return float(low), float(high)


def well_paths(settings: DoubleWell, width: float, start: float) -> NDArray:
    """Return paths (steps, trajectories) of SGD on (θ² − 1)²/4 from one start.

    The gradient θ³ − θ gets noise that is uniform on [−width, width].
    """
    generator = np.random.default_rng([settings.seed, round(1e6 * width), start > 0])
    theta = np.full(settings.trajectories, float(start))
    kept = np.empty((settings.steps, settings.trajectories))
    for step in range(settings.steps):
        noise = generator.uniform(-width, width, len(theta))
        theta = theta - settings.learning_rate * (theta**3 - theta + noise)
        kept[step] = theta
    return kept


def double_well(settings: DoubleWell) -> list[tuple]:
    """Average paths on a double well over the second half of their steps.

    Rows at the last step, for each width of the noise and each of two starts, in
    the minima −1 and 1: ``average (width 0.3, start -1)``, the mean over paths of
    their time averages of θ, with its standard error.
    """
    if settings.trajectories < 2:
        raise UsageError("The setting trajectories must be at least 2, for errors.")
    for width in settings.widths:
        well_radius(settings.learning_rate, width)
    rows = []
    for width in settings.widths:
        for start in (-1, 1):
            late = well_paths(settings, width, start)[settings.steps // 2 :]
            name = f"average (width {width:g}, start {start})"
            rows.append((settings.steps, math.nan, name, *mean_and_error(late.mean(0))))
    return rows


# --- norms that stay bounded -----------------------------------------------------


def weight_bound(start: float, gradient_bound: float, weight_decay: float) -> float:
    """Return max(‖θ_0‖, G / λ), which no weight exceeds (book: lemma of chapter 6).

    >>> weight_bound(start=1.0, gradient_bound=2.0, weight_decay=0.5)
    4.0
    """
    return max(start, gradient_bound / weight_decay)


def largest_decay_rate(momentum: float) -> float:
    """Return (1 − √β)²: the largest product of learning rate and decay for the bound.

    >>> largest_decay_rate(0.0)
    1.0
    """
    return (1 - math.sqrt(momentum)) ** 2


def balanced_square(
    learning_rate: float, weight_decay: float, gradient: float
) -> float:
    """Return the stationary ‖w‖² of weights with a tangential gradient of norm G/‖w‖.

    ‖w‖⁴ = η G² / (λ (2 − η λ)), the balance of growth and decay (book: chapter 6).
    """
    return math.sqrt(
        learning_rate
        * gradient**2
        / (weight_decay * (2 - learning_rate * weight_decay))
    )


def decayed_norms(
    gradients: NDArray, learning_rate: float, momentum: float, weight_decay: float
) -> NDArray:
    """Return ‖θ_k‖ (steps + 1,) from zero, for given gradients (steps, P) of the loss."""
    theta, buffer = np.zeros(gradients.shape[1]), np.zeros(gradients.shape[1])
    norms = [0.0]
    for gradient in gradients:
        buffer = momentum * buffer + gradient + weight_decay * theta
        theta = theta - learning_rate * buffer
        norms.append(float(np.linalg.norm(theta)))
    return np.array(norms)


def normalised_squares(
    start: NDArray, learning_rate: float, weight_decay: float, gradient: float,
    steps: int, seed: int = 0,
) -> NDArray:  # fmt: skip
    """Return ‖w_k‖² (steps + 1,) of weights that feed a normalisation.

    The gradient is tangential, in a random direction, with norm ``gradient`` / ‖w‖.
    """
    generator, weights = np.random.default_rng(seed), np.asarray(start, float)
    squares = [weights @ weights]
    for _ in range(steps):
        direction = generator.standard_normal(len(weights))
        direction -= (direction @ weights) / (weights @ weights) * weights
        tangent = direction * gradient / np.linalg.norm(direction)
        tangent /= math.sqrt(squares[-1])
        weights = (1 - learning_rate * weight_decay) * weights - learning_rate * tangent
        squares.append(weights @ weights)
    return np.array(squares)
