"""What must balance in a stationary state, over independent replicas.

Source: our section "Watching a distribution settle".
"""

import numpy as np
from numpy.typing import ArrayLike

from .estimate import Estimate


def fluctuation_dissipation(
    products: ArrayLike, squares: ArrayLike, learning_rate: float, momentum: float
) -> Estimate:
    """Return <theta, g> over (eta (1 + beta) / 2) ||b||^2: 1 where stationary.

    Parameters
    ----------
    products: means of <theta, g> over the steps of a window, (K,) of K replicas or
        parts; theta before the step and g with the decay term. With the minibatch's g
        the ratio is 1 as soon as ||theta||^2 no longer drifts, for every sequence of
        gradients: summing the two recursions of SGD with momentum gives

            sum <theta, g> = (eta (1 + beta) / 2) sum ||b||^2
                - (1 - beta) / (2 eta) [||theta||^2] + beta [<theta, b>],

        brackets being last less first value. With grad f in its place it also tests
        that batches are independent of the weights.
    squares: means of ||b||^2 over the same steps, b being PyTorch's buffer after the
        update, (K,).
    learning_rate, momentum: eta and beta.

    Raises as :meth:`Estimate.ratio`. Source: our theorem thm-fdr.
    """
    return Estimate.ratio(products, learning_rate * (1 + momentum) / 2 * np.asarray(squares))


def descent_budget(gains: ArrayLike, changes: ArrayLike) -> Estimate:
    """Return the first-order gain over the second-order loss: 1 where stationary.

    Parameters
    ----------
    gains: means of eta <grad f(theta), b> over measured steps, (K,): what a step
        gains to first order, b after the update and theta before.
    changes: those of f(theta - eta b) - f(theta). The second-order loss is
        gain + change: exactly the integral remainder of Taylor's formula.

    The ratio is gain / (gain + change). Raises as :meth:`Estimate.ratio`.
    Source: our theorem thm-budget.

    >>> descent_budget([2.0, 4.0], [0.0, 0.0]).value
    1.0
    """
    return Estimate.ratio(gains, np.asarray(gains) + np.asarray(changes))
