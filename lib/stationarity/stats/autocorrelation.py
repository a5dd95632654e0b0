"""How much a trajectory says: its memory, and blocks that count as independent.

Successive values are correlated, so n of them say as much as a smaller number of
independent ones, the effective samples. Source: our section "Watching a distribution
settle".
"""

import math
from collections.abc import Callable

import numpy as np
import scipy.signal
from arviz_stats.base import array_stats
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

BLOCK = 8  # autocorrelation times in a block: see tests/stats/test_invariance.py
FEWEST = 60  # effective samples in a window: with fewer, nothing is said
REPLICATES = 400  # of the block bootstrap


def autocorrelation_time(chains: ArrayLike) -> float:
    """Return the integrated autocorrelation time, in samples.

    tau = 1 + 2 (rho_1 + rho_2 + ...), estimated by Geyer's initial monotone sequence
    from the correlations rho of one chain (n,) or of several (K, n) with a common law:
    a difference between their means counts as correlation. tau may be below 1. An
    estimate from n samples is too low by a few tau^2 / n. A constant chain has tau = 1.

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


def fluctuation_time(window: ArrayLike) -> float:
    """Return the autocorrelation time (samples) of a window (n,) about a fitted line.

    Without the line a drift would hide behind its own autocorrelation. Raises
    :class:`UsageError` for fewer than ``FEWEST`` effective samples.
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

    What is left over at the old end is dropped. Raises as :func:`fluctuation_time`.
    """
    window = np.asarray(window, float)
    length = math.ceil(BLOCK * max(fluctuation_time(window), 1.0))
    length = min(length, len(window) // 4)
    return window[len(window) % length :].reshape(-1, length)


def block_bootstrap(statistic: Callable, window: ArrayLike) -> float:
    """Return the standard error of any statistic of a window (n,).

    ``statistic(samples, axis=-1)`` maps samples (replicates, n) to (replicates,).
    Overlapping :func:`blocks` are drawn with replacement (moving blocks: Kuensch, 1989).
    The error is too small by about 1 / (4 BLOCK) of it. Raises as :func:`blocks`.

    >>> sample = np.random.default_rng(0).standard_normal(2500)
    >>> round(block_bootstrap(np.mean, sample), 2)    # 1 / sqrt(2500)
    0.02
    """
    window = np.asarray(window, float)
    length = blocks(window).shape[1]
    count = math.ceil(len(window) / length)
    generator = np.random.default_rng(0)
    starts = generator.integers(len(window) - length + 1, size=(REPLICATES, count, 1))
    chosen = (starts + np.arange(length)).reshape(REPLICATES, -1)[:, : len(window)]
    return float(np.std(statistic(window[chosen], axis=-1), ddof=1))
