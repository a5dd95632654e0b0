"""Curvature: the largest eigenvalues of the Hessian, and its value along a vector."""

import math
from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ..runs import distributed
from .derivatives import (
    dense,
    differentiable_gradients,
    gradients,
    hessian_product,
    inner,
    norms,
    parameter_vector,
)
from .lanczos import Sharpness, largest_eigenpairs
from .memory import spare_memory
from .objectives import Batch, Objective
from .state import Before, without_trace
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
    direction: Tensor | None = None,
) -> Sharpness:
    """Return the k algebraically largest eigenvalues of the Hessian.

    It is that of the mean objective over these fixed batches, in training mode with their
    statistics in batch normalisations; dropout draws the same numbers in every product, of
    about two gradients a batch, three where its graph is not kept. It stops as
    :mod:`stationarity.measure.lanczos` says.

    Parameters
    ----------
    model, objective, batches: as in :func:`gradient_statistics`; M >= 1.
    k: how many eigenvalues, with multiplicity.
    tol: relative error of each eigenvalue.
    max_products: the most products.
    seed: of the random directions.
    direction: as in :func:`directional_sharpness`, at one product more.

    Memory: 6k + 41 gradients beside one batch's graph, and the graphs of further batches
    while they take at most half of what is free: they save a third of the work. Raises
    ``ValueError`` as that, for k outside [1, min(P, max_products)], and where products are
    not symmetric beyond rounding; ``FloatingPointError`` where one is not finite.

    Source: Zhang et al. 2022; our section "Curvature without the Hessian".

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> round(sharpness(model, objective, [None]).eigenvalues.item(), 3)
    3.0
    """
    generator = torch.Generator().manual_seed(int(seed) % 2**64)
    with without_trace(model, objective, curvature=True) as before:
        like = parameter_vector(model)
        if not 1 <= k <= min(len(like), max_products):
            most = f"max_products={max_products} and the {len(like)} trainable parameters"
            raise ValueError(f"k={k} must be at least 1 and at most {most}")
        unit = None if direction is None else _unit(direction, like)
        hessian = MeanHessian(before, objective, batches)
        how = {"k": k, "tol": tol, "max_products": max_products, "generator": generator}
        found = largest_eigenpairs(hessian, like, **how)
        return found if unit is None else found._replace(directional=_along(hessian, unit))


def directional_sharpness(
    model: nn.Module, objective: Objective, batches: Iterable[Batch], direction: Tensor
) -> float:
    """Return v'Hv / v'v: the curvature of the mean objective along v.

    ``direction``, (P,), of any dtype, is a flat vector such as ``mean_gradient``; M calls of
    the objective, and two products of each batch, as the second tells whether they are right.
    Raises ``ValueError`` for a zero direction, or one of another size, and as
    :func:`sharpness`.

    Source: Zhang et al. 2022, whose code takes ||Hv|| / ||v||.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> curvature = torch.tensor([3.0, -10.0])
    >>> objective = lambda model, batch: (curvature * model.weight**2).sum() / 2
    >>> directional_sharpness(model, objective, [None], torch.tensor([0.0, 2.0]))
    -10.0
    """
    with without_trace(model, objective, curvature=True) as before:
        unit = _unit(direction, parameter_vector(model))
        return _along(MeanHessian(before, objective, batches, keeps=False), unit)


def _unit(direction: Tensor, like: Tensor) -> Tensor:
    if (norm := norms(direction := dense(direction, like.shape, "direction"))) == 0:
        raise ValueError("a zero direction has no curvature: pass a nonzero one")
    return (direction.double() / norm).to(like)


def _along(hessian: "MeanHessian", unit: Tensor) -> float:
    image = hessian(unit, check=not hessian.checked)
    return inner(unit[None], image[None]).item()


class MeanHessian:
    """The Hessian of the mean objective over fixed batches, by its products.

    Every product starts from the same random state, every batch from the same buffers. Graphs
    of the first batches' gradients are kept, as :func:`sharpness` says.
    """

    def __init__(self, before: Before, objective: Objective, batches, keeps=True):
        self.before, self.objective, self.batches = before, objective, list(batches)
        self.parameters = [p for p, _, trained in before.weights if trained]
        self.device = self.parameters[0].device
        self.least = spare_memory(self.device) / 2  # which stays free
        self.kept, self.losses = [], {}  # with the random states after them; at first
        self.keeps, self.checked, self.asked = keeps, False, False

    @property
    def precision(self) -> float:
        """The coarsest spacing of numbers, of the parameters or where autocast computes."""
        dtypes = {p.dtype for p in self.parameters} | self.before.autocast
        return max(torch.finfo(dtype).eps for dtype in dtypes)

    def __call__(self, vector: Tensor, check=False) -> Tensor:
        """Return the product with a flat vector; ``check`` as :func:`check_symmetric` does."""
        total = None
        try:
            total = self._sum(vector, check)
        except RuntimeError as error:
            full = isinstance(error, torch.OutOfMemoryError)
            if not self.kept or not (full or "inplace operation" in str(error)):
                raise
        if not self.checked:  # later products keep no more
            self.before.restore_state()
        good = -1 if total is None else 0 if self.before.unseen else len(self.kept)
        # Forward passes may wait for those of other processes: all keep as many good graphs.
        fewest = int(distributed.joined_up(torch.tensor([good], device=self.device), 0).min())
        self.kept[max(fewest, 0) :], self.keeps = [], False
        if fewest < 0:
            total = self._sum(vector, check)
        self.checked, total = True, distributed.mean(total / len(self.batches))
        if not torch.isfinite(total).all():
            raise FloatingPointError("the Hessian's product is not finite: look at the loss")
        return total

    def _sum(self, vector: Tensor, check: bool) -> Tensor:
        total = torch.zeros_like(vector)
        for slopes, stays in self._slopes():
            keep = {"retain_graph": stays or check}
            product = partial(hessian_product, slopes, self.parameters, **keep)
            image = product(vector)
            if check and (norm := norms(image)) > 0:
                rows = torch.stack([vector, (image / norm).to(vector)])
                images = torch.stack([image, product(rows[1])])
                check_symmetric(product, rows, images, self.precision)
            total.add_(image)
            del slopes, product  # with its graph, before the next is built
        return total

    def _slopes(self) -> Iterator[tuple[tuple, bool]]:
        """Yield the gradient of each batch with its graph, and whether that is kept."""
        if self.kept and self.checked and not self.asked:
            self.asked = True
            self.before.restore_random_state()
            self._check_value(0, next(self.before.losses(self.objective, self.batches[:1])))
        for slopes, _ in self.kept:
            self.before.lend_buffers()
            yield slopes, True
        for put, state in self.kept[-1][1] if self.kept else self.before.random_states:
            put(state)
        rest = self.batches[len(self.kept) :]
        losses = self.before.losses(self.objective, rest) if rest or not self.kept else ()
        for number, loss in enumerate(losses, len(self.kept)):
            if self.checked:
                slopes = gradients(loss, self.parameters, create_graph=True)
            else:
                slopes = differentiable_gradients(loss, self.parameters)
            self._check_value(number, loss)
            self.keeps = self.keeps and spare_memory(self.device) > self.least
            if self.keeps:
                self.kept.append((slopes, self.before.random_states_now()))
            del loss
            yield slopes, self.keeps
            del slopes

    def _check_value(self, number: int, loss: Tensor) -> None:
        """Raise ``ValueError`` where a batch's loss is not what it was, beyond rounding."""
        value = loss.item()
        first = self.losses.setdefault(number, value)
        apart, size = abs(value - first), max(map(abs, self.losses.values()))
        if math.isfinite(first) and not apart <= self.precision**0.5 * size:  # half the digits
            said = "the objective gives a batch another loss when it is asked again"
            remedy = "keep what it changes in the model's buffers, and the batch as it is"
            raise ValueError(f"{said}: {remedy}")
