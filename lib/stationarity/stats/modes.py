"""How weights move along single directions, the modes, in a stationary state.

What theory says of them has the same names, in :mod:`stationarity.theory.discrete`.
Book: chapters 11 and 12.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError
from .estimate import jackknife, mean_and_error

LAGS = 40  # autocovariances that an oscillation is fitted to
GROUPS = 16  # parts of a series that an error comes from, where members are few
FEW = 8  # members: below it, time is divided too


def statistics(series: ArrayLike, learning_rate: float) -> dict[str, tuple[NDArray, NDArray]]:
    """Measure the stationary motion along k modes. Returns values and errors (k,) of:

    - ``mode_variance`` of the position, about the mean of all members and steps;
    - ``mode_velocity_variance``, of the differences of consecutive positions over
      the learning rate;
    - ``mode_frequency``, radians per step, NaN where the mode does not oscillate;
    - ``mode_decay``, the rate at which its slower part dies out, per step.

    The last two are those of the recursion ``C(l) = a C(l-1) + b C(l-2)`` of the
    autocovariances, by least squares over the lags 2 to 40. ``series`` (members, T, k) are
    projections of the weights on k orthonormal directions at T consecutive steps. Standard
    errors come from the spread over members, of eight or more; of fewer, every member is cut
    into parts in time, 16 in all, which must be long against 1 / ``mode_decay``, or the
    variance is taken for too small and too certain. Raises :class:`UsageError` where parts
    are shorter than 79 steps. Source: our section "What theory predicts of one mode".
    """
    series = np.asarray(series, float)
    velocity = np.diff(series, axis=1) / learning_rate
    products = _autocovariances(_groups(series), LAGS)
    # By leaving one part out at a time: a fit of one part alone would be biased.
    (frequency, decay), errors = jackknife(_oscillation, products)
    real = ~(frequency > 0)
    return {
        "mode_variance": mean_and_error(products[:, 0]),
        "mode_velocity_variance": mean_and_error(_autocovariances(_groups(velocity), 0)[:, 0]),
        "mode_frequency": tuple(np.where(real, np.nan, x) for x in (frequency, errors[0])),
        "mode_decay": (decay, errors[1]),
    }


def _groups(series: NDArray) -> NDArray:
    """Cut a series (members, T, k) into parts (groups, steps, k) of equal length."""
    members, length, modes = series.shape
    parts = 1 if members >= FEW else -(-GROUPS // members)
    steps = length // parts
    if steps < 2 * LAGS - 1:  # a velocity less
        said = f"A series of {length} steps is too short for {members} members"
        raise UsageError(f"{said}: follow them for at least {2 * LAGS * parts} steps.")
    return series[:, : parts * steps].reshape(members * parts, steps, modes)


def _autocovariances(groups: NDArray, lags: int) -> NDArray:
    """Return covariances about the mean, its variance added, (groups, lags + 1, k)."""
    means = groups.mean(1)
    groups = np.ascontiguousarray((groups - means.mean(0)).mT)
    steps = groups.shape[2]
    products = [
        np.vecdot(groups[..., lag:], groups[..., : steps - lag]) / (steps - lag)
        for lag in range(lags + 1)
    ]
    return np.stack(products, 1) + means.var(0, ddof=1) / len(groups)


def _oscillation(covariances: NDArray) -> NDArray:
    """Fit the recursion to autocovariances (lags + 1, k): its roots' angle and decay (2, k)."""
    answer, before = covariances[2:], np.stack([covariances[1:-1], covariances[:-2]], -1)
    normal = np.einsum("lki,lkj->kij", before, before)
    side = np.einsum("lki,lk->ki", before, answer)
    first, second = (np.linalg.pinv(normal) @ side[..., None])[..., 0].T
    root = np.sqrt(first**2 / 4 + second + 0j)
    roots = first / 2 + np.stack([root, -root])
    return np.stack([np.abs(np.angle(roots)).min(0), -np.log(np.abs(roots).max(0))])
