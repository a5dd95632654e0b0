"""Unbiased norm of a mean from group sums, and its jackknife error."""
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


def inner_products(vectors: list[Tensor]) -> np.ndarray:
    """Gram matrix of flat vectors in float64, by slices to bound the memory."""
    gram = torch.zeros(len(vectors), len(vectors), dtype=torch.float64)
    for begin in range(0, len(vectors[0]), 2**18):
        rows = torch.stack([v[begin : begin + 2**18] for v in vectors]).double()
        gram += (rows @ rows.T).cpu()
    return gram.numpy()


@dataclass(frozen=True)
class Sample:
    """Inner products of group sums of gradients, in float64."""

    products: np.ndarray  # (G + 1, G + 1), the parameters last
    squares: np.ndarray  # (G,) sums of ||g_i||^2
    sizes: np.ndarray  # (G,) batches in each group
    population: float

    @cached_property
    def count(self) -> int:
        return int(self.sizes.sum())

    def shifted(self, weight_decay: float) -> "Sample":
        """The same sample with weight_decay theta added to every gradient."""
        theta = self.products[-1, :-1]
        change = np.append(weight_decay * self.sizes, 0.0)
        basis = np.eye(len(change))
        basis[:, -1] += change
        norm = weight_decay**2 * self.products[-1, -1]
        squares = self.squares + 2 * weight_decay * theta + self.sizes * norm
        products = basis @ self.products @ basis.T
        return Sample(products, squares, self.sizes, self.population)

    @cached_property
    def square_of_sum(self) -> float:
        return float(self.products[:-1, :-1].sum())

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
        groups = self.products[:-1, :-1]
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
