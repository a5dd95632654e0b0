"""Figures of chapters 3 and 4: the evidence on stationarity, run beside run."""
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...errors import UsageError
from ...runs.records import Run
from ...train.levels import VANISHED, stages
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


def _drops(run: Run) -> list:
    return [end for _, end in stages(run)[:-1]]


def _bars(panel, series: pd.DataFrame, label: str, color: str, fmt: str = "o-", **keywords):
    panel.errorbar(
        series.epoch, series.value, 1.96 * series.error.fillna(0), fmt=fmt, color=color,
        label=label, markersize=3, linewidth=1, capsize=2, **keywords,
    )  # fmt: skip


def _roots(panel, squared: pd.DataFrame, label: str, color: str):
    """Plot the root of a squared norm, with the root of its interval as bars."""
    margin = 1.96 * squared.error.fillna(0)
    low, middle, high = (
        np.sqrt(np.maximum(v, 0))
        for v in (squared.value - margin, squared.value, squared.value + margin)
    )
    panel.errorbar(
        squared.epoch, middle, (middle - low, high - middle), fmt="o-", color=color,
        label=label, markersize=3, linewidth=1, capsize=2,
    )  # fmt: skip


def loss_and_gradient(run: Run) -> Figure:
    """Plot a run's losses and gradient norms against epochs.

    The unbiased norm is the root of the unbiased squared norm (0 where that is
    negative), with bars from the root of its interval at 1.96 standard errors.
    """
    minibatch, naive = run.series("train_loss"), run.series("gradient_norm_naive")
    measured, squared = run.series("loss"), run.series("gradient_norm_squared")
    drops = _drops(run)
    figure, axes = panels(2, 1, 2.6, sharex=True)
    loss, norm = axes[:, 0]
    loss.plot(minibatch.epoch, minibatch.value, color="0.6", label="epoch's minibatches")
    _bars(loss, measured, "measured", "C0")
    loss.set(ylabel="training loss (nats)", title=run.label)
    norm.plot(
        naive.epoch, naive.value, "s--", color="C3", markersize=3, linewidth=1, label="naive"
    )
    _roots(norm, squared, "unbiased", "C1")
    norm.axhline(0, color="black", linewidth=0.8)
    norm.set(ylabel="gradient norm", xlabel="epoch")
    for panel in (loss, norm):
        mark_drops(panel, drops)
        panel.legend(loc="upper right")
    return figure


def along_the_run(run: Run) -> Figure:
    """Plot scaled gradient, noise, sharpness, weight norm and success of a run.

    Success on the validation part is the accuracy of images, the perplexity of text.
    """
    success = "perplexity" if "perplexity" in set(run.metrics.quantity) else "accuracy"
    quantities = {
        r"$\|\theta\|\cdot\|\nabla L\|$": _scaled_norm,
        "noise norm": lambda run: run.series("noise_norm"),
        "sharpness": lambda run: run.series("sharpness").assign(error=np.nan),
        "weight norm": lambda run: run.series("weight_norm"),
        success: lambda run: run.series(success),
    }
    drops = _drops(run)
    figure, axes = panels(len(quantities), 1, 1.5, sharex=True)
    column = axes[:, 0]
    column[0].set_title(run.label)
    for index, (panel, (label, values)) in enumerate(
        zip(column, quantities.items(), strict=True)
    ):
        panel.set_ylabel(label)
        mark_drops(panel, drops)
        try:
            _bars(panel, values(run), label, f"C{index}")
        except UsageError:  # data without a validation part
            panel.annotate("not measured", (0.4, 0.5), xycoords="axes fraction")
    column[-1].set_xlabel("epoch")
    if success == "perplexity":
        column[-1].set_yscale("log")
    return figure


def _scaled_norm(run: Run) -> pd.DataFrame:
    """Return the series of the weight norm times the gradient norm."""
    squared, weights = run.series("gradient_norm_squared"), run.series("weight_norm")
    values = weights.value * np.sqrt(squared.value.clip(lower=0))
    return squared.assign(value=values, error=np.nan)


def naive_beside_naive(curve: pd.DataFrame, runs: list[Run]) -> Figure:
    """Plot naive gradient norms, the paper's and ours, each over its stage means.

    The horizontal axis is the part of the run that has passed.
    """
    figure, axes = panels(1, 1, 3.4)
    panel = axes[0, 0]
    stage = pd.cut(curve.epoch, [-1, 29, 59, 90], labels=False)
    means = curve.groupby(stage).gradient_norm.transform("mean")
    panel.plot(
        (curve.epoch + 0.5) / 90, curve.gradient_norm / means, "o-", markersize=3, linewidth=1,
        label="paper, Figure 1 (ImageNet + ResNet-101)",
    )  # fmt: skip
    mark_drops(panel, (1 / 3, 2 / 3))
    for place, run in enumerate(runs, start=1):
        naive = run.series("gradient_norm_naive")
        naive = naive[naive.epoch > 0]
        for drop in _drops(run):
            part = drop / run.settings["epochs"]
            panel.axvline(part, color=f"C{place}", linestyle=":", linewidth=1.2, zorder=1.5)
        edges = [0, *_drops(run), run.settings["epochs"]]
        stage = pd.cut(naive.epoch, edges, labels=False)
        means = naive.groupby(stage).value.transform("mean")
        panel.plot(
            naive.epoch / run.settings["epochs"], naive.value / means, "s-", markersize=3,
            linewidth=1, label=f"ours, {run.label}",
        )  # fmt: skip
    panel.set(
        xlabel="part of the run that has passed", ylim=(0, None),
        ylabel="naive gradient norm /\nits mean over the stage",
    )  # fmt: skip
    panel.legend(loc="lower right")
    return figure


def verdicts(table: pd.DataFrame) -> Figure:
    """Plot each stage's gradient norm over its initial value, with its interval.

    ``table`` comes from :func:`stationarity.criteria.compare`. Values below the axis are drawn at its lower end.
    """
    figure, axes = panels(1, 1, 0.9 + 0.33 * len(table))
    panel, floor = axes[0, 0], 1e-6
    colors = {"vanishes": "C0", "does not vanish": "C1", "undecided": "0.5"}
    for place, row in enumerate(table.itertuples()):
        low, middle, high = np.maximum([row.ratio_low, row.ratio, row.ratio_high], floor)
        color = colors[row.verdict]
        panel.plot([low, high], [place, place], color=color, linewidth=2)
        panel.plot(middle, place, "o", color=color)
        panel.annotate(
            row.verdict, (high, place), (6, 0), textcoords="offset points", va="center",
            fontsize="small", color=color,
        )  # fmt: skip
    panel.axvline(VANISHED, color="black", linestyle=":", linewidth=1)
    right = max(10, 10 * table.ratio_high.max())  # room for the last verdict
    panel.set(xscale="log", xlim=(floor, right), xlabel="gradient norm / its initial value")
    panel.set_yticks(range(len(table)), table.label)
    panel.invert_yaxis()
    panel.grid(axis="y", visible=False)
    return figure


def two_runs(run: Run, control: Run) -> Figure:
    """Plot loss and gradient norm of a run (of L) and of a control (of f).

    Estimates of a squared norm that are not positive are drawn at the lower end.
    """
    quantities = ("gradient_norm_squared", "regularised_gradient_norm_squared")
    figure, axes = panels(1, 2, 2.9)
    for one, quantity, loss in zip((run, control), quantities, axes[0], strict=True):
        measured = one.series("loss")
        loss.plot(measured.epoch, measured.value, color="C0")
        loss.set(xlabel="epoch", ylim=(0, None))
        loss.set_ylabel("training loss (nats)", color="C0")
        norm = loss.twinx()
        squared = one.series(quantity)
        low = min(1e-3, 0.3 * np.sqrt(squared.value[squared.value > 0].min()))
        _roots(norm, squared.assign(value=squared.value.clip(lower=low**2)), "", "C1")
        norm.set(yscale="log", ylim=(low, 3))
        norm.set_ylabel("gradient norm", color="C1")
        norm.grid(False)
        mark_drops(loss, _drops(one))
    axes[0, 0].set_title("SGD, ResNet")
    axes[0, 1].set_title("full-batch descent, small net")
    return figure
