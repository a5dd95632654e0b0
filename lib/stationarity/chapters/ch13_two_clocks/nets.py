"""Ensembles of small batch-normalised nets: K mlps as one tensor (K, P).

Each hidden layer is relu(gain * norm(x W) + bias), the last one is affine. A row of theta
holds the matrices W of the hidden layers first: they are the normalised weights, the first
:func:`normalised` of P. A column of W, the weights of a unit, may be rescaled at will.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ...runs.seeds import seed_of

EPSILON = 1e-5  # added to the variance of a unit, as in torch.nn.BatchNorm1d
TOGETHER = 512  # nets times minibatches of one pass


def _shapes(widths: tuple) -> list[tuple[int, int]]:
    """Shapes of W for each hidden layer, then its gain and bias for each, then the last."""
    *hidden, last = itertools.pairwise(widths)
    gains = [(1, units) for _, units in hidden for _ in range(2)]
    return [*hidden, *gains, last, (1, widths[-1])]


def normalised(widths: tuple) -> int:
    """Return how many of a net's parameters are normalised weights."""
    return sum(map(prod, itertools.pairwise(widths[:-1])))


def views(theta: Tensor, widths: tuple) -> list[Tensor]:
    """Return views of theta (K, P), each (K, inputs, outputs) or (K, 1, outputs)."""
    shapes = _shapes(widths)
    pieces = theta.split([prod(shape) for shape in shapes], 1)
    return [piece.view(-1, *shape) for piece, shape in zip(pieces, shapes)]


def initialise(widths: tuple, seeds: Sequence[int]) -> Tensor:
    """Return weights (K, P), a net a seed: Gaussian of variance 1 / inputs, gains of 1."""
    shapes, hidden, nets = _shapes(widths), len(widths) - 2, []
    for seed in seeds:
        source = torch.Generator().manual_seed(seed_of(seed, "initial weights"))
        parts = [torch.zeros(shape) for shape in shapes]
        for number in (*range(hidden), -2):
            parts[number].normal_(0, shapes[number][0] ** -0.5, generator=source)
        for gain in parts[hidden:-2:2]:
            gain.fill_(1)
        nets.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(nets)


def losses_and_gradients(
    theta: Tensor, widths: tuple, inputs: Tensor, targets: Tensor, norm: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean cross-entropies (K,), in nats, each on its minibatch, and gradients (K, P).

    ``inputs`` (K, B, D); ``targets`` (K, B, classes), probabilities; ``norm`` (K, 1, 1),
    False for a net whose units are not normalised by their minibatch.
    """
    parts, hidden, count = views(theta, widths), len(widths) - 2, inputs.shape[1]
    given, units, scales = [inputs], [], []
    for layer in range(hidden):
        gain, bias = parts[hidden + 2 * layer : hidden + 2 * layer + 2]
        raw = torch.bmm(given[-1], parts[layer])
        unit = raw.sub_(torch.where(norm, raw.mean(1, keepdim=True), 0))
        spread = torch.rsqrt(unit.square().mean(1, keepdim=True) + EPSILON)
        spread = torch.where(norm, spread, 1)
        units.append(unit.mul_(spread))
        scales.append(gain * spread)
        given.append(torch.addcmul(bias, unit, gain).relu_())
    # In memory the batch lies last: PyTorch's softmax is slow over a short last dimension.
    logits = torch.baddbmm(parts[-1].mT, parts[-2].mT, given[-1].mT)
    logarithms = torch.log_softmax(logits, 1)
    losses = -(logarithms * targets.mT).sum((1, 2)) / count
    delta = logarithms.exp_().sub_(targets.mT).div_(count).mT
    matrices, gains, weights = [], [], parts[-2]
    last = [torch.bmm(given[-1].mT, delta), delta.sum(1, keepdim=True)]
    for layer in reversed(range(hidden)):
        delta, unit = torch.bmm(delta, weights.mT), units[layer]
        delta = torch.ops.aten.threshold_backward(delta, given[layer + 1], 0)  # of the relu
        pair = (delta * unit).sum(1, keepdim=True), delta.sum(1, keepdim=True)
        gains = [*pair, *gains]
        along, shift = (torch.where(norm, part / count, 0) for part in pair)
        delta = delta.sub_(shift).addcmul_(unit, along, value=-1).mul_(scales[layer])
        weights = parts[layer]
        matrices = [torch.bmm(given[layer].mT, delta), *matrices]
    return losses, torch.cat([part.flatten(1) for part in (*matrices, *gains, *last)], 1)


class Exact(NamedTuple):
    """What K nets have on all minibatches of a partition, without an error of sampling."""

    losses: Tensor  # (K,), nats
    gradients: Tensor  # (K, P)
    noise: Tensor  # (K,), variance of the gradient of one of the minibatches


def exact(theta: Tensor, widths: tuple, inputs: Tensor, targets: Tensor, norm) -> Exact:
    """Return the means over minibatches ``inputs`` (M, B, D), each normalised by itself."""
    count, nets = len(inputs), len(theta)
    loss, square, total = theta.new_zeros(nets), theta.new_zeros(nets), torch.zeros_like(theta)
    step = max(1, TOGETHER // nets)
    for x, y in zip(inputs.split(step), targets.split(step)):
        many = len(x)
        batches = x.repeat(nets, 1, 1), y.repeat(nets, 1, 1)
        repeated, normal = (each.repeat_interleave(many, 0) for each in (theta, norm))
        values, gradients = losses_and_gradients(repeated, widths, *batches, normal)
        loss += values.view(nets, many).sum(1)
        gradients = gradients.view(nets, many, -1)
        total += gradients.sum(1)
        square += gradients.square().sum((1, 2))
    mean = total / count
    noise = (square / count - mean.square().sum(1)) * count / max(count - 1, 1)
    return Exact(loss / count, mean, noise.clamp(min=0))


def unit_norms(theta: Tensor, widths: tuple) -> Tensor:
    """Return the norm of every unit's normalised weights (K, units)."""
    hidden = views(theta, widths)[: len(widths) - 2]
    return torch.cat([part.square().sum(1).sqrt() for part in hidden], 1)


def by_unit(numbers: Tensor, widths: tuple) -> Tensor:
    """Return a number of every unit (K, units) at each of its normalised weights (K, n)."""
    pairs = list(itertools.pairwise(widths[:-1]))
    parts = numbers.split([units for _, units in pairs], 1)
    spread = [part.repeat(1, inputs) for part, (inputs, _) in zip(parts, pairs)]
    return torch.cat(spread, 1)
