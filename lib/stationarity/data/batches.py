"""What datasets of images have in common: which examples each batch takes.

Every random draw has a key of its own: the run's seed, a purpose (training, measuring)
and the step. So any batch can be drawn again without those before it: a resumed run sees
the batches it would have seen, and measuring changes none.
"""

from collections.abc import Callable, Iterable, Iterator

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


class Images:
    """Images whose batches are made from the numbers of their examples.

    Parameters are those of :func:`stationarity.data.load`, and the ``count`` of training
    examples; ``steps_per_epoch`` is the number of whole batches. A subclass makes batches,
    :meth:`made`. Raises :class:`UsageError` for batches that are larger than the data.
    """

    def __init__(self, name, provenance, count, *, batch_size, sampling, seed, dtype, device):
        if batch_size > count:
            raise UsageError(
                f"The batch size {batch_size} is larger than the data: "
                f"{name} has {count} training examples here."
            )
        self.name, self.provenance, self.count = name, provenance, count
        self.batch_size, self.sampling, self.seed = batch_size, sampling, seed
        self.dtype, self.device = dtype, torch.device(device)
        self.steps_per_epoch = count // batch_size

    def made(self, draws: Iterable[tuple]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batch of each draw: the numbers of its examples, then its key."""
        raise NotImplementedError

    def training_batches(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        return self.made(self._in_order(first, last))

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent training batches, the same for a key.

        Each is drawn without replacement within itself and augmented as in
        training, independently of the others and of the training batches.
        """
        keys = [(*key, i) for i in range(count)]
        return Batches(count, lambda: self.made((self._independent(*k), *k) for k in keys))

    def _in_order(self, first: int, last: int) -> Iterator[tuple]:
        size, order, epoch = self.batch_size, None, None
        for step in range(first, last):
            if self.sampling == "independent":
                yield self._independent("training", step), "training", step
                continue
            now, place = divmod(step, self.steps_per_epoch)
            if now != epoch:
                generator = np.random.default_rng(seed_of(self.seed, "order", now))
                epoch, order = now, torch.from_numpy(generator.permutation(self.count))
            yield order[place * size : (place + 1) * size], "training", step

    def _independent(self, *key) -> Tensor:
        generator = np.random.default_rng(seed_of(self.seed, "independent", *key))
        return torch.from_numpy(generator.choice(self.count, self.batch_size, replace=False))
