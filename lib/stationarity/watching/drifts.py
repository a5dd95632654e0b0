"""The level and the drift of a series whose values remember each other.

The errors of :mod:`stationarity.chapters.trends` hold the values for independent. Those of a
training are not: here an error comes from the slow motions of the series itself.

**Short memory.** A series of n values is projected on orthonormal polynomials. The first
two projections are its mean and its slope. Where the memory is short against n, those of
higher degrees are independent, with mean zero and the variance of the first two, as slow
projections of one short-memory process are (Phillips 2005; Lazarus, Lewis, Stock and Watson
2018). So mean and slope, each over the root of the mean square of q of these, follow
Student's t with q degrees of freedom. A drift uses the degrees from ``CURVED`` on, so that a
bent series makes its interval no wider.

**Any memory.** A process with a memory of half the window looks like a drift. Let D(k) be
E (x_{t+k} - x_t)^2. For a stationary process that is a sum of relaxations, D(k) / k falls
with k, so that D(n) <= m D(n / m): the change over the window has at most the variance of m
independent changes over its m-th parts. That variance is half the mean square of the
differences of successive changes (von Neumann 1941), which a smooth drift does not enter and
which the negative correlation of a stationary process' changes makes larger. So the change
over its error, by Student's t with 2 (m - 1)^2 / (3 m - 4) degrees of freedom, errs at most as
often as it says, whatever the memory: as often for a random walk, hardly ever where the
memory is short.

:func:`change` takes the first where the series has ``FEWEST`` effective samples, and else
the second. A slow part that hides below fast noise is beyond both: where a tenth of the
variance has a memory of a twentieth of the window, false alarms at 5 % are about 7 %, with a
tenth 11 %. With 60 effective samples on one time scale they are 5.5 %. (Simulation of 2,000
series each; tests/watching/test_report_drifts.py counts some again.)
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..chapters.autocorrelation import FEWEST, autocorrelation_time
from ..errors import UsageError
from ..stats.estimate import Estimate

DEGREES = 8  # q; with more, a slow part that hides below fast noise does more harm
CURVED = 3  # degree from which a drift counts as noise
PARTS = 24  # m
BLOCKS = 512  # means that a long series is condensed to


class Change(NamedTuple):
    """What a series gains over its window, in its unit.

    ``spread`` is its standard deviation about a line, and ``memory`` its autocorrelation time
    over the length of the window; both NaN where the memory is not short.
    """

    gain: Estimate
    spread: float
    memory: float


def blocks(values: ArrayLike, most: int = BLOCKS) -> NDArray:
    """Return means of blocks of equal length, at most so many, of a series (n, ...).

    Of the first values as many are left out as do not fill a block.

    >>> blocks(range(9), most=4)
    array([1., 4., 7.])
    """
    values = np.asarray(values, float)
    length = -(-len(values) // most)
    count = len(values) // length
    whole = values[len(values) - count * length :]
    return whole.reshape(count, length, *values.shape[1:]).mean(1)


@lru_cache(maxsize=64)
def polynomials(count: int, degrees: int) -> NDArray:
    """Return orthonormal polynomials of the degrees 0, 1, ... on ``count`` even points."""
    table = np.polynomial.legendre.legvander(np.linspace(-1, 1, count), degrees - 1)
    basis, upper = np.linalg.qr(table)
    return basis.T * np.sign(np.diag(upper))[:, None]


def level(values: ArrayLike, errors: ArrayLike | None = None, together: int = 1) -> Estimate:
    """Return the mean of a series (n,) of short memory, with its interval by Student's t.

    ``errors`` (n,) are standard errors of the values: the interval is not narrower than they
    make it. It can hold ``together`` with others, so many in all (Bonferroni). Raises
    :class:`UsageError` for fewer than five values.

    >>> level([1.0, 2.0, 1.0, 2.0, 1.0, 2.0]).value
    1.5
    """
    values = np.asarray(values, float)
    if len(values) < 5:
        said = f"A level needs at least five measured values, not {len(values)}"
        raise UsageError(f"{said}: measure more often (`every`), or train longer at this rate.")
    degrees = min(DEGREES, len(values) - 2)
    coefficients = polynomials(len(values), degrees + 2) @ values
    noise = np.sqrt(np.mean(coefficients[2:] ** 2))
    if errors is not None:
        noise = max(noise, np.sqrt(np.mean(np.square(errors))))
    error = float(noise) / np.sqrt(len(values))
    return Estimate.of(float(values.mean()), error, degrees, together)


def _size(parts: NDArray):
    """Return a number as it is, and of several their root mean square."""
    return float(parts) if not np.ndim(parts) else float(np.sqrt(np.mean(parts**2)))


def gain(values: NDArray, together: int = 1) -> Estimate:
    """Return what a line through a series (n,), or several (n, K), of short memory gains."""
    basis = polynomials(len(values), DEGREES + CURVED)
    coefficients, reach = basis @ values, float(basis[1, -1] - basis[1, 0])
    noise = _size(coefficients[CURVED:].ravel())
    return Estimate.of(_size(coefficients[1]) * reach, noise * reach, DEGREES, together)


def gain_at_any_memory(values: ArrayLike, together: int = 1) -> Estimate:
    """Return the change from the first value of a series (n,), or several, to the last.

    By Student's t over the changes of ``PARTS`` parts: see the top of this file. Raises
    :class:`UsageError` for fewer values than these have ends.
    """
    values = np.asarray(values, float)
    if len(values) <= PARTS:
        said = f"A drift needs at least {PARTS + 1} values, not {len(values)}"
        raise UsageError(f"{said}: watch for longer.")
    nodes = np.linspace(0, len(values) - 1, PARTS + 1).astype(int)
    steps = np.diff(values[nodes], axis=0)
    error = _size(np.diff(steps, axis=0).ravel()) * np.sqrt(PARTS / 2)
    degrees = 2 * (PARTS - 1) ** 2 / (3 * PARTS - 4)
    return Estimate.of(_size(steps.sum(0)), error, degrees, together)


def change(values: ArrayLike, together: int = 1) -> Change:
    """Return what a series gains over its window, in the way that its memory allows.

    Of several series (n, K) the gain is the root mean square of theirs, with the interval that
    a single one would have. It is then wide enough whatever they have in common: a sum of
    squares of Gaussian variables has the longest tail where there is one alone, if it is cut
    off at less than one in five (Szekely and Bakirov 2003). Raises :class:`UsageError` as
    :func:`gain_at_any_memory`.
    """
    values = blocks(values)
    anyway = gain_at_any_memory(values, together)
    basis = polynomials(len(values), 2)
    rest = values - basis.T @ (basis @ values)
    if np.ptp(rest) <= 1e-12 * np.abs(values).max():  # lines, or constants, but for rounding
        return Change(anyway, 0.0, 0.0)
    effective = len(values) / max(autocorrelation_time(rest.T), 1.0)
    if effective < FEWEST:
        return Change(anyway, np.nan, np.nan)
    spread = _size(rest.ravel()) * np.sqrt(len(rest) / (len(rest) - 2))
    return Change(gain(values, together), float(spread), 1 / effective)
