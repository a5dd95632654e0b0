"""Chains on finitely many states: distributions are vectors, the kernel is a matrix.

Source: chapter 6 of the book.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from ...runs import metrics

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import FiniteChains


def finite_chains(settings: FiniteChains, place: Place) -> list[tuple]:
    """Compute :func:`telescoping` for three chains; each starts in its first state.

    Rows are of the chain, ``step`` is T. Nothing is random: errors are zero.
    """
    points = np.linspace(-4, 4, settings.states)
    matrices = {
        "rounded SGD": rounded_sgd(points, settings.learning_rate, settings.noise),
        "rotation": rotation(settings.states),
        "drifting walk": drifting_walk(2 * max(settings.times) + 2),
    }
    rows = []
    for name, matrix in matrices.items():
        start = np.eye(1, matrix.shape[0])[0]
        for quantity, values in telescoping(matrix, start, settings.times).items():
            rows += metrics.rows(quantity, values, 0.0, of=name, step=settings.times)
    return rows


def telescoping(
    matrix: sparse.csr_array, start: NDArray, times: ArrayLike
) -> dict[str, NDArray]:
    """Follow distributions μ_k = μ_0 P^k and their averages ν_T over the first T.

    ``start`` (n,) is μ_0. Returns, for each T of ``times``: ``gap``, the total
    variation between ν_T P and ν_T; ``identity``, that between μ_T and μ_0 over T;
    ``one_step``, that between μ_T P and μ_T; ``ageing``, that between ν_T and ν_2T.
    """
    kept = [start]
    for _ in range(2 * max(times)):
        kept.append(kept[-1] @ matrix)
    sums = np.cumsum(kept, axis=0)
    average = {time: sums[time - 1] / time for t in times for time in (t, 2 * t)}
    pairs = {
        "gap": [(average[t] @ matrix, average[t]) for t in times],
        "identity": [(kept[t], start) for t in times],
        "one_step": [(kept[t + 1], kept[t]) for t in times],
        "ageing": [(average[t], average[2 * t]) for t in times],
    }
    distances = {name: [total_variation(*two) for two in pairs[name]] for name in pairs}
    found = {name: np.array(values) for name, values in distances.items()}
    return found | {"identity": found["identity"] / np.array(times)}


def total_variation(one: ArrayLike, other: ArrayLike) -> float:
    """Return the largest difference of the probability of an event, in [0, 1].

    >>> total_variation([1.0, 0.0], [0.25, 0.75])
    0.75
    """
    return float(np.abs(np.asarray(one) - np.asarray(other)).sum() / 2)


def rounded_sgd(points: NDArray, learning_rate: float, noise: float) -> sparse.csr_array:
    """Return the transition matrix (n, n) of SGD on θ²/2 with weights on a grid.

    The gradient is θ plus −noise, 0 or +noise, each with probability 1/3; the new
    weight is rounded to the nearest of the ``points`` (n,), which ascend.
    """
    matrix = np.zeros((len(points), len(points)))
    middles = (points[1:] + points[:-1]) / 2
    for error in (-noise, 0.0, noise):
        places = np.searchsorted(middles, points - learning_rate * (points + error))
        matrix[np.arange(len(points)), places] += 1 / 3
    return sparse.csr_array(matrix)


def rotation(states: int) -> sparse.csr_array:
    """Return the matrix of the chain that goes round its states, one a step."""
    return sparse.csr_array(np.roll(np.eye(states), 1, axis=1))


def drifting_walk(states: int) -> sparse.csr_array:
    """Return the matrix of a walk that stays or goes one up, each with 1/2.

    It stops in the last state, which no walk from the first reaches in fewer steps
    than there are states.
    """
    stays = np.full(states, 0.5)
    stays[-1] = 1.0
    rises = np.full(states - 1, 0.5)
    return sparse.diags_array([stays, rises], offsets=[0, 1], format="csr")
