"""What an ensemble says of each regime: verdict, trend and noise, over its nets.

The criterion is that of :mod:`stationarity.chapters.levels`; the intervals here are over
independent nets. Source: our section "How far does it reach?".
"""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate
from .. import trends
from ..levels import verdict_of
from ..trends import line
from .settings import Regime

SETTLED, TREND = 0.9, 0.5  # of the steps: where level and trend begin


def table(run: Run) -> pd.DataFrame:
    """Return verdict, trend and noise of every regime, one row each, in order.

    The norm is that of the gradient of the objective *with* decay; its level is the root
    mean square over the last tenth of the steps. Of ``name`` there are ``name_low`` and
    ``name_high``, too: 95 % intervals over nets.

    Columns: ``regime``; ``ratio``: level over norm at the start, geometric mean, with its
    ``verdict``; ``exponent``: p of a power law k^p of the norm over the last half of the
    steps k, by least squares for each net, and ``trend`` from it; ``noise`` norm of a batch
    over its value at the start (0 for the whole set), and ``square``, the level's,
    geometric means; ``growth``: change of the weight norm over the last half, as a share;
    ``drive``: rate * noise^2 / (1 - momentum), in the loss's units (NaN for Adam).
    """
    return pd.DataFrame([_row(run, regime) for regime in run.settings.regimes])


def _row(run: Run, regime: Regime) -> dict:
    squares, noise, rate, weights = (
        run.wide(quantity, of=regime.name)
        for quantity in ("gradient_norm_squared", "noise_norm", "learning_rate", "weight_norm")
    )
    last = squares.index.max()
    window, late = squares.index >= SETTLED * last, squares.index >= TREND * last
    level = squares[window].mean()
    # Of p in k^p, for each net: the slope of half the logarithm of the square.
    powers = trends.slope_weights(np.log(squares.index[late].to_numpy(float))) @ (
        np.log(np.maximum(squares[late], 1e-60)).to_numpy() / 2
    )
    around = np.sqrt(noise[window].pow(2).mean()) / noise.loc[0]
    drive = (rate * noise**2)[window].to_numpy().mean() / (1 - regime.momentum)
    half, silent = weights[late], regime.batch_size == 0
    estimates = {
        "ratio": Estimate.geometric_mean(np.sqrt(level / squares.loc[0])),
        "exponent": Estimate.mean(powers),
        "noise": Estimate(0.0, 0.0, 0.0) if silent else Estimate.geometric_mean(around),
        "square": Estimate.geometric_mean(level),
        "growth": Estimate.mean(half.iloc[-1] / half.iloc[0] - 1),
    }
    row = {
        "regime": regime.name,
        "verdict": verdict_of(estimates["ratio"]),
        "trend": estimates["exponent"].trend,
        "drive": drive if regime.optimizer == "sgd" else math.nan,
    }
    for name, one in estimates.items():
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return row


def verdict_counts(
    rows: pd.DataFrame, ways_out: Iterable, thresholds: Iterable
) -> pd.DataFrame:
    """Return how verdicts and expectations agree at each threshold, one row each.

    ``rows`` are of :func:`table`; the gradient is expected to vanish in the regimes
    ``ways_out``, and in no other. Counts ``agree``, ``differ``, ``undecided`` (the interval
    holds the threshold) and ``unsettled`` (it lies above while the norm still falls), and
    the names of those that are ``differing``. ``standing``: how many agree if all count as
    they stand, settled or not, and "vanishes" is held against all else.
    """
    expected, counted = rows.regime.isin(list(ways_out)), []
    for threshold in thresholds:
        below, above = rows.ratio_high < threshold, rows.ratio_low > threshold
        unsettled = above & (rows.trend == "falls")
        judged = below | above & ~unsettled
        differ = judged & (below != expected)
        counts = {"agree": judged & ~differ, "differ": differ, "undecided": ~(below | above)}
        counts |= {"unsettled": unsettled, "standing": below == expected}
        row = {"threshold": threshold} | {name: int(one.sum()) for name, one in counts.items()}
        counted.append(row | {"differing": "; ".join(rows.regime[differ])})
    return pd.DataFrame(counted)


def level_against_drive(rows: pd.DataFrame) -> tuple[Estimate, float]:
    """Return the exponent q of ||grad f||^2 proportional to drive^q, and the scatter.

    Least squares in the logarithms, a row of :func:`table` with a drive one point; the
    scatter is the factor that one standard deviation about the line makes. Raises
    :class:`UsageError` for fewer than three points.
    """
    used = rows[rows.drive > 0]
    if len(used) < 3:
        raise UsageError(f"A slope needs at least three regimes with noise, not {len(used)}.")
    x, y = np.log(used.drive), np.log(used.square)
    slope, _, scatter = line(x, y)
    error = scatter / np.linalg.norm(x - x.mean())
    return Estimate.of(slope, error, len(used) - 2), math.exp(scatter)
