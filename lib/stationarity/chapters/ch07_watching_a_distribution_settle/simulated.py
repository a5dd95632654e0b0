"""Stationary series with two time scales, and how the test of invariance judges them."""

import math

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.signal
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from ...stats.estimate import NORMAL
from . import invariance


def two_scales(count: int, length: int, share: float, time: float, seed: int = 0) -> NDArray:
    """Return stationary series (count, length) of variance 1: white noise and a slow part.

    The latter, an Ornstein-Uhlenbeck process of autocorrelation time ``time`` (samples), has
    the ``share`` of the variance.
    """
    phi, generator = (time - 1) / (time + 1), np.random.default_rng(seed)
    fast, noise = generator.standard_normal((2, count, length))
    noise[:, 1:] *= math.sqrt(1 - phi**2)
    slow = scipy.signal.lfilter([1], [1, -phi], noise)
    return math.sqrt(1 - share) * fast + math.sqrt(share) * slow


def fitted_scales(values: ArrayLike) -> tuple[float, float]:
    """Return share and time of :func:`two_scales` that series (n,) or (K, n) resemble."""
    parts = scipy.signal.detrend(np.atleast_2d(np.asarray(values, float)))
    length = parts.shape[1]
    power = np.abs(np.fft.rfft(parts, 2 * length)) ** 2
    correlations = np.fft.irfft(power.sum(0))[:length]
    if correlations[0] <= 0:
        return 0.0, 1.0
    lags = np.unique(np.geomspace(1, max(length // 8, 2), 24).astype(int))

    def correlation(lag, share, time):
        return share * ((time - 1) / (time + 1)) ** lag

    observed, first = correlations[lags] / correlations[0], (0.5, 1 + length / 50)
    bounds = ([0, 1], [1, 2 + length / 4])
    (share, time), _ = scipy.optimize.curve_fit(
        correlation, lags, observed, first, bounds=bounds
    )
    return float(share), float(time)


def controls(length: int) -> dict:
    """Return two control series, ``{name: (steps, values)}``, of ``length`` samples.

    :func:`two_scales` with a slow part of 10 % whose time is a twentieth of the shorter of
    the last two windows; and the same with a line that rises by 1.5.
    """
    values, steps = two_scales(1, length, 0.1, length / 80)[0], np.arange(length)
    return {
        "stationary control": (steps, values),
        "drifting control": (steps, values + np.linspace(0, 1.5, length)),
    }


# The slow part of the variance, and the shorter window over its memory.
PROCESSES = (0, math.inf), (1, 80), (0.02, 20), (0.05, 20), (0.1, 20), (0.1, 5)


def calibration(
    count: int, shift: float = 0.5, length: int = 1000, processes=PROCESSES
) -> pd.DataFrame:
    """Return how often ``count`` stationary and drifting series are said to differ.

    A row for each of the processes: the ``slow part`` of its variance, ``window / time`` of the
    shorter window (``length``; the later is twice as long), the share of ``false alarms``,
    of ``refused`` pairs, and of ``alarms`` where a drift shifts the mean by ``shift`` standard
    deviations; ``best`` is that for a test of the means alone by one who knows the memory.
    """
    rows = []
    for seed, (share, per) in enumerate(processes):
        time = max(length / per, 1.0)
        series = two_scales(count, 3 * length, share, time, seed)
        drifting = series + np.linspace(0, 2 * shift, 3 * length)
        still, moved = (
            [invariance.judge(one[:length], one[length:])["verdict"] for one in each]
            for each in (series, drifting)
        )
        judged = max(count - still.count("undecided"), 1)
        known = max(count - moved.count("undecided"), 1)
        error = math.sqrt((1 - share + share * time) * 1.5 / length)
        best = sum(scipy.stats.norm.cdf(side * shift / error - NORMAL) for side in (1, -1))
        false_alarms, alarms = still.count("differ") / judged, moved.count("differ") / known
        rows.append([share, per, false_alarms, 1 - judged / count, alarms, best])
    columns = ["slow part", "window / time", "false alarms", "refused", "alarms", "best"]
    return pd.DataFrame(rows, columns=columns)
