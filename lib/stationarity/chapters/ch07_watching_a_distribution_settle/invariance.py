"""Are two windows drawn from one distribution? Distances, and a test of them.

The null hypothesis is that one stationary process made both windows. Its p-values
allow for autocorrelation, of several time scales too. At the level of 5 % the test promises
at most 7 % of false alarms where the autocorrelation time of a slow part is up to a
twentieth of the shorter window, and no more than that: with a tenth they are about 8.5 %,
with a fifth 10 to 16 %; on one time scale 5 to 6 %. (Simulation of 500 to 1,000 series
of 4,000 values, windows of 1,000 and 2,000, slow part 2 to 10 % of the variance. Blocks of
the estimated memory, the usual way, give 10 to 18 % with a twentieth, 17 to 26 % with a
tenth, 32 to 40 % with a fifth.) benchmarks/invariance.py repeats the count,
tests/chapters/ch07/test_invariance.py guards the promise. Source: our section "Watching a
distribution settle".
"""

import itertools
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ..autocorrelation import FEWEST, fluctuation_time

LEVEL = 0.05  # of each test
SLOWEST = 6  # cosines that say how much the slowest motions of a window weigh
COSINES = 24  # cosines that say how these motions are shaped
GRID = 200  # points on which chance is simulated
JUDGED = ("shift", "error", "resolution", "p_value", "verdict", "fault")  # see judge
JUDGE = "energy"  # the distance whose p-value decides


class Distance(NamedTuple):
    """A distance between two windows, its standard error, and what chance makes of it.

    ``resolution`` is what one stationary process would exceed with probability ``level``,
    ``p_value`` how often it would give as much as ``value``.
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
    level: float = LEVEL,
) -> dict[str, Distance]:
    """Compare the distributions of two windows (n,), (m,) by two distances.

    With empirical distribution functions F and G: ``wasserstein`` is the integral of
    |F - G| (in the unit of the values), ``energy`` the root of twice the integral of
    (F - G)^2 (root of that unit).

    What chance makes of F - G is simulated: Gaussian, with the covariance of
    :func:`_fluctuations`, divided by the root of a chi-squared variable over its degrees
    of freedom as Student's t is, since that covariance is estimated. ``independent``
    says which windows hold independent samples (one of each replica), and no series.

    Raises :class:`UsageError` where a window in time has too few effective samples.

    >>> sample = np.random.default_rng(0).standard_normal((2, 500))
    >>> distance = compare(*sample, independent=(True, True))["wasserstein"]
    >>> distance.value < distance.resolution
    True
    """
    parts = [np.asarray(window, float) for window in (first, second)]
    grid = np.sort(np.concatenate(parts))
    functions = [np.searchsorted(np.sort(x), grid, side="right") / len(x) for x in parts]
    difference = functions[0] - functions[1]
    few = np.linspace(0, len(grid) - 1, min(len(grid), GRID)).astype(int)
    gaps = np.diff(grid[few])
    chance = [
        _fluctuations(part, grid[few], gaps, alone)
        for part, alone in zip(parts, independent, strict=True)
    ]
    sizes, uncertain = np.sum([rest for _, *rest in chance], axis=0)
    degrees = sizes**2 / uncertain if uncertain else 1.0
    normals, state = _normals(replicates, tuple(len(f) for f, *_ in chance))
    generator = np.random.default_rng(0)
    generator.bit_generator.state = state
    null = normals[0] @ chance[0][0]
    null += normals[1] @ chance[1][0]
    null /= np.sqrt(generator.chisquare(degrees, (replicates, 1)) / degrees)
    exact = _distances(difference, np.diff(grid))
    by_chance = _distances(null, gaps)
    null += difference[few]
    again = _distances(null, gaps)
    distances = {}
    for name, value in exact.items():
        error, resolution = again[name].std(ddof=1), np.quantile(by_chance[name], 1 - level)
        p_value = (np.count_nonzero(by_chance[name] >= value) + 1) / (replicates + 1)
        distances[name] = Distance(float(value), float(error), float(resolution), p_value)
    return distances


@lru_cache(maxsize=8)
def _normals(replicates: int, sizes: tuple[int, ...]) -> tuple[list[NDArray], dict]:
    """Return standard Gaussians (replicates, size) of each size, and the state after them."""
    generator = np.random.default_rng(0)
    normals = [generator.standard_normal((replicates, size)) for size in sizes]
    return normals, generator.bit_generator.state


def _fluctuations(
    window: NDArray, grid: NDArray, gaps: NDArray, independent: bool
) -> tuple[NDArray, float, float]:
    """Return what makes up the chance of F on a grid (G,), its size and its uncertainty.

    The chance is z @ functions (count, G) with standard Gaussian z. Of independent samples
    each is a function. Of a series the projections of the indicators 1{x_t <= x} on the
    slowest cosines are: each varies about as F does where the memory is short against
    their periods. ``COSINES`` of them give the shape and ``SLOWEST`` the size.

    Size: the integral of the variance. Uncertainty: the variance of that size, halved.
    """
    count = len(window)
    if independent:
        if count < 4:
            raise UsageError("A comparison needs at least four independent samples.")
        degrees, steps = count - 1, (window[:, None] <= grid).astype(float)
        functions = (steps - steps.mean(0)) / math.sqrt(count * degrees)
    else:
        fluctuation_time(window)  # refuses what is too short
        order, degrees = np.argsort(window, kind="stable"), SLOWEST
        cosines = _cosines(count)[:, order]
        below = np.searchsorted(window[order], grid, side="right") - 1
        sums = np.where(below < 0, 0.0, cosines.cumsum(1)[:, below])
        functions = sums * (math.sqrt(2 / COSINES) / count)
    products = (functions[:, :-1] * gaps) @ functions[:, :-1].T
    scale = 1.0
    if not independent and (size := np.trace(products)):
        scale = np.trace(products[:SLOWEST, :SLOWEST]) / size * (COSINES / SLOWEST)
    size, uncertainty = np.trace(products) * scale, (products**2).sum() * scale**2 / degrees
    return functions * math.sqrt(scale), float(size), float(uncertainty)


@lru_cache(maxsize=8)
def _cosines(count: int) -> NDArray:
    """Return the slowest cosines, without the constant, at so many times (COSINES, count)."""
    times = np.pi * (np.arange(count) + 0.5) / count
    return np.cos(np.outer(np.arange(1, COSINES + 1), times))


def _distances(difference: NDArray, gaps: NDArray) -> dict[str, NDArray]:
    size = np.abs(difference[..., :-1])
    wasserstein = size @ gaps
    np.square(size, out=size)
    return {"wasserstein": wasserstein, "energy": np.sqrt(2 * (size @ gaps))}


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
        distances = compare(first, second, independent=independent, level=level)
    except UsageError as error:
        return row | {"verdict": "undecided", "fault": str(error)}
    scale, p_value = np.std(second) or 1.0, distances[JUDGE].p_value
    numbers = (*(part / scale for part in distances["wasserstein"][:3]), p_value)
    verdict = "agree" if p_value > level else "differ"
    return dict(zip(row, numbers, strict=True)) | {"verdict": verdict, "fault": ""}


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
    said = {"since": since, "verdict": words[last.verdict], "fault": last.fault}
    return {**last[numbers], **said}


def verdicts(observables: dict[str, tuple[ArrayLike, ArrayLike]]) -> pd.DataFrame:
    """Return the verdict of each observable, ``{name: (steps, values)}``, a row each."""
    rows = {name: verdict(along(*series)) for name, series in observables.items()}
    return pd.DataFrame.from_dict(rows, orient="index")
