"""How far a trajectory has gone, and the exponent of its growth.

The displacement over k steps is Δ_k = θ_{t+k} − θ_t. Where E‖Δ_k‖² grows as k^c, the
exponent c is 1 for Brownian motion, 2 for motion at a constant velocity, and 0 for a
process that stays where it is; any other is called anomalous. It is fitted by least
squares of log E‖Δ_k‖² on log k. Source: our section "Anomalous diffusion".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .estimate import Estimate
from .trends import slope_weights

RESAMPLES = 1000  # of the bootstrap
SPAN = 1.5  # the least ratio of the last lag of a window to the first: most of an octave


def spaced_lags(longest: int, per_octave: int = 4) -> NDArray:
    """Return whole lags from 1 to ``longest``, evenly spaced in their logarithm, each once.

    Raises :class:`UsageError` for a ``longest`` below 1.

    >>> spaced_lags(10, per_octave=2)
    array([ 1,  2,  3,  4,  6,  8, 10])
    """
    if longest < 1:
        raise UsageError(f"The longest lag must be at least 1, not {longest}.")
    count = int(np.ceil(np.log2(longest) * per_octave))
    powers = 2.0 ** (np.arange(count + 1) / per_octave)
    return np.unique(np.append(np.rint(powers[powers < longest]), longest).astype(int))


def exponent(
    lags: ArrayLike, squares: ArrayLike, within: tuple[float, float] = (0, np.inf)
) -> Estimate:
    """Return the exponent of E‖Δ_k‖² over the lags of a window, with its interval.

    ``squares`` (K, R, L) are squared displacements at ``lags`` (L,) of K independent
    trajectories (seeds) from R reference points each, or (K, L); ``within`` are the
    first and the last lag of the window. E is the mean over seeds and reference points.

    The interval is that of the bootstrap over n units: the seeds, or a single trajectory's
    reference points, which ought then not to overlap. The standard deviation over
    ``RESAMPLES`` draws, times √(n / (n − 1)), is the standard error, with n − 1 degrees of
    freedom. (Percentiles of the draws hold the truth in about 85 % of cases at n = 6.)

    Raises :class:`UsageError` for fewer than three lags in the window or two units, for a
    last lag below ``SPAN`` times the first, and for a square not positive and finite.

    >>> lags = np.array([1, 2, 4, 8])
    >>> exponent(lags, [lags**1.5, 2 * lags**1.5]).value.round(6)
    np.float64(1.5)
    """
    return weighted(lags, squares, exponent_weights(lags, within))


def exponent_weights(lags: ArrayLike, within: tuple[float, float] = (0, np.inf)) -> NDArray:
    """Return the weights (L,) by which log E‖Δ_k‖² add up to the exponent; 0 outside.

    Raises :class:`UsageError` for a window that holds too little: see :func:`exponent`.
    """
    lags = np.asarray(lags, float)
    first, last = within[0] - 1e-9 * lags, within[1] + 1e-9 * lags
    inside = (lags >= first) & (lags <= last) & (lags > 0)
    chosen = lags[inside]
    if len(chosen) < 3 or chosen[-1] < SPAN * chosen[0]:
        said = f"The trajectory is too short for an exponent: the window from {within[0]:g} to"
        said += f" {within[1]:g} steps holds {len(chosen)} lags, and at least three are needed"
        remedy = "Follow it for longer, or widen the window"
        raise UsageError(f"{said}, the last {SPAN:g} times the first. {remedy}.")
    weights = np.zeros(len(lags))
    weights[inside] = slope_weights(np.log(chosen))
    return weights


def weighted(lags: ArrayLike, squares: ArrayLike, weights: NDArray) -> Estimate:
    """Return the weighted sum of log E‖Δ_k‖², with interval and errors of :func:`exponent`."""
    units = np.asarray(squares, float)
    if units.ndim == 3:  # means of seeds, or one's reference points
        units = units[0] if len(units) == 1 else units.mean(1)
    if units.shape[0] < 2 or units.shape[1] != np.size(lags):
        said = "An interval of an exponent needs squared displacements at all lags, of at least"
        raise UsageError(f"{said} two seeds or two reference points.")
    used = weights != 0
    units, weights = units[:, used], weights[used]
    if not (np.isfinite(units).all() and (units > 0).all()):
        said = "A squared displacement is zero or not finite, and has no logarithm"
        raise UsageError(f"{said}: a trajectory stood still or diverged.")
    count = len(units)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    values = np.log(drawn @ units / count) @ weights
    error = values.std(ddof=1) * np.sqrt(count / (count - 1))
    return Estimate.of(np.log(units.mean(0)) @ weights, error, count - 1)
