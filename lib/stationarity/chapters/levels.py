"""What a training run says of its stages: gradient and loss, with intervals.

Source: our section "ImageNet + ResNet-101".
"""

import contextlib
import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..runs.records import Run
from ..stats.estimate import NORMAL, SMALLEST, UNKNOWN, Estimate
from .trends import level

SETTLED_PART = 2 / 3  # of each stage, counted from its end: the rest is transient
STABLE = 0.05  # of all that the loss has lost: a change below it, and the loss is stable
AT_REST = 0.9  # of the first epoch's loss: a net that falls below it was not at rest
VANISHED = 0.01  # of the initial gradient norm: below it, the gradient has vanished
HELD = 0.01  # of the most that noise keeps up on a quadratic
LEVEL = [
    "stage", "mean", "low", "high", "change", "change_low", "change_high", "ratio",
    "ratio_low", "ratio_high", "memory", "trend", "verdict",
]  # fmt: skip
LEFT = 0.5  # between a steady gradient, 1, and one that falls along a line to nothing, 0


def stages(settings) -> list[tuple[float, float]]:
    """Return the epochs at which each stage of constant step size begins and ends.

    Of a run whose weights are followed, that part alone counts.
    """
    if settings.followed_epochs:
        return [(settings.epochs - settings.followed_epochs, settings.epochs)]
    drops = settings.drops if settings.schedule == "stages" else ()
    last = settings.epochs
    return list(itertools.pairwise([0, *(drop for drop in drops if drop < last), last]))


def windows(run: Run, quantity: str) -> dict[int, pd.DataFrame]:
    """Return what was measured in the settled part of each stage, by the stage's number.

    Stages with fewer than three measurements there are left out. Raises :class:`UsageError`
    where none has as many.
    """
    series, settled = run.series(quantity), {}
    for number, (begin, end) in enumerate(stages(run.settings), start=1):
        first = end - SETTLED_PART * (end - begin)
        window = series[(series.epoch > first) & (series.epoch <= end)]
        if len(window) >= 3:
            settled[number] = window
    if not settled:
        said = f"No stage of {run.name} has three measurements in its settled part"
        remedy = "lower measure_every (for the sharpness, sharpness_every) or raise epochs"
        raise UsageError(f"{said}: {remedy}.")
    return settled


def stage_levels(run: Run, quantity="gradient_norm_squared", *, jointly=False) -> pd.DataFrame:
    """Return the level of a quantity in the settled part of each stage.

    One row a stage, of columns ``LEVEL``: level, change and trend of
    :func:`stationarity.chapters.trends.level`, ``memory`` (its ``lag`` less :func:`white_lag`),
    the mean's :func:`ratio_to_start` with its verdict, and the ends of their intervals (NaN
    where the start is not known to be positive: no question of the ledger needs it).
    ``jointly`` makes these hold for all stages together (Bonferroni). A run without noise
    gets no intervals: its scatter about a line is no error.
    """
    start, rows, parts = run.series(quantity).value[0], [], windows(run, quantity)
    together = len(parts) if jointly else 1
    noiseless = run.has("noise_norm") and not run.series("noise_norm").value.any()
    for number, window in parts.items():
        errors = window.error if window.error.notna().all() else None
        mean, change, lag = level(window.epoch, window.value, errors, together)
        if noiseless:
            mean, change = (Estimate(*[one.value] * 3) for one in (mean, change))
        ratio = ratio_to_start(mean, start) if start > 0 else UNKNOWN
        memory, words = lag - white_lag(window.epoch), (change.trend, verdict_of(ratio))
        rows.append((number, *mean, *change, *ratio, memory, *words))
    return pd.DataFrame(rows, columns=LEVEL)


def white_lag(times) -> float:
    """Return the mean lag-1 correlation of white noise about a line fitted at these times.

    It is negative: a line takes two degrees of freedom. Exact for normal noise.
    """
    design = np.stack([np.ones(len(times)), np.asarray(times, float)])
    hat = design.T @ np.linalg.pinv(design.T)
    return -float(np.diag(hat, 1).sum()) / (len(times) - 2)


def squared_norm(square, error, noise) -> Estimate:
    """Return the interval of one measurement of a squared gradient norm; or of arrays.

    ``square`` is unbiased, ``error`` its jackknife error, ``noise`` what the naive square
    has too much: A = sigma^2 / M. Beside 1.96 errors the upper end has (1 + 1.96^2) A, what
    the error misses where all noise lies in one direction, times (error / A)^2, at most 1.
    Source: our section "What to measure".
    """
    square, error = np.asarray(square, float), np.nan_to_num(np.asarray(error, float))
    noise = np.maximum(noise, SMALLEST)
    plain = Estimate.of(square, error)
    missed = (1 + NORMAL**2) * np.minimum(noise, error**2 / noise)
    return Estimate(square, plain.low, plain.high + missed)


def ratio_to_start(square: Estimate, start: float) -> Estimate:
    """Return a norm over that at the start, from their squares: 0 for a negative one.

    The start is taken as exact. Raises :class:`UsageError` where it is not positive.
    """
    if not start > 0:
        said = f"The squared norm at the start is {start:.3g}, and a ratio to it says nothing"
        raise UsageError(f"{said}: measure it with more minibatches.")
    return (square / start).root()


def verdict_of(ratio: Estimate) -> str:
    """Return what a norm over its start says: does it lie below or above ``VANISHED``?"""
    return said(ratio, VANISHED, "does not vanish", "vanishes", "undecided")


# --- shares without units, of each stage -------------------------------------------------


def quadratic_level(run: Run) -> dict[int, float]:
    """Return the most that noise keeps up of ||grad f||^2 on a quadratic, for each stage.

    eta sigma^2 h_1 / (2 (1 - beta)), with the noise and the sharpness of the settled
    part. Raises :class:`UsageError` for a run without noise, and for Adam.
    """
    if run.settings.optimizer != "sgd":
        raise UsageError("The steps of Adam are no multiples of a gradient: no scale is known.")
    rates, sharpness, by_stage = run.series("learning_rate"), windows(run, "sharpness"), {}
    for number, noise in windows(run, "noise_norm").items():
        if number not in sharpness:
            said = f"Stage {number} of {run.name} has fewer than three measurements of the"
            raise UsageError(f"{said} sharpness in its settled part: lower sharpness_every.")
        rate = rates.value[rates.epoch < noise.epoch.max()].iloc[-1]
        strength = (noise.value**2).mean() * sharpness[number].value.mean()
        by_stage[number] = float(rate * strength / (2 * (1 - run.settings.momentum)))
    if not min(by_stage.values()) > 0:
        said = f"{run.name} has a stage without noise, or without positive curvature"
        raise UsageError(f"{said}: nothing keeps a gradient up there.")
    return by_stage


def stationary_share(run: Run, *, jointly: bool = False) -> pd.DataFrame:
    """Return ||grad f||^2 over :func:`quadratic_level`, a row a stage: :func:`_shares`.

    The interval is that of the gradient: the unit is taken as exact.
    """
    table = stage_levels(run, "regularised_gradient_norm_squared", jointly=jointly)
    ends = table[["mean", "low", "high"]].div(table.stage.map(quadratic_level(run)), axis=0)
    return _shares(table.stage, ends)


def _shares(stage: pd.Series, ends: pd.DataFrame) -> pd.DataFrame:
    """Return a table of shares: ``stage``, ``value``, ``low`` and ``high``."""
    return ends.set_axis(["value", "low", "high"], axis=1).assign(stage=stage)


def gradient_left(run: Run) -> pd.DataFrame:
    """Return what each stage's line leaves of ||grad f||^2 at its end: :func:`_shares`.

    As a share of the mean over the settled part, see ``LEFT``; the interval by the delta
    method. ``weight`` adds up to 1 over the stages, and falls like the square of the
    interval that a steady one would have.
    """
    table = stage_levels(run, "regularised_gradient_norm_squared")
    slope, of = table.change / table["mean"], 2 * table["mean"].abs()
    own = table.change_high - table.change
    margin = np.hypot(own, slope * (table.high - table["mean"])) / of
    weight = (of / own) ** 2 if own.all() else 1 + 0 * own
    value = 1 + slope / 2
    ends = pd.concat([value, value - margin, value + margin], axis=1)
    return _shares(table.stage, ends).assign(weight=weight / weight.sum())


def loss_change(run: Run, *, jointly: bool = False) -> pd.DataFrame:
    """Return each stage's change of the loss over what it lost before: :func:`_shares`.

    The change is that of the line through the settled part; lost is what the loss fell
    from the start to there. Raises :class:`UsageError` where it fell nowhere.
    """
    table = stage_levels(run, "loss", jointly=jointly)
    lost = run.series("loss").value[0] - table["mean"]
    if not (lost > 0).all():
        raise UsageError(f"The loss of {run.name} fell nowhere: there is no share to give.")
    ends = table[["change", "change_low", "change_high"]].div(lost, axis=0)
    return _shares(table.stage, ends)


def last_change(run: Run) -> Estimate:
    """Return the :func:`loss_change` of the last stage."""
    return Estimate(*loss_change(run).iloc[-1][["value", "low", "high"]])


def smallest(share: Callable, run: Run) -> Estimate:
    """Return the smallest of a share over the stages.

    The upper end is by Bonferroni. The lower one needs no correction: it lies below the
    truth wherever the interval of the stage that is truly the smallest does.
    """
    each, joint = (share(run, jointly=jointly) for jointly in (False, True))
    return Estimate(*map(float, (each.value.min(), each.low.min(), joint.high.min())))


def largest_size(share: Callable, run: Run) -> Estimate:
    """Return the largest absolute value of a share over the stages, likewise."""
    each, joint = (share(run, jointly=jointly) for jointly in (False, True))
    nearest = np.where(joint.low * joint.high < 0, 0, joint[["low", "high"]].abs().min(axis=1))
    furthest = each[["low", "high"]].abs().to_numpy()
    return Estimate(*map(float, (each.value.abs().max(), nearest.max(), furthest.max())))


def weighted(shares: pd.DataFrame) -> Estimate:
    """Return the mean of a share over the stages, by its ``weight``."""
    value = (shares.weight * shares.value).sum()
    margin = np.linalg.norm(shares.weight * (shares.high - shares.value))
    return Estimate(*map(float, (value, value - margin, value + margin)))


def all_shares(runs: dict[str, Run]) -> pd.DataFrame:
    """Return the shares of each stage of runs by label, as far as they can be told.

    Columns ``share`` (the function's name), ``label`` and those of :func:`_shares`.
    """
    tables = []
    for share in (stationary_share, gradient_left, loss_change):
        for label, run in runs.items():
            with contextlib.suppress(UsageError):
                table = share(run).assign(share=share.__name__)
                tables.append(table.assign(label=label + ", stage " + table.stage.astype(str)))
    return pd.concat(tables, ignore_index=True)


def described(run: Run) -> pd.DataFrame:
    """Return the level of ||grad f||^2 in each stage, on several scales, and its change.

    Over its value at the start; over the square of one minibatch's noise; the norm of
    grad L over that of the decay (NaN without one, 1 at a stationary point). The change
    and its interval are shares of the level; ``correlation`` is the ``memory`` of
    :func:`stage_levels`.
    """
    table = stage_levels(run, "regularised_gradient_norm_squared")
    loss, level_ = stage_levels(run), table["mean"]

    def mean(name: str) -> pd.Series:
        return table.stage.map({n: w.value.mean() for n, w in windows(run, name).items()})

    decay = (run.settings.weight_decay or math.nan) * mean("weight_norm")
    noise = mean("noise_norm") ** 2
    columns = {
        "stage": table.stage,
        "level": level_,
        "low": table.low,
        "high": table.high,
        "over the start": table.ratio**2,
        "over the noise": level_ / noise.replace(0, math.nan),
        "over the decay": loss["mean"].clip(lower=0) ** 0.5 / decay,
        "change": table.change / level_,
        "change, low": table.change_low / level_,
        "change, high": table.change_high / level_,
        "correlation": table.memory.where(table.low < table.high),
    }
    return pd.DataFrame(columns)


def told(quantity: Callable, run: Run, *case: str):
    """Return ``quantity(run, ...)``, or an estimate of NaN where the run cannot tell it."""
    try:
        return quantity(run, *case)
    except UsageError:
        return UNKNOWN


def made_up(run: Run, quantity: str, edit: Callable) -> Run:
    """Return a run with other values in the settled part of each stage, at the same epochs.

    ``edit(window, number, passed)`` returns them from the ``window`` that was measured;
    ``passed`` (n,) goes from 0 to 1.
    """
    table = run.metrics.copy()
    for number, window in windows(run, quantity).items():
        passed = (window.epoch - window.epoch.min()) / np.ptp(window.epoch)
        rows = table.quantity.eq(quantity) & table.epoch.isin(window.epoch)
        table.loc[rows, "value"] = np.asarray(edit(window, number, passed))
    made = Run(run.folder, run.info)
    made.__dict__["metrics"] = table
    return made


def steady(window: pd.DataFrame, degree: int = 1) -> pd.Series:
    """Return steady values: the same mean, the same scatter about a line.

    Or about a polynomial of a higher ``degree``, enlarged to what it would be about a line.
    """
    degree = min(degree, len(window) - 2)
    passed = window.epoch - window.epoch.mean()
    scatter = window.value - np.polyval(np.polyfit(passed, window.value, degree), passed)
    known = (len(window) - 2) / (len(window) - 1 - degree)
    return window.value.mean() + known**0.5 * scatter


def said(estimate: Estimate, limit: float, above: str, below: str, between: str) -> str:
    """Return what is said of an interval above a limit, below it, or neither."""
    if estimate.low > limit:
        return above
    return below if estimate.high < limit else between


def last_percentage(run: Run, quantity: str) -> str:
    """Return the last value of a fraction in per cent, or that it was not measured."""
    if not run.has(quantity):
        return "not measured"
    return f"{100 * run.series(quantity).value.iloc[-1]:.1f} %"


def fall_while_followed(run: Run) -> tuple[float, float]:
    """Return the training loss of the first and of the last epoch in which it was followed."""
    losses, begun = run.series("train_loss"), run.series("followed_from").value[0]
    return tuple(losses.value[losses.step > begun].iloc[[0, -1]])
