"""What chapter 1 reads beside its runs: exact theory, and a bound."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame

from ... import theory
from ...runs.records import Run
from .settings import NoisyQuadratic
from .study import schedule


def descent_bound(
    gap: float, learning_rate: float, smoothness: float, steps: ArrayLike, noise_variance=0.0
) -> NDArray:
    """Return the bound on the mean of E‖∇f‖² over the first ``steps`` iterates.

    It holds for (stochastic) descent on any function with that ``smoothness`` constant that
    starts ``gap`` above a lower bound (book: theorem of chapter 1), and is infinite unless
    ``learning_rate < 2 / smoothness``. ``noise_variance`` bounds that of the whole gradient.
    """
    factor = learning_rate * (1 - learning_rate * smoothness / 2)
    floor = smoothness * learning_rate**2 * noise_variance / 2
    bound = gap / np.asarray(steps, float) + floor
    return bound / factor if factor > 0 else np.full_like(bound, np.inf)


def exact(settings: NoisyQuadratic, learning_rate: float) -> dict[str, NDArray]:
    """Return what theory says of the settings' ensemble, at steps 0 to ``steps``.

    ``mean`` and ``variance`` of the position (steps + 1, D), the expected
    ``loss`` Σ h E θ² / 2 and ``gradient_norm_squared`` Σ h² E θ² (steps + 1,).
    """
    problem = settings.curvatures, schedule(settings, learning_rate), settings.noise_variance
    how = settings.model_dump(include={"start", "momentum"})
    mean, covariance = theory.moments(*problem, **how)
    mean, variance = mean[..., 0], covariance[..., 0, 0]
    return {"mean": mean, "variance": variance, **_levels(settings, mean**2 + variance)}


def stationary(settings: NoisyQuadratic, learning_rate: float) -> dict[str, NDArray]:
    """Return the same in the stationary state of a constant learning rate.

    ``variance`` (D,); ``loss`` and ``gradient_norm_squared`` are scalars.
    """
    variance = theory.stationary_covariance(
        settings.curvatures, learning_rate, settings.noise_variance, settings.momentum
    )[..., 0, 0]
    return {"variance": variance, **_levels(settings, variance)}


def _levels(settings: NoisyQuadratic, second: NDArray) -> dict[str, NDArray]:
    curvature = np.array(settings.curvatures)
    return {"loss": second @ curvature / 2, "gradient_norm_squared": second @ curvature**2}


def descent_table(runs: list[Run]) -> DataFrame:
    """Return a table of full-batch runs: where the objective's gradient came to."""
    rows = []
    for run in runs:
        norms = run.series("regularised_gradient_norm_squared")
        first, last = (f"{norms.value.iloc[k]:.2e}" for k in (0, -1))
        rows.append((run.label, norms.step.iloc[-1], first, last))
    names = [f"{which} ‖∇f‖² (nats² per unit²)" for which in ("first", "last")]
    return DataFrame(rows, columns=["run", "steps", *names]).set_index("run")
