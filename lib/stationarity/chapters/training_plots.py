"""Figures of training runs, run beside run, for every chapter that shows one."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..runs.records import Run
from .levels import HELD, LEFT, STABLE, VANISHED, squared_norm, stages
from .plots import THRESHOLD, VERDICTS, ZERO, intervals, mark_drops, panels, points

MARKS = {"fmt": "o-", "markersize": 3}
LINE = {"markersize": 3, "linewidth": 1}


def drops(run: Run) -> list[float]:
    """Return the epochs at which the step size of a run drops."""
    return [end for _, end in stages(run)[:-1]]


def loss_and_gradient(run: Run) -> Figure:
    """Plot a run's losses and gradient norms against epochs.

    The unbiased norm is the root of the unbiased squared norm (0 where that is
    negative), with bars from the root of the interval of :func:`levels.squared_norm`.
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
    for panel in (loss, norm):
        mark_drops(panel, drops(run))
        panel.legend(loc="upper right")
    return figure


def _norms(axes: Axes, run: Run, squared: pd.DataFrame, **style) -> None:
    unbiased, naive = run.series("gradient_norm_squared"), run.series("gradient_norm_naive")
    noise = naive.value**2 - unbiased.value  # the same with decay and without
    estimate = squared_norm(squared.value, squared.error, noise).root()
    intervals(axes, squared.epoch, *estimate, color="C1", **MARKS, **style)


def along_the_run(run: Run) -> Figure:
    """Plot scaled gradient, noise, sharpness, weight norm and success of a run.

    Success on the validation part is the accuracy of images, the perplexity of text.
    """
    success = "perplexity" if run.has("perplexity") else "accuracy"
    squared, weights = run.series("gradient_norm_squared"), run.series("weight_norm")
    scaled = weights.value * np.sqrt(squared.value.clip(lower=0))
    shown = {
        r"$\|\theta\|\cdot\|\nabla L\|$": squared.assign(value=scaled, error=np.nan),
        "noise norm": run.series("noise_norm"),
        "sharpness": run.series("sharpness").assign(error=np.nan),
        "weight norm": weights,
        success: run.series(success) if run.has(success) else None,  # no validation part
    }
    figure, axes = panels(len(shown), 1, 1.5, sharex=True)
    column = axes[:, 0]
    column[0].set_title(run.label)
    for number, (panel, (label, series)) in enumerate(zip(column, shown.items(), strict=True)):
        panel.set_ylabel(label)
        mark_drops(panel, drops(run))
        if series is None:
            panel.annotate("not measured", (0.4, 0.5), xycoords="axes fraction")
        else:
            points(panel, series.epoch, series.value, series.error, color=f"C{number}", **MARKS)
    column[-1].set_xlabel("epoch")
    if success == "perplexity":
        column[-1].set_yscale("log")
    return figure


def naive_beside_naive(curve: pd.DataFrame, runs: list[Run]) -> Figure:
    """Plot naive gradient norms, the paper's and ours, each over its stage means.

    The horizontal axis is the part of the run that has passed.
    """
    figure, ((panel,),) = panels(1, 1, 3.4)

    def draw(epochs: pd.Series, norms: pd.Series, edges: list, fmt: str, label: str) -> None:
        means = norms.groupby(pd.cut(epochs, edges, labels=False)).transform("mean")
        panel.plot(epochs / edges[-1], norms / means, fmt, label=label, **LINE)

    # A point is the mean of its epoch: it lies in the middle of it.
    paper = "paper, Figure 1 (ImageNet + ResNet-101)"
    draw(curve.epoch + 0.5, curve.gradient_norm, [0, 30, 60, 90], "o-", paper)
    mark_drops(panel, (1 / 3, 2 / 3))
    for number, run in enumerate(runs, start=1):
        naive, epochs = run.series("gradient_norm_naive"), run.settings.epochs
        naive = naive[naive.epoch > 0]
        dots = {"color": f"C{number}", "linestyle": ":", "linewidth": 1.2, "zorder": 1.5}
        for drop in drops(run):
            panel.axvline(drop / epochs, **dots)
        edges = [0, *drops(run), epochs]
        draw(naive.epoch, naive.value, edges, "s-", f"ours, {run.label}")
    panel.set(xlabel="part of the run that has passed", ylim=(0, None))
    panel.set_ylabel("naive gradient norm /\nits mean over the stage")
    panel.legend(loc="lower right")
    return figure


def verdicts(table: pd.DataFrame) -> Figure:
    """Plot each stage's gradient norm over its initial value, with its interval.

    ``table`` comes from :func:`stationarity.chapters.levels.compare`. Values below the axis
    are drawn at its lower end.
    """
    figure, ((panel,),) = panels(1, 1, 0.9 + 0.33 * len(table))
    floor = 1e-6
    for place, row in enumerate(table.itertuples()):
        low, middle, high = np.maximum([row.ratio_low, row.ratio, row.ratio_high], floor)
        color = VERDICTS[row.verdict]
        panel.plot([low, high], [place, place], color=color, linewidth=2)
        panel.plot(middle, place, "o", color=color)
        style = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
        panel.annotate(row.verdict, (high, place), (6, 0), color=color, **style)
    panel.axvline(VANISHED, **THRESHOLD)
    right = max(10, 10 * table.ratio_high.max())  # room for the last verdict
    panel.set(xscale="log", xlim=(floor, right), xlabel="gradient norm / its initial value")
    panel.set_yticks(range(len(table)), table.label)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    return figure


JUDGED = {  # what a share is called, and where its criterion lies
    "stationary_share": ("$\\|\\nabla f\\|^2$ / that of\na quadratic", (HELD,)),
    "gradient_left": ("$\\|\\nabla f\\|^2$ at the end /\nin the mean", (LEFT,)),
    "loss_change": ("change of the loss /\nwhat it lost", (-STABLE, STABLE)),
}


def shares(table: pd.DataFrame) -> Figure:
    """Plot the shares of stages, a panel each, with the limits of the criteria.

    ``table`` comes from :func:`stationarity.chapters.levels.all_shares`. What is not
    positive on a logarithmic axis is drawn at its lower end.
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
    for one, loss in zip((run, control), axes[0], strict=True):
        measured = one.series("loss")
        loss.plot(measured.epoch, measured.value, color="C0")
        loss.set(xlabel="epoch", ylim=(0, None))
        loss.set_ylabel("training loss (nats)", color="C0")
        norm = loss.twinx()
        squared = one.series("regularised_gradient_norm_squared")
        low = min(1e-3, 0.3 * np.sqrt(squared.value[squared.value > 0].min()))
        _norms(norm, one, squared.assign(value=squared.value.clip(lower=low**2)))
        norm.set(yscale="log", ylim=(low, 3))
        norm.set_ylabel("gradient norm", color="C1")
        norm.grid(False)
        mark_drops(loss, drops(one))
    axes[0, 0].set_title("SGD, ResNet")
    axes[0, 1].set_title("full-batch descent, small net")
    return figure
