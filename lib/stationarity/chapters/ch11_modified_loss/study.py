"""Ensembles of SGD in phase space (chapter 11): what their stationary state does.

On quadratics with Gaussian noise, of which the theory is exact, and on true minibatches
of a regression, which judge it: it is not built into them. Everything is float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.metrics import rows
from ...stats.estimate import mean_and_error
from ...stats.modes import FEW, statistics
from ...theory.discrete import check_stable
from ...theory.simulation import simulate
from . import estimators, regression
from .settings import NOISES

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import Ensembles, MinibatchCurrents, PhaseSpace

EDGES = np.linspace(-2.4, 2.4, 9)  # of cells in phase space, in standard deviations
VISITED = 100  # states in a cell: below it no mean motion is noted


def phase_space(settings: PhaseSpace, place: Place) -> list[tuple]:
    """Measure ensembles of SGD on a quadratic, with two kinds of noise.

    The noise of a mode has a variance proportional to its curvature, or the mean of
    these in every mode: rows are those of :func:`measured`, of one of ``NOISES``. Raises
    :class:`UsageError` for what is unstable, before any work.
    """
    curvature, found = np.array(settings.curvatures), []
    check_stable(curvature, settings.learning_rate, settings.momentum)
    steps = range(settings.burn_in, settings.burn_in + settings.steps + 1)
    like_hessian = settings.noise * curvature
    variances = like_hessian, np.full_like(curvature, like_hessian.mean())
    with place.keeper.progress("phase space", len(NOISES), "part") as bar:
        for of, variance in zip(NOISES, variances, strict=True):

            def measure():
                bar.advance()
                paths = simulated(settings, curvature, variance, steps, settings.trajectories)
                positions = np.ascontiguousarray(paths.swapaxes(0, 1))
                return measured(of, positions, curvature, np.diag(variance), settings)

            found += place.keeper.part(of, measure)
    return found


def simulated(settings, curvature, variance, steps: range, trajectories: int) -> NDArray:
    """Return the positions of an ensemble at some steps, (len(steps), trajectories, k)."""
    how = {"momentum": settings.momentum, "seed": settings.seed, "recorded": steps}
    rates = [settings.learning_rate] * steps[-1]
    return simulate(curvature, rates, variance, trajectories=trajectories, **how)


def minibatch_currents(settings: MinibatchCurrents, place: Place) -> list[tuple]:
    """Measure ensembles of minibatch SGD on the regression of one-hot labels.

    One ensemble for each momentum; rows are those of :func:`measured`, of ``momentum β``,
    and ``hessian_trace`` and the number of ``outputs``. Raises :class:`UsageError` for
    what is unstable, and for a mode that the data do not have, before any long work.
    """
    inputs, residuals, curvature = regression.problem(settings, place)
    for beta in settings.momenta:
        check_stable(curvature, settings.learning_rate, beta)
    if (members := settings.trajectories * residuals.shape[1]) < FEW:
        raise UsageError(f"An ensemble of {members} members has no errors: take {FEW}.")
    if max(settings.modes) >= len(curvature):
        raise UsageError(
            f"The regression has modes 0 to {len(curvature) - 1}: take modes from these."
        )
    chosen = list(settings.modes)
    noise = regression.noise_covariance(inputs[:, chosen], residuals) / settings.batch_size
    found = rows("hessian_trace", curvature.sum()) + rows("outputs", residuals.shape[1])
    total = (settings.burn_in + settings.steps + 1) * len(settings.momenta)
    with place.keeper.progress("minibatches in phase space", total) as bar:
        for of, beta in settings.ensembles.items():

            def measure():
                positions = regression.paths(inputs, residuals, settings, beta, bar)
                return measured(of, positions, curvature[chosen], noise, settings)

            found += place.keeper.part(of, measure)
    return found


def measured(of: str, positions, curvature, noise, settings: Ensembles) -> list[tuple]:
    """Return rows of a stationary ensemble, positions (members, T + 1, k).

    All are ``of`` the ensemble, and their index is the number of the mode in

    - ``curvature``, and of ``noise`` (k, k) ``noise_variance``, and ``noise_covariance``
      of this mode and the next: what the theory is told (no error);
    - what :func:`stationarity.stats.modes.statistics` gives;
    - ``rotation`` of position and velocity in a step, ``position_rotation`` of the
      positions of this mode and the next, and ``rotation_at`` the lag that is the step;
    - ``spectrum`` of the position at the frequency 2π j / segment, where j is the step,
      and ``spectrum_peak``, radians per step, NaN where the spectrum falls from 0 on;
    - ``motion_position`` and ``motion_velocity`` of :func:`.estimators.local_motion`, with
      the number of a cell as the step.

    ``temperature_exponent`` is a single row.
    """
    rate, lags = settings.learning_rate, np.arange(settings.lags + 1)
    velocity, position = np.diff(positions, axis=1) / rate, positions[:, 1:]
    turned, turned_error = estimators.rotation(position, velocity, lags)
    pairs = estimators.rotation(position[..., :-1], position[..., 1:], [1])
    power = estimators.spectra(position, settings.segment)
    by_mode = {
        "curvature": (curvature,), "noise_variance": (np.diag(noise),),
        "noise_covariance": (np.diag(noise, 1),), **statistics(position, rate),
        "rotation": (turned[1], turned_error[1]),
        "position_rotation": (pairs[0][0], pairs[1][0]),
        "spectrum_peak": estimators.spectral_peaks(power),
    }  # fmt: skip
    exponent, modes = estimators.temperature_exponent(position, curvature), range(len(noise))
    found = rows("temperature_exponent", *exponent, of=of)
    for name, columns in by_mode.items():
        found += rows(name, *columns, of=of, index=range(len(columns[0])))
    found += rows("rotation_at", turned, turned_error, of=of, step=lags, index=modes)
    spectrum, bins = mean_and_error(power, axis=1), range(len(power))
    found += rows("spectrum", *spectrum, of=of, step=bins, index=modes)
    for mode in modes:
        states = np.stack([position[..., mode], velocity[..., mode]])
        motion, counts = estimators.local_motion(states, EDGES)
        cells = np.flatnonzero(counts >= VISITED)
        for name, values in zip(("motion_position", "motion_velocity"), motion, strict=True):
            found += rows(name, values[cells], of=of, step=cells, index=mode)
    return found
