"""Figures of chapter 8: averages of the last weights."""

import seaborn as sns
from matplotlib.figure import Figure

from ...runs.records import Run
from ..plots import panels

BARS = 1.96  # standard errors


def averages(run: Run) -> Figure:
    """Draw loss and test accuracy of averages against the window, one colour a rate.

    Dashed lines are single moments, crosses at the right the nets after annealing.
    """
    figure, (row,) = panels(1, 2, height=3.4)
    rates, windows = run.settings["learning_rates"], run.settings["windows"]
    colors = sns.color_palette("colorblind")
    for axes, name, factor in zip(row, ("loss", "accuracy"), (1, 100), strict=True):
        for rate, color in zip(rates, colors):
            series = run.series(f"{name} ({rate:g})")
            axes.errorbar(
                series.step, factor * series.value, BARS * factor * series.error,
                fmt="o-", color=color, capsize=2, label=f"average, rate {rate:g}",
            )  # fmt: skip
            moment = run.series(f"moment_{name} ({rate:g})")
            axes.plot(moment.step, factor * moment.value, "--", color=color, linewidth=1)
            annealed = run.series(f"annealed_{name} ({rate:g})").iloc[-1]
            axes.errorbar(
                2.5 * windows[-1], factor * annealed.value,
                BARS * factor * annealed.error, fmt="X", color=color, markersize=7,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="window (last steps averaged)")
    row[0].set(ylabel="training loss (nats)")
    row[1].set(ylabel="test accuracy (%)")
    handles, labels = row[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(rates))
    return figure
