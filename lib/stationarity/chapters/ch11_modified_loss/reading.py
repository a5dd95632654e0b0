"""Runs of ensembles in phase space (chapter 11), mode by mode beside both theories."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import NORMAL, Estimate
from ...theory.continuous import damping, limiting_covariance
from ...theory.discrete import stationary_covariance
from ...theory.modes import predictions
from ...theory.simulation import simulate
from .. import quantity
from . import currents
from .settings import NOISES
from .study import EDGES

MEASURED = (
    "curvature", "noise_variance", "mode_variance", "mode_velocity_variance",
    "mode_frequency", "mode_decay", "rotation", "spectrum_peak", "position_rotation",
)  # fmt: skip


def table(run: Run, of: str) -> pd.DataFrame:
    """Return what was measured of each mode of an ensemble, beside both theories.

    A row a mode. :data:`MEASURED` with standard errors (``rotation``, ``rotation_error``,
    ...), see :func:`stationarity.chapters.ch11_modified_loss.study.measured`; the same by
    the exact theory (``rotation_exact``, ...) and by the continuous one
    (``rotation_limit``, ...); ``energy``, ``h E θ²``, and ``kinetic``, ``m E v²``, with
    errors, and the ``temperature`` that the continuous theory gives to both. Frequencies
    are NaN where a mode does not oscillate, ``position_rotation``, of a mode and the next
    one, in the last.
    """
    columns = {}
    for name in MEASURED:
        rows = run.series(name, of=of).set_index("index")
        columns[name], columns[f"{name}_error"] = rows.value, rows.error
    columns = {name: column.to_numpy() for name, column in pd.DataFrame(columns).items()}
    h, noise = columns["curvature"], columns["noise_variance"]
    pairs = run.series("noise_covariance", of=of).value
    optimiser = run.settings.learning_rate, run.settings.ensembles[of]
    columns |= _exact(h, noise, pairs, *optimiser) | _limits(h, noise, *optimiser)
    mass = optimiser[0] * (1 + optimiser[1]) / 2
    for end in ("", "_error"):
        columns[f"energy{end}"] = h * columns[f"mode_variance{end}"]
        columns[f"kinetic{end}"] = mass * columns[f"mode_velocity_variance{end}"]
    return pd.DataFrame(columns)


def _exact(h: NDArray, noise: NDArray, pairs, rate: float, beta: float) -> dict:
    peak = currents.spectrum_peak(h, rate, beta)
    columns = predictions(h, noise, rate, beta, weight_decay=0.0) | {
        "rotation": currents.discrete_rotation([1], h, rate, beta)[0],
        "spectrum_peak": np.where(peak > 0, peak, math.nan),
        "position_rotation": np.full(len(h), math.nan),
    }
    for mode, covariance in enumerate(pairs):
        two = slice(mode, mode + 2)
        columns["position_rotation"][mode] = currents.pair_rotation(
            h[two], noise[two], covariance, rate, beta
        )
    return {f"{name}_exact": column for name, column in columns.items()}


def _limits(h: NDArray, noise: NDArray, rate: float, beta: float) -> dict:
    covariance = limiting_covariance(h, rate, noise, beta)
    frequency = rate * damping(h, rate, beta).frequency
    return {
        "mode_variance_limit": covariance[:, 0, 0],
        "mode_velocity_variance_limit": covariance[:, 1, 1],
        "mode_frequency_limit": np.where(frequency > 0, frequency, math.nan),
        "rotation_limit": currents.limiting_rotation([1], h, rate, beta)[0],
        "temperature": currents.temperature(rate, noise, beta),
    }


def regimes(run: Run) -> dict[str, int]:
    """Return an underdamped, a nearly critical and an overdamped mode of a run.

    Of the underdamped modes the second one: its rotation can be seen.
    """
    curvature, beta = np.array(run.settings.curvatures), run.settings.momentum
    critical = (1 - math.sqrt(beta)) ** 2 / run.settings.learning_rate
    nearest = int(np.abs(np.log(curvature / critical)).argmin())
    return {"underdamped": 1, "critical": nearest, "overdamped": len(curvature) - 1}


def mode_of(run: Run, number: int) -> tuple[float, float, float, float]:
    """Return curvature, learning rate, noise variance and momentum of a mode.

    Of the first ensemble, with noise like the Hessian.
    """
    settings = run.settings
    curvature = settings.curvatures[number]
    return curvature, settings.learning_rate, settings.noise * curvature, settings.momentum


def motion(run: Run, number: int) -> tuple[NDArray, NDArray]:
    """Return places in phase space (n, 2) and the mean motion in a step there (n, 2).

    Of a mode of the first ensemble, within 2.2 standard deviations, in units of these.
    """
    columns = [
        run.series(name, of=NOISES[0], index=number)
        for name in ("motion_position", "motion_velocity")
    ]
    cells = np.divmod(columns[0].step.to_numpy(), len(EDGES) - 1)
    places = ((EDGES[1:] + EDGES[:-1]) / 2)[np.stack(cells, -1)]
    inner = np.hypot(*places.T) < 2.2
    return places[inner], np.stack([column.value for column in columns], -1)[inner]


def paths(run: Run, members: int = 120, steps: int = 48) -> NDArray:
    """Simulate a stationary ensemble in phase space, (steps + 1, members, 3, 2).

    One mode of each regime of damping, with the settings of the run; positions and
    velocities are over their standard deviations.
    """
    modes = [mode_of(run, number) for number in regimes(run).values()]
    curvature, rates, noise, momenta = np.array(modes).T
    rate, beta, burn = rates[0], momenta[0], run.settings.burn_in
    positions = simulate(
        curvature,
        [rate] * (burn + steps),
        noise,
        trajectories=members,
        momentum=beta,
        recorded=range(burn - 1, burn + steps + 1),
        seed=run.settings.seed,
    )
    states = np.stack([positions[1:], np.diff(positions, axis=0) / rate], -1)
    covariance = stationary_covariance(curvature, rate, noise, beta)
    return states / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))


@quantity
def rotation_ratio(run: Run) -> Estimate:
    """The rotation in phase space over that by the probability current.

    Of the continuous theory, in a step; of all modes the one that is furthest from 1.
    """
    return _furthest(_ratio(one, "rotation", one.rotation_limit) for one in _tables(run))


@quantity
def position_rotation_ratio(run: Run) -> Estimate:
    """The rotation in the plane of two positions over that in phase space by the current."""
    pairs = (one.iloc[:-1] for one in _tables(run))
    return _furthest(_ratio(one, "position_rotation", one.rotation_limit) for one in pairs)


@quantity
def oscillation_ratio(run: Run) -> Estimate:
    """The frequency of a mode over that of the underdamped Langevin equation.

    Of the modes whose predicted frequency exceeds their damping (1 − β) / (1 + β), the
    one that is furthest from 1.
    """
    clear = [
        one[one.mode_frequency_limit > (1 - beta) / (1 + beta)]
        for one, beta in zip(_tables(run), run.settings.ensembles.values(), strict=True)
    ]
    return _furthest(_ratio(one, "mode_frequency", one.mode_frequency_limit) for one in clear)


@quantity
def variance_ratio(run: Run) -> Estimate:
    """The variance of a position or velocity over that by the modified loss.

    Of the continuous theory, with the noise at the minimum; the one furthest from 1.
    """
    return _furthest(
        _ratio(one, name, one[f"{name}_limit"])
        for one in _tables(run)
        for name in ("mode_variance", "mode_velocity_variance")
    )


@quantity
def gibbs_variance_ratio(run: Run) -> Estimate:
    """The variance of a position over that by Gibbs' law in the training loss.

    At the mean temperature (geometric) of the modes; the one furthest from 1.
    """
    return _furthest(
        _ratio(one, "energy", np.exp(np.log(one.temperature).mean())) for one in _tables(run)
    )


@quantity
def temperature_exponent(run: Run) -> Estimate:
    """The power of the curvature that a mode's temperature follows.

    0 for the Gibbs law in the training loss, 1 for the modified loss of noise like the
    Hessian. Of several momenta the one furthest from 1.
    """
    rows = run.series("temperature_exponent")
    return _furthest([(rows.value, rows.error)])


@quantity
def isotropic_exponent(run: Run) -> Estimate:
    """The same power, under noise of one variance in all directions."""
    row = run.series("temperature_exponent", of=NOISES[1])
    return _furthest([(row.value, row.error)])


def _tables(run: Run) -> list[pd.DataFrame]:
    return [table(run, of) for of in run.settings.ensembles]


def _ratio(modes: pd.DataFrame, name: str, predicted) -> tuple[pd.Series, pd.Series]:
    return modes[name] / predicted, modes[f"{name}_error"] / predicted


def _furthest(ratios) -> Estimate:
    """Return the ratio furthest from 1 of pairs (values, errors).

    With the interval of the largest distance from 1: it lies within a tolerance only if
    the intervals of all ratios do, and beyond it if that of one does.
    """
    values, errors = (np.concatenate(part) for part in zip(*ratios, strict=True))
    if not len(values):
        raise UsageError("No mode of this run oscillates: there is no ratio to give.")
    away, width = np.abs(values - 1), NORMAL * errors
    worst = away.argmax()
    least, most = max((away - width).max(), 0.0), (away + width).max()
    side = 1 if values[worst] > 1 else -1
    return Estimate(*map(float, (values[worst], *sorted((1 + side * least, 1 + side * most)))))
