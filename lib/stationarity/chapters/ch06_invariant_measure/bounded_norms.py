"""Weight decay and normalisation keep the norms of weights bounded: rates and levels.

Source: chapter 6 of the book.
"""

import math

import numpy as np
from numpy.typing import NDArray


def largest_decay_rate(momentum: float) -> float:
    """Return (1 − √β)²: the largest product of learning rate and decay for the bound.

    >>> largest_decay_rate(0.0)
    1.0
    """
    return (1 - math.sqrt(momentum)) ** 2


def balanced_square(learning_rate: float, weight_decay: float, gradient: float) -> float:
    """Return the stationary ‖w‖² of weights with a tangential gradient of norm G/‖w‖.

    ‖w‖⁴ = η G² / (λ (2 − η λ)), the balance of growth and decay (book: chapter 6).
    """
    shrinking = weight_decay * (2 - learning_rate * weight_decay)
    return math.sqrt(learning_rate * gradient**2 / shrinking)


def decayed_norms(
    gradients: NDArray, learning_rate: float, momentum: float, weight_decay: float
) -> NDArray:
    """Return ‖θ_k‖ (steps + 1,) from zero, for given gradients (steps, P) of the loss."""
    theta, buffer = np.zeros((2, gradients.shape[1]))
    norms = [0.0]
    for gradient in gradients:
        buffer = momentum * buffer + gradient + weight_decay * theta
        theta = theta - learning_rate * buffer
        norms.append(float(np.linalg.norm(theta)))
    return np.array(norms)


def normalised_squares(
    start: NDArray, learning_rate: float, weight_decay: float, gradient: float,
    steps: int, seed: int = 0,
) -> NDArray:  # fmt: skip
    """Return ‖w_k‖² (steps + 1,) of weights that feed a normalisation.

    The gradient is tangential, in a random direction, with norm ``gradient`` / ‖w‖.
    """
    generator, weights = np.random.default_rng(seed), np.asarray(start, float)
    squares = [weights @ weights]
    for _ in range(steps):
        direction = generator.standard_normal(len(weights))
        direction -= (direction @ weights) / (weights @ weights) * weights
        tangent = direction * gradient / np.linalg.norm(direction) / math.sqrt(squares[-1])
        weights = (1 - learning_rate * weight_decay) * weights - learning_rate * tangent
        squares.append(weights @ weights)
    return np.array(squares)
