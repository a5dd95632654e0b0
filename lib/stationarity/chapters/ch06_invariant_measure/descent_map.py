"""Descent without noise that never settles, and the law that its histogram approaches.

Source: chapter 6 of the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import arcsine, ks_1samp

from ...runs import metrics
from ...stats.estimate import mean_and_error

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import DescentMap


def cubic_gradient(theta: ArrayLike) -> NDArray:
    """Return f′(θ) = 4 θ² − 3 θ of f(θ) = 4 θ³ / 3 − 3 θ² / 2.

    A step of descent at learning rate 1 is the logistic map θ ← 4 θ (1 − θ),
    which maps [0, 1] to itself and leaves the arcsine law invariant.

    >>> float(0.25 - cubic_gradient(0.25)), 4 * 0.25 * 0.75
    (0.75, 0.75)
    """
    theta = np.asarray(theta, float)
    return 4 * theta**2 - 3 * theta


def orbits(starts: ArrayLike, steps: int) -> NDArray:
    """Return ``steps`` iterates of descent on the cubic, (steps, ...), the starts first."""
    theta = np.asarray(starts, float)
    kept = np.empty((steps, *theta.shape))
    for step in range(steps):
        kept[step] = theta
        theta = 4 * theta * (1 - theta)
    return kept


def descent_map(settings: DescentMap, place: Place) -> list[tuple]:
    """Measure how fast histograms of descent on the cubic approach the arcsine law.

    Rows; ``step`` is the length T: ``distance``, the largest gap between the distribution
    function of the first T iterates and the arcsine law, and ``loss_change``, the
    size of the mean change of the loss per step; means over independent uniform
    starts with standard errors. ``different``: the smallest share of different
    numbers among the first T iterates of a start. It is 1 as long as rounding has
    not closed a cycle.
    """
    starts = np.random.default_rng(settings.seed).uniform(size=settings.trajectories)
    rows, paths = [], orbits(starts, max(settings.times) + 1).T
    losses = 4 * paths**3 / 3 - 3 * paths**2 / 2
    for time in settings.times:
        gaps = [ks_1samp(path[:time], arcsine.cdf).statistic for path in paths]
        changes = np.abs(losses[:, time] - losses[:, 0]) / time
        different = min(len(np.unique(path[:time])) for path in paths) / time
        rows += metrics.rows("distance", *mean_and_error(gaps), step=time)
        rows += metrics.rows("loss_change", *mean_and_error(changes), step=time)
        rows += metrics.rows("different", different, 0.0, step=time)
    return rows
