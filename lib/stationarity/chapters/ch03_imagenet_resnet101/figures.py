"""The figure of chapter 3 that is not of a run of ours."""

import pandas as pd
from matplotlib.figure import Figure

from ..plots import mark_drops, panels


def paper_figure(curve: pd.DataFrame, validation: pd.DataFrame) -> Figure:
    """Plot the paper's Figure 1 from its numbers: loss, gradient norm, accuracy."""
    figure, axes = panels(1, 3, 2.9)
    loss, norm, accuracy = axes[0]
    loss.plot(curve.epoch, curve.train_loss)
    loss.set_ylabel("training loss (nats)")
    norm.plot(curve.epoch, curve.gradient_norm, "o-", color="C1", linewidth=1, markersize=2.5)
    norm.set(ylabel="gradient norm, naive", ylim=(0, None))
    accuracy.plot(validation.epoch, validation.top1_percent, "o-", color="C2")
    accuracy.set_ylabel("validation accuracy (%)")
    for panel in axes[0]:
        mark_drops(panel, (30, 60))
        panel.set_xlabel("epoch")
    return figure
