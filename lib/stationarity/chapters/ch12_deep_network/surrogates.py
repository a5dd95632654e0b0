"""Runs that obey a law by construction: what a run is judged beside.

A surrogate has the sampling of a run: its modes and replicas, its lengths, lags and
reference points, and the errors of its noise. It moves by one of :data:`LAWS`, or by one
of :data:`MOTIONS`.
Source: our section "Does a deep network obey?".
"""

import numpy as np
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...stats import modes

LAWS = {  # of modes
    "own_law": "modes that move by the law that predicts, as many as the run's and as long",
    "one_noise": "the same modes with one noise in all, the geometric mean of the run's",
    "one_curvature": "the same modes with one curvature, the geometric mean of the run's",
}
MOTIONS = {  # of all directions
    "own_law": "replicas that move by the law that predicts, as many as the run's",
    "one_curvature": "the same with one curvature, the mean that the noise of the run meets",
    "plain_sgd": "the same without momentum, at the rate η/(1 − β) of the same diffusion",
    "drift": "the same with a drift that adds half of what is predicted over the longest lag",
}


def moved(law: str, curvature, noise, rate: float, momentum: float, mean) -> tuple:
    """Return what moves a surrogate: curvature and noise (k,), learning rate, momentum.

    Of the run's own; ``mean`` is the mean (curvature, noise) -> number of a law that has
    one for all directions.
    """
    if law == "plain_sgd":
        return curvature, noise, rate / (1 - momentum), 0.0
    one = np.full_like(curvature, mean(curvature, noise))
    if law == "one_noise":
        return curvature, one, rate, momentum
    return one if law == "one_curvature" else curvature, noise, rate, momentum


def stationary(generator, curvature, rate, noise, momentum, shape: tuple) -> NDArray:
    """Draw stationary states (*shape, k, 2) of directions, positions and velocities."""
    law = theory.stationary_covariance(curvature, rate, noise, momentum)
    return _normal(generator, law, shape)


def statistics(law, members: int, length: int, seed: int = 0) -> dict[str, tuple]:
    """Return the statistics of modes that obey a law (of :func:`moved`) for some steps.

    As :func:`stationarity.stats.modes.statistics` of a run with as many members.
    """
    generator, found = np.random.default_rng(seed), []
    curvature, noise, rate, momentum = law
    for h, s in zip(curvature, noise, strict=True):
        kicks = -rate * np.sqrt(s) * generator.standard_normal((members, length))
        (position, velocity) = stationary(generator, h, rate, s, momentum, (members,)).T
        # The filter's memory of x_0 and x_{-1}, of x_{k+1} = a x_k - β x_{k-1} + kick.
        a, before = 1 + momentum - rate * h, position - rate * velocity
        memory = np.stack([a * position - momentum * before, -momentum * position], -1)
        series, _ = scipy.signal.lfilter([1.0], [1.0, -a, momentum], kicks, zi=memory)
        found.append(modes.statistics(series[..., None], rate))
    return {
        name: tuple(np.concatenate([one[name][part] for one in found]) for part in (0, 1))
        for name in found[0]
    }


def displacements(law, lags: ArrayLike, starts: list[int], replicas: int, seed=0) -> NDArray:
    """Return squared displacements (lags, replicas) of replicas that branch at one point.

    Sums over the directions of a law, means over the reference points ``starts``, with
    the joint law of all their times.
    """
    generator, (curvature, noise, rate, momentum) = np.random.default_rng(seed), law
    given, matrix = (rate, noise, momentum), theory.transition(curvature, rate, momentum)
    covariance = theory.stationary_covariance(curvature, *given)
    state = stationary(generator, curvature, *given, (1,))
    times = np.unique(np.add.outer(starts, [0, *lags]))
    total, begun = np.zeros((len(lags), replicas)), {}
    for gap, time in zip(np.diff(times, prepend=0), times, strict=True):
        power = np.linalg.matrix_power(matrix, gap)
        kicks = covariance - power @ covariance @ power.mT
        state = (power @ state[..., None])[..., 0] + _normal(generator, kicks, (replicas,))
        for start, old in begun.items():
            if (row := np.flatnonzero(np.equal(lags, time - start))).size:
                total[row] += ((state[..., 0] - old) ** 2).sum(1)
        if time in starts:
            begun[time] = state[..., 0]
    return total / len(starts)


def _normal(generator, covariance: NDArray, shape: tuple) -> NDArray:
    """Draw pairs (*shape, ..., 2) of covariances (..., 2, 2), which may be singular."""
    first = np.sqrt(covariance[..., 0, 0].clip(0))
    slope = covariance[..., 0, 1] / np.where(first > 0, first, 1.0)
    second = np.sqrt((covariance[..., 1, 1] - slope**2).clip(0))
    one, other = generator.standard_normal((2, *shape, *first.shape))
    return np.stack([first * one, slope * one + second * other], -1)
