"""Noisy quadratics (chapter 1): ensembles of SGD beside their exact theory.

The theory is that of :mod:`stationarity.theory`; here are the settings' ensembles,
and the metrics of a run.
"""

import functools
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import kstest

from ... import theory
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from .settings import NoisyQuadratic

RECORDED_EARLY, RECORDED_LATE = 60, 100  # steps that an ensemble records


def descent_bound(
    gap: float,
    learning_rate: float,
    smoothness: float,
    steps: ArrayLike,
    noise_variance: float = 0.0,
) -> NDArray:
    """Return the bound on the mean of E‖∇f‖² over the first ``steps`` iterates.

    It holds for (stochastic) gradient descent at a constant ``learning_rate``
    below ``2 / smoothness`` on any function with that smoothness constant that
    starts ``gap`` above a lower bound (book: theorem of chapter 1).
    ``noise_variance`` bounds the variance of the whole gradient, summed over
    its entries. Infinite where the learning rate is not below the limit.

    >>> float(descent_bound(gap=1.0, learning_rate=0.5, smoothness=2.0, steps=8))
    0.5
    """
    factor = learning_rate * (1 - learning_rate * smoothness / 2)
    if factor <= 0:
        return np.full(np.shape(steps), math.inf)
    floor = smoothness * learning_rate**2 * noise_variance / 2
    return (gap / np.asarray(steps, float) + floor) / factor


def schedule(settings: NoisyQuadratic, learning_rate: float) -> NDArray:
    """Return the learning rate of every step (steps,): divided by 10 at each drop."""
    steps = np.arange(settings.steps)
    passed = sum((steps >= drop).astype(int) for drop in settings.drops)
    return learning_rate / 10.0 ** (passed + np.zeros(settings.steps))


def recorded_steps(settings: NoisyQuadratic) -> NDArray:
    """Return the steps that an ensemble records: dense early, even in the last half."""
    last = settings.steps
    early = np.unique(np.geomspace(1, last, RECORDED_EARLY).round().astype(int))
    late = np.linspace(last // 2, last, RECORDED_LATE).astype(int)
    near = [drop + early[early <= last - drop] for drop in settings.drops]
    return np.unique(np.concatenate([[0], early, late, *near]))


def sample(
    settings: NoisyQuadratic, learning_rate: float, recorded: ArrayLike
) -> NDArray:
    """Return positions of the settings' ensemble at some steps, as :func:`stationarity.theory.simulate`."""
    return theory.simulate(
        settings.curvatures, schedule(settings, learning_rate), settings.noise_variance,
        trajectories=settings.trajectories, recorded=recorded, start=settings.start,
        momentum=settings.momentum, seed=settings.seed,
    )  # fmt: skip


def exact(settings: NoisyQuadratic, learning_rate: float) -> dict[str, NDArray]:
    """Return what theory says of the settings' ensemble, at steps 0 to ``steps``.

    ``mean`` and ``variance`` of the position (steps + 1, D), the expected
    ``loss`` Σ h E θ² / 2 and ``gradient_norm_squared`` Σ h² E θ² (steps + 1,).
    """
    curvature = np.array(settings.curvatures)
    mean, covariance = theory.moments(
        curvature, schedule(settings, learning_rate), settings.noise_variance,
        start=settings.start, momentum=settings.momentum,
    )  # fmt: skip
    mean, variance = mean[..., 0], covariance[..., 0, 0]
    second = mean**2 + variance
    return {
        "mean": mean, "variance": variance, "loss": second @ curvature / 2,
        "gradient_norm_squared": second @ curvature**2,
    }  # fmt: skip


def stationary(settings: NoisyQuadratic, learning_rate: float) -> dict[str, NDArray]:
    """Return the same in the stationary state of a constant learning rate.

    ``variance`` (D,); ``loss`` and ``gradient_norm_squared`` are scalars.
    """
    curvature = np.array(settings.curvatures)
    variance = theory.stationary_covariance(
        curvature, learning_rate, settings.noise_variance, settings.momentum
    )[..., 0, 0]
    return {
        "variance": variance, "loss": variance @ curvature / 2,
        "gradient_norm_squared": variance @ curvature**2,
    }  # fmt: skip


def distance_to_normal(positions: ArrayLike, variance: float) -> float:
    """Return the largest gap between two distribution functions (Kolmogorov-Smirnov).

    One is that of the ``positions`` (R,), the other the normal one with mean 0
    and the ``variance``. Chance alone makes it about 0.87 / √R.
    """
    return float(kstest(np.asarray(positions) / math.sqrt(variance), "norm").statistic)


def named(quantity: str, learning_rate: float, curvature: float | None = None) -> str:
    """Return the name under which an ensemble's metrics hold a quantity.

    >>> named("variance", 0.1, curvature=1.0)
    'variance (learning rate 0.1, curvature 1)'
    """
    where = "" if curvature is None else f", curvature {curvature:g}"
    return f"{quantity} (learning rate {learning_rate:g}{where})"


def ensemble(settings: NoisyQuadratic, keeper=None) -> list[tuple]:
    """Simulate the settings' ensembles; return rows of metrics.

    A row is (step, epoch, quantity, value, error), the name of a quantity as
    :func:`named` gives it, the error a standard error over trajectories. There
    are no epochs: NaN. For each learning rate, at the recorded steps:

    - ``loss``, ``gradient_norm_squared``: means over trajectories, as in :func:`exact`;
    - ``mean``, ``variance`` of the position, for each curvature;
    - ``displacement_squared``: E‖θ_k − θ_half‖² since half of the steps;
    - at the last step only, means over the recorded steps of the last half too:
      ``late_variance`` (of θ² for each curvature), ``late_loss`` and
      ``late_gradient_norm_squared``. Their errors come from the time averages
      of independent trajectories.

    Raises :class:`UsageError` for what is unstable, before any work.
    """
    for rate in settings.learning_rates:
        theory.check_stable(settings.curvatures, rate, settings.momentum)
    if settings.noise_variance < 0:
        raise UsageError("The noise variance must not be negative.")
    if settings.trajectories < 2:
        raise UsageError("The setting trajectories must be at least 2, for errors.")
    keeper, rows = keeper or Keeper(), []
    for rate in settings.learning_rates:
        rows += keeper.part(str(rate), functools.partial(_metrics, settings, rate))
    return rows


def _metrics(settings: NoisyQuadratic, rate: float) -> list[tuple]:
    """Return the rows of the ensemble at one learning rate."""
    curvature, steps = np.array(settings.curvatures), recorded_steps(settings)
    positions = sample(settings, rate, steps)  # (recorded, trajectories, D)
    squares = positions**2
    late = steps >= settings.steps // 2
    displaced = ((positions[late] - positions[late][0]) ** 2).sum(-1)
    rows = _means(steps[late], named("displacement_squared", rate), displaced)
    for quantity, values in (
        ("loss", squares @ curvature / 2),
        ("gradient_norm_squared", squares @ curvature**2),
    ):
        rows += _means(steps, named(quantity, rate), values)
        rows += _late_mean(steps, named(f"late_{quantity}", rate), values[late])
    for d, h in enumerate(settings.curvatures):
        one = positions[..., d]
        deviations = (one - one.mean(1, keepdims=True)) ** 2
        rows += _means(steps, named("mean", rate, h), one)
        rows += _means(steps, named("variance", rate, h), deviations, lost=1)
        rows += _late_mean(
            steps, named("late_variance", rate, h), squares[late][..., d]
        )
    return rows


def _late_mean(steps: NDArray, name: str, values: NDArray) -> list[tuple]:
    """Return the row of a mean over late steps and trajectories, at the last step."""
    return _means(steps[-1:], name, values.mean(0, keepdims=True))


def _means(steps: NDArray, name: str, values: NDArray, lost: int = 0) -> list[tuple]:
    """Return rows of the means over trajectories, of values (steps, trajectories).

    ``lost`` is the number of degrees of freedom that the values have lost.
    """
    count = values.shape[1]
    mean = values.sum(1) / (count - lost)
    error = values.std(1, ddof=1) / math.sqrt(count)
    return [
        (int(k), math.nan, name, float(m), float(e))
        for k, m, e in zip(steps, mean, error, strict=True)
    ]
