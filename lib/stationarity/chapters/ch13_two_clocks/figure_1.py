"""What Figure 1 of the paper says of the two clocks: the rates at which its norm rises."""

from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...runs.settings import get
from ...stats.estimate import Estimate
from .. import bootstrap, reference, scales
from ..levels import stages
from . import relaxation
from .reading import settling_ratio, settling_share

STAGES = (2, 3)  # of the figure, after a drop
BATCHES = (128, 250, 256)  # that the authors' code names for its net, by command


def _epochs(stage: int) -> tuple[float, float]:
    """Return the epochs between which a stage of the paper's run lies."""
    return stages(get("imagenet_resnet", "paper"))[stage - 1]


def points(stage: int, place: float = 0.5) -> tuple[NDArray, NDArray]:
    """Return the epochs since a stage of the paper's Figure 1 began, and its norms.

    When in its epoch a point was measured is not known: ``place`` of it is assumed.
    """
    curve, (begin, end) = reference("zhang2022-figure1"), _epochs(stage)
    inside = curve[(curve.epoch >= begin) & (curve.epoch < end)]
    return inside.epoch.to_numpy() - begin + place, inside.gradient_norm.to_numpy()


def predicted_rates() -> dict[tuple[int, int], float]:
    """Return 2 eta lambda / (1 - beta) an epoch, for each (stage, batch size) of the paper."""
    authors, predicted = get("imagenet_resnet", "paper"), {}
    for stage in STAGES:
        for size in BATCHES:
            clock = scales.clocks(authors.but(batch_size=size)).set_index("stage")
            predicted[stage, size] = 2 * clock.memories[stage] / np.ptp(_epochs(stage))
    return predicted


def ratios() -> dict[str, Estimate]:
    """Return :func:`settling_ratio` of the paper's Figure 1, by stage and batch size."""
    fitted = {stage: relaxation.fit_one(*points(stage)).rate for stage in STAGES}
    return {
        f"stage {stage}, batches of {size}": fitted[stage] / rate
        for (stage, size), rate in predicted_rates().items()
    }


def shares() -> dict[str, Estimate]:
    """Return :func:`settling_share` of the paper's Figure 1, by stage and batch size."""
    found = {}
    for (stage, size), rate in predicted_rates().items():
        epochs, norms = points(stage)
        shape = np.stack([np.ones_like(epochs), np.exp(-rate * epochs)], 1)
        fitted = shape @ (np.linalg.pinv(shape) @ norms)
        share = partial(relaxation.explained, epochs, rate=rate)
        (found[f"stage {stage}, batches of {size}"],) = bootstrap.of_residuals(
            lambda curves, share=share: [share(curves)], norms, fitted, 2
        )
    return found


BY_QUANTITY = {settling_ratio.__name__: ratios, settling_share.__name__: shares}


def rates(fitted: dict, predicted: dict) -> pd.DataFrame:
    """Return the rates as :func:`.reading.rates` does ours, a row a stage and batch size.

    ``fitted`` has a curve for each stage, ``predicted`` a rate an epoch for each (stage,
    batch size). ``factor`` is the level over the value at the drop, with its interval,
    where the rate is the predicted one and both are fitted.
    """
    rows = []
    for (stage, size), rate in predicted.items():
        epochs, norms = points(stage)
        ideal = relaxation.fit(epochs, relaxation.sphere(rate / 2 * epochs) ** -2).rate[0]
        if ideal * np.ptp(epochs) < 2 * relaxation.RATES[0]:
            ideal = np.nan  # a straight line, or one that bends upwards
        row = {"arm": f"paper, stage {stage}, batches of {size}", "predicted": rate}
        row |= dict(zip(("ratio", "low", "high"), fitted[stage].rate / rate))
        factor = relaxation.factor(epochs, norms, rate)
        row |= dict(zip(("factor", "factor_low", "factor_high"), factor, strict=True))
        memories = rate / 2 * np.ptp(_epochs(stage))
        rows.append(row | {"memories": memories, "sphere": ideal / rate})
    return pd.DataFrame(rows)


def one_number(fitted: dict, rates: dict) -> pd.DataFrame:
    """Return the scatter of the paper's points about curves whose rate is predicted.

    Their root mean square residual; a row a curve, a column a stage: ``rates`` has one an
    epoch for each. The level alone is fitted, or a constant, too; last stands the fit of
    three numbers.
    """
    scatter = {}
    for stage, rate in rates.items():
        epochs, norms = points(stage)
        sphere = relaxation.sphere(rate / 2 * epochs)
        shapes = {
            "exponential from level/√10": [1 - (1 - 0.1**0.5) * np.exp(-rate * epochs)],
            "‖w‖⁻² on the sphere": [sphere**-2],
            "‖w‖⁻² on the sphere, and a constant": [sphere**-2, np.ones_like(epochs)],
        }
        by_curve = {}
        for name, shape in shapes.items():
            basis = np.transpose(shape)
            rest = norms - basis @ (np.linalg.pinv(basis) @ norms)
            by_curve[name] = np.sqrt(np.mean(rest**2))
        by_curve["exponential, three numbers"] = fitted[stage].scatter
        scatter[f"stage {stage}"] = by_curve
    return pd.DataFrame(scatter)


def coverage(fitted: relaxation.Curve, epochs: NDArray, lag: float) -> float:
    """Return how often a rate's interval holds it, in a hundred curves like a fitted one.

    Their scatter is Gaussian, as large as that of the paper's stage, and that of successive
    points has the correlation ``lag``.
    """
    rng, covered = np.random.default_rng(0), []
    for _ in range(100):
        noise = rng.normal(0, fitted.scatter, len(epochs))
        for k in range(1, len(noise)):
            noise[k] = lag * noise[k - 1] + np.sqrt(1 - lag**2) * noise[k]
        rate = relaxation.fit_one(epochs, fitted.fitted + noise).rate
        covered.append(rate.low < fitted.rate.value < rate.high)
    return float(np.mean(covered))
