"""What the exact theory of SGD on a noisy quadratic says of single modes.

A mode is a direction of weight space, here an eigenvector of the Hessian. The names
are those of :func:`stationarity.stats.modes.statistics`, which measures the same.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import decay, oscillation, stationary_covariance


def predictions(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    *,
    positive_only: bool = False,
) -> dict[str, NDArray]:
    """Return ``mode_variance``, ``mode_velocity_variance``, ``mode_frequency``, ``mode_decay``.

    Each is of shape (k,); the frequency is NaN where a mode does not oscillate.

    Parameters
    ----------
    curvature : (k,), Hessian eigenvalues ρ of the loss without decay.
    noise_variance : (k,), variances of the minibatch gradient along the modes.
    learning_rate, momentum, weight_decay : of SGD as PyTorch writes it.
    positive_only : answer NaN for modes whose ρ + λ is not positive.

    The noise is taken for independent between steps (minibatches drawn with
    replacement) and of constant variance, the modes for uncoupled. Source: our
    section "What theory predicts of one mode".

    Raises :class:`UsageError` for a mode without a stationary law: where ρ + λ is
    not positive, which names the first such mode, and beyond stability.

    >>> predictions([4.0], [1.0], 0.1, 0.9, 0.0)["mode_frequency"].round(3)
    array([0.659])
    """
    total = np.asarray(curvature, float) + weight_decay
    positive = total > 0
    if not positive_only and not positive.all():
        first = int(np.argmin(positive))
        raise UsageError(
            f"Mode {first} has curvature {total[first]:.3g}, with decay, and no stationary "
            "law: it needs a positive one. Leave such modes out by positive_only=True."
        )
    noise = np.broadcast_to(np.asarray(noise_variance, float), total.shape)[positive]
    optimiser = (learning_rate, momentum)
    covariance = stationary_covariance(total[positive], learning_rate, noise, momentum)
    angle = oscillation(total[positive], *optimiser)
    filled = {}
    for name, column in {
        "mode_variance": covariance[:, 0, 0],
        "mode_velocity_variance": covariance[:, 1, 1],
        "mode_frequency": np.where((angle > 0) & (angle < np.pi), angle, np.nan),
        "mode_decay": decay(total[positive], *optimiser),
    }.items():
        filled[name] = np.full(total.shape, np.nan)
        filled[name][positive] = column
    return filled
