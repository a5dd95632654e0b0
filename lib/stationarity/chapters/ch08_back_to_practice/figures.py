"""Figures of chapter 8: averages of the last weights."""

from matplotlib.figure import Figure

from ...runs.records import Run
from ..plots import intervals, legend_above, panels
from . import reading


def averages(run: Run) -> Figure:
    """Draw loss and test accuracy of averages against the window, one colour a rate.

    Dashed lines are single moments, crosses at the right the nets after annealing; bars
    are intervals of each mean alone, by Student's t over the members.
    """
    figure, (row,) = panels(1, 2, height=3.4)
    rates, end = run.settings.learning_rates, 2.5 * run.settings.windows[-1]
    for axes, name, factor in zip(row, ("loss", "accuracy"), (1, 100), strict=True):
        for number, rate in enumerate(rates):
            color = f"C{number}"
            windows, average = reading.course(run, name, rate)
            style = {"fmt": "o-", "color": color, "label": f"average, rate {rate:g}"}
            intervals(axes, windows, *(factor * part for part in average), **style)
            _, moment = reading.course(run, f"moment_{name}", rate)
            axes.plot(windows, factor * moment.value, "--", color=color, linewidth=1)
            _, annealed = reading.course(run, f"annealed_{name}", rate)
            style = {"fmt": "X", "color": color, "markersize": 7}
            intervals(axes, end, *(factor * part[-1] for part in annealed), **style)
        axes.set(xscale="log", xlabel="window (last steps averaged)")
    row[0].set(ylabel="training loss (nats)")
    row[1].set(ylabel="test accuracy (%)")
    legend_above(figure, row[0], len(rates))
    return figure
