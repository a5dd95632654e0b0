"""The exponents that the authors' code holds of a ResNet-18, and who lies on their curve.

Source: our section "The clock of the weights" of "Anomalous diffusion".
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..stats.estimate import Estimate
from . import reference

DECAY, STEPS = 1e-4, 50_000  # 10 epochs of ImageNet in batches of 256


def exponents() -> pd.DataFrame:
    """Return the authors' exponents at a batch size of 256, with their ``memories``."""
    grid = reference("kunin2021-grid").query("batch_size == 256")
    forgotten = 2 * grid.learning_rate * DECAY * STEPS / (1 - grid.momentum)
    return grid.assign(memories=forgotten).sort_values("memories")


def means(grid: pd.DataFrame) -> pd.Series:
    """Return the mean of the authors' exponents at each number of memories."""
    return grid.groupby(grid.memories.round(6)).exponent.mean()


def _curve(grid: pd.DataFrame, memories) -> NDArray:
    """Return the authors' exponents, interpolated in the logarithm of the memories."""
    curve = means(grid)
    return np.interp(np.log(memories), np.log(curve.index), curve)


def equal_memories(grid: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each number of memories that several settings of the authors have.

    ``gap`` is by how much their exponents differ, ``change`` by how much the curve changes
    there while the memories double, from half as many or to twice: the smaller of the two.
    """
    groups = grid.groupby(grid.memories.round(6)).exponent
    pairs = groups.agg(np.ptp)[groups.size() > 1].rename("gap").reset_index()
    here, *beside = (_curve(grid, factor * pairs.memories) for factor in (1, 0.5, 2))
    return pairs.assign(change=np.abs(np.subtract(beside, here)).min(0))


def off_the_curve(grid: pd.DataFrame, mine: pd.DataFrame, seeds: int) -> tuple[int, int]:
    """Return how many settings lie in the range of the authors' sweep, and how many off it.

    Off are those whose interval does not hold the authors' exponent there. The intervals of
    ``mine``, each alone by Student's t over so many seeds, are made to hold jointly: the
    settings branch from the same nets, so that their errors are not independent.
    """
    inside = mine[mine.memories.between(grid.memories.min(), grid.memories.max())]
    joint, alone = (
        Estimate.of(0.0, 1.0, seeds - 1, many).high for many in (max(len(inside), 1), 1)
    )
    margin = (inside.high - inside.low) / 2 * joint / alone
    off = (inside.value - _curve(grid, inside.memories)).abs() > margin
    return len(inside), int(off.sum())
