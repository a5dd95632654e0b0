"""How far a trajectory has gone, and the exponent of its growth.

The displacement over k steps is Δ_k = θ_{t+k} − θ_t. Where E‖Δ_k‖² grows as k^c, the
exponent c is 1 for Brownian motion, 2 for motion at a constant velocity, and 0 for a
process that stays where it is; any other is called anomalous. It is fitted by least
squares of log E‖Δ_k‖² on log k. Source: our section "Anomalous diffusion".
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .trends import slope_weights

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


def exponent_weights(lags: ArrayLike, within: tuple[float, float] = (0, np.inf)) -> NDArray:
    """Return the weights (L,) by which log E‖Δ_k‖² add up to the exponent; 0 outside.

    ``within`` are the first and the last lag of a window. Raises :class:`UsageError` for fewer
    than three lags in it, and for a last one below ``SPAN`` times the first.
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
