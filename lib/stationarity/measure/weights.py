"""The weights as one vector: norm and distances."""

import torch
from torch import Tensor, nn

from .derivatives import flat, trainable


def parameter_vector(model: nn.Module) -> Tensor:
    """Return a detached copy of the trainable parameters, flat ``(P,)``.

    >>> parameter_vector(nn.Linear(3, 2)).shape
    torch.Size([8])
    """
    return flat([p.detach() for p in trainable(model)])


def weight_norm(model: nn.Module) -> float:
    """Return the Euclidean norm of the trainable parameters."""
    return torch.linalg.vector_norm(parameter_vector(model)).item()


def displacement(model: nn.Module, origin: Tensor) -> float:
    """Return ||theta - origin||, ``origin`` an earlier :func:`parameter_vector`.

    From initialisation it is the distance travelled; from the vector before a
    step, the size of the update as the optimiser really applied it.
    """
    return torch.linalg.vector_norm(parameter_vector(model) - origin).item()
