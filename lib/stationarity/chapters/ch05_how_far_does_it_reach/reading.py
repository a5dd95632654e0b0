"""What an ensemble says of each regime: verdict, trend and noise, over its nets.

The criterion is that of :mod:`stationarity.train.levels`; the intervals here are over
independent nets. Source: our section "How far does it reach?".
"""

import math

import numpy as np
import pandas as pd
import scipy.stats

from ...errors import UsageError
from ...runs.records import Run
from ...train.levels import CONFIDENCE, verdict_of

SETTLED, TREND = 0.9, 0.5  # of the steps: where level and trend begin


def interval(values) -> tuple[float, float, float]:
    """Return the mean of independent values and its 95 % interval, by Student's t.

    Raises :class:`UsageError` for fewer than two values.

    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        raise UsageError("One net has no error bar: set members to at least 2.")
    quantile = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)
    margin = float(quantile * values.std(ddof=1)) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean, mean - margin, mean + margin


def geometric_interval(values) -> tuple[float, float, float]:
    """Return the geometric mean of positive values and its 95 % interval.

    The interval is that of the mean logarithm: it is never below zero. Values
    below 1e-30 count as that.

    >>> round(geometric_interval([1.0, 4.0])[0], 3)
    2.0
    """
    return tuple(np.exp(interval(np.log(np.maximum(values, 1e-30)))).tolist())


def series(run: Run, quantity: str, regime: str) -> pd.DataFrame:
    """Return a quantity of a regime's nets: one row a step, one column a net.

    Raises :class:`UsageError` where the run has none.
    """
    metrics, start = run.metrics, f"{quantity} ({regime}, net "
    rows = metrics[metrics.quantity.str.startswith(start)]
    if rows.empty:
        known = "; ".join(one["name"] for one in run.settings["regimes"])
        raise UsageError(
            f"{run.folder.name} has no {quantity!r} of {regime!r}; its regimes are {known}."
        )
    net = rows.quantity.str.slice(len(start), -1).astype(int)
    return rows.assign(net=net).pivot(index="step", columns="net", values="value")


def _tables(run: Run) -> dict[tuple[str, str], pd.DataFrame]:
    """Return the run's tables by quantity and regime."""
    parts = run.metrics.quantity.str.extract(
        r"^(?P<what>\w+) \((?P<regime>.*), net (?P<net>\d+)\)$"
    )
    frame = pd.concat([run.metrics[["step", "value"]], parts], axis=1)
    frame["net"] = frame.net.astype(int)
    return {
        pair: group.pivot(index="step", columns="net", values="value")
        for pair, group in frame.groupby(["what", "regime"], sort=False)
    }


def table(run: Run) -> pd.DataFrame:
    """Return verdict, trend and noise of every regime, one row each, in order.

    The norm is that of the gradient of the objective *with* decay, over the whole
    training set. Of each net the root mean square over the last tenth of its steps
    is divided by its norm at the start; what stands here are geometric means over
    nets with 95 % intervals (Student's t of the logarithms).

    Columns: ``regime``; ``ratio``, ``ratio_low``, ``ratio_high``, ``verdict``;
    ``worst``, the largest single ratio that was measured in that window;
    ``exponent``, ``exponent_low``, ``exponent_high``: p of a power law k^p of the
    norm over the last half of the steps k, a least-squares fit for each net, with
    its mean and interval over nets, and ``trend`` from it; ``noise`` with
    ``noise_low`` and ``noise_high``: noise norm of a batch over its value at the
    start (0 for the whole set); ``drive``: rate * noise^2 / (1 - momentum), in the
    loss's units (NaN for Adam), a mean over nets; ``square``: ||grad f||^2, the
    geometric mean over nets of its mean in that window, with ``square_low`` and
    ``square_high``; ``growth``: change of the weight norm over the last half, as a
    share, the mean over nets with ``growth_low`` and ``growth_high``.
    """
    tables = _tables(run)
    return pd.DataFrame([_row(regime, tables) for regime in run.settings["regimes"]])


def _row(regime: dict, tables: dict) -> dict:
    name = regime["name"]
    squares, noise, rate, weights = (
        tables[quantity, name]
        for quantity in ("gradient_norm_squared", "noise_norm", "learning_rate", "weight_norm")
    )
    last = squares.index.max()
    window = squares.index >= SETTLED * last
    ratios = np.sqrt(squares[window].mean() / squares.loc[0])
    middle, low, high = geometric_interval(ratios)
    exponent = interval(_exponents(squares[squares.index >= TREND * last]))
    settled = np.sqrt(noise[window].pow(2).mean())
    silent = regime["batch_size"] == 0
    around = (0.0,) * 3 if silent else geometric_interval(settled / noise.loc[0])
    drive = (rate * noise**2)[window].to_numpy().mean() / (1 - regime["momentum"])
    square = geometric_interval(squares[window].mean())
    half = weights[weights.index >= TREND * last]
    growth = interval(half.iloc[-1] / half.iloc[0] - 1)
    return {
        "regime": name, "ratio": middle, "ratio_low": low, "ratio_high": high,
        "verdict": verdict_of(low, high),
        "worst": float(np.sqrt((squares[window] / squares.loc[0]).to_numpy().max())),
        "exponent": exponent[0], "exponent_low": exponent[1], "exponent_high": exponent[2],
        "trend": _trend(exponent[1], exponent[2]),
        "noise": around[0], "noise_low": around[1], "noise_high": around[2],
        "drive": drive if regime["optimizer"] == "sgd" else math.nan,
        "square": square[0], "square_low": square[1], "square_high": square[2],
        "growth": growth[0], "growth_low": growth[1], "growth_high": growth[2],
    }  # fmt: skip


def _exponents(squares: pd.DataFrame) -> list[float]:
    """Return p of a norm proportional to k^p, for each net."""
    steps = np.log(squares.index.to_numpy(float))
    norms = np.log(np.maximum(squares, 1e-60)) / 2
    return [scipy.stats.linregress(steps, norms[net]).slope for net in norms]


def _trend(low: float, high: float) -> str:
    if high < 0:
        return "falls"
    return "rises" if low > 0 else "no trend"


def level_against_drive(rows: pd.DataFrame) -> tuple[float, float, float]:
    """Return the exponent q of ||grad f||^2 proportional to drive^q, with its interval.

    ``rows`` are of :func:`table`; those without a drive or with none are left out.
    Least squares in the logarithms, 95 % by Student's t, each regime one point.
    Raises :class:`UsageError` for fewer than three points.
    """
    used = rows[rows.drive > 0]
    if len(used) < 3:
        raise UsageError(f"A slope needs at least three regimes with noise, not {len(used)}.")
    fit = scipy.stats.linregress(np.log(used.drive), np.log(used.square))
    margin = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, len(used) - 2) * fit.stderr
    return fit.slope, fit.slope - margin, fit.slope + margin
