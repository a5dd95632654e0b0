"""What must balance in a stationary state, over independent replicas.

Source: our section "Watching a distribution settle".
"""

import numpy as np
from numpy.typing import ArrayLike

from ...stats.estimate import Estimate


def fluctuation_dissipation(
    products: ArrayLike, squares: ArrayLike, learning_rate: float, momentum: float
) -> Estimate:
    """Return <theta, g> over (eta (1 + beta) / 2) ||b||^2: 1 where stationary.

    ``products`` are means of <theta, g> over the steps of a window, (K,) of K replicas:
    theta before the step and g with the decay term. ``squares`` are those of ||b||^2, b
    being PyTorch's buffer after the update; eta is the learning rate, beta the momentum.

    With the minibatch's g the ratio is 1 as soon as ||theta||^2 no longer drifts: for
    every sequence of gradients, with brackets for last less first value,

        sum <theta, g> = (eta (1 + beta) / 2) sum ||b||^2
            - (1 - beta) / (2 eta) [||theta||^2] + beta [<theta, b>].

    With grad f in its place it also tests that batches are independent of the weights.
    Raises as :meth:`Estimate.ratio`. Source: our theorem thm-fdr.
    """
    return Estimate.ratio(products, learning_rate * (1 + momentum) / 2 * np.asarray(squares))


def descent_budget(gains: ArrayLike, changes: ArrayLike) -> Estimate:
    """Return the first-order gain over the second-order loss: 1 where stationary.

    ``gains`` are means of eta <grad f(theta), b> over measured steps, (K,) of K replicas:
    what a step gains to first order, b after the update and theta before. ``changes`` are
    those of f(theta - eta b) - f(theta). The second-order loss is gain + change: exactly
    the integral remainder of Taylor's formula. Raises as :meth:`Estimate.ratio`.
    Source: our theorem thm-budget.

    >>> descent_budget([2.0, 4.0], [0.0, 0.0]).value
    1.0
    """
    return Estimate.ratio(gains, np.asarray(gains) + np.asarray(changes))
