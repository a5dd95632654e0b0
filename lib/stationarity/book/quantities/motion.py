"""How weights move after the loss has settled: what decides the claims of Part II."""

import math

import numpy as np
import pandas as pd

from ...chapters.ch09_anomalous_diffusion import reading
from ...chapters.ch10_langevin import reading, study
from ...chapters.ch11_modified_loss import study
from ...chapters.ch12_deep_network import reading
from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate


def displacement_exponent(run: Run) -> Estimate:
    """The exponent of the squared displacement, fitted over the last two thirds of the lags.

    At the base settings; the interval is a bootstrap over seeds, or over the reference
    points of a single net. Of known processes it is that of Brownian motion.
    """
    found = reading.exponent(run)
    return Estimate(found.value, found.low, found.high)


def distance_from_brownian(run: Run) -> Estimate:
    """How far that exponent lies from 1, the value of Brownian motion, to either side."""
    found = reading.exponent(run)
    low = max(found.low - 1, 1 - found.high, 0.0)
    return Estimate(abs(found.value - 1), low, max(found.high - 1, 1 - found.low))


def exponent_change(run: Run) -> Estimate:
    """How much the exponent changes over the last four octaves of the lags.

    That of the later two octaves less that of the two before: zero for a power law.
    """
    found = reading.exponent_change(run)
    return Estimate(found.value, found.low, found.high)


def ornstein_uhlenbeck_change(run: Run) -> Estimate:
    """The same change of an Ornstein-Uhlenbeck process, which settles: no power law."""
    found = reading.exponent_change(run, "Ornstein-Uhlenbeck")
    return Estimate(found.value, found.low, found.high)


def followed_loss_change(run: Run) -> Estimate:
    """The change of the loss while the weights are followed, as a share of what it lost.

    The change is that of a line through the mean over the members.
    """
    return Estimate(*reading.loss_change(run))


def langevin_error(run: Run) -> Estimate:
    """The largest relative error of the Langevin equation, at the smallest learning rate.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖², from the momentum's time 1/(1−β) on, against SGD on
    minibatches drawn with replacement.
    """
    return _langevin_error(run, min)


def langevin_error_largest_rate(run: Run) -> Estimate:
    """The same at the largest learning rate; of equal rates at the largest momentum."""
    return _langevin_error(run, max)


def _langevin_error(run: Run, choose) -> Estimate:
    triple = choose(reading.run_triples(run))
    table = reading.compared(run, triple, "replacement", "Langevin equation")
    late = table[table.step >= 1 / (1 - triple[1])]
    if late.empty:
        raise UsageError(
            f"The run is shorter than the time 1/(1−β) of its momentum {triple[1]:g}: raise "
            "steps and lags."
        )
    return Estimate(*reading.largest_error(late))


def exact_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with Gaussian noise.

    Of E‖θ−μ‖², E‖v‖² and E‖Δ_k‖², from the first step on, at all settings
    of the optimiser.
    """
    return Estimate(*reading.worst(run, "gaussian", "exact, constant noise"))


def exact_minibatch_error(run: Run) -> Estimate:
    """The largest relative error of the exact moments, with true minibatches.

    Drawn with replacement; their noise depends on the weights.
    """
    return Estimate(*reading.worst(run, "replacement", study.EXACT))


def exact_reshuffled_error(run: Run) -> Estimate:
    """The same where epochs are reshuffled, for which the theory is not made."""
    return Estimate(*reading.worst(run, "reshuffled", study.EXACT))


def rotation_ratio(run: Run) -> Estimate:
    """The rotation in phase space over that by the probability current.

    Of the continuous theory, in a step; of all modes the one that is furthest from 1.
    """
    return _furthest(
        (
            table.rotation / table.rotation_limit,
            table.rotation_error / table.rotation_limit,
        )
        for table in _ensembles(run)
    )


def position_rotation_ratio(run: Run) -> Estimate:
    """The rotation in the plane of two positions over that in phase space by the current."""
    pairs = [table.iloc[:-1] for table in _ensembles(run)]
    return _furthest(
        (
            one.position_rotation / one.rotation_limit,
            one.position_rotation_error / one.rotation_limit,
        )
        for one in pairs
    )


def oscillation_ratio(run: Run) -> Estimate:
    """The frequency of a mode over that of the underdamped Langevin equation.

    Of the modes whose predicted frequency exceeds their damping (1 − β) / (1 + β), the
    one that is furthest from 1.
    """
    found = []
    for beta, table in zip(
        study.labels(run).values(), _ensembles(run), strict=True
    ):
        clear = table[table.mode_frequency_limit > (1 - beta) / (1 + beta)]
        limit = clear.mode_frequency_limit
        found.append((clear.mode_frequency / limit, clear.mode_frequency_error / limit))
    return _furthest(found)


def variance_ratio(run: Run) -> Estimate:
    """The variance of a position or velocity over that by the modified loss.

    Of the continuous theory, with the noise at the minimum; the one furthest from 1.
    """
    names = ("mode_variance", "mode_velocity_variance")
    return _furthest(
        (
            table[name] / table[f"{name}_limit"],
            table[f"{name}_error"] / table[f"{name}_limit"],
        )
        for table in _ensembles(run)
        for name in names
    )


def gibbs_variance_ratio(run: Run) -> Estimate:
    """The variance of a position over that by Gibbs' law in the training loss.

    At the mean temperature (geometric) of the modes; the one furthest from 1.
    """
    found = []
    for table in _ensembles(run):
        level = np.exp(np.log(table.temperature).mean())
        found.append((table.energy / level, table.energy_error / level))
    return _furthest(found)


def temperature_exponent(run: Run) -> Estimate:
    """The power of the curvature that a mode's temperature follows.

    0 for the Gibbs law in the training loss, 1 for the modified loss of noise like the
    Hessian. Of several momenta the one furthest from 1.
    """
    rows = [
        run.series(f"temperature_exponent ({label})")
        for label in study.labels(run)
    ]
    return _furthest((one.value, one.error) for one in rows)


def isotropic_exponent(run: Run) -> Estimate:
    """The same power, under noise of one variance in all directions."""
    row = run.series(f"temperature_exponent ({study.NOISES[1]})")
    return _furthest([(row.value, row.error)])


def _ensembles(run: Run) -> list[pd.DataFrame]:
    return [study.table(run, label) for label in study.labels(run)]


def _furthest(ratios) -> Estimate:
    """Return the ratio furthest from 1 of pairs (values, errors).

    With the interval of the largest distance from 1: it lies within a tolerance only if
    the intervals of all ratios do, and beyond it if that of one does.
    """
    values, errors = (np.concatenate(part) for part in zip(*ratios, strict=True))
    if not len(values):
        raise UsageError("No mode of this run oscillates: there is no ratio to give.")
    away, width = np.abs(values - 1), 1.96 * errors
    worst = away.argmax()
    least, most = max((away - width).max(), 0.0), (away + width).max()
    side = 1 if values[worst] > 1 else -1
    return Estimate(values[worst], *sorted((1 + side * least, 1 + side * most)))


def speed_ratio(run: Run) -> Estimate:
    """Mean squared displacement of one step, measured over predicted from Hessian and noise."""
    return Estimate(*reading.displacement_ratio(run, 1))


def displacement_ratio(run: Run) -> Estimate:
    """Mean squared displacement over about 100 steps, measured over predicted."""
    return Estimate(*reading.displacement_ratio(run, 100))


def late_displacement_ratio(run: Run) -> Estimate:
    """Mean squared displacement over the longest lag, measured over predicted."""
    return Estimate(*reading.displacement_ratio(run, math.inf))


def late_exponent_difference(run: Run) -> Estimate:
    """The exponent over the last two octaves of the lags, measured less predicted.

    The interval is a jackknife over replicas and reference points.
    """
    return Estimate(*reading.exponent_difference(run))


def mode_variance_ratio(run: Run) -> Estimate:
    """Variance along the top Hessian modes over that predicted, geometric mean.

    From u'Σu of each mode, its eigenvalue and the settings.
    """
    return _mode_ratio(run, "mode_variance")


def mode_speed_ratio(run: Run) -> Estimate:
    """Variance of the velocity along the top Hessian modes over that predicted."""
    return _mode_ratio(run, "mode_velocity_variance")


def mode_frequency_ratio(run: Run) -> Estimate:
    """Frequency of oscillation along the modes over that predicted, where both exist."""
    return _mode_ratio(run, "mode_frequency")


def _mode_ratio(run: Run, name: str) -> Estimate:
    value, error = reading.ratio(reading.by_mode(run), name)
    return Estimate(value, value - 1.96 * error, value + 1.96 * error)
