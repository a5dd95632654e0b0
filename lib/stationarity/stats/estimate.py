"""A number with its interval, and what makes one."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

NORMAL = 1.96  # standard errors on each side of an interval at 95 %
SMALLEST = 1e-30  # a positive value below it has no logarithm of its own


class Estimate(NamedTuple):
    """A value with its interval at 95 %, in the units of its quantity; or arrays of them."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value, error, degrees: int | None = None, together: int = 1) -> Self:
        """Make an estimate from a value and its error, by Student's t or the normal law.

        By the former it can hold ``together`` with others, so many in all (Bonferroni).

        >>> Estimate.of(0.0, 0.5)
        Estimate(value=0.0, low=-0.98, high=0.98)
        """
        law = scipy.stats.t.isf
        margin = error * (NORMAL if degrees is None else law(0.025 / together, degrees))
        return cls(value, value - margin, value + margin)

    @classmethod
    def mean(cls, values: ArrayLike, together: int = 1) -> Self:
        """Make the mean of independent values (n, ...) over the first axis, by Student's t.

        ``together`` as for :meth:`of`. Raises :class:`UsageError` for fewer than two.
        """
        if len(values) < 2:
            raise UsageError("One value has no error bar: set members to at least 2.")
        return cls.of(*mean_and_error(values), len(values) - 1, together)

    @classmethod
    def geometric_mean(cls, values: ArrayLike) -> Self:
        """Make the geometric mean of positive independent values (n, ...).

        The interval is that of the mean logarithm. Values below ``SMALLEST`` count as
        that. Raises as :meth:`mean`.
        """
        return cls(*np.exp(cls.mean(np.log(np.maximum(values, SMALLEST)))))

    @property
    def trend(self) -> str:
        """Of a change: ``falls``, ``rises``, or ``no trend`` where the interval holds zero."""
        return "falls" if self.high < 0 else "rises" if self.low > 0 else "no trend"

    def __truediv__(self, scale: float) -> Self:
        """Return the estimate in units of a positive number."""
        return type(self)(*(part / scale for part in self))

    def root(self) -> Self:
        """Return the estimate of a norm from that of its square, 0 where it is negative."""
        return type(self)(*np.sqrt(np.maximum(self, 0.0)))


UNKNOWN = Estimate(np.nan, np.nan, np.nan)


def mean_and_error(values: ArrayLike, axis: int = 0) -> tuple[NDArray, NDArray]:
    """Return the mean of values (n, ...), and its standard error: NaN of a single one."""
    values = np.asarray(values, float)
    count, mean = values.shape[axis], values.mean(axis)
    if count < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis, ddof=1) / np.sqrt(count)


def variance_and_error(values: NDArray) -> tuple[NDArray, NDArray]:
    """Return the unbiased variance of each column (M, k), and its standard error.

    The error uses the fourth moment: the noise of minibatches need not be Gaussian.
    It is NaN for fewer than four values.
    """
    count, centred = len(values), values - values.mean(0)
    variance = (centred**2).sum(0) / (count - 1)
    if count < 4:
        return variance, np.full_like(variance, np.nan)
    spread = (centred**4).mean(0) - variance**2 * (count - 3) / (count - 1)
    return variance, np.sqrt(spread.clip(0) / count)


def jackknife(
    function: Callable, samples: ArrayLike, *, axis: int = 0, unbiased: bool = False
) -> tuple[NDArray, NDArray]:
    """Return a function of the mean of independent samples, and its standard error.

    ``samples`` (n, ...) are independent on ``axis``; ``function`` takes their mean, and the
    means that leave one out. ``unbiased`` takes off the bias of first order in 1 / n.
    The error has n - 1 degrees of freedom. Source: Efron and Stein, 1981.
    """
    samples = np.moveaxis(np.asarray(samples, float), axis, 0)
    count, value = len(samples), function(samples.mean(0))
    parts = np.stack([function(one) for one in (samples.sum(0) - samples) / (count - 1)])
    if unbiased:
        value = count * value - (count - 1) * parts.mean(0)
    return value, np.sqrt((count - 1) * parts.var(0))
