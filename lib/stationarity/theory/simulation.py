"""Ensembles of SGD trajectories on quadratics, simulated step by step in float64."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import check_stable

BLOCK = 10_000  # numbers of a block's array: four such arrays stay in a core's cache

# Writes the gradients at positions (b, D) into an array of that shape.
Gradient = Callable[[NDArray, NDArray], None]
# Begins with a block: its random numbers and its shape (b, D).
Noise = Callable[[Generator, tuple[int, int]], Gradient]


def simulate(
    curvature: ArrayLike,
    rates: ArrayLike,
    noise_variance: ArrayLike,
    *,
    trajectories: int,
    recorded: ArrayLike,
    start: ArrayLike = 0.0,
    momentum: float = 0.0,
    seed: int = 0,
) -> NDArray:
    """Return the positions of an ensemble of trajectories with Gaussian noise.

    ``curvature`` (D,) are the eigenvalues of the Hessian, ``noise_variance`` is a number
    or (D,), and ``rates`` (K,) are the learning rates of the steps, of which those
    ``recorded``, 0 to K, are kept. All begin at ``start``, a number or (D,), with velocity
    0. Returns (len(recorded), trajectories, D). A seed gives the same noise for any
    ``rates``, and on any number of threads. Raises :class:`UsageError` for an unstable
    learning rate or a negative variance.

    >>> simulate([1.0], [0.5], 0.0, trajectories=2, recorded=[0, 1], start=4.0)[:, :, 0]
    array([[4., 4.],
           [2., 2.]])
    """
    curvature = np.asarray(curvature, float)
    check_stable(curvature, rates, momentum)
    variances, start = (np.broadcast_to(x, curvature.shape) for x in (noise_variance, start))
    if variances.min() < 0:
        raise UsageError(f"A variance cannot be negative, and this one is {variances.min():g}.")
    noise = gaussian(curvature, np.sqrt(variances))
    how = dict(trajectories=trajectories, recorded=recorded, momentum=momentum, seed=seed)
    blocks = follow(noise, rates, start=start, summary=lambda states: states[..., 0], **how)
    return np.concatenate(blocks, axis=1)


def follow(
    noise: Noise,
    rates: ArrayLike,
    *,
    trajectories: int,
    recorded: ArrayLike,
    start: ArrayLike,
    momentum: float = 0.0,
    seed: int = 0,
    summary: Callable[[NDArray], object],
) -> list:
    """Simulate an ensemble on PyTorch's threads; return what is made of each block.

    ``noise`` is as that of :func:`gaussian`, ``start`` (D,) the position at step 0,
    where the velocity is 0. The states of a block of b trajectories at the ``recorded``
    steps come to ``summary`` as an array (len(recorded), b, D, 2) of positions and
    velocities, then go. Stability is not checked. UsageError for steps that there are not.
    """
    recorded, start = [int(step) for step in recorded], np.asarray(start, float)
    if trajectories < 1 or not all(0 <= step <= len(rates) for step in recorded):
        said = f"Recorded steps lie between 0 and {len(rates)}, the number of steps"
        raise UsageError(f"{said}, and there is at least one trajectory.")
    count = -(-trajectories * len(start) // BLOCK)
    sizes = [len(part) for part in np.array_split(np.empty(trajectories), count)]

    def one(stream: SeedSequence, size: int):
        generator, begin = Generator(SFC64(stream)), np.tile(start, (size, 1))
        gradient = noise(generator, begin.shape)
        return summary(_states(gradient, begin, rates, momentum, recorded))

    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        return list(pool.map(one, SeedSequence(seed).spawn(len(sizes)), sizes))
    finally:  # an interruption waits for the blocks in hand only
        pool.shutdown(cancel_futures=True)


def _states(
    gradient: Gradient, position: NDArray, rates: ArrayLike, momentum: float, recorded: list
) -> NDArray:
    """Return the states (len(recorded), b, D, 2) of a block; position is its start."""
    velocity, change = np.zeros_like(position), np.empty_like(position)
    kept, places = np.empty((len(recorded), *position.shape, 2)), {}
    for place, step in enumerate(recorded):
        places.setdefault(step, []).append(place)  # it may be recorded twice
    for step in range(max(recorded, default=0) + 1):
        if at := places.get(step):
            kept[at, ..., 0], kept[at, ..., 1] = position, velocity
        if step < len(rates):
            gradient(position, change)
            np.multiply(velocity, momentum, out=velocity)
            np.subtract(velocity, change, out=velocity)
            np.multiply(velocity, rates[step], out=change)
            np.add(position, change, out=position)
    return kept


def gaussian(curvature: NDArray, deviations: NDArray) -> Noise:
    """Return the gradients ``h θ + noise`` of a quadratic: curvatures, deviations (D,)."""

    def begin(generator: Generator, shape: tuple[int, int]) -> Gradient:
        noise = np.empty(shape)
        # Whole arrays: broadcasting a row would be slower than reading them.
        force, scale = np.tile(curvature, (shape[0], 1)), np.tile(deviations, (shape[0], 1))

        def gradient(position: NDArray, out: NDArray) -> None:
            generator.standard_normal(out=noise)
            np.multiply(noise, scale, out=noise)
            np.multiply(position, force, out=out)
            np.add(out, noise, out=out)

        return gradient

    return begin
