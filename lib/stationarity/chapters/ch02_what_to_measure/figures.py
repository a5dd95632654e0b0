"""Figures of chapter 2: each estimator beside what it estimates."""
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...runs.records import Run
from ..plots import panels

TWO_ERRORS = 2  # error bars are two standard errors
SQUARED_NORM = "squared norm (nats² per unit²)"


def inflation(run: Run) -> Figure:
    """Plot naive and unbiased ||grad f||^2 against the number M of minibatches."""
    figure, axes = panels(1, 1, 3.6)
    axis, truth = axes[0, 0], _truth(run)
    noise = run.series("exact_noise_variance").value[0]
    naive, unbiased = run.series("naive_norm_squared"), run.series("norm_squared")
    spread = run.series("spread").value
    sizes = np.geomspace(naive.step.min(), naive.step.max())
    expected = truth + noise / sizes
    axis.plot(sizes, expected, "C1--", linewidth=1, label=r"exact + $\sigma^2/M$")
    axis.axhline(truth, color="0.2", linewidth=1, label="exact, all data")
    low, high = unbiased.value - spread, unbiased.value + spread
    axis.fill_between(unbiased.step, low, high, color="C0", alpha=0.15, linewidth=0)
    _errorbar(axis, naive, "C1s", "naive")
    _errorbar(axis, unbiased, "C0o", "unbiased")
    axis.set_xscale("log", base=2)
    axis.set(xlabel="minibatches M (number)", ylabel=SQUARED_NORM)
    axis.legend()
    return figure


def calibration(run: Run) -> Figure:
    """Plot the spread of the unbiased estimate and its reported standard error."""
    figure, axes = panels(1, 2, 3.2, sharey=True)
    titles = {"": "gradient as it is", "_at_zero": "gradient zero, same noise"}
    for axis, (suffix, title) in zip(axes[0], titles.items(), strict=True):
        _errorbar(axis, run.series(f"spread{suffix}"), "0.2", "spread", marker="D")
        reported = run.series(f"reported_error{suffix}")
        _errorbar(axis, reported, "C0", "reported (jackknife)", marker="o")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set(xlabel="minibatches M (number)", title=title)
    axes[0, 0].set_ylabel("standard error of the\nsquared norm (nats² per unit²)")
    axes[0, 0].legend()
    return figure


def partition(run: Run) -> Figure:
    """Plot estimates from M of the N minibatches of a partition of the data."""
    figure, axes = panels(1, 1, 3.4)
    axis = axes[0, 0]
    axis.axhline(_truth(run), color="0.2", linewidth=1, label="exact, all data")
    styles = {
        "drawn_naive": ("C1s-", "no correction"),
        "drawn_wrong": ("C3v-", r"less $s^2/M$"),
        "drawn_right": ("C0o-", r"less $s^2/M\,(1-M/N)$"),
    }
    for quantity, (style, label) in styles.items():
        series = run.series(quantity)
        _errorbar(axis, series.assign(step=series.epoch), style, label)
    axis.set(xlabel="fraction M/N of the partition", ylabel=SQUARED_NORM)
    axis.legend()
    return figure


def batch_dependence(run: Run) -> Figure:
    """Plot loss and gradient norm of a BatchNorm net against the batch size."""
    figure, axes = panels(1, 2, 3.2)
    labels = {"loss": "loss (nats)", "norm_squared": SQUARED_NORM}
    for axis, (quantity, label) in zip(axes[0], labels.items(), strict=True):
        for mode, style in (("training", "C0o-"), ("evaluation", "C2s-")):
            _errorbar(axis, run.series(f"{quantity}_{mode}"), style, f"{mode} mode")
        axis.set_xscale("log", base=2)
        axis.set(xlabel="batch size B (examples)", ylabel=label)
    axes[0, 1].set_yscale("log")
    axes[0, 1].legend(loc="center right")
    return figure


def scale_invariance(run: Run) -> Figure:
    """Plot angles between weights and gradients, and the effect of scaling weights."""
    figure, axes = panels(1, 2, 3.2)
    angles, scaling = axes[0]
    styles = {
        "other_usual": ("C1s", "other tensors"),
        "normalised_usual": ("C0o", "feeds a BatchNorm"),
        "normalised_negligible": ("C2v", "same, negligible ε"),
    }
    for name, (style, label) in styles.items():
        series = run.series(f"cosine_{name}")
        visible = series.value.clip(lower=1e-19)
        angles.plot(series.step, visible, style, linestyle="none", label=label)
    angles.set_yscale("log")
    angles.set_ylim(1e-19, 10)
    angles.set(xlabel="parameter tensor (number)", ylabel="|cosine|")
    angles.legend(loc=(0.25, 0.28))
    scales = run.settings["scales"]
    norm = run.series("gradient_norm_scaled").value
    free = run.series("scale_free_norm_scaled").value
    scaling.loglog(scales, norm, "C0o-", label="‖∇L‖ (nats per unit)")
    scaling.loglog(scales, free, "C4s-", label="‖w‖·‖∇L‖ (nats)")
    scaling.set_xscale("log", base=2)
    scaling.set(xlabel="factor c of the weights", ylabel="norm")
    scaling.legend()
    return figure


def sharpness_by_products(run: Run) -> Figure:
    """Plot Lanczos and power iteration against the dense Hessian's eigenvalues."""
    figure, axes = panels(1, 2, 3.2)
    titles = {"before": "at initialisation", "after": "after some training"}
    for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
        largest = run.series(f"largest_{name}").value[0]
        size = abs(run.series(f"smallest_{name}").value[0])
        axis.axhline(largest, color="0.2", linewidth=1, label="largest (dense)")
        axis.axhline(size, color="C3", linestyle=":", label="|smallest| (dense)")
        for quantity, style in (("lanczos", "C0o-"), ("power", "C1s-")):
            series = run.series(f"{quantity}_{name}")
            label = "Lanczos" if quantity == "lanczos" else "power iteration"
            axis.plot(series.step, series.value, style, label=label)
        axis.set(xlabel="Hessian-vector products (number)", title=title)
    axes[0, 0].set_ylabel("eigenvalue (nats per unit²)")
    axes[0, 1].legend()
    return figure


def update_sizes(run: Run, predicted) -> Figure:
    """Plot the update's size, two predictions of it, and the change of the loss.

    ``predicted`` is the size (n,) that noise and momentum give, at each
    measurement of the update.
    """
    figure, axes = panels(1, 2, 3.2)
    size, change = axes[0]
    update = run.series("update_norm")
    norm = run.series("gradient_norm_squared").value[: len(update)].clip(lower=0) ** 0.5
    rate = run.series("learning_rate").value
    size.plot(update.epoch, update.value, "C0o-", label="as applied")
    size.plot(update.epoch, predicted, "C2--", label="noise and momentum")
    size.plot(update.epoch, rate * norm, "C1s-", label=r"$\eta\,\Vert\nabla f\Vert$")
    size.set_yscale("log")
    size.set(xlabel="epoch", ylabel="size of the update (units of θ)")
    size.legend()
    _errorbar(change, run.series("loss_change").assign(step=update.epoch), "C0o-", "")
    change.axhline(0, color="0.2", linewidth=1)
    change.set_yscale("symlog", linthresh=1e-3)
    change.set(xlabel="epoch", ylabel="change of the loss (nats)")
    return figure


def curvatures(run: Run) -> Figure:
    """Plot sharpness and directional sharpness along a run."""
    figure, axes = panels(1, 1, 3.2)
    axis = axes[0, 0]
    for quantity, style in (("sharpness", "C0o-"), ("directional_sharpness", "C4s-")):
        series = run.series(quantity)
        axis.plot(series.epoch, series.value, style, label=quantity.replace("_", " "))
    axis.axhline(0, color="0.2", linewidth=1)
    axis.set(xlabel="epoch", ylabel="curvature (nats per unit²)")
    axis.legend()
    return figure


def _truth(run: Run) -> float:
    return run.series("exact_norm_squared").value[0]


def _errorbar(axis: Axes, series, style: str, label: str, **keywords) -> None:
    """Plot a series with bars of two standard errors; no bar where there is none."""
    errors = TWO_ERRORS * series.error.where(np.isfinite(series.error), 0.0)
    plotted = {"fmt": style} if not keywords else {"color": style, **keywords}
    axis.errorbar(series.step, series.value, errors, capsize=2, label=label, **plotted)
