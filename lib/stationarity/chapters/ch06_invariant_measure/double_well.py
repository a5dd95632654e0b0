"""SGD on (θ² − 1)² / 4 with bounded noise: how many invariant measures there are.

Source: chapter 6 of the book.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs import metrics
from ...stats.estimate import mean_and_error

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import DoubleWell

BARRIER = 2 / math.sqrt(27)  # the steepest slope between the wells
STARTS = (-1, 1)  # the minima


def well_interval(learning_rate: float, width: float) -> tuple[float, float]:
    """Return the ends of an interval about the minimum 1 that SGD never leaves.

    They are the zeros of θ³ − θ + width and θ³ − θ − width next to 1 (book:
    proposition of chapter 6). Raises :class:`UsageError` where the noise is too
    wide for two wells, or the learning rate too large for the proof.

    >>> well_interval(0.3, 0.0)
    (1.0, 1.0)
    """
    if not 0 <= width < BARRIER:
        raise UsageError(
            f"Noise of width {width:g} is not below the steepest slope between the "
            f"wells, {BARRIER:.3f}: SGD can leave either of them."
        )
    low, high = (max(np.roots([1.0, 0.0, -1.0, shift]).real) for shift in (width, -width))
    if learning_rate * (3 * high**2 - 1) > 1:
        raise UsageError(
            f"The learning rate {learning_rate:g} is too large for the proof, which "
            f"needs at most {1 / (3 * high**2 - 1):.3g} here."
        )
    return float(low), float(high)


def well_paths(settings: DoubleWell, width: float, start: float) -> NDArray:
    """Return paths (steps, trajectories) of SGD from one start.

    The gradient θ³ − θ gets noise that is uniform on [−width, width].
    """
    generator = np.random.default_rng([settings.seed, round(1e6 * width), start > 0])
    theta = np.full(settings.trajectories, float(start))
    kept = np.empty((settings.steps, settings.trajectories))
    for step in range(settings.steps):
        noise = generator.uniform(-width, width, len(theta))
        theta = theta - settings.learning_rate * (theta**3 - theta + noise)
        kept[step] = theta
    return kept


def double_well(settings: DoubleWell, place: Place) -> list[tuple]:
    """Average paths over the second half of their steps.

    Rows at the last step, of each ``width`` of the noise, as in ``width 0.3``, for each
    of the ``STARTS`` (``index``): ``average``, the mean over paths of their time
    averages of θ, with its standard error.
    """
    rows = []
    for width in settings.widths:
        for index, start in enumerate(STARTS):
            late = well_paths(settings, width, start)[settings.steps // 2 :]
            at = {"of": f"width {width:g}", "index": index, "step": settings.steps}
            rows += metrics.rows("average", *mean_and_error(late.mean(0)), **at)
    return rows
