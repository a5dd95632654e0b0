"""Runs of ensembles in phase space (chapter 11), mode by mode beside both theories.

A surrogate obeys a law by construction. It has the modes and the members of one of a
run's ensembles, and is measured by the functions that measured the run.
"""

import math
from functools import lru_cache

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate
from ...stats.modes import statistics
from ...theory.continuous import damping, limiting_covariance
from ...theory.discrete import predictions, stationary_covariance
from .. import quantity
from . import currents, study
from .settings import NOISES

MEASURED = [
    "curvature", "noise_variance", "noise_covariance", "mode_variance", "rotation",
    "mode_velocity_variance", "mode_frequency", "position_rotation", "spectrum_peak",
]  # fmt: skip
LONGEST = 4096  # steps of a surrogate
CASES = {
    "own_law": "Gaussian noise of the run's variances on its quadratic, as many members",
    "gibbs": "the same with one temperature in all modes: Gibbs' law in the training loss",
    "reversible_pair": "for each mode two correlated positions, the same in reversed time",
    "natural_frequency": "modes that oscillate at ω, the rate of the current, and not at ν",
}


def table(run: Run, of: str, case: str = "") -> pd.DataFrame:
    """Return what was measured of each mode, a row, of an ensemble, beside both theories.

    Of one of the :data:`CASES` in its place, what that has. :data:`MEASURED` quantities have
    columns ``rotation``, ``rotation_error``, ..., by the exact theory ``rotation_exact``,
    ..., by the continuous one ``rotation_limit``, ...; ``energy`` is ``h E θ²``, ``kinetic``
    ``m E v²``, and ``temperature`` what the continuous theory gives to both; ``step`` is ηh.
    Frequencies are NaN where nothing oscillates, ``position_rotation`` in the last mode.
    """
    rows = run.metrics[(run.metrics.of == of) & run.metrics.quantity.isin(MEASURED)]
    wide = rows.pivot(index="index", columns="quantity", values=["value", "error"])
    modes = wide["value"].join(wide["error"].add_suffix("_error")).reset_index(drop=True)
    h, noise, pairs = modes[MEASURED[:3]].to_numpy().T
    rate, beta = run.settings.learning_rate, run.settings.ensembles[of]
    for name, statistic in _surrogate(run, of, case).items() if case else ():
        if name in MEASURED:
            modes[name], modes[f"{name}_error"] = statistic
    peak = currents.spectrum_peak(h, rate, beta)
    frequency = rate * damping(h, rate, beta).frequency
    exact = pd.DataFrame(predictions(h, noise, rate, beta, weight_decay=0.0))
    exact["rotation"] = currents.discrete_rotation([1], h, rate, beta)[0]
    exact["spectrum_peak"] = np.where(peak > 0, peak, math.nan)
    exact["position_rotation"] = [
        currents.pair_rotation(h[k : k + 2], noise[k : k + 2], pairs[k], rate, beta)
        for k in range(len(h) - 1)
    ] + [math.nan]
    variances = np.diagonal(limiting_covariance(h, rate, noise, beta), axis1=1, axis2=2)
    limit = pd.DataFrame(variances, columns=["mode_variance", "mode_velocity_variance"])
    limit["mode_frequency"] = np.where(frequency > 0, frequency, math.nan)
    limit["rotation"] = currents.limiting_rotation([1], h, rate, beta)[0]
    modes = modes.join(exact.add_suffix("_exact")).join(limit.add_suffix("_limit"))
    for end in ("", "_error"):
        modes[f"energy{end}"] = h * modes[f"mode_variance{end}"]
        modes[f"kinetic{end}"] = rate * (1 + beta) / 2 * modes[f"mode_velocity_variance{end}"]
    return modes.assign(temperature=h * limit.mode_variance, step=rate * h)


def regimes(run: Run) -> dict[int, tuple[float, float, float, float]]:
    """Return number -> curvature, rate, noise variance, momentum: a mode of each regime."""
    settings = run.settings
    curvature, rate, beta = settings.curvatures, settings.learning_rate, settings.momentum
    off = np.abs(np.log(np.array(curvature) * rate / (1 - math.sqrt(beta)) ** 2))
    chosen = (1, int(off.argmin()), len(curvature) - 1)  # of the second the rotation is seen
    return {k: (curvature[k], rate, settings.noise * curvature[k], beta) for k in chosen}


def motion(run: Run, number: int) -> tuple[NDArray, NDArray]:
    """Return places in phase space (n, 2) and the mean motion in a step there (n, 2).

    Of a mode of the first ensemble, within 2.2 standard deviations, in units of these.
    """
    names = "motion_position", "motion_velocity"
    position, velocity = (run.series(name, of=NOISES[0], index=number) for name in names)
    cells = np.divmod(position.step.to_numpy(), len(study.EDGES) - 1)
    places = ((study.EDGES[1:] + study.EDGES[:-1]) / 2)[np.stack(cells, -1)]
    inner = np.hypot(*places.T) < 2.2
    return places[inner], np.stack([position.value, velocity.value], -1)[inner]


def paths(run: Run, members: int = 120, steps: int = 48) -> NDArray:
    """Simulate a stationary ensemble in phase space, (steps + 1, members, 3, 2).

    Of :func:`regimes`; positions and velocities are over their standard deviations.
    """
    curvature, (rate, *_), noise, (beta, *_) = np.array([*regimes(run).values()]).T
    before = run.settings.but(burn_in=run.settings.burn_in - 1)
    positions = study.simulated(before, curvature, noise, beta, members, steps + 1).swapaxes(
        0, 1
    )
    states = np.stack([positions[1:], np.diff(positions, axis=0) / rate], -1)
    covariance = stationary_covariance(curvature, rate, noise, beta)
    return states / np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))


def _surrogate(run: Run, of: str, case: str) -> dict[str, tuple]:
    """Return what is measured of a case with the sampling of a run's ensemble."""
    given = (tuple(run.series(name, of=of).value) for name in MEASURED[:2])
    outputs = int(run.series("outputs").value[0]) if run.has("outputs") else 1
    members = run.settings.trajectories * outputs
    return surrogate(run.settings, members, run.settings.ensembles[of], *given, case)


@lru_cache(maxsize=16)
def surrogate(settings, members, momentum, curvature: tuple, noise: tuple, case: str) -> dict:
    """Measure one of :data:`CASES`: values and errors by name, as :func:`.study.measured`.

    ``curvature`` and ``noise`` variances are those of a run's modes.
    """
    curvature, noise, rate = np.array(curvature), np.array(noise), settings.learning_rate
    if case == "gibbs":
        noise = np.full_like(noise, scipy.stats.gmean(noise))
    elif case == "reversible_pair":
        noise = np.ones_like(noise)  # then variances differ, as 1 / h
    elif case == "natural_frequency":
        curvature = curvature + (1 - momentum) ** 2 / (2 * rate * (1 + momentum))
    steps = min(settings.steps, LONGEST)
    positions = study.simulated(settings, curvature, noise, momentum, members, steps)
    position, velocity = positions[:, 1:], np.diff(positions, axis=1) / rate
    if case == "reversible_pair":
        return {"rotation": study.rotation(*reversible_pairs(position), [1])[:, 0]}
    measured = {"rotation": study.rotation(position, velocity, [1])[:, 0]}
    measured["temperature_exponent"] = study.temperature_exponent(position, curvature)
    return measured | statistics(position, rate)


def reversible_pairs(position: NDArray) -> tuple[NDArray, NDArray]:
    """Return pairs of correlated positions from independent modes (members, T, k).

    A mode and the next one, turned by 45 degrees: their variances differ. Independent
    stationary Gaussian series look the same in reversed time in any axes.
    """
    other = np.roll(position, 1, axis=2)
    return position + other, position - other


OF_MODES = (
    "simultaneous over the modes (Bonferroni; errors over trajectories and outputs, Student's "
    "t with the degrees of freedom of the trajectories)"
)


@quantity(OF_MODES, **CASES)
def rotation_ratio(run: Run, case: str = "") -> Estimate:
    """The area that a mode sweeps in a step of SGD over r(η), the current's in the time η.

    Not over ηω, the slope at 0. Of all modes the one that is furthest from 1.
    """
    return _ratio(run, case, "rotation")


@quantity(OF_MODES, **CASES)
def oscillation_ratio(run: Run, case: str = "") -> Estimate:
    """The frequency of a mode over that of the underdamped Langevin equation.

    Of the modes whose predicted frequency exceeds their damping (1 − β) / (1 + β), the
    one that is furthest from 1; 0 where one of them was not seen to oscillate.
    """
    clear = "mode_frequency_limit > (1 - momentum) / (1 + momentum)"
    return _ratio(run, case, "mode_frequency", where=clear)


@quantity(OF_MODES, **CASES)
def variance_ratio(run: Run, case: str = "") -> Estimate:
    """The variance of a position or velocity over that by the modified loss.

    Of the continuous theory, with the noise at the minimum; the one furthest from 1.
    """
    return _ratio(run, case, "mode_variance", "mode_velocity_variance")


@quantity(
    "simultaneous over the momenta (Bonferroni, Student's t over the trajectories)",
    **CASES,
    isotropic="the quadratic with noise of one variance in all modes",
)
def temperature_exponent(run: Run, case: str = "") -> Estimate:
    """The power of the curvature that a mode's temperature follows.

    0 for the Gibbs law in the training loss, 1 for the modified loss of noise like the
    Hessian. Of several momenta the one furthest from 1.
    """
    name, exponents = "temperature_exponent", []
    for of in run.settings.ensembles:
        if (of == NOISES[1]) == (case == "isotropic"):
            one = run.series(name, of=of)[["value", "error"]].iloc[0]
            exponents.append(_surrogate(run, of, case)[name] if case in CASES else one)
    return _furthest(*np.array(exponents, float).T, run.settings.trajectories - 1)


def _ratio(run: Run, case: str, *names: str, where: str = "curvature > 0") -> Estimate:
    """Return the ratio furthest from 1 of what was measured to the continuous theory."""
    pairs = run.settings.ensembles.items()
    tables = [table(run, of, case).assign(momentum=beta) for of, beta in pairs]
    modes, both = pd.concat(tables).query(where), []
    for end in ("", "_error"):
        ratios = [modes[f"{name}{end}"] / modes[f"{name}_limit"] for name in names]
        both.append(np.nan_to_num(np.concatenate(ratios)))  # 0: predicted, and not found
    return _furthest(*both, run.settings.trajectories - 1)


def _furthest(values, errors, degrees: int) -> Estimate:
    """Return the value furthest from 1, with the interval of the largest distance from 1."""
    if not len(values):
        raise UsageError("No mode of this run oscillates: there is no ratio to give.")
    away = Estimate.of(np.abs(values - 1), errors, max(degrees, 1), len(values))
    worst = values[away.value.argmax()]
    side, least = 1 if worst > 1 else -1, max(away.low.max(), 0.0)
    ends = sorted((1 + side * least, 1 + side * away.high.max()))
    return Estimate(*map(float, (worst, *ends)))
