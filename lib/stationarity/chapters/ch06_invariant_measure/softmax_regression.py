"""Softmax regression with weight decay, for several chains of SGD at once.

Weights have shape (R, D, C) for R chains, D inputs and C classes. Everything is
float64. Book: chapter 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from scipy.special import roots_jacobi
from torch import Tensor

from ... import data

if TYPE_CHECKING:
    from .settings import Identities

NODES = 2  # of the quadrature along a step, exact for polynomials of degree 3
NORM = 4.0  # root mean square norm of the inputs, without the constant


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
        own = (scores * self.targets).sum(-1)
        return (torch.logsumexp(scores, -1) - own).mean(-1)

    def second_order(self, weights: Tensor, step: Tensor) -> Tensor:
        """Return ∫₀¹ (1 − s) dᵀ H(θ + s d) d ds (R,) for the ``step`` d from ``weights``.

        H is the Hessian of the objective. Added to the first-order change ∇f·d it is
        the whole change of the objective (book: Taylor's formula in chapter 6). The
        integral is a Gauss-Jacobi sum of two nodes, with an error of fourth order in d.
        """
        scores, along = self.inputs @ weights, self.inputs @ step
        nodes, masses = roots_jacobi(NODES, 1, 0)
        total = self.weight_decay * inner(step, step) / 2
        for node, mass in zip((nodes + 1) / 2, masses / 4, strict=True):
            share = torch.softmax(scores + node * along, -1)
            mean = (share * along).sum(-1)
            curvature = (share * along**2).sum(-1) - mean**2
            total = total + mass * curvature.mean(-1)
        return total

    def smoothness(self) -> float:
        """Return a Lipschitz constant of every minibatch gradient: λ + max ‖x‖² / 2."""
        return self.weight_decay + self.inputs.square().sum(1).max().item() / 2

    def gradient_bound(self) -> float:
        """Return a bound of every minibatch gradient of the loss: √2 max ‖x‖."""
        return math.sqrt(2 * self.inputs.square().sum(1).max().item())


def load(settings: Identities, data_root=None, device="cpu") -> Problem:
    """Return the learning problem of the settings.

    The pixels are scaled to a root mean square norm of 4, and a constant 1 joins them.
    """
    dataset = data.load(
        settings.dataset, examples=settings.examples, batch_size=settings.examples,
        label_noise=settings.label_noise, dtype=torch.float64, data_root=data_root,
        device=device,
    )  # fmt: skip
    pixels, labels = data.whole(dataset.partition())
    pixels = pixels * (NORM / pixels.square().sum(1).mean().sqrt())
    return Problem(
        torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1),
        torch.nn.functional.one_hot(labels, dataset.classes).double(),
        settings.weight_decay,
    )


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner products (R,) of two tensors (R, D, C)."""
    return (one * other).sum((1, 2))


def batches(settings: Identities, sampling: str, steps: int, device) -> Iterator[Tensor]:
    """Yield the examples (R, B) of each step's minibatches.

    ``independent``: drawn anew with replacement. ``reshuffled``: each epoch is a
    new random order of all examples, cut into minibatches.
    """
    replicates, examples, size = settings.replicates, settings.examples, settings.batch_size
    how = {"generator": torch.Generator(device).manual_seed(settings.seed), "device": device}
    for step in range(steps):
        if sampling == "independent":
            yield torch.randint(examples, (replicates, size), **how)
            continue
        if step % (examples // size) == 0:
            order = torch.rand(replicates, examples, **how).argsort(1)
        place = step * size % examples
        yield order[:, place : place + size]
