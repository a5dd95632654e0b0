"""Gradient noise against the Hessian: exact along directions, a spectrum for the rest.

A stationary law of SGD on a quadratic depends on two matrices, the Hessian H and the
covariance Σ of the gradient noise, and its sums over all directions are of the form
``tr[Σ g(H)]``. With the eigenpairs of H at hand they are sums; over the many
directions whose eigenpairs nobody computes they are integrals against the spectrum of
H in which every direction counts with its noise. :func:`quadrature` gives that
spectrum by Lanczos from draws of the noise. Everything is float64. Source: our
section "Does a deep network obey?".
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ...train import ensembles

CHUNK = 128  # examples whose own gradients are in memory at once


def noise(
    theta: Tensor,
    widths: tuple,
    inputs: Tensor,
    labels: Tensor,
    directions: Tensor,
    draws: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what single examples' gradients do along directions, and draws of them.

    Parameters
    ----------
    theta : (P,), of an mlp with these widths; the loss is the cross-entropy.
    inputs, labels : the whole training set, (n, D) and (n,).
    directions : (k, P).
    draws : (m, n), independent standard normal numbers.

    Returns ``(deviations, samples, trace)``. The deviations (n, k) are
    ``u_j'(g_i - grad L)``: the mean of their products is ``u'Σu``, Σ being the
    covariance of the gradient of one example, that of a minibatch drawn with
    replacement times its size. The samples (m, P) are normal with mean zero and
    covariance Σ, given the data. The trace is that of Σ, exactly. Memory: 128
    gradients beside the samples.
    """
    count = len(inputs)
    one = theta[None]
    _, mean, trace = ensembles.exact_statistics(one, widths, inputs, labels)
    deviations = theta.new_empty(count, len(directions))
    samples = torch.zeros(len(draws), len(theta), dtype=theta.dtype, device=theta.device)
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        chosen = inputs[part, None], labels[part, None]
        many = theta.expand(len(chosen[0]), -1)
        gradients = ensembles.losses_and_gradients(many, widths, *chosen)[1] - mean
        deviations[part] = gradients @ directions.T
        samples += draws[:, part] @ gradients
    return deviations, samples / count**0.5, trace[0]


def hessian(theta: Tensor, widths: tuple, inputs: Tensor, labels: Tensor) -> Callable:
    """Return the function that maps (m, P) to products with the Hessian of the loss.

    The Hessian of the mean cross-entropy over all the examples at ``theta`` (P,).
    """

    weights = theta.detach().clone().requires_grad_()
    logits = ensembles.logits(weights[None], widths, inputs)[0]
    loss = torch.nn.functional.cross_entropy(logits, labels)
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)

    def product(vectors: Tensor) -> Tensor:
        return torch.autograd.grad(
            gradient, weights, vectors, retain_graph=True, is_grads_batched=True
        )[0]

    return product


def quadrature(
    matvec: Callable[[Tensor], Tensor], starts: Tensor, steps: int, outside: Tensor
) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (m, steps): ``sum_j weights g(nodes)`` is about z'g(H)z.

    Gauss quadrature by Lanczos with full re-orthogonalisation from each start z,
    (m, P), after its part along ``outside`` (k, P), which are eigenvectors, is taken
    off. Exact for polynomials g of degree below 2 ``steps``; its mean over draws
    z with covariance Σ tends to tr[Σ g(H)] on the rest. ``matvec`` maps (m, P) to the
    products; ``steps`` is at most P - k.

    >>> matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    >>> starts, none = torch.ones(1, 3), torch.zeros(0, 3)
    >>> nodes, weights = quadrature(lambda rows: rows @ matrix, starts, 2, none)
    >>> (weights * nodes**3).sum()  # 27 + 8 + 1
    tensor(36.0000)
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
    matrix = torch.diag_embed(torch.stack(diagonal, 1))
    if steps > 1:
        off = torch.stack(beside[:-1], 1)
        matrix = matrix + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, norms**2 * vectors[:, 0] ** 2
