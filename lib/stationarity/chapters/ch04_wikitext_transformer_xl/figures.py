"""Figures of chapter 4: what the memory of a language model does."""

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ...nets.transformer_xl import shifted
from ...runs.records import Run
from ...stats.estimate import Estimate
from ..levels import VANISHED
from ..plots import THRESHOLD, ZERO, intervals, mark_drops, panels
from ..training_plots import drops


def relative_shift() -> Figure:
    """Draw which distance each entry belongs to, before the shift and after it."""
    length = memory = 4
    keys = length + memory
    before = torch.arange(keys - 1.0, -1, -1).expand(length, keys)
    figure, ((left, right),) = panels(1, 2, 2.1, sharey=True)
    for panel, distances in ((left, before), (right, shifted(before))):
        panel.imshow(distances.where(distances.isfinite(), torch.nan), cmap="viridis_r")
        for row, column in np.ndindex(length, keys):
            distance = distances[row, column].item()
            text = f"{distance:.0f}" if distance >= 0 else "-"
            color = "white" if distance > keys / 2 else "black"
            panel.text(column, row, text, ha="center", va="center", color=color)
        panel.set(yticks=range(length), xticks=range(keys))
        panel.grid(False)
    left.set(xlabel="column of the product", ylabel="query", title="by distance")
    right.set(xlabel=f"key (the first {memory}: memory)", title="by key")
    return figure


def kept_memory(run: Run) -> Figure:
    """Plot what a memory made by older weights changes along a run, where it is not empty."""
    figure, ((loss,), (gradient,)) = panels(2, 1, 2.2, sharex=True)
    changes, distances = run.series("memory_loss_gap"), run.series("memory_gradient_gap")
    for panel, series in ((loss, changes), (gradient, distances)):
        panel.plot(series.epoch, series.value, "o-", linewidth=1)
        mark_drops(panel, drops(run))
    loss.axhline(0, **ZERO)
    loss.set(title=run.label, ylabel="loss, kept less\nmade memory (nats)")
    gradient.set(xlabel="epoch", ylabel="distance of gradients /\nnorm of a gradient")
    if (distances.value > 0).all():
        gradient.set_yscale("log")
    return figure


def memory_effects(table: pd.DataFrame) -> Figure:
    """Plot the rows of the chapter's ``reading.memory_effects``."""
    figure, ((loss, gradient),) = panels(1, 2, 2.6, sharey=True)
    places = np.arange(len(table))
    difference = Estimate.of(table.loss_difference, table.loss_error)
    intervals(loss, places, *difference, along="x", color="C0")
    loss.axvline(0, **ZERO)
    loss.set_xlabel("difference of the loss (nats)")
    loss.set_yticks(places, table.objective)
    loss.invert_yaxis()
    intervals(gradient, places, table.distance, table.low, table.high, along="x", color="C1")
    gradient.axvline(VANISHED, **THRESHOLD)
    gradient.set(xlabel="distance of the gradients /\nnorm at the start", xlim=(0, None))
    return figure
