"""Figures of chapter 2: each estimator beside what it estimates."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pandas import DataFrame

from ...runs.records import Run
from ..plots import DOTTED, THEORY, band, panels, points
from . import reading

SQUARED_NORM = "squared norm (nats² per unit²)"


def inflation(run: Run) -> Figure:
    """Plot naive and unbiased ||grad f||^2 against the number M of minibatches."""
    figure, ((axis,),) = panels(1, 1, 3.6)
    truth = run.series("exact_norm_squared").value[0]
    noise = run.series("exact_noise_variance").value[0]
    names = "naive_norm_squared", "norm_squared", "spread"
    naive, unbiased, spread = (run.series(name, of="loss") for name in names)
    sizes = np.geomspace(naive.step.min(), naive.step.max())
    axis.plot(sizes, truth + noise / sizes, "C1--", linewidth=1, label=r"exact + $\sigma^2/M$")
    axis.axhline(truth, **THEORY, label="exact, all data")
    ends = unbiased.value - spread.value, unbiased.value + spread.value
    band(axis, unbiased.step, *ends, color="C0")
    _draw(axis, naive, "C1s", "naive")
    _draw(axis, unbiased, "C0o", "unbiased")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="minibatches M (number)", ylabel=SQUARED_NORM)
    axis.legend()
    return figure


def two_estimates(measured: NDArray, signal: float, noise: float, directions: int) -> Figure:
    """Draw naive and unbiased squared norms by theory, and those of ``reading.simulated``."""
    figure, ((left, right),) = panels(1, 2, height=3.2)
    sizes = np.geomspace(2, 128)
    naive, spread = reading.by_theory(signal, noise, sizes, directions)
    ends = signal**2 - spread, signal**2 + spread
    band(left, sizes, *ends, color="C0", label="unbiased")
    left.plot(sizes, naive, "C1--", label="naive")
    left.axhline(signal**2, **THEORY, label="truth")
    left.set_xscale("log", base=2)
    left.set(xlabel="minibatches M (number)", ylabel="squared norm (no unit)")
    left.legend()
    unbiased, _, square = measured
    right.hist(square, 20, density=True, color="C1", alpha=0.5, label="naive")
    right.hist(unbiased, 20, density=True, color="C0", alpha=0.5, label="unbiased")
    right.axvline(signal**2, **THEORY)
    right.set(xlabel="squared norm (no unit)", ylabel="density")
    return figure


def numbers(papers: dict[str, DataFrame]) -> Figure:
    """Draw clocks of runs by name, and where a direction is damped in which way.

    Of each the ``memories`` and the ``angular_step`` of its stages, with a factor of two.
    """
    figure, ((left, right),) = panels(1, 2, height=3.4)
    for number, (name, stages) in enumerate(papers.items()):
        ends = stages.memories * 0.5, stages.memories * 2
        left.hlines(stages.angular_step, *ends, color=f"C{number}", linewidth=6, alpha=0.3)
        left.plot(stages.memories, stages.angular_step, f"C{number}s", label=name)
    left.axvline(1, **DOTTED)
    left.set(xlabel="memories in the stage", ylabel="turn a step (rad)")
    left.set(xscale="log", yscale="log")
    left.legend(fontsize="x-small")
    friction = np.geomspace(0.001, 1)
    right.plot(friction, friction**2 / (2 * (2 - friction)), "C3--", label="critical damping")
    right.plot(friction, 2 * (2 - friction), "C1", label="stability limit")
    right.set(xlabel="friction 1 − β (no unit)", ylabel="ηh (no unit)")
    right.set(xscale="log", yscale="log")
    right.legend(fontsize="x-small")
    return figure


def calibration(run: Run) -> Figure:
    """Plot the spread of the unbiased estimate and its reported standard error."""
    figure, axes = panels(1, 2, 3.2, sharey=True)
    titles = {"loss": "gradient as it is", "tilted loss": "gradient zero, same noise"}
    for axis, (objective, title) in zip(axes[0], titles.items(), strict=True):
        _draw(axis, run.series("spread", of=objective), "D", "spread", color="0.2")
        _draw(axis, run.series("reported_error", of=objective), "C0o", "reported (jackknife)")
        axis.set_xscale("log", base=2)
        axis.set(xlabel="minibatches M (number)", title=title, yscale="log")
    axes[0, 0].set_ylabel("standard error of the\nsquared norm (nats² per unit²)")
    axes[0, 0].legend()
    return figure


def partition(run: Run) -> Figure:
    """Plot estimates from M of the N minibatches of a partition of the data."""
    figure, ((axis,),) = panels(1, 1, 3.4)
    axis.axhline(run.series("exact_norm_squared").value[0], **THEORY, label="exact, all data")
    for correction, fmt, label in (
        ("naive", "C1s-", "no correction"),
        ("wrong", "C3v-", r"less $s^2/M$"),
        ("right", "C0o-", r"less $s^2/M\,(1-M/N)$"),
    ):
        _draw(axis, run.series("drawn_norm_squared", of=correction), fmt, label, along="epoch")
    axis.set(xlabel="fraction M/N of the partition", ylabel=SQUARED_NORM)
    axis.legend()
    return figure


def batch_dependence(run: Run) -> Figure:
    """Plot loss and gradient norm of a BatchNorm net against the batch size."""
    figure, axes = panels(1, 2, 3.2)
    labels = {"loss": "loss (nats)", "norm_squared": SQUARED_NORM}
    for axis, (quantity, label) in zip(axes[0], labels.items(), strict=True):
        for mode, fmt in (("training mode", "C0o-"), ("evaluation mode", "C2s-")):
            _draw(axis, run.series(quantity, of=mode), fmt, mode)
        axis.set_xscale("log", base=2)
        axis.set(xlabel="batch size B (examples)", ylabel=label)
    axes[0, 1].set_yscale("log")
    axes[0, 1].legend(loc="center right")
    return figure


def scale_invariance(run: Run) -> Figure:
    """Plot angles between weights and gradients, and the effect of scaling weights."""
    figure, ((angles, scaling),) = panels(1, 2, 3.2)
    kinds = {"other, usual": "C1s", "normalised, usual": "C0o", "normalised, negligible": "C2v"}
    for tensors, fmt in kinds.items():
        rows = run.series("cosine", of=f"{tensors} epsilon")
        angles.plot(rows["index"], rows.value.clip(lower=1e-19), fmt, label=f"{tensors} ε")
    angles.set(xlabel="parameter tensor (number)", ylabel="|cosine|", yscale="log")
    angles.set_ylim(1e-19, 10)
    angles.legend(loc=(0.25, 0.28))
    labels = {"gradient": "‖∇L‖ (nats per unit)", "scale_free": "‖w‖·‖∇L‖ (nats)"}
    for name, label in labels.items():
        norms = run.series(f"{name}_norm_scaled").value
        scaling.loglog(run.settings.scales, norms, "o-", label=label)
    scaling.set_xscale("log", base=2)
    scaling.set(xlabel="factor c of the weights", ylabel="norm")
    scaling.legend()
    return figure


def sharpness_by_products(run: Run) -> Figure:
    """Plot Lanczos and power iteration against the dense Hessian's eigenvalues."""
    figure, axes = panels(1, 2, 3.2)
    titles = {"before": "at initialisation", "after": "after some training"}
    for axis, (state, title) in zip(axes[0], titles.items(), strict=True):
        for end, style in (("largest", THEORY), ("smallest", DOTTED)):
            size = abs(run.series(end, of=state).value[0])
            axis.axhline(size, **style, label=f"|{end}| (dense)")
        axis.plot(run.wide("lanczos", "of")[state], "C0o-", label="Lanczos")
        axis.plot(run.wide("power", "of")[state], "C1s-", label="power iteration")
        axis.set(xlabel="Hessian-vector products (number)", title=title)
    axes[0, 0].set_ylabel("eigenvalue (nats per unit²)")
    axes[0, 1].legend()
    return figure


def update_sizes(run: Run, predicted: NDArray, short: NDArray) -> Figure:
    """Plot the update's size, two predictions of it (n,), and the change of the loss.

    ``predicted`` is by noise and momentum, ``short`` by the gradient alone.
    """
    figure, ((size, change),) = panels(1, 2, 3.2)
    update, changes = run.series("update_norm"), run.series("loss_change")
    size.plot(update.epoch, update.value, "C0o-", label="as applied")
    size.plot(update.epoch, predicted, "C2--", label="noise and momentum")
    size.plot(update.epoch, short, "C1s-", label=r"$\eta\,\Vert\nabla f\Vert$")
    size.set(xlabel="epoch", ylabel="size of the update (units of θ)", yscale="log")
    size.legend()
    points(change, update.epoch, changes.value, changes.error, fmt="C0o-")
    change.axhline(0, **THEORY)
    change.set_yscale("symlog", linthresh=1e-3)
    change.set(xlabel="epoch", ylabel="change of the loss (nats)")
    return figure


def curvatures(run: Run) -> Figure:
    """Plot sharpness and directional sharpness along a run."""
    figure, ((axis,),) = panels(1, 1, 3.2)
    for quantity in ("sharpness", "directional_sharpness"):
        rows = run.series(quantity)
        axis.plot(rows.epoch, rows.value, "o-", label=quantity.replace("_", " "))
    axis.axhline(0, **THEORY)
    axis.set(xlabel="epoch", ylabel="curvature (nats per unit²)")
    axis.legend()
    return figure


def _draw(axis, rows, fmt: str, label: str, along="step", **style) -> None:
    points(axis, rows[along], rows.value, rows.error, fmt=fmt, label=label, **style)
