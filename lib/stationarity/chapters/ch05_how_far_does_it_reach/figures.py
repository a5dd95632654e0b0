"""Figures of chapter 5: where weights converge and where not."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...runs.records import Run
from ...train.levels import VANISHED
from ..plots import panels
from . import reading

COLORS = {"vanishes": "C0", "does not vanish": "C1", "undecided": "0.5"}


def regime_map(table: pd.DataFrame) -> Figure:
    """Plot gradient and noise at the settled weights, over their starts, by regime.

    ``table`` comes from :func:`stationarity.chapters.ch05_how_far_does_it_reach.reading.table`: norms with 95 %
    intervals over nets, coloured by the verdict. Where there is no noise at all,
    the right panel has a triangle at its left end.
    """
    figure, axes = panels(1, 2, 0.9 + 0.27 * len(table), sharey=True)
    gradient, noise = axes[0]
    silent = table.noise == 0
    floor = 0.3 * table.noise[~silent].min()
    for place, row in enumerate(table.itertuples()):
        color = COLORS[row.verdict]
        _point(gradient, place, (row.ratio_low, row.ratio, row.ratio_high), color)
        if row.noise > 0:
            _point(noise, place, (row.noise_low, row.noise, row.noise_high), color)
        else:
            noise.plot(floor, place, "<", color=color)
    gradient.axvline(VANISHED, color="black", linestyle=":", linewidth=1)
    gradient.set(xlabel="gradient norm\nover its start")
    noise.set(xlabel="noise norm of a batch\nover its start")
    for panel in axes[0]:
        panel.set_xscale("log")
        panel.grid(axis="y", visible=False)
    gradient.set_yticks(range(len(table)), table.regime)
    gradient.invert_yaxis()
    for name, color in COLORS.items():
        if (table.verdict == name).any():
            gradient.plot([], [], "o", color=color, label=name)
    figure.legend(*gradient.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _point(panel, place: int, values: tuple, color: str) -> None:
    low, middle, high = values
    panel.errorbar(
        middle, place, xerr=[[middle - low], [high - middle]], fmt="o", color=color, capsize=2
    )


def courses(run: Run, groups: dict[str, list[str]]) -> Figure:
    """Plot gradient norms over their starts against steps, a panel for each group.

    ``groups`` maps a title to names of regimes. Lines are geometric means over
    nets, bands their 95 % intervals.
    """
    figure, axes = panels(1, len(groups), 4.4, sharey=True)
    for panel, (title, names) in zip(axes[0], groups.items(), strict=True):
        for index, name in enumerate(names):
            squares = reading.series(run, "gradient_norm_squared", name)
            ratios = np.sqrt(squares / squares.loc[0]).iloc[1:]
            lines = np.array([reading.geometric_interval(row) for row in ratios.to_numpy()])
            panel.plot(ratios.index, lines[:, 0], color=f"C{index}", label=name)
            panel.fill_between(
                ratios.index,
                lines[:, 1],
                lines[:, 2],
                color=f"C{index}",
                alpha=0.25,
                linewidth=0,
            )
        panel.axhline(VANISHED, color="black", linestyle=":", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel="step", title=title)
        panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0, 0].set_ylabel("gradient norm over its start")
    return figure


def drive(table: pd.DataFrame, slope: float) -> Figure:
    """Plot ||grad f||^2 against rate * noise^2 / (1 - momentum), a point a regime.

    Adam and regimes without noise are left out. Bars are 95 % intervals over nets.
    The dashed line has the ``slope`` that was fitted to all points; the dotted one
    has slope one.
    """
    figure, axes = panels(1, 1, 4.2)
    panel, used = axes[0, 0], table[table.drive > 0].sort_values("drive")
    for rank, row in enumerate(used.itertuples()):
        bar = [[row.square - row.square_low], [row.square_high - row.square]]
        panel.errorbar(
            row.drive, row.square, yerr=bar, fmt="o", color=COLORS[row.verdict], capsize=2
        )
        side = {"xytext": (6, -3)} if rank % 2 else {"xytext": (-6, -3), "ha": "right"}
        panel.annotate(
            row.regime, (row.drive, row.square), textcoords="offset points",
            fontsize="x-small", **side,
        )  # fmt: skip
    ends = np.array([used.drive.min(), used.drive.max()])
    centre = np.exp([np.log(used.drive).mean(), np.log(used.square).mean()])
    for power, style in ((slope, "--"), (1.0, ":")):
        line = centre[1] * (ends / centre[0]) ** power
        panel.plot(ends, line, style, color="0.4", linewidth=1, zorder=0)
    panel.set(
        xscale="log", yscale="log", xlabel=r"$\eta\,\sigma^2/(1-\beta)$",
        ylabel=r"$\|\nabla f\|^2$ at the settled weights",
        xlim=(ends[0] / 20, ends[1] * 12),
    )  # fmt: skip
    return figure
