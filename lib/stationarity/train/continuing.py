"""A trained net goes on at a constant rate, and its weights are followed.

What a run does when that begins (:func:`begin`): it takes the top eigenvectors of the
Hessian, on fixed minibatches, for the directions, measures the gradient noise along
them, and keeps both in a file of its own, so that a resumed run has the same. What it
says of it in the end: :func:`rows`. Of several processes the first follows; the weights
are the same in all.

Source: our section "Does a deep network obey?".
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .. import measure
from ..runs import distributed, records
from ..runs.seeds import seed_of
from ..stats import modes
from .following import POINTS, SNAPSHOTS, Follower, tables

FILE = "directions.pt"
BURN_IN = 0.1  # of the steps, which the statistics of modes leave out
SHOWN = 2000  # last steps whose first and last projections are among the metrics
WINDOWS = 100  # of the steps, for means of their squares
PARTS = 8  # of a window, for errors


def first_step(settings, dataset) -> int:
    """Return the step at which following begins: one after the last for never."""
    return (settings.epochs - settings.followed_epochs) * dataset.steps_per_epoch


def disk(settings, size: int, item: int) -> int:
    """Return the bytes that following leaves on disk; for ``size`` weights of ``item``."""
    return (
        item * size * (settings.directions + POINTS + 1)
        if settings.followed_epochs
        else 0
    )


def memory(settings, size: int, item: int) -> int:
    """Return the bytes that following holds: see :mod:`stationarity.train.following`."""
    rows = settings.directions + SNAPSHOTS + POINTS + 2
    return item * size * rows if settings.followed_epochs else 0


def freeze_norms(model: nn.Module) -> None:
    """Let batch normalisations use their running statistics, the same in all processes."""
    distributed.equal_buffers(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def begin(state, settings, dataset, folder: Path, info: dict) -> Follower | None:
    """Return what follows the weights from now on, None but in the first process.

    At the first step, the rows of what is found there join those of the run. Raises
    ``FloatingPointError`` where the weights are not finite.
    """
    first, theta = first_step(settings, dataset), measure.parameter_vector(state.model)
    known = None
    if distributed.rank() == 0:
        known = _read(folder, info["fingerprint"], theta, state.step - first)
    if not distributed.of_first(int(known is not None), theta.device):
        found = _measured(state.model, settings, dataset)
        known = found | {"origin": theta, "fingerprint": info["fingerprint"]}
        if distributed.rank() == 0:
            records.write_tensors(folder / FILE, known)
    if distributed.rank() > 0:
        return None
    if state.step == first:
        epoch = first / dataset.steps_per_epoch
        state.rows += [(first, epoch, *row) for row in _rows_at_the_beginning(known)]
    directions = known["directions"]
    numbers, points = tables(folder, directions)
    done, last = state.step - first, settings.followed_epochs * dataset.steps_per_epoch
    if done and len(numbers.read(done + 1)) <= done:
        raise records.foreign_checkpoint(folder)
    return Follower(directions, known["origin"], last, numbers, points, theta, done)


def _read(folder: Path, fingerprint: str, theta: Tensor, done: int) -> dict | None:
    """Return what an earlier process found, None where that is of no use.

    It must be there when steps have been followed, and is of these weights when not.
    """
    try:
        found = torch.load(folder / FILE, map_location=theta.device, weights_only=True)
        if found["fingerprint"] == fingerprint and (
            done or torch.equal(found["origin"], theta)
        ):
            return found
    except torch.OutOfMemoryError:
        raise  # the file may be good
    except Exception:  # damaged or missing: torch.load raises many kinds
        pass
    if done:
        raise records.foreign_checkpoint(folder)
    return None


def _measured(model: nn.Module, settings, dataset) -> dict:
    """Return the top eigenpairs of the Hessian, and the noise along the vectors."""
    group, objective = distributed.group(), dataset.objective
    few = list(dataset.draws(settings.direction_batches, "directions"))
    found = measure.sharpness(
        model, objective, few, k=settings.directions, group=group,
        max_products=settings.direction_products, seed=seed_of(settings.seed, "directions"),
    )  # fmt: skip
    # The sign of an eigenvector is anyone's: here its largest entry is positive.
    largest = found.eigenvectors.abs().argmax(1, keepdim=True)
    directions = found.eigenvectors * found.eigenvectors.gather(1, largest).sign()
    batches = dataset.draws(settings.noise_batches, "noise")
    gradients = measure.projected_gradients(
        model, objective, batches, directions, group=group
    )
    return {
        "directions": directions, "eigenvalues": found.eigenvalues,
        "residuals": found.residuals, "products": found.products,
        "converged": found.converged, "gradients": gradients,
    }  # fmt: skip


def variance_and_error(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the unbiased variance of each column (M, k), and its standard error.

    The error uses the fourth moment: the noise of minibatches need not be Gaussian.
    It is NaN for fewer than four values.

    >>> variance_and_error(np.array([[0.0], [0.0], [2.0], [2.0]]))[0].round(3)
    array([1.333])
    """
    count, centred = len(values), values - values.mean(0)
    variance = (centred**2).sum(0) / (count - 1)
    if count < 4:
        return variance, np.full_like(variance, np.nan)
    spread = (centred**4).mean(0) - variance**2 * (count - 3) / (count - 1)
    return variance, np.sqrt(spread.clip(0) / count)


def _rows_at_the_beginning(known: dict) -> list[tuple]:
    pairs = zip(known["eigenvalues"].tolist(), known["residuals"].tolist(), strict=True)
    noise = zip(*variance_and_error(known["gradients"].numpy()), strict=True)
    return [
        *((f"eigenvalue[{i}]", *pair) for i, pair in enumerate(pairs)),
        *((f"noise_variance[{i}]", *map(float, pair)) for i, pair in enumerate(noise)),
        ("direction_products", float(known["products"]), math.nan),
        ("directions_converged", float(known["converged"]), math.nan),
    ]


def rows(follower: Follower, settings, first: int, per_epoch: int) -> list[tuple]:
    """Return the rows of what was followed, less each step's.

    ``step`` counts from the reference point in ``global_displacement_squared[r]``, from
    the step at which following began, ``followed_from``, in
    ``local_displacement_squared`` and ``followed_weight_norm_squared``, which are means
    over the window that ends there, and as everywhere in the others.
    """
    numbers, k = follower.rows().numpy(), settings.directions
    last = first + len(numbers) - 1
    found = [(last, "followed_from", float(first), math.nan)]
    series = numbers[None, round(BURN_IN * len(numbers)) :, :k]
    if series.shape[1] >= 2 * modes.LAGS * modes.GROUPS:  # else it is too short
        for name, (values, errors) in modes.statistics(
            series, settings.followed_rate
        ).items():
            found += [
                (last, f"{name}[{i}]", *pair)
                for i, pair in enumerate(zip(values, errors))
            ]
    for i in sorted({0, k - 1}):
        shown = list(enumerate(numbers[:, i], first))[-SHOWN:]
        found += [
            (t, f"projection[{i}]", float(f"{x:.7g}"), math.nan) for t, x in shown
        ]
    for index, start in enumerate(follower.starts):
        distances = numbers[start + 1 :, k + 2 + index]
        name = f"global_displacement_squared[{index}]"
        lags = np.flatnonzero(np.isfinite(distances))
        found += [(lag + 1, name, distances[lag], math.nan) for lag in lags]
    names = ("followed_weight_norm_squared", "local_displacement_squared")
    for name, column in zip(names, numbers[1:, k : k + 2].T, strict=True):
        found += [(end, name, *pair) for end, *pair in _windows(column)]
    return [
        (int(step), int(step) / per_epoch, name, float(value), float(error))
        for step, name, value, error in found
    ]


def _windows(column: np.ndarray) -> list[tuple]:
    """Return the end of each window, its mean, and the error of that by parts of it."""
    found, end = [], 0
    for window in np.array_split(column, min(WINDOWS, len(column))):
        end += len(window)
        parts = [
            part.mean() for part in np.array_split(window, min(PARTS, len(window)))
        ]
        error = (
            np.std(parts, ddof=1) / len(parts) ** 0.5 if len(parts) > 1 else math.nan
        )
        found.append((end, window.mean(), error))
    return found
