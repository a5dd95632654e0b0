"""Gradients of minibatches along directions."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import dense, flat, gradients, inner, parameter_vector, trainable
from .objectives import Batch, Objective
from .state import without_trace


def projected_gradients(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], directions: Tensor
) -> Tensor:
    """Return the projections of each minibatch gradient on directions, ``(M, k)``.

    Float64, on the CPU; their variance over independent minibatches is the noise's along a
    direction, u' Sigma u. ``directions``, ``(k, P)``, are flat vectors such as
    ``eigenvectors`` of :func:`sharpness`; the rest is as in :func:`gradient_statistics`.
    Raises ``ValueError`` without a batch, and for directions of another size.

    Source: our section "Does a deep network obey?".

    >>> model = nn.Linear(2, 1, bias=False)
    >>> objective = lambda model, batch: model.weight.sum() * batch
    >>> projected_gradients(model, objective, [1.0, 2.0], torch.eye(2)[:1]).flatten()
    tensor([1., 2.], dtype=torch.float64)
    """
    with without_trace(model, objective) as before:
        parameters, like = trainable(model), parameter_vector(model)
        directions = dense(directions, (None, len(like)), "directions").double()
        top = directions.abs().amax(1)  # whose square may have no room
        units = (directions / top.where(top > 0, 1)[:, None]).to(like)
        rows = [
            inner(units, flat(gradients(loss, parameters))[None])[:, 0]
            for loss in before.losses(objective, batches)
        ]
    return distributed.mean(torch.stack(rows)).cpu() * top.cpu()
