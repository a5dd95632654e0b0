"""Examples of chapter 2 that are small enough to be computed on the page.

Source: our section "What to measure".
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ...measure.curvature import sharpness
from ...measure.gradients import gradient_statistics
from ...measure.group_sums import GROUPS, Sample
from ...stats.estimate import Estimate
from .. import trends
from ..levels import squared_norm


class Channel(NamedTuple):
    """One normalised channel at the closed-form minimum of f: see :func:`one_channel`."""

    weight_norm: float  # its square is nu, the output's variance before the normalisation
    gain: float
    gradient_norm: float  # of f
    cosine: float  # between the weights and the gradient of the loss alone
    sharpness: float  # of f


def one_channel(epsilon: float, decay: float, target: float) -> Channel:
    """Put a channel with BatchNorm at its closed-form minimum, and measure it in float64.

    Two weights read the corners (+-1, +-1); the loss is half the mean squared distance
    from ``target`` times the first entry, and f adds decay / 2 times the squared weights
    and gain. The minimum lies at w = (|w|, 0), for a target above decay sqrt(epsilon).
    """
    square = (target * math.sqrt(epsilon) - decay * epsilon) / (1 + decay)
    norm, gain = math.sqrt(square), math.sqrt(square * (1 + square / epsilon))
    linear, normalisation = nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1, eps=epsilon)
    model = nn.Sequential(linear, normalisation).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[norm, 0.0]], dtype=torch.float64))
        normalisation.weight.fill_(gain)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 2)

    def loss(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        return (model(inputs)[:, 0] - target * inputs[:, 0]).square().mean() / 2

    def objective(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        decayed = sum(p.square().sum() for p in model.parameters())
        return loss(model, inputs) + decay / 2 * decayed

    alone = gradient_statistics(model, loss, [corners], population=1).mean_gradient[:2]
    whole = gradient_statistics(model, objective, [corners], population=1)
    return Channel(
        norm,
        gain,
        gradient_norm=whole.gradient_norm_naive,
        cosine=float(alone[0] / alone.norm()),
        sharpness=float(sharpness(model, objective, [corners]).eigenvalues[0]),
    )


def misses(rank: int, strength: float, *, batches=40, replicates=1000, seed=0) -> dict:
    """Return how often intervals of ||grad f||^2 miss it, simulated with the real estimator.

    The noise is Gaussian and equal in ``rank`` directions, in one of which the gradient
    lies; its norm is ``strength`` times sigma / sqrt(batches), the noise in the mean.
    ``below`` and ``above``: the share of intervals that lie below the truth and above it,
    of single measurements by 1.96 errors (``plain``), by :func:`levels.squared_norm`
    (``widened``), and of the level of five measurements (``level``).
    """
    truth = strength**2 / batches  # sigma = 1
    shape = (replicates, batches, rank)
    square, error, naive = simulated(math.sqrt(truth), 1.0, shape, seed)
    grouped = zip(square.reshape(-1, 5), error.reshape(-1, 5), strict=True)
    levels = [trends.level(np.arange(5), *one).mean for one in grouped]
    intervals = {
        "plain": Estimate.of(square, error),
        "widened": squared_norm(square, error, naive - square),
        "level": Estimate(*np.transpose(levels)),
    }
    below = {f"{name} below": (one.high < truth).mean() for name, one in intervals.items()}
    above = {f"{name} above": (one.low > truth).mean() for name, one in intervals.items()}
    return {"rank": rank, "strength": strength} | below | above


def by_theory(signal, noise, batches, directions=20) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the naive square, and the spread of the unbiased one, of M batches.

    The true norm is ``signal``. The noise norm of a batch is ``noise``; it is Gaussian and
    spread evenly over some ``directions``, in which the gradient lies.
    """
    batches = np.asarray(batches, float)
    linear = 4 * signal**2 * noise**2 / (directions * batches)
    square = 2 * noise**4 / (directions * batches * (batches - 1))
    return signal**2 + noise**2 / batches, np.sqrt(linear + square)


def simulated(signal: float, noise: float, shape: tuple, seed: int = 0) -> np.ndarray:
    """Return the three numbers of :func:`_measured` for simulated measurements, (3, number).

    ``shape`` is their number, the batches of each, and the directions, over which the noise
    of a batch is spread evenly; the gradient, of the norm ``signal``, lies in the first.
    """
    drawn = np.random.default_rng(seed).standard_normal(shape) / math.sqrt(shape[-1]) * noise
    drawn[..., 0] += signal
    return np.transpose([_measured(gradients) for gradients in drawn])


def _measured(gradients: np.ndarray) -> tuple[float, float, float]:
    """Return the unbiased square of gradients (M, P), its error, and the naive square."""
    group = np.arange(len(gradients)) % GROUPS
    sums = np.equal.outer(np.unique(group), group).astype(float) @ gradients
    squares = np.bincount(group, (gradients**2).sum(1))
    products = sums @ sums.T
    sample = Sample(products, squares, np.bincount(group), math.inf, products.sum())
    return sample.estimate, sample.standard_error, sample.square_of_sum / sample.count**2
