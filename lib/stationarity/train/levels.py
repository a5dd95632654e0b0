"""Does the gradient vanish? Criteria on the series of a run, with intervals.

The same functions judge every run: the one in question and the control that
does converge. Source: our section "ImageNet + ResNet-101".
"""
import itertools
import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import scipy.stats

from ..errors import UsageError
from ..runs.records import Run

SETTLED_PART = 2 / 3  # of each stage, counted from its end: the rest is transient
STABLE = 0.05  # of all that the loss has lost: a change below it, and the loss is stable
VANISHED = 0.01  # of the initial gradient norm: below it, the gradient has vanished
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Level:
    """The mean of a series over a window, with its interval, and its trend.

    ``change`` is what a fitted line gains from the first to the last value;
    everything is in the units of the series; each interval is at 95 %. ``lag`` is
    the correlation of successive residuals (0 where there is no scatter): the
    intervals are too narrow where it is large.
    """

    points: int
    mean: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    lag: float

    @property
    def trend(self) -> str:
        """``falls``, ``rises`` or ``no trend`` where the interval holds zero."""
        if self.change_high < 0:
            return "falls"
        return "rises" if self.change_low > 0 else "no trend"


def level(times, values, errors=None) -> Level:
    """Return the level and trend of a series of at least three values.

    ``errors`` are standard errors of the values (same length); the interval of
    the mean takes the larger of their combined error and the scatter of the
    values about the fitted line. Both intervals use Student's t with n - 2
    degrees of freedom and hold the residuals for independent. A series without
    scatter gives intervals of width zero.

    Raises :class:`UsageError` for fewer than three values.

    >>> level([0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0]).trend
    'falls'
    """
    times, values = np.asarray(times, float), np.asarray(values, float)
    n = len(values)
    if n < 3:
        raise UsageError(f"A level needs at least three measured values, not {n}.")
    quantile = scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, n - 2)
    fit = scipy.stats.linregress(times, values)
    mean = values.mean()
    residuals = values - fit.intercept - fit.slope * times
    scatter = math.sqrt((residuals**2).sum() / (n - 2))
    lag = (residuals[1:] * residuals[:-1]).sum() / ((residuals**2).sum() or 1.0)
    measured = 0.0 if errors is None else np.sqrt(np.sum(np.square(errors))) / math.sqrt(n)
    error = max(scatter, measured) / math.sqrt(n)
    length = times.max() - times.min()
    change = fit.slope * length
    margin = quantile * error * length / times.std()
    return Level(
        n, mean, mean - quantile * error, mean + quantile * error,
        change, change - margin, change + margin, lag,
    )  # fmt: skip


def stages(run: Run) -> list[tuple[float, float]]:
    """Return the epochs at which each stage of constant step size begins and ends."""
    settings = run.settings
    drops = settings["drops"] if settings["schedule"] == "stages" else []
    edges = [0, *(d for d in drops if d < settings["epochs"]), settings["epochs"]]
    return list(itertools.pairwise(edges))


def stage_levels(run: Run, quantity: str = "gradient_norm_squared") -> pd.DataFrame:
    """Return the level of a quantity in the settled part of each stage.

    One row a stage: its number, first and last epoch of the window, the fields
    of :class:`Level` with the trend, and what :func:`ratio_to_start` says of
    the level against the first value of the run. Stages with fewer than three
    measurements in the window are left out; :class:`UsageError` where that is all.
    """
    series, rows = run.series(quantity), []
    for number, (begin, end) in enumerate(stages(run), start=1):
        first = end - SETTLED_PART * (end - begin)
        window = series[(series.epoch > first) & (series.epoch <= end)]
        if len(window) < 3:
            continue
        errors = window.error if window.error.notna().all() else None
        found = level(window.epoch, window.value, errors)
        row = {"stage": number, "first_epoch": first, "last_epoch": end}
        ratio = ratio_to_start(found, series.value[0])
        rows.append(row | asdict(found) | {"trend": found.trend} | ratio)
    if not rows:
        raise UsageError(
            f"No stage of {run.name} has three measurements in its settled part: "
            "lower measure_every or raise epochs."
        )
    return pd.DataFrame(rows)


def compare(runs: dict[str, Run], quantity: str) -> pd.DataFrame:
    """Return the stage levels of several runs below each other.

    ``runs`` maps labels to runs; a column ``run`` holds the label, and a column
    ``label`` names run and stage.
    """
    tables = [
        table.assign(run=label, label=[f"{label}, stage {stage}" for stage in table.stage])
        for label, table in ((k, stage_levels(run, quantity)) for k, run in runs.items())
    ]
    return pd.concat(tables, ignore_index=True)


def ratio_to_start(found: Level, start: float) -> dict:
    """Return the norm at the level over that at the start, and the verdict.

    ``found`` and ``start`` are of a squared norm; ``ratio`` and its interval
    are of the norm (0 where the square is negative); the start is taken as exact.
    Raises :class:`UsageError` where it is not positive. The verdict is
    ``vanishes`` where the interval lies below ``VANISHED``, ``does not vanish``
    where it lies above, else ``undecided``.
    """
    if not start > 0:
        raise UsageError(
            f"The squared norm at the start is {start:.3g}, and a ratio to it says "
            "nothing: measure it with more minibatches."
        )
    root = [math.sqrt(max(v, 0.0) / start) for v in (found.mean, found.low, found.high)]
    return {
        "ratio": root[0], "ratio_low": root[1], "ratio_high": root[2],
        "above_zero": found.low > 0, "verdict": verdict_of(root[1], root[2]),
    }  # fmt: skip


def verdict_of(low: float, high: float) -> str:
    """Return what an interval of a norm over its start says: see :data:`VANISHED`.

    >>> verdict_of(0.001, 0.004), verdict_of(0.008, 0.02)
    ('vanishes', 'undecided')
    """
    if high < VANISHED:
        return "vanishes"
    return "does not vanish" if low > VANISHED else "undecided"


def loss_change(run: Run) -> tuple[float, bool]:
    """Return the last change of the loss, and whether the loss is stable.

    The change is that of the fitted line over the settled part of the last stage,
    as a share of what the loss lost from the start to there: -0.01 is one per
    cent more lost. Stable is a change below ``STABLE`` in magnitude.
    """
    last, lost = last_loss(run)
    share = last.change / lost
    return share, bool(abs(share) < STABLE)


def last_loss(run: Run) -> tuple[pd.Series, float]:
    """Return the level of the loss in the last stage, and what it lost from the start."""
    last = stage_levels(run, "loss").iloc[-1]
    return last, run.series("loss").value[0] - last["mean"]


def decay_balance(run: Run) -> float:
    """Return ||grad L|| / (weight_decay ||theta||) at the end of a run.

    It is 1 at a stationary point of the regularised loss; infinite without decay.
    """
    squared = run.series("gradient_norm_squared").value.iloc[-1]
    pull = run.settings["weight_decay"] * run.series("weight_norm").value.iloc[-1]
    return math.sqrt(max(squared, 0.0)) / pull if pull else math.inf


def last_percentage(run: Run, quantity: str) -> str:
    """Return the last value of a fraction in per cent, or that it was not measured."""
    values = run.metrics.value[run.metrics.quantity == quantity]
    return f"{100 * values.iloc[-1]:.1f} %" if len(values) else "not measured"


def summarise(verdicts) -> str:
    """Say how often each verdict or trend was found.

    >>> summarise(["vanishes", "undecided", "vanishes"])
    'vanishes (2 of 3 stages), undecided (1 of 3 stages)'
    >>> summarise(["rises"])
    'rises'
    """
    counts = pd.Series(list(verdicts)).value_counts()
    total = int(counts.sum())
    if total == 1:
        return counts.index[0]
    return ", ".join(f"{name} ({count} of {total} stages)" for name, count in counts.items())
