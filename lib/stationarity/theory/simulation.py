"""Ensembles of SGD trajectories on quadratics, simulated step by step in float64.

There is one simulator, :func:`follow`. It moves an ensemble in blocks that fit the
processor's cache, each with its own stream of random numbers, on as many threads as
PyTorch may use; :func:`gaussian` and :func:`minibatches` give it the gradients. Book:
chapters 1 and 10.
"""

import collections
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.random import SFC64, Generator, SeedSequence
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import check_stable

BLOCK = 10_000  # numbers of a block's array: four such arrays stay in a core's cache
ROUNDING = 1e-12  # of the largest eigenvalue: a smaller negative one is rounding

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

    ``curvature`` are the eigenvalues (D,) or the whole Hessian (D, D); the noise of
    a minibatch gradient is given by a variance for all directions, the variances
    (D,), or the covariance matrix (D, D), any positive semidefinite one. ``rates``
    (K,) are the learning rates of the K steps; ``recorded`` are the steps, 0 to K,
    whose positions are kept. All start at ``start``, a number or (D,), with velocity
    0. Returns shape (len(recorded), trajectories, D). A seed gives the same noise
    for any ``rates``, and on any number of threads. Raises :class:`UsageError` for
    an unstable learning rate or a covariance with a negative eigenvalue.

    >>> simulate([1.0], [0.5], 0.0, trajectories=2, recorded=[0, 1], start=4.0)[:, :, 0]
    array([[4., 4.],
           [2., 2.]])
    """
    curvature, axes = _eigenbasis(np.asarray(curvature, float))
    check_stable(curvature, rates, momentum)
    root = _root(np.asarray(noise_variance, float), axes, len(curvature))
    start = np.broadcast_to(np.asarray(start, float), curvature.shape)
    blocks = follow(
        gaussian(curvature, root), rates, trajectories=trajectories, recorded=recorded,
        start=start if axes is None else start @ axes, momentum=momentum, seed=seed,
        summary=lambda states: states[..., 0],
    )  # fmt: skip
    positions = np.concatenate(blocks, axis=1)
    return positions if axes is None else positions @ axes.T


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
    """Simulate an ensemble block by block; return what is made of each block.

    ``noise`` is that of :func:`gaussian` or :func:`minibatches`, ``start`` (D,) the
    position at step 0, where the velocity is 0. The states of a block of b
    trajectories at the ``recorded`` steps come to ``summary`` as an array
    (len(recorded), b, D, 2) of positions and velocities, in the order of
    ``recorded``; they are dropped afterwards, so that sums over a large ensemble
    take the memory of a few blocks. Stability is not checked here.

    >>> still = gaussian(np.array([1.0]), np.array([0.0]))
    >>> follow(still, [0.5], trajectories=3, recorded=[1], start=[4.0], summary=np.shape)
    [(1, 3, 1, 2)]
    """
    recorded, start = [int(step) for step in recorded], np.asarray(start, float)
    if trajectories < 1 or not all(0 <= step <= len(rates) for step in recorded):
        raise UsageError(
            f"Recorded steps lie between 0 and {len(rates)}, the number of steps, and "
            "there is at least one trajectory."
        )
    count = -(-trajectories * len(start) // BLOCK)
    sizes = [len(part) for part in np.array_split(np.empty(trajectories), count)]

    def one(stream: SeedSequence, size: int):
        generator = Generator(SFC64(stream))
        begin = np.tile(start, (size, 1))
        gradient = noise(generator, begin.shape)
        return summary(_states(gradient, begin, rates, momentum, recorded))

    pool = ThreadPoolExecutor(torch.get_num_threads())
    try:
        return list(pool.map(one, SeedSequence(seed).spawn(len(sizes)), sizes))
    finally:  # an interruption waits for the blocks in hand only
        pool.shutdown(cancel_futures=True)


def _states(
    gradient: Gradient,
    position: NDArray,
    rates: ArrayLike,
    momentum: float,
    recorded: list,
) -> NDArray:
    """Return the states (len(recorded), b, D, 2) of a block; position is its start."""
    velocity, change = np.zeros_like(position), np.empty_like(position)
    kept = np.empty((len(recorded), *position.shape, 2))
    places = collections.defaultdict(list)  # a step may be recorded twice
    for place, step in enumerate(recorded):
        places[step].append(place)
    for step in range(max(recorded, default=0) + 1):
        if step in places:
            kept[places[step], ..., 0] = position
            kept[places[step], ..., 1] = velocity
        if step < len(rates):
            gradient(position, change)
            np.multiply(velocity, momentum, out=velocity)
            np.subtract(velocity, change, out=velocity)
            np.multiply(velocity, rates[step], out=change)
            np.add(position, change, out=position)
    return kept


def gaussian(curvature: NDArray, root: NDArray) -> Noise:
    """Return the gradients ``h θ + noise`` of a quadratic with Gaussian noise.

    ``curvature`` (D,); ``root`` are the standard deviations (D,), or a matrix (D, D)
    that times its transpose is the covariance.
    """

    def begin(generator: Generator, shape: tuple[int, int]) -> Gradient:
        noise, mixed = np.empty(shape), np.empty(shape)
        # Whole arrays: broadcasting a row would be slower than reading them.
        force = np.tile(curvature, (shape[0], 1))
        scale = np.tile(root, (shape[0], 1)) if root.ndim == 1 else None

        def gradient(position: NDArray, out: NDArray) -> None:
            generator.standard_normal(out=noise)
            if scale is None:
                np.matmul(noise, root.T, out=mixed)
            else:
                np.multiply(noise, scale, out=mixed)
            np.multiply(position, force, out=out)
            np.add(out, mixed, out=out)

        return gradient

    return begin


def minibatches(
    inputs: NDArray, errors: NDArray, batch_size: int, *, reshuffled: bool = False,
    weight_decay: float = 0.0, centre: ArrayLike = 0.0,
) -> Noise:  # fmt: skip
    """Return the gradients of linear regression on true minibatches.

    The loss of example i at the position θ is ``(xᵢ·θ − eᵢ)² / 2`` with ``inputs``
    (N, D) and ``errors`` (N,); weight decay adds λ (θ + centre), (D,) or 0, where the
    position is the distance from ``centre``. Each trajectory draws its own examples:
    independently, with replacement, or ``reshuffled``, that is in a new random order in
    each epoch, without the rest that fills no minibatch. Raises :class:`UsageError` for
    a batch size that is not between 1 and N.
    """
    count, dimensions = inputs.shape
    if not 1 <= batch_size <= count:
        raise UsageError(
            f"A minibatch holds between 1 and all {count} examples, not {batch_size}."
        )
    pull = weight_decay * np.asarray(centre, float)

    def begin(generator: Generator, shape: tuple[int, int]) -> Gradient:
        drawn = _orders if reshuffled else _draws
        chosen = drawn(generator, shape[0], count, batch_size)
        rows = np.empty((shape[0], batch_size, dimensions))

        def gradient(position: NDArray, out: NDArray) -> None:
            indices = next(chosen)
            np.take(inputs, indices, axis=0, out=rows, mode="clip")
            misses = (rows @ position[..., None])[..., 0]
            misses -= errors[indices]
            np.matmul(misses[:, None, :], rows, out=out[:, None, :])
            out /= batch_size
            if weight_decay:
                out += weight_decay * position + pull

        return gradient

    return begin


def _draws(generator: Generator, many: int, count: int, size: int):
    """Yield independent examples (many, size) of ``count``, without end."""
    while True:
        yield generator.integers(count, size=(many, size))


def _orders(generator: Generator, many: int, count: int, size: int):
    """Yield the examples (many, size) of epochs in random orders, without end."""
    order = np.tile(np.arange(count), (many, 1))
    while True:
        generator.permuted(order, axis=1, out=order)
        for first in range(0, count - size + 1, size):
            yield order[:, first : first + size]


def _eigenbasis(curvature: NDArray) -> tuple[NDArray, NDArray | None]:
    """Return eigenvalues (D,) and eigenvectors, in columns; none of eigenvalues alone."""
    if curvature.ndim < 2:
        return np.atleast_1d(curvature), None
    return np.linalg.eigh(curvature)


def _root(noise: NDArray, axes: NDArray | None, count: int) -> NDArray:
    """Return the root of the noise along the axes: (D,) where they are uncorrelated."""
    if noise.ndim == 0 or (noise.ndim == 1 and axes is None):
        values, vectors = np.broadcast_to(noise, count), None
    else:
        covariance = noise if noise.ndim == 2 else np.diag(noise)
        covariance = covariance if axes is None else axes.T @ covariance @ axes
        values, vectors = np.linalg.eigh(covariance)
        variances = np.diag(covariance)
        if np.abs(covariance - np.diag(variances)).max() <= ROUNDING * abs(values[-1]):
            values, vectors = variances, None
    if values.min() < -ROUNDING * np.abs(values).max():
        raise UsageError(
            "A covariance has no negative eigenvalue (no negative variance), and this one "
            f"has {values.min():g}."
        )
    deviations = np.sqrt(np.maximum(values, 0.0))
    return deviations if vectors is None else vectors * deviations
