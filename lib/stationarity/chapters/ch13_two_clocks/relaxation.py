"""Relaxations: a level that a curve approaches at some rate, and what theory says of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...stats.estimate import Estimate
from .. import bootstrap
from ..trends import lag_correlation

RATES = np.geomspace(1e-2, 1e2, 600)  # that are tried, over the length of the curve


class Fit(NamedTuple):
    """Curves N = level - rise exp(-rate t), fitted by least squares; numbers (R,)."""

    rate: NDArray  # in units of one over those of the times
    level: NDArray
    rise: NDArray
    curve: NDArray  # (R, n), what was fitted


def fit(times: ArrayLike, curves: ArrayLike) -> Fit:
    """Fit curves (R, n) at times (n,), with rate, level and rise free.

    A rate at the end of the range that is tried, a hundredth to a hundred over the length,
    is that of a straight line, or of a curve that is flat. Raises :class:`UsageError` for
    fewer than five points.

    >>> times = np.arange(20)
    >>> float(fit(times, [3 - np.exp(-0.2 * times)]).rate[0].round(3))
    0.2
    """
    times, curves = np.asarray(times, float), np.atleast_2d(np.asarray(curves, float))
    if len(times) < 5:
        raise UsageError("A relaxation needs five points: measure more often.")
    passed = (times - times[0]) / np.ptp(times)
    mean = curves.mean(1, keepdims=True)

    def shapes_of(rates: NDArray) -> NDArray:
        shapes = np.exp(-rates[:, None] * passed)
        return shapes - shapes.mean(1, keepdims=True)

    shapes = shapes_of(RATES)
    caught = (curves - mean) @ shapes.T
    caught *= caught
    caught /= (shapes**2).sum(1)  # squares explained
    rate = _peaks(RATES, caught)
    shapes = shapes_of(rate)
    rise = -((curves - mean) * shapes).sum(1) / (shapes**2).sum(1)
    level = mean[:, 0] + rise * np.exp(-rate[:, None] * passed).mean(1)
    return Fit(rate / np.ptp(times), level, rise, mean - rise[:, None] * shapes)


def _peaks(places: NDArray, heights: NDArray) -> NDArray:
    """Return where the highest of heights (R, n) and its neighbours have their parabola."""
    top = heights.argmax(1).clip(1, len(places) - 2)
    rows = np.arange(len(heights))
    (a, b, c), (fa, fb, fc) = (
        [of(top + k) for k in (-1, 0, 1)] for of in (places.take, lambda k: heights[rows, k])
    )
    left, right = (fb - fa) / (b - a), (fc - fb) / (c - b)
    bend = (right - left) / (c - a)
    with np.errstate(divide="ignore", invalid="ignore"):
        summit = (a + b) / 2 - left / (2 * bend)
    summit = np.where(bend < 0, summit, places[heights.argmax(1)])
    return np.clip(summit, a, c)


class Curve(NamedTuple):
    """One curve's fit with intervals, of each number alone."""

    rate: Estimate
    level: Estimate
    lag: float  # correlation of successive residuals
    scatter: float  # their standard deviation
    fitted: NDArray


def fit_one(times: ArrayLike, curve: ArrayLike, seed: int = 0) -> Curve:
    """Fit one curve, with intervals by :func:`.bootstrap.of_residuals`."""
    curve = np.asarray(curve, float)
    fitted = fit(times, curve)
    rest = curve - fitted.curve[0]

    def numbers(curves: NDArray) -> list:
        return fit(times, curves)[:2]

    rate, level = bootstrap.of_residuals(numbers, curve, fitted.curve[0], 3, seed)
    lag = float(lag_correlation(rest))
    return Curve(rate, level, lag, float(rest.std()), fitted.curve[0])


def explained(times: ArrayLike, curves: ArrayLike, rate: float) -> NDArray:
    """Return the share of the variance of curves (R, n) that a rise at a given rate explains.

    That of level - rise exp(-rate t), level and rise fitted by least squares: the square of
    a correlation. It is negative where the fitted rise is.

    >>> times = np.arange(20)
    >>> curve = np.exp(-0.2 * times)
    >>> explained(times, [3 - curve, curve], 0.2).round(3).tolist()
    [1.0, -1.0]
    """
    times, curves = np.asarray(times, float), np.atleast_2d(np.asarray(curves, float))
    shape = -np.exp(-rate * (times - times[0]))
    shape, curves = shape - shape.mean(), curves - curves.mean(1, keepdims=True)
    along = curves @ shape
    return along * abs(along) / (shape @ shape * (curves**2).sum(1))


def factor(times: ArrayLike, curve: ArrayLike, rate: float, seed: int = 0) -> Estimate:
    """Return the level over the value at time zero of a curve that relaxes at a rate.

    Both are fitted; the interval is that of :func:`.bootstrap.of_residuals`.
    """
    times, curve = np.asarray(times, float), np.asarray(curve, float)
    shapes = np.stack([np.ones_like(times), -np.exp(-rate * times)], 1)
    solve = np.linalg.pinv(shapes)

    def numbers(curves: NDArray) -> list:
        level, rise = solve @ curves.T
        return [level / (level - rise)]

    fitted = shapes @ (solve @ curve)
    return bootstrap.of_residuals(numbers, curve, fitted, 2, seed)[0]


def sphere(memories: ArrayLike) -> NDArray:
    """Return ||w|| of scale-invariant weights, over its balance, after a drop of the rate.

    u = ||w||^4 relaxes to its balance at four over the memory (1 - beta) / (eta lambda),
    from ten times it. Source: our section "Two clocks".

    >>> sphere([0.0, 20.0]).round(3).tolist()
    [1.778, 1.0]
    """
    return (1 + 9 * np.exp(-4 * np.asarray(memories, float))) ** 0.25
