"""The directions along which weights are followed, and what following says in the end.

Once a net is trained it goes on at a constant rate. Then :func:`begin` takes the top
eigenvectors of the Hessian, on fixed minibatches, for the directions, measures the
gradient noise along them, and keeps them in a file, so that a resumed run has the same.
What was followed is summed up by :func:`rows_of_motion`. Of several processes the first
follows; the weights are the same in all.

Source: our section "Does a deep network obey?".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from .. import measure
from ..runs import distributed
from ..runs.metrics import rows
from ..runs.seeds import seed_of
from ..stats import modes
from .following import POINTS, SNAPSHOTS, Follower

if TYPE_CHECKING:
    from ..runs.checkpoints import Keeper
    from .loop import State

BURN_IN = 0.1  # of the steps, which the statistics of modes leave out
SHOWN = 2000  # last steps whose first and last projections are among the metrics
WINDOWS = 100  # of the steps, for means of their squares
PARTS = 8  # of a window, for errors


def disk(settings, size: int, item: int) -> int:
    """Return the bytes that following leaves on disk; for ``size`` weights of ``item``."""
    return item * size * (settings.directions + POINTS + 1) if settings.followed_epochs else 0


def memory(settings, size: int, item: int) -> int:
    """Return the bytes that following holds: see :mod:`stationarity.train.following`."""
    count = settings.directions + SNAPSHOTS + POINTS + 2
    return item * size * count if settings.followed_epochs else 0


def begin(state: State, keeper: Keeper) -> None:
    """Follow the weights from now on.

    At the first of these steps the directions are computed, a checkpoint knows of them, and
    what is found with them joins the rows. Raises ``FloatingPointError`` where the weights
    are not finite.
    """
    settings, theta = state.settings, measure.parameter_vector(state.model)
    if settings.frozen_norms:
        freeze_norms(state.model)
    directed, k = state.directed, settings.directions
    if not directed:
        directions, found = _measured(state)
    if distributed.rank() == 0:
        table = keeper.table(len(theta), k + 1 if directed else 0, "directions", theta.dtype)
        if not directed:
            for index, row in enumerate([*directions, theta]):
                table.write(index, row)
        axes = table.read(k + 1).to(theta.device)
        done, last = state.step - state.trained, state.total - state.trained
        state.follower = Follower(axes, last, keeper, theta, done)
    if not directed:
        state.rows += found
        state.directed = True
        keeper.save(state)


def freeze_norms(model: nn.Module) -> None:
    """Let batch normalisations use their running statistics, the same in all processes."""
    distributed.equal_buffers(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _measured(state: State) -> tuple[Tensor, list[tuple]]:
    """Return the top eigenvectors of the Hessian, (k, P), and rows on them and the noise."""
    settings, dataset = state.settings, state.dataset
    top = measure.sharpness(
        state.model, state.objective, list(dataset.draws(settings.direction_batches, "directions")),
        k=settings.directions, max_products=settings.direction_products,
        seed=seed_of(settings.seed, "directions"),
    )  # fmt: skip
    # The sign of an eigenvector is anyone's: here its largest entry is positive.
    largest = top.eigenvectors.abs().argmax(1, keepdim=True)
    directions = top.eigenvectors * top.eigenvectors.gather(1, largest).sign()
    batches = dataset.draws(settings.noise_batches, "noise")
    gradients = measure.projected_gradients(state.model, state.objective, batches, directions)
    at, each = {"step": state.step, "epoch": state.epoch}, range(settings.directions)
    noise = variance_and_error(gradients.numpy())
    return directions, [
        *rows("eigenvalue", top.eigenvalues, top.residuals, index=each, **at),
        *rows("noise_variance", *noise, index=each, **at),
        *rows("direction_products", top.products, **at),
        *rows("directions_converged", top.converged, **at),
    ]


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


def rows_of_motion(state: State) -> list[tuple]:
    """Return the rows of what was followed.

    ``step`` counts from the reference point ``index`` in ``global_displacement_squared``,
    from the step at which following began, ``followed_from``, in
    ``local_displacement_squared`` and ``followed_weight_norm_squared``, which are means
    over the window that ends there, and as everywhere in the others.
    """
    k, first, last = state.settings.directions, state.trained, state.total
    numbers, per_epoch = state.follower.rows().numpy(), state.dataset.steps_per_epoch

    def noted(quantity, values, errors=math.nan, step=last, **axes):
        return rows(
            quantity, values, errors, step=step, epoch=lambda step: step / per_epoch, **axes
        )

    found = noted("followed_from", first)
    series = numbers[None, round(BURN_IN * len(numbers)) :, :k]
    if series.shape[1] >= 2 * modes.LAGS * modes.GROUPS:  # else it is too short
        statistics = modes.statistics(series, state.settings.followed_rate)
        for name, (values, errors) in statistics.items():
            found += noted(name, values, errors, index=range(k))
    shown = range(first, last + 1)[-SHOWN:]
    for index in sorted({0, k - 1}):
        values = [float(f"{x:.7g}") for x in numbers[-SHOWN:, index]]
        found += noted("projection", values, step=shown, index=index)
    for index, start in enumerate(state.follower.starts):
        distances = numbers[start + 1 :, k + 2 + index]
        lags = np.flatnonzero(np.isfinite(distances))
        found += noted(
            "global_displacement_squared", distances[lags], step=lags + 1, index=index
        )
    names = ("followed_weight_norm_squared", "local_displacement_squared")
    for name, column in zip(names, numbers[1:, k : k + 2].T, strict=True):
        ends, means, errors = zip(*_windows(column), strict=True)
        found += noted(name, np.array(means), np.array(errors), step=ends)
    return found


def _windows(column: np.ndarray) -> list[tuple]:
    """Return the end of each window, its mean, and the error of that by parts of it."""
    found, end = [], 0
    for window in np.array_split(column, min(WINDOWS, len(column))):
        end += len(window)
        parts = [part.mean() for part in np.array_split(window, min(PARTS, len(window)))]
        error = np.std(parts, ddof=1) / len(parts) ** 0.5 if len(parts) > 1 else math.nan
        found.append((end, window.mean(), error))
    return found
