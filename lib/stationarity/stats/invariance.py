"""Are two windows drawn from one distribution? Distances, and tests of them.

The null hypothesis is that one stationary process made both windows. Its p-values
allow for autocorrelation: tests/stats/test_invariance.py measures how often a stationary
process is rejected. Source: our section "Watching a distribution settle".
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .autocorrelation import FEWEST, blocks

LEVEL = 0.05  # of each test
DISTANCES = ("kolmogorov_smirnov", "wasserstein", "energy")
JUDGED = ("shift", "error", "resolution", "p_value", "verdict", "fault")  # see judge
JUDGE = "energy"  # the distance whose p-value decides: see tests/stats/test_invariance.py


class Distance(NamedTuple):
    """A distance between two windows, its standard error, and what chance makes of it.

    ``resolution`` is the 95 % quantile that one stationary process would give, ``p_value``
    how often it would give as much as ``value``.
    """

    value: float
    error: float
    resolution: float
    p_value: float


def compare(
    first: ArrayLike,
    second: ArrayLike,
    *,
    independent: tuple[bool, bool] = (False, False),
    replicates: int = 999,
) -> dict[str, Distance]:
    """Compare the distributions of two windows (n,), (m,) by three distances.

    With empirical distribution functions F and G: ``kolmogorov_smirnov`` is
    max |F - G|, ``wasserstein`` is the integral of |F - G| (in the unit of the values)
    and ``energy`` the root of twice the integral of (F - G)^2 (root of that unit).

    A window in time is cut into blocks; where ``independent`` says that a window
    holds independent samples (one of each replica), every sample is a block. F is
    the mean of the blocks' functions F_i. Under the null hypothesis F - G varies as
    sum w_i (F_i - F) / count over the blocks of both windows, w being Gaussian: a
    multiplier bootstrap. Each replicate is divided by the root of a chi-squared
    variable over its degrees of freedom, as Student's t is, since few blocks do not
    know their own spread. Standard errors resample the blocks.

    Raises :class:`UsageError` where a window in time has too few effective samples.

    >>> sample = np.random.default_rng(0).standard_normal((2, 500))
    >>> found = compare(*sample, independent=(True, True))["wasserstein"]
    >>> found.value < found.resolution
    True
    """
    parts = [
        np.reshape(window, (-1, 1)).astype(float) if alone else blocks(window)
        for window, alone in zip((first, second), independent, strict=True)
    ]
    if min(map(len, parts)) < 4:
        raise UsageError("A comparison needs at least four independent samples or blocks.")
    grid = np.sort(np.concatenate([part.ravel() for part in parts]))
    functions = [  # of blocks (count, length) on a grid (G,)
        np.stack([np.searchsorted(row, grid, side="right") for row in np.sort(part)])
        / part.shape[1]
        for part in parts
    ]
    generator = np.random.default_rng(0)
    difference = functions[0].mean(0) - functions[1].mean(0)
    null = sum(_fluctuations(f, replicates, generator) for f in functions)
    again = difference + sum(
        sign * _resampled(f, replicates // 4, generator)
        for sign, f in zip((1, -1), functions, strict=True)
    )
    return {
        name: Distance(
            float(value), float(spread.std(ddof=1)), float(np.quantile(chance, 1 - LEVEL)),
            (np.count_nonzero(chance >= value) + 1) / (replicates + 1),
        )
        for name, value, spread, chance in zip(
            DISTANCES, *(_distances(d, grid) for d in (difference, again, null)), strict=True
        )
    }  # fmt: skip


def judge(
    first: ArrayLike,
    second: ArrayLike,
    *,
    independent: tuple[bool, bool] = (False, False),
    level: float = LEVEL,
) -> dict:
    """Return what :func:`compare` says of two windows, as a row of a table.

    ``shift`` is the Wasserstein distance with its ``error`` and ``resolution``, all over
    the standard deviation of the second window. The ``verdict`` is ``differ`` where the
    ``p_value`` of the energy distance is at most ``level``, ``agree`` where not, and
    ``undecided``, without numbers, for too few effective samples: ``fault`` says so.
    """
    row = dict.fromkeys(JUDGED[:4], math.nan)
    try:
        distances = compare(first, second, independent=independent)
    except UsageError as error:
        return row | {"verdict": "undecided", "fault": str(error)}
    scale, p_value = np.std(second) or 1.0, distances[JUDGE].p_value
    numbers = (*(part / scale for part in distances["wasserstein"][:3]), p_value)
    verdict = "agree" if p_value > level else "differ"
    return dict(zip(row, numbers, strict=True)) | {"verdict": verdict, "fault": ""}


def _fluctuations(functions: NDArray, replicates: int, generator) -> NDArray:
    """Draw what the mean of the blocks' functions does by chance, (replicates, G)."""
    count = len(functions)
    centred = (functions - functions.mean(0)) * math.sqrt(count / (count - 1)) / count
    weights = generator.standard_normal((replicates, count))
    spread = generator.chisquare(count - 1, (replicates, 1)) / (count - 1)
    return (weights / np.sqrt(spread)) @ centred


def _resampled(functions: NDArray, replicates: int, generator) -> NDArray:
    count = len(functions)
    weights = generator.multinomial(count, np.full(count, 1 / count), replicates) / count
    return (weights - 1 / count) @ functions


def _distances(difference: NDArray, grid: NDArray) -> NDArray:
    gaps, size = np.diff(grid), np.abs(difference[..., :-1])
    return np.stack([size.max(-1), size @ gaps, np.sqrt(2 * (size**2 @ gaps))])


def growing_windows(count: int, fewest: int = FEWEST) -> list[slice]:
    """Return windows in the order of time, each twice as long as the one before.

    The last is the later half; the first has at least ``fewest`` values.

    >>> growing_windows(400)
    [slice(100, 200, None), slice(200, 400, None)]
    """
    windows, end = [], count
    while end - end // 2 >= fewest:
        windows.append(slice(end // 2, end))
        end //= 2
    return windows[::-1]


def along(steps: ArrayLike, values: ArrayLike) -> pd.DataFrame:
    """Compare each growing window of a series (n,) with the next, by :func:`judge`.

    A row for each pair: ``first`` and ``middle``, the steps at which the two begin, the
    ``last`` step, and what :func:`judge` says.
    """
    steps, values = np.asarray(steps), np.asarray(values, float)
    rows = [
        {"first": steps[early.start], "middle": steps[late.start], "last": steps[late.stop - 1]}
        | judge(values[early], values[late])
        for early, late in itertools.pairwise(growing_windows(len(values)))
    ]
    return pd.DataFrame(rows, columns=["first", "middle", "last", *JUDGED])


def verdict(comparisons: pd.DataFrame) -> dict:
    """Say whether a series has settled, from :func:`along`.

    ``verdict`` is ``drifts`` where the last two windows differ, ``settled`` where they
    do not (no shift beyond the resolution was seen), and ``undecided`` where the data do
    not suffice: ``fault`` says why. A stationary series is said to drift with probability
    ``LEVEL``. ``since`` is the first step of the earliest window from which on no pair
    differs (NaN if not settled). ``shift``, ``resolution`` and ``p_value`` are those of
    the last two windows.
    """
    numbers = ["shift", "resolution", "p_value"]
    if comparisons.empty:
        row = dict.fromkeys((*numbers, "since"), math.nan)
        return row | {"verdict": "undecided", "fault": "the series is too short"}
    last = comparisons.iloc[-1]
    words = {"agree": "settled", "differ": "drifts", "undecided": "undecided"}
    backwards = comparisons[::-1]
    since = backwards["first"][backwards.verdict.eq("agree").cummin()].min()
    return {
        **last[numbers], "since": since, "verdict": words[last.verdict], "fault": last.fault
    }  # fmt: skip


def verdicts(observables: dict[str, tuple[ArrayLike, ArrayLike]]) -> pd.DataFrame:
    """Return the verdict of each observable, ``{name: (steps, values)}``, a row each."""
    rows = {name: verdict(along(*series)) for name, series in observables.items()}
    return pd.DataFrame.from_dict(rows, orient="index")
