"""Weights along single directions: what they do, and what theory says they do.

A *mode* is a direction of weight space, here an eigenvector of the Hessian; a
series holds the projections of the weights on k orthonormal directions at
consecutive steps, of one trajectory or of the members of an ensemble.
:func:`statistics` measures a series, and :func:`predictions` gives the same
quantities from the exact theory of SGD on a noisy quadratic, one mode at a time.
The names that both give are those of the rows of runs: ``mode_variance``,
``mode_velocity_variance``, ``mode_frequency``, ``mode_decay``. Everything is
float64. Book: chapter 12.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import theory
from ..errors import UsageError

LAGS = 40  # autocovariances that an oscillation is fitted to
GROUPS = 16  # parts of a series that an error comes from, where members are few
FEW = 8  # members: below it, time is divided too


class Estimate(NamedTuple):
    """Measured numbers with their standard errors, arrays of one shape."""

    value: NDArray
    error: NDArray


def statistics(series: ArrayLike, learning_rate: float) -> dict[str, Estimate]:
    """Measure the stationary motion along k modes. Returns estimates of shape (k,):

    - ``mode_variance`` of the position, about the mean of all members and steps;
    - ``mode_velocity_variance``, of the differences of consecutive positions over
      the learning rate;
    - ``mode_frequency``, radians per step, NaN where the mode does not oscillate;
    - ``mode_decay``, the rate at which its slower part dies out, per step.

    The last two are those of the recursion ``C(l) = a C(l-1) + b C(l-2)`` of the
    autocovariances, by least squares over the lags 2 to 40: two lags alone give
    wild answers on slow modes.

    Parameters
    ----------
    series : (members, T, k), projections at T consecutive steps.
    learning_rate : of those steps.

    Standard errors come from the spread over members, of eight or more; of fewer,
    every member is cut into parts in time, 16 in all. They are right where these
    are independent: a single trajectory must be long against the modes' memory,
    1 / ``mode_decay``, or its variance is taken for too small and too certain.
    Up to that the variances are unbiased: the variance of the mean that is taken
    off is added. Source: our section "What theory predicts of one mode".

    Raises :class:`UsageError` where the parts are shorter than 80 steps.

    >>> walk = np.random.default_rng(0).standard_normal((8, 200, 2))
    >>> statistics(walk, learning_rate=0.1)["mode_variance"].value.shape
    (2,)
    """
    series = np.asarray(series, float)
    velocity = np.diff(series, axis=1) / learning_rate
    variance = _autocovariances(_groups(series), 0)
    velocity_variance = _autocovariances(_groups(velocity), 0)
    products = _autocovariances(_groups(series), LAGS)
    # Leaving one part out at a time: a fit of one part alone would be biased.
    count = len(products)
    without = (products.sum(0) - products) / (count - 1)
    fits = np.array([_oscillation(part) for part in [products.mean(0), *without]])
    frequency, decay = (
        Estimate(fit[0], np.sqrt((count - 1) * fit[1:].var(0)))
        for fit in fits.swapaxes(0, 1)
    )
    real = ~(frequency.value > 0)
    return {
        "mode_variance": _mean(variance[:, 0]),
        "mode_velocity_variance": _mean(velocity_variance[:, 0]),
        "mode_frequency": Estimate(
            *(np.where(real, np.nan, part) for part in frequency)
        ),
        "mode_decay": decay,
    }


def displacement_squared(series: ArrayLike, lags: ArrayLike) -> Estimate:
    """Return the mean of ``(x_{t+k} - x_t)^2`` over members and t, (lags, k).

    The series (members, T, k) is as in :func:`statistics`, and so are the errors;
    starts t overlap. Raises :class:`UsageError` for a lag that is not below T.

    >>> steps = np.arange(100.0).reshape(1, 100, 1)
    >>> displacement_squared(steps, [1, 3]).value.ravel()
    array([1., 9.])
    """
    series, lags = np.asarray(series, float), np.asarray(lags, int)
    length = series.shape[1]
    if not (lags.min() >= 0 and lags.max() < length):
        raise UsageError(
            f"A series of {length} steps has displacements over 0 to {length - 1} steps, "
            f"not over {lags.min()} to {lags.max()}."
        )
    found = []
    for lag in lags:
        squares = (series[:, lag:] - series[:, : length - lag]) ** 2
        parts = (
            1 if len(series) >= FEW else min(-(-GROUPS // len(series)), length - lag)
        )
        pieces = [part.mean(1) for part in np.array_split(squares, parts, axis=1)]
        found.append((squares.mean((0, 1)), _mean(np.concatenate(pieces)).error))
    return Estimate(*np.array(found).swapaxes(0, 1))


def predictions(
    curvature: ArrayLike,
    noise_variance: ArrayLike,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    *,
    positive_only: bool = False,
) -> dict[str, NDArray]:
    """Return what :func:`statistics` measures, by exact theory, as arrays (k,).

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
    noise_variance = np.broadcast_to(np.asarray(noise_variance, float), total.shape)
    positive = total > 0
    if not positive_only and not positive.all():
        first = int(np.argmin(positive))
        raise UsageError(
            f"Mode {first} has curvature {total[first]:.3g}, with decay, and no stationary "
            "law: it needs a positive one. Leave such modes out by positive_only=True."
        )
    covariance = theory.stationary_covariance(
        total[positive], learning_rate, noise_variance[positive], momentum
    )
    angle = theory.oscillation(total[positive], learning_rate, momentum)
    found = {
        "mode_variance": covariance[:, 0, 0],
        "mode_velocity_variance": covariance[:, 1, 1],
        "mode_frequency": np.where((angle > 0) & (angle < np.pi), angle, np.nan),
        "mode_decay": theory.decay(total[positive], learning_rate, momentum),
    }
    filled = {name: np.full(total.shape, np.nan) for name in found}
    for name, column in found.items():
        filled[name][positive] = column
    return filled


def _groups(series: NDArray) -> NDArray:
    """Cut a series (members, T, k) into parts (groups, steps, k) of equal length."""
    members, length, modes = series.shape
    parts = 1 if members >= FEW else -(-GROUPS // members)
    steps = length // parts
    if steps < 2 * LAGS - 1:  # a velocity less
        raise UsageError(
            f"A series of {length} steps is too short for {members} members: follow them for "
            f"at least {2 * LAGS * parts} steps."
        )
    return series[:, : parts * steps].reshape(members * parts, steps, modes)


def _autocovariances(groups: NDArray, lags: int) -> NDArray:
    """Return the covariances at lags 0 to ``lags`` in each part, (groups, lags + 1, k).

    They are about the mean of all; the variance of that mean is added.
    """
    means = groups.mean(1)
    groups = groups - means.mean(0)
    steps = groups.shape[1]
    products = [
        np.einsum("gtk,gtk->gk", groups[:, lag:], groups[:, : steps - lag])
        / (steps - lag)
        for lag in range(lags + 1)
    ]
    return np.stack(products, 1) + means.var(0, ddof=1) / len(groups)


def _mean(parts: NDArray) -> Estimate:
    return Estimate(parts.mean(0), parts.std(0, ddof=1) / np.sqrt(len(parts)))


def _oscillation(covariances: NDArray) -> tuple[NDArray, NDArray]:
    """Fit the recursion to autocovariances (lags + 1, k): angle and decay of its roots."""
    answer, before = (
        covariances[2:],
        np.stack([covariances[1:-1], covariances[:-2]], -1),
    )
    normal = np.einsum("lki,lkj->kij", before, before)
    side = np.einsum("lki,lk->ki", before, answer)
    first, second = (np.linalg.pinv(normal) @ side[..., None])[..., 0].T
    root = np.sqrt(first**2 / 4 + second + 0j)
    roots = first / 2 + np.stack([root, -root])
    angle = np.abs(np.angle(roots)).min(0)
    return angle, -np.log(np.abs(roots).max(0))
