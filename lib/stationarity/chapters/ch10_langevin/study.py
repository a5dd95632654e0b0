"""Linear regression by SGD with momentum (chapter 10): simulations, and exact moments.

The loss is the mean of (xᵢ·w − yᵢ)² / 2, and λ ‖w‖² / 2. Everything is in the eigenbasis of the
Hessian H = XᵀX / N, with positions θ = w − μ measured from the minimum μ, in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from ... import data
from ...errors import UsageError
from ...runs.metrics import common_rows, rows
from ...theory import simulation
from ...theory.discrete import check_stable, iterate, transition

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import Regression

# Of constant covariance; minibatches with replacement; those of reshuffled epochs.
NOISES = ("gaussian", "replacement", "reshuffled")
STATE_DEPENDENT = "state-dependent"  # the theory of true minibatches
MOMENTS = (
    "position_mean", "velocity_mean", "position_variance", "velocity_variance",
    "covariance",
)  # fmt: skip
TOTALS = ("position_squared", "velocity_squared", "displacement_squared")  # of all directions
POWERS = [(p, q) for p in range(5) for q in range(5 - p)]  # of position and velocity


def recorded_steps(last: int) -> NDArray:
    """Return about 28 steps from 1 to the last, evenly in the logarithm."""
    return np.unique(np.geomspace(1, last, 28).round().astype(int))


def ensemble(noise: str, triple: tuple[float, float, int]) -> str:
    """Return what rows are of: a noise, and a learning rate, momentum and batch size."""
    return "{}, learning rate {:g}, momentum {:g}, batch {}".format(noise, *triple)


class LeastSquares(NamedTuple):
    """A linear regression in the eigenbasis of its Hessian, its minimum at the origin."""

    inputs: NDArray  # (N, D)
    errors: NDArray  # (N,): yᵢ − xᵢ·μ, what the minimum leaves
    minimum: NDArray  # (D,): μ
    hessian: NDArray  # (D,): eigenvalues ρ without decay, descending
    curvature: NDArray  # (D,): h = ρ + λ
    noise_of_example: NDArray  # (D,): variances of one example's gradient at the minimum
    weight_decay: float


def least_squares(inputs: NDArray, targets: NDArray, weight_decay: float = 0.0) -> LeastSquares:
    """Return the regression of ``targets`` (N,) on ``inputs`` (N, D), turned to its axes.

    Raises :class:`UsageError` where the minimum is not unique.
    """
    values, axes = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    values, axes = values[::-1], axes[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(len(axes))] < 0, -1, 1)
    if not values[-1] + weight_decay > 1e-12 * values[0]:
        raise UsageError(
            f"The Hessian's smallest eigenvalue, {values[-1]:.3g} with the largest "
            f"{values[0]:.3g}, must be positive: take more examples than inputs, or decay."
        )
    turned, curvature = inputs @ axes, values + weight_decay
    minimum = turned.T @ targets / len(inputs) / curvature
    errors = targets - turned @ minimum
    slopes = turned * errors[:, None]
    noise = (slopes**2).mean(0) - slopes.mean(0) ** 2
    return LeastSquares(turned, errors, minimum, values, curvature, noise, weight_decay)


def gradients(given: LeastSquares, batch_size: int, *, reshuffled: bool) -> simulation.Noise:
    """Return the gradients on minibatches, for :func:`stationarity.theory.simulation.follow`.

    Each trajectory draws its own, with replacement or from ``reshuffled`` epochs, without the
    rest that fills no minibatch.
    """
    pull = given.weight_decay * given.minimum

    def begin(generator: Generator, shape: tuple[int, int]) -> simulation.Gradient:
        many, dimensions = shape
        batches = _batches(generator, (many, batch_size), len(given.inputs), reshuffled)
        rows = np.empty((many, batch_size, dimensions))

        def gradient(position: NDArray, out: NDArray) -> None:
            indices = next(batches)
            np.take(given.inputs, indices, axis=0, out=rows, mode="clip")
            misses = (rows @ position[..., None])[..., 0] - given.errors[indices]
            np.matmul(misses[:, None, :], rows, out=out[:, None, :])
            out /= batch_size
            if given.weight_decay:
                out += given.weight_decay * position + pull

        return gradient

    return begin


def _batches(generator: Generator, shape: tuple[int, int], count: int, reshuffled: bool):
    """Yield the examples (many, size) of minibatches from ``count``, without end."""
    while not reshuffled:
        yield generator.integers(count, size=shape)
    many, size = shape
    order = np.tile(np.arange(count), (many, 1))
    while True:
        generator.permuted(order, axis=1, out=order)
        for first in range(0, count - size + 1, size):
            yield order[:, first : first + size]


def exact_moments(given: LeastSquares, rate, momentum, batch_size, *, start, recorded):
    """Return the exact moments of SGD on minibatches drawn with replacement.

    From ``start`` (D,) with velocity 0, at the ``recorded`` steps (K,), rising: the mean of
    (position, velocity), (K, D, 2), and the covariance in each direction, (K, D, 2, 2): the
    noise's is quadratic in the weights, so that these close. 4 N D² operations a step.
    """
    inputs, errors, (count, dimensions) = given.inputs, given.errors, given.inputs.shape
    rows = transition(given.curvature, rate, momentum)
    matrix = np.block([[np.diag(entry) for entry in row] for row in rows.transpose(1, 2, 0)])
    response = np.kron([[rate], [1.0]], np.eye(dimensions))
    state = np.concatenate([start, np.zeros(dimensions)])
    second, kept = np.outer(state, state), []  # E of (θ, v) times its transpose
    pull = inputs.T @ errors / count  # λ μ, the loss's own slope, downhill
    for step in range(max(recorded) + 1):
        if step in recorded:
            kept.append((state, second - np.outer(state, state)))
        place, positions = state[:dimensions], second[:dimensions, :dimensions]
        squares = ((inputs @ positions) * inputs).sum(1)
        squares += errors * (errors - 2 * (inputs @ place))  # E (xᵢ·θ − eᵢ)²
        slope = given.hessian * place
        common = given.hessian[:, None] * positions * given.hessian
        common += np.outer(pull, pull) - np.outer(slope, pull) - np.outer(pull, slope)
        # The covariance of one example's gradient, over the law of θ.
        noise = (inputs * squares[:, None]).T @ inputs / count - common
        state = matrix @ state
        second = matrix @ second @ matrix.T
        second += response @ noise @ response.T / batch_size
    mean, covariance = map(np.array, zip(*kept, strict=True))
    covariance = covariance.reshape(-1, 2, dimensions, 2, dimensions)
    directions = np.einsum("kidjd->kdij", covariance)
    return mean.reshape(-1, 2, dimensions).swapaxes(1, 2), directions


def problem(settings: Regression, place: Place) -> tuple[LeastSquares, NDArray]:
    """Return the regression of the settings and its start θ₀ − μ (D,).

    Synthetic inputs have the Hessian's eigenvalues exactly. On images the start is the weight
    0. Raises as :func:`least_squares`.
    """
    count, dimensions = settings.examples, settings.dimensions
    if settings.images:
        how = {"dtype": torch.float64, "batch_size": count, "examples": count}
        dataset = place.load(data.load, settings.images, **how)
        inputs, labels = (
            part.cpu().numpy() for part in data.whole(dataset.partition(), settings.side)
        )
        given = least_squares(inputs, labels == 0, settings.weight_decay)
        return given, -given.minimum
    generator = np.random.default_rng(settings.seed)
    normal = generator.standard_normal((count, dimensions + 1))
    orthogonal = np.linalg.qr(normal)[0] * math.sqrt(count)
    deviations = np.arange(1.0, dimensions + 1) ** (-settings.exponent / 2)
    # Equally large at every example, so that the noise's covariance is nearly σ² H.
    errors = generator.choice([-1.0, 1.0], count) * settings.label_noise
    inputs = orthogonal[:, :-1] * deviations
    given = least_squares(inputs, errors, settings.weight_decay)
    return given, settings.distance * generator.choice([-1.0, 1.0], dimensions)


def linear_regression(settings: Regression, place: Place) -> list[tuple]:
    """Simulate linear regression with each noise and each triple; return rows of metrics.

    ``curvature``, ``noise_of_example`` and ``start`` by direction (``index``); and of each
    :func:`ensemble` at :func:`recorded_steps` the :data:`MOMENTS` of the leading directions
    and the :data:`TOTALS`: E‖θ−μ‖², E‖v‖², and E‖θ_{t+k}−θ_t‖² with t = ``steps``, whose step
    is the lag k. Errors are over trajectories; exact values have none. Raises
    :class:`UsageError` for what is unstable, before long work.
    """
    given, start = problem(settings, place)
    for triple in settings.triples:
        check_stable(given.curvature, *triple[:2])
    constants = {"curvature": given.curvature, "noise_of_example": given.noise_of_example}
    metrics = common_rows(constants | {"start": start}, index=range(len(start)))
    kinds = NOISES + (STATE_DEPENDENT,) * settings.state_dependent
    parts = list(itertools.product(settings.triples, kinds))
    early, late = recorded_steps(settings.steps), recorded_steps(settings.lags)
    leading = range(min(settings.directions, len(start)))
    axes = {name: {"index": leading, "step": early} for name in MOMENTS}
    axes |= {name: {"step": at} for name, at in zip(TOTALS, (early, early, late), strict=True)}
    with place.keeper.progress("linear regression", len(parts), "part") as bar:
        for triple, noise in parts:
            of = ensemble(noise, triple)

            def compute():
                bar.advance()
                law = _exact if noise == STATE_DEPENDENT else _simulated
                measured = law(settings, given, start, triple, early, late, noise)
                return [
                    row
                    for name, values, errors in measured
                    for row in rows(name, values.T, np.transpose(errors), of=of, **axes[name])
                ]

            metrics += place.keeper.part(of, compute)
    return metrics


def _simulated(settings, given, start, triple, early, late, noise: str) -> list[tuple]:
    """Return :data:`MOMENTS` (K, D') of leading directions and :data:`TOTALS`, with errors."""
    rate, momentum, size = triple
    if noise == "gaussian":
        law = simulation.gaussian(given.curvature, np.sqrt(given.noise_of_example / size))
        many = settings.trajectories
    else:
        law = gradients(given, size, reshuffled=noise == "reshuffled")
        many = settings.minibatch_trajectories
    # The exact means of all simulations but the reshuffled one.
    still = np.stack([start, np.zeros_like(start)], -1)
    centre = _moved(given, triple, still, early)[:, : settings.directions]
    recorded = np.concatenate([early, settings.steps + late])
    how = {"trajectories": many, "recorded": recorded, "start": start, "momentum": momentum}
    how |= {"seed": settings.seed + NOISES.index(noise)}
    rates = np.full(recorded[-1], rate)
    blocks = simulation.follow(law, rates, summary=lambda x: _sums(centre, x), **how)
    powers, (mean, square) = (sum(part) / many for part in zip(*blocks, strict=True))
    values, errors = _moments(dict(zip(POWERS, powers, strict=True)), many)
    values[:2] += centre.transpose(2, 0, 1)
    error = np.sqrt(np.maximum(square - mean**2, 0.0) / (many - 1))
    totals = (np.split(one, [len(early), 2 * len(early)]) for one in (mean, error))
    return [*zip(MOMENTS, values, errors, strict=True), *zip(TOTALS, *totals, strict=True)]


def _sums(centre: NDArray, states: NDArray) -> tuple[NDArray, NDArray]:
    """Return sums over ``states`` (K + L, b, D, 2): of powers; of totals and their squares."""
    count, leading = centre.shape[:2]
    # About the centre (K, D', 2), to be small.
    x, v = np.moveaxis(states[:count, :, :leading] - centre[:, None], -1, 0)
    xs, vs = (
        list(itertools.accumulate([one] * 4, np.multiply, initial=np.ones_like(one)))
        for one in (x, v)
    )
    powers = np.array([np.einsum("kbd,kbd->kd", xs[p], vs[q]) for p, q in POWERS])
    squares = np.moveaxis((states[:count] ** 2).sum(2), -1, 0)
    moved = ((states[count:, ..., 0] - states[count - 1, ..., 0]) ** 2).sum(-1)
    totals = np.ascontiguousarray(np.concatenate([*squares, moved]).T)
    return powers, np.array([totals.sum(0), (totals**2).sum(0)])


def _moments(a: dict, many: int) -> tuple[NDArray, NDArray]:
    """Return :data:`MOMENTS` (5, ...) and their errors from mean powers a[p, q]."""
    first, second, third, fourth = (np.array([a[p, 0], a[0, p]]) for p in range(1, 5))
    (x, v), variance = first, second - first**2
    cross = a[1, 1] - x * v
    spread = fourth - 4 * third * first + 6 * second * first**2 - 3 * first**4 - variance**2
    mixed = a[2, 2] - 2 * a[1, 2] * x - 2 * a[2, 1] * v + a[0, 2] * x**2 + a[2, 0] * v**2
    mixed = mixed + 4 * a[1, 1] * x * v - 3 * x**2 * v**2 - cross**2
    squares = np.array([*variance, *spread, mixed])
    unbiased = many / (many - 1)
    values = np.array([x, v, *variance * unbiased, cross * unbiased])
    return values, np.sqrt(np.maximum(squares, 0.0) / many)


def _moved(given: LeastSquares, triple, state: NDArray, steps: NDArray) -> NDArray:
    """Return what the exact mean ``state`` (D, 2) is after some steps, (K, D, 2)."""
    return iterate(transition(given.curvature, *triple[:2]), 0 * state, state, steps)


def _exact(settings, given, start, triple, early, late, _) -> list[tuple]:
    """Return the same, exactly, of minibatches with replacement."""
    recorded = np.concatenate([early, settings.steps + late])
    moments = exact_moments(given, *triple, start=start, recorded=recorded)
    values = by_name(*moments, late, lambda one: _moved(given, triple, one, late))
    each = [(name, values[name][:, : settings.directions], math.nan) for name in MOMENTS]
    return each + [(name, values[name].sum(-1), math.nan) for name in TOTALS]


def by_name(mean, covariance, lags, moved: Callable) -> dict[str, NDArray]:
    """Return a theory's quantities (K, D), or (L, D) of displacements, by name.

    From means (K + L, D, 2) and covariances (K + L, D, 2, 2) at K steps, and at L ``lags``
    after the last. ``moved`` gives a mean, or E θ_{t+k} θ_t, after the lags, (L, D, 2).
    """
    second = covariance + mean[..., :, None] * mean[..., None, :]
    later, last = second[-len(lags) :, :, 0, 0], second[-len(lags) - 1]
    mean, covariance, second = (one[: -len(lags)] for one in (mean, covariance, second))
    displaced = later + last[:, 0, 0] - 2 * moved(last[..., 0])[..., 0]
    variances, squares = (np.diagonal(one, axis1=-2, axis2=-1) for one in (covariance, second))
    pairs = [part[..., i] for part in (mean, variances) for i in (0, 1)]
    parts = [*pairs, covariance[..., 0, 1], squares[..., 0], squares[..., 1], displaced]
    return dict(zip(MOMENTS + TOTALS, parts, strict=True))
