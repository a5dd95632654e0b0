"""Figures of chapter 13: the paper's curve, both clocks, interventions, rates."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...runs.records import Run
from ...stats.estimate import Estimate
from ..plots import DASHED, DOTTED, THEORY, THRESHOLD, band, intervals, legend_above, panels
from . import figure_1, reading, relaxation
from .arms import FULL, HELD, NO_DECAY, RATE_HELD
from .reading import NORM


def paper(predicted: dict[int, float], fitted: dict[int, relaxation.Curve]) -> Figure:
    """Draw two stages of the paper's Figure 1, with both fits: rate free and predicted.

    Rates are a stage's, in units of one an epoch; of the predicted one only the level and
    the rise are fitted.
    """
    figure, (row,) = panels(1, 2, sharey=True)
    for axes, stage in zip(row, predicted, strict=True):
        epochs, norms = figure_1.points(stage)
        axes.plot(epochs, norms, "o", color="C1", label="the paper's points")
        axes.plot(epochs, fitted[stage].fitted, color="C0", label="rate fitted")
        shapes = np.stack([np.ones_like(epochs), np.exp(-predicted[stage] * epochs)], 1)
        line = shapes @ np.linalg.lstsq(shapes, norms, rcond=None)[0]
        axes.plot(
            epochs, line, **DASHED | {"color": "black", "zorder": 3}, label="rate predicted"
        )
        axes.set(title=f"stage {stage}", xlabel="epochs since the drop", ylim=(0, None))
    row[0].set_ylabel("naive gradient norm\n(nats per unit of weight)")
    legend_above(figure, row[0], 3)
    return figure


def clocks(run: Run) -> Figure:
    """Draw loss and norms after the drop on both clocks: means over members, a colour an arm.

    The left axis counts step size times steps, the right one memories of the weights; bands
    are intervals of each mean.
    """
    figure, grid = panels(3, 2, 2.3, sharey="row", sharex="col")
    rows = {
        "loss": "loss less its last\n(nats)",
        NORM: "gradient norm /\nits last",
        "weight_norm": "‖w‖ / its last",
    }
    for number, arm in enumerate(reading.rate_arms(run)):
        style = {"color": f"C{number}", "label": arm.name}
        for (left, right), name in zip(grid, rows, strict=True):
            steps, values = reading.to_last(run, name, arm)
            shown, clocks = Estimate.mean(values), reading.clocks_of(run, arm).values()
            for axes, clock in zip((left, right), clocks, strict=True):
                axes.plot(clock * steps, shown.value, **style)
                band(axes, clock * steps, shown.low, shown.high, color=f"C{number}")
            right.set_xscale("log")
    time = np.geomspace(*grid[2, 1].get_xlim(), 200)
    grid[2, 1].plot(time, relaxation.sphere(time), **THEORY, label="theory")
    for row, label in zip(grid, rows.values(), strict=True):
        row[0].set(ylabel=label, xscale="log")
    grid[-1, 0].set_xlabel("clock of the loss: step size × steps")
    grid[-1, 1].set_xlabel("clock of the weights: memories")
    legend_above(figure, grid[2, 1], 3)
    return figure


def interventions(run: Run) -> Figure:
    """Draw the gradient norm of each intervention after the drop, in two panels.

    Lines are geometric means over members, bands their intervals by Student's t.
    """
    figure, (row,) = panels(1, 2, 3.6, sharey=True)
    base, *names = reading.second_stage(run)
    decays = [name for name in names if "decay " in name and "," not in name]
    others = [name for name in names if name in (HELD, RATE_HELD, FULL)]
    for axes, chosen in zip(row, ([NO_DECAY, *decays], others), strict=True):
        for number, name in enumerate([base, *chosen]):
            steps, values = reading.curves(run, NORM, name)
            mean = Estimate.geometric_mean(values)
            label = "as before" if name == base else name
            axes.plot(steps, mean.value, color=f"C{number}", label=label)
            band(axes, steps, mean.low, mean.high, color=f"C{number}")
        axes.set(xlabel="steps since the drop", yscale="log")
        axes.legend(loc="upper left")
    row[0].set(ylabel="gradient norm\n(nats per unit of weight)", yticks=(0.03, 0.1, 0.3, 1))
    row[0].set_ylim(top=5 * row[0].get_ylim()[1])
    row[0].yaxis.set_major_formatter("{x:g}")
    return figure


def rates(table: pd.DataFrame, paper: pd.DataFrame) -> Figure:
    """Draw fitted over predicted rates, a row an arm; the paper's, a row a batch size."""
    rows = pd.concat([table, paper], ignore_index=True)
    figure, ((axes,),) = panels(1, 1, 0.5 + 0.4 * len(rows))
    places = -np.arange(len(rows))
    intervals(axes, places, rows.ratio, rows.low, rows.high, along="x", color="C0")
    axes.plot(rows.sphere, places, "D", color="0.3", label="sphere")
    axes.axvline(1, **DOTTED)
    for limit in (0.5, 2):
        axes.axvline(limit, **THRESHOLD)
    axes.set_yticks(places, rows.arm)
    axes.set(xscale="log", xlabel="rate of settling, fitted / predicted")
    axes.legend()
    return figure
