"""What the figures of all chapters share: one style, and one meaning for every mark."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..stats.estimate import NORMAL

WIDTH = 7.2  # inches: the width of the text
# What is computed by theory and not measured.
THEORY = {"color": "0.25", "linewidth": 1.2, "zorder": 1}
DASHED = {"color": "0.45", "linewidth": 1, "linestyle": "--", "zorder": 0}
DOTTED = {"color": "0.45", "linewidth": 1, "linestyle": ":", "zorder": 0}
ZERO = {"color": "black", "linewidth": 0.8}  # where a quantity changes its sign
THRESHOLD = {"color": "black", "linestyle": ":", "linewidth": 1}  # of a verdict
VERDICTS = {
    "vanishes": "C0", "does not vanish": "C1", "settled": "C0", "drifts": "C1",
    "agree": "C0", "differ": "C1", "undecided": "0.5",
}  # fmt: skip


def use_style() -> None:
    """Set seaborn's theme and the font sizes of the book."""
    sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
    plt.rc("figure", figsize=(WIDTH, 3.6), **{"constrained_layout.use": True})
    plt.rc("axes", titlesize="medium", labelsize="medium")
    plt.rc("legend", fontsize="small")
    plt.rc("lines", markersize=4)
    plt.rc("savefig", dpi=160)
    plt.rc("svg", fonttype="path")


def panels(rows: int, columns: int, height=3.0, **keywords) -> tuple[Figure, np.ndarray]:
    """Return a figure of the text's width with a (rows, columns) array of axes."""
    size = (WIDTH, height * rows)
    return plt.subplots(rows, columns, figsize=size, squeeze=False, **keywords)


def points(axes: Axes, x, y, error=None, *, fmt="o", **style) -> None:
    """Plot measured values with bars of 1.96 standard errors; no bar where there is none."""
    if error is not None:
        error = NORMAL * np.nan_to_num(np.asarray(error, float), posinf=0.0)
    axes.errorbar(x, y, error, fmt=fmt, **{"capsize": 2, "linewidth": 1} | style)


def intervals(axes: Axes, x, value, low, high, *, along="y", fmt="o", **style) -> None:
    """Plot measured values with the ends of their 95 % intervals, along y or x."""
    value, low, high = (np.atleast_1d(np.asarray(part, float)) for part in (value, low, high))
    bars = {f"{along}err": np.stack([value - low, high - value]).clip(0)}
    place = (x, value) if along == "y" else (value, x)
    axes.errorbar(*place, **bars, fmt=fmt, **{"capsize": 2, "linewidth": 1} | style)


def band(axes: Axes, x, low, high, **style) -> None:
    """Shade between the ends of 95 % intervals along a line, or of a spread that is named."""
    axes.fill_between(x, low, high, **{"alpha": 0.2, "linewidth": 0} | style)


def legend_above(figure: Figure, axes: Axes, columns: int, **keywords) -> None:
    """Put the legend of one panel above all of them."""
    style = {"loc": "outside upper center", "ncols": columns, "frameon": False} | keywords
    figure.legend(*axes.get_legend_handles_labels(), **style)


def mark_drops(axes: Axes, epochs) -> None:
    """Mark the epochs at which the step size drops by vertical dashed lines."""
    for epoch in epochs:
        axes.axvline(epoch, color="0.3", linestyle="--", linewidth=1, zorder=1.5)
