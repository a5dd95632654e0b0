"""Runs that obey a law by construction: what a run is judged beside.

A surrogate has the sampling of a run: its modes and replicas, its lengths, lags and
reference points, and the errors of its noise.
"""

from functools import cache

import numpy as np
import scipy.signal
from numpy.typing import NDArray

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


@cache
def statistics(curvature, rate, noise, momentum, members: int, length: int, seed=0) -> dict:
    """Return :func:`stationarity.stats.modes.statistics` of stationary modes, each (2, k).

    ``curvature`` and ``noise`` variances are tuples: what was drawn once is kept.
    """
    generator, by_mode = np.random.default_rng(seed), []
    for h, s in zip(curvature, noise, strict=True):
        kicks = -rate * np.sqrt(s) * generator.standard_normal((members, length))
        law = theory.stationary_covariance(h, rate, s, momentum)
        position, velocity = _normal(generator, law, (members,))
        # The filter's memory of x_0 and x_{-1}, of x_{k+1} = a x_k - β x_{k-1} + kick.
        a, before = 1 + momentum - rate * h, position - rate * velocity
        memory = np.stack([a * position - momentum * before, -momentum * position], -1)
        series, _ = scipy.signal.lfilter([1.0], [1.0, -a, momentum], kicks, zi=memory)
        by_mode.append(modes.statistics(series[..., None], rate))
    return {name: np.concatenate([one[name] for one in by_mode], 1) for name in by_mode[0]}


@cache
def displacements(law, lags: tuple, starts: tuple, replicas: int, seed=0) -> NDArray:
    """Return squared displacements (lags, replicas) of replicas that branch at one point.

    ``law`` is curvatures (k,), learning rate, noise variances (k,) and momentum, of tuples:
    what was drawn once is kept. Means over the reference points ``starts``.
    """
    generator, covariance = np.random.default_rng(seed), theory.stationary_covariance(*law)
    matrix, state = theory.transition(*law[:2], law[3]), _normal(generator, covariance, (1,))
    times = np.unique(np.add.outer(starts, [0, *lags]))
    total, begun = np.zeros((len(lags), replicas)), {}
    for gap, time in zip(np.diff(times, prepend=0), times, strict=True):
        power = np.linalg.matrix_power(matrix, gap)
        kicks = covariance - power @ covariance @ power.mT
        moved = (power.transpose(1, 2, 0)[:, :, None] * state).sum(1)
        state = moved + _normal(generator, kicks, (replicas,))
        for start, old in begun.items():
            if (row := np.flatnonzero(np.equal(lags, time - start))).size:
                total[row] += ((state[0] - old) ** 2).sum(1)
        if time in starts:
            begun[time] = state[0]
    return total / len(starts)


def _normal(generator, covariance: NDArray, shape: tuple) -> NDArray:
    """Draw pairs (2, *shape, ...) of covariances (..., 2, 2), which may be singular."""
    first = np.sqrt(covariance[..., 0, 0].clip(0))
    slope = covariance[..., 0, 1] / np.where(first > 0, first, 1.0)
    second = np.sqrt((covariance[..., 1, 1] - slope**2).clip(0))
    one, other = generator.standard_normal((2, *shape, *first.shape))
    return np.stack([first * one, slope * one + second * other])
