"""Figures of training runs, run beside run, for every chapter that shows one."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..runs.records import Run
from .levels import HELD, LEFT, STABLE, squared_norm, stages
from .plots import THRESHOLD, ZERO, intervals, mark_drops, panels, points

MARKS = {"fmt": "o-", "markersize": 3}
LINE = {"markersize": 3, "linewidth": 1}
FAR = 5  # times all that follows: there a start hides the rest


def drops(run: Run) -> list[float]:
    """Return the epochs at which the step size of a run drops."""
    return [end for _, end in stages(run.settings)[:-1]]


def loss_and_gradient(run: Run) -> Figure:
    """Plot a run's losses and gradient norms against epochs.

    The unbiased norm is the root of :func:`levels.squared_norm`, 0 where that is negative.
    """
    minibatch, naive = run.series("train_loss"), run.series("gradient_norm_naive")
    measured = run.series("loss")
    figure, axes = panels(2, 1, 2.6, sharex=True)
    loss, norm = axes[:, 0]
    loss.plot(minibatch.epoch, minibatch.value, color="0.6", label="epoch's minibatches")
    style = MARKS | {"color": "C0", "label": "measured"}
    points(loss, measured.epoch, measured.value, measured.error, **style)
    loss.set(ylabel="training loss (nats)", title=run.label)
    norm.plot(naive.epoch, naive.value, "s--", color="C3", label="naive", **LINE)
    _norms(norm, run, run.series("gradient_norm_squared"), label="unbiased")
    norm.axhline(0, **ZERO)
    norm.set(ylabel="gradient norm", xlabel="epoch")
    _leave_out_a_far_start(norm, naive)
    for panel in (loss, norm):
        mark_drops(panel, drops(run))
        panel.legend(loc="best")
    return figure


def _leave_out_a_far_start(axes, series: pd.DataFrame) -> None:
    """Say what a series starts with, in place of a point, where it hides all that follows."""
    start, later = series.value.iloc[0], series.value.iloc[1:]
    top = 1.3 * later.max()
    if 0 < FAR * top < start:
        axes.set_ylim(min(-0.06 * top, 1.1 * later.min()), top)
        place = {"xycoords": "axes fraction", "va": "top", "fontsize": "x-small"}
        axes.annotate(f"at the start {float(f'{start:.3g}'):,.10g}", (0.02, 0.96), **place)


def _norms(axes, run: Run, squared: pd.DataFrame, **style) -> None:
    unbiased, naive = run.series("gradient_norm_squared"), run.series("gradient_norm_naive")
    noise = naive.value**2 - unbiased.value  # the same with decay and without
    estimate = squared_norm(squared.value, squared.error, noise).root()
    intervals(axes, squared.epoch, *estimate, color="C1", **MARKS, **style)


def along_the_run(run: Run) -> Figure:
    """Plot scaled gradient, noise, sharpness, weight norm and success of a run.

    Success on the validation part is the accuracy of images, the perplexity of text.
    """
    names = ("noise_norm", "sharpness", "weight_norm", "accuracy", "perplexity")
    shown = {name.replace("_", " "): run.series(name) for name in names if run.has(name)}
    squared = run.series("gradient_norm_squared")
    scaled = shown["weight norm"].value * np.sqrt(squared.value.clip(lower=0))
    shown = {r"$\|\theta\|\cdot\|\nabla L\|$": squared.assign(value=scaled)} | shown
    figure, axes = panels(len(shown), 1, 1.5, sharex=True)
    for number, (panel, (label, series)) in enumerate(zip(axes[:, 0], shown.items())):
        error = series.error if number and label != "sharpness" else None
        points(panel, series.epoch, series.value, error, color=f"C{number}", **MARKS)
        panel.set(ylabel=label, yscale="log" if label == "perplexity" else "linear")
        if label != "perplexity":
            _leave_out_a_far_start(panel, series)
        mark_drops(panel, drops(run))
    axes[0, 0].set_title(run.label)
    axes[-1, 0].set_xlabel("epoch")
    return figure


def naive_beside_naive(curve: pd.DataFrame, runs: list[Run]) -> Figure:
    """Plot naive gradient norms, the paper's and ours, each over its stage means."""
    figure, ((panel,),) = panels(1, 1, 3.4)

    def draw(epochs: pd.Series, norms: pd.Series, edges: list, label: str, **style) -> None:
        means = norms.groupby(pd.cut(epochs, edges, labels=False)).transform("mean")
        panel.plot(epochs / edges[-1], norms / means, "o-", label=label, **LINE)
        for drop in edges[1:-1]:
            panel.axvline(drop / edges[-1], linewidth=1.2, zorder=1.5, **style)

    # A point is the mean of its epoch: it lies in the middle of it.
    paper = [0, 30, 60, 90], "paper, Figure 1 (ImageNet + ResNet-101)"
    draw(curve.epoch + 0.5, curve.gradient_norm, *paper, color="0.3", linestyle="--")
    for number, run in enumerate(runs, start=1):
        naive, edges = run.series("gradient_norm_naive"), [0, *drops(run), run.settings.epochs]
        ours, style = naive[naive.epoch > 0], {"color": f"C{number}", "linestyle": ":"}
        draw(ours.epoch, ours.value, edges, f"ours, {run.label}", **style)
    panel.set(xlabel="part of the run that has passed", ylim=(0, None))
    panel.set_ylabel("naive gradient norm /\nits mean over the stage")
    panel.legend(loc="lower right")
    return figure


JUDGED = {  # what a share is called, and where its criterion lies
    "stationary_share": ("$\\|\\nabla f\\|^2$ / that of\na quadratic", (HELD,)),
    "gradient_left": ("$\\|\\nabla f\\|^2$ at the end /\nin the mean", (LEFT,)),
    "loss_change": ("change of the loss /\nwhat it lost", (-STABLE, STABLE)),
}


def shares(table: pd.DataFrame) -> Figure:
    """Plot the shares of :func:`levels.all_shares`, a panel each, with their criteria.

    What is not positive on a logarithmic axis is drawn at its lower end.
    """
    names, labels = table.share.unique(), list(table.label.unique())
    figure, (axes,) = panels(1, len(names), 1.0 + 0.26 * len(labels), sharey=True)
    for number, (panel, name) in enumerate(zip(axes, names, strict=True)):
        label, limits = JUDGED[name]
        rows = table[table.share == name]
        ends = rows[["value", "low", "high"]]
        if name == "stationary_share":
            ends = ends.clip(lower=1e-3)
            panel.set(xscale="log", xlim=(1e-3, None))
        places = [labels.index(one) for one in rows.label]
        intervals(panel, places, *ends.to_numpy().T, along="x", color=f"C{number}")
        for limit in limits:
            panel.axvline(limit, **THRESHOLD)
        panel.set_xlabel(label)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    return figure


def two_runs(run: Run, control: Run) -> Figure:
    """Plot the loss and the norm of grad f, with decay, of a run and of a control.

    Estimates of a squared norm that are not positive are drawn at the lower end.
    """
    figure, axes = panels(1, 2, 2.9)
    titles = {"SGD, ResNet": run, "full-batch descent, small net": control}
    for (title, one), loss in zip(titles.items(), axes[0], strict=True):
        measured = one.series("loss")
        loss.plot(measured.epoch, measured.value, color="C0")
        loss.set(xlabel="epoch", ylim=(0, None), title=title)
        loss.set_ylabel("training loss (nats)", color="C0")
        norm = loss.twinx()
        squared = one.series("regularised_gradient_norm_squared")
        low = min(1e-3, 0.3 * np.sqrt(squared.value[squared.value > 0].min()))
        _norms(norm, one, squared.assign(value=squared.value.clip(lower=low**2)))
        norm.set(yscale="log", ylim=(low, 3))
        norm.set_ylabel("gradient norm", color="C1")
        norm.grid(False)
        mark_drops(loss, drops(one))
    return figure
