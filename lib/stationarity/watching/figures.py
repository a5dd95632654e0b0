"""The figures of a report, each as SVG that takes its colours from the page.

Text and axes have the colour of the page's text, so that they are read on light and on dark.
"""

import io
import re
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..chapters.levels import VANISHED, squared_norm
from ..chapters.plots import DASHED, THRESHOLD, intervals, legend_above, points, use_style
from ..errors import UsageError
from ..runs.records import Run
from ..stats.estimate import NORMAL
from . import diffusion
from .drifts import blocks
from .limits import EDGE
from .watched import Watched

INK = "#010203"  # stands for the page's text colour until the SVG is written
BLUE, ORANGE = "#2f7fc1", "#d9730d"  # seen on white and on black
SIZE = (4.0, 2.6)  # inches: what a phone shows without making the text small
NAIVE = {"color": "0.55", "linewidth": 1, "markersize": 3, "label": "naive"}
MEANS = 300  # of a series of every step, that are drawn


def svg(draw: Callable, run: Run, seen: Watched, key: str, alt: str) -> str:
    """Return a figure as an SVG element whose ids begin with ``key``; "" if there is none."""
    with plt.rc_context():
        use_style()
        plt.rc("figure", figsize=SIZE)
        ink = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
        plt.rcParams.update(dict.fromkeys(ink, INK))
        plt.rcParams.update({"grid.color": INK, "grid.alpha": 0.15, "axes.facecolor": "none"})
        plt.rcParams.update({"figure.facecolor": "none", "font.size": 10, "svg.hashsalt": key})
        plt.rcParams.update({"legend.frameon": False, "legend.fontsize": 9})
        figure, axes = plt.subplots()
        try:
            draw(axes, run, seen)
            file = io.StringIO()
            nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
            figure.savefig(file, format="svg", metadata=nothing)
        except UsageError:
            return ""
        finally:
            plt.close(figure)
    return _inline(file.getvalue(), key, alt)


def _inline(drawn: str, key: str, alt: str) -> str:
    """Return an SVG file as an element of a page that has several."""
    element = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", element)
    opening = re.search(r'viewBox="[^"]*"', element)[0]
    return re.sub(
        r"<svg[^>]*>",
        lambda _: (
            f'<svg role="img" aria-label="{alt}" {opening}'
            ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns="http://www.w3.org/2000/svg">'
        ),
        element,
        count=1,
    )


def _along(axes: Axes, run: Run, seen: Watched, label: str) -> None:
    axes.axvspan(seen.first, seen.last, color=BLUE, alpha=0.12, linewidth=0)
    axes.set(xlabel="step", ylabel=label)
    axes.locator_params(axis="x", nbins=5)


def _every_step(run: Run, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    series = run.series(quantity)
    return blocks(series.step, MEANS), blocks(series.value, MEANS)


def loss(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot the minibatch loss, in means of blocks, and the measured loss."""
    _along(axes, run, seen, "loss")
    axes.plot(*_every_step(run, "loss"), color="0.55", linewidth=1, label="minibatches")
    if run.has("mean_loss"):
        mean = run.series("mean_loss")
        points(axes, mean.step, mean.value, mean.error, color=BLUE, label="measured")
    lines = np.concatenate([line.get_ydata() for line in axes.lines])
    if lines.min() > 0 and lines.max() > 10 * lines.min():
        axes.set_yscale("log")
    legend_above(axes.figure, axes, 3)


def gradient(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot the unbiased and the naive norm; what is not positive lies at the lower end."""
    square, naive = run.series("gradient_norm_squared"), run.series("gradient_norm_naive")
    if not square.value.iloc[0] > 0:
        raise UsageError("The gradient at the start is not told from zero.")
    _along(axes, run, seen, "gradient norm")
    norm = squared_norm(square.value, square.error, naive.value**2 - square.value).root()
    gone = VANISHED * np.sqrt(square.value.iloc[0])
    least = min(gone, norm.value[norm.value > 0].min()) / 2
    axes.plot(naive.step, naive.value.clip(least), "s--", **NAIVE)
    ends = (one.clip(least) for one in norm)
    intervals(axes, square.step, *ends, color=BLUE, markersize=3, label="unbiased")
    axes.axhline(gone, label=f"{VANISHED:.0%} of the start", **ink(THRESHOLD))
    axes.set_yscale("log")
    legend_above(axes.figure, axes, 3)


def ink(style: dict) -> dict:
    """Return a line style of the book in the colour of the page's text."""
    return style | {"color": INK}


def weights(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot the squares of the weights and of a step, each over its mean in the window."""
    _along(axes, run, seen, "over the window's mean")
    for name, label, style in (
        ("update_square", "‖step‖²", {"color": ORANGE, "linewidth": 0.8}),
        ("weight_square", "‖θ‖²", {"color": BLUE, "linewidth": 2}),
    ):
        steps, values = _every_step(run, name)
        axes.plot(steps, values / seen.of(name).values.mean(), label=label, **style)
    axes.set_ylim(0, 3)
    axes.axhline(1, **ink(DASHED))
    legend_above(axes.figure, axes, 3)


def spread(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot the squared displacement against the lag, with that of Brownian motion."""
    moved = diffusion.displacements(seen.sketch)
    lags, mean = moved.lags * seen.sketch_every, moved.squares.mean(0)
    fitted = moved.lags >= moved.lags[-1] * diffusion.WINDOW[0]
    axes.loglog(lags, mean, "o", color="0.55", label="measured")
    axes.loglog(lags[fitted], mean[fitted], "o", color=BLUE, label="fitted")
    axes.loglog(lags, mean[-1] * lags / lags[-1], label="Brownian", **ink(DASHED))
    axes.set(xlabel="lag (steps)", ylabel="squared displacement")
    legend_above(axes.figure, axes, 3)


def edge(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot the sharpness, and what fresh batches have of it, over the largest stable one."""
    stable, highest = run.series("stable_sharpness").value, 0.0
    drawn = {"sharpness": ("few batches", BLUE)}
    if run.has("fresh_curvature"):
        drawn["fresh_curvature"] = "fresh ones", ORANGE
    _along(axes, run, seen, "sharpness / stable one")
    for name, (label, color) in drawn.items():
        top = run.series(name)
        if len(top) != len(stable):
            raise UsageError("The two are measured at different steps.")
        share, error = top.value / stable, np.nan_to_num(top.error / stable, posinf=0.0)
        points(axes, top.step, share, error, color=color, label=label)
        highest = max(highest, share[top.step >= seen.first].max())
    for end in EDGE:
        axes.axhline(end, **ink(THRESHOLD))
    axes.set_ylim(0, 1.3 * max(EDGE[1], highest))  # Adam's first steps are far above
    legend_above(axes.figure, axes, 2)


def batch(axes: Axes, run: Run, seen: Watched) -> None:
    """Plot noise and signal, squares of norms; what is not positive lies at the lower end."""
    noise, square = run.series("noise_norm"), run.series("gradient_norm_squared")
    _along(axes, run, seen, "squared norm")
    shown = [noise.value**2, square.value]
    positive = np.concatenate([one[one > 0] for one in shown])
    if not len(positive):
        raise UsageError("Neither noise nor signal is positive.")
    least = positive.min() / 2
    axes.plot(
        noise.step,
        shown[0].clip(lower=least),
        "s--",
        color=ORANGE,
        markersize=3,
        label="noise σ²",
    )
    low, high = (square.value + side * NORMAL * square.error for side in (-1, 1))
    ends = (one.clip(lower=least) for one in (square.value, low, high))
    intervals(axes, square.step, *ends, color=BLUE, markersize=3, label="signal ‖∇L‖²")
    axes.set(yscale="log")
    legend_above(axes.figure, axes, 3)


DRAWN = {  # of each question: how its figure is drawn, and what one sees there
    "loss": (loss, "The loss against the step; the window that is judged is shaded"),
    "gradient": (gradient, "The unbiased and the naive gradient norm against the step"),
    "weights": (weights, "The squared norms of the weights and of a step against the step"),
    "spread": (spread, "The squared displacement against the lag, on logarithmic axes"),
    "edge": (
        edge,
        "The sharpness of few batches and of fresh ones, over the largest stable one",
    ),
    "batch": (batch, "The noise and the signal of minibatch gradients against the step"),
}
