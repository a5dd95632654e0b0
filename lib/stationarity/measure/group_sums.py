"""Unbiased norm of a mean of gradients from their sums by group, and its jackknife error."""

import math
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import torch
from torch import Tensor

from ..runs import distributed
from .derivatives import PIECE, norms

GROUPS = 16  # of the jackknife: as many gradients are held in memory,
WAITING = 4  # and the last few, to be added together; of small ones as many as groups


class GroupSums:
    """Sums of gradients by group, i modulo GROUPS; several at once are added."""

    def __init__(self, parameters: list[Tensor]):
        sizes = [p.numel() for p in parameters]
        self.count, self.most = 0, GROUPS if sum(sizes) < PIECE else WAITING
        dtype = reduce(torch.promote_types, (p.dtype for p in parameters), torch.float32)
        shape, device = (self.most, sum(sizes)), parameters[0].device
        self.rows = torch.empty(shape, dtype=dtype, device=device)  # the last gradients
        pieces = zip(self.rows.split(sizes, 1), parameters)
        pieces = [piece.view(self.most, *p.shape).unbind() for piece, p in pieces]
        self.each = [*zip(*pieces)]  # row by row, in the parameters' shapes
        self.blocks: list[Tensor] = []  # (R, P): the sums
        self.norms: list[Tensor] = []  # (R,) of gradients, in order, once a sum is of two

    def add(self, gradients: tuple[Tensor, ...]) -> None:
        # Copied: the next pass may write into them.
        torch._foreach_copy_(self.each[self.count % self.most], gradients)
        self.count += 1
        if self.count % self.most == 0:
            self._add_up(self.most)

    def _add_up(self, waiting: int) -> None:
        rows = distributed.mean(self.rows[:waiting])
        if self.count <= GROUPS:
            self.blocks.append(rows.clone())
        else:
            self.norms = self.norms or [*map(norms, self.blocks)]
            self.norms.append(norms(rows))
            block = self.blocks[(self.count - 1) % GROUPS // self.most]
            block[:waiting].add_(rows)

    def by_group(self) -> tuple[list[Tensor], np.ndarray | None]:
        """Return the sums of gradients, blocks (R, P), and those of ||g_i||^2, (G,).

        The latter are None where each group is one gradient: the blocks tell them.
        """
        if waiting := self.count % self.most:
            self._add_up(waiting)
        if not self.norms:
            return self.blocks, None
        squares = torch.cat(self.norms).square().cpu().numpy()
        return self.blocks, np.bincount(np.arange(self.count) % GROUPS, squares)


def inner_products(blocks: list[Tensor], others=()) -> tuple[np.ndarray, Tensor]:
    """Return all inner products of rows of blocks (R, P), and the sum of the rows (P,).

    Both are float64, computed by slices. Those of other blocks are among the products, last.
    """
    count, sums = sum(map(len, blocks)), []
    gram = torch.zeros((), dtype=torch.float64, device="cpu")
    for begin in range(0, blocks[0].shape[1], 2**13):
        rows = [block[:, begin : begin + 2**13] for block in (*blocks, *others)]
        rows = torch.cat(rows).double()
        sums.append(rows[:count].sum(0))
        gram = gram + (rows @ rows.T).cpu()
    return gram.numpy(), torch.cat(sums)


@dataclass(frozen=True)
class Sample:
    """Inner products of group sums of gradients, in float64."""

    products: np.ndarray  # (G, G)
    squares: np.ndarray  # (G,) sums of ||g_i||^2
    sizes: np.ndarray  # (G,) batches in each group
    population: float
    square_of_sum: float  # of all gradients

    count = cached_property(lambda self: int(self.sizes.sum()))

    def shifted(self, weight_decay: float, parameters: np.ndarray, square: float) -> "Sample":
        """Return the sample with weight_decay theta added to every gradient.

        ``parameters`` (G + 1,) are the products of theta with the group sums and itself,
        ``square`` is that of the new sum.
        """
        crossed, norm = weight_decay * parameters[:-1], weight_decay**2 * parameters[-1]
        across = np.outer(crossed, self.sizes)
        products = self.products + across + across.T + norm * np.outer(self.sizes, self.sizes)
        squares = self.squares + 2 * crossed + self.sizes * norm
        return Sample(products, squares, self.sizes, self.population, square)

    @cached_property
    def variance(self) -> float:
        """s^2, unbiased for the variance of one minibatch gradient."""
        spread = float(self.squares.sum()) - self.square_of_sum / self.count
        return max(spread, 0.0) / max(self.count - 1, 1)

    def _unbiased(self, square_of_sum, variance, count):
        """||mean g||^2 - s^2/M (1 - M/N), of some of the gradients."""
        return square_of_sum / count**2 - variance / count * (1 - count / self.population)

    estimate = property(
        lambda self: self._unbiased(self.square_of_sum, self.variance, self.count)
    )

    @cached_property
    def standard_error(self) -> float:
        """Delete-a-group jackknife of the estimate, unequal groups."""
        if self.count == self.population:
            return 0.0
        if self.count < 3:
            return math.inf
        counts, across = self.count - self.sizes, self.products.sum(axis=1)
        sums = self.square_of_sum - 2 * across + self.products.diagonal()
        spread = self.squares.sum() - self.squares - sums / counts
        deleted = self._unbiased(sums, spread / (counts - 1), counts)
        ratios = self.count / self.sizes
        pseudovalues = ratios * self.estimate - (ratios - 1) * deleted
        centre = (pseudovalues / ratios).sum()
        variance = ((pseudovalues - centre) ** 2 / (ratios - 1)).mean()
        return math.sqrt(variance * (1 - self.count / self.population))

    def standard_error_of_mean(self, values: np.ndarray) -> float:
        if self.count == self.population:
            return 0.0
        left = 1 - self.count / self.population
        return float(values.std(ddof=1)) * math.sqrt(left / self.count)
