"""How much a trajectory says: its memory, in samples.

Successive values are correlated, so n of them say as much as a smaller number of
independent ones, the effective samples. Source: our section "Watching a distribution
settle".
"""

import numpy as np
import scipy.signal
from arviz_stats.base import array_stats
from numpy.typing import ArrayLike

from ..errors import UsageError

FEWEST = 60  # effective samples in a window: with fewer, nothing is said


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
        said = f"An autocorrelation time needs at least 8 values, not {chains.shape[1]}"
        raise UsageError(f"{said}: record more often, or for longer.")
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
    effective = len(window) / max(time, 1.0)
    if effective < FEWEST:
        said = f"A window of {len(window)} values has only {effective:.0f} effective samples"
        remedy = "run for longer or take a longer window"
        raise UsageError(f"{said}, and {FEWEST} are needed: {remedy}.")
    return time
