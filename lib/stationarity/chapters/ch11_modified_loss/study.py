"""Ensembles of SGD in phase space (chapter 11): what their stationary state does.

Here SGD on quadratics with Gaussian noise, of which the theory is exact, that of
:mod:`stationarity.chapters.ch11_modified_loss.currents`; :mod:`stationarity.chapters.ch11_modified_loss.minibatches` gives rows of the
same names. Everything is float64.
"""

import functools
import itertools
import math

import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import NDArray

from ... import theory
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.records import Run
from ...stats import modes
from . import currents
from .settings import PhaseSpace

NOISES = ("noise like the Hessian", "isotropic noise")
EDGES = np.linspace(-2.4, 2.4, 9)  # of cells in phase space, in standard deviations
STATISTICS = ("mode_variance", "mode_velocity_variance", "mode_frequency", "mode_decay")


def phase_space(settings: PhaseSpace, keeper: Keeper | None = None) -> list[tuple]:
    """Measure ensembles of SGD on a quadratic, with two kinds of noise.

    The noise of a mode has a variance proportional to its curvature, or the mean of
    these in every mode. Rows are those of :func:`measured`, labelled as ``NOISES``.
    Raises :class:`UsageError` for what is unstable or too short, before any work.
    """
    curvature, rate = np.array(settings.curvatures), settings.learning_rate
    theory.check_stable(curvature, rate, settings.momentum)
    check_ensemble(settings, settings.trajectories)
    if not settings.noise > 0:
        raise UsageError(f"The setting noise must be positive, not {settings.noise:g}.")
    proportional = settings.noise * curvature
    isotropic = np.full_like(curvature, proportional.mean())
    keeper, rows = keeper or Keeper(), []
    with keeper.progress("phase space", len(NOISES), "part") as bar:
        for label, variance in zip(NOISES, (proportional, isotropic), strict=True):
            compute = functools.partial(_with_noise, label, variance, curvature, settings, bar)
            rows += keeper.part(label, compute)
    return rows


def _with_noise(label: str, variance: NDArray, curvature, settings, bar) -> list[tuple]:
    """Return the rows of the ensemble with one kind of noise, and count the part."""
    bar.advance()
    last = settings.burn_in + settings.steps
    positions = theory.simulate(
        curvature, [settings.learning_rate] * last, variance, momentum=settings.momentum,
        trajectories=settings.trajectories, recorded=range(settings.burn_in, last + 1),
        seed=settings.seed,
    )  # fmt: skip
    positions = np.ascontiguousarray(positions.swapaxes(0, 1))
    return measured(label, positions, curvature, np.diag(variance), settings)


def measured(label: str, positions: NDArray, curvature, noise, settings) -> list[tuple]:
    """Return rows of metrics of a stationary ensemble, positions (members, T + 1, k).

    A row is (step, epoch, quantity, value, error), quantities ending in the label, and
    for what a mode has many of, in its number. ``step`` is the number of the mode in

    - ``curvature``, ``noise_variance``, and ``noise_covariance`` of this mode and the
      next: what the theory is told (no error). The covariance ``noise`` is (k, k);
    - ``mode_variance``, ``mode_velocity_variance``, ``mode_frequency``, ``mode_decay``
      of :func:`stationarity.stats.modes.statistics`;
    - ``rotation`` of position and velocity in a step, ``position_rotation`` of the
      positions of this mode and the next;
    - ``spectrum_peak``, radians per step, NaN where the spectrum falls from 0 on;

    and else the lag in ``rotation_at``, the number of the frequency in ``spectrum`` (of
    the position; step j is 2π j / segment), and that of the cell in ``motion_position``
    and ``motion_velocity`` (see :func:`stationarity.chapters.ch11_modified_loss.currents.local_motion`).
    ``temperature_exponent`` is a single row.
    """
    rate, numbers = settings.learning_rate, range(len(curvature))
    velocity, position = np.diff(positions, axis=1) / rate, positions[:, 1:]
    found = modes.statistics(position, rate)
    lags = np.arange(settings.lags + 1)
    rotations = currents.rotation(position, velocity, lags)
    columns = {
        "curvature": [curvature], "noise_variance": [np.diag(noise)],
        "noise_covariance": [np.diag(noise, 1)],
        **{name: found[name] for name in STATISTICS},
        "rotation": [part[1] for part in rotations],
        "position_rotation": [
            part[0] for part in currents.rotation(position[..., :-1], position[..., 1:], [1])
        ],
    }  # fmt: skip
    power = spectra(position, settings.segment)
    columns["spectrum_peak"] = spectral_peaks(power)
    rows = []
    for name, column in columns.items():
        rows += rows_of(numbers[: len(column[0])], f"{name} ({label})", *column)
    exponent = currents.temperature_exponent(position, curvature)
    rows += rows_of([0], f"temperature_exponent ({label})", *np.atleast_1d(*exponent))
    mean, error = power.mean(1), power.std(1, ddof=1) / math.sqrt(power.shape[1])
    for mode in numbers:
        name = f"({label}, mode {mode})"
        rows += rows_of(
            lags, f"rotation_at {name}", *(part[:, mode] for part in rotations)
        )
        rows += rows_of(
            range(len(power)), f"spectrum {name}", mean[:, mode], error[:, mode]
        )
        motion, counts = currents.local_motion(
            position[..., mode], velocity[..., mode], EDGES
        )
        for axis, kind in enumerate(("position", "velocity")):
            values = motion[..., axis].ravel()
            cells = np.flatnonzero(counts.ravel() >= 100)
            rows += rows_of(cells, f"motion_{kind} {name}", values[cells])
    return rows


def labels(run: Run) -> dict[str, float]:
    """Return the labels of a run's ensembles, each with its momentum."""
    if "momenta" in run.settings:
        return {f"momentum {beta:g}": beta for beta in run.settings["momenta"]}
    return dict.fromkeys(NOISES, run.settings["momentum"])


def table(run: Run, label: str) -> pd.DataFrame:
    """Return what was measured of each mode of an ensemble, beside both theories.

    A row a mode. ``curvature``, ``noise_variance``; the measured columns of
    :func:`measured` with their standard errors (``rotation``, ``rotation_error``, ...);
    the same by the exact theory (``rotation_exact``, ...) and by the continuous one
    (``rotation_limit``, ...), ``position_rotation`` being of this mode and the next;
    ``energy``, ``h E θ²``, and ``kinetic``, ``m E v²``, with
    errors, and the ``temperature`` that the continuous theory gives to both. Frequencies
    are NaN where a mode does not oscillate.
    """
    rate, beta = run.settings["learning_rate"], labels(run)[label]
    found = pd.DataFrame()
    for name in (
        "curvature",
        "noise_variance",
        *STATISTICS,
        "rotation",
        "spectrum_peak",
    ):
        rows = run.series(f"{name} ({label})")
        found[name], found[f"{name}_error"] = rows.value, rows.error
    h, noise = found.curvature.to_numpy(), found.noise_variance.to_numpy()
    exact = modes.predictions(h, noise, rate, beta, weight_decay=0.0)
    limit = theory.limiting_covariance(h, rate, noise, beta)
    for name in STATISTICS:
        found[f"{name}_exact"] = exact[name]
    found["mode_variance_limit"], found["mode_velocity_variance_limit"] = (
        limit[:, 0, 0], limit[:, 1, 1],
    )  # fmt: skip
    frequency = currents.limiting_frequency(h, rate, beta)
    found["mode_frequency_limit"] = np.where(frequency > 0, frequency, math.nan)
    found["rotation_exact"] = currents.discrete_rotation([1], h, rate, beta)[0]
    found["rotation_limit"] = currents.limiting_rotation([1], h, rate, beta)[0]
    peak = currents.spectrum_peak(h, rate, beta)
    found["spectrum_peak_exact"] = np.where(peak > 0, peak, math.nan)
    covariance = run.series(f"noise_covariance ({label})").value
    found["position_rotation"], found["position_rotation_error"] = (
        run.series(f"position_rotation ({label})")[part] for part in ("value", "error")
    )
    found["position_rotation_exact"] = pd.Series(
        currents.pair_rotation(
            h[mode : mode + 2], noise[mode : mode + 2], one, rate, beta
        )
        for mode, one in enumerate(covariance)
    )
    mass = rate * (1 + beta) / 2
    found["temperature"] = currents.temperature(rate, noise, beta)
    for end in ("", "_error"):
        found[f"energy{end}"] = h * found[f"mode_variance{end}"]
        found[f"kinetic{end}"] = mass * found[f"mode_velocity_variance{end}"]
    return found


def spectra(position: NDArray, segment: int) -> NDArray:
    """Return the power spectra of series (members, T, k), (segment / 2 + 1, members, k).

    By Welch's method with Hann windows that overlap by half, in the units of
    :func:`stationarity.chapters.ch11_modified_loss.currents.power_spectrum`: two-sided, their mean is the variance.
    """
    power = [
        scipy.signal.welch(one, nperseg=segment, detrend=False, return_onesided=False)[
            1
        ].T[: segment // 2 + 1]
        for one in np.moveaxis(position, -1, 0)  # a mode at a time: memory
    ]
    return np.stack(power, -1)


def spectral_peaks(power: NDArray) -> modes.Estimate:
    """Return the angles where spectra (bins, members, k), from 0 to π, are largest, (k,).

    The inverse of a spectrum is a parabola in the cosine of the frequency, by
    :func:`stationarity.chapters.ch11_modified_loss.currents.power_spectrum`. It is fitted over the bins of more than
    half of the maximum, all of one relative error. NaN where the lowest point is not
    below cosine 1 by two standard errors: the spectrum may fall from 0 on.
    """
    cosine = np.cos(np.linspace(0, np.pi, len(power)))
    found = []
    for one in np.moveaxis(power, -1, 0):
        mean = one.mean(1)
        # Without the first bin: the window lets it in from both sides of 0.
        bins = 1 + np.flatnonzero(mean[1:] > mean[1:].max() / 2)
        if len(bins) < 4:
            found.append((math.nan, math.nan))
            continue
        x = cosine[bins]

        def lowest(moments, x=x, bins=bins, weights=mean[bins]):
            second, first, _ = np.polyfit(x - 1, 1 / moments[0][bins], 2, w=weights)
            return 1 - first / (2 * second)

        found.append(currents.jackknife(lowest, one.T[None]))
    place, error = np.array(found).T
    clear = place + 2 * error < 1
    angle = np.arccos(np.where(clear, place, math.nan))
    return modes.Estimate(angle, error / np.sin(angle))


def check_ensemble(settings, members: int) -> None:
    """Raise :class:`UsageError` for too few members, or series that are too short."""
    needed = max(2 * modes.LAGS, settings.lags + 1, settings.segment)
    if settings.steps < needed:
        raise UsageError(
            f"The setting steps must be at least {needed}, for the lags and the segment."
        )
    if members < modes.FEW:
        raise UsageError(
            f"An ensemble of {members} members has no errors: take {modes.FEW}."
        )
    count = len(getattr(settings, "curvatures", getattr(settings, "modes", ())))
    if count < 2:
        raise UsageError("Temperatures are compared between modes: give at least two.")


def rows_of(steps, name: str, values, errors=()) -> list[tuple]:
    columns = itertools.zip_longest(steps, values, errors, fillvalue=math.nan)
    return [(int(s), math.nan, name, float(v), float(e)) for s, v, e in columns]
