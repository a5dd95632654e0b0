"""Figures of chapter 4: what the memory of a language model does."""
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from ...nets.transformer_xl import shifted
from ...runs.records import Run
from ...train.levels import VANISHED, stages
from ..plots import mark_drops, panels


def relative_shift(length: int = 4, memory: int = 4) -> Figure:
    """Draw which distance each entry belongs to, before the shift and after it."""
    keys = length + memory
    before = torch.arange(keys - 1.0, -1, -1).expand(length, keys)
    figure, axes = panels(1, 2, 2.1, sharey=True)
    for panel, distances in zip(axes[0], (before, shifted(before)), strict=True):
        panel.imshow(distances.where(distances.isfinite(), torch.nan), cmap="viridis_r")
        for row, column in np.ndindex(length, keys):
            distance = distances[row, column].item()
            text, color = (f"{distance:.0f}", "black") if distance >= 0 else ("-", "0.4")
            color = "white" if distance > keys / 2 else color
            panel.text(column, row, text, ha="center", va="center", color=color)
        panel.set(yticks=range(length), xticks=range(keys))
        panel.grid(False)
    axes[0, 0].set(xlabel="column of the product", ylabel="query", title="by distance")
    axes[0, 1].set(xlabel=f"key (the first {memory}: memory)", title="by key")
    return figure


def kept_memory(run: Run) -> Figure:
    """Plot what a memory made by older weights changes along a run.

    Where the memory is empty, at the beginning of a pass, there is no value.
    """
    quantities = {
        "memory_loss_gap": "loss, kept less\nmade memory (nats)",
        "memory_gradient_gap": "distance of gradients /\nnorm of a gradient",
    }
    found = {label: run.series(name) for name, label in quantities.items()}
    drops = [end for _, end in stages(run)[:-1]]
    figure, axes = panels(2, 1, 2.2, sharex=True)
    column = axes[:, 0]
    column[0].set_title(run.label)
    for place, (panel, (label, series)) in enumerate(zip(column, found.items(), strict=True)):
        panel.plot(series.epoch, series.value, "o-", color=f"C{place}", linewidth=1)
        panel.set_ylabel(label)
        mark_drops(panel, drops)
    column[0].axhline(0, color="black", linewidth=0.8)
    if (run.series("memory_gradient_gap").value > 0).all():
        column[1].set_yscale("log")
    column[-1].set_xlabel("epoch")
    return figure


def memory_effects(table: pd.DataFrame) -> Figure:
    """Plot the rows of :func:`stationarity.chapters.ch04_wikitext_transformer_xl.reading.memory_effects`."""
    figure, axes = panels(1, 2, 2.6, sharey=True)
    loss, gradient = axes[0]
    places = np.arange(len(table))
    loss.errorbar(
        table.loss_difference, places, xerr=1.96 * table.loss_error, fmt="o", color="C0",
        capsize=2,
    )  # fmt: skip
    loss.axvline(0, color="black", linewidth=0.8)
    loss.set(xlabel="difference of the loss (nats)", yticks=places)
    loss.set_yticklabels(table.objective)
    loss.invert_yaxis()
    gradient.errorbar(
        table.distance, places,
        xerr=(table.distance - table.low, table.high - table.distance),
        fmt="o", color="C1", capsize=2,
    )  # fmt: skip
    gradient.axvline(VANISHED, color="black", linestyle=":", linewidth=1)
    gradient.set(xlabel="distance of the gradients /\nnorm at the start", xlim=(0, None))
    return figure
