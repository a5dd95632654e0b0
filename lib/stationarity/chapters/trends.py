"""The level of a series, and its trend."""

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from ..stats.estimate import Estimate


class Level(NamedTuple):
    """The mean of a series over a window, and its trend, in the units of the series.

    ``change`` is what a fitted line gains from the first to the last value; ``lag`` is
    :func:`lag_correlation`: the intervals are too narrow where it is large.
    """

    mean: Estimate
    change: Estimate
    lag: float


def level(
    times: ArrayLike, values: ArrayLike, errors: ArrayLike | None = None, together: int = 1
) -> Level:
    """Return the level and trend of a series (n,) of at least three values.

    The intervals take the larger of the combined standard ``errors`` of the values and
    their scatter about the fitted line, use Student's t with n - 2 degrees of freedom and
    hold the residuals for independent; they can hold ``together`` with those of other
    series, so many in all. Raises :class:`UsageError` for fewer values.
    """
    times, values = np.asarray(times, float), np.asarray(values, float)
    n = len(values)
    if n < 3:
        raise UsageError(f"A level needs at least three measured values, not {n}.")
    slope, residuals, scatter = line(times, values)
    measured = 0.0 if errors is None else np.sqrt(np.sum(np.square(errors))) / math.sqrt(n)
    error, length = max(scatter, measured) / math.sqrt(n), np.ptp(times)
    change = Estimate.of(slope * length, error * length / times.std(), n - 2, together)
    mean = Estimate.of(values.mean(), error, n - 2, together)
    return Level(mean, change, lag_correlation(residuals))


def lag_correlation(residuals: NDArray) -> float:
    """Return the correlation of successive residuals (n,): 0 where there is no scatter."""
    return (residuals[1:] * residuals[:-1]).sum() / ((residuals**2).sum() or 1.0)


def line(x: NDArray, y: NDArray) -> tuple[float, NDArray, float]:
    """Return a fitted line's slope, its residuals (n,) and their scatter, n - 2 degrees."""
    fit = scipy.stats.linregress(x, y)
    residuals = y - fit.intercept - fit.slope * x
    return fit.slope, residuals, math.sqrt((residuals**2).sum() / (len(x) - 2))


def slope_weights(x: ArrayLike) -> NDArray:
    """Return the weights (n,) by which values (n, ...) at x add up to their lines' slopes."""
    centred = np.asarray(x, float) - np.mean(x)
    return centred / (centred @ centred)
