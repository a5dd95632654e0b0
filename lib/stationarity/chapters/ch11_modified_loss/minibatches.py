"""SGD with true minibatches in phase space (chapter 11): a linear regression.

The theory of :mod:`stationarity.chapters.ch11_modified_loss.currents` is not built into it: what
:mod:`stationarity.chapters.ch11_modified_loss.study` measures here judges the theory. Everything is float64.
"""

import math

import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import data, theory
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.seeds import seed_of
from ...train.settings import Training
from . import study
from .settings import MinibatchCurrents


def minibatch_currents(
    settings: MinibatchCurrents, data_root=None, device="cpu", keeper=None
) -> list[tuple]:
    """Measure ensembles of minibatch SGD on the regression of one-hot labels.

    One ensemble for each momentum; rows are those of
    :func:`stationarity.chapters.ch11_modified_loss.study.measured`, labelled ``momentum β``, and
    ``hessian_trace`` and the number of ``outputs``. Raises :class:`UsageError` for what
    is unstable or too short, and for a mode that the data do not have, before any long
    work.
    """
    keeper = keeper or Keeper()
    inputs, residuals, curvature = regression(settings, data_root, device)
    for beta in settings.momenta:
        theory.check_stable(curvature, settings.learning_rate, beta)
    study.check_ensemble(settings, settings.trajectories * residuals.shape[1])
    if not 0 <= min(settings.modes) <= max(settings.modes) < len(curvature):
        raise UsageError(
            f"The regression has modes 0 to {len(curvature) - 1}: take modes from these."
        )
    chosen = list(settings.modes)
    noise = noise_covariance(inputs[:, chosen], residuals) / settings.batch_size
    rows = study.rows_of([0], "hessian_trace", [curvature.sum()])
    rows += study.rows_of([0], "outputs", [residuals.shape[1]])
    total = (settings.burn_in + settings.steps + 1) * len(settings.momenta)
    with keeper.progress("minibatches in phase space", total) as bar:
        for beta in settings.momenta:

            def measure(beta=beta):
                positions = paths(inputs, residuals, settings, beta, bar)
                label = f"momentum {beta:g}"
                return study.measured(
                    label, positions, curvature[chosen], noise, settings
                )

            rows += keeper.part(f"{beta:g}", measure)
    return rows


def regression(
    settings: MinibatchCurrents, data_root=None, device="cpu"
) -> tuple[Tensor, Tensor, NDArray]:
    """Return the regression's inputs (n, D), residuals (n, C) and curvatures (D,).

    Pixels, each less its mean, in the basis of the Hessian's eigenvectors, descending;
    directions without curvature are left out, as no weight moves along them. The
    residuals at the minimum of the one-hot labels, less their means, are turned
    to be uncorrelated and have mean square 1. SGD commutes with both, as every output
    sees the same minibatches and its loss is half its mean squared error. Raises
    :class:`UsageError` where the labels are fitted exactly.
    """
    training = Training(
        dataset=settings.dataset, examples=settings.examples, model="mlp", epochs=1,
        batch_size=settings.batch_size, learning_rate=1.0, precision="float64",
    )  # fmt: skip
    dataset = data.load(training, data_root, device)
    images, labels = map(torch.cat, zip(*dataset.partition(), strict=True))
    pixels = images.flatten(1)
    pixels = pixels - pixels.mean(0)
    values, vectors = torch.linalg.eigh(pixels.T @ pixels / len(pixels))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > 1e-9 * values[0]
    inputs = pixels @ vectors[:, kept]
    targets = torch.nn.functional.one_hot(labels, dataset.classes).double()
    targets = targets - targets.mean(0)
    best = inputs.T @ targets / len(inputs) / values[kept, None]
    left, sizes, _ = torch.linalg.svd(targets - inputs @ best, full_matrices=False)
    if sizes[0] < 1e-6 * targets.norm():
        raise UsageError(
            f"The regression fits all {len(inputs)} labels exactly, so that no gradient noise "
            f"is left: take more examples than the {inputs.shape[1]} directions of the data."
        )
    residuals = left[:, sizes > 1e-6 * sizes[0]] * math.sqrt(len(left))
    return inputs, residuals, values[kept].cpu().numpy()


def noise_covariance(inputs: Tensor, residuals: Tensor) -> NDArray:
    """Return the covariance of one example's gradient at the minimum, (k, k).

    The mean over outputs; ``inputs`` are (n, k), ``residuals`` (n, C). The mean gradient
    is zero there.
    """
    weights = residuals.square().mean(1, keepdim=True)
    return (inputs.T @ (weights * inputs) / len(inputs)).cpu().numpy()


def paths(
    inputs: Tensor, residuals: Tensor, settings: MinibatchCurrents, momentum: float, bar
) -> NDArray:
    """Return the weights along the modes, (members, T + 1, k), from the minimum on.

    Minibatches are drawn with replacement, anew for each trajectory. The outputs of
    a trajectory share them, and count as members of the ensemble.
    """
    generator = torch.Generator(inputs.device)
    generator.manual_seed(seed_of(settings.seed, "currents", f"{momentum:g}"))
    size = (settings.trajectories, settings.batch_size)
    weights = inputs.new_zeros(size[0], inputs.shape[1], residuals.shape[1])
    velocity, chosen = torch.zeros_like(weights), list(settings.modes)
    kept = torch.empty(
        settings.steps + 1, *weights[:, chosen].shape, dtype=torch.float64
    )
    for step in range(-settings.burn_in, settings.steps + 1):
        if step >= 0:
            kept[step] = weights[:, chosen]
        drawn = torch.randint(
            len(inputs), size, generator=generator, device=inputs.device
        )
        batch = inputs[drawn]
        error = batch @ weights - residuals[drawn]
        gradient = batch.transpose(1, 2) @ error / settings.batch_size
        velocity = momentum * velocity - gradient
        weights = weights + settings.learning_rate * velocity
        bar.advance()
    series = kept.permute(1, 3, 0, 2)  # trajectory, output, step, mode
    return series.reshape(-1, *series.shape[2:]).contiguous().numpy()
