"""Figures of chapter 11: modified loss, currents, and the rotation that they cause."""

import base64
import html
import io
import math

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ... import theory as langevin
from ...runs.records import Run
from ..plots import WIDTH, panels
from . import currents, study

LINE = {"color": "0.25", "linewidth": 1.2, "zorder": 1}
DOTTED = {"color": "0.45", "linewidth": 1, "linestyle": ":", "zorder": 0}
BARS = {"linestyle": "none", "marker": "o", "markersize": 4, "capsize": 2}
LEVELS = (0.5, 2.0, 4.5)  # of Ψ: one, two and three standard deviations


def regimes(run: Run) -> dict[str, int]:
    """Return an underdamped, a nearly critical and an overdamped mode of a run.

    Of the underdamped modes the second one: its rotation can be seen.
    """
    curvature = run.series(f"curvature ({study.NOISES[0]})").value
    rate, beta = run.settings["learning_rate"], run.settings["momentum"]
    critical = (1 - math.sqrt(beta)) ** 2 / rate
    nearest = int(np.abs(np.log(curvature / critical)).argmin())
    return {"underdamped": 1, "critical": nearest, "overdamped": len(curvature) - 1}


def mode_of(run: Run, number: int) -> tuple[float, float, float, float]:
    """Return curvature, learning rate, noise variance and momentum of a mode."""
    label = study.NOISES[0]
    curvature, noise = (
        float(run.series(f"{name} ({label})").value[number])
        for name in ("curvature", "noise_variance")
    )
    return curvature, run.settings["learning_rate"], noise, run.settings["momentum"]


def portraits(run: Run) -> Figure:
    """Draw density and motion in phase space of a mode in each regime of damping.

    Arrows: dark, by the current of the theory; red, measured in the run's first
    ensemble; both are displacements in a step, enlarged alike. Line: one path.
    """
    figure, axes = panels(1, 3, height=3.1, sharey=True)
    path = paths(run, members=1, steps=40)[:, 0]
    centres = (study.EDGES[1:] + study.EDGES[:-1]) / 2
    grid = np.linspace(-2.9, 2.9, 49)
    for place, (name, number) in enumerate(regimes(run).items()):
        ax, mode = axes[0, place], mode_of(run, number)
        scale = np.sqrt(np.diag(langevin.limiting_covariance(*mode)))
        states = np.stack(np.meshgrid(grid, grid, indexing="xy"), -1) * scale
        density = currents.density(states, *mode)
        density = density / density.max()
        ax.contourf(
            grid, grid, density, np.linspace(0.03, 1, 9), cmap="Blues", alpha=0.8
        )
        label = f"({study.NOISES[0]}, mode {number})"
        position = run.series(f"motion_position {label}")
        motion = np.stack(
            [position.value, run.series(f"motion_velocity {label}").value], -1
        )
        places = np.stack(np.divmod(position.step.to_numpy(), len(centres)), -1)
        places = centres[places]
        inner = np.hypot(*places.T) < 2.2
        places, motion = places[inner], motion[inner]
        curvature, rate, _, beta = mode
        omega = math.sqrt(2 * rate * curvature / (1 + beta))
        theory = omega * np.stack([places[:, 1], -places[:, 0]], -1)
        arrows = {
            "angles": "xy",
            "scale_units": "xy",
            "width": 0.008,
            "scale": 4.2 * omega,
        }
        ax.plot(*path[:, place].T, color="0.35", linewidth=0.7)
        ax.quiver(*places.T, *theory.T, color="0.15", **arrows)
        ax.quiver(
            *places.T, *motion.T, color="C3", **arrows | {"width": 0.004}, zorder=3
        )
        ax.set(xlabel="position / its deviation", aspect="equal")
        ax.set_title(f"{name}, ηω = {omega:.2g}", fontsize="small")
        ax.grid(visible=False)
    axes[0, 0].set(ylabel="velocity / its deviation")
    return figure


def losses(curvature=(4.0, 1.0), rate=0.05, momentum=0.9) -> Figure:
    """Draw level sets of a training loss and of the modified loss, for two noises.

    Two modes; on the left and right the noise is isotropic and like the Hessian.
    """
    figure, axes = panels(1, 2, height=3.3, sharey=True)
    curvature = np.array(curvature)
    grid = np.linspace(-3.2, 3.2, 161)
    position = np.stack(np.meshgrid(grid, grid), -1)
    loss = (position**2 @ curvature) / 2
    for ax, noise, name in zip(
        axes[0], (np.full(2, curvature.mean()), curvature),
        ("isotropic noise", "noise like the Hessian"), strict=True,
    ):  # fmt: skip
        # In units that make the modified loss ½ ‖θ‖² where the noise is like the Hessian.
        unit = math.sqrt(rate / (2 * (1 - momentum)))
        psi = currents.modified_loss(
            position * unit, np.zeros_like(position), curvature, rate, noise, momentum
        )
        ax.contour(grid, grid, loss, np.array([1, 4, 9]) / 2 * 1.6, colors="0.45",
                   linestyles="--", linewidths=1)  # fmt: skip
        ax.contour(grid, grid, psi, LEVELS, colors="C0", linewidths=1.6)
        ax.set(xlabel="position in mode 1 (no unit)", aspect="equal", title=name)
        ax.plot([], [], "--", color="0.45", linewidth=1, label="training loss")
        ax.plot([], [], color="C0", linewidth=1.6, label="modified loss")
    axes[0, 0].set(ylabel="position in mode 2 (no unit)")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False)
    return figure


def temperatures(ensembles: dict[str, tuple[Run, str]]) -> Figure:
    """Draw the temperature of each mode, by its positions and by its velocities.

    h E θ² and m E v² over the geometric mean of the predicted temperatures; line:
    continuous theory; dashed: exact. ``ensembles`` maps a name to a run and a label.
    """
    figure, axes = panels(1, len(ensembles), height=3.3, sharey=True)
    for ax, (name, (run, label)) in zip(axes[0], ensembles.items(), strict=True):
        found, rate = study.table(run, label), run.settings["learning_rate"]
        step, level = rate * found.curvature, math.exp(np.log(found.temperature).mean())
        for shift, kind, text in (
            (0.96, "energy", "position"),
            (1.04, "kinetic", "velocity"),
        ):
            ax.errorbar(
                step * shift, found[kind] / level, 1.96 * found[f"{kind}_error"] / level,
                label=text, **BARS,
            )  # fmt: skip
        ax.plot(step, found.temperature / level, label="modified loss", **LINE)
        exact = found.curvature * found.mode_variance_exact / level
        ax.plot(step, exact, label="exact", **DOTTED | {"linestyle": "--"})
        ax.axhline(
            1, label="one temperature (Gibbs)", color="C3", linestyle=":", zorder=0
        )
        ax.set(xlabel="ηh (no unit)", xscale="log", yscale="log")
        ax.set_title(name, fontsize="small")
    axes[0, 0].set(ylabel="temperature over its mean")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=5, frameon=False,
                  fontsize="x-small")  # fmt: skip
    return figure


def rotations(run: Run) -> Figure:
    """Draw how far each mode turns in a step, and the lagged rotation of some modes."""
    names = list(study.labels(run).items())
    figure, ((left, right),) = panels(1, 2, height=3.4)
    for index, (label, _) in enumerate(
        names if "momenta" in run.settings else names[:1]
    ):
        found = study.table(run, label)
        rate = run.settings["learning_rate"]
        step = rate * found.curvature
        left.errorbar(
            step, found.rotation, 1.96 * found.rotation_error, color=f"C{index}",
            label=label, **BARS,
        )  # fmt: skip
        left.plot(step, found.rotation_exact, **LINE)
        left.plot(step, found.rotation_limit, **DOTTED | {"linestyle": "--"})
        pairs = found.iloc[:-1]
        left.errorbar(
            step[:-1], pairs.position_rotation, 1.96 * pairs.position_rotation_error,
            color=f"C{index}", alpha=0.6, label="two positions", **BARS | {"marker": "s"},
        )  # fmt: skip
        left.plot(
            step[:-1], pairs.position_rotation_exact, "_", color="0.25", markersize=9
        )
    label, beta = names[0]
    curvature = run.series(f"curvature ({label})").value
    for index, number in enumerate((1, len(curvature) // 2, len(curvature) - 1)):
        rows = run.series(f"rotation_at ({label}, mode {number})")
        h = curvature[number]
        text = f"ηh = {rate * h:.2g}"
        every = max(1, len(rows) // 30)
        right.errorbar(
            rows.step[::every], rows.value[::every], 1.96 * rows.error[::every],
            color=f"C{index}", label=text, **BARS | {"markersize": 3},
        )  # fmt: skip
        exact = currents.discrete_rotation(rows.step, h, rate, beta)
        right.plot(rows.step, exact, **LINE)
    right.axhline(0, **DOTTED)
    left.set(xlabel="ηh (no unit)", ylabel="rotation in a step (no unit)", xscale="log")
    left.set_yscale("symlog", linthresh=1e-3)
    right.set(xlabel="lag (steps)", ylabel="rotation after the lag (no unit)")
    left.legend(fontsize="x-small")
    right.legend(fontsize="x-small")
    return figure


def spectra(run: Run) -> Figure:
    """Draw measured and exact power spectra of the modes of the first ensemble."""
    figure, ((ax,),) = panels(1, 1, height=3.8)
    label, beta = next(iter(study.labels(run).items()))
    found, rate = study.table(run, label), run.settings["learning_rate"]
    for number, row in found.iterrows():
        series = run.series(f"spectrum ({label}, mode {number})")
        frequency = 2 * np.pi * series.step / run.settings["segment"]
        shown = (series.step > 1) & (frequency < np.pi)
        frequency, series = frequency[shown], series[shown]
        power = series.value / row.mode_variance_exact
        color = f"C{number}"
        ax.plot(frequency, power, color=color, linewidth=1, alpha=0.7)
        exact = currents.power_spectrum(
            frequency, row.curvature, rate, row.noise_variance, beta
        )
        ax.plot(frequency, exact / row.mode_variance_exact, **LINE | {"linewidth": 0.8})
        peak, angle = row.spectrum_peak_exact, row.mode_frequency_exact
        for place, mark in ((peak, "v"), (angle, "|")):
            if place > 0:
                height = currents.power_spectrum(
                    [place], row.curvature, rate, row.noise_variance, beta
                ) / row.mode_variance_exact  # fmt: skip
                ax.plot(place, height, mark, color=color, markersize=8, zorder=4)
        ax.plot([], [], color=color, label=f"ηh = {rate * row.curvature:.2g}")
    ax.set(xlabel="frequency (rad/step)", ylabel="power over variance", xscale="log",
           yscale="log")  # fmt: skip
    ax.legend(fontsize="x-small", ncols=2)
    return figure


def frequencies(ensembles: dict[str, tuple[Run, str]]) -> Figure:
    """Draw measured over exact frequencies and spectral peaks of each mode.

    ``ensembles`` maps a name to a run and the label of one of its ensembles.
    """
    figure, axes = panels(1, len(ensembles), height=3.4, sharey=True)
    for ax, (name, (run, label)) in zip(axes[0], ensembles.items(), strict=True):
        found = study.table(run, label)
        step = run.settings["learning_rate"] * found.curvature
        for index, (quantity, text) in enumerate(
            (
                ("mode_frequency", "oscillation"),
                ("spectrum_peak", "peak of the spectrum"),
            )
        ):
            exact = found[f"{quantity}_exact"]
            ax.errorbar(
                step * (0.97, 1.03)[index], found[quantity] / exact,
                1.96 * found[f"{quantity}_error"] / exact, label=text,
                **BARS | {"marker": "os"[index]},
            )  # fmt: skip
        limit = found.mode_frequency_limit / found.mode_frequency_exact
        ax.plot(step, limit, "^", color="0.4", markersize=5, label="continuous theory")
        ax.axhline(1, **DOTTED)
        ax.set(xlabel="ηh (no unit)", xscale="log", title=name)
    axes[0, 0].set(ylabel="over the exact prediction")
    handles, texts = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside upper center", ncols=3, frameon=False)
    return figure


def paths(run: Run, members: int = 120, steps: int = 48) -> NDArray:
    """Return a stationary ensemble in phase space, (steps + 1, members, 3, 2).

    One mode of each regime of damping, with the settings of the run; positions and
    velocities are over their standard deviations.
    """
    numbers = list(regimes(run).values())
    curvature, noise = (
        np.array([mode_of(run, number)[place] for number in numbers])
        for place in (0, 2)
    )
    rate, beta, burn = *mode_of(run, 0)[1::2], run.settings["burn_in"]
    positions = langevin.simulate(
        curvature, [rate] * (burn + steps), noise, trajectories=members, momentum=beta,
        recorded=range(burn - 1, burn + steps + 1), seed=run.settings["seed"],
    )  # fmt: skip
    states = np.stack([positions[1:], np.diff(positions, axis=0) / rate], -1)
    covariance = langevin.stationary_covariance(curvature, rate, noise, beta)
    return states / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))


def ensemble(states: NDArray, moments=(0, 4, 12)) -> Figure:
    """Draw the ensemble of :func:`paths` at some steps, a row each."""
    figure, axes = panels(len(moments), 3, height=2.1, sharex=True, sharey=True)
    colours = _colours(states)
    for row, step in zip(axes, moments, strict=True):
        for ax, points, own, name in zip(
            row, states[step].swapaxes(0, 1), colours, REGIMES, strict=True
        ):
            ax.scatter(*points.T, s=6, c=own)
            _frame_of(ax, name if step == moments[0] else "")
        row[0].set(ylabel=f"after {step} steps\nvelocity")
    for ax in axes[-1]:
        ax.set(xlabel="position")
    return figure


REGIMES = ("underdamped", "critical", "overdamped")


def animation(states: NDArray, milliseconds: int = 90) -> bytes:
    """Return an animation of :func:`paths` as a WebP file, a step a frame, for ever."""
    with plt.rc_context({"figure.constrained_layout.use": False}):
        figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 2.9), dpi=90, sharey=True)
        figure.subplots_adjust(
            left=0.09, right=0.99, top=0.88, bottom=0.19, wspace=0.06
        )
    dots = []
    for ax, name, colours in zip(axes, REGIMES, _colours(states), strict=True):
        _frame_of(ax, name)
        ax.set(xlabel="position / its deviation")
        dots.append(ax.scatter(*states[0, :, 0].T, s=9, c=colours, animated=True))
    axes[0].set(ylabel="velocity / its deviation")
    text = axes[0].text(
        0.03, 0.92, "", transform=axes[0].transAxes, fontsize="small", animated=True
    )
    figure.canvas.draw()
    background, frames = figure.canvas.copy_from_bbox(figure.bbox), []
    for step, state in enumerate(states):
        figure.canvas.restore_region(background)
        text.set_text(f"step {step}")
        axes[0].draw_artist(text)
        for ax, dot, points in zip(axes, dots, state.swapaxes(0, 1), strict=True):
            dot.set_offsets(points)
            ax.draw_artist(dot)
        frames.append(Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3]))
    plt.close(figure)
    # Sixteen colours: half the size.
    palette = frames[0].quantize(16)
    frames = [one.quantize(palette=palette, dither=0).convert("RGB") for one in frames]
    file = io.BytesIO()
    frames[0].save(
        file, "WEBP", save_all=True, append_images=frames[1:], duration=milliseconds,
        loop=0, lossless=True, method=1,
    )  # fmt: skip
    return file.getvalue()


def playable(states: NDArray, alt: str) -> str:
    """Return HTML that shows the ensemble at rest, and moves it when it is told to.

    Nothing moves before the reader opens it, and it stops when it is closed. In print
    the still remains.
    """
    figure = ensemble(states)
    still = io.BytesIO()
    figure.savefig(still, format="webp", dpi=110, pil_kwargs={"quality": 85})
    plt.close(figure)
    moving, still = (
        f"data:image/webp;base64,{base64.b64encode(one).decode()}"
        for one in (animation(states), still.getvalue())
    )
    alt = html.escape(alt, quote=True)
    return (
        f'<img src="{still}" alt="{alt}" style="width: 100%">\n'
        "<details><summary>Play the animation (close it to stop)</summary>\n"
        f'<img src="{moving}" alt="The same, moving: a step a frame." style="width: 100%">\n'
        "</details>"
    )


def _colours(states: NDArray) -> NDArray:
    """Colour every point by its angle at the start: one half orange, one blue."""
    start = states[0].swapaxes(0, 1)  # (3, members, 2)
    return np.where(start[..., 0] > 0, "#d55e00", "#0173b2")


def _frame_of(ax, title: str) -> None:
    ax.set(xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), aspect="equal")
    ax.set_title(title, fontsize="small")
