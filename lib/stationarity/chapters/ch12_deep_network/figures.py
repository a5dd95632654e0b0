"""Figures of chapter 12: Hessian modes, noise and displacement, measured and predicted."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ..plots import panels
from . import reading

TURN = 250  # last steps of a spiral that are drawn
QUANTITIES = {
    "mode_variance": "variance of the\nposition (unit²)",
    "mode_velocity_variance": "variance of the\nvelocity (nats²/unit²)",
    "mode_frequency": "frequency\n(radians per step)",
}
CURVATURE = "eigenvalue ρ (nats/unit²)"


def spectrum(run: Run) -> Figure:
    """Draw the top eigenvalues, and how the noise is spread over the whole spectrum.

    Bars: residuals, each of which holds an eigenvalue. Dashed: above it a mode
    oscillates. Right, where the run has it: the share of the noise's trace in
    directions with a curvature above that of the axis.
    """
    table, (rate, momentum, decay) = reading.by_mode(run), reading.optimiser(run)
    figure, axes = panels(1, 2, 2.8)
    top, shares = axes[0]
    number = np.arange(1, len(table) + 1)
    top.errorbar(
        number, table.eigenvalue, table.residual, fmt="o", color="C0", capsize=2
    )
    least = (1 - np.sqrt(momentum)) ** 2 / rate - decay
    top.axhline(least, color="0.3", linestyle="--", linewidth=1)
    top.set(xlabel="mode", ylabel=CURVATURE, yscale="log")
    _few_ticks(top.yaxis)
    if "rest_node[0]" not in set(run.metrics.quantity):
        shares.set_visible(False)
        return figure
    curvature, noise = (
        np.append(table[column], reading.numbered(run, rest).value)
        for column, rest in (
            ("eigenvalue", "rest_node"),
            ("noise_variance", "rest_weight"),
        )
    )
    order = np.argsort(curvature)[::-1]
    shares.step(curvature[order], noise[order].cumsum() / noise.sum(), color="C1")
    shares.set(xlabel="curvature (nats/unit²)", ylabel="share of the noise")
    shares.set_xscale("symlog", linthresh=1e-2)
    shares.set_ylim(0, 1.02)
    return figure


def by_mode(run: Run) -> Figure:
    """Draw what each mode did and what theory says, above; their ratio below.

    Bars: 1.96 standard errors. The frequency is drawn where it exists. Dashed, where
    the run has it: what the ratios would be with the noise where the replicas went.
    """
    table = reading.by_mode(run)
    if "mode_variance" not in table:
        raise UsageError(
            f"{run.name} followed its modes for too few steps to measure them."
        )
    figure, axes = panels(2, 3, 2.2, sharex=True)
    for column, (name, label) in zip(axes.T, QUANTITIES.items(), strict=True):
        value, ratio = column
        measured, error, predicted = (
            table[f"{name}{end}"] for end in ("", "_error", "_predicted")
        )
        value.errorbar(
            table.eigenvalue, measured, 1.96 * error, fmt="o", color="C0", capsize=2,
            label="measured",
        )  # fmt: skip
        value.plot(
            table.eigenvalue,
            predicted,
            "_",
            color="C1",
            markersize=9,
            label="predicted",
        )
        value.set(ylabel=label, xscale="log", yscale="log")
        ratio.errorbar(
            table.eigenvalue, measured / predicted, 1.96 * error / predicted, fmt="o",
            color="C0", capsize=2,
        )  # fmt: skip
        ratio.axhline(1, color="C1", linewidth=1.5)
        ratio.set(ylabel="measured / predicted", xlabel="eigenvalue ρ\n(nats/unit²)")
        _few_ticks(value.yaxis, ratio.xaxis)
    visited = reading.visited_noise(run)
    for ratio in axes[1, :2]:
        ratio.axhline(visited, color="C2", linestyle="--", linewidth=1, zorder=1)
    axes[0, 0].legend()
    return figure


def _few_ticks(*logarithmic) -> None:
    """Label 1, 2 and 5 of each decade where there are few, and else the decades."""
    for axis in logarithmic:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
        axis.set_major_formatter(FormatStrFormatter("%.3g"))
        axis.set_minor_formatter(NullFormatter())


def noise(run: Run) -> Figure:
    """Draw the noise along the modes against their eigenvalues, and its correlations.

    Left: u'Σu of one minibatch, and the multiple of the eigenvalue that fits all of
    them best. Right, where the run has it: correlations of the noise between modes.
    """
    table = reading.by_mode(run)
    figure, axes = panels(1, 2, 3.0)
    scatter, matrix = axes[0]
    multiple = (
        table.noise_variance @ table.eigenvalue / (table.eigenvalue @ table.eigenvalue)
    )
    scatter.plot(table.eigenvalue, table.noise_variance, "o", color="C0")
    ends = np.array([table.eigenvalue.min(), table.eigenvalue.max()])
    scatter.plot(ends, multiple * ends, color="C1")
    scatter.set(
        xlabel=CURVATURE,
        ylabel="noise u'Σu/S (nats²/unit²)",
        xscale="log",
        yscale="log",
    )
    _few_ticks(scatter.xaxis, scatter.yaxis)
    if "noise_covariance[0,1]" not in set(run.metrics.quantity):
        matrix.set_visible(False)
        return figure
    found = reading.noise_matrix(run)
    scale = np.sqrt(np.diag(found))
    edges = (0.5, len(found) + 0.5, len(found) + 0.5, 0.5)
    correlation = found / np.outer(scale, scale)
    image = matrix.imshow(correlation, cmap="RdBu_r", vmin=-1, vmax=1, extent=edges)
    matrix.grid(visible=False)
    matrix.set(xlabel="mode", ylabel="mode")
    figure.colorbar(image, ax=matrix, label="correlation of the noise")
    return figure


def spiral(run: Run) -> Figure:
    """Draw the last steps of modes in phase space, from dark to light.

    Ellipses: the exact stationary law, one and two standard deviations.
    """
    table, (rate, momentum, decay) = reading.by_mode(run), reading.optimiser(run)
    found = list(reading.numbered(run, "projection").groupby("number"))
    figure, axes = panels(1, len(found), 3.2)
    for panel, (mode, series) in zip(axes[0], found, strict=True):
        every = series.value.to_numpy()
        velocity = np.diff(every)[-TURN:] / rate
        position = (every - every.mean())[1:][-TURN:]
        panel.plot(position, velocity, color="0.7", linewidth=0.6, zorder=1)
        shade = np.arange(len(position))
        panel.scatter(position, velocity, c=shade, cmap="viridis", s=8, zorder=2)
        if table.eigenvalue[mode] + decay > 0:
            noise = table.noise_variance[mode]
            law = theory.stationary_covariance(
                table.eigenvalue[mode] + decay, rate, noise, momentum
            )
            _ellipses(panel, law)
        panel.set(
            xlabel="position (unit)", ylabel="velocity (nats/unit)",
            title=f"mode {mode + 1}, ρ = {table.eigenvalue[mode]:.3g}",
        )  # fmt: skip
    return figure


def _ellipses(panel, covariance) -> None:
    values, vectors = np.linalg.eigh(covariance)
    angle = np.degrees(np.arctan2(*vectors[::-1, 1]))
    for size in (1, 2):
        length, width = 2 * size * np.sqrt(values[::-1])
        panel.add_patch(
            Ellipse(
                (0, 0), length, width, angle=angle, fill=False, color="C1", zorder=3
            )
        )


def rest(run: Run) -> Figure:
    """Draw what is not along the modes: random directions, and its dimension by lag.

    Left: the variance along random directions over their mean, and the kurtosis, which
    is 3 for a normal law. Right: (tr C)²/tr C² of the displacement off the modes; the
    line is what it would be if all directions had one variance.
    """
    figure, axes = panels(1, 2, 2.8)
    left, right = axes[0]
    variance = reading.numbered(run, "rest_variance").value.to_numpy()
    kurtosis = reading.numbered(run, "rest_kurtosis").value.to_numpy()
    left.plot(variance / variance.mean(), kurtosis, "o", color="C0")
    left.axhline(3, color="0.3", linestyle="--", linewidth=1)
    left.axvline(1, color="0.3", linestyle="--", linewidth=1)
    left.set(xlabel="variance / mean", ylabel="kurtosis")
    left.set_xlim(0, max(2, 1.1 * (variance / variance.mean()).max()))
    left.set_ylim(min(1.5, 0.9 * kurtosis.min()), max(4.5, 1.1 * kurtosis.max()))
    table = reading.displacements(run)
    right.plot(table.lag, table.rest_dimension, "o-", color="C2")
    others = run.series("parameters").value[0] - run.settings["modes"]
    right.axhline(others, color="0.3", linestyle="--", linewidth=1)
    right.set(
        xlabel="lag (steps)", ylabel="effective dimension", xscale="log", yscale="log"
    )
    return figure


def displacement(run: Run) -> Figure:
    """Draw the squared displacement by lag, and its exponent from lag to lag.

    Bars: 1.96 standard errors. The exponent is the slope between lags two apart.
    """
    table = reading.displacements(run)
    figure, axes = panels(1, 2, 3.2)
    square, slope = axes[0]
    square.errorbar(
        table.lag,
        table.value,
        1.96 * table.error,
        fmt="o",
        color="C0",
        label="measured",
    )
    if table.predicted.notna().all():
        square.plot(table.lag, table.predicted, color="C1", label="predicted")
        slope.plot(*_slopes(table.lag, table.predicted), color="C1", label="predicted")
    else:
        square.plot(
            table.lag, table.top_predicted, color="C1", linestyle=":",
            label="predicted, top modes only",
        )  # fmt: skip
    if "drift" in table:
        drifting = table[table.drift > 0.02 * table.value]
        if len(drifting):
            square.plot(
                drifting.lag, drifting.drift, "x", color="C3", label="drift of the mean"
            )
    slope.plot(*_slopes(table.lag, table.value), "o", color="C0", label="measured")
    square.set(
        xlabel="lag (steps)",
        ylabel="squared displacement (unit²)",
        xscale="log",
        yscale="log",
    )
    slope.set(xlabel="lag (steps)", ylabel="exponent", xscale="log")
    square.legend()
    return figure


def _slopes(lags, values) -> tuple[np.ndarray, np.ndarray]:
    lags, values = np.log(np.asarray(lags, float)), np.log(np.asarray(values))
    return np.exp((lags[2:] + lags[:-2]) / 2), (values[2:] - values[:-2]) / (
        lags[2:] - lags[:-2]
    )


def ratios(runs: dict[str, Run]) -> Figure:
    """Draw measured over predicted squared displacement by lag, of runs by label.

    Bars: 1.96 standard errors of the measurement and of the prediction together.
    """
    figure, axes = plt.subplots()
    for index, (label, run) in enumerate(runs.items()):
        table = reading.displacements(run)
        found = table.value / table.predicted
        error = np.hypot(
            table.error / table.value, table.predicted_error / table.predicted
        )
        axes.errorbar(
            table.lag, found, 1.96 * found * error, fmt="o-", color=f"C{index}", linewidth=1,
            label=label,
        )  # fmt: skip
    axes.axhline(1, color="0.3", linewidth=1)
    axes.set(
        xlabel="lag (steps)", ylabel="measured / predicted", xscale="log", yscale="log"
    )
    _few_ticks(axes.yaxis)
    axes.legend()
    return figure
