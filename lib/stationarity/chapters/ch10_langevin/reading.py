"""Runs of linear regression (chapter 10) beside the theories that should describe them.

Curvatures and noise variances are arrays (...), as in :mod:`stationarity.theory`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.optimize
import scipy.signal
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate
from ...theory import discrete
from ...theory.continuous import damping, limiting_covariance, propagator
from .. import SIZE, quantity
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
        """Return ``B − P (B − start) Pᵀ``, P the propagator after ``steps``, (K, ..., 2, 2)."""
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


class Direction(NamedTuple):
    """A run of SGD in one direction of a quadratic, and the law that it is drawn from."""

    rate: float
    momentum: float
    curvature: float
    path: NDArray  # positions (steps + 1,)
    law: Estimate  # the exact mean (steps + 1,), and where 95 % of the positions lie


def one_direction(rate=0.3, momentum=0.5, curvature=1.0, *, start=3.0, steps=4000) -> Direction:
    """Simulate a run from ``start``, whose noise has the variance 1 in each step."""
    mean, covariance = discrete.moments(
        curvature, [rate] * steps, 1.0, start=start, momentum=momentum
    )
    noise = np.random.default_rng(0).standard_normal(steps)
    poles = [1, rate * curvature - 1 - momentum, momentum]
    path = mean[:, 0] + np.append(0, scipy.signal.lfilter([-rate], poles, noise))
    law = Estimate.of(mean[:, 0], np.sqrt(covariance[:, 0, 0]))
    return Direction(rate, momentum, curvature, path, law)


def limiting_displacement(lags, curvature, rate, noise, momentum) -> NDArray:
    """Return E (θ_{t+ηk} − θ_t)² of the stationary Langevin equation, (len(lags), ...)."""
    limit = limiting_covariance(curvature, rate, noise, momentum)
    friction, natural, *_ = damping(curvature, rate, momentum)
    root = np.sqrt(((friction - natural) * (friction + natural)).astype(complex))  # iν
    slow = natural**2 / (friction + root)  # γ − iν, without cancellation
    sine = propagator(lags, curvature, rate, momentum)[..., 0, 1]
    times = rate * np.reshape(lags, (-1, *[1] * np.ndim(friction)))
    # 2 V (1 − r) without cancellation, as r = e^{−slow t} + slow e^{−γt} sin νt / ν.
    return 2 * limit[..., 0, 0] * (-np.expm1(-slow * times) - slow * sine).real


def velocity_sum_squared(lags, curvature, rate, noise, momentum) -> NDArray:
    """Return the same by velocity correlations C (Green-Kubo), for whole ``lags`` k.

    ``η² E v² [k + 2 Σ_{0<j<k} (k − j) C(ηj)]``; its trapezoidal rule leaves a slope.
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


def constant_noise(run: Run, triple: tuple, law: Theory, quantities=TOTALS) -> NDArray:
    """Return what a theory says of the rows of :func:`compared`, in their order.

    Its noise is of the covariance at the minimum; the learning rate may be another one.
    """
    (rate, momentum, size), start = triple, vector(run, "start")
    lags = recorded_steps(run.settings.lags)
    every = np.concatenate([recorded_steps(run.settings.steps), run.settings.steps + lags])
    given = vector(run, "curvature"), rate, momentum
    noise_variance = vector(run, "noise_of_example") / size
    mean = law.mean_at(every, *given, start=np.stack([start, np.zeros_like(start)], -1))
    covariance = law.covariance_at(every, given[0], rate, noise_variance, momentum)
    each = by_name(mean, covariance, lags, lambda x: law.mean_at(lags, *given, start=x))
    leading = slice(run.settings.directions)
    parts = [
        each[name].sum(-1) if name in TOTALS else each[name][:, leading].T.ravel()
        for name in quantities
    ]
    return np.concatenate(parts)


def compared(
    run: Run, triple: tuple, noise: str, theory: str, quantities=TOTALS
) -> pd.DataFrame:
    """Return a theory beside a simulation: a row for each quantity, direction and step.

    ``theory`` is one of :data:`THEORIES` or :data:`STATE_DEPENDENT`. Columns: those of the
    run's metrics, ``predicted``, ``ratio`` to it with ``ratio_error``, and ``sigmas``, the
    deviation in standard errors. Raises :class:`UsageError` for a run without exact moments.
    """

    def rows(noise: str) -> pd.DataFrame:
        of, totals = ensemble(noise, triple), {"index": None}  # earlier runs have others, too
        where = [totals if name in TOTALS else {} for name in quantities]
        parts = [run.series(name, of=of, **at) for name, at in zip(quantities, where)]
        return pd.concat(parts, ignore_index=True)

    if theory in THEORIES:
        predicted = constant_noise(run, triple, THEORIES[theory], quantities)
    elif run.settings.state_dependent:
        predicted = rows(theory).value
    else:
        raise UsageError(
            "This run holds no exact moments of minibatches: they come with the setting "
            "state_dependent=true, at N D² operations a step."
        )
    return _beside(rows(noise), predicted)


def _beside(table: pd.DataFrame, predicted) -> pd.DataFrame:
    error, off = table.error, table.value - predicted
    table = table.assign(predicted=predicted, ratio=table.value / predicted)
    return table.assign(ratio_error=error / predicted, sigmas=off / error)


def _largest_error(table: pd.DataFrame, degrees: int) -> Estimate:
    """Return the largest relative deviation: a joint lower end, the upper ends alone."""
    off, error = (1 / table.ratio - 1).abs(), (table.ratio_error / table.ratio**2).abs()
    alone, joint = (Estimate.of(off, error, degrees, many) for many in (1, len(table)))
    return Estimate(*map(float, (off.max(), max(joint.low.max(), 0.0), alone.high.max())))


def worst(run: Run, noise: str, theory: str) -> Estimate:
    """Return a theory's largest relative error, with interval, of the totals of all triples."""
    tables = [compared(run, triple, noise, theory) for triple in run.settings.triples]
    kind = "trajectories" if noise == "gaussian" else "minibatch_trajectories"
    return _largest_error(pd.concat(tables), getattr(run.settings, kind) - 1)


COARSE = 0.2  # of E‖v‖², that the Langevin equation misses in the case ``coarse_steps``


def coarse_rate(run: Run, momentum: float) -> float:
    """Return the rate at which the equation misses ``COARSE`` of the stationary E‖v‖²."""
    curvature, noise = vector(run, "curvature"), vector(run, "noise_of_example")

    def excess(rate: float) -> float:
        factors = 1 - rate * curvature / (2 * (1 + momentum))
        return COARSE - 1 + noise.sum() / (noise / factors).sum()

    largest = 2 * (1 + momentum) / curvature.max()
    return scipy.optimize.brentq(excess, 0.0, largest * (1 - 1e-12))


@quantity(
    "of the largest one of all steps, lags and sums, jointly (Bonferroni), by Student's t "
    "over the trajectories",
    within=SIZE,
    largest_rate="the run's own minibatches at its largest learning rate",
    coarse_steps="the exact moments of SGD at a rate at which the equation misses a fifth of "
    "the squared velocity, twice the threshold, with the run's relative errors",
    its_own="the moments of the Langevin equation itself, with the run's relative errors",
)
def langevin_error(run: Run, case: str = "") -> Estimate:
    """The largest relative error of the Langevin equation, at the smallest learning rate.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖², from the momentum's time 1/(1−β) on, against SGD on
    minibatches drawn with replacement.
    """
    triple = (max if case == "largest_rate" else min)(run.settings.triples)
    if case == "largest_rate" and triple[0] == min(run.settings.learning_rates):
        raise UsageError("This run has one learning rate only: none is larger.")
    table = compared(run, triple, "replacement", "Langevin equation")
    degrees = run.settings.minibatch_trajectories - 1
    if case in ("coarse_steps", "its_own"):
        coarse, relative = case == "coarse_steps", table.error / table.value
        chosen = (coarse_rate(run, triple[1]), *triple[1:]) if coarse else triple
        drawn = np.random.default_rng(run.settings.seed).standard_t(degrees, len(table))
        law = constant_noise(run, chosen, EXACT if coarse else LANGEVIN)
        value = law * (1 + relative * drawn)
        table = table.assign(value=value, error=relative * value)
        table = _beside(table, constant_noise(run, chosen, LANGEVIN))
    late = table[table.step >= 1 / (1 - triple[1])]
    if late.empty:
        raise UsageError(
            f"The run is shorter than the time 1/(1−β) of its momentum {triple[1]:g}: raise "
            "steps and lags."
        )
    return _largest_error(late, degrees)
