"""What must balance in the runs of chapter 7, and the drift of the weights' norm.

Source: our section "Watching a distribution settle".
"""

import itertools
import math

import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate, mean_and_error
from .observed import members, stages

RATIOS = {
    "fluctuation_dissipation": "fluctuation-dissipation, minibatch gradient",
    "fluctuation_dissipation_full": "fluctuation-dissipation, full gradient",
    "descent_budget": "descent budget",
}


def fluctuation_dissipation(
    products: ArrayLike, squares: ArrayLike, learning_rate: float, momentum: float
) -> Estimate:
    """Return <theta, g> over (eta (1 + beta) / 2) ||b||^2: 1 where stationary.

    ``products`` are means of <theta, g> over the steps of a window, (K,) of K replicas:
    theta before the step and g with the decay term. ``squares`` are those of ||b||^2, b
    being PyTorch's buffer after the update; eta is the learning rate, beta the momentum.

    With the minibatch's g the ratio is 1 as soon as ||theta||^2 no longer drifts: for
    every sequence of gradients, with brackets for last less first value,

        sum <theta, g> = (eta (1 + beta) / 2) sum ||b||^2
            - (1 - beta) / (2 eta) [||theta||^2] + beta [<theta, b>].

    With grad f in its place there is noise of mean zero beside the drift, where batches
    are independent of the weights.
    Raises as :meth:`Estimate.ratio`. Source: our theorem thm-fdr.
    """
    return Estimate.ratio(products, learning_rate * (1 + momentum) / 2 * np.asarray(squares))


def descent_budget(gains: ArrayLike, changes: ArrayLike) -> Estimate:
    """Return the first-order gain over the second-order loss: 1 where stationary.

    ``gains`` are means of eta <grad f(theta), b> over measured steps, (K,) of K replicas,
    b after the update and theta before; ``changes`` those of f(theta - eta b) - f(theta).
    The second-order loss is gain + change: exactly the integral remainder of Taylor's
    formula. Raises as :meth:`Estimate.ratio`. Source: our theorem thm-budget.
    """
    return Estimate.ratio(gains, np.asarray(gains) + np.asarray(changes))


def balances(run: Run, windows: int = 5) -> pd.DataFrame:
    """Return what must balance, over windows of every stage of a run.

    Each stage is cut into ``windows`` that double in length. One row a window: ``first``
    and ``last`` step, their ``middle`` and ``half`` the length, ``learning_rate``, ``loss``
    with ``loss_error``, and for each name in ``RATIOS``, and for ``norm_drift``
    (:func:`drift_in_spreads` of ||theta||^2), the value, ``_low`` and ``_high``.
    Errors are those over the members, which are independent. Raises :class:`UsageError`
    for a window without a measurement.
    """
    names = ("loss", "product", "square", "full_product", "gain", "change")
    norms = members(run, "weight_norm_squared")
    series, rows = {name: members(run, name) for name in names}, []
    for name in ("product", "square"):  # of the steps before the one they stand at
        series[name].index -= 1
    shares = (2 ** np.arange(windows + 1) - 1).tolist()
    for number, (begin, end) in enumerate(stages(run)):
        rates = run.settings.learning_rate / 10**number, run.settings.momentum
        cuts = [begin + (end - begin) * share // shares[-1] for share in shares]
        for first, last in itertools.pairwise(cuts):
            inside = [values.loc[first : last - 1] for values in series.values()]
            if any(part.empty for part in inside):
                where = f"the steps {first} to {last}: lower measure_every"
                raise UsageError(f"No measurement lies in {where}.")
            loss, product, square, full, gain, change = (p.mean().to_numpy() for p in inside)
            row = {"stage": number + 1, "first": first, "last": last, "learning_rate": rates[0]}
            row |= {"middle": (first + last) / 2, "half": (last - first) / 2}
            row |= dict(zip(("loss", "loss_error"), mean_and_error(loss), strict=True))
            found = [fluctuation_dissipation(p, square, *rates) for p in (product, full)]
            drift = drift_in_spreads(norms.loc[first : last - 1].to_numpy())
            found += [descent_budget(gain, change), drift]
            for name, one in zip((*RATIOS, "norm_drift"), found, strict=True):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), one, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def drift_in_spreads(values: NDArray) -> Estimate:
    """Return by how much K independent series (n, K) rise, over their spread.

    The rise of a fitted line from end to end, by Student's t over the series; the spread
    is the standard deviation about the lines. NaN for fewer than eight values.
    """
    if len(values) < 8:
        return Estimate(math.nan, math.nan, math.nan)
    still = scipy.signal.detrend(values, axis=0)
    line = values - still
    spread = math.sqrt((still**2).sum() / (still.size - 2 * still.shape[1]))
    return Estimate.mean(line[-1] - line[0]) / (spread or 1.0)
