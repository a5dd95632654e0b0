"""Examples of chapter 2 that are small enough to be computed on the page.

Source: our section "What to measure".
"""

import math
from typing import NamedTuple

import torch
from torch import nn

from ...measure.curvature import sharpness
from ...measure.gradients import gradient_statistics


class Channel(NamedTuple):
    """One normalised channel at the closed-form minimum of f: see :func:`one_channel`."""

    weight_norm: float
    gain: float
    variance: float  # nu, of its output before the normalisation
    gradient_norm: float  # of f
    cosine: float  # between the weights and the gradient of the loss alone
    sharpness: float  # of f


def one_channel(epsilon: float, decay: float, target: float) -> Channel:
    """Put a channel with BatchNorm at its closed-form minimum, and measure it in float64.

    Two weights read the corners (+-1, +-1); the loss is half the mean squared distance
    from ``target`` times the first entry, and f adds decay / 2 times the squared weights
    and gain. The minimum lies at w = (|w|, 0), |w|^2 = (target sqrt(epsilon) - decay epsilon)
    / (1 + decay) and gain = |w| sqrt(1 + |w|^2 / epsilon), for a target above
    decay sqrt(epsilon).
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
        norm, gain, variance=square, gradient_norm=whole.gradient_norm_naive,
        cosine=float(alone[0] / alone.norm()),
        sharpness=float(sharpness(model, objective, [corners]).eigenvalues[0]),
    )  # fmt: skip
