"""Figures of chapter 10: the Langevin equation of SGD beside exact theory and simulation."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ...runs.records import Run
from ...theory import continuous, discrete
from ..plots import panels
from . import reading, study

LINE = {"color": "0.25", "linewidth": 1.2}
LEVEL = {"color": "0.45", "linewidth": 1, "linestyle": ":", "zorder": 0}
LANGEVIN = {"color": "C3", "linestyle": "--", "linewidth": 1.4}
POINTS = {
    "gaussian": {"color": "C0", "marker": "o", "label": "simulated, Gaussian noise"},
    "replacement": {"color": "C2", "marker": "^", "label": "simulated minibatches"},
    "reshuffled": {"color": "C1", "marker": "s", "label": "reshuffled epochs"},
}
LABELS = {
    "position_squared": ("E‖θ−μ‖²\n(unit²)", "step k"),
    "velocity_squared": ("E‖v‖²\n(nats²/unit²)", "step k"),
    "displacement_squared": ("E‖Δ‖²\n(unit²)", "lag k (steps)"),
}


def regimes() -> Figure:
    """Draw autocorrelations in the three regimes, and where the regimes lie."""
    figure, ((left, right),) = panels(1, 2, height=3.6)
    times = np.linspace(0, 12, 300)
    for index, (ratio, name) in enumerate(
        ((3.0, "overdamped"), (1.0, "critical"), (0.2, "underdamped"))
    ):
        # With ω = 1: the curvature is η (1 + β) / 2, and γ / ω is the ratio.
        rate = 0.01
        momentum = (1 - ratio * rate) / (1 + ratio * rate)
        curvature = rate * (1 + momentum) / 2
        r = continuous.propagator(times / rate, curvature, rate, momentum)
        style = {"color": f"C{index}", "linewidth": 1.4}
        left.plot(times, r[:, 0, 0], **style, label=f"{name}, γ = {ratio:g} ω")
        left.plot(times, r[:, 1, 1], **style, linestyle=":")
    left.axhline(0, **LEVEL)
    left.set(xlabel="time ωt (no unit)", ylabel="autocorrelation")
    left.legend(fontsize="x-small")
    momentum = np.linspace(0, 0.999, 400)
    border = (1 - momentum) ** 2 / (2 * (1 + momentum))
    root = np.sqrt(momentum)
    right.plot(1 - momentum, border, **LANGEVIN, label="critical, Langevin")
    right.plot(1 - momentum, (1 - root) ** 2, color="C0", label="first border, exact")
    right.plot(
        1 - momentum,
        (1 + root) ** 2,
        color="C0",
        linestyle=":",
        label="second border, exact",
    )
    right.plot(1 - momentum, 2 * (1 + momentum), **LINE, label="unstable above")
    right.set(
        xlabel="1 − β (no unit)", ylabel="ηh (no unit)", xscale="log", yscale="log",
        ylim=(1e-7, 10),
    )  # fmt: skip
    right.legend(fontsize="x-small", loc="lower right")
    return figure


def three_theories(run: Run, triples: list[tuple]) -> Figure:
    """Draw both theories and both simulations from the start on, and what sets them apart.

    For each triple two rows: the quantities, and their relative deviation from the exact
    theory of constant noise. Columns: squared distance, squared velocity, displacement.
    """
    figure, axes = panels(2 * len(triples), 3, height=1.9)
    for number, triple in enumerate(triples):
        rows = axes[2 * number : 2 * number + 2]
        for column, quantity in enumerate(study.TOTALS):
            _theories(rows[:, column], run, triple, quantity)
        rate, momentum, _ = triple
        rows[0, 0].set_title(f"η = {rate:g}, β = {momentum:g}", loc="left")
        rows[1, 0].set(ylabel="off by (%)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=2,
        frameon=False,
        fontsize="small",
    )
    return figure


def _theories(pair, run: Run, triple: tuple, quantity: str) -> None:
    """Draw one quantity in the upper axes, the deviations from exact theory in the lower."""
    exact = reading.compared(run, triple, "gaussian", "exact, constant noise", [quantity])
    wrong = reading.compared(run, triple, "gaussian", "Langevin equation", [quantity])
    predicted = exact.predicted
    for ax, scale in zip(
        pair, (lambda y: y, lambda y: 100 * (y / predicted - 1)), strict=True
    ):
        ax.plot(exact.step, scale(predicted), **LINE, label="exact, discrete time")
        ax.plot(wrong.step, scale(wrong.predicted), **LANGEVIN, label="Langevin equation")
    for index, noise in enumerate(("gaussian", "replacement")):
        found = reading.compared(run, triple, noise, "exact, constant noise", [quantity])
        found = found.iloc[index::2]  # the simulations take turns, to be told apart
        theory = found.predicted
        style = POINTS[noise] | {"linestyle": "none", "markersize": 3}
        pair[0].plot(found.step, found.value, **style)
        pair[1].errorbar(
            found.step,
            100 * (found.value / theory - 1),
            200 * found.error / theory,
            **style,
        )
    ylabel, xlabel = LABELS[quantity]
    wide = exact.value.max() > 5 * exact.value.min()
    pair[0].set(xscale="log", yscale="log" if wide else "linear")
    pair[0].set_ylabel(ylabel, fontsize="small")
    pair[0].yaxis.set_minor_formatter(NullFormatter())
    pair[1].set(xlabel=xlabel, xscale="log")
    pair[0].tick_params(labelbottom=False)


def sampling(run: Run, triples: list[tuple]) -> Figure:
    """Draw minibatches of either sampling over the theory of constant noise, a row a triple."""
    figure, axes = panels(len(triples), 3, height=2.4, sharey="row")
    for row, triple in zip(axes, triples, strict=True):
        for ax, quantity in zip(row, study.TOTALS, strict=True):
            for noise in ("replacement", "reshuffled"):
                found = reading.compared(run, triple, noise, "exact, constant noise", [quantity])
                style = POINTS[noise] | {"linestyle": "none", "markersize": 3}
                base = found.predicted
                ax.errorbar(found.step, found.value / base, 2 * found.error / base, **style)
            exact = reading.compared(run, triple, "replacement", reading.sharpest(run), [quantity])
            label = f"theory: {reading.sharpest(run)}"
            ax.plot(exact.step, exact.predicted / base, **LINE, label=label)
            ax.axhline(1, **LEVEL)
            ax.set(xlabel=LABELS[quantity][1], xscale="log", yscale="log")
            ax.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
            ax.yaxis.set_minor_formatter(NullFormatter())
        row[0].set(ylabel="over constant noise")
        row[0].set_title(f"η = {triple[0]:g}, β = {triple[1]:g}, S = {triple[2]}", loc="left")
        row[1].set_title("squared velocity", fontsize="small")
        row[2].set_title("displacement", fontsize="small")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def velocity_sums(curvature: float, settings: list[tuple[float, float]], last: int) -> Figure:
    """Draw one direction's displacement by three formulas, up to a lag.

    ``settings`` are pairs of learning rate and momentum; noise of variance 1.
    """
    figure, axes = panels(2, len(settings), height=2.4, sharex=True)
    lags = study.recorded_steps(last)
    for (upper, lower), (rate, momentum) in zip(axes.T, settings, strict=True):
        given = (lags, curvature, rate, 1.0, momentum)
        exact = discrete.displacement_squared(*given)
        ways = (
            (exact, LINE, "exact"),
            (continuous.displacement_squared(*given), LANGEVIN, "2V(1 − r)"),
            (continuous.velocity_sum_squared(*given), {"color": "C0", "linestyle": "-."},
             "velocity correlations"),
        )  # fmt: skip
        for values, style, label in ways:
            upper.plot(lags, values, **style, label=label)
            lower.plot(lags, values / exact, **style)
        upper.set(xscale="log", yscale="log", title=f"η = {rate:g}, β = {momentum:g}")
        lower.set(xlabel="lag k (steps)", ylim=(0.4, 4))
        lower.axhline(1, **LEVEL)
    axes[0, 0].set(ylabel="E Δ² (unit²)")
    axes[1, 0].set(ylabel="over the exact one")
    axes[0, 0].legend(fontsize="x-small")
    return figure


def spirals(run: Run, triple: tuple, directions: list[int], last: int = 150) -> Figure:
    """Draw the mean of position and velocity from the start on, in some directions.

    Lines: Langevin equation and exact theory; points: simulated minibatches.
    """
    figure, axes = panels(1, len(directions), height=2.8)
    rate, momentum, _ = triple
    steps = np.arange(last + 1)
    for ax, direction in zip(axes[0], directions, strict=True):
        h = reading.vector(run, "curvature")[direction]
        start = [reading.vector(run, "start")[direction], 0.0]
        exact = discrete.mean_at(steps, h, rate, momentum, start=start)
        fine = np.linspace(0, last, 10 * last + 1)
        flow = continuous.mean_at(fine, h, rate, momentum, start=start)
        ax.plot(*flow.T, **LANGEVIN, label="Langevin equation")
        ax.plot(
            *exact.T,
            color="0.25",
            linewidth=0.6,
            marker=".",
            markersize=3,
            label="exact",
        )
        places = [
            run.series(study.named(quantity, "replacement", triple, direction))
            for quantity in ("position_mean", "velocity_mean")
        ]
        _shown(ax, *[rows[rows.step <= last] for rows in places])
        ax.set(xlabel="E(θ−μ) (unit)", title=f"ηh = {rate * h:.2g}")
        ax.axhline(0, **LEVEL)
        ax.axvline(0, **LEVEL)
    axes[0, 0].set(ylabel="E v (nats/unit)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False)
    return figure


def _shown(ax: Axes, positions, velocities) -> None:
    ax.errorbar(
        positions.value, velocities.value, 2 * velocities.error, 2 * positions.error,
        linestyle="none", markersize=4, **POINTS["replacement"],
    )  # fmt: skip


def one_step() -> Figure:
    """Draw the Langevin equation's error at one step against the exact value, over ηh."""
    figure, ((ax,),) = panels(1, 1, height=3.0)
    products = np.geomspace(1e-6, 1, 60)
    for index, beta in enumerate((0.0, 0.5, 0.9, 0.99)):
        exact, limit = (
            module.displacement_squared([1], products, 1.0, 1.0, beta)[0]
            for module in (discrete, continuous)
        )
        ax.plot(products, limit / exact, color=f"C{index}", label=f"β = {beta:g}")
    ax.set(xlabel="ηh (no unit)", ylabel="Langevin over exact, one step", xscale="log")
    ax.axhline(1, **LEVEL)
    ax.legend()
    return figure
