"""Figures of chapter 11: modified loss, currents, and the rotation that they cause."""

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ...runs.records import Run
from ...theory import damping
from ..plots import DASHED, DOTTED, THEORY, legend_above, panels, points
from . import currents, reading

REGIMES = ("underdamped", "critical", "overdamped")


def losses() -> Figure:
    """Draw level sets of a training loss and of the modified loss, for two noises."""
    figure, axes = panels(1, 2, height=3.3, sharey=True)
    curvature, grid = np.array([4.0, 1.0]), np.linspace(-3.2, 3.2, 161)
    levels = (0.5, 2.0, 4.5)  # of Ψ: 1, 2, 3 deviations
    position = np.stack(np.meshgrid(grid, grid), -1)
    noises = {"isotropic noise": np.full(2, 2.5), "noise like the Hessian": curvature}
    for ax, (name, noise) in zip(axes[0], noises.items(), strict=True):
        psi = position**2 @ (curvature / noise) / 2  # of positions over √(η / (2 (1 − β)))
        training = {"colors": "0.45", "linestyles": "--", "linewidths": 1}
        ax.contour(grid, grid, position**2 @ curvature / 3.2, levels, **training)
        ax.contour(grid, grid, psi, levels, colors="C0", linewidths=1.6)
        ax.set(xlabel="position in mode 1 (no unit)", aspect="equal", title=name)
        ax.plot([], [], **DASHED, label="training loss")
        ax.plot([], [], color="C0", linewidth=1.6, label="modified loss")
    axes[0, 0].set(ylabel="position in mode 2 (no unit)")
    legend_above(figure, axes[0, 0], 2)
    return figure


def temperatures(ensembles: dict[str, tuple[Run, str]]) -> Figure:
    """Draw the temperature of each mode, over the geometric mean of the predicted ones.

    ``ensembles`` maps a name to a run and what rows of one of its ensembles are of.
    """
    figure, axes = panels(1, len(ensembles), height=3.3, sharey=True)
    for ax, (name, (run, of)) in zip(axes[0], ensembles.items(), strict=True):
        modes = reading.table(run, of)
        level = scipy.stats.gmean(modes.temperature)
        for shift, kind, text in ((0.96, "energy", "position"), (1.04, "kinetic", "velocity")):
            error = modes[f"{kind}_error"] / level
            points(ax, modes.step * shift, modes[kind] / level, error, label=text)
        ax.plot(modes.step, modes.temperature / level, label="modified loss", **THEORY)
        exact = modes.curvature * modes.mode_variance_exact / level
        ax.plot(modes.step, exact, label="exact", **DASHED)
        ax.axhline(1, label="one temperature (Gibbs)", color="C3", linestyle=":", zorder=0)
        ax.set(xlabel="ηh (no unit)", xscale="log", yscale="log")
        ax.set_title(name, fontsize="small")
    axes[0, 0].set(ylabel="temperature over its mean")
    legend_above(figure, axes[0, 0], 5, fontsize="x-small")
    return figure


def portraits(run: Run, path: NDArray) -> Figure:
    """Draw density and motion in phase space of a mode in each regime of damping.

    Arrows: dark, by the current of the theory; red, measured. Line: ``path`` (steps, 3, 2),
    of one member of :func:`reading.paths`.
    """
    figure, (axes,) = panels(1, 3, height=3.1, sharey=True)
    grid = np.linspace(-2.9, 2.9, 49)
    density = np.exp(-np.add.outer(grid**2, grid**2) / 2)  # in these units that of all
    shades = {"levels": np.linspace(0.03, 1, 9), "cmap": "Blues", "alpha": 0.8}
    modes = reading.regimes(run).items()
    for place, (ax, (number, (h, rate, _, beta))) in enumerate(zip(axes, modes, strict=True)):
        ax.contourf(grid, grid, density, **shades)
        ax.plot(*path[:, place].T, color="0.35", linewidth=0.7)
        places, motion = reading.motion(run, number)
        turn = rate * damping(h, rate, beta).natural_frequency  # ηω
        flow = turn * places[:, ::-1] * [1, -1]  # the current over the density, times η
        arrows = {"angles": "xy", "scale_units": "xy", "scale": 4.2 * turn}
        ax.quiver(*places.T, *flow.T, color="0.15", width=0.008, **arrows)
        ax.quiver(*places.T, *motion.T, color="C3", width=0.004, zorder=3, **arrows)
        ax.set(xlabel="position / its deviation", aspect="equal")
        ax.set_title(f"{REGIMES[place]}, ηω = {turn:.2g}", fontsize="small")
        ax.grid(visible=False)
    axes[0].set(ylabel="velocity / its deviation")
    return figure


def rotations(run: Run) -> Figure:
    """Draw the area that each mode sweeps in a step, and after a lag that of some modes."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    rate, ensembles = run.settings.learning_rate, run.settings.ensembles
    for index, of in enumerate(ensembles):
        modes, color = reading.table(run, of), f"C{index}"
        pairs = {"fmt": "s", "color": color, "alpha": 0.6, "label": "two positions"}
        exact, limit = ("exact", "r(η)") if index == 0 else ("", "")  # once in the legend
        points(left, modes.step, modes.rotation, modes.rotation_error, color=color, label=of)
        left.plot(modes.step, modes.rotation_exact, **THEORY, label=exact)
        left.plot(modes.step, modes.rotation_limit, **DASHED, label=limit)
        points(
            left, modes.step, modes.position_rotation, modes.position_rotation_error, **pairs
        )
        left.plot(modes.step, modes.position_rotation_exact, "_", color="0.25", markersize=9)
    of, beta = next(iter(ensembles.items()))
    curvature = run.series("curvature", of=of).value
    for index, number in enumerate((1, len(curvature) // 2, len(curvature) - 1)):
        rows, h = run.series("rotation_at", of=of, index=number), curvature[number]
        shown = rows[:: max(1, len(rows) // 30)]
        style = {"color": f"C{index}", "markersize": 3, "label": f"ηh = {rate * h:.2g}"}
        points(right, shown.step, shown.value, shown.error, **style)
        right.plot(rows.step, currents.discrete_rotation(rows.step, h, rate, beta), **THEORY)
    right.axhline(0, **DOTTED)
    left.set(xlabel="ηh (no unit)", ylabel="area swept in a step (no unit)", xscale="log")
    left.set_yscale("symlog", linthresh=1e-3)
    right.set(xlabel="lag (steps)", ylabel="area swept after the lag (no unit)")
    left.legend(fontsize="x-small")
    right.legend(fontsize="x-small")
    return figure


def spectra(run: Run) -> Figure:
    """Draw measured and exact power spectra of the modes of the first ensemble."""
    figure, ((ax,),) = panels(1, 1, height=3.8)
    (of, beta), rate = next(iter(run.settings.ensembles.items())), run.settings.learning_rate
    for number, mode in reading.table(run, of).iterrows():
        color, variance = f"C{number}", mode.mode_variance_exact
        given = (mode.curvature, rate, mode.noise_variance, beta)
        series = run.series("spectrum", of=of, index=number)
        frequency = 2 * np.pi * series.step / run.settings.segment
        shown = (series.step > 1) & (frequency < np.pi)
        exact = currents.power_spectrum(frequency[shown], *given) / variance
        power = series.value[shown] / variance
        ax.plot(frequency[shown], power, color=color, linewidth=1, alpha=0.7)
        ax.plot(frequency[shown], exact, **THEORY | {"linewidth": 0.8})
        for place, mark in ((mode.spectrum_peak_exact, "v"), (mode.mode_frequency_exact, "|")):
            height = currents.power_spectrum(place, *given) / variance
            ax.plot(place, height, mark, color=color, markersize=8, zorder=4)
        ax.plot([], [], color=color, label=f"ηh = {mode.step:.2g}")
    ax.set(xlabel="frequency (rad/step)", ylabel="power over variance")
    ax.set(xscale="log", yscale="log")
    ax.legend(fontsize="x-small", ncols=2)
    return figure


def frequencies(ensembles: dict[str, tuple[Run, str]]) -> Figure:
    """Draw measured over exact frequencies and peaks; as :func:`temperatures`."""
    kinds = (
        ("mode_frequency", "oscillation", 0.97, "o"),
        ("spectrum_peak", "peak of the spectrum", 1.03, "s"),
    )
    figure, axes = panels(1, len(ensembles), height=3.4, sharey=True)
    for ax, (name, (run, of)) in zip(axes[0], ensembles.items(), strict=True):
        modes = reading.table(run, of)
        for quantity, text, shift, mark in kinds:
            exact, at = modes[f"{quantity}_exact"], modes.step * shift
            error = modes[f"{quantity}_error"] / exact
            points(ax, at, modes[quantity] / exact, error, fmt=mark, label=text)
        limit = modes.mode_frequency_limit / modes.mode_frequency_exact
        ax.plot(modes.step, limit, "^", color="0.4", markersize=5, label="continuous theory")
        ax.axhline(1, **DOTTED)
        ax.set(xlabel="ηh (no unit)", xscale="log", title=name)
    axes[0, 0].set(ylabel="over the exact prediction")
    legend_above(figure, axes[0, 0], 3)
    return figure


def ensemble(states: NDArray, moments=(0, 4, 12)) -> Figure:
    """Draw the ensemble of :func:`reading.paths` after so many steps, a row each.

    The colour of a copy is the side on which it was at the start.
    """
    figure, axes = panels(len(moments), 3, height=2.1, sharex=True, sharey=True)
    colours = np.where(states[0, :, :, 0] > 0, "C3", "C0")
    for row, step in zip(axes, moments, strict=True):
        for number, ax in enumerate(row):
            ax.scatter(*states[step, :, number].T, s=6, c=colours[:, number], rasterized=True)
            ax.set(xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), aspect="equal")
        row[0].set(ylabel=f"after {step} steps\nvelocity")
    for ax, name in zip(axes[0], REGIMES, strict=True):
        ax.set_title(name, fontsize="small")
    plt.setp(axes[-1], xlabel="position")
    return figure
