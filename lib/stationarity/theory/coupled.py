"""SGD with momentum on a quadratic whose gradient noise has axes of its own."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_discrete_lyapunov

from .discrete import check_stable


def linear_chain(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> tuple[NDArray, NDArray]:
    """Return the matrix and the noise covariance (2 P, 2 P) of one step of (θ, b).

    SGD on a quadratic follows b ← β b + H θ + ξ, θ ← θ − η b. The ``hessian`` H and the
    covariance ``noise`` of ξ are (P, P), and need
    not share eigenvectors. Raises :class:`UsageError` where the Hessian is not positive
    definite or the learning rate is too large.
    """
    hessian, noise = np.asarray(hessian, float), np.asarray(noise, float)
    check_stable(np.linalg.eigvalsh(hessian), learning_rate, momentum)
    one, rate = np.eye(len(hessian)), learning_rate
    rows = [[one - rate * hessian, -rate * momentum * one], [hessian, momentum * one]]
    response = np.vstack([-rate * one, one])
    return np.block(rows), response @ noise @ response.T


def stationary_covariance(
    hessian: ArrayLike, noise: ArrayLike, learning_rate: float, momentum: float = 0.0
) -> NDArray:
    """Return the exact stationary covariance (2 P, 2 P) of weights and buffer.

    It solves C = M C Mᵀ + N, with M and N of :func:`linear_chain`, and raises what that does.
    """
    return solve_discrete_lyapunov(*linear_chain(hessian, noise, learning_rate, momentum))
