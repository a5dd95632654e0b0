"""What chapter 6 reads beside its runs: exact laws, bounded norms and coupled chains."""

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import sqrtm
from scipy.signal import lfilter
from torch import Tensor

from ...errors import UsageError
from ...theory.discrete import decay, iterate, linear_chain
from .chains import plane_matrices, stationary_covariance
from .settings import Identities, Plane
from .two_identities import Problem, batches, inner


def descent(starts: ArrayLike, rates: ArrayLike, steps: int) -> NDArray:
    """Return ``steps`` iterates (steps, n) of descent on 4 θ³ / 3 − 3 θ² / 2, starts first.

    At rate 1 these are :func:`.chains.orbits`.
    """
    path = [np.asarray(starts, float)]
    while len(path) < steps:
        path.append(path[-1] - np.asarray(rates) * (4 * path[-1] ** 2 - 3 * path[-1]))
    return np.array(path)


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
    """Return ‖w_k‖² (steps + 1,), over its balance, of weights (P,) that feed a normalisation.

    The gradient is tangential, in a random direction, with norm ``gradient`` / ‖w‖.
    """
    generator, weights, squares = np.random.default_rng(0), start, [start @ start]
    for _ in range(steps):
        direction = generator.standard_normal(len(weights))
        direction -= (direction @ weights) / squares[-1] * weights
        tangent = direction * gradient / np.linalg.norm(direction) / math.sqrt(squares[-1])
        weights = (1 - learning_rate * weight_decay) * weights - learning_rate * tangent
        squares.append(weights @ weights)
    shrinking = weight_decay * (2 - learning_rate * weight_decay)
    return np.array(squares) / math.sqrt(learning_rate * gradient**2 / shrinking)


def plane_moments(settings: Plane) -> tuple[NDArray, NDArray]:
    """Return the exact mean (K + 1, 4) and covariance (K + 1, 4, 4) at each step."""
    given = *plane_matrices(settings), settings.learning_rate, settings.momentum
    (matrix, _), limit = linear_chain(*given), stationary_covariance(*given)
    powers = iterate(matrix, np.zeros(4), np.eye(4), np.arange(settings.steps + 1)).mT
    return powers[..., :2] @ settings.start, limit - powers @ limit @ powers.mT


def gaussian_distance(means: NDArray, covariances: NDArray, limit: NDArray) -> NDArray:
    """Return the Wasserstein distances (...) of normal laws to that of mean 0 and ``limit``.

    ``means`` are (..., P), ``covariances`` (..., P, P), and ``limit`` is (P, P).
    """
    root = sqrtm(limit)
    cross = np.linalg.eigvalsh(root @ covariances @ root)
    traces = np.trace(covariances + limit, axis1=-2, axis2=-1)
    squares = (means**2).sum(-1) + traces - 2 * np.sqrt(np.maximum(cross, 0.0)).sum(-1)
    return np.sqrt(np.maximum(squares, 0.0))


def coupled_distance(
    problem: Problem, settings: Identities, steps: int, spread: float
) -> Tensor:
    """Return distances (steps + 1, R) of R pairs of chains that share their minibatches.

    All start at independent normal weights of deviation ``spread``, without momentum.
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


def reshuffled(
    curvature: float, learning_rate: float, momentum: float, per_epoch: int
) -> tuple[float, NDArray]:
    """Return E[θ f′(θ)] over η (1 + β)/2 E b² with reshuffled epochs, and variances of θ.

    One stationary direction of a quadratic: the noises of an epoch's ``per_epoch`` minibatches
    do not depend on the weight, and sum to zero. The variances at each place of an epoch,
    (``per_epoch``,), are over that with independent minibatches, whose ratio is 1. Raises
    :class:`UsageError` without a stationary state, or for a single minibatch.
    """
    if per_epoch < 2:
        raise UsageError("Reshuffling needs at least two minibatches in an epoch.")
    matrix, _ = linear_chain([[curvature]], [[1.0]], learning_rate, momentum)
    epochs = 2 + math.ceil(40 / (per_epoch * decay(curvature, learning_rate, momentum)))
    steps = np.arange(epochs * per_epoch)  # what earlier ones leave: e^-40
    # Weight and buffer in units of the noise of so many steps ago.
    responses = iterate(matrix, [0.0, 0.0], [-learning_rate, 1.0], steps)
    products, variances = [], []
    for place in range(per_epoch):  # so many noises of the epoch came before
        sums = np.add.reduceat(responses, np.unique(np.r_[0, steps[place::per_epoch]]))
        variances.append(per_epoch * (responses**2).sum(0) - (sums**2).sum(0))
        products.append(-responses[:place, 0].sum())
    weight, buffer = np.transpose(variances)  # times per_epoch − 1
    ratio = 1 - np.mean(products) / (learning_rate * (1 + momentum) / 2 * buffer.mean())
    return float(ratio), weight / (per_epoch - 1) / (responses[:, 0] ** 2).sum()
