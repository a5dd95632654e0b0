"""What must balance in the runs of chapter 7, window by window."""

import itertools

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate, mean_and_error
from ..bootstrap import ratio_of_means
from .reading import drift_in_spreads, members, stages

MEANS = ("loss", "product", "square", "full_product", "gain", "change")


def ratios(means: dict[str, NDArray], rate: float, momentum: float) -> dict[str, Estimate]:
    """Return what is 1 where SGD is stationary, from means over a window, (K,) of K replicas.

    The names are those of :func:`~.study.settling`. Fluctuation-dissipation is <theta, g>, or
    <theta, grad f> in its ``full`` form, over (eta (1 + beta) / 2) ||b||^2; with the
    minibatch's g it is 1 as soon as ||theta||^2 no longer drifts, for every sequence of
    gradients. The budget is the first-order gain over gain + change, the second-order loss.
    Raises as :func:`ratio_of_sums`. Source: our theorems thm-fdr and thm-budget.
    """
    push, gain = rate * (1 + momentum) / 2 * means["square"], means["gain"]
    return {
        "fluctuation_dissipation": ratio_of_sums(means["product"], push),
        "fluctuation_dissipation_full": ratio_of_sums(means["full_product"], push),
        "descent_budget": ratio_of_sums(gain, gain + means["change"]),
    }


def ratio_of_sums(numerators: ArrayLike, denominators: ArrayLike) -> Estimate:
    """Return sum(numerators) / sum(denominators) over independent parts (m,).

    Its interval is by the error of :func:`.bootstrap.ratio_of_means`. Raises
    :class:`UsageError` for fewer than two parts, or a sum below that is zero.
    """
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    count = len(above)
    if count < 2:
        raise UsageError(f"An error needs at least two independent parts, not {count}.")
    if below.sum() == 0:
        raise UsageError("A ratio has zero below the line: nothing moves in this window.")
    return Estimate.of(*ratio_of_means(above, below), count - 1)


def balances(run: Run) -> pd.DataFrame:
    """Return what must balance, over five windows of every stage, each twice the one before.

    A row a window: ``first`` and ``last`` step, their ``middle`` and ``half`` the length,
    ``learning_rate``, ``loss`` with ``loss_error``, and of each of :func:`ratios`, and of
    ``norm_drift`` (:func:`drift_in_spreads` of ||theta||^2), the value, ``_low`` and
    ``_high``. Raises :class:`UsageError` for a window without a measurement.
    """
    norms = members(run, "weight_norm_squared")
    series, rows = {name: members(run, name) for name in MEANS}, []
    for name in ("product", "square"):  # of the steps before the one they stand at
        series[name].index -= 1
    for number, (begin, end) in enumerate(stages(run)):
        rate = run.settings.learning_rate / 10**number
        cuts = [begin + (end - begin) * share // 31 for share in (0, 1, 3, 7, 15, 31)]
        for first, last in itertools.pairwise(cuts):
            inside = {name: values.loc[first : last - 1] for name, values in series.items()}
            if any(part.empty for part in inside.values()):
                where = f"the steps {first} to {last}: lower measure_every"
                raise UsageError(f"No measurement lies in {where}.")
            means = {name: part.mean().to_numpy() for name, part in inside.items()}
            row = {"stage": number + 1, "first": first, "last": last, "learning_rate": rate}
            row |= {"middle": (first + last) / 2, "half": (last - first) / 2}
            row["loss"], row["loss_error"] = mean_and_error(means["loss"])
            estimates = ratios(means, rate, run.settings.momentum)
            estimates["norm_drift"] = drift_in_spreads(norms.loc[first : last - 1].to_numpy())
            for name, one in estimates.items():
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), one, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)
