"""Figures of chapter 6: invariant measures that are known, and two identities."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from scipy.stats import arcsine, chi2

from ...runs.records import Run
from ..plots import panels
from . import chains, identities, plane
from .settings import DoubleWell, Plane

LINE = {"color": "0.25", "linewidth": 1.2, "zorder": 1}
LEVEL = {"color": "0.45", "linewidth": 1, "linestyle": ":", "zorder": 0}
CHAINS = ("rounded SGD", "rotation", "drifting walk")


def wandering(path: NDArray, run: Run) -> Figure:
    """Draw iterates of a map, their histogram, and its distance to the arcsine law.

    ``path`` (steps,) are iterates from one start; the run is of ``descent_map``.
    """
    figure, ((left, middle, right),) = panels(1, 3, height=3.2)
    shown = path[-80:]
    left.plot(np.arange(len(path))[-len(shown) :], shown, "o-", linewidth=0.6)
    left.set(xlabel="step", ylabel="weight θ (no unit)", ylim=(0, 1))
    middle.hist(path, 50, (0, 1), density=True, color="C0", alpha=0.5)
    grid = np.linspace(0.002, 0.998, 400)
    middle.plot(grid, arcsine.pdf(grid), **LINE)
    middle.set(xlabel="weight θ (no unit)", ylabel="density", ylim=(0, 6))
    rows = run.series("distance")
    right.errorbar(rows.step, rows.value, 2 * rows.error, fmt="o")
    right.plot(rows.step, 0.87 / np.sqrt(rows.step), **LINE)
    right.set(
        xlabel="steps T", ylabel="distance to the law", xscale="log", yscale="log"
    )
    return figure


def telescoping(run: Run) -> Figure:
    """Draw how invariant averages and distributions of three chains become."""
    figure, axes = panels(1, 3, height=3.4)
    for ax, quantity, label in zip(
        axes[0],
        ("gap", "one_step", "ageing"),
        (
            r"$d_{TV}(\nu_T P,\,\nu_T)$",
            r"$d_{TV}(\mu_T P,\,\mu_T)$",
            r"$d_{TV}(\nu_T,\,\nu_{2T})$",
        ),
        strict=True,
    ):
        for chain, marker in zip(CHAINS, "os^", strict=True):
            rows = run.series(f"{quantity} ({chain})")
            rows = rows[rows.value > 1e-6]
            ax.plot(rows.step, rows.value, marker + "-", linewidth=0.8, label=chain)
        ax.set(xlabel="T (steps)", ylabel=label, xscale="log", yscale="log")
    times = run.series("gap (rotation)").step
    axes[0, 0].plot(times, 1 / times, **LINE, label="1/T")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def observations(run: Run) -> Figure:
    """Draw loss, mean change of the loss per step, and squared gradient norm."""
    figure, axes = panels(1, 3, height=3.2)
    loss = run.series("loss (independent)")
    gradient = run.series("gradient_norm_squared (independent)")
    steps = np.unique(np.geomspace(1, len(loss) - 1, 40).round().astype(int))
    loss, gradient = loss.iloc[steps], gradient.iloc[steps]
    first = run.series("loss (independent)").value[0]
    change = np.abs(loss.value - first) / loss.step
    for ax, rows, values, errors, label in (
        (axes[0, 0], loss, loss.value, loss.error, "loss (nats)"),
        (axes[0, 1], loss, change, loss.error / loss.step, "mean change (nats/step)"),
        (axes[0, 2], gradient, gradient.value, gradient.error, "‖∇f‖² (nats²/unit²)"),
    ):
        ax.errorbar(rows.step, values, 2 * errors, fmt="o", markersize=3)
        ax.set(xlabel="step", ylabel=label, xscale="log", yscale="log")
    axes[0, 0].set(yscale="linear", ylim=(0, None))
    largest = run.series("loss (independent)").value.max()
    axes[0, 1].plot(loss.step, largest / loss.step, **LINE)
    axes[0, 2].set(ylim=(gradient.value.min() / 10, None))
    return figure


def bounded(norms: dict, bound: float, squares: dict) -> Figure:
    """Draw norms under weight decay, and squared norms of normalised weights.

    ``norms`` maps labels to ‖θ_k‖ (K + 1,), ``bound`` is that of the lemma;
    ``squares`` maps labels to ‖w_k‖² (K + 1,) over its balanced value.
    """
    figure, ((left, right),) = panels(1, 2, height=3.4)
    for index, (label, values) in enumerate(norms.items()):
        left.plot(values, color=f"C{index}", label=label)
    left.axhline(bound, **LEVEL)
    left.annotate(
        "G/λ", (0, bound), (2, 3), textcoords="offset points", fontsize="small"
    )
    left.set(xlabel="step", ylabel="‖θ‖ (unit)", ylim=(0, 1.5 * bound))
    for index, (label, values) in enumerate(squares.items()):
        steps = np.arange(1, len(values))
        right.plot(steps, values[1:], color=f"C{index}", label=label)
    right.axhline(1, **LEVEL)
    right.set(xlabel="step", ylabel="‖w‖² over its balance", xscale="log", yscale="log")
    left.legend(fontsize="x-small")
    right.legend(fontsize="x-small")
    return figure


def halving(times: tuple[int, ...] = (5, 10, 20)) -> Figure:
    """Draw a map without invariant measure, and what its time averages become."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    left.plot([0, 1], [0, 0.5], color="C0")
    left.plot(0, 0, "o", color="C0", markerfacecolor="white")
    left.plot(0, 1, "o", color="C0")
    left.plot([0, 1], [0, 1], **LEVEL)
    x = 0.5 ** np.arange(8)
    corners = np.repeat(x, 2)
    left.plot(corners[:-1], corners[1:], color="C1", linewidth=0.8)
    left.set(xlabel="θ", ylabel="T(θ)", xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
    for index, time in enumerate(times):
        points = 0.5 ** np.arange(time)[::-1]
        share = np.arange(1, time + 1) / time
        right.step(
            np.r_[1e-7, points, 2], np.r_[0, share, 1],
            where="post", color=f"C{index}", label=f"T = {time}",
        )  # fmt: skip
    right.axhline(1, **LEVEL)
    right.set(
        xlabel="θ", ylabel="share of the time at most θ", xscale="log", xlim=(1e-7, 2)
    )
    right.legend(loc="upper left")
    return figure


def wells(settings: DoubleWell) -> Figure:
    """Draw histograms of SGD on a double well from two starts, for each noise."""
    figure, axes = panels(1, len(settings.widths), height=3.2)
    for ax, width in zip(axes[0], settings.widths, strict=True):
        for index, start in enumerate((-1, 1)):
            late = chains.well_paths(settings, width, start)[settings.steps // 2 :]
            counts, edges = np.histogram(late, 120, (-2, 2), density=True)
            style = {"color": f"C{index}", "linewidth": 1.4 - 0.6 * index}
            ax.stairs(counts, edges, **style, label=f"start {start:g}")
        ax.set(
            xlabel="weight θ (no unit)",
            ylabel="density",
            title=f"noise width {width:g}",
        )
    axes[0, 0].legend()
    return figure


def cloud(settings: Plane, shown: int = 1500) -> Figure:
    """Draw the ensemble at the last step over the exact stationary density.

    Right: the exact Wasserstein distance of the ensemble's law to its limit.
    """
    figure, ((left, right),) = panels(1, 2, height=3.6)
    hessian, noise = plane.plane_matrices(settings)
    limit = plane.stationary_covariance(
        hessian, noise, settings.learning_rate, settings.momentum
    )[:2, :2]
    (points,) = plane.plane_sample(settings, [settings.steps])
    left.plot(*points[:shown].T, ".", markersize=2, alpha=0.5, rasterized=True)
    values, vectors = np.linalg.eigh(limit)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    for share in (0.5, 0.9, 0.99):
        major, minor = 2 * np.sqrt(chi2(2).ppf(share) * values[::-1])
        left.add_patch(Ellipse((0, 0), major, minor, angle=angle, fill=False, **LINE))
    left.set(xlabel="θ₁ (no unit)", ylabel="θ₂ (no unit)", aspect="equal")
    distances = plane.distances_to_stationary(settings)
    right.plot(distances, color="C0")
    right.set(xlabel="step", ylabel="Wasserstein distance to the limit", yscale="log")
    right.set(ylim=(1e-7, None))  # below, it is rounding
    return figure


def coupling(distances: NDArray, bound: NDArray) -> Figure:
    """Draw distances (K + 1, R) of chains that share their minibatches, and a bound."""
    figure, ((ax,),) = panels(1, 1, height=3.2)
    ax.plot(distances / distances[0], color="C0", linewidth=0.6, alpha=0.6)
    ax.plot(bound, **LINE)
    ax.plot([], [], color="C0", label="pairs of chains")
    ax.plot([], [], **LINE, label="bound of the theorem")
    ax.set(xlabel="step", ylabel="distance over that at the start", yscale="log")
    ax.legend()
    return figure


def ratios(run: Run) -> Figure:
    """Draw both identities in both forms, over windows of time, for both samplings."""
    figure, axes = panels(2, 2, height=2.7, sharex=True)
    ends = run.series("drift (independent)").step
    kinds = (
        ("ratio", "θ·gradient over\nη(1+β)/2 ‖b‖²"),
        ("budget", "first-order gain over\nsecond-order loss"),
    )
    for row, (kind, label) in zip(axes, kinds, strict=True):
        for ax, sampling in zip(row, identities.SAMPLINGS, strict=True):
            for index, (form, name) in enumerate(
                (("minibatch", "minibatch's own gradient"), ("full", "full gradient"))
            ):
                rows = run.series(f"{form}_{kind} ({sampling})")
                steps = rows.step * (0.97, 1.03)[index]
                ax.errorbar(
                    steps, rows.value, 2 * rows.error, fmt="os"[index] + "-",
                    color=f"C{index}", linewidth=0.8, label=name,
                )  # fmt: skip
            ax.axhline(1, **LEVEL)
            ax.set(xscale="log", ylim=(-0.5, 2))
            ax.set_xticks(ends, [f"{end:g}" for end in ends], fontsize="x-small")
            ax.xaxis.set_minor_formatter(NullFormatter())
        row[0].set(ylabel=label)
    for ax, sampling in zip(axes[0], identities.SAMPLINGS, strict=True):
        ax.set(title=f"{sampling} minibatches")
    for ax in axes[1]:
        ax.set(xlabel="end of the window (step)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure
