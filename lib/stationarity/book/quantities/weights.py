"""Whether weights and their distribution settle: what decides the claims of Part I."""

import math

import pandas as pd

from ...chapters.ch07_watching_a_distribution_settle import reading
from ...errors import UsageError
from ...runs.records import Run
from ...stats import invariance
from ...stats.estimate import Estimate
from ...train import levels


def smallest_gradient_ratio(run: Run) -> Estimate:
    """The settled gradient norm over the initial one, in the stage where it is least.

    Of the unbiased norm without decay; the stage with the smallest lower end counts.
    """
    return _smallest_ratio(run, "gradient_norm_squared")


def smallest_regularised_ratio(run: Run) -> Estimate:
    """The same of the gradient with the decay term."""
    return _smallest_ratio(run, "regularised_gradient_norm_squared")


def _smallest_ratio(run: Run, quantity: str) -> Estimate:
    table = levels.stage_levels(run, quantity)
    row = table.loc[table.ratio_low.idxmin()]
    return Estimate(row.ratio, row.ratio_low, row.ratio_high)


def settled_loss_change(run: Run) -> Estimate:
    """The last change of the loss, as a share of what it lost before.

    The change is that of a line through the settled part of the last stage.
    """
    last, lost = levels.last_loss(run)
    if not lost > 0:
        raise UsageError(
            f"The loss of {run.name} fell nowhere: there is no share to give."
        )
    return Estimate(last.change / lost, last.change_low / lost, last.change_high / lost)


def balance_ratio(run: Run) -> Estimate:
    """The fluctuation-dissipation ratio in the last half of the longest stage.

    Of minibatch gradients, 1 where the norm of the weights has stopped drifting.
    """
    found = reading.identities(run)
    begin, end = reading.longest_stage(run)
    row = found[(found["first"] >= begin) & (found["last"] <= end)].iloc[-1]
    names = [f"fluctuation_dissipation{end}" for end in ("", "_low", "_high")]
    return Estimate(*row[names])


def largest_shift(run: Run) -> Estimate:
    """The largest shift of an observable between the last two windows of the longest stage.

    The windows are its last half and the quarter before. The shift is the Wasserstein
    distance in standard deviations, and its interval what chance could add or hide. It
    has no upper end where an observable has too few effective samples to be compared.
    Of small nets losses and norms are compared (``judging.MAIN``), of training runs
    what is observed along them (``judging.OBSERVED``).
    """
    names = reading.OBSERVED if "epochs" in run.settings else reading.MAIN
    if not set(names) <= set(run.metrics.quantity):
        raise UsageError("This run did not record the observables that are compared.")
    seen = reading.observables(run, names, *reading.longest_stage(run))
    found = invariance.verdicts(seen)
    return _largest(found[found.fault == ""], found[found.fault != ""].fault)


def replica_shift(run: Run) -> Estimate:
    """The largest shift of loss, gradient norm or weight norm, replicas against time.

    The replicas at the end against the trajectory from their branch on, without its
    first quarter. In standard deviations of the trajectory, with an interval as for
    windows in time.
    """
    names = ("loss", "gradient_norm", "weight_norm")
    found = reading.replicas_against_time(run, names, last=1)
    found = found.rename(columns={"null": "resolution"})
    return _largest(found[found.fault == ""], found[found.fault != ""].fault)


def _largest(compared: pd.DataFrame, faults: pd.Series) -> Estimate:
    if compared.empty:
        reason = (
            faults.iloc[0] if len(faults) else "the run holds too few measurements."
        )
        raise UsageError(f"No observable can be compared: {reason}")
    row = compared.loc[(compared["shift"] - compared.resolution).idxmax()]
    high = math.inf if len(faults) else (compared["shift"] + compared.resolution).max()
    return Estimate(row["shift"], max(row["shift"] - row.resolution, 0.0), high)
