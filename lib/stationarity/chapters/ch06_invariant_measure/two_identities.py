"""Two identities of the invariant measure, measured on softmax regression.

SGD with momentum and weight decay in PyTorch's convention,

    b ← β b + g,    θ ← θ − η b,

where ``g`` is a minibatch gradient of the objective with decay. Several chains
run at once, each with its own minibatches. Book: chapter 6.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from torch import Tensor

from ...runs import metrics
from ...stats.estimate import mean_and_error
from .softmax_regression import Problem, batches, inner, load

if TYPE_CHECKING:
    from ...runs.checkpoints import Keeper, Place
    from ...runs.progress import Progress
    from .settings import Identities

SAMPLINGS = ("independent", "reshuffled")
MEASURED = (  # at every stride-th step, over all examples
    "full_product", "gain", "full_gain", "second_order", "loss", "objective",
    "gradient_norm_squared",
)  # fmt: skip


def two_identities(settings: Identities, place: Place) -> list[tuple]:
    """Measure both identities, in both forms, under both samplings.

    Rows are of the sampling; errors are standard errors over the independent chains.
    For each window of time, ``step`` being its end:

    - ``minibatch_ratio``, ``full_ratio``: mean θ·g, and mean θ·∇f, over
      η (1+β)/2 times the mean of ‖b‖²;
    - ``drift``: 1 less the first, by :func:`drift`;
    - ``minibatch_budget``, ``full_budget``: first-order gain over second-order
      loss, the gain with the buffer's last gradient, and with ∇f in its place;
    - ``mean_loss``, ``mean_gradient_norm_squared``, ``mean_weight_square`` ‖θ‖² and
      ``mean_buffer_square`` ‖b‖²: means over the window.

    At the measured steps ``loss``, ``objective``, ``gradient_norm_squared`` and
    ``weight_norm``.
    """
    problem, rows = load(settings, place.data_root, place.device), []
    with place.keeper.progress("two_identities", 2 * settings.edges[-1]) as progress:
        for sampling in SAMPLINGS:

            def measured() -> list[tuple]:
                kept = chain(problem, settings, sampling, progress, place.keeper)
                return windows(kept, settings, sampling) + _course(kept, settings, sampling)

            rows += place.keeper.part(sampling, measured)
    return rows


def chain(
    problem: Problem, settings: Identities, sampling: str, progress: Progress, keeper: Keeper
) -> dict[str, Tensor]:
    """Run the chains from zero weights; return what the identities need.

    At every step, (steps, R): ``minibatch_product`` θ·g, ``buffer_square`` ‖b‖²;
    before every step and after the last, (steps + 1, R): ``weight_square`` ‖θ‖²
    and ``buffer_product`` θ·b of the buffer before the update. At every
    ``stride``-th step, (measured, R): ``full_product`` θ·∇f, ``gain`` and
    ``full_gain``, ∇f·b with the buffer's own last gradient and with ∇f in its
    place, ``second_order`` of the step, ``loss``, ``objective``,
    ``gradient_norm_squared`` ‖∇f‖².
    """
    steps, rate, beta = settings.edges[-1], settings.learning_rate, settings.momentum
    shape = (settings.replicates, problem.inputs.shape[1], problem.targets.shape[1])
    lengths = {
        "minibatch_product": steps, "buffer_square": steps, "weight_square": steps + 1,
        "buffer_product": steps + 1, **dict.fromkeys(MEASURED, -(-steps // settings.stride)),
    }  # fmt: skip
    zeros = problem.inputs.new_zeros
    first, weights, buffer, kept = keeper.begin(
        step=0, weights=zeros(shape), buffer=zeros(shape),
        kept={name: zeros(length, settings.replicates) for name, length in lengths.items()},
    )  # fmt: skip

    def note(row: int, **values):
        for name, value in values.items():
            kept[name][row] = value

    drawn = batches(settings, sampling, steps, problem.inputs.device)
    for step, chosen in enumerate(itertools.islice(drawn, first, None), first):
        gradient = problem.gradient(weights, chosen)
        previous, buffer = buffer, beta * buffer + gradient
        note(
            step,
            weight_square=inner(weights, weights),
            buffer_product=inner(weights, previous),
            minibatch_product=inner(weights, gradient),
            buffer_square=inner(buffer, buffer),
        )
        if step % settings.stride == 0:
            full, loss = problem.gradient(weights), problem.losses(weights)
            note(
                step // settings.stride,
                full_product=inner(weights, full),
                gain=inner(full, buffer),
                full_gain=inner(full, beta * previous + full),
                second_order=problem.second_order(weights, -rate * buffer),
                loss=loss,
                objective=loss + problem.weight_decay / 2 * inner(weights, weights),
                gradient_norm_squared=inner(full, full),
            )
        weights = weights - rate * buffer
        progress.advance()
        keeper.keep(step=step + 1, weights=weights, buffer=buffer, kept=kept)
    note(steps, weight_square=inner(weights, weights), buffer_product=inner(weights, buffer))
    return {name: values.cpu() for name, values in kept.items()}


def drift(kept: dict, settings: Identities, begin: int, end: int) -> Tensor:
    """Return 1 less the minibatch form of the ratio, (R,), from the ends of a window.

    By the pathwise identity the ratio of Σ θ·g to η (1+β)/2 Σ ‖b‖² differs from 1
    by what ‖θ‖² and θ·b changed between steps ``begin`` and ``end`` (book: chapter 6).
    """
    rate, beta = settings.learning_rate, settings.momentum
    squares, products = (
        kept[name][end] - kept[name][begin] for name in ("weight_square", "buffer_product")
    )
    boundary = (1 - beta) / (2 * rate) * squares - beta * products
    return boundary / (rate * (1 + beta) / 2 * kept["buffer_square"][begin:end].sum(0))


def windows(kept: dict, settings: Identities, sampling: str) -> list[tuple]:
    """Return the rows of the windows of time, for what :func:`chain` has kept."""
    rate, beta, rows = settings.learning_rate, settings.momentum, []
    for begin, end in itertools.pairwise((0, *settings.edges)):
        steps = slice(begin, end)
        measured = slice(-(-begin // settings.stride), -(-end // settings.stride))
        means = {
            name: values[measured if name in MEASURED else steps].mean(0)
            for name, values in kept.items()
        }
        squares = rate * (1 + beta) / 2 * means["buffer_square"]
        second = means["second_order"]
        ratios = {
            "minibatch_ratio": (means["minibatch_product"], squares),
            "full_ratio": (means["full_product"], squares),
            "drift": (drift(kept, settings, begin, end) * squares, squares),
            "minibatch_budget": (rate * means["gain"], second),
            "full_budget": (rate * means["full_gain"], second),
        }
        found = {name: _ratio(*two) for name, two in ratios.items()}
        for name in ("loss", "gradient_norm_squared", "weight_square", "buffer_square"):
            found[f"mean_{name}"] = mean_and_error(means[name])
        for name, pair in found.items():
            rows += metrics.rows(name, *pair, of=sampling, step=end, epoch=settings.epochs)
    return rows


def _course(kept: dict, settings: Identities, sampling: str) -> list[tuple]:
    rows, norms = [], kept["weight_square"][: -1 : settings.stride].sqrt()
    courses = {name: kept[name] for name in ("loss", "objective", "gradient_norm_squared")}
    for name, values in (courses | {"weight_norm": norms}).items():
        errors = values.std(1) / settings.replicates**0.5
        steps = range(0, settings.edges[-1], settings.stride)
        at = {"of": sampling, "step": steps, "epoch": settings.epochs}
        rows += metrics.rows(name, values.mean(1), errors, **at)
    return rows


def _ratio(above: Tensor, below: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ratio of two means over chains and its standard error (delta method)."""
    ratio = above.mean() / below.mean()
    return ratio, (above - ratio * below).std() / below.mean() / len(above) ** 0.5
