"""Figures of chapter 6: invariant measures that are known, and two identities."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from scipy.stats import arcsine, chi2

from ...runs.records import Run
from ..plots import DASHED, DOTTED, THEORY, legend_above, panels, points


def wandering(path: NDArray, run: Run) -> Figure:
    """Draw iterates (steps,) of a map, their histogram, and its distance to the law."""
    figure, ((left, middle, right),) = panels(1, 3, height=3.2)
    left.plot(np.arange(len(path))[-80:], path[-80:], "o-", linewidth=0.6)
    left.set(xlabel="step", ylabel="weight θ (no unit)", ylim=(0, 1))
    middle.hist(path, 50, (0, 1), density=True, color="C0", alpha=0.5)
    grid = np.linspace(0.002, 0.998, 400)
    middle.plot(grid, arcsine.pdf(grid), **THEORY)
    middle.set(xlabel="weight θ (no unit)", ylabel="density", ylim=(0, 6))
    rows = run.series("distance")
    points(right, rows.step, rows.value, rows.error)
    right.plot(rows.step, 0.87 / np.sqrt(rows.step), **THEORY)
    right.set(xlabel="steps T", ylabel="distance to the law", xscale="log", yscale="log")
    return figure


def step_sizes(paths: dict[float, NDArray], rates: NDArray, ends: NDArray) -> Figure:
    """Draw histograms of iterates (steps,) by learning rate; late ones (T, n) of n rates."""
    figure, ((left, right),) = panels(1, 2, height=3.2)
    for rate, path in paths.items():
        left.hist(path, 50, (0, 1), density=True, histtype="step", label=f"η = {rate:g}")
    left.set(xlabel="weight θ (no unit)", ylabel="density", yscale="log")
    left.legend()
    right.plot(rates, ends.T, ",", color="0.25", rasterized=True)
    right.axvline(2 / 3, **DASHED)  # 2 / f'' at the minimum
    right.set(xlabel="learning rate η", ylabel="weight θ (no unit)", ylim=(0, 1))
    return figure


def telescoping(run: Run) -> Figure:
    """Draw how invariant averages and distributions of three chains become."""
    figure, axes = panels(1, 3, height=3.4)
    labels = {
        "gap": r"$d_{TV}(\nu_T P,\,\nu_T)$",
        "one_step": r"$d_{TV}(\mu_T P,\,\mu_T)$",
        "ageing": r"$d_{TV}(\nu_T,\,\nu_{2T})$",
    }
    for ax, (quantity, label) in zip(axes[0], labels.items(), strict=True):
        for chain, marker in zip(("rounded SGD", "rotation", "drifting walk"), "os^"):
            values = run.wide(quantity, "of")[chain]
            ax.plot(values[values > 1e-6], marker + "-", linewidth=0.8, label=chain)
        ax.set(xlabel="T (steps)", ylabel=label, xscale="log", yscale="log")
    times = np.array(run.settings.times)
    axes[0, 0].plot(times, 1 / times, **THEORY, label="1/T")
    legend_above(figure, axes[0, 0], 4)
    return figure


def observations(run: Run) -> Figure:
    """Draw loss, mean change of the loss per step, and squared gradient norm."""
    figure, ((left, middle, right),) = panels(1, 3, height=3.2)
    losses = run.series("loss", of="replacement")
    chosen = np.unique(np.geomspace(1, len(losses) - 1, 40).round().astype(int))
    loss = losses.iloc[chosen]
    gradient = run.series("gradient_norm_squared", of="replacement").iloc[chosen]
    change = np.abs(loss.value - losses.value[0]) / loss.step
    for ax, values, errors, label in (
        (left, loss.value, loss.error, "loss (nats)"),
        (middle, change, loss.error / loss.step, "mean change (nats/step)"),
        (right, gradient.value, gradient.error, "‖∇f‖² (nats²/unit²)"),
    ):
        points(ax, loss.step, values, errors, markersize=3)
        ax.set(xlabel="step", ylabel=label, xscale="log", yscale="log")
    left.set(yscale="linear", ylim=(0, None))
    middle.plot(loss.step, losses.value.max() / loss.step, **THEORY)
    right.set(ylim=(gradient.value.min() / 10, None))
    return figure


def bounded(norms: dict, bound: float, squares: dict) -> Figure:
    """Draw ‖θ_k‖ (K + 1,) by label with its ``bound``, and ‖w_k‖² over its balance."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    for label, values in norms.items():
        left.plot(values, label=label)
    for label, values in squares.items():
        right.plot(np.arange(1, len(values)), values[1:], label=label)
    left.axhline(bound, **DOTTED)
    left.annotate("G/λ", (0, bound), (2, 3), textcoords="offset points", fontsize="small")
    left.set(xlabel="step", ylabel="‖θ‖ (unit)", ylim=(0, 1.5 * bound))
    right.axhline(1, **DOTTED)
    right.set(xlabel="step", ylabel="‖w‖² over its balance", xscale="log", yscale="log")
    for ax in (left, right):
        ax.legend(fontsize="x-small")
    return figure


def halving() -> Figure:
    """Draw a map without invariant measure, and what its time averages become."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    left.plot([0, 1], [0, 0.5], color="C0")
    left.plot(0, 0, "o", color="C0", markerfacecolor="white")
    left.plot(0, 1, "o", color="C0")
    left.plot([0, 1], [0, 1], **DOTTED)
    corners = np.repeat(0.5 ** np.arange(8), 2)
    left.plot(corners[:-1], corners[1:], color="C1", linewidth=0.8)
    left.set(xlabel="θ", ylabel="T(θ)", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    for time in (5, 10, 20):
        visited = np.r_[1e-7, 0.5 ** np.arange(time)[::-1], 2]
        share = np.r_[0, np.arange(1, time + 1) / time, 1]
        right.step(visited, share, where="post", label=f"T = {time}")
    right.axhline(1, **DOTTED)
    right.set(xlabel="θ", ylabel="share of the time at most θ", xscale="log", xlim=(1e-7, 2))
    right.legend(loc="upper left")
    return figure


def wells(late: dict[float, dict[float, NDArray]]) -> Figure:
    """Draw histograms of weights on a double well, by the noise's width and two starts."""
    figure, axes = panels(1, len(late), height=3.2)
    for ax, (width, by_start) in zip(axes[0], late.items(), strict=True):
        for line, (start, weights) in zip((1.4, 0.8), by_start.items(), strict=True):
            histogram = np.histogram(weights, 120, (-2, 2), density=True)
            ax.stairs(*histogram, linewidth=line, label=f"start {start:g}")
        ax.set(xlabel="weight θ (no unit)", ylabel="density", title=f"noise width {width:g}")
    axes[0, 0].legend()
    return figure


def cloud(weights: NDArray, limit: NDArray, distances: NDArray) -> Figure:
    """Draw weights (R, 2) over the normal law of covariance ``limit``, and distances to it."""
    figure, ((left, right),) = panels(1, 2, height=3.6)
    left.plot(*weights.T, ".", markersize=2, alpha=0.5, rasterized=True)
    values, vectors = np.linalg.eigh(limit)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    for share in (0.5, 0.9, 0.99):
        major, minor = 2 * np.sqrt(chi2(2).ppf(share) * values[::-1])
        left.add_patch(Ellipse((0, 0), major, minor, angle=angle, fill=False, **THEORY))
    left.set(xlabel="θ₁ (no unit)", ylabel="θ₂ (no unit)", aspect="equal")
    right.plot(distances, color="C0")
    right.set(xlabel="step", ylabel="Wasserstein distance to the limit", yscale="log")
    right.set(ylim=(1e-7, None))  # below, it is rounding
    return figure


def coupling(distances: NDArray, bound: NDArray) -> Figure:
    """Draw distances (K + 1, R) of chains that share their minibatches, and a bound."""
    figure, ((ax,),) = panels(1, 1, height=3.2)
    ax.plot(distances / distances[0], color="C0", linewidth=0.6, alpha=0.6)
    ax.plot([], [], color="C0", label="pairs of chains")
    ax.plot(bound, **THEORY, label="bound of the theorem")
    ax.set(xlabel="step", ylabel="distance over that at the start", yscale="log")
    ax.legend()
    return figure


def ratios(run: Run) -> Figure:
    """Draw both identities in both forms, over windows of time, for both samplings."""
    figure, axes = panels(2, 2, height=2.7, sharex=True)
    ends = run.settings.edges
    samplings = {"replacement": "with replacement", "reshuffled": "from reshuffled epochs"}
    for column, (sampling, title) in zip(axes.T, samplings.items(), strict=True):
        for ax, kind in zip(column, ("ratio", "budget"), strict=True):
            for form, name, fmt, shift in (
                ("minibatch", "minibatch's own gradient", "C0o-", 0.97),
                ("full", "full gradient", "C1s-", 1.03),
            ):
                rows = run.series(f"{form}_{kind}", of=sampling)
                style = {"fmt": fmt, "linewidth": 0.8, "label": name}
                points(ax, rows.step * shift, rows.value, rows.error, **style)
            ax.axhline(1, **DOTTED)
            ax.set(xscale="log", ylim=(-0.5, 2))
            ax.set_xticks(ends, [f"{end:g}" for end in ends], fontsize="x-small")
            ax.xaxis.set_minor_formatter(NullFormatter())
        column[0].set(title=f"minibatches {title}")
        column[1].set(xlabel="end of the window (step)")
    axes[0, 0].set(ylabel="θ·gradient over\nη(1+β)/2 ‖b‖²")
    axes[1, 0].set(ylabel="first-order gain over\nsecond-order loss")
    legend_above(figure, axes[0, 0], 2)
    return figure
