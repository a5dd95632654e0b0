"""Ensembles that obey a law by construction: what minibatch SGD is judged beside.

A surrogate has the modes and the members of one of a run's ensembles, and as many steps,
up to :data:`LONGEST`; it is measured by the functions that measured the run. Source: our
section "Modified loss and probability currents".
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...stats.modes import statistics
from ...theory.simulation import simulate
from . import study

LONGEST = 4096  # steps of a surrogate
CASES = {
    "own_law": "Gaussian noise of the run's variances on its quadratic, as many members",
    "gibbs": "the same with one temperature in all modes: Gibbs' law in the training loss",
    "reversible_pair": "two correlated positions that look the same in reversed time, for each mode",
    "natural_frequency": "modes that oscillate at ω, the rate of the current, and not at ν",
}


@lru_cache(maxsize=16)
def measured(settings, members, momentum, curvature: tuple, noise: tuple, case: str) -> dict:
    """Return what a surrogate's modes do: ``{name: (values, errors)}``, by mode.

    Of the curvatures and noise variances of a run's modes, what :func:`.study.measured`
    calls ``mode_variance``, ``mode_velocity_variance``, ``mode_frequency`` and ``rotation``,
    and ``temperature_exponent``, a single one.
    """
    curvature, noise, rate = np.array(curvature), np.array(noise), settings.learning_rate
    if case == "gibbs":
        noise = np.full_like(noise, np.exp(np.log(noise).mean()))
    elif case == "reversible_pair":
        noise = np.ones_like(noise)  # then variances differ, as 1 / h
    elif case == "natural_frequency":
        curvature = curvature + (1 - momentum) ** 2 / (2 * rate * (1 + momentum))
    last = settings.burn_in + min(settings.steps, LONGEST)
    how = {"momentum": momentum, "seed": settings.seed, "trajectories": members}
    how["recorded"] = range(settings.burn_in, last + 1)
    paths = simulate(curvature, [rate] * last, noise, **how).swapaxes(0, 1)
    position, velocity = paths[:, 1:], np.diff(paths, axis=1) / rate
    if case == "reversible_pair":
        turned, errors = study.rotation(*reversible_pairs(position), [1])
        return {"rotation": (turned[0], errors[0])}
    turned, errors = study.rotation(position, velocity, [1])
    found = {"rotation": (turned[0], errors[0]), **statistics(position, rate)}
    return found | {"temperature_exponent": study.temperature_exponent(position, curvature)}


def reversible_pairs(position: NDArray) -> tuple[NDArray, NDArray]:
    """Return pairs of correlated positions from independent modes (members, T, k).

    A mode and the next one, turned by 45 degrees: their variances differ, so the pair is
    correlated. A stationary Gaussian series looks the same in reversed time; so do
    independent ones together, in any axes, and the pair does not rotate.
    """
    other = np.roll(position, 1, axis=2)
    return position + other, position - other
