"""Two identities of the invariant measure, measured on softmax regression (chapter 6).

SGD is b ← β b + g, θ ← θ − η b. R independent chains run at once: weights are (R, D, C) for D
inputs and C classes, in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from scipy.special import roots_jacobi
from torch import Tensor

from ... import data
from ...runs import metrics
from ...stats.estimate import mean_and_error
from ..bootstrap import ratio_of_means

if TYPE_CHECKING:
    from ...runs.checkpoints import Keeper, Place
    from .settings import Identities

SAMPLINGS = ("replacement", "reshuffled")
EACH = ("weight_square", "buffer_product", "minibatch_product", "buffer_square")
MEASURED = (  # at every stride-th step, over all examples
    "full_product", "gain", "full_gain", "gradient_norm_squared", "second_order", "loss",
)  # fmt: skip


class Problem(NamedTuple):
    """The objective, cross-entropy with weight decay on n fixed examples."""

    inputs: Tensor  # (n, D), the last input is 1
    targets: Tensor  # (n, C), one-hot
    weight_decay: float

    def gradient(self, weights: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return gradients (R, D, C), over all examples or those ``chosen`` (R, B)."""
        inputs, targets = self.inputs, self.targets
        if chosen is not None:
            inputs, targets = inputs[chosen], targets[chosen]
        residual = torch.softmax(inputs @ weights, -1) - targets
        return inputs.mT @ residual / inputs.shape[-2] + self.weight_decay * weights

    def losses(self, weights: Tensor) -> Tensor:
        """Return the mean cross-entropies (R,) over all examples, in nats."""
        scores = self.inputs @ weights
        return (torch.logsumexp(scores, -1) - (scores * self.targets).sum(-1)).mean(-1)

    def second_order(self, weights: Tensor, step: Tensor) -> Tensor:
        """Return ∫₀¹ (1 − s) dᵀ H(θ + s d) d ds (R,) for the ``step`` d from ``weights``.

        H is the objective's Hessian. By Gauss-Jacobi with two nodes: the error is of fourth
        order in d.
        """
        scores, along = self.inputs @ weights, self.inputs @ step
        nodes, masses = roots_jacobi(2, 1, 0)
        total = self.weight_decay * inner(step, step) / 2
        for node, mass in zip((nodes + 1) / 2, masses / 4, strict=True):
            share = torch.softmax(scores + node * along, -1)
            mean = (share * along).sum(-1)
            curvature = (share * along**2).sum(-1) - mean**2
            total = total + mass * curvature.mean(-1)
        return total

    def bounds(self) -> tuple[float, float]:
        """Return a bound √2 max ‖x‖ of the loss's gradients, and λ + max ‖x‖² / 2 of slopes."""
        largest = self.inputs.square().sum(1).max().item()
        return math.sqrt(2 * largest), self.weight_decay + largest / 2


def load(settings: Identities, place: Place) -> Problem:
    """Return the problem of the settings, on pixels of root mean square norm 4 and a 1."""
    how = settings.model_dump(include={"examples", "label_noise"})
    how |= {"dtype": torch.float64, "batch_size": settings.examples}
    dataset = place.load(data.load, settings.dataset, **how)
    pixels, labels = data.whole(dataset.partition())
    pixels = pixels * (4.0 / pixels.square().sum(1).mean().sqrt())
    return Problem(
        torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1),
        torch.nn.functional.one_hot(labels, dataset.classes).double(),
        settings.weight_decay,
    )


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner products (R,) of two tensors (R, D, C)."""
    return (one * other).sum((1, 2))


def batches(settings: Identities, sampling: str, steps: int, device) -> Iterator[Tensor]:
    """Yield the examples (R, B) of each step's minibatches, by one of ``SAMPLINGS``."""
    replicates, examples, size = settings.replicates, settings.examples, settings.batch_size
    how = {"generator": torch.Generator(device).manual_seed(settings.seed), "device": device}
    for first in range(0, steps * size, size):
        place = first % examples
        if sampling == "replacement":
            yield torch.randint(examples, (replicates, size), **how)
            continue
        if place == 0:
            order = torch.rand(replicates, examples, **how).argsort(1)
        yield order[:, place : place + size]


def two_identities(settings: Identities, place: Place) -> list[tuple]:
    """Measure both identities, in both forms, under each of ``SAMPLINGS``. Rows are of it.

    At the end of each window of time: ``minibatch_ratio`` and ``full_ratio``, of θ·g and of
    θ·∇f to η (1+β)/2 ‖b‖²; ``minibatch_budget`` and ``full_budget``, first-order gain over
    second-order loss, with the buffer's last gradient and with ∇f in its place; ``drift``,
    1 less ``minibatch_ratio``; ``mean_`` ``loss``, ``gradient_norm_squared``,
    ``weight_square``, ``buffer_square``. At the measured steps ``loss``,
    ``gradient_norm_squared``, ``weight_norm``. Errors are standard errors over the chains.
    """
    problem, keeper, rows = load(settings, place), place.keeper, []
    with keeper.progress("two_identities", 2 * settings.edges[-1]):
        for sampling in SAMPLINGS:
            how = settings, sampling
            rows += keeper.part(sampling, lambda: windows(chain(problem, *how, keeper), *how))
    return rows


def chain(
    problem: Problem, settings: Identities, sampling: str, keeper: Keeper
) -> dict[str, Tensor]:
    """Run the chains from zero weights; return what the identities need, by name.

    ``EACH`` are (steps + 1, R): ‖θ‖² and θ·b before the step, also after the last; θ·g and
    ‖b‖². ``MEASURED`` are (measured, R): θ·∇f; ∇f·b with the buffer's last gradient and with
    ∇f in its place; and so on.
    """
    steps, rate, beta = settings.edges[-1], settings.learning_rate, settings.momentum
    shape = (settings.replicates, problem.inputs.shape[1], problem.targets.shape[1])
    zeros, last = problem.inputs.new_zeros, -(-steps // settings.stride)
    state = keeper.begin(
        step=0,
        weights=zeros(shape),
        buffer=zeros(shape),
        each=zeros(len(EACH), steps + 1, settings.replicates),
        measured=zeros(len(MEASURED), last, settings.replicates),
    )
    drawn = batches(settings, sampling, steps, problem.inputs.device)
    for chosen in itertools.islice(drawn, state.step, None):
        step, weights, buffer = state.step, state.weights, state.buffer
        gradient = problem.gradient(weights, chosen)
        previous, buffer = buffer, beta * buffer + gradient
        pairs = (weights, weights), (weights, previous), (weights, gradient), (buffer, buffer)
        state.each[:, step] = torch.stack([inner(*pair) for pair in pairs])
        if step % settings.stride == 0:
            full, loss = problem.gradient(weights), problem.losses(weights)
            second = problem.second_order(weights, -rate * buffer)
            products = [inner(full, x) for x in (weights, buffer, beta * previous + full, full)]
            values = torch.stack([*products, second, loss])
            state.measured[:, step // settings.stride] = values
        state.step, state.weights, state.buffer = step + 1, weights - rate * buffer, buffer
        if keeper.bar:
            keeper.bar.advance()
        keeper.keep(state)
    weights, each = state.weights, state.each
    each[:2, steps] = torch.stack([inner(weights, weights), inner(weights, state.buffer)])
    return dict(zip(EACH + MEASURED, (*each.cpu(), *state.measured.cpu()), strict=True))


def windows(kept: dict, settings: Identities, sampling: str) -> list[tuple]:
    """Return the rows of :func:`two_identities` for what :func:`chain` has kept."""
    rate, beta, rows = settings.learning_rate, settings.momentum, []
    at = {"of": sampling, "epoch": settings.epochs}
    for begin, end in itertools.pairwise((0, *settings.edges)):
        measured = slice(-(-begin // settings.stride), -(-end // settings.stride))
        means = {
            name: values[measured if name in MEASURED else slice(begin, end)].mean(0)
            for name, values in kept.items()
        }
        squares, second = rate * (1 + beta) / 2 * means["buffer_square"], means["second_order"]
        # By our pathwise identity, from the ends of the window.
        square, product = (kept[name][end] - kept[name][begin] for name in EACH[:2])
        drift = (1 - beta) / (2 * rate) * square - beta * product
        drift = drift / (rate * (1 + beta) / 2 * kept["buffer_square"][begin:end].sum(0))
        window = at | {"step": end}
        for name in ("loss", "gradient_norm_squared", "weight_square", "buffer_square"):
            rows += metrics.rows(f"mean_{name}", *mean_and_error(means[name]), **window)
        for name, above, below in (
            ("minibatch_ratio", means["minibatch_product"], squares),
            ("full_ratio", means["full_product"], squares),
            ("drift", drift * squares, squares),
            ("minibatch_budget", rate * means["gain"], second),
            ("full_budget", rate * means["full_gain"], second),
        ):
            rows += metrics.rows(name, *ratio_of_means(above, below), **window)
    at["step"] = range(0, settings.edges[-1], settings.stride)
    norms = kept["weight_square"][: -1 : settings.stride].sqrt()
    courses = {name: kept[name] for name in ("loss", "gradient_norm_squared")}
    for name, values in (courses | {"weight_norm": norms}).items():
        rows += metrics.rows(name, *mean_and_error(values, 1), **at)
    return rows
