"""Unbiased norm of a mean from group sums, and its jackknife error."""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


def inner_products(blocks: list[Tensor]) -> np.ndarray:
    """Gram matrix of all rows of blocks (R, P) in float64, by slices that a cache holds."""
    total = sum(len(block) for block in blocks)
    gram = torch.zeros(total, total, dtype=torch.float64)
    for begin in range(0, blocks[0].shape[1], 2**16):
        rows = torch.cat([block[:, begin : begin + 2**16] for block in blocks]).double()
        gram += (rows @ rows.T).cpu()
    return gram.numpy()


@dataclass(frozen=True)
class Sample:
    """Inner products of group sums of gradients, in float64."""

    products: np.ndarray  # (G, G)
    squares: np.ndarray  # (G,) sums of ||g_i||^2
    sizes: np.ndarray  # (G,) batches in each group
    population: float

    @cached_property
    def count(self) -> int:
        return int(self.sizes.sum())

    def shifted(self, weight_decay: float, parameters: np.ndarray) -> "Sample":
        """The same sample with weight_decay theta added to every gradient.

        ``parameters`` (G + 1,) are the inner products of theta with the group sums,
        then with itself.
        """
        crossed, norm = weight_decay * parameters[:-1], weight_decay**2 * parameters[-1]
        across = np.outer(crossed, self.sizes)
        products = self.products + across + across.T + norm * np.outer(self.sizes, self.sizes)
        squares = self.squares + 2 * crossed + self.sizes * norm
        return Sample(products, squares, self.sizes, self.population)

    @cached_property
    def square_of_sum(self) -> float:
        return float(self.products.sum())

    @cached_property
    def variance(self) -> float:
        """s^2, unbiased for the variance of one minibatch gradient."""
        if self.count == 1:
            return 0.0
        spread = float(self.squares.sum()) - self.square_of_sum / self.count
        return max(spread, 0.0) / (self.count - 1)

    def noise_norm(self) -> float:
        return math.sqrt(self.variance * (1 - 1 / self.population))

    @cached_property
    def estimate(self) -> float:
        """||mean g||^2 - s^2/M (1 - M/N)."""
        left = 1 - self.count / self.population
        correction = self.variance / self.count * left
        return self.square_of_sum / self.count**2 - correction

    @cached_property
    def standard_error(self) -> float:
        """Delete-a-group jackknife of the estimate, unequal groups."""
        if self.count == self.population:
            return 0.0
        if self.count < 3:
            return math.inf
        groups = self.products
        counts = self.count - self.sizes
        sums = groups.sum() - 2 * groups.sum(axis=1) + groups.diagonal()
        spread = self.squares.sum() - self.squares - sums / counts
        corrections = spread / (counts - 1) / counts * (1 - counts / self.population)
        deleted = sums / counts**2 - corrections
        ratios = self.count / self.sizes
        pseudovalues = ratios * self.estimate - (ratios - 1) * deleted
        centre = (pseudovalues / ratios).sum()
        variance = ((pseudovalues - centre) ** 2 / (ratios - 1)).mean()
        return math.sqrt(variance * (1 - self.count / self.population))

    def standard_error_of_mean(self, values: np.ndarray) -> float:
        if self.count == self.population:
            return 0.0
        if self.count < 2:
            return math.inf
        left = 1 - self.count / self.population
        return float(values.std(ddof=1)) * math.sqrt(left / self.count)
