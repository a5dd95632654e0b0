"""Time averages along a trajectory: how much they say, and what must balance.

Pure functions of float arrays; they know no run. Successive values of a trajectory
are correlated, so n of them say as much as a smaller number of independent ones,
the effective sample size. Every error here allows for that: a window is cut into
blocks much longer than the autocorrelation time, and blocks count as independent.
Source: our section "Watching a distribution settle".
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.signal
import scipy.stats
from arviz_stats.base import array_stats
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

CONFIDENCE = 0.95
BLOCK = 8  # autocorrelation times in a block: see tests/test_invariance.py
FEWEST = 60  # effective samples in a window: with fewer, nothing is said
BATCHES = 20  # of batch means, at least three autocorrelation times each


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and Student's 95 % interval from ``batches``."""

    value: float
    error: float
    low: float
    high: float
    batches: int


def autocorrelation_time(chains: ArrayLike) -> float:
    """Return the integrated autocorrelation time, in samples.

    tau = 1 + 2 (rho_1 + rho_2 + ...), estimated by Geyer's initial monotone sequence
    from the correlations rho of one chain (n,) or of several (K, n) with a common law:
    a difference between their means counts as correlation. The mean of n samples has
    the variance of n / tau independent ones. tau may be below 1, where successive
    values lie on opposite sides of the mean. An estimate from n samples is too low
    by a few tau^2 / n. A constant chain has tau = 1.

    Raises :class:`UsageError` for fewer than 8 values or values that are not finite.
    Source: Geyer, 1992; the computation is arviz's.

    >>> independent = np.random.default_rng(0).standard_normal(10000)
    >>> round(autocorrelation_time(independent), 1)
    1.0
    """
    chains = np.atleast_2d(np.asarray(chains, float))
    if chains.shape[1] < 8:
        raise UsageError(
            f"An autocorrelation time needs at least 8 values, not {chains.shape[1]}: "
            "record more often, or for longer."
        )
    if not np.isfinite(chains).all():
        raise UsageError("A series holds values that are not finite: its run diverged.")
    scale = np.ptp(chains)  # arviz calls small numbers constant
    if scale == 0:
        return 1.0
    return chains.size / float(array_stats.ess(chains / scale, method="identity"))


def effective_sample_size(chains: ArrayLike) -> float:
    """Return how many independent samples the mean of the chains is worth.

    Raises as :func:`autocorrelation_time`, of one chain (n,) or several (K, n).
    """
    return np.size(chains) / autocorrelation_time(chains)


def fluctuation_time(window: ArrayLike) -> float:
    """Return the autocorrelation time (samples) of a window about a fitted line.

    A drift is no slow fluctuation: without the line it would hide behind its own
    autocorrelation. Raises :class:`UsageError` where the window (n,) has fewer than
    ``FEWEST`` effective samples, and says so.
    """
    window = np.asarray(window, float)
    # About a line nothing is left of one, but for rounding.
    residuals = scipy.signal.detrend(window) if len(window) >= 8 else window
    if np.ptp(residuals) <= 1e-12 * np.abs(window).max():
        residuals = np.zeros_like(window)
    time = autocorrelation_time(residuals)
    if len(window) / time < FEWEST:
        raise UsageError(
            f"A window of {len(window)} values has only {len(window) / time:.0f} effective "
            f"samples, and {FEWEST} are needed: run for longer or take a longer window."
        )
    return time


def blocks(window: ArrayLike) -> NDArray:
    """Cut a window (n,) into blocks that count as independent, (count, length).

    A block is ``BLOCK`` autocorrelation times long; what is left over at the old end
    is dropped. Raises as :func:`fluctuation_time`.
    """
    window = np.asarray(window, float)
    length = math.ceil(BLOCK * max(fluctuation_time(window), 1.0))
    length = min(length, len(window) // 4)
    return window[len(window) % length :].reshape(-1, length)


def block_bootstrap(
    statistic, window: ArrayLike, *, replicates: int = 400, seed: int = 0
) -> float:
    """Return the standard error of any statistic of a window (n,).

    ``statistic(samples, axis=-1)`` maps samples (replicates, n) to (replicates,), as
    ``np.median`` does. Overlapping blocks of ``BLOCK`` autocorrelation times are
    drawn with replacement (moving blocks: Kuensch, 1989). The error is too small by
    a relative part of about 1 / (4 BLOCK). Raises as :func:`fluctuation_time`.

    >>> sample = np.random.default_rng(0).standard_normal(2500)
    >>> round(block_bootstrap(np.mean, sample), 2)    # 1 / sqrt(2500)
    0.02
    """
    window = np.asarray(window, float)
    length = blocks(window).shape[1]
    count = math.ceil(len(window) / length)
    generator = np.random.default_rng(seed)
    starts = generator.integers(len(window) - length + 1, size=(replicates, count, 1))
    chosen = (starts + np.arange(length)).reshape(replicates, -1)[:, : len(window)]
    return float(np.std(statistic(window[chosen], axis=-1), ddof=1))


def time_average(values: ArrayLike) -> Estimate:
    """Return the mean of values (n,) in time, or (K, n) of K independent replicas.

    Batch means: ``BATCHES`` pieces of one trajectory, or the means of the replicas.
    Raises as :func:`fluctuation_time` for one trajectory.
    """
    values = np.asarray(values, float)
    _check_resolved(values)
    return ratio_of_sums(_sums(values), _sums(np.ones_like(values)))


def ratio_of_sums(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """Return sum(numerators) / sum(denominators) over independent batches (m,).

    The error is that of the residuals numerator - ratio * denominator (delta method),
    the interval Student's with m - 1 degrees of freedom. The bias is of order 1 / m.

    Raises :class:`UsageError` for fewer than two batches, or a sum that is zero below.

    >>> ratio_of_sums([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    Estimate(value=0.5, error=0.0, low=0.5, high=0.5, batches=3)
    """
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    count = len(above)
    if count < 2:
        raise UsageError(f"An error needs at least two batches, not {count}.")
    if below.sum() == 0:
        raise UsageError(
            "A ratio has zero below the line: nothing moves in this window."
        )
    value = float(above.sum() / below.sum())
    residuals = above - value * below
    error = math.sqrt((residuals**2).sum() * count / (count - 1)) / abs(
        float(below.sum())
    )
    margin = error * float(scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1))
    return Estimate(value, error, value - margin, value + margin, count)


def time_averaged_change(losses: ArrayLike) -> NDArray:
    """Return (f_t - f_0) / t for t = 1, 2, ...: the mean change per sample, (n - 1,).

    The changes telescope, so this is small as soon as t is large, for *any* bounded
    sequence: it illustrates {prf:ref}`thm-telescoping` and decides nothing.

    >>> time_averaged_change([3.0, 1.0, 2.0])
    array([-2. , -0.5])
    """
    losses = np.asarray(losses, float)
    return (losses[1:] - losses[0]) / np.arange(1, len(losses))


def fluctuation_dissipation(
    products: ArrayLike, squares: ArrayLike, learning_rate: float, momentum: float
) -> Estimate:
    """Return sum <theta, g> over (eta (1 + beta) / 2) sum ||b||^2: 1 where stationary.

    Parameters
    ----------
    products: <theta, g> of the steps of a window, theta before the step and g with
        the decay term: of one trajectory (n,) or of K replicas (K, n). With the
        minibatch's g the ratio is 1 as soon as ||theta||^2 no longer drifts: see
        :func:`norm_drift`. With grad f in its place it also tests that batches
        are independent of the weights.
    squares: ||b||^2, b being PyTorch's buffer after the update; the same shape.
    learning_rate, momentum: eta and beta.

    The interval comes from batches or replicas. Where the ratio is near 1 the batches'
    residuals telescope and batch means overstate the error. Raises as
    :func:`time_average`. Source: our theorem thm-fdr.
    """
    scale = learning_rate * (1 + momentum) / 2
    return _ratio(np.asarray(products, float), scale * np.asarray(squares, float))


def descent_budget(gains: ArrayLike, changes: ArrayLike) -> Estimate:
    """Return the first-order gain over the second-order loss: 1 where stationary.

    Parameters
    ----------
    gains: eta <grad f(theta), b> of measured steps, (n,) or (K, n): what the step
        gains to first order, b after the update and theta before.
    changes: f(theta - eta b) - f(theta), same shape. The second-order loss is
        gain + change: exactly the integral remainder of Taylor's formula.

    The ratio is gain / (gain + change). Raises as :func:`time_average`.
    Source: our theorem thm-budget.

    >>> descent_budget([[1.0, 1.0], [3.0, 1.0]], [[1.0, -1.0], [-1.0, 1.0]]).value
    1.0
    """
    gains = np.asarray(gains, float)
    return _ratio(gains, gains + np.asarray(changes, float))


def _check_resolved(residuals: NDArray) -> None:
    """Raise where one trajectory (n,) has too few effective samples."""
    if residuals.ndim == 1:
        fluctuation_time(residuals)


def _sums(values: NDArray) -> NDArray:
    """Sum (K, n) over each replica, or (n,) over each of ``BATCHES`` pieces."""
    if values.ndim == 2:
        return values.sum(1)
    length = len(values) // BATCHES
    return values[len(values) - BATCHES * length :].reshape(BATCHES, length).sum(1)


def _ratio(above: NDArray, below: NDArray) -> Estimate:
    found = ratio_of_sums(_sums(above), _sums(below))
    _check_resolved(above - found.value * below)
    return found


def norm_drift(
    norms: ArrayLike,
    products: ArrayLike,
    squares: float,
    learning_rate: float,
    momentum: float,
) -> float:
    """Return how far the minibatch ratio of a window is from 1, exactly.

    For every sequence of gradients, stationary or not, summing the two recursions of
    SGD with momentum gives

        sum <theta, g> = (eta (1 + beta) / 2) sum ||b||^2
            - (1 - beta) / (2 eta) [||theta||^2] + beta [<theta, b>],

    brackets being last less first value. ``norms`` holds the first and last
    ||theta||^2, ``products`` the first and last <theta, b> (b before the step),
    ``squares`` the sum of ||b||^2 over the steps between. What is returned is the sum
    of the brackets over the first term: :func:`fluctuation_dissipation` less 1.

    Source: our section "Watching a distribution settle".
    """
    change = -(1 - momentum) / (2 * learning_rate) * (norms[-1] - norms[0])
    change += momentum * (products[-1] - products[0])
    return float(change / (learning_rate * (1 + momentum) / 2 * squares))
