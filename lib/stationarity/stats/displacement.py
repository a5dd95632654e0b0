"""Lags at which to ask how far a trajectory has gone, and what its growth says.

The displacement over k steps is Δ_k = θ_{t+k} − θ_t. Where E‖Δ_k‖² grows as k^c, the exponent c
is 1 for Brownian motion, 2 for motion at a constant velocity, and 0 for a process that stays
where it is; any other is called anomalous. Source: our section "Anomalous diffusion".
"""

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError


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
