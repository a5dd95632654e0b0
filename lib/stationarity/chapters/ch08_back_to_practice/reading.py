"""What the averages of chapter 8 are worth: losses of averages, paired by member."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...runs.records import Run
from ...stats.estimate import Estimate


def members(run: Run, name: str, rate: float) -> pd.DataFrame:
    """Return a quantity at a learning rate: a row a step (or window), a column a member."""
    return run.wide(name, of=f"learning_rate={rate:g}")


def course(run: Run, name: str, rate: float) -> tuple[NDArray, Estimate]:
    """Return the steps (K,), and the mean over members (K,) with its interval at each."""
    table = members(run, name, rate)
    return table.index.to_numpy(), Estimate.mean(table.to_numpy().T)


class Averaging(NamedTuple):
    """Differences at a rate, paired by member; intervals hold jointly over the rates.

    Of losses, in nats; the last two of test accuracies, as shares.
    """

    rate: float
    best: int  # the window whose average has the lowest mean loss
    last: float  # mean loss of the last moment: the shortest window, without averaging
    best_over_last: Estimate  # negative where averaging helps
    longest_over_last: Estimate
    longest_over_best: Estimate  # positive where the longest window is too long
    annealed_over_best: Estimate  # of the last step after the rate was divided by ten
    earlier_over_later: Estimate  # single moments: all of the longest window, and its end
    right_longest_over_best: Estimate  # best by the loss
    right_annealed_over_longest: Estimate


def averaging(run: Run) -> list[Averaging]:
    """Compare, at each learning rate, averages with one another and with annealed nets.

    A member's best window is the one that is best for the mean of the other members: being
    picked flatters none.
    """
    by_rate, rates = [], run.settings.learning_rates
    for rate in rates:
        losses = members(run, "loss", rate).to_numpy()  # (windows, members)
        later, *_, earlier = members(run, "moment_loss", rate).to_numpy()
        annealed = members(run, "annealed_loss", rate).to_numpy()[-1]
        others = losses.sum(1, keepdims=True) - losses
        picked = others.argmin(0)[None]
        best = np.take_along_axis(losses, picked, 0)[0]
        last, *_, longest = losses
        differences = [best - last, longest - last, longest - best, annealed - best]
        differences.append(earlier - later)
        right = members(run, "accuracy", rate).to_numpy()
        differences.append(right[-1] - np.take_along_axis(right, picked, 0)[0])
        differences.append(members(run, "annealed_accuracy", rate).to_numpy()[-1] - right[-1])
        compared = (Estimate.mean(one, len(rates)) for one in differences)
        window = run.settings.windows[losses.mean(1).argmin()]
        by_rate.append(Averaging(rate, window, float(last.mean()), *compared))
    return by_rate


def spreads(run: Run) -> pd.DataFrame:
    """Return standard deviations of the test accuracy, in per cent, a row a learning rate.

    ``in time``: between moments of one net, in the later half of the longest window;
    ``over seeds``: between nets, each averaged over those moments, with its interval ``low``
    to ``high``, of each rate alone, by the chi-squared law.
    """
    rows, degrees = [], run.settings.members - 1
    ends = np.sqrt(degrees / scipy.stats.chi2.ppf([0.975, 0.025], degrees))
    for rate in run.settings.learning_rates:
        in_time = members(run, "spread_in_time", rate).to_numpy().mean()
        seeds = members(run, "late_accuracy", rate).to_numpy().std(ddof=1)
        rows.append((rate, *(100 * part for part in (in_time, seeds, *(seeds * ends)))))
    return pd.DataFrame(rows, columns=["rate", "in time", "over seeds", "low", "high"])
