"""One style for all figures."""
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 7.2  # inches: the width of the text
PALETTE = "colorblind"


def use_style() -> None:
    """Set seaborn's theme and the font sizes of the book."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    plt.rcParams.update(
        {
            "figure.figsize": (WIDTH, 3.6),
            "figure.constrained_layout.use": True,
            "savefig.dpi": 160,
            "axes.titlesize": "medium",
            "axes.labelsize": "medium",
            "legend.fontsize": "small",
            "lines.markersize": 4,
            "svg.fonttype": "path",
        }
    )


def panels(rows: int, columns: int, height: float = 3.0, **keywords) -> tuple[Figure, np.ndarray]:
    """Return a figure of the text's width with a (rows, columns) array of axes."""
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, height * rows), squeeze=False, **keywords
    )
    return figure, axes


def mark_drops(axes: Axes, epochs) -> None:
    """Mark the epochs at which the step size drops by vertical dashed lines."""
    for epoch in epochs:
        axes.axvline(epoch, color="0.3", linestyle="--", linewidth=1, zorder=1.5)
