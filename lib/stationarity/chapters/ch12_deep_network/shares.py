"""How many modes do as is predicted, whatever their mean does (chapter 12)."""

import math

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...stats.estimate import SMALLEST, Estimate

BAND = (0.8, 1.25)  # measured over predicted, of a mode that does as is predicted


def inside(table: pd.DataFrame, name: str) -> Estimate:
    """Return the share of the predicted modes whose ratio to the prediction is in ``BAND``.

    Of a column of :func:`.reading.by_mode`; a mode without a measured value is outside.
    The errors widen the scatter of the ratios, so their logarithms are first drawn towards
    their mean, each by its error, until they scatter by what the errors leave. The interval
    is Clopper and Pearson's, a mode being a draw, at the ends of that of the scatter that is
    left; both at 97.5 %, so jointly at 95 %, for modes that scatter alike: one that is badly
    known is drawn to the mean of the others wherever it truly is. Raises :class:`UsageError`
    without a prediction. Source: Paule and Mandel, 1982; Louis, 1984; Viechtbauer, 2007.
    """
    count = int(table.filter([f"{name}_predicted"]).count().sum())
    if not count:
        raise UsageError(f"No mode has a prediction of its {name.replace('_', ' ')}.")
    both = table[[f"{name}_ratio", f"{name}_ratio_error"]].dropna()
    ratios = both.iloc[:, 0].clip(SMALLEST).to_numpy()
    values, errors = np.log(ratios), both.iloc[:, 1].to_numpy() / ratios
    law = scipy.stats.chi2(max(len(values) - 1, 1))

    def share(square):
        mean, scatter = _beyond(values, errors, square)
        drawn = mean + (values - mean) * np.sqrt(scatter / (scatter + errors**2))
        within = (drawn > math.log(BAND[0])) & (drawn < math.log(BAND[1]))
        return scipy.stats.binomtest(int(within.sum()), count)

    ends = [share(law.ppf(level)) for level in (0.0125, 0.9875)]
    ranges = np.array([one.proportion_ci(0.975) for one in ends])
    return Estimate(share(law.mean()).statistic, ranges[:, 0].min(), ranges[:, 1].max())


def _beyond(values: NDArray, errors: NDArray, square: float) -> tuple[float, float]:
    """Return the mean of values, and the variance of their scatter beyond their errors.

    With it the squares of the deviations, over variance and errors, add up to ``square``.
    """

    def mean(scatter):
        return np.average(values, weights=1 / (errors**2 + scatter))

    def excess(scatter):
        return ((values - mean(scatter)) ** 2 / (errors**2 + scatter)).sum() - square

    least = 1e-12  # errors may be 0
    if not len(values) or excess(least) <= 0:
        return mean(least) if len(values) else 0.0, least
    most = len(values) * np.ptp(values) ** 2 / square
    scatter = scipy.optimize.brentq(excess, least, most)
    return mean(scatter), scatter
