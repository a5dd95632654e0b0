"""Curvature: the largest eigenvalues of the Hessian, and its value along a vector."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import hessian_product, parameter_vector, trainable, without_trace
from .lanczos import Sharpness, largest_eigenpairs
from .objectives import Batch, Objective


def sharpness(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    *,
    k: int = 1,
    tol: float = 1e-2,
    max_products: int = 100,
    seed: int = 0,
) -> Sharpness:
    """Return the k algebraically largest eigenvalues of the Hessian.

    It is that of the mean objective over these fixed batches, in training mode with their
    statistics in batch normalisations; dropout draws the same numbers in every product,
    which is one objective a batch and about three gradients of work. The stopping rule is
    that of :mod:`stationarity.measure.lanczos`.

    Parameters
    ----------
    model, objective, batches: as in :func:`gradient_statistics`; M >= 1.
    k: how many eigenvalues, with multiplicity.
    tol: relative error of each eigenvalue.
    max_products: the most products.
    seed: of the random directions; global random state is not used.

    Memory: 6k + 40 gradients beside one batch's graph. Raises ``ValueError`` without a
    batch or parameters, and for k outside [1, min(P, max_products)];
    ``FloatingPointError`` where a product is not finite.

    Source: Zhang et al. 2022 (power iteration there); our section "What to measure".

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> round(sharpness(model, objective, [None]).eigenvalues.item(), 3)
    3.0
    """
    like = parameter_vector(model)
    if not 1 <= k <= min(len(like), max_products):
        raise ValueError(
            f"k={k} must be at least 1 and at most max_products={max_products} and "
            f"the number of trainable parameters, {len(like)}"
        )
    generator = torch.Generator().manual_seed(seed)
    with without_trace(model, curvature=True) as before:
        batches = list(batches)

        def product(vector: Tensor) -> Tensor:
            return _mean_product(model, objective, batches, before, vector)

        how = {"k": k, "tol": tol, "max_products": max_products, "generator": generator}
        return largest_eigenpairs(product, like, **how)


def directional_sharpness(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], direction: Tensor
) -> float:
    """Return v'Hv / v'v: the curvature of the mean objective along v.

    ``direction``, (P,), is a flat vector such as ``mean_gradient``; M calls of the
    objective. Raises ``ValueError`` for a zero direction, or one of another size, and
    as :func:`sharpness`.

    Source: Zhang et al. 2022, whose code takes ||Hv|| / ||v||.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> directional_sharpness(model, objective, [None], torch.tensor([0.0, 2.0]))
    -10.0
    """
    shape = tuple(parameter_vector(model).shape)
    if direction.shape != shape:
        raise ValueError(
            f"direction has shape {tuple(direction.shape)}; the model's trainable "
            f"parameters make {shape}"
        )
    norm = torch.linalg.vector_norm(direction)
    if norm == 0:
        raise ValueError("a zero direction has no curvature: pass a nonzero one")
    unit = direction / norm
    with without_trace(model, curvature=True) as before:
        image = _mean_product(model, objective, list(batches), before, unit)
    return (unit @ image).item()


def _mean_product(model, objective, batches, before, vector: Tensor) -> Tensor:
    """Return the Hessian of the mean objective times a flat vector.

    Every product starts from the same random state, every batch from the same buffers.
    """
    before.restore_random_state()
    total = torch.zeros_like(vector)
    for loss in before.losses(objective, batches):
        total += hessian_product(loss, trainable(model), vector)
        del loss  # with its graph, before the next is built
    return distributed.mean(total / len(batches))
