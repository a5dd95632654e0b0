"""Linear regression by SGD on true minibatches: its gradients, and their exact moments.

The loss of example i is (xᵢ·w − yᵢ)² / 2, that of the data their mean, and weight decay
adds λ ‖w‖² / 2. Everything is in the eigenbasis of the Hessian H = XᵀX / N, with
positions θ = w − μ measured from the minimum μ, in float64. Book: chapter 10.
"""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...theory.discrete import transition
from ...theory.simulation import Gradient, Noise


class LeastSquares(NamedTuple):
    """A linear regression in the eigenbasis of its Hessian, its minimum at the origin."""

    inputs: NDArray  # (N, D)
    errors: NDArray  # (N,): yᵢ − xᵢ·μ, what the minimum leaves
    hessian: NDArray  # (D,): eigenvalues ρ without decay, descending
    minimum: NDArray  # (D,): μ
    weight_decay: float

    @property
    def curvature(self) -> NDArray:
        """The curvatures h = ρ + λ (D,)."""
        return self.hessian + self.weight_decay

    @property
    def noise_of_example(self) -> NDArray:
        """The variances (D,) of one example's gradient at the minimum."""
        gradients = self.inputs * self.errors[:, None]
        return (gradients**2).mean(0) - gradients.mean(0) ** 2


def least_squares(inputs: NDArray, targets: NDArray, weight_decay: float = 0.0) -> LeastSquares:
    """Return the regression of ``targets`` (N,) on ``inputs`` (N, D), turned to its axes.

    Raises :class:`UsageError` where the minimum is not unique.

    >>> least_squares(np.diag([2.0, 1.0]), np.array([4.0, 3.0])).minimum
    array([2., 3.])
    """
    values, axes = np.linalg.eigh(inputs.T @ inputs / len(inputs))
    values, axes = values[::-1], axes[:, ::-1]
    axes = axes * np.where(axes[np.abs(axes).argmax(0), np.arange(len(axes))] < 0, -1, 1)
    if not values[-1] + weight_decay > 1e-12 * values[0]:
        raise UsageError(
            f"The Hessian's smallest eigenvalue, {values[-1]:.3g} with the largest "
            f"{values[0]:.3g}, must be positive: take more examples than inputs, or decay."
        )
    turned = inputs @ axes
    minimum = turned.T @ targets / len(inputs) / (values + weight_decay)
    return LeastSquares(turned, targets - turned @ minimum, values, minimum, weight_decay)


def gradients(given: LeastSquares, batch_size: int, *, reshuffled: bool) -> Noise:
    """Return the gradients on minibatches, for :func:`stationarity.theory.simulation.follow`.

    Each trajectory draws its own examples: with replacement, or ``reshuffled``, in a new
    random order in each epoch, without the rest that fills no minibatch.
    """
    pull = given.weight_decay * given.minimum

    def begin(generator: Generator, shape: tuple[int, int]) -> Gradient:
        many, dimensions = shape
        batches = _batches(generator, (many, batch_size), len(given.inputs), reshuffled)
        rows = np.empty((many, batch_size, dimensions))

        def gradient(position: NDArray, out: NDArray) -> None:
            indices = next(batches)
            np.take(given.inputs, indices, axis=0, out=rows, mode="clip")
            misses = (rows @ position[..., None])[..., 0] - given.errors[indices]
            np.matmul(misses[:, None, :], rows, out=out[:, None, :])
            out /= batch_size
            if given.weight_decay:
                out += given.weight_decay * position + pull

        return gradient

    return begin


def _batches(generator: Generator, shape: tuple[int, int], count: int, reshuffled: bool):
    """Yield the examples (many, size) of minibatches from ``count``, without end."""
    while not reshuffled:
        yield generator.integers(count, size=shape)
    many, size = shape
    order = np.tile(np.arange(count), (many, 1))
    while True:
        generator.permuted(order, axis=1, out=order)
        for first in range(0, count - size + 1, size):
            yield order[:, first : first + size]


def exact_moments(
    given: LeastSquares, rate: float, momentum: float, batch_size: int,
    *, start: NDArray, recorded: ArrayLike,
) -> tuple[NDArray, NDArray]:  # fmt: skip
    """Return the exact moments of SGD on minibatches drawn with replacement.

    From ``start`` (D,) with velocity 0. For the ``recorded`` steps (K,), rising, the mean
    of (position, velocity), (K, D, 2), and the covariance in each direction, (K, D, 2, 2).
    The noise of a minibatch depends on the weights, but its covariance is quadratic in
    them, so that first and second moments close: no law of the noise is assumed. A step
    costs about 4 N D² operations.
    """
    count, dimensions = given.inputs.shape
    rows = transition(given.curvature, rate, momentum)
    matrix = np.block([[np.diag(entry) for entry in row] for row in rows.transpose(1, 2, 0)])
    response = np.kron([[rate], [1.0]], np.eye(dimensions))
    state = np.concatenate([start, np.zeros(dimensions)])
    second, kept = np.outer(state, state), []  # E of (θ, v) times its transpose
    pull = given.inputs.T @ given.errors / count  # λ μ, the loss's own slope, downhill
    for step in range(max(recorded) + 1):
        if step in recorded:
            kept.append((state, second - np.outer(state, state)))
        noise = _noise(given, state[:dimensions], second[:dimensions, :dimensions], pull)
        state = matrix @ state
        second = matrix @ second @ matrix.T
        second += response @ noise @ response.T / batch_size
    mean, covariance = map(np.array, zip(*kept, strict=True))
    covariance = covariance.reshape(-1, 2, dimensions, 2, dimensions)
    directions = np.einsum("kidjd->kdij", covariance)
    return mean.reshape(-1, 2, dimensions).swapaxes(1, 2), directions


def _noise(given: LeastSquares, place: NDArray, positions: NDArray, pull: NDArray) -> NDArray:
    """Return E Σ(θ) (D, D), the covariance of one example's gradient, over the law of θ."""
    inputs, errors = given.inputs, given.errors
    squares = ((inputs @ positions) * inputs).sum(1)
    squares += errors * (errors - 2 * (inputs @ place))  # E (xᵢ·θ − eᵢ)²
    slope = given.hessian * place
    mean = given.hessian[:, None] * positions * given.hessian
    mean += np.outer(pull, pull) - np.outer(slope, pull) - np.outer(pull, slope)
    return (inputs * squares[:, None]).T @ inputs / len(inputs) - mean
