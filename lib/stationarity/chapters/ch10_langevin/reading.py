"""Runs of linear regression (chapter 10) beside the theories that should describe them."""

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import NORMAL, Estimate
from .. import quantity
from .moments import EXACT, LANGEVIN
from .study import STATE_DEPENDENT, TOTALS, by_name, ensemble, recorded_steps

CONSTANT = "exact, constant noise"
THEORIES = {"Langevin equation": LANGEVIN, CONSTANT: EXACT}


def sharpest(run: Run) -> str:
    """Return the best theory of minibatches with replacement that a run allows."""
    return STATE_DEPENDENT if run.settings.state_dependent else CONSTANT


def vector(run: Run, name: str) -> NDArray:
    """Return ``curvature``, ``noise_of_example`` or ``start`` (D,) of a run."""
    return run.series(name).value.to_numpy()


def predictions(run: Run, triple: tuple, theory: str) -> dict[str, NDArray]:
    """Return what one of :data:`THEORIES` says at the run's steps and lags, (K, D) each.

    From the start on, with noise of the covariance that it has at the minimum.
    """
    law, (rate, momentum, size) = THEORIES[theory], triple
    curvature, start = vector(run, "curvature"), vector(run, "start")
    still = np.stack([start, np.zeros_like(start)], -1)
    steps, lags = recorded_steps(run.settings.steps), recorded_steps(run.settings.lags)
    every = np.concatenate([steps, run.settings.steps + lags])
    noise, given = vector(run, "noise_of_example") / size, (curvature, rate, momentum)
    mean = law.mean_at(every, *given, start=still)
    covariance = law.covariance_at(every, curvature, rate, noise, momentum)
    return by_name(mean, covariance, lags, lambda one: law.mean_at(lags, *given, start=one))


def compared(
    run: Run, triple: tuple, noise: str, theory: str, quantities=TOTALS, directions=None
) -> pd.DataFrame:
    """Return a theory beside a simulation: a row for each quantity, direction and step.

    ``theory`` is one of :data:`THEORIES`, or :data:`STATE_DEPENDENT`; without
    ``directions`` the quantities are summed over all. Columns: those of the run's
    metrics, ``predicted``, ``ratio`` (the value over it) with its standard error, and
    ``sigmas`` (value less predicted, in standard errors). Raises :class:`UsageError` for
    a run without the exact moments of minibatches.
    """
    table = _rows(run, triple, noise, quantities, directions)
    if theory in THEORIES:
        every, whole = predictions(run, triple, theory), directions is None
        parts = (every[name] if whole else every[name][:, directions] for name in quantities)
        predicted = np.concatenate([one.sum(-1) if whole else one.T.ravel() for one in parts])
    elif run.settings.state_dependent:
        predicted = _rows(run, triple, theory, quantities, directions).value
    else:
        raise UsageError(
            "This run holds no exact moments of minibatches: they come with the setting "
            "state_dependent=true, at N D² operations a step."
        )
    return table.assign(
        predicted=predicted,
        ratio=table.value / predicted,
        ratio_error=table.error / predicted,
        sigmas=(table.value - predicted) / table.error,
    )


def _rows(run: Run, triple: tuple, noise: str, quantities, directions) -> pd.DataFrame:
    of = ensemble(noise, triple)
    table = pd.concat([run.series(name, of=of) for name in quantities])
    index = table["index"]
    chosen = index.isna() if directions is None else index.isin(directions)
    return table[chosen].reset_index(drop=True)


def _largest_error(table: pd.DataFrame) -> Estimate:
    """Return the largest relative deviation of :func:`compared`, with its interval.

    Its upper end is the largest upper end of all rows; the lower one the largest lower
    end of intervals that hold jointly (Bonferroni).
    """
    off, error = (1 / table.ratio - 1).abs(), (table.ratio_error / table.ratio**2).abs()
    joint = scipy.stats.norm.isf(0.025 / len(table))
    low, high = max((off - joint * error).max(), 0.0), (off + NORMAL * error).max()
    return Estimate(float(off.max()), float(low), float(high))


def worst(run: Run, noise: str, theory: str) -> Estimate:
    """Return the largest relative error of a theory at all settings of the optimiser.

    With an interval at 95 %, of the totals from the first step on.
    """
    tables = [compared(run, triple, noise, theory) for triple in run.settings.triples]
    return _largest_error(pd.concat(tables))


@quantity
def langevin_error(run: Run) -> Estimate:
    """The largest relative error of the Langevin equation, at the smallest learning rate.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖², from the momentum's time 1/(1−β) on, against SGD on
    minibatches drawn with replacement.
    """
    return _langevin_error(run, min(run.settings.triples))


@quantity
def langevin_error_largest_rate(run: Run) -> Estimate:
    """The same at the largest learning rate; of equal rates at the largest momentum."""
    return _langevin_error(run, max(run.settings.triples))


def _langevin_error(run: Run, triple: tuple) -> Estimate:
    table = compared(run, triple, "replacement", "Langevin equation")
    late = table[table.step >= 1 / (1 - triple[1])]
    if late.empty:
        raise UsageError(
            f"The run is shorter than the time 1/(1−β) of its momentum {triple[1]:g}: raise "
            "steps and lags."
        )
    return _largest_error(late)


@quantity
def exact_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with Gaussian noise.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖²: see :func:`worst`.
    """
    return worst(run, "gaussian", CONSTANT)


@quantity
def exact_minibatch_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with true minibatches.

    Drawn with replacement; their noise depends on the weights.
    """
    return worst(run, "replacement", STATE_DEPENDENT)


@quantity
def exact_reshuffled_error(run: Run) -> Estimate:
    """The same where epochs are reshuffled, for which the theory is not made."""
    return worst(run, "reshuffled", STATE_DEPENDENT)
