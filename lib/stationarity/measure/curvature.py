"""Curvature: the largest eigenvalues of the Hessian, and its value along a vector."""

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import gradients, hessian_product, norms, parameter_vector, without_trace
from .lanczos import Sharpness, largest_eigenpairs
from .objectives import Batch, Objective
from .subspace import check_symmetric


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

    Memory: 6k + 41 gradients beside one batch's graph. Raises ``ValueError`` as that, for k
    outside [1, min(P, max_products)], and where products are not symmetric beyond rounding;
    ``FloatingPointError`` where a product is not finite.

    Source: Zhang et al. 2022 (power iteration there); our section "What to measure".

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> round(sharpness(model, objective, [None]).eigenvalues.item(), 3)
    3.0
    """
    generator = torch.Generator().manual_seed(seed)
    with without_trace(model, curvature=True) as before:
        batches, like = list(batches), parameter_vector(model)
        if not 1 <= k <= min(len(like), max_products):
            most = f"max_products={max_products} and the {len(like)} trainable parameters"
            raise ValueError(f"k={k} must be at least 1 and at most {most}")

        def product(vector: Tensor) -> Tensor:
            return _mean_product(before, objective, batches, vector)

        how = {"k": k, "tol": tol, "max_products": max_products, "generator": generator}
        return largest_eigenpairs(product, like, **how)


def directional_sharpness(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], direction: Tensor
) -> float:
    """Return v'Hv / v'v: the curvature of the mean objective along v.

    ``direction``, (P,), of any dtype, is a flat vector such as ``mean_gradient``; M calls of
    the objective. Raises ``ValueError`` for a zero direction, or one of another size, and
    as :func:`sharpness`.

    Source: Zhang et al. 2022, whose code takes ||Hv|| / ||v||.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> directional_sharpness(model, objective, [None], torch.tensor([0.0, 2.0]))
    -10.0
    """
    with without_trace(model, curvature=True) as before:
        like, norm = parameter_vector(model), norms(direction)
        if direction.shape != like.shape:
            raise ValueError(f"direction has shape {direction.shape}, not {like.shape}")
        if norm == 0:
            raise ValueError("a zero direction has no curvature: pass a nonzero one")
        unit = (direction.to(norm.dtype) / norm).to(like)
        image = _mean_product(before, objective, list(batches), unit, check=True)
        return (unit @ image).item()


def _mean_product(before, objective, batches, vector: Tensor, check=False) -> Tensor:
    """Return the Hessian of the mean objective times a flat vector.

    Every product starts from the same random state, every batch from the same buffers.
    """
    before.restore_random_state()
    total = torch.zeros_like(vector)
    parameters = [p for p, _ in before.weights if p.requires_grad]
    for loss in before.losses(objective, batches):
        slopes = gradients(loss, parameters, create_graph=True)
        product = partial(hessian_product, slopes, parameters, retain_graph=check)
        image = product(vector)
        if check and (norm := norms(image)) > 0:
            rows = torch.stack([vector, (image.to(norm.dtype) / norm).to(vector)])
            check_symmetric(product, rows, torch.stack([image, product(rows[1])]))
        check, total = False, total.add_(image)
        del loss, slopes, product  # with its graph, before the next is built
    total = distributed.mean(total / len(batches))
    if not torch.isfinite(total).all():
        raise FloatingPointError("the Hessian's product is not finite")
    return total
