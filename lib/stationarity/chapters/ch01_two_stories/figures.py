"""Figures of chapter 1: descent that ends, and noise that does not."""

import itertools
import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from pandas import DataFrame, Series

from ...runs.records import Run
from ..plots import mark_drops, panels
from . import study
from .settings import NoisyQuadratic

EXACT = {"color": "0.25", "linewidth": 1.2, "zorder": 1}
LEVEL = {"color": "0.45", "linewidth": 1, "linestyle": ":", "zorder": 0}


def descent(run: Run, objective: NDArray, bound: NDArray) -> Figure:
    """Draw the objective and the squared gradient norms of full-batch descent.

    ``objective`` and ``bound`` have one value for each measured step. An
    infinite bound, that of too large a learning rate, is not drawn.
    """
    figure, ((left, right),) = panels(1, 2, height=3.6)
    steps = run.series("loss").step
    with_decay, alone = ({"fmt": "o-", "color": "C0"}, {"fmt": "s--", "color": "C1"})
    left.errorbar(steps, objective, **with_decay, label="objective, with decay")
    left.errorbar(steps, run.series("loss").value, **alone, label="loss alone")
    left.set(xlabel="step", ylabel="loss (nats)", yscale="log")
    for quantity, style in (
        ("regularised_gradient_norm_squared", with_decay),
        ("gradient_norm_squared", alone),
    ):
        rows = run.series(quantity)
        right.errorbar(rows.step, rows.value, 2 * rows.error, **style)
    if np.isfinite(bound).all():
        right.plot(steps, bound, **EXACT)
        left.plot([], [], **EXACT, label="bound of the theorem")
    right.set(xlabel="step", ylabel="squared norm (nats² per unit²)", yscale="log")
    _legend_above(figure, left)
    return figure


def descent_table(runs: list[Run]) -> DataFrame:
    """Return a table of full-batch runs: where the objective's gradient came to."""
    rows = []
    for run in runs:
        values = run.series("regularised_gradient_norm_squared").value
        rows.append(
            {
                "run": run.label,
                "steps": run.series("loss").step.iloc[-1],
                "first ‖∇f‖² (nats² per unit²)": f"{values.iloc[0]:.2e}",
                "last ‖∇f‖² (nats² per unit²)": f"{values.iloc[-1]:.2e}",
            }
        )
    return DataFrame(rows).set_index("run")


def plateaus(run: Run, settings: NoisyQuadratic) -> Figure:
    """Draw mean loss and mean squared gradient norm of ensembles at constant rates."""
    figure, axes = panels(1, 2, height=3.6)
    for ax, quantity, label in (
        (axes[0, 0], "loss", "mean loss (no unit)"),
        (axes[0, 1], "gradient_norm_squared", "mean squared\ngradient norm (no unit)"),
    ):
        for rate in settings.learning_rates:
            _against_theory(ax, run, settings, rate, quantity, _sixths_of_a_decade)
            ax.axhline(study.stationary(settings, rate)[quantity], **LEVEL)
        ax.set(xlabel="step", ylabel=label, xscale="log", yscale="log")
    _legend_above(figure, axes[0, 0])
    return figure


def variances(run: Run, settings: NoisyQuadratic) -> Figure:
    """Draw the stationary variance by learning rate, and its relative error."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    simulated = settings.learning_rates
    rates = np.geomspace(min(simulated) / 2, max(simulated) * 1.6)
    for index, h in enumerate(settings.curvatures):
        stationary = [study.stationary(settings, rate)["variance"] for rate in rates]
        left.plot(rates, np.array(stationary)[:, index], **EXACT)
        errors, values = [], []
        for rate in simulated:
            row = run.series(study.named("late_variance", rate, h)).iloc[-1]
            theory = study.stationary(settings, rate)["variance"][index]
            values.append((row.value, 2 * row.error))
            errors.append((100 * (row.value / theory - 1), 200 * row.error / theory))
        style = {"fmt": "os^Dv"[index % 5], "color": f"C{index}", "label": f"h = {h:g}"}
        left.errorbar(simulated, *np.transpose(values), **style)
        aside = np.array(simulated) * 1.04 ** (2 * index - 1)
        right.errorbar(aside, *np.transpose(errors), capsize=3, **style)
    right.axhline(0, **EXACT)
    left.set(ylabel="stationary variance (no unit)", yscale="log")
    right.set(ylabel="relative error (%)")
    for ax in (left, right):
        ax.set(xlabel="learning rate η", xscale="log")
        ax.set_xticks(simulated, [f"{rate:g}" for rate in simulated])
        ax.xaxis.set_minor_formatter(NullFormatter())
    left.legend(loc="upper left")
    return figure


def drops(run: Run, settings: NoisyQuadratic) -> Figure:
    """Draw the mean loss of an ensemble whose learning rate drops."""
    figure, ((ax,),) = panels(1, 1, height=3.4)
    rate = settings.learning_rates[0]
    _against_theory(ax, run, settings, rate, "loss", _forties)
    edges = [0, *(d for d in settings.drops if d < settings.steps), settings.steps]
    for start, end in itertools.pairwise(edges):
        now = study.schedule(settings, rate)[start]
        level = study.stationary(settings, now)["loss"]
        ax.hlines(level, start, end, **LEVEL)
        ax.annotate(
            f"η = {now:g}",
            (end, level),
            (-4, 5),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="small",
        )
    mark_drops(ax, edges[1:-1])
    ax.set(xlabel="step", ylabel="mean loss (no unit)", yscale="log")
    return figure


def settling(
    positions: dict[int, NDArray], variance: float, trajectory: dict
) -> Figure:
    """Draw the distribution of one coordinate at several steps, and one trajectory.

    ``positions`` holds the ensemble's coordinates (R,) by step, ``variance``
    is the stationary one, ``trajectory`` has ``step`` and ``position`` (K,).
    """
    figure, ((left, right),) = panels(1, 2, height=3.6)
    deviation = math.sqrt(variance)
    everything = np.concatenate(list(positions.values()))
    edges = np.linspace(
        min(everything.min(), -4 * deviation), max(everything.max(), 4 * deviation), 70
    )
    for index, (step, values) in enumerate(positions.items()):
        counts, _ = np.histogram(values, edges, density=True)
        left.stairs(
            counts, edges, color=f"C{index}", linewidth=1.4, label=f"step {step}"
        )
    grid = np.linspace(edges[0], edges[-1], 300)
    density = np.exp(-(grid**2) / (2 * variance)) / (deviation * math.sqrt(2 * math.pi))
    left.plot(
        grid, density, **EXACT | {"linestyle": "--", "zorder": 5}, label="stationary"
    )
    left.set(xlabel="position θ (no unit)", ylabel="density")
    _legend_above(figure, left)
    right.axhspan(-deviation, deviation, color="0.9", zorder=0)
    right.axhline(0, **LEVEL)
    right.plot(trajectory["step"], trajectory["position"], linewidth=1)
    right.set(xlabel="step", ylabel="θ of one run (no unit)")
    return figure


def _against_theory(
    ax: Axes, run: Run, settings: NoisyQuadratic, rate: float, quantity: str, bins
) -> None:
    """Draw means over trajectories, with two standard errors, and the exact curve.

    Of the recorded steps that ``bins`` puts together, the first is drawn.
    """
    rows = run.series(study.named(quantity, rate))
    rows = rows[rows.step > 0]
    index = settings.learning_rates.index(rate)
    shown = rows[~bins(rows.step).duplicated()]
    ax.errorbar(
        shown.step,
        shown.value,
        2 * shown.error,
        fmt="os^Dv"[index % 5],
        color=f"C{index}",
        label=f"η = {rate:g}",
    )
    exact = study.exact(settings, rate)[quantity]
    ax.plot(np.arange(1, len(exact)), exact[1:], **EXACT)


def _sixths_of_a_decade(steps: Series) -> Series:
    return (6 * np.log10(steps)).astype(int)


def _forties(steps: Series) -> Series:
    return steps // 40


def _legend_above(figure: Figure, ax: Axes, columns: int = 3) -> None:
    """Put the legend of the axes above the figure, where it covers nothing."""
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False
    )
