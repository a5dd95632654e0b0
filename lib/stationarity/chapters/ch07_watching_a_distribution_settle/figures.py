"""Figures of chapter 7: windows of growing age, balances, replicas and memories."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ...runs.records import Run
from ..autocorrelation import FEWEST
from ..plots import (
    DASHED,
    DOTTED,
    THEORY,
    THRESHOLD,
    VERDICTS,
    ZERO,
    band,
    intervals,
    legend_above,
    mark_drops,
    panels,
    points,
)
from . import invariance, reading

LABELS = {
    "minibatch_loss": "minibatch loss\n(nats)", "loss": "loss (nats)",
    "gradient_norm": "gradient norm\n(nats per unit)", "weight_norm": "weight norm\n(unit)",
    "buffer_norm": "buffer norm\n(nats per unit)",
    "random_1": "random direction 1\n(unit)", "random_2": "random direction 2\n(unit)",
    "hessian_1": "Hessian direction 1\n(unit)", "hessian_2": "Hessian direction 2\n(unit)",
}  # fmt: skip


def _grid(names, **keywords) -> tuple[Figure, np.ndarray]:
    figure, axes = panels(-(-len(names) // 3), 3, 2.3, **keywords)
    for unused in axes.ravel()[len(names) :]:
        unused.set_visible(False)
    return figure, axes.ravel()[: len(names)]


def _title(name: str) -> str:
    name = name.removeprefix("observed_")
    return LABELS.get(name, name).partition("(")[0].strip()  # without its unit


def windows(observables: dict) -> Figure:
    """Draw median, middle 50 % and 90 % of each of ``{name: (steps, values)}``, by window."""
    figure, axes = _grid(observables)
    for panel, (name, (steps, values)) in zip(axes, observables.items(), strict=True):
        parts = invariance.growing_windows(len(values), 12)  # the tests ask for more values
        cuts = [np.quantile(values[part], [0.05, 0.25, 0.5, 0.75, 0.95]) for part in parts]
        lowest, low, median, high, highest = np.reshape(cuts, (-1, 5)).T
        middle = [steps[part].mean() for part in parts]
        band(panel, middle, lowest, highest, color="C0")
        band(panel, middle, low, high, color="C0")
        points(panel, middle, median, fmt="o-", color="C0")
        panel.set(xscale="log", ylabel=LABELS.get(name, name), xlabel="step")
        _mark_steps(panel, middle[::-2])
    return figure


def _mark_steps(panel: Axes, steps) -> None:
    panel.set_xticks(steps, [f"{step / 1000:.3g}k" for step in steps])
    panel.xaxis.set_minor_locator(NullLocator())


def distances(observables: dict) -> Figure:
    """Draw distances of successive growing windows against age, by observable.

    Grey bar: the 95 % quantile by chance. Cross: too few effective samples. Colour: verdict.
    """
    figure, axes = _grid(observables, sharey=True)
    for panel in axes[::3]:
        panel.set_ylabel("distance /\nstandard deviation")
    for panel, (name, series) in zip(axes, observables.items(), strict=True):
        table = invariance.along(*series)
        verdict = invariance.verdict(table)["verdict"]
        table = table.assign(age=table.middle.clip(lower=1))
        known, unknown = table[table.fault == ""], table[table.fault != ""]
        panel.bar(known.age, known.resolution, width=0.35 * known.age, color="0.85", zorder=1)
        color = VERDICTS[verdict]
        points(panel, known.age, known["shift"], known.error, fmt="o-", color=color, zorder=2)
        panel.plot(unknown.age, 0 * unknown.age, "x", color="0.4")
        panel.set_title(f"{_title(name)}\n{verdict}", color=color, fontsize="small")
        panel.set(xscale="log", xlabel="age (steps)", ylim=(-0.1, 2.5))
        _mark_steps(panel, table.age)
    return figure


def balances(table: pd.DataFrame, drops) -> Figure:
    """Draw the ``table`` of :func:`~.balancing.balances`; horizontal bars are the windows."""
    figure, axes = panels(4, 1, 1.8, sharex=True)
    loss, ratio, budget, norm = axes[:, 0]
    points(loss, table.middle, table.loss, table.loss_error, xerr=table.half, color="C0")
    loss.set(ylabel="loss (nats)", ylim=(0, None))
    drawn = {
        "fluctuation_dissipation": (ratio, "fluctuation-dissipation, minibatch gradient", {}),
        "fluctuation_dissipation_full": (
            ratio,
            "fluctuation-dissipation, full gradient",
            {"fmt": "s", "mfc": "none"},
        ),
        "descent_budget": (budget, "descent budget", {}),
        "norm_drift": (norm, None, {}),
    }
    for number, (name, (panel, label, style)) in enumerate(drawn.items(), start=1):
        ends = (table[f"{name}{part}"] for part in ("", "_low", "_high"))
        style |= {"xerr": table.half, "color": f"C{number}", "label": label}
        intervals(panel, table.middle, *ends, **style)
    for panel in (ratio, budget):
        panel.axhline(1, **THEORY)
        panel.set(ylim=(-1, 4), ylabel="ratio")
        panel.legend(loc="upper left", framealpha=0.9)
    norm.axhline(0, **ZERO)
    norm.set(ylim=(-10, 10), ylabel="drift of ‖θ‖² /\nits spread", xlabel="step")
    for panel in axes[:, 0]:
        mark_drops(panel, drops)
    return figure


def replicas(run: Run, names) -> Figure:
    """Draw median and middle 90 % of the replicas, beside the trajectory's after a quarter."""
    figure, axes = _grid(names)
    later = reading.observables(run, names, run.settings.trajectory / 4)
    for panel, (name, (_, path)) in zip(axes, later.items(), strict=True):
        low, median, high = np.quantile(path, [0.05, 0.5, 0.95])
        panel.axhspan(low, high, color="0.85", zorder=0)
        panel.axhline(median, color="0.5", linewidth=1, zorder=1)
        spread = reading.members(run, name).quantile([0.05, 0.5, 0.95], axis=1).T
        steps, low, median, high = spread.index, *spread.to_numpy().T
        band(panel, steps, low, high, color="C0", zorder=2)
        panel.plot(steps, median, "o-", color="C0", linewidth=1, markersize=3, zorder=3)
        panel.set(ylabel=LABELS.get(name, name), xlabel="steps since the branch")
    return figure


def relations(run: Run) -> Figure:
    """Draw memories beside what windows in time and replicas say: a row an observable.

    Dotted: the longest that the windows can judge; dashed: the age of the replicas.
    """
    table, settings = reading.relations(run), run.settings
    figure, ((left, right),) = panels(1, 2, 3.2, sharey=True)
    table["row"] = range(len(table))
    left.plot(table.time, table.row, "o", color="0.25")
    left.axvline(settings.window / FEWEST, **DOTTED)
    left.axvline(settings.steps, **DASHED)
    left.set(xscale="log", xlabel="memory (steps)")
    left.set_yticks(table.row, [_title(name).replace("\n", " ") for name in table.index])
    for name, mark, place in (("windows", "o", -0.12), ("replicas", "s", 0.12)):
        for verdict, part in table.groupby(name, sort=False):
            fmt, style = mark, {"color": VERDICTS[verdict], "label": f"{name}: {verdict}"}
            if verdict == "undecided":
                fmt, style = "x", {"color": "0.4"}
            right.plot(part[f"{name}_shift"].fillna(0), part.row + place, fmt, **style)
    right.axvline(1, **THRESHOLD)
    right.set(xlabel="shift / what chance gives", xlim=(-0.1, None))
    legend_above(figure, right, 2)
    return figure
