"""Does the gradient vanish? What a training run says of its stages, with intervals.

Source: our section "ImageNet + ResNet-101".
"""

import itertools
import math

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..runs.records import Run
from ..stats.estimate import NORMAL, SMALLEST, Estimate
from ..stats.trends import level

SETTLED_PART = 2 / 3  # of each stage, counted from its end: the rest is transient
STABLE = 0.05  # of all that the loss has lost: a change below it, and the loss is stable
VANISHED = 0.01  # of the initial gradient norm: below it, the gradient has vanished


def stages(run: Run) -> list[tuple[float, float]]:
    """Return the epochs at which each stage of constant step size begins and ends."""
    drops = run.settings.drops if run.settings.schedule == "stages" else ()
    last = run.settings.epochs
    return list(itertools.pairwise([0, *(drop for drop in drops if drop < last), last]))


def stage_levels(run: Run, quantity: str = "gradient_norm_squared") -> pd.DataFrame:
    """Return the level of a quantity in the settled part of each stage.

    One row a stage: its number, ``first_epoch`` and ``last_epoch`` of the window, level and
    trend of :func:`stationarity.stats.trends.level` (``mean`` with ``low`` and ``high``,
    ``change`` with ``change_low`` and ``change_high``, ``lag``, ``trend``), the mean's
    :func:`ratio_to_start` (``ratio`` with ``ratio_low`` and ``ratio_high``) with its
    ``verdict``, and whether the mean is ``above_zero``. Stages with fewer than three
    measurements in the window are left out; :class:`UsageError` where that is all.
    """
    series, rows = run.series(quantity), []
    for number, (begin, end) in enumerate(stages(run), start=1):
        first = end - SETTLED_PART * (end - begin)
        window = series[(series.epoch > first) & (series.epoch <= end)]
        if len(window) < 3:
            continue
        errors = window.error if window.error.notna().all() else None
        mean, change, lag = level(window.epoch, window.value, errors)
        ratio = ratio_to_start(mean, series.value[0])
        rows.append(
            {
                "stage": number, "first_epoch": first, "last_epoch": end,
                "mean": mean.value, "low": mean.low, "high": mean.high,
                "change": change.value, "change_low": change.low, "change_high": change.high,
                "lag": lag, "trend": change.trend,
                "ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high,
                "above_zero": mean.low > 0, "verdict": verdict_of(ratio),
            }
        )  # fmt: skip
    if not rows:
        raise UsageError(
            f"No stage of {run.name} has three measurements in its settled part: "
            "lower measure_every or raise epochs."
        )
    return pd.DataFrame(rows)


def compare(runs: dict[str, Run], quantity: str) -> pd.DataFrame:
    """Return the stage levels of runs by label, with columns ``run`` and ``label`` (both)."""
    tables = [stage_levels(run, quantity).assign(run=label) for label, run in runs.items()]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(label=table.run + ", stage " + table.stage.astype(str))


def squared_norm(square, error, naive) -> Estimate:
    """Return the interval of one measurement of a squared gradient norm; or of arrays.

    ``square`` is unbiased, ``error`` its jackknife error, ``naive`` the square of the naive
    norm: A = naive - square is the noise in it. Beside 1.96 errors the upper end has
    (1 + 1.96^2) A, what the error misses where all noise lies in one direction, times
    (error / A)^2, which is at least the share of one direction, and at most 1: without it
    that end lies below the truth in up to a fifth of the cases. Source: our section "What
    to measure".
    """
    square, error = np.asarray(square, float), np.nan_to_num(np.asarray(error, float))
    noise = np.maximum(np.asarray(naive, float) - square, SMALLEST)
    plain = Estimate.of(square, error)
    missed = (1 + NORMAL**2) * np.minimum(noise, error**2 / noise)
    return Estimate(square, plain.low, plain.high + missed)


def ratio_to_start(square: Estimate, start: float) -> Estimate:
    """Return a norm over that at the start, from their squares.

    It is 0 where the square is negative; the start is taken as exact.
    Raises :class:`UsageError` where it is not positive.
    """
    if not start > 0:
        raise UsageError(
            f"The squared norm at the start is {start:.3g}, and a ratio to it says "
            "nothing: measure it with more minibatches."
        )
    return (square / start).root()


def verdict_of(ratio: Estimate) -> str:
    """Return what a norm over its start says: does it lie below or above ``VANISHED``?

    >>> verdict_of(Estimate(0.002, 0.001, 0.004)), verdict_of(Estimate(0.01, 0.008, 0.02))
    ('vanishes', 'undecided')
    """
    if ratio.high < VANISHED:
        return "vanishes"
    return "does not vanish" if ratio.low > VANISHED else "undecided"


def loss_change(run: Run) -> Estimate:
    """Return the last change of the loss, as a share of what it lost before: stable or not.

    The change is that of the line through the settled part of the last stage; lost is
    what the loss fell from the start to there. NaN where it fell nowhere.
    """
    last = stage_levels(run, "loss").iloc[-1]
    lost = run.series("loss").value[0] - last["mean"]
    change = Estimate(*last[["change", "change_low", "change_high"]])
    return change / (lost if lost > 0 else math.nan)


def decay_balance(run: Run) -> float:
    """Return ||grad L|| / (decay ||theta||) at a run's end: 1 at a stationary point."""
    squared = run.series("gradient_norm_squared").value.iloc[-1]
    pull = run.settings.weight_decay * run.series("weight_norm").value.iloc[-1]
    return math.sqrt(max(squared, 0.0)) / pull if pull else math.inf


def last_percentage(run: Run, quantity: str) -> str:
    """Return the last value of a fraction in per cent, or that it was not measured."""
    if not run.has(quantity):
        return "not measured"
    return f"{100 * run.series(quantity).value.iloc[-1]:.1f} %"


def summarise(verdicts) -> str:
    """Say how often each verdict or trend was found.

    >>> summarise(["vanishes", "undecided", "vanishes"])
    'vanishes (2 of 3 stages), undecided (1 of 3 stages)'
    """
    counts, total = pd.Series(list(verdicts)).value_counts(), len(verdicts)
    if total == 1:
        return counts.index[0]
    return ", ".join(f"{name} ({count} of {total} stages)" for name, count in counts.items())
