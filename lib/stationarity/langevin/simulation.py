"""Ensembles of SGD trajectories on noisy quadratics, in float64. Book: chapters 1 and 10."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .discrete import check_stable


def simulate(
    curvature: ArrayLike,
    rates: ArrayLike,
    noise_variance: ArrayLike,
    *,
    trajectories: int,
    recorded: ArrayLike,
    start: float = 0.0,
    momentum: float = 0.0,
    seed: int = 0,
) -> NDArray:
    """Return the positions of an ensemble of trajectories with Gaussian noise.

    ``curvature`` (D,) are those of D directions and ``rates`` (K,) the learning
    rates of the K steps; ``recorded`` are the steps, 0 to K, whose positions
    are kept. All start at ``start`` with velocity 0. Returns shape
    (len(recorded), trajectories, D). A seed gives the same noise for any
    ``rates``. Raises :class:`UsageError` for an unstable learning rate.
    """
    check_stable(curvature, rates, momentum)
    curvature = np.asarray(curvature, float)
    generator = np.random.default_rng(seed)
    deviation = np.sqrt(np.asarray(noise_variance, float))
    position = np.full((trajectories, len(curvature)), float(start))
    velocity, noise = np.zeros_like(position), np.empty_like(position)
    places = {step: place for place, step in enumerate(recorded)}
    kept = np.empty((len(places), *position.shape))
    for step in range(len(rates) + 1):
        if step in places:
            kept[places[step]] = position
        if step < len(rates):
            generator.standard_normal(out=noise)
            velocity = momentum * velocity - (curvature * position + deviation * noise)
            position = position + rates[step] * velocity
    return kept
