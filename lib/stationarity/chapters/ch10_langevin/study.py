"""Linear regression by SGD with momentum (chapter 10): simulations, and exact moments."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ... import data
from ...runs.metrics import common_rows, rows
from ...theory import simulation
from ...theory.discrete import check_stable, iterate, transition
from . import minibatches
from .minibatches import LeastSquares

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
    """Return about 28 steps from 1 to the last, evenly in the logarithm.

    >>> recorded_steps(6)
    array([1, 2, 3, 4, 5, 6])
    """
    return np.unique(np.geomspace(1, last, 28).round().astype(int))


def ensemble(noise: str, triple: tuple[float, float, int]) -> str:
    """Return what rows are of: a noise, and a learning rate, momentum and batch size.

    >>> ensemble("gaussian", (0.1, 0.9, 32))
    'gaussian, learning rate 0.1, momentum 0.9, batch 32'
    """
    rate, momentum, size = triple
    return f"{noise}, learning rate {rate:g}, momentum {momentum:g}, batch {size}"


def problem(settings: Regression, place: Place) -> tuple[LeastSquares, NDArray]:
    """Return the regression of the settings and its start θ₀ − μ (D,).

    Synthetic inputs have the Hessian's eigenvalues exactly. Images are the pixels,
    normalised in each channel; their start is the weight 0. Raises :class:`UsageError`
    for data without a problem.
    """
    count, dimensions = settings.examples, settings.dimensions
    if settings.images:
        how = {"dtype": torch.float64, "data_root": place.data_root, "device": place.device}
        dataset = data.load(settings.images, batch_size=count, examples=count, **how)
        inputs, labels = (part.cpu().numpy() for part in data.whole(dataset.partition()))
        given = minibatches.least_squares(inputs, labels == 0, settings.weight_decay)
        return given, -given.minimum
    generator = np.random.default_rng(settings.seed)
    normal = generator.standard_normal((count, dimensions + 1))
    orthogonal = np.linalg.qr(normal)[0] * math.sqrt(count)
    deviations = np.arange(1.0, dimensions + 1) ** (-settings.exponent / 2)
    # Equally large at every example, so that the noise's covariance is nearly σ² H.
    errors = generator.choice([-1.0, 1.0], count) * settings.label_noise
    inputs = orthogonal[:, :-1] * deviations
    given = minibatches.least_squares(inputs, errors, settings.weight_decay)
    return given, settings.distance * generator.choice([-1.0, 1.0], dimensions)


def linear_regression(settings: Regression, place: Place) -> list[tuple]:
    """Simulate linear regression with each noise and each triple; return rows of metrics.

    ``curvature``, ``noise_of_example`` and ``start`` have the direction as their index;
    all others are of an :func:`ensemble`. The :data:`MOMENTS` of the leading directions
    are at :func:`recorded_steps` up to ``steps``, and so are the sums over all directions
    ``position_squared``, E‖θ−μ‖², and ``velocity_squared``; ``displacement_squared``,
    E‖θ_{t+k}−θ_t‖² with t = ``steps``, of the leading directions and of all, has its lag
    k as the step. Errors are standard errors over trajectories; exact values, with
    ``state_dependent``, have none. Raises :class:`UsageError` for what is unstable,
    before long work.
    """
    given, start = problem(settings, place)
    for triple in settings.triples:
        check_stable(given.curvature, *triple[:2])
    constants = {"curvature": given.curvature, "noise_of_example": given.noise_of_example}
    found = common_rows(constants | {"start": start}, index=range(len(start)))
    kinds = NOISES + (STATE_DEPENDENT,) * settings.state_dependent
    total = len(settings.triples) * len(kinds)
    with place.keeper.progress("linear regression", total, "part") as bar:
        for triple in settings.triples:
            for noise in kinds:

                def compute():
                    bar.advance()
                    return _rows(settings, given, start, triple, noise)

                found += place.keeper.part(ensemble(noise, triple), compute)
    return found


def _rows(settings: Regression, given: LeastSquares, start, triple, noise: str) -> list[tuple]:
    early, late = recorded_steps(settings.steps), recorded_steps(settings.lags)
    recorded, found = np.concatenate([early, settings.steps + late]), []
    law = _exact if noise == STATE_DEPENDENT else _simulated
    for quantity, values, errors in law(settings, given, start, triple, recorded, noise):
        axes = {"index": range(values.shape[1])} if values.ndim == 2 else {}
        axes["step"] = late if quantity == "displacement_squared" else early
        axes["of"] = ensemble(noise, triple)
        found += rows(quantity, values.T, np.transpose(errors), **axes)
    return found


def _simulated(settings, given, start, triple, recorded, noise: str) -> list[tuple]:
    """Return quantities with values (K,), or (K, D') of the leading directions, and errors."""
    rate, momentum, size = triple
    if noise == "gaussian":
        deviations = np.sqrt(given.noise_of_example / size)
        gradients = simulation.gaussian(given.curvature, deviations)
        many = settings.trajectories
    else:
        gradients = minibatches.gradients(given, size, reshuffled=noise == "reshuffled")
        many = settings.minibatch_trajectories
    # The exact means of all simulations but the reshuffled one.
    still = np.stack([start, np.zeros_like(start)], -1)
    centre = _moved(given, triple, still, recorded_steps(settings.steps))
    centre, rates = centre[:, : settings.directions], np.full(recorded[-1], rate)
    how = {"trajectories": many, "recorded": recorded, "start": start, "momentum": momentum}
    how |= {"seed": settings.seed + NOISES.index(noise)}
    blocks = simulation.follow(gradients, rates, summary=lambda x: _sums(centre, x), **how)
    powers, totals, moved = (sum(part) / many for part in zip(*blocks, strict=True))
    values, errors = _moments(dict(zip(POWERS, powers, strict=True)), many)
    values[:2] += centre.transpose(2, 0, 1)
    (squares, squares_error), (displaced, displaced_error) = (
        (mean, np.sqrt(np.maximum(square - mean**2, 0.0) / (many - 1)))
        for mean, square in (totals, moved)
    )
    return [
        *zip(MOMENTS, values, errors, strict=True),
        *zip(TOTALS[:2], squares.T, squares_error.T, strict=True),
        (TOTALS[2], displaced[:, :-1], displaced_error[:, :-1]),
        (TOTALS[2], displaced[:, -1], displaced_error[:, -1]),
    ]


def _sums(centre: NDArray, states: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return a block's sums: of products of powers, of total squares, of displacements.

    ``centre`` is (count, D', 2). The first ``count`` of the ``states`` (K, b, D, 2) come
    before the reference, which is the last of them. Powers are of the leading directions
    about the centre, which makes them small and changes no moment.
    """
    count, leading = centre.shape[:2]
    x, v = np.moveaxis(states[:count, :, :leading] - centre[:, None], -1, 0)
    powers = np.array([(x**p * v**q).sum(1) for p, q in POWERS])
    squares = (states[:count] ** 2).sum(2)  # (count, b, 2)
    change = (states[count:, ..., 0] - states[count - 1, ..., 0]) ** 2
    moved = np.concatenate([change[..., :leading], change.sum(-1, keepdims=True)], -1)
    return powers, *(np.array([one.sum(1), (one**2).sum(1)]) for one in (squares, moved))


def _moments(a: dict, many: int) -> tuple[NDArray, NDArray]:
    """Return means, variances, covariance (5, ...) and their errors, of mean powers a[p, q]."""
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


def _exact(settings, given, start, triple, recorded, _) -> list[tuple]:
    """Return what :func:`_simulated` does, exactly, of minibatches with replacement."""
    mean, covariance = minibatches.exact_moments(given, *triple, start=start, recorded=recorded)
    lags = recorded_steps(settings.lags)
    values = by_name(mean, covariance, lags, lambda one: _moved(given, triple, one, lags))
    each = {name: values[name][:, : settings.directions] for name in (*MOMENTS, TOTALS[-1])}
    parts = [*each.items(), *((name, values[name].sum(-1)) for name in TOTALS)]
    return [(name, part, math.nan) for name, part in parts]


def by_name(
    mean: NDArray, covariance: NDArray, lags: NDArray, moved: Callable[[NDArray], NDArray]
) -> dict[str, NDArray]:
    """Return the quantities (K, D) of a theory, those of displacements (L, D).

    Its means (K + L, D, 2) and covariances (K + L, D, 2, 2) are those of K steps and of L
    ``lags`` after the last of them; ``moved`` says what a mean (D, 2) is after the lags,
    (L, D, 2). As noise has mean zero given the past, E θ_{t+k} θ_t moves as a mean does.
    """
    second = covariance + mean[..., :, None] * mean[..., None, :]
    later, last = second[-len(lags) :, :, 0, 0], second[-len(lags) - 1]
    mean, covariance, second = (one[: -len(lags)] for one in (mean, covariance, second))
    return {
        "position_mean": mean[..., 0], "velocity_mean": mean[..., 1],
        "position_variance": covariance[..., 0, 0], "velocity_variance": covariance[..., 1, 1],
        "covariance": covariance[..., 0, 1],
        "position_squared": second[..., 0, 0], "velocity_squared": second[..., 1, 1],
        "displacement_squared": later + last[:, 0, 0] - 2 * moved(last[..., 0])[..., 0],
    }  # fmt: skip
