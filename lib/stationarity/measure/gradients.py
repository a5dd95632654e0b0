"""Gradient and noise of minibatches."""

import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import gradients, norms, parameter_vector, trainable
from .group_sums import GROUPS, GroupSums, Sample, inner_products
from .objectives import Batch, Objective
from .state import Before, without_trace


@dataclass(frozen=True, eq=False)
class GradientStatistics:
    """Mean gradient over M batches, with errors: see :func:`gradient_statistics`.

    Python floats, in the objective's units per unit of a parameter but for ``loss``;
    ``mean_gradient``, flat ``(P,)``, is in the parameters' dtype on their device.
    """

    loss: float
    loss_standard_error: float
    gradient_norm_squared: float
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

    so ``gradient_norm_naive``, ||g||, is biased upwards: at a stationary point it shows the
    noise. ``gradient_norm_squared`` = ||g||^2 - s^2/M (1 - M/N) is unbiased, and may be
    negative. ``noise_norm`` is the root of an unbiased estimate of E ||g_i - grad f||^2.

    ``standard_error`` (of ``gradient_norm_squared``) is a delete-a-group jackknife over at
    most 16 groups, of unequal sizes (Busing et al., 1999). Where the
    true gradient is zero, a degenerate U-statistic, it overestimates the error.

    Parameters
    ----------
    model: its trainable parameters are the variables; unused ones count as zeros.
    objective: scalar mean loss of the model on one batch.
    batches: independent draws that count equally; an iterable, consumed once. One that
        shuffles by PyTorch's random state, which is put back, draws the same in each call.
    population: N, where the batches were drawn without replacement from N.
        M = N is the whole partition: no correction, standard errors 0.
    weight_decay: the ``regularised_`` fields are those of the objective plus
        (weight_decay / 2) ||theta||^2; the others are not affected.

    One objective and one backward a batch; about 23 gradients of memory, 35 below 4096
    entries. With two batches the standard errors of the norms are infinite. Raises
    ``ValueError`` without a batch, parameters or a graph; with one batch that is not the
    whole population, or more than that; ``FloatingPointError`` where the square of the
    gradient's norm has no room in float64.

    Source: Zhang et al. 2022; our section "The norm of a mean is too large".

    >>> model = nn.Linear(1, 1, bias=False)
    >>> objective = lambda model, batch: model.weight.sum() * batch
    >>> measured = gradient_statistics(model, objective, [1.0, 2.0, 3.0])
    >>> round(measured.gradient_norm_squared, 4)    # 2^2 - 1/3
    3.6667
    """
    with without_trace(model, objective) as before:
        return _measured(before, objective, batches, population, weight_decay)


def _measured(before: Before, objective, batches, population, weight_decay):
    """Return the statistics from the random state as it is."""
    parameters, losses = trainable(before.model), []
    sums = GroupSums(parameters)
    for loss in before.losses(objective, batches):
        sums.add(gradients(loss, parameters))
        losses.append(loss.detach().clone())
    count = len(losses)
    if population is not None and population < count:
        raise ValueError(f"population={population} is less than the {count} batches drawn")
    if count == 1 and population != 1:
        remedy = "pass at least two, or population=1 where it is the whole training set"
        raise ValueError(f"one batch does not tell gradient from noise: {remedy}")
    losses = distributed.mean(torch.stack(losses).double()).cpu().numpy()
    blocks, squares = sums.by_group()
    groups = sum(map(len, blocks))
    if blocks[0].dtype == torch.float64:
        size = torch.cat([*map(norms, blocks), *sums.norms]).max().item()
        if 0 < size < 1e-150 or 1e150 < size < math.inf:
            said = f"the gradients' norm, {size:.0e}, has no square in float64"
            raise FloatingPointError(f"{said}: multiply the objective by a constant")
    theta = [parameter_vector(before.model)[None]] if weight_decay else []
    products, mean = inner_products(blocks, theta)
    mean = mean.div_(count)
    sample = Sample(
        products=products[:groups, :groups],
        squares=products.diagonal()[:groups] if squares is None else squares,
        sizes=np.bincount(np.arange(count) % GROUPS),
        population=math.inf if population is None else population,
        square_of_sum=(count * norms(mean).item()) ** 2,
    )
    regularised = sample
    if weight_decay:
        square = (count * norms(mean + weight_decay * theta[0][0]).item()) ** 2
        regularised = sample.shifted(weight_decay, products[-1], square)
    return GradientStatistics(
        loss=float(losses.mean()),
        loss_standard_error=sample.standard_error_of_mean(losses),
        gradient_norm_squared=sample.estimate,
        gradient_norm_naive=math.sqrt(sample.square_of_sum) / count,
        standard_error=sample.standard_error,
        regularised_gradient_norm_squared=regularised.estimate,
        regularised_standard_error=regularised.standard_error,
        noise_norm=math.sqrt(sample.variance * (1 - 1 / sample.population)),
        batches=count,
        mean_gradient=mean.to(blocks[0].dtype),
    )


def partition_statistics(
    model: nn.Module, objective: Objective, partitions: Sequence, *, weight_decay: float = 0.0
) -> GradientStatistics:
    """Estimate the norm of the full gradient from two random partitions of the data.

    A partition, a sized iterable of minibatches, holds all the data, so that the noise of
    its minibatches cancels in its mean gradient g_k. What stays, with an objective that
    couples the examples of a minibatch as batch normalisation does, is the chance of their
    composition. ``gradient_norm_squared`` = <g_1, g_2> is unbiased for the mean over all
    partitions, and ``standard_error`` = | ||g_1||^2 - ||g_2||^2 | / 2: its square is
    unbiased for the variance where the composition's noise is Gaussian.
    ``gradient_norm_naive`` is the norm of (g_1 + g_2) / 2. A single partition is taken for
    exact, with errors of 0. The rest is as in :func:`gradient_statistics`.

    Source: our section "When the correction is a mistake".
    """
    if len(partitions) not in (1, 2) or not all(isinstance(p, Sized) for p in partitions):
        raise ValueError("partitions must be one or two, each with a length, as lists have")
    with without_trace(model, objective) as before:
        each = [_measured(before, objective, p, len(p), weight_decay) for p in partitions]
    if len(each) == 1:
        return each[0]
    first, second = each
    decay = weight_decay * parameter_vector(model)
    means = [one.mean_gradient[None] for one in each]
    plain, regularised = inner_products(means)[0], inner_products([g + decay for g in means])[0]

    def half_difference(name: str) -> float:
        return abs(getattr(first, name) - getattr(second, name)) / 2

    return GradientStatistics(
        loss=(first.loss + second.loss) / 2,
        loss_standard_error=half_difference("loss"),
        gradient_norm_squared=float(plain[0, 1]),
        gradient_norm_naive=norms((means[0] + means[1]).double()).item() / 2,
        standard_error=half_difference("gradient_norm_squared"),
        regularised_gradient_norm_squared=float(regularised[0, 1]),
        regularised_standard_error=half_difference("regularised_gradient_norm_squared"),
        noise_norm=math.hypot(first.noise_norm, second.noise_norm) / math.sqrt(2),
        batches=first.batches + second.batches,
        mean_gradient=(first.mean_gradient + second.mean_gradient) / 2,
    )
