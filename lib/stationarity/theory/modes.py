"""What the exact theory says of modes, which :mod:`stationarity.stats.modes` measures."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .discrete import decay, oscillation, stationary_covariance

NAMES = ("mode_variance", "mode_velocity_variance", "mode_frequency", "mode_decay")


def predictions(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    *,
    positive_only: bool = False,
) -> dict[str, NDArray]:
    """Return a column (k,) by each of ``NAMES``; without oscillation no frequency (NaN).

    ``curvature`` (k,) are the Hessian's eigenvalues ρ of the loss without decay λ, and
    ``noise_variance`` (k,) those of the minibatch gradient along them. The noise is taken
    for independent between steps and of constant variance, the modes for uncoupled.
    Source: our section "What theory predicts of one mode".

    Raises :class:`UsageError` for a mode without a stationary law; where ``positive_only``
    those whose ρ + λ is not positive are NaN.

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
    table = np.full((len(NAMES), *total.shape), np.nan)
    table[:, positive] = (
        covariance[:, 0, 0],
        covariance[:, 1, 1],
        np.where((angle > 0) & (angle < np.pi), angle, np.nan),
        decay(total[positive], *optimiser),
    )
    return dict(zip(NAMES, table, strict=True))
