"""What chapter 6 reads beside its runs: exact laws, bounded norms and coupled chains."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import sqrtm
from scipy.signal import lfilter
from torch import Tensor

from ...errors import UsageError
from ...theory.coupled import linear_chain, stationary_covariance
from ...theory.discrete import iterate
from .chains import plane_matrices
from .settings import Identities, Plane
from .two_identities import Problem, batches, inner


def largest_decay_rate(momentum: float) -> float:
    """Return (1 − √β)²: the largest product of learning rate and decay for the bound."""
    return (1 - math.sqrt(momentum)) ** 2


def balanced_square(learning_rate: float, weight_decay: float, gradient: float) -> float:
    """Return the stationary ‖w‖² of weights with a tangential gradient of norm G/‖w‖.

    ‖w‖⁴ = η G² / (λ (2 − η λ)), the balance of growth and decay (book: chapter 6).
    """
    rate, decay = learning_rate, weight_decay
    return math.sqrt(rate * gradient**2 / (decay * (2 - rate * decay)))


def decayed_norms(
    gradients: NDArray, learning_rate: float, momentum: float, weight_decay: float
) -> NDArray:
    """Return ‖θ_k‖ (steps + 1,) from zero, for given gradients (steps, P) of the loss."""
    # θ_{k+1} = (1 + β − η λ) θ_k − β θ_{k−1} − η g_k
    recursion = [1.0, learning_rate * weight_decay - 1 - momentum, momentum]
    weights = lfilter([-learning_rate], recursion, gradients, axis=0)
    return np.r_[0.0, np.linalg.norm(weights, axis=1)]


def normalised_squares(
    start: NDArray, learning_rate: float, weight_decay: float, gradient: float, steps: int
) -> NDArray:
    """Return ‖w_k‖² (steps + 1,) of weights (P,) that feed a normalisation.

    The gradient is tangential, in a random direction, with norm ``gradient`` / ‖w‖.
    """
    generator, weights, squares = np.random.default_rng(0), start, [start @ start]
    for _ in range(steps):
        direction = generator.standard_normal(len(weights))
        direction -= (direction @ weights) / squares[-1] * weights
        tangent = direction * gradient / np.linalg.norm(direction) / math.sqrt(squares[-1])
        weights = (1 - learning_rate * weight_decay) * weights - learning_rate * tangent
        squares.append(weights @ weights)
    return np.array(squares)


def plane_moments(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the exact mean (K + 1, 4) and covariance (K + 1, 4, 4) at each step."""
    given = *plane_matrices(settings), settings.learning_rate, settings.momentum
    (matrix, _), limit = linear_chain(*given), stationary_covariance(*given)
    powers = [np.eye(4)]
    for _ in range(settings.steps):
        powers.append(matrix @ powers[-1])
    powers = np.array(powers)
    return powers[..., :2] @ settings.start, limit - powers @ limit @ powers.mT


def gaussian_distance(means: NDArray, covariances: NDArray, limit: NDArray) -> NDArray:
    """Return the Wasserstein distances W₂ (...) of normal distributions to N(0, L).

    ``means`` are (..., P), ``covariances`` (..., P, P), and ``limit`` (P, P) is L.
    W₂² = ‖m‖² + tr(C + L − 2 (L^½ C L^½)^½), in squared units of the variable.
    """
    root = sqrtm(limit)
    cross = np.linalg.eigvalsh(root @ covariances @ root)
    traces = np.trace(covariances + limit, axis1=-2, axis2=-1)
    squares = (means**2).sum(-1) + traces - 2 * np.sqrt(np.maximum(cross, 0.0)).sum(-1)
    return np.sqrt(np.maximum(squares, 0.0))


def coupled_distance(
    problem: Problem, settings: Identities, steps: int, spread: float
) -> Tensor:
    """Return distances (steps + 1, R) of chains that share their minibatches.

    Two chains without momentum start at independent normal weights of standard
    deviation ``spread``; R pairs run at once.
    """
    device = problem.inputs.device
    generator = torch.Generator(device).manual_seed(settings.seed)
    shape = (settings.replicates, problem.inputs.shape[1], problem.targets.shape[1])
    how = {"generator": generator, "dtype": torch.float64, "device": device}
    one, other = (spread * torch.randn(shape, **how) for _ in range(2))
    squares = [inner(one - other, one - other)]
    for chosen in batches(settings, "replacement", steps, device):
        for weights in (one, other):
            weights -= settings.learning_rate * problem.gradient(weights, chosen)
        squares.append(inner(one - other, one - other))
    return torch.stack(squares).sqrt().cpu()


def reshuffled_ratio(
    curvature: float, learning_rate: float, momentum: float, per_epoch: int
) -> float:
    """Return E[θ f′(θ)] over η (1 + β)/2 E b² where epochs are reshuffled.

    One direction of a quadratic, its stationary state, and all positions in an epoch: the
    noises of the ``per_epoch`` minibatches do not depend on the weight, sum to zero, and
    come in a new random order in each epoch. With independent minibatches the ratio is 1.
    Raises :class:`UsageError` without a stationary state, or for a single minibatch.
    """
    weight, buffer = _responses(curvature, learning_rate, momentum, per_epoch)
    products = [-weight[:place].sum() for place in range(per_epoch)]
    squares = _reshuffled(buffer, per_epoch).mean()
    return float(1 - np.mean(products) / (learning_rate * (1 + momentum) / 2 * squares))


def reshuffled_variance(
    curvature: float, learning_rate: float, momentum: float, per_epoch: int
) -> NDArray:
    """Return the variance of the weight at each place of an epoch, (``per_epoch``,).

    Over that with independent minibatches, for the process of :func:`reshuffled_ratio`;
    place j has j minibatches of its epoch behind it. It is smallest near place 0, where
    epochs end and all their noise has cancelled.
    """
    weight, _ = _responses(curvature, learning_rate, momentum, per_epoch)
    return _reshuffled(weight, per_epoch) / (per_epoch - 1) / (weight**2).sum()


def _reshuffled(response: NDArray, per_epoch: int) -> NDArray:
    """Return n − 1 times a response's variance at each of the n places of an epoch."""
    found = []
    for place in range(per_epoch):  # so many noises of the epoch came before
        epochs = np.unique(np.r_[0, np.arange(place, len(response), per_epoch)])
        sums = np.add.reduceat(response, epochs)
        found.append(per_epoch * (response**2).sum() - (sums**2).sum())
    return np.array(found)


def _responses(curvature, learning_rate, momentum, per_epoch) -> NDArray:
    """Return the weight and the buffer (2, M), in units of the noise of m steps ago."""
    if per_epoch < 2:
        raise UsageError("Reshuffling needs at least two minibatches in an epoch.")
    matrix, _ = linear_chain([[curvature]], [[1.0]], learning_rate, momentum)
    radius = max(abs(np.linalg.eigvals(matrix)))
    epochs = 2 + math.ceil(40 / (per_epoch * -math.log(radius)))  # what is left: e^-40
    return iterate(matrix, [0.0, 0.0], [-learning_rate, 1.0], np.arange(epochs * per_epoch)).T
