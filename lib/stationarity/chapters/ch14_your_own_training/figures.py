"""Figures of chapter 14: two schedules, and what a report draws."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ...errors import UsageError
from ...runs.records import Run
from ...watching.drifts import blocks
from ...watching.figures import DRAWN
from ...watching.watched import watched
from ..plots import WIDTH, legend_above, panels
from . import reading

MEANS = 150  # of the noted losses, that are drawn
UNITS = {
    "loss": " (nats)", "gradient": "\n(nats/unit)", "spread": "\n(unit²)",
    "batch": "\n(nats²/unit²)",
}  # fmt: skip


def schedules(run: Run) -> Figure:
    """Plot the rates and the losses of both trainings, with the windows that are judged."""
    figure, ((rate,), (loss,)) = panels(2, 1, 2.4, sharex=True)
    moments = reading.moments(run)
    for number, (label, name) in enumerate((("cosine", "cosine"), (reading.LOWER, "stages"))):
        training, style = moments[label], {"color": f"C{number}", "label": name}
        rates = training.series("learning_rate", index=0)
        rate.plot(rates.step, rates.value, **style)
        noted = training.series("loss")
        means = blocks(noted.value, MEANS)
        loss.plot(blocks(noted.step, MEANS), means, **style)
        loss.set_ylim(top=means[len(means) // 20])  # the first ones would hide the rest
    for label, training in moments.items():
        seen, cosine = watched(training), label == "cosine"
        half = {"ymin": 0.0, "ymax": 0.5} if cosine else {"ymin": 0.5, "ymax": 1.0}
        for panel in (rate, loss):
            style = {"color": "C0" if cosine else "C1", "alpha": 0.15, "linewidth": 0}
            panel.axvspan(seen.first, seen.last, **half, **style)
    rate.set(ylabel="learning rate")
    loss.set(xlabel="step", ylabel="loss of minibatches\n(nats)")
    legend_above(figure, rate, 2)
    return figure


def report(run: Run) -> Figure:
    """Draw what the report of a watched training draws, a panel a question."""
    figure = plt.figure(figsize=(WIDTH, 8.4))
    seen, parts = watched(run), figure.subfigures(3, 2)
    for part, (key, (draw, _)) in zip(np.ravel(parts), DRAWN.items(), strict=True):
        axes = part.subplots()
        try:
            draw(axes, run, seen)
        except UsageError as error:
            text = "\n".join(textwrap.wrap(str(error), 30))
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        part.legends.clear()  # above the panel: there is its title here
        axes.set(title=key, ylabel=axes.get_ylabel() + UNITS.get(key, ""))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="x-small")
    return figure
