"""A linear regression of one-hot labels by SGD on true minibatches (chapter 11)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import data
from ...errors import UsageError
from ...runs.seeds import seed_of

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from ...runs.progress import Progress
    from .settings import MinibatchCurrents


def problem(settings: MinibatchCurrents, place: Place) -> tuple[Tensor, Tensor, NDArray]:
    """Return the regression's inputs (n, D), residuals (n, C) and curvatures (D,).

    Pixels, each less its mean, in the basis of the Hessian's eigenvectors, descending;
    directions without curvature are left out, as no weight moves along them. The
    residuals at the minimum of the one-hot labels, less their means, are turned
    to be uncorrelated and have mean square 1. SGD commutes with both, as every output
    sees the same minibatches and its loss is half its mean squared error. Raises
    :class:`UsageError` where the labels are fitted exactly.
    """
    how = {"dtype": torch.float64, "data_root": place.data_root, "device": place.device}
    sizes = {"batch_size": settings.batch_size, "examples": settings.examples}
    dataset = data.load(settings.dataset, **sizes, **how)
    pixels, labels = data.whole(dataset.partition())
    pixels = pixels - pixels.mean(0)
    values, vectors = torch.linalg.eigh(pixels.T @ pixels / len(pixels))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > 1e-9 * values[0]
    inputs = pixels @ vectors[:, kept]
    targets = torch.nn.functional.one_hot(labels, dataset.classes).double()
    targets = targets - targets.mean(0)
    best = inputs.T @ targets / len(inputs) / values[kept, None]
    left, lengths, _ = torch.linalg.svd(targets - inputs @ best, full_matrices=False)
    if lengths[0] < 1e-6 * targets.norm():
        raise UsageError(
            f"The regression fits all {len(inputs)} labels exactly, so that no gradient noise "
            f"is left: take more examples than the {inputs.shape[1]} directions of the data."
        )
    residuals = left[:, lengths > 1e-6 * lengths[0]] * math.sqrt(len(left))
    return inputs, residuals, values[kept].cpu().numpy()


def noise_covariance(inputs: Tensor, residuals: Tensor) -> NDArray:
    """Return the covariance of one example's gradient at the minimum, (k, k).

    The mean over outputs; ``inputs`` are (n, k), ``residuals`` (n, C). The mean gradient
    is zero there.
    """
    weights = residuals.square().mean(1, keepdim=True)
    return (inputs.T @ (weights * inputs) / len(inputs)).cpu().numpy()


def paths(inputs, residuals, settings: MinibatchCurrents, momentum, bar: Progress) -> NDArray:
    """Return the weights along the modes, (members, T + 1, k), from the minimum on.

    Minibatches are drawn with replacement, anew for each trajectory. The outputs of
    a trajectory share them, and count as members of the ensemble.
    """
    generator = torch.Generator(inputs.device)
    generator.manual_seed(seed_of(settings.seed, "currents", f"{momentum:g}"))
    size, chosen = (settings.trajectories, settings.batch_size), list(settings.modes)
    weights = inputs.new_zeros(size[0], inputs.shape[1], residuals.shape[1])
    velocity = torch.zeros_like(weights)
    kept = torch.empty(settings.steps + 1, *weights[:, chosen].shape, dtype=torch.float64)
    for step in range(-settings.burn_in, settings.steps + 1):
        if step >= 0:
            kept[step] = weights[:, chosen]
        drawn = torch.randint(len(inputs), size, generator=generator, device=inputs.device)
        batch = inputs[drawn]
        error = batch @ weights - residuals[drawn]
        velocity = momentum * velocity - batch.transpose(1, 2) @ error / settings.batch_size
        weights = weights + settings.learning_rate * velocity
        bar.advance()
    series = kept.permute(1, 3, 0, 2)  # trajectory, output, step, mode
    return series.reshape(-1, *series.shape[2:]).contiguous().numpy()
