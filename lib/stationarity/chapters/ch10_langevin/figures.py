"""Figures of chapter 10: the Langevin equation of SGD beside exact theory and simulation."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import norm

from ...runs.records import Run
from ...stats.estimate import NORMAL
from ...theory.continuous import limiting_covariance, propagator
from ...theory.discrete import displacement_squared, stationary_covariance
from ..plots import DOTTED, THEORY, band, legend_above, panels, points
from . import reading, study

LANGEVIN = {"color": "C3", "linestyle": "--", "linewidth": 1.4}
NOISES = {
    "gaussian": {"fmt": "C0o", "markersize": 3, "label": "simulated, Gaussian noise"},
    "replacement": {"fmt": "C2^", "markersize": 3, "label": "simulated minibatches"},
    "reshuffled": {"fmt": "C1s", "markersize": 3, "label": "reshuffled epochs"},
}
LABELS = {
    "position_squared": ("E‖θ−μ‖²\n(unit²)", "step k"),
    "velocity_squared": ("E‖v‖²\n(nats²/unit²)", "step k"),
    "displacement_squared": ("E‖Δ‖²\n(unit²)", "lag k (steps)"),
}


def regimes() -> Figure:
    """Draw autocorrelations in the three regimes, and where the regimes lie."""
    figure, ((left, right),) = panels(1, 2, height=3.6)
    times, rate = np.linspace(0, 12, 300), 0.01
    ratios = {"overdamped": 3.0, "critical": 1.0, "underdamped": 0.2}
    for color, (name, ratio) in zip(["C0", "C1", "C2"], ratios.items(), strict=True):
        # With ω = 1: the curvature is η (1 + β) / 2, and γ / ω is the ratio.
        momentum = (1 - ratio * rate) / (1 + ratio * rate)
        r = propagator(times / rate, rate * (1 + momentum) / 2, rate, momentum)
        left.plot(times, r[:, 0, 0], color, linewidth=1.4, label=f"{name}, γ = {ratio:g} ω")
        left.plot(times, r[:, 1, 1], color, linewidth=1.4, linestyle=":")
    left.axhline(0, **DOTTED)
    left.set(xlabel="time ωt (no unit)", ylabel="autocorrelation")
    left.legend(fontsize="x-small")
    momentum = np.linspace(0, 0.999, 400)
    root, place = np.sqrt(momentum), 1 - momentum
    right.plot(place, place**2 / (2 + 2 * momentum), **LANGEVIN, label="critical, Langevin")
    right.plot(place, (1 - root) ** 2, color="C0", label="first border, exact")
    right.plot(place, (1 + root) ** 2, ":", color="C0", label="second border, exact")
    right.plot(place, 2 * (1 + momentum), **THEORY, label="unstable above")
    right.set(xlabel="1 − β (no unit)", ylabel="ηh (no unit)", ylim=(1e-7, 10))
    right.set(xscale="log", yscale="log")
    right.legend(fontsize="x-small", loc="lower right")
    return figure


def one_direction(shown: reading.Direction) -> Figure:
    """Draw a run of SGD on a quadratic, the law where it stays, and that at other rates."""
    figure, ((left, middle, right),) = panels(1, 3, height=3.0)
    rate, momentum, curvature, path, law = shown
    band(left, range(150), law.low[:150], law.high[:150], color="C0")
    left.plot(path[:150], "C0", linewidth=0.8)
    left.set(xlabel="step", ylabel="weight θ (no unit)")
    middle.hist(path[200:], 40, density=True, color="C0", alpha=0.5)
    grid, limit = np.linspace(-2.5, 2.5, 201), 2 * (1 + momentum) / curvature
    rates = np.append(np.geomspace(0.01, 0.9, 40), 1 - np.geomspace(0.1, 1e-3, 40)) * limit
    theories = (
        (stationary_covariance, THEORY, "exact"),
        (limiting_covariance, LANGEVIN, "Langevin"),
    )
    for theory, style, label in theories:
        spread = [theory(curvature, x, 1.0, momentum)[0, 0] ** 0.5 for x in (rate, *rates)]
        middle.plot(grid, norm.pdf(grid, scale=spread[0]), **style)
        right.plot(rates, spread[1:], **style, label=label)
    middle.set(xlabel="weight θ (no unit)", ylabel="density")
    right.axvline(limit, **DOTTED, label="stability limit")
    right.set(xlabel="learning rate η", ylabel="√Var θ", xscale="log", yscale="log")
    right.legend(fontsize="x-small")
    return figure


def three_theories(run: Run, triples: list[tuple]) -> Figure:
    """Draw theories and simulations of each triple, and below how far off the exact one."""
    figure, axes = panels(2 * len(triples), 3, height=1.9)
    for number, triple in enumerate(triples):
        rows = axes[2 * number : 2 * number + 2]
        for (upper, lower), quantity in zip(rows.T, study.TOTALS, strict=True):
            exact = reading.compared(run, triple, "gaussian", reading.CONSTANT, [quantity])
            langevin = reading.constant_noise(run, triple, reading.LANGEVIN, [quantity])
            wide = exact.value.max() > 5 * exact.value.min()
            upper.plot(exact.step, exact.predicted, **THEORY, label="exact, discrete time")
            upper.plot(exact.step, langevin, **LANGEVIN, label="Langevin equation")
            lower.axhline(0, **THEORY)
            lower.plot(exact.step, 100 * (langevin / exact.predicted - 1), **LANGEVIN)
            for first, noise in enumerate(("gaussian", "replacement")):
                table = reading.compared(run, triple, noise, reading.CONSTANT, [quantity])
                shown = table.iloc[first::2]  # they take turns, to be told apart
                off, error = 100 * (shown.ratio - 1), 100 * shown.ratio_error
                points(upper, shown.step, shown.value, **NOISES[noise])
                points(lower, shown.step, off, error, **NOISES[noise])
            ylabel, xlabel = LABELS[quantity]
            upper.set(xscale="log", yscale="log" if wide else "linear")
            upper.set_ylabel(ylabel, fontsize="small")
            upper.yaxis.set_minor_formatter(NullFormatter())
            upper.tick_params(labelbottom=False)
            lower.set(xlabel=xlabel, xscale="log")
        rows[0, 0].set_title(f"η = {triple[0]:g}, β = {triple[1]:g}", loc="left")
        rows[1, 0].set(ylabel="off by (%)")
    legend_above(figure, axes[0, 0], 2, fontsize="small")
    return figure


def sampling(run: Run, triples: list[tuple]) -> Figure:
    """Draw minibatches of either sampling over the theory of constant noise, a row a triple."""
    figure, axes = panels(len(triples), 3, height=2.4, sharey="row")
    best, ticks = reading.sharpest(run), [0.1, 0.2, 0.5, 1, 2]
    for row, triple in zip(axes, triples, strict=True):
        for ax, quantity in zip(row, study.TOTALS, strict=True):
            for noise in ("replacement", "reshuffled"):
                table = reading.compared(run, triple, noise, reading.CONSTANT, [quantity])
                points(ax, table.step, table.ratio, table.ratio_error, **NOISES[noise])
            exact, constant = (
                reading.compared(run, triple, "replacement", law, [quantity])
                for law in (best, reading.CONSTANT)
            )
            ratio = exact.predicted / constant.predicted
            ax.plot(exact.step, ratio, **THEORY, label=f"theory: {best}")
            ax.axhline(1, **DOTTED)
            ax.set(xlabel=LABELS[quantity][1], xscale="log", yscale="log")
            ax.set_yticks(ticks, map(str, ticks))
            ax.yaxis.set_minor_formatter(NullFormatter())
        row[0].set(ylabel="squared distance\nover constant noise")
        row[0].set_title("η = {:g}, β = {:g}, S = {}".format(*triple), loc="left")
        row[1].set_title("squared velocity", fontsize="small")
        row[2].set_title("displacement", fontsize="small")
    legend_above(figure, axes[0, 0], 3)
    return figure


def velocity_sums(curvature: float, settings: list[tuple[float, float]], last: int) -> Figure:
    """Draw displacements by three formulas, by ``settings`` of learning rate and momentum."""
    figure, axes = panels(2, len(settings), height=2.4, sharex=True)
    lags, dashed = study.recorded_steps(last), {"color": "C0", "linestyle": "-."}
    laws = {
        "exact": (displacement_squared, THEORY),
        "2V(1 − r)": (reading.limiting_displacement, LANGEVIN),
        "velocity correlations": (reading.velocity_sum_squared, dashed),
    }
    for (upper, lower), (rate, momentum) in zip(axes.T, settings, strict=True):
        given = (lags, curvature, rate, 1.0, momentum)
        for label, (law, style) in laws.items():
            squares = law(*given)
            upper.plot(lags, squares, **style, label=label)
            lower.plot(lags, squares / displacement_squared(*given), **style)
        upper.set(xscale="log", yscale="log", title=f"η = {rate:g}, β = {momentum:g}")
        lower.set(xlabel="lag k (steps)", ylim=(0.4, 4))
        lower.axhline(1, **DOTTED)
    axes[0, 0].set(ylabel="E Δ² (unit²)")
    axes[1, 0].set(ylabel="over the exact one")
    axes[0, 0].legend(fontsize="x-small")
    return figure


def spirals(run: Run, triple: tuple, directions: list[int]) -> Figure:
    """Draw the mean of position and velocity from the start on, in some directions."""
    figure, axes = panels(1, len(directions), height=2.8)
    (rate, momentum, _), of = triple, study.ensemble("replacement", triple)
    steps, fine = np.arange(151), np.linspace(0, 150, 1501)
    dots = {"color": "0.25", "linewidth": 0.6, "marker": ".", "markersize": 3}
    for ax, direction in zip(axes[0], directions, strict=True):
        given = (reading.vector(run, "curvature")[direction], rate, momentum)
        start = [reading.vector(run, "start")[direction], 0.0]
        flow = reading.LANGEVIN.mean_at(fine, *given, start=start)
        ax.plot(*flow.T, **LANGEVIN, label="Langevin equation")
        exact = reading.EXACT.mean_at(steps, *given, start=start)
        ax.plot(*exact.T, **dots, label="exact")
        pair = (run.series(name, of=of, index=direction) for name in study.MOMENTS[:2])
        position, velocity = (one.query("step <= 150") for one in pair)
        style = NOISES["replacement"] | {"xerr": NORMAL * position.error, "markersize": 4}
        points(ax, position.value, velocity.value, velocity.error, **style)
        ax.set(xlabel="E(θ−μ) (unit)", title=f"ηh = {rate * given[0]:.2g}")
        ax.axhline(0, **DOTTED)
        ax.axvline(0, **DOTTED)
    axes[0, 0].set(ylabel="E v (nats/unit)")
    legend_above(figure, axes[0, 0], 3)
    return figure


def one_step() -> Figure:
    """Draw the Langevin equation's error at one step against the exact value, over ηh."""
    figure, ((ax,),) = panels(1, 1, height=3.0)
    products = np.geomspace(1e-6, 1, 60)
    for beta in (0.0, 0.5, 0.9, 0.99):
        given = ([1], products, 1.0, 1.0, beta)
        ratio = reading.limiting_displacement(*given) / displacement_squared(*given)
        ax.plot(products, ratio[0], label=f"β = {beta:g}")
    ax.set(xlabel="ηh (no unit)", ylabel="Langevin over exact, one step", xscale="log")
    ax.axhline(1, **DOTTED)
    ax.legend()
    return figure
