"""Gradient and noise of minibatches."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import count_entries, flat, gradients, trainable, without_trace
from .jackknife import GROUPS, GroupSums, Sample, inner_products
from .objectives import Batch, Objective
from .weights import parameter_vector


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
    parameters, losses = trainable(model), []
    sums = GroupSums(parameters)
    with without_trace(model) as before:
        for loss in before.losses(objective, batches):
            sums.add(gradients(loss, parameters))
            losses.append(loss.detach())
    count = len(losses)
    _check_counts(count, population)
    losses = distributed.mean(torch.stack(losses).double()).cpu().numpy()
    blocks, squares = sums.by_group()
    groups = sum(len(block) for block in blocks)
    theta = [parameter_vector(model)[None]] if weight_decay else []
    products = inner_products(blocks + theta)
    sample = Sample(
        products=products[:groups, :groups],
        squares=products.diagonal()[:groups] if squares is None else squares,
        sizes=np.bincount(np.arange(count) % GROUPS),
        population=math.inf if population is None else population,
    )
    regularised = sample.shifted(weight_decay, products[-1]) if weight_decay else sample
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
        mean_gradient=sum(block.sum(0) for block in blocks).div_(count),
    )


def projected_gradients(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], directions: Tensor
) -> Tensor:
    """Return the projections of each minibatch gradient on directions, ``(M, k)``.

    Their variance over independent minibatches is the noise's along a direction,
    u' Sigma u. ``directions``, ``(k, P)``, are flat vectors such as ``eigenvectors``
    of :func:`sharpness`; the rest is as in :func:`gradient_statistics`. The answer
    is float64, on the CPU. One objective and one backward a batch.

    Raises ``ValueError`` without a batch, and for directions of another size.

    Source: our section: Does a deep network obey?

    >>> model = nn.Linear(2, 1, bias=False)
    >>> objective = lambda model, batch: model.weight.sum() * batch
    >>> projected_gradients(model, objective, [1.0, 2.0], torch.eye(2)[:1]).flatten()
    tensor([1., 2.], dtype=torch.float64)
    """
    parameters = trainable(model)
    if directions.dim() != 2 or directions.shape[1] != count_entries(parameters):
        raise ValueError(
            f"directions have shape {tuple(directions.shape)}; the model has "
            f"{count_entries(parameters)} trainable parameters"
        )
    with without_trace(model) as before:
        rows = [
            directions @ flat(gradients(loss, parameters))
            for loss in before.losses(objective, batches)
        ]
    return distributed.mean(torch.stack(rows).double()).cpu()


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
