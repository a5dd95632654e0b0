"""The directions along which weights are followed, and what following says in the end.

Once a net is trained it goes on at a constant rate. The directions are the top eigenvectors of
its Hessian then, on fixed minibatches; they are kept in a file, so that a resumed run has the
same. Of several processes the first follows. Source: our section "Does a deep network obey?".
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
from ..stats.estimate import mean_and_error, variance_and_error
from .trajectory import POINTS, SNAPSHOTS, Follower

if TYPE_CHECKING:
    from ..runs.checkpoints import Keeper
    from .loop import State

BURN_IN = 0.1  # of the steps, which the statistics of modes leave out
SHOWN = 2000  # last steps whose first and last projections are among the metrics
WINDOWS = 100  # of the steps, for means of their squares
PARTS = 8  # of a window, for errors


def copies_of_weights(settings) -> tuple[int, int]:
    """Return how many vectors of weights' length following leaves on disk, and holds."""
    if not settings.followed_epochs:
        return 0, 0
    return settings.directions + POINTS + 1, settings.directions + SNAPSHOTS + POINTS + 2


def begin(state: State, keeper: Keeper) -> None:
    """Follow the weights from now on; at first compute the directions, and keep them.

    Raises ``FloatingPointError`` where the weights are not finite.
    """
    settings, theta = state.settings, measure.parameter_vector(state.model)
    if settings.frozen_norms:
        freeze_norms(state.model)
    begun, count = state.directed, settings.directions + 1
    if not begun:
        directions = _measured(state)
    if distributed.rank() == 0:
        table = keeper.table(len(theta), count if begun else 0, "directions", theta.dtype)
        if not begun:
            for index, row in enumerate([*directions, theta]):
                table.write(index, row)
        axes = table.read(count).to(theta.device)
        done, last = state.step - state.trained, state.total - state.trained
        state.follower = Follower(axes, last, keeper, theta, done)
    if not begun:
        state.directed = True
        keeper.save(state, state.rows)


def freeze_norms(model: nn.Module) -> None:
    """Let batch normalisations use their running statistics, the same in all processes."""
    distributed.equal_buffers(model)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _measured(state: State) -> Tensor:
    """Return the top eigenvectors of the Hessian, (k, P); note them and the noise."""
    settings, dataset = state.settings, state.dataset
    few = list(dataset.draws(settings.direction_batches, "directions"))
    how = {"k": settings.directions, "max_products": settings.direction_products}
    seed = seed_of(settings.seed, "directions")
    top = measure.sharpness(*state.measured, few, **how, seed=seed)
    # The sign of an eigenvector is anyone's: here its largest entry is positive.
    largest = top.eigenvectors.abs().argmax(1, keepdim=True)
    directions = top.eigenvectors * top.eigenvectors.gather(1, largest).sign()
    batches = dataset.draws(settings.noise_batches, "noise")
    gradients = measure.projected_gradients(*state.measured, batches, directions)
    at, each = {"step": state.step, "epoch": state.epoch}, range(settings.directions)
    noise = variance_and_error(gradients.numpy())
    state.rows += rows("eigenvalue", top.eigenvalues, top.residuals, index=each, **at)
    state.rows += rows("noise_variance", *noise, index=each, **at)
    state.rows += rows("direction_products", top.products, **at)
    return directions


def rows_of_motion(state: State) -> list[tuple]:
    """Return the rows of what was followed, in the process that did.

    ``step`` counts from the reference point ``index`` in ``global_displacement_squared``,
    from the step at which following began, ``followed_from``, in
    ``local_displacement_squared`` and ``followed_weight_norm_squared``, which are means
    over the window that ends there, and as everywhere in the others.
    """
    if state.follower is None:
        return []
    k, first, last = state.settings.directions, state.trained, state.total
    numbers, per_epoch = state.follower.rows().numpy(), state.dataset.steps_per_epoch

    def noted(quantity, values, errors=math.nan, **axes):
        axes = {"step": last, "epoch": lambda step: step / per_epoch} | axes
        return rows(quantity, values, errors, **axes)

    motion = noted("followed_from", first)
    series = numbers[None, round(BURN_IN * len(numbers)) :, :k]
    if series.shape[1] >= 2 * modes.LAGS * modes.GROUPS:  # else it is too short
        statistics = modes.statistics(series, state.settings.followed_rate)
        for name, (values, errors) in statistics.items():
            motion += noted(name, values, errors, index=range(k))
    shown = range(first, last + 1)[-SHOWN:]
    for index in sorted({0, k - 1}):
        values = [float(f"{x:.7g}") for x in numbers[-SHOWN:, index]]
        motion += noted("projection", values, step=shown, index=index)
    for index, start in enumerate(state.follower.starts):
        distances = numbers[start + 1 :, k + 2 + index]
        lags = np.flatnonzero(np.isfinite(distances))
        at = {"step": lags + 1, "index": index}
        motion += noted("global_displacement_squared", distances[lags], **at)
    names = ("followed_weight_norm_squared", "local_displacement_squared")
    for name, column in zip(names, numbers[1:, k : k + 2].T, strict=True):
        windows = np.array_split(column, min(WINDOWS, len(column)))
        parts = [np.array_split(one, min(PARTS, len(one))) for one in windows]
        errors = [mean_and_error([part.mean() for part in each])[1] for each in parts]
        ends, means = np.cumsum([len(one) for one in windows]), [one.mean() for one in windows]
        motion += noted(name, np.array(means), np.array(errors), step=ends)
    return motion
