"""Figures of chapter 8: averages of the last weights."""

from matplotlib.figure import Figure

from ...runs.records import Run
from ..plots import legend_above, panels, points


def averages(run: Run) -> Figure:
    """Draw loss and test accuracy of averages against the window, one colour a rate.

    Dashed lines are single moments, crosses at the right the nets after annealing.
    """
    figure, (row,) = panels(1, 2, height=3.4)
    rates, end = run.settings.learning_rates, 2.5 * run.settings.windows[-1]
    for axes, name, factor in zip(row, ("loss", "accuracy"), (1, 100), strict=True):
        for number, rate in enumerate(rates):
            of, color = f"learning_rate={rate:g}", f"C{number}"
            average, moment = run.series(name, of=of), run.series(f"moment_{name}", of=of)
            style = {"fmt": "o-", "color": color, "label": f"average, rate {rate:g}"}
            points(axes, average.step, factor * average.value, factor * average.error, **style)
            axes.plot(moment.step, factor * moment.value, "--", color=color, linewidth=1)
            last = run.series(f"annealed_{name}", of=of).iloc[-1]
            style = {"fmt": "X", "color": color, "markersize": 7}
            points(axes, end, factor * last.value, factor * last.error, **style)
        axes.set(xscale="log", xlabel="window (last steps averaged)")
    row[0].set(ylabel="training loss (nats)")
    row[1].set(ylabel="test accuracy (%)")
    legend_above(figure, row[0], len(rates))
    return figure
