"""Figures of chapter 7: windows of growing age, balances, replicas against time."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...errors import UsageError
from ...runs.records import Run
from ...stats import ergodic, invariance
from ..plots import mark_drops, panels
from . import reading

LABELS = {
    "minibatch_loss": "minibatch loss\n(nats)", "loss": "loss (nats)",
    "gradient_norm": "gradient norm\n(nats per unit)", "weight_norm": "weight norm\n(unit)",
    "buffer_norm": "buffer norm\n(nats per unit)",
    "random_1": "random direction 1\n(unit)", "random_2": "random direction 2\n(unit)",
    "hessian_1": "Hessian direction 1\n(unit)", "hessian_2": "Hessian direction 2\n(unit)",
    "observed_minibatch_loss": "minibatch loss\n(nats)",
    "observed_weight_norm": "weight norm\n(unit)",
    "observed_random_1": "random direction 1\n(unit)",
    "observed_random_2": "random direction 2\n(unit)",
}  # fmt: skip
SHORTEST = 12  # values in a window that is drawn: the tests ask for more
COLORS = {
    "settled": "C0", "agree": "C0", "drifts": "C1", "differ": "C1", "undecided": "0.6",
}  # fmt: skip


def _grid(
    count: int, columns: int = 3, height: float = 2.3, **keywords
) -> tuple[Figure, list]:
    rows = -(-count // columns)
    figure, axes = panels(rows, columns, height, **keywords)
    for unused in axes.ravel()[count:]:
        unused.set_visible(False)
    return figure, list(axes.ravel()[:count])


def windows(observables: dict) -> Figure:
    """Draw quantiles of each observable, ``{name: (steps, values)}``, by window.

    Bands hold the middle 50 % and 90 % of a window's values; the line is the median,
    with 1.96 standard errors by the block bootstrap where the window allows it.
    """
    figure, axes = _grid(len(observables))
    for panel, (name, (steps, values)) in zip(axes, observables.items(), strict=True):
        found = invariance.growing_windows(len(values), SHORTEST)
        cuts = [np.quantile(values[w], [0.05, 0.25, 0.5, 0.75, 0.95]) for w in found]
        lowest, low, median, high, highest = (
            np.transpose(cuts) if cuts else np.empty((5, 0))
        )
        middle = [steps[w].mean() for w in found]
        panel.fill_between(middle, lowest, highest, color="C0", alpha=0.2, linewidth=0)
        panel.fill_between(middle, low, high, color="C0", alpha=0.3, linewidth=0)
        errors = [1.96 * _error_of_median(values[w]) for w in found]
        panel.errorbar(
            middle, median, errors, fmt="o-", color="C0", capsize=3, linewidth=1
        )
        panel.set(xscale="log", ylabel=LABELS.get(name, name), xlabel="step")
        _mark_steps(panel, middle[::-2])
    return figure


def _mark_steps(panel: Axes, steps) -> None:
    """Label a logarithmic axis at these steps only."""
    panel.set_xticks(steps, [f"{step / 1000:.3g}k" for step in steps])
    panel.xaxis.set_minor_locator(NullLocator())


def _error_of_median(window) -> float:
    try:
        return ergodic.block_bootstrap(np.median, window)
    except UsageError:
        return np.nan


def distances(observables: dict) -> Figure:
    """Draw the distance of successive growing windows against age, by observable.

    Wasserstein distances over the standard deviation of the later window, with
    1.96 standard errors; the grey bar reaches to the 95 % quantile by chance.
    A cross marks windows with too few effective samples. The colour is the verdict.
    """
    figure, axes = _grid(len(observables), sharey=True)
    for panel, (name, series) in zip(axes, observables.items(), strict=True):
        table = invariance.along(*series)
        found = invariance.verdict(table)
        known, unknown = table[table.fault == ""], table[table.fault != ""]
        scale, color = known.scale.replace(0, 1), COLORS[found["verdict"]]
        ages = known.middle.clip(lower=1)
        panel.bar(
            ages,
            known.wasserstein_null / scale,
            width=0.35 * ages,
            color="0.85",
            zorder=1,
        )
        panel.errorbar(
            ages, known.wasserstein / scale, 1.96 * known.wasserstein_error / scale,
            fmt="o-", color=color, capsize=3, linewidth=1, zorder=2,
        )  # fmt: skip
        panel.plot(
            unknown.middle.clip(lower=1), np.zeros(len(unknown)), "x", color="0.4"
        )
        title = LABELS[name].split("\n")[0].partition(" (")[0] if name in LABELS else name
        panel.set_title(f"{title}\n{found['verdict']}", color=color, fontsize="small")
        panel.set(xscale="log", xlabel="age (steps)", ylim=(-0.1, 2.5))
        _mark_steps(panel, table.middle.clip(lower=1))
    for panel in axes[::3]:
        panel.set_ylabel("distance /\nstandard deviation")
    return figure


def identities(table: pd.DataFrame, drops: list) -> Figure:
    """Draw loss, both fluctuation-dissipation ratios and the descent budget in time.

    ``table`` comes from :func:`stationarity.chapters.ch07_watching_a_distribution_settle.reading.identities`; horizontal bars are
    the windows, vertical ones 95 % intervals over the members. Bars may leave the axis.
    """
    figure, axes = panels(3, 1, 2.0, sharex=True)
    loss, ratio, budget = axes[:, 0]
    middle, half = (
        (table["first"] + table["last"]) / 2,
        (table["last"] - table["first"]) / 2,
    )
    loss.errorbar(
        middle,
        table.loss,
        1.96 * table.loss_error,
        half,
        fmt="o",
        color="C0",
        linewidth=1,
    )
    loss.set(ylabel="loss (nats)", ylim=(0, None))
    for name, panel, style in (
        ("fluctuation_dissipation", ratio, {"fmt": "o", "color": "C1"}),
        (
            "fluctuation_dissipation_full",
            ratio,
            {"fmt": "s", "color": "C2", "mfc": "none"},
        ),
        ("descent_budget", budget, {"fmt": "o", "color": "C3"}),
    ):
        low, high = (
            table[name] - table[f"{name}_low"],
            table[f"{name}_high"] - table[name],
        )
        panel.errorbar(
            middle,
            table[name],
            (low, high),
            half,
            linewidth=1,
            label=reading.RATIOS[name],
            **style,
        )
    for panel in (ratio, budget):
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set(ylim=(-1, 4), ylabel="ratio")
        panel.legend(loc="upper left", framealpha=0.9)
    for panel in axes[:, 0]:
        mark_drops(panel, drops)
    budget.set_xlabel("step")
    return figure


def replicas(run: Run, names) -> Figure:
    """Draw the replicas' spread as they forget the branch, beside the one trajectory's.

    Blue: the replicas' median and middle 90 % at each measured step. Grey: the middle
    90 % of the trajectory, without its first quarter, and its median.
    """
    figure, axes = _grid(len(names))
    later = reading.observables(run, names, run.settings["trajectory"] / 4)
    for panel, name in zip(axes, names, strict=True):
        low, median, high = np.quantile(later[name][1], [0.05, 0.5, 0.95])
        panel.axhspan(low, high, color="0.85", zorder=0)
        panel.axhline(median, color="0.5", linewidth=1, zorder=1)
        steps, values = reading.members(run, name)
        low, median, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
        panel.fill_between(
            steps, low, high, color="C0", alpha=0.3, linewidth=0, zorder=2
        )
        panel.plot(steps, median, "o-", color="C0", linewidth=1, markersize=3, zorder=3)
        panel.set(ylabel=LABELS[name], xlabel="steps since the branch")
    return figure


def replicas_against_time(table: pd.DataFrame) -> Figure:
    """Draw the distance of replicas and trajectory against the age of the branch.

    ``table`` comes from :func:`stationarity.chapters.ch07_watching_a_distribution_settle.reading.replicas_against_time`. Points:
    Wasserstein distance over the trajectory's standard deviation, with 1.96 standard
    errors, orange where the laws differ at the level 5 %; line: 95 % quantile by chance.
    """
    groups = list(table.groupby("observable", sort=False))
    figure, axes = _grid(len(groups))
    for panel, (name, rows) in zip(axes, groups, strict=True):
        panel.set_title(
            LABELS[name].split("\n")[0].partition(" (")[0], fontsize="small"
        )
        for verdict, part in rows.groupby("verdict"):
            if verdict != "undecided":
                panel.errorbar(
                    part.step, part["shift"], 1.96 * part.error, fmt="o", color=COLORS[verdict],
                    markersize=3, linewidth=1,
                )  # fmt: skip
        panel.plot(rows.step, rows.null, color="0.4", linewidth=1)
        panel.set(xlabel="steps since the branch", ylim=(0, None))
        if (rows.verdict == "undecided").all():
            _say(panel, "too few\neffective samples")
    for panel in axes[::3]:
        panel.set_ylabel("distance /\nstandard deviation")
    return figure


def _say(panel: Axes, text: str) -> None:
    panel.annotate(text, (0.5, 0.5), xycoords="axes fraction", ha="center", va="center")


def norm_balance(table: pd.DataFrame) -> Figure:
    """Draw minibatch loss and fluctuation-dissipation ratio of a training run."""
    figure, axes = panels(1, 2, 2.8)
    loss, ratio = axes[0]
    middle, half = (
        (table["first"] + table["last"]) / 2,
        (table["last"] - table["first"]) / 2,
    )
    loss.errorbar(
        middle, table.loss, 1.96 * table.error, half, fmt="o", color="C0", capsize=3
    )
    loss.set(xlabel="step", ylabel="minibatch loss (nats)")
    ratio.errorbar(middle, table.ratio, None, half, fmt="o", color="C1")
    ratio.axhline(1, color="black", linewidth=0.8)
    ratio.set(xlabel="step", ylabel="fluctuation-dissipation ratio")
    return figure
