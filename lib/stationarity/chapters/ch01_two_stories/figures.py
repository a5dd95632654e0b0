"""Figures of chapter 1: descent that ends, and noise that does not."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray
from scipy.stats import norm

from ...runs.records import Run
from ..plots import DOTTED, THEORY, legend_above, mark_drops, panels, points
from . import reading
from .study import named, schedule


def descent(run: Run, objective: NDArray, bound: NDArray) -> Figure:
    """Draw the objective and the squared gradient norms of full-batch descent.

    ``objective`` and ``bound`` have one value for each measured step. An infinite bound is
    not drawn.
    """
    figure, ((left, right),) = panels(1, 2, height=3.6)
    loss = run.series("loss")
    for losses, quantity, fmt, label in (
        (objective, "regularised_gradient_norm_squared", "C0o-", "objective, with decay"),
        (loss.value, "gradient_norm_squared", "C1s--", "loss alone"),
    ):
        points(left, loss.step, losses, fmt=fmt, label=label)
        rows = run.series(quantity)
        points(right, rows.step, rows.value, rows.error, fmt=fmt, label=label)
    left.set(xlabel="step", ylabel="loss (nats)", yscale="log")
    if np.isfinite(bound).all():
        right.plot(loss.step, bound, **THEORY, label="bound of the theorem")
        left.plot([], [], **THEORY, label="bound of the theorem")
    right.set(xlabel="step", ylabel="squared norm (nats² per unit²)", yscale="log")
    legend_above(figure, left, 3)
    return figure


def plateaus(run: Run) -> Figure:
    """Draw mean loss and mean squared gradient norm of ensembles at constant rates."""
    figure, axes = panels(1, 2, height=3.6)
    names = {"loss": "loss", "gradient_norm_squared": "squared\ngradient norm"}
    for ax, (quantity, name) in zip(axes[0], names.items(), strict=True):
        for rate in run.settings.learning_rates:
            _against_theory(ax, run, rate, quantity, lambda k: np.floor(6 * np.log10(k)))
            ax.axhline(reading.stationary(run.settings, rate)[quantity], **DOTTED)
        ax.set(xlabel="step", ylabel=f"mean {name} (no unit)", xscale="log", yscale="log")
    legend_above(figure, axes[0, 0], 3)
    return figure


def variances(run: Run) -> Figure:
    """Draw the stationary variance by learning rate, and its relative error."""
    figure, ((left, right),) = panels(1, 2, height=3.4)
    simulated = np.array(run.settings.learning_rates)
    rates = np.geomspace(simulated.min() / 2, simulated.max() * 1.6)
    curve, exact = (
        np.array([reading.stationary(run.settings, rate)["variance"] for rate in chosen])
        for chosen in (rates, simulated)
    )
    left.plot(rates, curve, **THEORY)
    for index, h in enumerate(run.settings.curvatures):
        rows = run.series("late_variance", index=index)
        style = _style(index, f"h = {h:g}")
        points(left, simulated, rows.value, rows.error, **style)
        scale, shifted = 100 / exact[:, index], simulated * 1.04 ** (2 * index - 1)
        points(right, shifted, scale * rows.value - 100, scale * rows.error, **style)
    right.axhline(0, **THEORY)
    left.set(ylabel="stationary variance (no unit)", yscale="log")
    right.set(ylabel="relative error (%)")
    for ax in (left, right):
        ax.set(xlabel="learning rate η", xscale="log")
        ax.set_xticks(simulated, [f"{rate:g}" for rate in simulated])
        ax.xaxis.set_minor_formatter(NullFormatter())
    left.legend(loc="upper left")
    return figure


def drops(run: Run) -> Figure:
    """Draw the mean loss of an ensemble whose learning rate drops."""
    figure, ((ax,),) = panels(1, 1, height=3.4)
    settings, rate = run.settings, run.settings.learning_rates[0]
    _against_theory(ax, run, rate, "loss", lambda steps: steps // 40)
    rates = schedule(settings, rate)
    for now in np.unique(rates):
        level, (steps,) = reading.stationary(settings, now)["loss"], np.nonzero(rates == now)
        ax.hlines(level, steps[0], steps[-1], **DOTTED)
        place = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
        ax.annotate(f"η = {now:g}", (steps[-1], level), (-4, 5), fontsize="small", **place)
    mark_drops(ax, np.nonzero(np.diff(rates))[0] + 1)
    ax.set(xlabel="step", ylabel="mean loss (no unit)", yscale="log")
    return figure


def settling(positions: dict, variance: float, steps: NDArray, path: NDArray) -> Figure:
    """Draw the distribution of one coordinate at several steps, and one trajectory.

    ``positions`` holds the ensemble's coordinates (R,) by step, ``variance`` is the
    stationary one, ``path`` (K,) the coordinate of one run at ``steps`` (K,).
    """
    figure, ((left, right),) = panels(1, 2, height=3.6)
    deviation, everything = variance**0.5, np.concatenate([*positions.values()])
    ends = min(everything.min(), -4 * deviation), max(everything.max(), 4 * deviation)
    style = {"bins": np.linspace(*ends, 70), "density": True, "histtype": "step"}
    for step, values in positions.items():
        left.hist(values, label=f"step {step}", **style)
    grid = np.linspace(*ends, 300)
    style = THEORY | {"linestyle": "--", "zorder": 5, "label": "stationary"}
    left.plot(grid, norm.pdf(grid, scale=deviation), **style)
    left.set(xlabel="position θ (no unit)", ylabel="density")
    legend_above(figure, left, 3)
    right.axhspan(-deviation, deviation, color="0.9", zorder=0)
    right.axhline(0, **DOTTED)
    right.plot(steps, path, linewidth=1)
    right.set(xlabel="step", ylabel="θ of one run (no unit)")
    return figure


def _against_theory(ax, run: Run, rate: float, quantity: str, bins) -> None:
    rows = run.series(quantity, of=named(rate))
    rows = rows[rows.step > 0]
    shown = rows[~bins(rows.step).duplicated()]
    style = _style(run.settings.learning_rates.index(rate), f"η = {rate:g}")
    points(ax, shown.step, shown.value, shown.error, capsize=0, **style)
    exact = reading.exact(run.settings, rate)[quantity]
    ax.plot(np.arange(1, len(exact)), exact[1:], **THEORY)


def _style(index: int, label: str) -> dict:
    return {"fmt": "os^Dv"[index % 5], "color": f"C{index}", "label": label}
