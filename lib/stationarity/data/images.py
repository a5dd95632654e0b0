"""Small images: batches made on the device, cropped and flipped, each from its own key.

A batch is ``(images, labels)``: normalised floats ``(B, C, H, W)`` and int64 ``(B,)``.
"""

import copy
import io
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..runs import distributed
from ..runs.seeds import seed_of
from .batches import Batches, Images


class TensorImages(Images):
    """A small dataset that lives on the device as uint8 ``(N, H, W, C)``.

    ``arrays`` are images and labels of the parts ``train`` and ``test``, as
    :func:`stationarity.data.embedded.digits` has them; ``classes``, ``channels`` and
    ``size`` describe them. The rest is as in :class:`~stationarity.data.batches.Images`.
    """

    def __init__(
        self, name, arrays, provenance, *, examples, crop_padding, flip, label_noise, **how
    ):
        images, labels = arrays["train"]
        if examples:
            chosen = np.random.default_rng(0).permutation(len(labels))[:examples]
            images, labels = images[chosen], labels[chosen]
        super().__init__(name, provenance, len(labels), **how)
        self.crop_padding, self.flip = crop_padding, flip
        _, self.size, _, self.channels = images.shape
        self.classes = int(arrays["train"][1].max()) + 1
        pixels = images.reshape(-1, self.channels).astype(np.float64)
        self.mean, self.std = (
            torch.tensor(v, dtype=self.dtype, device=self.device)
            for v in (pixels.mean(0), pixels.std(0))
        )
        around = (crop_padding, crop_padding)
        padded = np.pad(images, ((0, 0), around, around, (0, 0)))
        self.train, self.labels, self.test, self.test_labels = (
            torch.from_numpy(a).to(self.device) for a in (padded, labels, *arrays["test"])
        )
        self.labels = with_wrong_labels(self.labels, label_noise, self.classes, "label noise")
        self.generator = torch.Generator(self.device)

    def made(self, draws: Iterable[tuple]) -> Iterator[tuple[Tensor, Tensor]]:
        for chosen, *key in draws:
            yield self._batch(chosen.to(self.device), *key)

    def plain(self) -> "TensorImages":
        """Return the same images, neither cropped nor flipped in training."""
        other, inner = copy.copy(self), slice(self.crop_padding, None)
        other.crop_padding, other.flip = 0, False
        other.train = self.train[:, inner, inner][:, : self.size, : self.size]
        return other

    def partition(self) -> Batches:
        """Return the whole training set in batches (the last may be smaller)."""

        def make():
            for chosen in torch.arange(self.count, device=self.device).split(self.batch_size):
                yield self._batch(chosen)

        return Batches(-(-self.count // self.batch_size), make)

    def test_batches(self, size: int = 1000) -> Iterator:
        """Yield the test set in batches, without augmentation."""
        mine = distributed.share(len(self.test))
        parts = self.test[mine].split(size), self.test_labels[mine].split(size)
        for images, labels in zip(*parts, strict=True):
            yield self._normalise(images), labels

    def _batch(self, chosen: Tensor, *key):
        """Gather, crop and flip in one indexing operation."""
        mine = distributed.share(len(chosen))
        if not (self.flip or self.crop_padding):
            chosen = chosen[mine]
            return self._normalise(self.train[chosen]), self.labels[chosen]
        self.generator.manual_seed(seed_of(self.seed, "augment", *key))
        rows = columns = torch.arange(self.size, device=self.device).expand(len(chosen), -1)
        random = {"generator": self.generator, "device": self.device}
        shift = torch.randint(2 * self.crop_padding + 1, (2, len(chosen), 1), **random)
        if self.flip:
            coin = torch.rand((len(chosen), 1), **random)
            columns = torch.where(coin < 0.5, self.size - 1 - columns, columns)
        chosen, rows, columns = (
            chosen[mine],
            (rows + shift[0])[mine],
            (columns + shift[1])[mine],
        )
        images = self.train[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._normalise(images), self.labels[chosen]

    def _normalise(self, images: Tensor) -> Tensor:
        return ((images.to(self.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)


def with_wrong_labels(labels: Tensor, share: float, classes: int, *key) -> Tensor:
    """Return labels (n,) of which a share, drawn at random, is of other classes.

    The draw depends on the key alone. The labels that are passed stay as they are.

    >>> changed = with_wrong_labels(torch.zeros(10).long(), 0.3, 5, "a key")
    >>> int((changed != 0).sum())
    3
    """
    generator = np.random.default_rng(seed_of(*key))
    count = round(share * len(labels))
    chosen = torch.from_numpy(generator.permutation(len(labels))[:count]).to(labels.device)
    shift = torch.from_numpy(generator.integers(1, classes, count)).to(labels.device)
    changed = labels.clone()
    changed[chosen] = (labels[chosen] + shift) % classes
    return changed


def whole(batches) -> tuple[Tensor, Tensor]:
    """Return all inputs of the batches, flat (n, D), and their labels (n,)."""
    images, labels = zip(*batches, strict=True)
    return torch.cat(images).flatten(1), torch.cat(labels)


def decode(data: bytes, name) -> Image.Image:
    """Return an encoded image in RGB; ``name`` names it where that fails."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"{name} cannot be read as an image ({error}): fetch it again or remove it."
        ) from None
