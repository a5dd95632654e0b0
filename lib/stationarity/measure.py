"""What is measured on a network: gradient, noise, curvature, distances.

Pure functions of a model, an objective and batches. What is measured is the mean
of the objective over the batches given, in the mode (training or evaluation) and
with the random state the caller set. Nothing is left behind: parameters, ``.grad``,
buffers, modes and random state are as they were, also after an exception.
"""
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ._derivatives import (
    count_entries,
    flat,
    gradients,
    hessian_product,
    parts,
    trainable,
    without_trace,
)
from ._jackknife import Sample, inner_products
from .lanczos import gaussian, largest_eigenpairs

Batch = Any
Objective = Callable[[nn.Module, Batch], Tensor]  # scalar mean loss on one batch

GROUPS = 16  # of the jackknife: as many gradients are held in memory,
BLOCK = 8  # and the last few, to be added together
_NO_BATCH = "no batch was given: pass a list or a fresh iterator of batches"


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
    """Return half the squared distance of logits from unit vectors, its mean.

    The unit vector of an example is that of its label; the sum is over the classes,
    the mean over the examples of ``(inputs, labels)``.

    >>> model = nn.Linear(2, 4, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> squared_error(model, (torch.ones(3, 2), torch.tensor([0, 1, 2]))).item()
    0.5
    """
    inputs, labels = batch
    logits = model(inputs)
    wrong = logits - functional.one_hot(labels, logits.shape[1])
    return wrong.square().sum(1).mean() / 2


LOSSES = {"cross_entropy": cross_entropy, "squared": squared_error}  # by setting


def with_weight_decay(objective: Objective, weight_decay: float) -> Objective:
    """Return the objective plus (weight_decay / 2) ||theta||^2.

    ``theta`` are all trainable parameters: the loss whose gradient SGD with that
    weight decay follows.
    """

    def regularised(model: nn.Module, batch: Batch) -> Tensor:
        squares = sum(p.square().sum() for p in trainable(model))
        return objective(model, batch) + weight_decay / 2 * squares

    return regularised


@dataclass(frozen=True, eq=False)
class GradientStatistics:
    """Mean gradient over M batches, with errors: see :func:`gradient_statistics`.

    ``loss`` is in the objective's units; gradient norms and the noise norm are in
    these per unit of a parameter. All are Python floats but ``mean_gradient``,
    flat ``(P,)``, on the model's device in the parameters' dtype.
    """

    loss: float
    loss_standard_error: float
    gradient_norm_squared: float
    gradient_norm: float
    gradient_norm_naive: float
    standard_error: float
    regularised_gradient_norm_squared: float
    regularised_standard_error: float
    noise_norm: float
    batches: int
    mean_gradient: Tensor


def gradient_statistics(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    *,
    population: int | None = None,
    weight_decay: float = 0.0,
) -> GradientStatistics:
    """Estimate the norm of the full gradient from M minibatch gradients.

    With g the mean and s^2 = sum ||g_i - g||^2 / (M - 1) the sample variance,

        E ||g||^2 = ||grad f||^2 + sigma^2 / M,

    so ``gradient_norm_naive``, ||g||, is biased upwards: at a stationary point it
    shows the noise. ``gradient_norm_squared`` = ||g||^2 - s^2/M (1 - M/N) is
    unbiased, and may be negative; ``gradient_norm`` is its root, 0 where negative.
    ``noise_norm`` is the root of an unbiased estimate of E ||g_i - grad f||^2.

    ``standard_error`` (of ``gradient_norm_squared``) is a delete-a-group jackknife
    over at most 16 groups, of unequal sizes (Busing, Meijer and van der Leeden,
    1999). Its variance is about 4 grad f' Sigma grad f / M where the gradient
    dominates. Where the true gradient is zero the estimator is a degenerate
    U-statistic: the jackknife then overestimates its error, which is conservative.

    Parameters
    ----------
    model: its trainable parameters are the variables; unused ones count as zeros.
    objective: scalar mean loss of the model on one batch.
    batches: independent draws that count equally; an iterable, consumed once.
    population: N, where the batches were drawn without replacement from N.
        M = N is the whole partition: no correction, standard errors 0.
    weight_decay: the ``regularised_`` fields are those of the objective plus
        (weight_decay / 2) ||theta||^2, from the same pass; the others are not
        affected.

    One objective and one backward a batch; about 26 gradients of memory.

    Raises ``ValueError`` without a batch, with one batch that is not the whole
    population, with more batches than the population, or without parameters.
    With two batches the standard errors of the norms are infinite.

    Source: paper: Zhang et al. 2022 (the naive norm); our section: What to
    measure.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> objective = lambda model, batch: model.weight.sum() * batch
    >>> measured = gradient_statistics(model, objective, [1.0, 2.0, 3.0])
    >>> round(measured.gradient_norm_squared, 4)    # 2^2 - 1/3
    3.6667
    """
    losses, squares, groups = _gradient_sums(model, objective, batches)
    count = len(losses)
    _check_counts(count, population)
    sample = Sample(
        products=inner_products([*groups, parameter_vector(model)]),
        squares=squares,
        sizes=np.bincount(np.arange(count) % GROUPS),
        population=math.inf if population is None else population,
    )
    regularised = sample.shifted(weight_decay) if weight_decay else sample
    return GradientStatistics(
        loss=float(losses.mean()),
        loss_standard_error=sample.standard_error_of_mean(losses),
        gradient_norm_squared=sample.estimate,
        gradient_norm=math.sqrt(max(sample.estimate, 0.0)),
        gradient_norm_naive=math.sqrt(sample.square_of_sum) / count,
        standard_error=sample.standard_error,
        regularised_gradient_norm_squared=regularised.estimate,
        regularised_standard_error=regularised.standard_error,
        noise_norm=sample.noise_norm(),
        batches=count,
        mean_gradient=_sum(groups) / count,
    )


def _gradient_sums(
    model: nn.Module, objective: Objective, batches: Iterable[Batch]
) -> tuple[np.ndarray, np.ndarray, list[Tensor]]:
    """Losses (M,) and, by group, sums of ||g_i||^2 (G,) and of g_i, G of (P,)."""
    parameters = trainable(model)
    losses, norms = [], []
    blocks: list[Tensor] = []  # sums of the groups, BLOCK rows each

    def add(block: Tensor) -> None:
        norms.append(_norms(block))
        if len(blocks) < GROUPS // BLOCK:
            blocks.append(block)
        else:
            blocks[(len(norms) - 1) % len(blocks)][: len(block)].add_(block)

    with without_trace(model) as before:
        for index, batch in enumerate(batches):
            row = index % BLOCK
            if row == 0 and len(blocks) == index // BLOCK:  # the last one was kept
                block = parameters[0].new_empty(BLOCK, count_entries(parameters))
                rows = parts(block, parameters)
            before.restore_buffers()
            loss = objective(model, batch)
            torch._foreach_copy_(rows[row], gradients(loss, parameters))
            losses.append(loss.detach())
            if row == BLOCK - 1:
                add(block)
    if not losses:
        raise ValueError(_NO_BATCH)
    if rest := len(losses) % BLOCK:
        add(block[:rest])
    squares = torch.cat(norms, dim=1).double().square().sum(dim=0).cpu().numpy()
    losses = torch.stack(losses).double().cpu().numpy()
    squares = np.bincount(np.arange(len(losses)) % GROUPS, squares)
    return losses, squares, [row for block in blocks for row in block]


def _sum(groups: list[Tensor]) -> Tensor:
    total = groups[0].clone()
    for group in groups[1:]:
        total += group
    return total


def _norms(rows: Tensor) -> Tensor:
    """Norms of rows by parts: of whole rows float32 would lose four digits."""
    parts = rows.split(2**16, dim=1)
    return torch.stack([torch.linalg.vector_norm(part, dim=1) for part in parts])


def _check_counts(count: int, population: int | None) -> None:
    if population is not None and population < count:
        raise ValueError(
            f"population={population} is less than the {count} batches drawn from it"
        )
    if count == 1 and population != 1:
        raise ValueError(
            "one batch does not tell gradient from noise: pass at least two, or "
            "population=1 where it is the whole training set"
        )


@dataclass(frozen=True, eq=False)
class Sharpness:
    """Largest eigenvalues of the Hessian: see :func:`sharpness`.

    Tensors are in the parameters' dtype on their device: ``eigenvalues`` (k,)
    descending, orthonormal ``eigenvectors`` (k, P), ``residuals`` (k,).
    """

    eigenvalues: Tensor
    eigenvectors: Tensor
    residuals: Tensor
    products: int
    converged: bool


def sharpness(
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Batch],
    *,
    k: int = 1,
    tol: float = 1e-2,
    max_products: int = 100,
    start: Tensor | None = None,
    seed: int = 0,
) -> Sharpness:
    """Return the k algebraically largest eigenvalues of the Hessian.

    The Hessian is that of the mean objective over these fixed batches; with batch
    normalisation in training mode that includes the batch statistics, and dropout
    draws the same numbers in every product. A product is one pass: one objective
    a batch and about three gradients of work, with one batch's graph alive.
    :func:`stationarity.lanczos.largest_eigenpairs` states the stopping rule.

    Parameters
    ----------
    model, objective, batches: as in :func:`gradient_statistics`; M >= 1.
    k: how many eigenvalues, with multiplicity.
    tol: relative error of each eigenvalue.
    max_products: the most products of the Hessian; ``converged`` is False where
        they ran out.
    start: eigenvectors of an earlier call ``(k, P)``, or one vector ``(P,)``: a
        few products then suffice. A random direction is mixed in, so that a start
        orthogonal to the top eigenvector finds it, too.
    seed: of the random directions; global random state is not used.

    Memory: 4k + 20 gradients beside one batch's graph.

    Raises ``ValueError`` without a batch or parameters, for k outside
    [1, min(P, max_products)], or a start of the wrong size;
    ``FloatingPointError`` where a product is not finite.

    Source: paper: Zhang et al. 2022 (power iteration there); our section: What
    to measure.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> round(sharpness(model, objective, [None]).eigenvalues.item(), 3)
    3.0
    """
    parameters = trainable(model)
    size = count_entries(parameters)
    if not 1 <= k <= min(size, max_products):
        raise ValueError(
            f"k={k} must be at least 1 and at most max_products={max_products} and "
            f"the number of trainable parameters, {size}"
        )
    generator = torch.Generator().manual_seed(seed)
    with without_trace(model, curvature=True) as before:
        batches = _all(batches)
        # A cold start is random and not the gradient, which has much of some leading
        # eigenvectors and may have nothing of the top one.
        like = parameter_vector(model)
        cold = start is None
        result = largest_eigenpairs(
            lambda v: _mean_product(model, objective, batches, before, v),
            gaussian(like, generator)[None] if cold else _warm_start(start, like, generator),
            k=k,
            tol=tol,
            max_products=max_products,
            random_start=cold,
            generator=generator,
        )
    return Sharpness(*result)


def _warm_start(start: Tensor, like: Tensor, generator) -> Tensor:
    """Earlier eigenvectors (m, P), not orthogonal to any other."""
    directions = start.detach().to(like).reshape(-1, start.shape[-1]).clone()
    if directions.shape[1] != len(like):
        raise ValueError(
            f"start has {directions.shape[1]} entries a vector; the model has "
            f"{len(like)} trainable parameters"
        )
    # Mixed into one direction, it costs no product: the basis soon tells them apart.
    probe = gaussian(like, generator)
    size = torch.linalg.vector_norm(directions[-1]) / torch.linalg.vector_norm(probe)
    directions[-1] += 0.5 * size * probe
    return directions


def directional_sharpness(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], direction: Tensor
) -> float:
    """Return v'Hv / v'v: the curvature of the mean objective along v.

    ``direction``, (P,), is a flat vector such as ``mean_gradient``; M calls of the
    objective. Raises ``ValueError`` for a zero direction, or one of another size,
    and as :func:`sharpness`.

    Source: paper: Zhang et al. 2022 (whose code takes ||Hv|| / ||v||); our
    section: What to measure.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> directional_sharpness(model, objective, [None], torch.tensor([0.0, 2.0]))
    -10.0
    """
    size = count_entries(trainable(model))
    if direction.shape != (size,):
        raise ValueError(
            f"direction has shape {tuple(direction.shape)}; the model's trainable "
            f"parameters make ({size},)"
        )
    norm = torch.linalg.vector_norm(direction)
    if norm == 0:
        raise ValueError("a zero direction has no curvature: pass a nonzero one")
    unit = direction / norm
    with without_trace(model, curvature=True) as before:
        image = _mean_product(model, objective, _all(batches), before, unit)
    return (unit @ image).item()


def mean_loss(
    model: nn.Module, objective: Objective, batches: Iterable[Batch]
) -> float:
    """Return the mean of the objective over the batches, without gradients.

    The change of the loss over one step is the difference of two calls on the
    same batches. Raises ``ValueError`` without a batch.

    >>> mean_loss(nn.Linear(1, 1), lambda model, batch: batch, [torch.tensor(2.0)])
    2.0
    """
    losses = []
    with without_trace(model) as before, torch.no_grad():
        for batch in batches:
            before.restore_buffers()
            losses.append(objective(model, batch))
    if not losses:
        raise ValueError(_NO_BATCH)
    return torch.stack(losses).double().mean().item()


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


def _all(batches: Iterable[Batch]) -> list[Batch]:
    batches = list(batches)
    if not batches:
        raise ValueError(_NO_BATCH)
    return batches


def _mean_product(model, objective, batches, before, vector: Tensor) -> Tensor:
    """Hessian of the mean objective times a flat vector.

    Every product starts from the same random state, every batch from the same
    buffers; the graph of one batch is freed before the next is built.
    """
    parameters = trainable(model)
    before.restore_random_state()
    total = torch.zeros_like(vector)
    for batch in batches:
        before.restore_buffers()
        loss = objective(model, batch)
        total += hessian_product(loss, parameters, vector)
        del loss
    return total / len(batches)
