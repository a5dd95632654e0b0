"""What is measured: scalar losses of a model on a batch, and their mean."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..runs import distributed
from .state import without_trace

Batch = Any
Objective = Callable[[nn.Module, Batch], Tensor]  # scalar mean loss on one batch


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy (nats) of ``(inputs, labels)``.

    >>> model = nn.Linear(2, 4, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> cross_entropy(model, (torch.ones(3, 2), torch.tensor([0, 1, 2]))).item()
    1.3862943649291992
    """
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels)


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return half the mean squared distance of logits from ``(inputs, labels)``' unit vectors.

    >>> model = nn.Linear(2, 4, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> squared_error(model, (torch.ones(3, 2), torch.tensor([0, 1, 2]))).item()
    0.5
    """
    inputs, labels = batch
    logits = model(inputs)
    return (logits - functional.one_hot(labels, logits.shape[1])).square().sum(1).mean() / 2


LOSSES = {"cross_entropy": cross_entropy, "squared": squared_error}  # by setting


def mean_loss(model: nn.Module, objective: Objective, batches: Iterable[Batch]) -> float:
    """Return the mean of the objective over the batches, without gradients.

    Raises ``ValueError`` without a batch.

    >>> mean_loss(nn.Linear(1, 1), lambda model, batch: batch, [torch.tensor(2.0)])
    2.0
    """
    with without_trace(model, objective) as before, torch.no_grad():
        losses = [loss.clone() for loss in before.losses(objective, batches)]
    return distributed.mean(torch.stack(losses).double().mean()).item()
