"""Figures of chapter 9: how far weights go, and the exponent of it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from ...runs.records import Run
from ...stats import displacement
from ..plots import panels
from . import reading

BARS = 1.96  # standard errors
NAMES = {
    "learning_rate": "learning rate η", "batch_size": "batch size S",
    "momentum": "1 − β", "weight_decay": "weight decay λ",
}  # fmt: skip
LAG, SQUARED = "lag k (steps)", "squared distance (unit²)"


def _bars(axes: Axes, x, values, low, high, **keywords) -> None:
    """Draw points with intervals that may be lopsided."""
    values = np.asarray(values, float)
    errors = np.clip([values - np.asarray(low), np.asarray(high) - values], 0, None)
    keywords = {"fmt": "o", "capsize": 2, "linewidth": 1} | keywords
    axes.errorbar(x, values, errors, **keywords)


def _fits(found: list) -> tuple[list, list, list]:
    """Return values, lower and upper ends of exponents."""
    return tuple(
        [getattr(fit, end) for fit in found] for end in ("value", "low", "high")
    )


def known(run: Run) -> Figure:
    """Draw processes of known displacement: measured and exact, and the fitted exponents."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    names = reading.variations(run)
    for place, name in enumerate(names):
        lags, squares = reading.displacements(run, name)
        exact = run.series(f"exact ({name})")
        color = f"C{place}"
        left.plot(lags, squares.mean((0, 1)), "o", color=color)
        left.plot(exact.step, exact.value, color=color, linewidth=1)
        fit = reading.exponent(run, name)
        _bars(right, [place], [fit.value], [fit.low], [fit.high], color=color)
        right.plot(
            place, run.series(f"exact_exponent ({name})").value[0], "_k", markersize=16
        )
    left.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    right.set(xticks=range(len(names)), ylabel="exponent c")
    right.set_xticklabels(names, rotation=30, ha="right")
    return figure


def settled_loss(run: Run) -> Figure:
    """Draw the loss on the way to the settled state, and its change in what follows."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    way = run.metrics[run.metrics.quantity.str.startswith("settling_loss")]
    groups = way.groupby("step").value
    left.errorbar(
        groups.mean().index, groups.mean(), BARS * groups.sem(), fmt="o-", capsize=2
    )
    left.set(
        xlabel="steps from the initial weights",
        ylabel="training loss (nats)",
    )
    left.set_ylim(bottom=0)
    names = reading.variations(run)
    for place, name in enumerate(names):
        value, low, high = (100 * part for part in reading.loss_change(run, name))
        error = [[value - low], [high - value]]
        right.errorbar([value], [place], xerr=error, fmt="o", capsize=2, color="C0")
    right.axvline(0, color="0.3", linestyle="--", linewidth=1)
    right.set(
        yticks=range(len(names)), yticklabels=names, xlabel="change while followed (%)"
    )
    right.invert_yaxis()
    right.tick_params(axis="y", labelsize="small")
    return figure


def trajectory(run: Run, variation: str | None = None) -> Figure:
    """Draw global and local squared displacement against the lag, with the fitted line.

    Thin lines are the reference points, each a mean over the members. Takes any run with
    ``global_displacement_squared``; ``local_displacement_squared`` is drawn by its mean.
    """
    figure, ((axes,),) = panels(1, 1, height=3.6)
    lags, squares = reading.displacements(run, variation)
    mean = squares.mean((0, 1))
    for one in squares.mean(0):
        axes.plot(lags, one, color="C0", linewidth=0.6, alpha=0.6)
    axes.plot(lags, mean, "o", color="C0", label="global: from a reference point")
    near = reading.local(run, variation).mean()
    axes.axhline(near, color="C1", linestyle="-.", label="local: one step")
    within = displacement.window(lags[-1], reading.WINDOW)
    weights = displacement.slope_weights(lags, within)
    slope = np.log(mean) @ weights
    used = weights != 0
    level = np.exp(np.log(mean[used]).mean() - slope * np.log(lags[used]).mean())
    axes.plot(
        lags[used],
        level * lags[used] ** slope,
        color="k",
        label=f"fit, c = {slope:.2f}",
    )
    for power, style in ((1, ":"), (2, "--")):
        line = mean[0] * lags**power
        shown = line <= 3 * mean.max()
        axes.plot(
            lags[shown],
            line[shown],
            style,
            color="0.5",
            linewidth=1,
            label=f"slope {power}",
        )
    axes.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    axes.legend()
    return figure


def fitting_windows(run: Run, variation: str | None = None) -> Figure:
    """Draw the exponent of each octave of lags, and of the windows that are in use."""
    figure, ((axes,),) = panels(1, 1, height=3.4)
    lags, squares = reading.displacements(run, variation)
    octaves = displacement.octave_exponents(lags, squares)
    middles = [np.sqrt(first * last) for first, last, _ in octaves]
    _bars(
        axes,
        middles,
        *_fits([fit for *_, fit in octaves]),
        color="C0",
        label="each octave",
    )
    for place, name in enumerate(displacement.WINDOWS, start=1):
        first, last = displacement.window(lags[-1], name)
        fit = displacement.exponent(lags, squares, (first, last))
        axes.plot(
            [first, last], [fit.value] * 2, color=f"C{place}", linewidth=3, label=name
        )
        axes.fill_between(
            [first, last], fit.low, fit.high, color=f"C{place}", alpha=0.15
        )
    for level in (0, 1, 2):
        axes.axhline(level, color="0.3", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel=LAG, ylabel="exponent c in the window")
    axes.legend()
    return figure


def sweeps(run: Run) -> Figure:
    """Draw exponent and local displacement against each setting that was varied.

    Dashed: what ‖δ‖² ∝ η² / (S (1 − β²)) gives from the base settings on.
    """
    table = reading.exponents(run).set_index("variation", drop=False)
    base = table.loc[reading.main(run)]
    varied = [name for name in NAMES if (table.setting == name).any()]
    figure, axes = panels(2, len(varied), height=2.3, sharey="row", sharex="col")
    for (top, bottom), name in zip(axes.T, varied, strict=True):
        mine = pd.concat([table[table.setting == name], base.to_frame().T])
        settings = np.append(mine.number[:-1].astype(float), run.settings[name])
        x = 1 - settings if name == "momentum" else settings
        _bars(top, x, mine.value, mine.low, mine.high, color="C0")
        bottom.errorbar(
            x,
            mine.local.astype(float),
            BARS * mine.local_error.astype(float),
            fmt="o",
            color="C1",
        )
        order, expected = (
            np.argsort(x),
            base.local * _scaling(name, settings, run.settings[name]),
        )
        bottom.plot(x[order], expected[order], "--", color="0.4", linewidth=1)
        for panel in (top, bottom):
            panel.axvline(x[-1], color="0.6", linestyle=":", linewidth=1)
        top.axhline(1, color="0.3", linestyle=":", linewidth=1)
        zero = (
            {"linthresh": np.min(x[x > 0]), "linscale": 0.5} if (x == 0).any() else {}
        )
        bottom.set_xscale("symlog" if zero else "log", **zero)
        bottom.set_xticks(x[order], [f"{value:g}" for value in x[order]], rotation=45)
        bottom.set(xlabel=NAMES[name], yscale="log")
        bottom.xaxis.set_minor_locator(NullLocator())
    axes[0, 0].set(ylabel="exponent c")
    axes[1, 0].set(ylabel="one step (unit²)")
    return figure


def _scaling(name: str, settings, base: float):
    """Return how the noise makes ‖δ‖² depend on a setting, relative to its base value."""
    if name == "learning_rate":
        return (settings / base) ** 2
    if name == "batch_size":
        return base / settings
    if name == "momentum":
        return (1 - base**2) / (1 - settings**2)
    return np.ones_like(settings)


def clock(run: Run) -> Figure:
    """Draw exponent and distance against η / (1 − β), where η or where β was varied."""
    figure, ((left, right),) = panels(1, 2, height=3.2)
    table = reading.effective_rates(run)
    for setting, label in (("learning_rate", "η varied"), ("momentum", "β varied")):
        mine = table[table.setting.isin([setting, reading.main(run)])]
        keywords = {
            "fmt": "o-" if setting == "learning_rate" else "s--",
            "label": label,
        }
        rates = mine.effective_rate
        _bars(left, rates, mine.value, mine.low, mine.high, **keywords)
        right.errorbar(
            rates,
            mine.distance,
            BARS * mine.distance_error,
            capsize=2,
            linewidth=1,
            **keywords,
        )
    for axes in (left, right):
        axes.set(xscale="log", xlabel="effective rate η / (1 − β)")
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.axhline(1, color="0.3", linestyle=":", linewidth=1)
    left.set(ylabel="exponent c")
    right.set(yscale="log", ylabel="squared distance at the\nlongest lag (unit²)")
    right.legend()
    return figure


def replicas(run: Run) -> Figure:
    """Draw the squared displacement of replicas, the part that they share, and its share."""
    found = reading.shared_share(run)
    figure, ((left, right),) = panels(1, 2, height=3.4)
    for name, label, color in (("total", "all", "C0"), ("shared", "shared", "C1")):
        shown = found[found[name] > 0]
        left.errorbar(
            shown.step, shown[name], BARS * shown[f"{name}_error"], fmt="o-", color=color,
            linewidth=1, label=label,
        )  # fmt: skip
    left.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    left.legend()
    right.errorbar(
        found.step,
        found.share,
        BARS * found.share_error,
        fmt="o-",
        color="C1",
        linewidth=1,
    )
    right.axhline(0.5, color="0.3", linestyle="--", linewidth=1)
    right.set(xscale="log", xlabel=LAG, ylabel="shared part of the whole", ylim=(0, 1))
    return figure


def sampling(run: Run) -> Figure:
    """Draw the squared displacement for the two ways to draw minibatches, and their ratio."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    found = {}
    for name, label in (
        ("base", "with replacement"),
        ("sampling=reshuffled", "reshuffled epochs"),
    ):
        lags, squares = reading.displacements(run, name)
        found[label] = squares.mean(1)
        left.plot(lags, squares.mean((0, 1)), "o-", linewidth=1, label=label)
    drawn, shuffled = found.values()
    ratio = shuffled / drawn  # the members share their settled states
    error = ratio.std(0, ddof=1) / np.sqrt(len(ratio))
    right.errorbar(lags, ratio.mean(0), BARS * error, fmt="o-", color="C1", linewidth=1)
    right.axhline(1, color="0.3", linestyle="--", linewidth=1)
    left.set(xscale="log", yscale="log", xlabel=LAG, ylabel=SQUARED)
    left.legend()
    right.set(xscale="log", xlabel=LAG, ylabel="reshuffled over replacement")
    right.set_ylim(bottom=0)
    return figure
