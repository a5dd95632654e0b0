"""Gradient noise against the Hessian: exact along directions, a spectrum for the rest.

Sums of a stationary law over all directions are ``tr[Σ g(H)]``, of the Hessian H and the
covariance Σ of the gradient of one example. The loss is the mean cross-entropy over the
training set of a task, at ``theta`` (P,), in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...train import ensembles

if TYPE_CHECKING:
    from ...train.small import Task

CHUNK = 128  # examples whose own gradients are in memory at once


def noise(
    task: Task, theta: Tensor, directions: Tensor, draws: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return deviations (n, k) of n examples' gradients, samples (m, P), and the trace of Σ.

    The deviations along directions (k, P) are ``u_j'(g_i - grad L)``. The samples have mean
    zero and covariance Σ, and are normal for normal ``draws`` (m, n).
    """
    inputs, labels, count = task.inputs.double(), task.labels, len(task.inputs)
    _, mean, trace = ensembles.exact_statistics(theta[None], task.widths, inputs, labels)
    deviations = theta.new_empty(count, len(directions))
    samples = theta.new_zeros(len(draws), len(theta))
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        chosen = inputs[part, None], labels[part, None]
        many = theta.expand(len(chosen[0]), -1)
        gradients = ensembles.losses_and_gradients(many, task.widths, *chosen)[1] - mean
        deviations[part] = gradients @ directions.T
        samples += draws[:, part] @ gradients
    return deviations, samples / count**0.5, trace[0]


def hessian(task: Task, theta: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that maps (m, P) to products with the Hessian."""
    weights = theta.clone().requires_grad_()
    logits = ensembles.logits(weights[None], task.widths, task.inputs.double())[0]
    loss = torch.nn.functional.cross_entropy(logits, task.labels)
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
    batched = {"retain_graph": True, "is_grads_batched": True}
    return lambda vectors: torch.autograd.grad(gradient, weights, vectors, **batched)[0]


def quadrature(
    matvec: Callable[[Tensor], Tensor], starts: Tensor, steps: int, outside: Tensor
) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (m, steps): ``sum_j weights g(nodes)`` is about z'g(H)z.

    Gauss quadrature by Lanczos with full re-orthogonalisation from each start z, (m, P),
    without its part along the eigenvectors ``outside`` (k, P). Exact for polynomials g of
    degree below 2 ``steps``. ``matvec`` maps (m, P) to products.
    """

    def rest(rows: Tensor) -> Tensor:
        return rows - (rows @ outside.T) @ outside

    starts = rest(starts)
    norms = starts.norm(dim=1, keepdim=True)
    basis, diagonal, beside = [starts / norms], [], []
    for _ in range(steps):
        image = rest(matvec(basis[-1]))
        diagonal.append((image * basis[-1]).sum(1))
        for _ in range(2):  # twice is enough
            for unit in basis:
                image = image - (image * unit).sum(1, keepdim=True) * unit
        beside.append(image.norm(dim=1))
        basis.append(image / beside[-1][:, None])
    matrix, below = torch.diag_embed(torch.stack(diagonal, 1)), torch.stack(beside, 1)[:, :-1]
    nodes, vectors = torch.linalg.eigh(matrix + torch.diag_embed(below, -1))  # lower half
    return nodes, norms**2 * vectors[:, 0] ** 2
