"""How far the weights go, from a sketch of them.

A sketch is a series of a few numbers whose squared distances are in the mean those of all the
weights, or proportional to them. One trajectory is divided: its later part starts ``POINTS``
times as many displacements, which for the bootstrap count as independent although neighbours
overlap. So the longest lag is a tenth of the window. On Brownian motion, fractional Brownian
motion (0.6 and 1.4) and Ornstein-Uhlenbeck processes the interval at 95 % holds the truth in 93
to 97 % of cases (tests/watching/test_report_diffusion.py counts them).
"""

from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from ..chapters import bootstrap
from ..errors import UsageError
from ..stats.displacement import spaced_lags
from ..stats.estimate import Estimate

POINTS = 8  # groups of starts
STARTS = 16  # of a group, at most
LONGEST = 10  # times the longest lag are the window
WINDOW = np.array([1 / 3, 1])  # of the lags, where the exponent is fitted
SHORTEST = 12  # rows of the longest lag


class Displacement(NamedTuple):
    """Squared displacements (R, L) of R groups of starts at lags (L,), in rows."""

    lags: NDArray
    squares: NDArray

    def exponent(self, together: int = 1) -> Estimate:
        """Return the exponent over the last two thirds of the lags, by a bootstrap.

        Its interval can hold ``together`` with others, so many in all (Bonferroni).
        """
        fitted = bootstrap.exponent(self.lags, self.squares[None], self.lags[-1] * WINDOW)
        one, all_ = (scipy.stats.t.isf(0.025 / n, POINTS - 1) for n in (1, together))
        error = (fitted.high - fitted.value) / one
        return Estimate(fitted.value, fitted.value - all_ * error, fitted.value + all_ * error)


def displacements(sketch: NDArray | None) -> Displacement:
    """Return the squared displacements of a sketch (n, K).

    Raises :class:`UsageError` where there is none, or too short a one.
    """
    count = 0 if sketch is None else len(sketch)
    longest = (count - 1) // LONGEST
    if longest < SHORTEST:
        said = f"The window has {count} rows of the sketch"
        raise UsageError(f"{said}, and {LONGEST * SHORTEST + 1} are needed: train for longer.")
    lags = spaced_lags(longest)
    firsts = np.arange(POINTS) * (len(sketch) - 1 - longest) // POINTS
    starts = np.linspace(0, longest - 1, min(longest, STARTS)).astype(int)
    gone = [  # a group at a time: all at once would be large
        sketch[(first + starts)[:, None] + lags] - sketch[first + starts, None]
        for first in firsts
    ]
    return Displacement(lags, np.stack([(one**2).sum(2).mean(0) for one in gone]))
