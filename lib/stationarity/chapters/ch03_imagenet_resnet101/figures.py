"""The paper's Figure 1, and its shape beside that of runs of ours."""

import pandas as pd
from matplotlib.figure import Figure

from ...runs.records import Run
from .. import levels
from ..plots import WIDTH, mark_drops, panels
from .reading import NAIVE, quarters


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


def shape(runs: dict[str, list[Run]], size=(WIDTH, 2.9)) -> Figure:
    """Plot naive norms over their first stage's mean, a panel a label and a line a seed.

    Thick bars are the means over the quarters that :func:`reading.quarters` compares.
    """
    figure, (axes,) = panels(1, len(runs), sharey=True)
    figure.set_size_inches(size)
    for panel, (label, ones) in zip(axes, runs.items(), strict=True):
        edges = levels.stages(ones[0].settings)  # those of all its seeds
        end = edges[-1][1]
        for one in ones:
            norms = one.series(NAIVE)
            norms = norms[norms.epoch > 0]
            scale = norms.value[norms.epoch <= edges[0][1]].mean()
            panel.plot(norms.epoch / end, norms.value / scale, color="0.6", linewidth=0.8)
            for row in quarters(one).iloc[1:].itertuples():
                begin, stop = (edge / end for edge in edges[row.stage - 1])
                width = (stop - begin) / 4
                first, last = (begin, begin + width), (stop - width, stop)
                for places, mean in ((first, row.first), (last, row.last)):
                    panel.plot(places, [mean / scale] * 2, color="C1", linewidth=3)
        mark_drops(panel, [stop / end for _, stop in edges[:-1]])
        panel.set(title=label, xlabel="part of the run")
    axes[0].set(ylabel="naive gradient norm /\nits mean in stage 1", ylim=(0, None))
    return figure
