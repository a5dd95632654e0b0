"""Figures of chapter 9: how far weights go, and the exponent of it.

Every bar is an interval at 95 % by Student's t over the seeds.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ...runs.records import Run
from ...stats.estimate import Estimate
from .. import bootstrap
from ..plots import DASHED, DOTTED, band, intervals, panels
from . import reading

NAMES = {
    "learning_rate": "learning rate η", "batch_size": "batch size S",
    "momentum": "1 − β", "weight_decay": "weight decay λ",
}  # fmt: skip
LAG, SQUARED = "lag k (steps)", "squared distance (unit²)"


def known(run: Run) -> Figure:
    """Draw processes of known displacement: measured and exact, and the fitted exponents."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    names = reading.variations(run)
    for place, name in enumerate(names):
        lags, squares = reading.displacements(run, name)
        exact, color = run.series("exact", of=name), f"C{place}"
        left.plot(lags, squares.mean((0, 1)), "o", color=color)
        left.plot(exact.step, exact.value, color=color, linewidth=1)
        intervals(right, place, *reading.displacement_exponent(run, name), color=color)
        truth = run.series("exact_exponent", of=name).value[0]
        right.plot(place, truth, "_k", markersize=16)
    left.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    right.set_xticks(range(len(names)), names, rotation=30, ha="right")
    right.set_ylabel("exponent c")
    return figure


def settled_loss(run: Run) -> Figure:
    """Draw the loss on the way to the settled state, and its change in what follows."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    way, names = run.wide("settling_loss"), reading.variations(run)
    intervals(left, way.index, *Estimate.mean(way.T), fmt="o-")
    left.set(xlabel="steps from the initial weights", ylabel="training loss (nats)")
    left.set_ylim(bottom=0)
    ends = 100 * np.transpose([reading.followed_loss_change(run, name) for name in names])
    intervals(right, range(len(names)), *ends, along="x", color="C0")
    right.axvline(0, **DASHED)
    right.set_xscale("symlog", linthresh=5)
    right.set_xticks((-100, -10, 0, 10), ("−100", "−10", "0", "10"))
    right.set(yticks=range(len(names)), yticklabels=names, xlabel="change (% of the loss)")
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize="small")
    return figure


def trajectory(run: Run) -> Figure:
    """Draw global and local squared displacement against the lag, with the fitted line."""
    figure, ((axes,),) = panels(1, 1, height=3.6)
    lags, squares = reading.displacements(run)
    mean = squares.mean((0, 1))
    axes.plot(lags, squares.mean(0).T, color="C0", linewidth=0.6, alpha=0.6)
    axes.plot(lags, mean, "o", color="C0", label="global: from a reference point")
    near = reading.local(run).mean()
    axes.axhline(near, color="C1", linestyle="-.", label="local: one step")
    within = lags[-1] * reading.WINDOWS[reading.WINDOW]
    used = bootstrap.exponent_weights(lags, within) != 0
    fit = np.polyfit(np.log(lags[used]), np.log(mean[used]), 1)
    line = np.exp(np.polyval(fit, np.log(lags[used])))
    axes.plot(lags[used], line, color="k", label=f"fit, c = {fit[0]:.2f}")
    axes.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    axes.set_ylim(axes.get_ylim())  # of what was measured
    for power, style in ((1, DOTTED), (2, DASHED)):
        axes.plot(lags, mean[0] * lags**power, label=f"slope {power}", **style)
    axes.legend()
    return figure


def fitting_windows(run: Run) -> Figure:
    """Draw the exponent of each octave of lags, and of the windows that are in use."""
    figure, ((axes,),) = panels(1, 1, height=3.4)
    lags, squares = reading.displacements(run)
    octaves = reading.octave_exponents(lags, squares)
    fits = zip(*((np.sqrt(first * last), *fit) for first, last, fit in octaves), strict=True)
    intervals(axes, *fits, color="C0", label="each octave")
    for place, (name, shares) in enumerate(reading.WINDOWS.items(), start=1):
        ends = lags[-1] * shares
        fit = reading.displacement_exponent(run, window=name)
        axes.plot(ends, [fit.value] * 2, color=f"C{place}", linewidth=3, label=name)
        band(axes, ends, fit.low, fit.high, color=f"C{place}")
    for level in (0, 1, 2):
        axes.axhline(level, **DOTTED)
    axes.set(xscale="log", xlabel=LAG, ylabel="exponent c in the window")
    axes.legend()
    return figure


def sweeps(run: Run) -> Figure:
    """Draw exponent and local displacement against each setting that was varied."""
    table = reading.exponents(run)
    varied = [name for name in NAMES if (table.setting == name).any()]
    figure, axes = panels(2, len(varied), height=2.3, sharey="row", sharex="col")
    for (top, bottom), name in zip(axes.T, varied, strict=True):
        mine = table[table.setting.isin([name, reading.main(run)])]
        x = 1 - mine[name] if name == "momentum" else mine[name]
        mine, x = mine.loc[x.sort_values().index], x.sort_values()
        intervals(top, x, mine.value, mine.low, mine.high, color="C0")
        intervals(bottom, x, mine.local, mine.local_low, mine.local_high, color="C1")
        bottom.plot(x, mine.local_expected, **DASHED)
        for panel in (top, bottom):
            panel.axvline(x[mine.setting != name].item(), **DOTTED)
        top.axhline(1, **DOTTED)
        zero = {"linthresh": x[x > 0].min(), "linscale": 0.5} if (x == 0).any() else {}
        bottom.set_xscale("symlog" if zero else "log", **zero)
        bottom.set_xticks(x, [f"{value:g}" for value in x], rotation=45)
        bottom.set(xlabel=NAMES[name], yscale="log")
        bottom.xaxis.set_minor_locator(NullLocator())
        bottom.margins(x=0.12)  # so that no point is cut by the frame
        if zero:
            bottom.set_xlim(left=-0.4 * zero["linthresh"])
    axes[0, 0].set_ylabel("exponent c")
    axes[1, 0].set_ylabel("one step (unit²)")
    return figure


def clock(run: Run) -> Figure:
    """Draw exponent and distance against η / (1 − β), where η or where β was varied."""
    figure, ((left, right),) = panels(1, 2, height=3.2)
    table = reading.effective_rates(run)
    ticks = table.effective_rate[table.setting != "momentum"]
    for setting, fmt, letter in (("learning_rate", "o-", "η"), ("momentum", "s--", "β")):
        mine = table[table.setting.isin([setting, reading.main(run)])]
        rates, style = mine.effective_rate, {"fmt": fmt, "label": f"{letter} varied"}
        intervals(left, rates, mine.value, mine.low, mine.high, **style)
        intervals(right, rates, mine.distance, mine.distance_low, mine.distance_high, **style)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="effective rate η / (1 − β)")
        axes.set_xticks(ticks, [f"{rate:.2g}" for rate in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.axhline(1, **DOTTED)
    left.set(ylabel="exponent c")
    right.set(yscale="log", ylabel="squared distance at the\nlongest lag (unit²)")
    right.legend()
    return figure


def memories(grid: pd.DataFrame, mine: pd.DataFrame) -> Figure:
    """Draw exponents against memories, from ``authors_sweep.exponents`` and ``by_memories``."""
    figure, ((axes,),) = panels(1, 1, height=3.4)
    for (momentum, rows), mark in zip(grid.groupby("momentum"), "osD", strict=True):
        label = f"the authors, β = {momentum:g}"
        axes.plot(rows.memories, rows.exponent, mark, color="black", label=label)
    for number, (setting, rows) in enumerate(mine.groupby("setting", sort=False)):
        style = {"color": f"C{number}", "label": f"ours, {setting.replace('_', ' ')}"}
        intervals(axes, rows.memories, rows.value, rows.low, rows.high, **style)
    axes.axhline(1, **DOTTED)
    axes.set(
        xscale="log",
        xlabel="memories of a weight's square, 2ηλT / (1 − β)",
        ylabel="exponent c",
    )
    axes.legend(loc="lower left")
    return figure


def quenched(grid: pd.DataFrame, runs: list[Run]) -> Figure:
    """Draw exponents of sweeps by effective rate and by memories; ``grid`` is the authors'."""
    figure, both = panels(1, 2, height=3.4)
    theirs = grid.assign(effective_rate=grid.learning_rate / (1 - grid.momentum))
    tables = [reading.exponents(run) for run in runs]
    for axes, place in zip(both[0], ("effective_rate", "memories"), strict=True):
        axes.plot(theirs[place], theirs.exponent, "o", color="black", label="the authors")
        for run, table, mark in zip(runs, tables, "sD", strict=True):
            style = {"fmt": mark, "label": f"ours, λ = {run.settings.weight_decay:g}"}
            intervals(axes, table[place], table.value, table.low, table.high, **style)
        axes.axhline(1, **DOTTED)
        axes.set(xscale="log", ylabel="exponent c")
    both[0, 0].set_xlabel("effective rate η / (1 − β)")
    both[0, 1].set_xlabel("memories 2ηλT / (1 − β)")
    both[0, 1].legend(loc="lower left")
    return figure


def replicas(run: Run) -> Figure:
    """Draw the squared displacement of replicas, the part that they share, and its share."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    lags, parts = reading.shared_parts(run)
    for name, label, color in (("total", "all", "C0"), ("shared", "shared", "C1")):
        shown, style = parts[name].value > 0, {"fmt": "o-", "color": color, "label": label}
        intervals(left, lags[shown], *(part[shown] for part in parts[name]), **style)
    intervals(right, lags, *parts["share"], fmt="o-", color="C1")
    right.axhline(0.5, **DASHED)
    right.set(ylabel="shared part of the whole", ylim=(0, 1))
    return _against_lag(figure, left, right)


def sampling(run: Run) -> Figure:
    """Draw the squared displacement for the two ways to draw minibatches, and their ratio."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    lags, drawn = reading.displacements(run, "base")
    _, shuffled = reading.displacements(run, "sampling=reshuffled")
    for squares, label in ((drawn, "with replacement"), (shuffled, "reshuffled epochs")):
        left.plot(lags, squares.mean((0, 1)), "o-", linewidth=1, label=label)
    ratio = Estimate.mean(shuffled.mean(1) / drawn.mean(1))  # members share settled states
    intervals(right, lags, *ratio, fmt="o-", color="C1")
    right.axhline(1, **DASHED)
    right.set(ylabel="reshuffled over replacement", ylim=(0, None))
    return _against_lag(figure, left, right)


def _against_lag(figure: Figure, left: Axes, right: Axes) -> Figure:
    left.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    left.legend()
    right.set(xscale="log", xlabel=LAG)
    return figure
