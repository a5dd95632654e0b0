"""Linear regression by SGD with momentum (chapter 10): simulations beside three theories.

The theories are the Langevin equation of :mod:`stationarity.theory.continuous`, the
exact moments of :mod:`stationarity.theory.discrete` with noise of constant covariance,
and those of :mod:`stationarity.chapters.ch10_langevin.minibatches` with the noise of true
minibatches. The simulations draw Gaussian noise, minibatches with replacement, or
reshuffled epochs.
"""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from ... import data, theory
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...theory import discrete, simulation
from ...train.settings import Training
from .settings import Regression

NOISES = ("gaussian", "replacement", "reshuffled")
EXACT = "state-dependent"  # the theory of true minibatches
MOMENTS = (
    "position_mean", "velocity_mean", "position_variance", "velocity_variance",
    "covariance",
)  # fmt: skip
TOTALS = (
    "position_squared",
    "velocity_squared",
    "displacement_squared",
)  # over directions
RECORDED = 28  # steps in each of the two parts of a run


def recorded_steps(last: int) -> NDArray:
    """Return about :data:`RECORDED` steps from 1 to the last, evenly in the logarithm.

    >>> recorded_steps(6)
    array([1, 2, 3, 4, 5, 6])
    """
    return np.unique(np.geomspace(1, last, RECORDED).round().astype(int))


def triples(settings: Regression) -> list[tuple[float, float, int]]:
    """Return the learning rates, momenta and batch sizes that belong together.

    Raises :class:`UsageError` where they are not equally many.
    """
    given = (settings.learning_rates, settings.momenta, settings.batch_sizes)
    if len(set(map(len, given))) > 1 or not given[0]:
        raise UsageError(
            "The settings learning_rates, momenta and batch_sizes belong together: give "
            f"equally many of each, not {', '.join(str(len(part)) for part in given)}."
        )
    return list(zip(*given, strict=True))


def named(quantity: str, noise: str, triple: tuple, direction: int | None = None) -> str:
    """Return the name under which a run holds a quantity.

    >>> named("position_variance", "gaussian", (0.1, 0.9, 32), direction=3)
    'position_variance (gaussian, learning rate 0.1, momentum 0.9, batch 32, direction 3)'
    """
    rate, momentum, size = triple
    where = f"{noise}, learning rate {rate:g}, momentum {momentum:g}, batch {size}"
    return f"{quantity} ({where}{'' if direction is None else f', direction {direction}'})"


def problem(
    settings: Regression, data_root=None, device="cpu"
) -> tuple[theory.LeastSquares, NDArray]:
    """Return the regression of the settings and its start θ₀ − μ (D,).

    Synthetic inputs have the Hessian's eigenvalues exactly. Images are the pixels, normalised in each channel; their
    start is the weight 0. Raises :class:`UsageError` for settings without a problem.
    """
    if not settings.images:
        return _synthetic(settings)
    training = Training(
        dataset=settings.images, examples=settings.examples, model="mlp", epochs=1,
        batch_size=settings.examples, learning_rate=1.0, precision="float64",
    )  # fmt: skip
    images, labels = next(iter(data.load(training, data_root, device).partition()))
    inputs, targets = images.flatten(1).cpu().numpy(), (labels == 0).cpu().numpy()
    given = theory.least_squares(inputs, targets, settings.weight_decay)
    return given, -given.minimum


def _synthetic(settings: Regression) -> tuple[theory.LeastSquares, NDArray]:
    count, dimensions = settings.examples, settings.dimensions
    if not 0 < dimensions < count:
        raise UsageError(
            f"The setting examples must exceed dimensions, which is positive: it is {count}, "
            f"and dimensions is {dimensions}."
        )
    generator = np.random.default_rng(settings.seed)
    normal = generator.standard_normal((count, dimensions + 1))
    orthogonal = np.linalg.qr(normal)[0] * math.sqrt(count)
    deviations = np.arange(1.0, dimensions + 1) ** (-settings.exponent / 2)
    inputs = orthogonal[:, :-1] * deviations
    # Equally large at every example, so that the noise's covariance is nearly σ² H.
    errors = generator.choice([-1.0, 1.0], count) * settings.label_noise
    given = theory.least_squares(inputs, errors, settings.weight_decay)
    signs = generator.choice([-1.0, 1.0], dimensions)
    return given, settings.distance * signs


def linear_regression(
    settings: Regression, data_root=None, device="cpu", keeper: Keeper | None = None
) -> list[tuple]:
    """Simulate linear regression with each noise and each triple; return rows of metrics.

    ``curvature``, ``noise_of_example`` and ``start`` have the number of a direction in
    the place of the step; all others come under :func:`named`. The :data:`MOMENTS` of the
    leading directions are at :func:`recorded_steps` up to ``steps``, and so are the sums
    over all directions ``position_squared``, E‖θ−μ‖², and ``velocity_squared``;
    ``displacement_squared``, E‖θ_{t+k}−θ_t‖² with t = ``steps``, has its lag k in the
    place of the step. The error is a standard error over the trajectories. With
    ``state_dependent`` the exact values come under the noise :data:`EXACT`. Raises
    :class:`UsageError` for what is unstable, before long work.
    """
    keeper, chosen = keeper or Keeper(), triples(settings)
    if min(settings.trajectories, settings.minibatch_trajectories) < 2:
        raise UsageError("Each number of trajectories must be at least 2, for errors.")
    given, start = problem(settings, data_root, device)
    for rate, momentum, size in chosen:
        theory.check_stable(given.curvature, rate, momentum)
        simulation.minibatches(given.inputs, given.errors, size)  # checks the size
    variances = theory.noise_of_example(given)
    rows = []
    for name, values in (
        ("curvature", given.curvature), ("noise_of_example", variances), ("start", start)
    ):  # fmt: skip
        rows += [(i, math.nan, name, float(v), math.nan) for i, v in enumerate(values)]
    kinds = NOISES + ((EXACT,) if settings.state_dependent else ())
    with keeper.progress("linear regression", len(chosen) * len(kinds), "part") as bar:
        for triple in chosen:
            for noise in kinds:
                compute = functools.partial(_part, settings, given, start, triple, noise, bar)
                rows += keeper.part(f"{triple} {noise}", compute)
    return rows


def _part(settings, given, start, triple, noise: str, bar) -> list[tuple]:
    """Return the rows of one triple with one noise, and count the part."""
    bar.advance()
    early, late = recorded_steps(settings.steps), recorded_steps(settings.lags)
    recorded = np.concatenate([early, settings.steps + late])
    rate, momentum, size = triple
    if noise == EXACT:
        return _exact_rows(settings, given, start, triple, recorded)
    if noise == "gaussian":
        root = np.sqrt(theory.noise_of_example(given) / size)
        gradients, many = simulation.gaussian(given.curvature, root), settings.trajectories
    else:
        gradients = simulation.minibatches(
            given.inputs, given.errors, size, reshuffled=noise == "reshuffled",
            weight_decay=given.weight_decay, centre=given.minimum,
        )  # fmt: skip
        many = settings.minibatch_trajectories
    leading = slice(settings.directions)
    centre = _means(recorded, given.curvature, triple, start)[: len(early), leading]
    blocks = simulation.follow(
        gradients, np.full(settings.steps + settings.lags, rate), trajectories=many,
        recorded=recorded, start=start, momentum=momentum,
        seed=settings.seed + NOISES.index(noise),
        summary=functools.partial(_sums, len(early), centre),
    )  # fmt: skip
    means = [sum(part) / many for part in zip(*blocks, strict=True)]
    return _rows(settings, triple, noise, many, centre, *means)


def _means(recorded, curvature, triple, start) -> NDArray:
    """Return the exact means (K, D, 2) of all simulations but the reshuffled one."""
    still = np.stack([start, np.zeros_like(start)], -1)
    return discrete.mean_at(recorded, curvature, *triple[:2], start=still)


POWERS = [(p, q) for p in range(5) for q in range(5) if p + q <= 2 or (p, q) == (2, 2)]
POWERS += [(3, 0), (4, 0), (0, 3), (0, 4), (2, 1), (1, 2)]


def _sums(count: int, centre: NDArray, states: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Return a block's sums: of products of powers, of total squares, of displacements.

    The first ``count`` of the ``states`` (K, b, D, 2) come before the reference, which is
    the last of them. Powers are of the leading directions about a ``centre`` (count, D', 2),
    which makes them small and changes no moment.
    """
    near = states[:count, :, : centre.shape[1]] - centre[:, None]
    x, v = near[..., 0], near[..., 1]
    powers = np.array([(x**p * v**q).sum(1) for p, q in POWERS])
    squares = (states[:count] ** 2).sum(2)  # (count, b, 2)
    totals = np.array([squares.sum(1), (squares**2).sum(1)])
    change = states[count:, ..., 0] - states[count - 1, ..., 0]
    each = change[..., : centre.shape[1]] ** 2
    whole = (change**2).sum(-1, keepdims=True)
    joined = np.concatenate([each, whole], -1)
    return powers, totals, np.array([joined.sum(1), (joined**2).sum(1)])


def _rows(settings, triple, noise, many, centre, powers, totals, moved) -> list[tuple]:
    """Return the rows of the means of the sums of :func:`_sums` over all trajectories."""
    early, late = recorded_steps(settings.steps), recorded_steps(settings.lags)
    rows = []

    def note(quantity, steps, values, errors, direction=None):
        name = named(quantity, noise, triple, direction)
        for step, value, error in zip(steps, values, errors, strict=True):
            rows.append((int(step), math.nan, name, float(value), float(error)))

    values, errors = _moments(dict(zip(POWERS, powers, strict=True)), many)
    values[:2] += centre.transpose(2, 0, 1)
    for quantity, value, error in zip(MOMENTS, values, errors, strict=True):
        for i in range(value.shape[1]):
            note(quantity, early, value[:, i], error[:, i], i)
    mean, error = _mean_and_error(*totals, many)
    note("position_squared", early, mean[:, 0], error[:, 0])
    note("velocity_squared", early, mean[:, 1], error[:, 1])
    mean, error = _mean_and_error(*moved, many)
    for i in range(mean.shape[1] - 1):
        note("displacement_squared", late, mean[:, i], error[:, i], i)
    note("displacement_squared", late, mean[:, -1], error[:, -1])
    return rows


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
        a[2, 2] - 2 * a[1, 2] * x - 2 * a[2, 1] * v + a[0, 2] * x**2 + a[2, 0] * v**2
        + 4 * a[1, 1] * x * v - 3 * x**2 * v**2
    )  # fmt: skip
    cross_error = np.sqrt(np.maximum(fourth - cross**2, 0.0) / many)
    means = [np.sqrt(np.maximum(s, 0.0) / many) for s in (position, velocity)]
    unbiased = many / (many - 1)
    values = [x, v, position * unbiased, velocity * unbiased, cross * unbiased]
    return np.array(values), np.array([*means, position_error, velocity_error, cross_error])


def _exact_rows(settings, given, start, triple, recorded) -> list[tuple]:
    """Return the exact values of SGD on minibatches with replacement, without errors."""
    rate, momentum, size = triple
    mean, covariance = theory.minibatch_moments(
        given, rate, size, momentum, start=start, recorded=recorded
    )
    late = recorded_steps(settings.lags)
    early = len(recorded) - len(late)
    second = covariance + mean[..., :, None] * mean[..., None, :]
    found = moments_by_name(mean[:early], covariance[:early])
    found["displacement_squared"] = theory.displacement_from_moments(
        late,
        given.curvature,
        rate,
        momentum,
        second[early - 1],
        second[early:, :, 0, 0],
    )
    rows = []
    for quantity, values in found.items():
        steps = late if quantity == "displacement_squared" else recorded[:early]
        parts = {None: values.sum(-1)} if quantity in TOTALS else {}
        if quantity in MOMENTS or quantity == "displacement_squared":
            parts |= {
                i: values[:, i] for i in range(min(values.shape[1], settings.directions))
            }
        for direction, series in parts.items():
            name = named(quantity, EXACT, triple, direction)
            rows += [
                (int(k), math.nan, name, float(value), math.nan)
                for k, value in zip(steps, series, strict=True)
            ]
    return rows


def moments_by_name(mean: NDArray, covariance: NDArray) -> dict[str, NDArray]:
    """Return the quantities (K, D) of means (K, D, 2) and covariances (K, D, 2, 2)."""
    position, velocity = covariance[..., 0, 0], covariance[..., 1, 1]
    return {
        "position_mean": mean[..., 0], "velocity_mean": mean[..., 1],
        "position_variance": position, "velocity_variance": velocity,
        "covariance": covariance[..., 0, 1],
        "position_squared": position + mean[..., 0] ** 2,
        "velocity_squared": velocity + mean[..., 1] ** 2,
    }  # fmt: skip
