"""Runs of linear regression (chapter 10) beside the theories that should describe them.

The theories are of directions of curvature h and gradient noise of variance s a step, as
in :mod:`stationarity.theory`, in arrays of any shape (...); states are (position,
velocity). Source: our section "A quadratic is solved exactly".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import NORMAL, Estimate
from ...theory import discrete
from ...theory.continuous import damping, limiting_covariance, propagator
from .. import quantity
from .study import STATE_DEPENDENT, TOTALS, by_name, ensemble, recorded_steps


class Theory(NamedTuple):
    """How a theory moves a mean in some steps, and the covariance B that it tends to."""

    propagator: Callable  # (steps, curvature, learning_rate, momentum) -> (K, ..., 2, 2)
    stationary: Callable  # (curvature, learning_rate, noise, momentum) -> (..., 2, 2)

    def mean_at(self, steps, curvature, learning_rate, momentum, *, start) -> NDArray:
        """Return the mean after ``steps`` (K,), (K, ..., 2), from ``start`` (..., 2)."""
        matrix = self.propagator(steps, curvature, learning_rate, momentum)
        return (matrix @ np.asarray(start, float)[..., None])[..., 0]

    def covariance_at(self, steps, curvature, rate, noise, momentum, *, start=0.0) -> NDArray:
        """Return the covariance after ``steps`` (K,), (K, ..., 2, 2).

        It is ``B − P (B − start) Pᵀ`` with the propagator P. Its rounding error is
        relative to B.
        """
        limit = self.stationary(curvature, rate, noise, momentum)
        matrix = self.propagator(steps, curvature, rate, momentum)
        return limit - matrix @ (limit - start) @ matrix.swapaxes(-1, -2)


def _powers(steps, curvature, learning_rate, momentum) -> NDArray:
    """Return the powers ``M^k`` of the matrix of one step of SGD, (K, ..., 2, 2)."""
    matrix = discrete.transition(curvature, learning_rate, momentum)[..., None, :, :]
    return discrete.iterate(matrix, np.zeros(2), np.eye(2), steps).swapaxes(-1, -2)


LANGEVIN = Theory(propagator, limiting_covariance)
EXACT = Theory(_powers, discrete.stationary_covariance)
CONSTANT = "exact, constant noise"
THEORIES = {"Langevin equation": LANGEVIN, CONSTANT: EXACT}


def limiting_displacement(lags, curvature, rate, noise, momentum) -> NDArray:
    """Return E (θ_{t+ηk} − θ_t)² of the stationary Langevin equation, (len(lags), ...).

    It is ``2 V (1 − r(ηk))``, with the variance V and the autocorrelation r of the
    position: ballistic, E v² (ηk)², at first, and 2 V in the end. Short lags do not cancel.

    >>> limiting_displacement([1, 1000], 1.0, 0.5, 3.0, 0.0).round(3)
    array([0.396, 1.5  ])
    """
    limit = limiting_covariance(curvature, rate, noise, momentum)
    friction, natural, *_ = damping(curvature, rate, momentum)
    root = np.sqrt(((friction - natural) * (friction + natural)).astype(complex))  # iν
    slow = natural**2 / (friction + root)  # γ − iν, without cancellation
    sine = propagator(lags, curvature, rate, momentum)[..., 0, 1]
    times = rate * np.reshape(lags, (-1, *[1] * np.ndim(friction)))
    # As r = e^{−slow t} + slow e^{−γt} sin νt / ν.
    return 2 * limit[..., 0, 0] * (-np.expm1(-slow * times) - slow * sine).real


def velocity_sum_squared(lags, curvature, rate, noise, momentum) -> NDArray:
    """Return the same displacement by velocity correlations (Green-Kubo), (len(lags), ...).

    ``η² E v² [k + 2 Σ_{0<j<k} (k − j) C(ηj)]`` for whole ``lags`` k sums the steps
    η v with the continuous autocorrelation C of the velocity. The sum is a
    trapezoidal rule for an integral that vanishes: its error leaves a slope of
    (1 − β) / (3 (1 + β)) times η² E v² a step, so that the sum is of no use at large k.

    >>> velocity_sum_squared([0, 1], 1.0, 0.5, 3.0, 0.0)
    array([0.  , 0.75])
    """
    limit = limiting_covariance(curvature, rate, noise, momentum)
    every = np.arange(np.max(lags) + 1)
    correlation = propagator(every, curvature, rate, momentum)[..., 1, 1]
    slope = 2 * np.cumsum(correlation, 0) - 1  # 1 + 2 Σ_{0<j≤k} C, from k to k + 1
    return rate**2 * limit[..., 1, 1] * (np.cumsum(slope, 0) - slope)[lags]


def sharpest(run: Run) -> str:
    """Return the best theory of minibatches with replacement that a run allows."""
    return STATE_DEPENDENT if run.settings.state_dependent else CONSTANT


def vector(run: Run, name: str) -> NDArray:
    """Return ``curvature``, ``noise_of_example`` or ``start`` (D,) of a run."""
    return run.series(name).value.to_numpy()


def compared(
    run: Run, triple: tuple, noise: str, theory: str, quantities=TOTALS, directions=None
) -> pd.DataFrame:
    """Return a theory beside a simulation: a row for each quantity, direction and step.

    ``theory`` is one of :data:`THEORIES`, with noise of the covariance that it has at the
    minimum, or :data:`STATE_DEPENDENT`; without ``directions`` the quantities are summed
    over all. Columns: those of the run's
    metrics, ``predicted``, ``ratio`` (the value over it) with its standard error, and
    ``sigmas`` (value less predicted, in standard errors). Raises :class:`UsageError` for
    a run without the exact moments of minibatches.
    """
    table = _rows(run, ensemble(noise, triple), quantities, directions)
    if theory in THEORIES:
        law, (rate, momentum, size) = THEORIES[theory], triple
        start, given = vector(run, "start"), (vector(run, "curvature"), rate, momentum)
        still = np.stack([start, np.zeros_like(start)], -1)
        steps, lags = recorded_steps(run.settings.steps), recorded_steps(run.settings.lags)
        every = np.concatenate([steps, run.settings.steps + lags])
        noise_variance = vector(run, "noise_of_example") / size
        mean = law.mean_at(every, *given, start=still)
        covariance = law.covariance_at(every, given[0], rate, noise_variance, momentum)
        each = by_name(mean, covariance, lags, lambda x: law.mean_at(lags, *given, start=x))
        parts, whole = (each[name] for name in quantities), directions is None
        columns = [x.sum(-1) if whole else x[:, directions].T.ravel() for x in parts]
        predicted = np.concatenate(columns)
    elif run.settings.state_dependent:
        predicted = _rows(run, ensemble(theory, triple), quantities, directions).value
    else:
        raise UsageError(
            "This run holds no exact moments of minibatches: they come with the setting "
            "state_dependent=true, at N D² operations a step."
        )
    error, off = table.error, table.value - predicted
    table = table.assign(predicted=predicted, ratio=table.value / predicted)
    return table.assign(ratio_error=error / predicted, sigmas=off / error)


def _rows(run: Run, of: str, quantities, directions) -> pd.DataFrame:
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
    """Return a theory's largest relative error, with interval, of the totals of all triples."""
    tables = [compared(run, triple, noise, theory) for triple in run.settings.triples]
    return _largest_error(pd.concat(tables))


@quantity("TODO")
def langevin_error(run: Run) -> Estimate:
    """The largest relative error of the Langevin equation, at the smallest learning rate.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖², from the momentum's time 1/(1−β) on, against SGD on
    minibatches drawn with replacement.
    """
    return _langevin_error(run, min(run.settings.triples))


@quantity("TODO")
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


@quantity("TODO")
def exact_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with Gaussian noise.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖²: see :func:`worst`.
    """
    return worst(run, "gaussian", CONSTANT)


@quantity("TODO")
def exact_minibatch_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with true minibatches.

    Drawn with replacement; their noise depends on the weights.
    """
    return worst(run, "replacement", STATE_DEPENDENT)


@quantity("TODO")
def exact_reshuffled_error(run: Run) -> Estimate:
    """The same where epochs are reshuffled, for which the theory is not made."""
    return worst(run, "reshuffled", STATE_DEPENDENT)
