"""Figures of chapter 5: where weights converge and where not."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from ...runs.records import Run
from ...stats.estimate import Estimate
from ..levels import VANISHED
from ..plots import DASHED, DOTTED, THRESHOLD, VERDICTS, band, intervals, legend_above, panels


def regime_map(table: pd.DataFrame) -> Figure:
    """Plot gradient and noise of :func:`reading.table` over their starts, by regime.

    Coloured by the verdict. Where there is no noise at all, the right panel has a triangle
    at its left end.
    """
    figure, ((gradient, noise),) = panels(1, 2, 0.9 + 0.27 * len(table), sharey=True)
    loud = table.noise > 0
    silent, noisy = table[~loud], table.assign(verdict=table.verdict.where(loud))
    _by_verdict(gradient, table.set_index("regime"), "ratio")
    _by_verdict(noise, noisy.set_index("regime"), "noise")
    floor = np.full(len(silent), 0.3 * table.noise[loud].min())
    noise.scatter(floor, silent.index, marker="<", color=silent.verdict.map(VERDICTS))
    noise.set(xlabel="noise norm of a batch\nover its start")
    legend_above(figure, gradient, 3)
    return figure


def verdicts(table: pd.DataFrame) -> Figure:
    """Plot the ratios of :func:`levels.stage_levels` by run, coloured by the verdict."""
    figure, ((panel,),) = panels(1, 1, 1.2 + 0.33 * len(table))
    _by_verdict(panel, table, "ratio")
    legend_above(figure, panel, 3)
    return figure


def _by_verdict(panel, table: pd.DataFrame, name: str) -> None:
    places = pd.Series(range(len(table)), table.index)
    for verdict, rows in table.groupby("verdict"):
        ends = (rows[name + end].clip(lower=1e-6) for end in ("", "_low", "_high"))
        style = {"along": "x", "color": VERDICTS[verdict], "label": verdict}
        intervals(panel, places[rows.index], *ends, **style)
    if name == "ratio":
        panel.axvline(VANISHED, **THRESHOLD)
        panel.set_yticks(places, table.index)
        panel.set_ylim(len(table) - 0.5, -0.5)
    panel.set(xlabel="gradient norm\nover its start", xscale="log")
    panel.grid(axis="y", visible=False)


def courses(run: Run, groups: dict[str, list[str]]) -> Figure:
    """Plot gradient norms over their starts against steps, a panel for each group.

    ``groups`` maps a title to names of regimes. Lines are geometric means over nets.
    """
    figure, axes = panels(1, len(groups), 4.4, sharey=True)
    for panel, (title, names) in zip(axes[0], groups.items(), strict=True):
        for number, name in enumerate(names):
            squares = run.wide("gradient_norm_squared", of=name)
            ratios = np.sqrt(squares / squares.loc[0]).iloc[1:]
            line, color = Estimate.geometric_mean(ratios.to_numpy().T), f"C{number}"
            panel.plot(ratios.index, line.value, color=color, label=name)
            band(panel, ratios.index, *line[1:], color=color)
        panel.axhline(VANISHED, **THRESHOLD)
        panel.set(xscale="log", yscale="log", xlabel="step", title=title)
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0, 0].set_ylabel("gradient norm over its start")
    return figure


def drive(table: pd.DataFrame, slope: float) -> Figure:
    """Plot ||grad f||^2 against the drive of :func:`reading.table`, a point a regime.

    The dashed line has the fitted ``slope``, the dotted one slope one.
    """
    figure, ((panel,),) = panels(1, 1, 4.2)
    used = table[table.drive > 0].sort_values("drive")
    ends = np.array([used.drive.min(), used.drive.max()])
    centre = np.exp([np.log(used.drive).mean(), np.log(used.square).mean()])
    for power, style in ((slope, DASHED), (1.0, DOTTED)):
        panel.plot(ends, centre[1] * (ends / centre[0]) ** power, **style)
    for row in used.itertuples():
        color = VERDICTS[row.verdict]
        intervals(panel, row.drive, row.square, row.square_low, row.square_high, color=color)
    panel.set(xscale="log", yscale="log", xlim=(ends[0] / 20, ends[1] * 12))
    panel.set_xlabel(r"$\eta\,\sigma^2/(1-\beta)$")
    panel.set_ylabel(r"$\|\nabla f\|^2$ at the settled weights")
    _name(panel, used)
    return figure


def _name(panel, table: pd.DataFrame) -> None:
    """Write the name of each regime beside its point, where it lies on fewest others."""
    panel.figure.draw_without_rendering()  # places depend on the layout
    taken = panel.transData.transform(table[["drive", "square"]].to_numpy())
    taken = [Bbox.from_bounds(x - 3, y - 3, 6, 6) for x, y in taken]
    places = [*itertools.product((-3, 5, -11, 13, -19), (("left", 6), ("right", -6)))]
    style = {"textcoords": "offset points", "fontsize": "x-small"}
    for row in table.itertuples():
        text = panel.annotate(row.regime, (row.drive, row.square), (0, 0), **style)

        def overlaps(place: tuple) -> int:
            up, (side, aside) = place
            text.set(ha=side)
            text.xyann = aside, up
            return text.get_window_extent().count_overlaps(taken)

        overlaps(min(places, key=overlaps))  # which puts it there
        taken.append(text.get_window_extent())
