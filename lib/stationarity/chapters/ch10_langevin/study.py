"""Linear regression by SGD with momentum (chapter 10): simulations, and exact moments.

The simulations draw Gaussian noise of constant covariance, minibatches with
replacement, or reshuffled epochs; the moments are those of
:mod:`stationarity.chapters.ch10_langevin.minibatches`, exact with replacement.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ... import data
from ...runs.metrics import rows
from ...theory import simulation
from ...theory.discrete import check_stable, iterate, transition
from . import minibatches
from .minibatches import LeastSquares

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import Regression

NOISES = ("gaussian", "replacement", "reshuffled")
STATE_DEPENDENT = "state-dependent"  # the theory of true minibatches
MOMENTS = (
    "position_mean", "velocity_mean", "position_variance", "velocity_variance",
    "covariance",
)  # fmt: skip
TOTALS = ("position_squared", "velocity_squared", "displacement_squared")  # of all directions
RECORDED = 28  # steps in each of the two parts of a run

# A quantity's values and errors: (K,), or (K, D') for D' directions, at K steps or lags.
Part = tuple[str, NDArray, NDArray | float]


def recorded_steps(last: int) -> NDArray:
    """Return about :data:`RECORDED` steps from 1 to the last, evenly in the logarithm.

    >>> recorded_steps(6)
    array([1, 2, 3, 4, 5, 6])
    """
    return np.unique(np.geomspace(1, last, RECORDED).round().astype(int))


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
    if settings.images:
        dataset = data.load(
            settings.images,
            batch_size=settings.examples,
            examples=settings.examples,
            dtype=torch.float64,
            data_root=place.data_root,
            device=place.device,
        )
        inputs, labels = (part.cpu().numpy() for part in data.whole(dataset.partition()))
        given = minibatches.least_squares(inputs, labels == 0, settings.weight_decay)
        return given, -given.minimum
    count, dimensions = settings.examples, settings.dimensions
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
    E‖θ_{t+k}−θ_t‖² with t = ``steps``, of the leading directions and, without an index,
    of all, has its lag k as the step. The error is a standard error over the
    trajectories. With ``state_dependent`` the exact values are of the noise
    :data:`STATE_DEPENDENT`. Raises :class:`UsageError` for what is unstable, before
    long work.
    """
    given, start = problem(settings, place)
    for rate, momentum, _ in settings.triples:
        check_stable(given.curvature, rate, momentum)
    directions, variances = range(len(start)), minibatches.noise_of_example(given)
    found = rows("curvature", given.curvature, index=directions)
    found += rows("noise_of_example", variances, index=directions)
    found += rows("start", start, index=directions)
    kinds = NOISES + ((STATE_DEPENDENT,) if settings.state_dependent else ())
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
    """Return the rows of one triple with one noise."""
    early, late = recorded_steps(settings.steps), recorded_steps(settings.lags)
    recorded = np.concatenate([early, settings.steps + late])
    if noise == STATE_DEPENDENT:
        parts = _exact(settings, given, start, triple, recorded)
    else:
        parts = _simulated(settings, given, start, triple, recorded, noise)
    found = []
    for quantity, values, errors in parts:
        axes = {"index": range(values.shape[1])} if values.ndim == 2 else {}
        axes["step"] = late if quantity == "displacement_squared" else early
        found += rows(
            quantity, values.T, np.transpose(errors), of=ensemble(noise, triple), **axes
        )
    return found


def _simulated(settings, given, start, triple, recorded, noise: str) -> list[Part]:
    """Return what an ensemble of trajectories has at the recorded steps."""
    rate, momentum, size = triple
    if noise == "gaussian":
        deviations = np.sqrt(minibatches.noise_of_example(given) / size)
        gradients = simulation.gaussian(given.curvature, deviations)
        many = settings.trajectories
    else:
        gradients = minibatches.gradients(given, size, reshuffled=noise == "reshuffled")
        many = settings.minibatch_trajectories
    # The exact means of all simulations but the reshuffled one.
    early, still = recorded_steps(settings.steps), np.stack([start, np.zeros_like(start)], -1)
    matrix = transition(given.curvature, rate, momentum)
    centre = iterate(matrix, np.zeros_like(still), still, early)[:, : settings.directions]
    blocks = simulation.follow(
        gradients,
        np.full(settings.steps + settings.lags, rate),
        trajectories=many,
        recorded=recorded,
        start=start,
        momentum=momentum,
        seed=settings.seed + NOISES.index(noise),
        summary=functools.partial(_sums, centre),
    )
    powers, totals, moved = (sum(part) / many for part in zip(*blocks, strict=True))
    values, errors = _moments(dict(zip(POWERS, powers, strict=True)), many)
    values[:2] += centre.transpose(2, 0, 1)
    squares, squares_error = _mean_and_error(*totals, many)
    displaced, displaced_error = _mean_and_error(*moved, many)
    return [
        *zip(MOMENTS, values, errors, strict=True),
        ("position_squared", squares[:, 0], squares_error[:, 0]),
        ("velocity_squared", squares[:, 1], squares_error[:, 1]),
        ("displacement_squared", displaced[:, :-1], displaced_error[:, :-1]),
        ("displacement_squared", displaced[:, -1], displaced_error[:, -1]),
    ]


POWERS = [(p, q) for p in range(5) for q in range(5) if p + q <= 2 or (p, q) == (2, 2)]
POWERS += [(3, 0), (4, 0), (0, 3), (0, 4), (2, 1), (1, 2)]


def _sums(centre: NDArray, states: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return a block's sums: of products of powers, of total squares, of displacements.

    ``centre`` is (count, D', 2). The first ``count`` of the ``states`` (K, b, D, 2) come
    before the reference, which is the last of them. Powers are of the leading directions
    about the centre, which makes them small and changes no moment.
    """
    count, leading = centre.shape[:2]
    near = states[:count, :, :leading] - centre[:, None]
    x, v = near[..., 0], near[..., 1]
    powers = np.array([(x**p * v**q).sum(1) for p, q in POWERS])
    squares = (states[:count] ** 2).sum(2)  # (count, b, 2)
    totals = np.array([squares.sum(1), (squares**2).sum(1)])
    change = states[count:, ..., 0] - states[count - 1, ..., 0]
    joined = np.concatenate(
        [change[..., :leading] ** 2, (change**2).sum(-1, keepdims=True)], -1
    )
    return powers, totals, np.array([joined.sum(1), (joined**2).sum(1)])


def _mean_and_error(mean: NDArray, square: NDArray, many: int) -> tuple[NDArray, NDArray]:
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0) / (many - 1))


def _moments(a: dict, many: int) -> tuple[NDArray, NDArray]:
    """Return means, variances, covariance (5, ...) and their errors, of mean powers a[p, q]."""
    x, v = a[1, 0], a[0, 1]

    def central(first, second, third, fourth):
        variance = second - first**2
        fourth = fourth - 4 * third * first + 6 * second * first**2 - 3 * first**4
        return variance, np.sqrt(np.maximum(fourth - variance**2, 0.0) / many)

    position, position_error = central(x, a[2, 0], a[3, 0], a[4, 0])
    velocity, velocity_error = central(v, a[0, 2], a[0, 3], a[0, 4])
    cross = a[1, 1] - x * v
    fourth = (
        a[2, 2]
        - 2 * a[1, 2] * x
        - 2 * a[2, 1] * v
        + a[0, 2] * x**2
        + a[2, 0] * v**2
        + 4 * a[1, 1] * x * v
        - 3 * x**2 * v**2
    )
    cross_error = np.sqrt(np.maximum(fourth - cross**2, 0.0) / many)
    means = [np.sqrt(np.maximum(s, 0.0) / many) for s in (position, velocity)]
    unbiased = many / (many - 1)
    values = [x, v, position * unbiased, velocity * unbiased, cross * unbiased]
    return np.array(values), np.array([*means, position_error, velocity_error, cross_error])


def _exact(settings, given, start, triple, recorded) -> list[Part]:
    """Return the exact values of SGD on minibatches with replacement, without errors."""
    mean, covariance = minibatches.exact_moments(given, *triple, start=start, recorded=recorded)
    matrix, lags = transition(given.curvature, *triple[:2]), recorded_steps(settings.lags)
    values = by_name(
        mean, covariance, lags, lambda state: iterate(matrix, 0 * state, state, lags)
    )
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
    early, second = slice(-len(lags)), covariance + mean[..., :, None] * mean[..., None, :]
    reference, later = second[early][-1], second[-len(lags) :, :, 0, 0]
    return {
        "position_mean": mean[early, :, 0], "velocity_mean": mean[early, :, 1],
        "position_variance": covariance[early, :, 0, 0],
        "velocity_variance": covariance[early, :, 1, 1],
        "covariance": covariance[early, :, 0, 1],
        "position_squared": covariance[early, :, 0, 0] + mean[early, :, 0] ** 2,
        "velocity_squared": covariance[early, :, 1, 1] + mean[early, :, 1] ** 2,
        "displacement_squared":
            later + reference[:, 0, 0] - 2 * moved(reference[..., 0])[..., 0],
    }  # fmt: skip
