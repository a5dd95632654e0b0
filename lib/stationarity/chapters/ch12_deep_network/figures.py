"""Figures of chapter 12: Hessian modes, noise and displacement, measured and predicted."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ..plots import DASHED, DOTTED, THEORY, intervals, legend_above, panels, points
from . import reading, shares

QUANTITIES = {
    "mode_variance": "variance of the\nposition (unit²)",
    "mode_velocity_variance": "variance of the\nvelocity (nats²/unit²)",
    "mode_frequency": "frequency\n(radians per step)",
}
CURVATURE = "eigenvalue ρ (nats/unit²)"
LAG = {"xlabel": "lag (steps)", "xscale": "log"}
LOGARITHMIC = {"xscale": "log", "yscale": "log"}


def _few_ticks(*axes) -> None:
    for axis in axes:  # 1, 2 and 5 of each decade, where these are few
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        axis.set_major_formatter(FormatStrFormatter("%.3g"))
        axis.set_minor_formatter(NullFormatter())


def spectrum(run: Run) -> Figure:
    """Draw the top eigenvalues, and how the noise is spread over the whole spectrum."""
    table, (rate, momentum, decay) = reading.by_mode(run), reading.optimiser(run)
    figure, ((top, right),) = panels(1, 2, 2.8)
    rho, residual = table.eigenvalue, table.eigenvalue_error
    band = {"color": "0.6", "alpha": 0.6, "linewidth": 5, "label": "± residual (a bound)"}
    top.vlines(table.index + 1, rho - residual, rho + residual, **band)
    top.plot(table.index + 1, rho, "o", color="C0", label="eigenvalue")
    top.axhline((1 - np.sqrt(momentum)) ** 2 / rate - decay, **DASHED)  # above it: oscillates
    top.legend(fontsize="x-small")
    top.set(xlabel="mode", ylabel=CURVATURE, yscale="log")
    _few_ticks(top.yaxis)
    curvature, noise = reading.whole_spectrum(run)
    order = np.argsort(curvature)[::-1]
    right.step(curvature[order], noise[order].cumsum() / noise.sum(), color="C1")
    right.set_xscale("symlog", linthresh=1e-2)
    right.set(xlabel="curvature (nats/unit²)", ylabel="share of the noise", ylim=(0, 1.02))
    return figure


def by_mode(run: Run) -> Figure:
    """Draw what each mode did and what theory says, above; their ratio below."""
    table = reading.by_mode(run)
    if "mode_variance" not in table:
        raise UsageError(f"{run.name} followed its modes for too few steps to measure them.")
    figure, axes = panels(2, 3, 2.5, sharex=True)
    rho = table.eigenvalue
    for (value, ratio), (name, label) in zip(axes.T, QUANTITIES.items(), strict=True):
        points(value, rho, table[name], table[f"{name}_error"], color="C0", label="measured")
        predicted = table[f"{name}_predicted"]
        value.plot(rho, predicted, "_", color="C1", markersize=9, label="predicted")
        value.set(ylabel=label, **LOGARITHMIC)
        points(ratio, rho, table[f"{name}_ratio"], table[f"{name}_ratio_error"], color="C0")
        ratio.axhspan(*shares.BAND, color="C1", alpha=0.15, zorder=0)
        ratio.axhline(1, **THEORY | {"color": "C1"})
        ratio.set(ylabel="measured / predicted", xlabel="eigenvalue ρ\n(nats/unit²)")
        _few_ticks(value.yaxis, ratio.xaxis)
    for ratio in axes[1, :2]:
        ratio.axhline(reading.visited_noise(run), **DASHED | {"color": "C2"})
    legend_above(figure, axes[0, 0], 2)
    return figure


def noise(run: Run) -> Figure:
    """Draw the noise along the modes, with the multiple of H that fits best; correlations."""
    table, covariance = reading.by_mode(run), reading.noise_matrix(run)
    figure, ((scatter, matrix),) = panels(1, 2, 3.0)
    rho, variance = table.eigenvalue, table.noise_variance
    scatter.plot(rho, variance, "o", color="C0")
    scatter.plot(rho, (variance @ rho) / (rho @ rho) * rho, color="C1")
    scatter.set(xlabel=CURVATURE, ylabel="noise u'Σu/S (nats²/unit²)", **LOGARITHMIC)
    _few_ticks(scatter.xaxis, scatter.yaxis)
    scale, edge = np.sqrt(variance), len(covariance) + 0.5
    style = {"cmap": "RdBu_r", "vmin": -1, "vmax": 1, "extent": (0.5, edge, edge, 0.5)}
    image = matrix.imshow(covariance / np.outer(scale, scale), **style)
    matrix.grid(visible=False)
    matrix.set(xlabel="mode", ylabel="mode")
    figure.colorbar(image, ax=matrix, label="correlation of the noise")
    return figure


def spiral(run: Run) -> Figure:
    """Draw the last steps of modes in phase space, and two ellipses of the stationary law."""
    table, (rate, momentum, decay) = reading.by_mode(run), reading.optimiser(run)
    paths, angles = run.wide("projection", "index"), np.linspace(0, 2 * np.pi, 181)
    figure, (row,) = panels(1, paths.shape[1], 3.2)
    for panel, (mode, path) in zip(row, paths.items(), strict=True):
        velocity, position = path.diff()[1:][-250:] / rate, (path - path.mean())[1:][-250:]
        panel.plot(position, velocity, color="0.7", linewidth=0.6, zorder=1)
        shade = np.arange(len(position))
        panel.scatter(position, velocity, c=shade, cmap="viridis", s=8, zorder=2)
        rho, noise = table.eigenvalue[mode], table.noise_variance[mode]
        panel.set(xlabel="position (unit)", ylabel="velocity (nats/unit)")
        panel.locator_params(axis="x", nbins=5)
        panel.set_title(f"mode {mode + 1}, ρ = {rho:.3g}")
        if rho + decay <= 0:
            continue
        law = theory.stationary_covariance(rho + decay, rate, noise, momentum)
        ellipse = np.linalg.cholesky(law) @ [np.cos(angles), np.sin(angles)]
        for deviations in (1, 2):
            panel.plot(*deviations * ellipse, color="C1", linewidth=1, zorder=3)
    return figure


def rest(run: Run) -> Figure:
    """Draw what is not along the modes: random directions, and its dimension by lag."""
    figure, ((left, right),) = panels(1, 2, 2.8)
    variance, kurtosis = run.series("rest_variance").value, run.series("rest_kurtosis").value
    left.plot(variance / variance.mean(), kurtosis, "o", color="C0")
    left.axhline(3, **DASHED)
    left.axvline(1, **DASHED)
    left.set(xlabel="variance / mean", ylabel="kurtosis", xlim=(0, None))
    table = reading.displacements(run)
    right.plot(table.lag, table.rest_dimension, "o-", color="C2")
    right.axhline(run.series("parameters").value[0] - run.settings.modes, **DASHED)
    right.set(ylabel="effective dimension", yscale="log", **LAG)
    return figure


def displacement(run: Run) -> Figure:
    """Draw the squared displacement by lag, and its slope between lags two apart."""
    table = reading.displacements(run)
    figure, ((square, slope),) = panels(1, 2, 3.2)
    points(square, table.lag, table.value, table.error, color="C0", label="measured")
    if table.predicted.notna().all():
        square.plot(table.lag, table.predicted, color="C1", label="predicted")
        slope.plot(*_slopes(table.lag, table.predicted), color="C1")
    else:
        square.plot(table.lag, table.top_predicted, "C1:", label="predicted, top modes only")
    if "drift" in table and (clear := table.drift > 0.02 * table.value).any():
        drift = table[clear]
        square.plot(drift.lag, drift.drift, "x", color="C3", label="drift of the mean")
    slope.plot(*_slopes(table.lag, table.value), "o", color="C0")
    square.set(ylabel="squared displacement (unit²)", yscale="log", **LAG)
    slope.set(ylabel="exponent", **LAG)
    square.legend()
    return figure


def _slopes(lags: ArrayLike, values: ArrayLike) -> tuple[NDArray, NDArray]:
    lags, values = np.log([lags, values])
    slopes = (values[2:] - values[:-2]) / (lags[2:] - lags[:-2])
    return np.exp((lags[2:] + lags[:-2]) / 2), slopes


def quenched(measured: pd.DataFrame, predicted: pd.DataFrame) -> Figure:
    """Draw exponents by effective rate: measured, and the two of ``reading.quenched``."""
    figure, ((axes,),) = panels(1, 1, 3.4)
    rates = measured.effective_rate
    intervals(axes, rates, measured.value, measured.low, measured.high, label="measured")
    axes.plot(rates, predicted.quenched, "_", color="C1", markersize=18, label="predicted")
    style = {"color": "C2", "markersize": 7, "label": "predicted, if settled"}
    axes.plot(rates, predicted.settled, "x", **style)
    axes.axhline(1, **DOTTED)
    axes.set(xscale="log", xlabel="effective rate η / (1 − β)", ylabel="exponent c")
    axes.legend()
    return figure


def ratios(runs: dict[str, Run]) -> Figure:
    """Draw measured over predicted squared displacement by lag, with the errors of both."""
    figure, ((axes,),) = panels(1, 1, 3.6)
    for label, run in runs.items():
        table = reading.displacements(run)
        points(axes, table.lag, table.ratio, table.ratio_error, fmt="o-", label=label)
    axes.axhline(1, **THEORY)
    axes.set(ylabel="measured / predicted", yscale="log", **LAG)
    _few_ticks(axes.yaxis)
    axes.legend()
    return figure
