"""Which examples each batch takes, every draw from a key of its own.

A key is the run's seed, a purpose (training, measuring) and the step, so any batch
can be drawn again without those before it: a resumed run sees the batches it would
have seen, and measuring changes none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..runs.seeds import seed_of


class Batches:
    """A list of batches that are made anew at each pass, not stored."""

    def __init__(self, count: int, make: Callable[[], Iterator]):
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return self.make()


@dataclass(frozen=True)
class Sampler:
    """The numbers, below ``count``, of the examples of each batch.

    ``sampling`` is ``reshuffled`` (epochs of whole batches, without replacement) or
    ``independent`` (each batch is a draw, without replacement within it). Raises
    :class:`UsageError` for batches that are larger than the data.
    """

    name: str
    count: int
    batch_size: int
    sampling: str
    seed: int

    def __post_init__(self):
        if self.batch_size > self.count:
            raise UsageError(
                f"The batch size {self.batch_size} is larger than the data: "
                f"{self.name} has {self.count} training examples here."
            )

    @property
    def steps_per_epoch(self) -> int:
        return self.count // self.batch_size

    def training(self, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
        """Yield each step from ``first`` to ``last - 1`` with its examples."""
        size, order, epoch = self.batch_size, None, None
        for step in range(first, last):
            if self.sampling == "independent":
                yield step, self.independent("training", step)
                continue
            now, place = divmod(step, self.steps_per_epoch)
            if now != epoch:
                generator = np.random.default_rng(seed_of(self.seed, "order", now))
                epoch, order = now, torch.from_numpy(generator.permutation(self.count))
            yield step, order[place * size : (place + 1) * size]

    def independent(self, *key) -> Tensor:
        """Draw the examples of one batch by a key, without replacement within it."""
        generator = np.random.default_rng(seed_of(self.seed, "independent", *key))
        return torch.from_numpy(generator.choice(self.count, self.batch_size, replace=False))
