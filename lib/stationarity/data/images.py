"""Images in batches; small ones are made on the device, cropped and flipped.

Every random draw has a key of its own: the run's seed, a purpose (training, measuring) and
the step. So a resumed run sees the batches it would have, and measuring changes none.
"""

import copy
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, InitVar, dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..runs import distributed
from ..runs.seeds import seed_of

TEST_BATCH = 250  # images: more do not stay in a CPU's caches


@dataclass
class Batches:
    """A list of batches that are made anew at each pass, not stored."""

    count: int
    make: Callable[[], Iterator]

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return self.make()


@dataclass(eq=False)
class Images:
    """Images whose batches are made from the numbers of their examples.

    A subclass has ``made``, which yields the batch of each draw: the numbers of its examples,
    then its key. Raises :class:`UsageError` for batches that are larger than the data, and for
    more ``examples`` than there are.
    """

    name: str
    provenance: dict
    count: int  # of training examples
    _: KW_ONLY
    batch_size: int  # of all processes together
    examples: InitVar[int] = 0  # of the training images, how many are used; 0: all
    flip: bool = False  # at random, in training
    sampling: str = "reshuffled"  # epochs; or independent: batches, each without replacement
    seed: int = 0
    dtype: torch.dtype = torch.float32
    device: str | torch.device = "cpu"

    def __post_init__(self, examples):
        if examples > self.count:
            said = f"{self.name} has {self.count} training examples here, and not {examples}"
            raise UsageError(f"{said}: lower examples, or set it to 0, which takes all.")
        if self.batch_size > self.count:
            said = f"The batch size {self.batch_size} is larger than the data"
            raise UsageError(f"{said}: {self.name} has {self.count} training examples here.")
        self.device = torch.device(self.device)
        self.steps_per_epoch = self.count // self.batch_size

    def training_batches(self, first: int, last: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        return self.made(self._in_order(first, last))

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent batches as augmented in training, the same for a key."""
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


class TensorImages(Images):
    """A small dataset that lives on the device as uint8 ``(N, H, W, C)``.

    ``arrays`` are as of :func:`stationarity.data.embedded.digits`. A batch is normalised
    floats ``(B, channels, size, size)`` and int64 labels ``(B,)``. Training images have
    ``crop_padding`` pixels around them and are cropped at random; a part ``label_noise``
    has a wrong label. The rest is as in :class:`Images`.
    """

    def __init__(
        self, name, arrays, provenance, *, crop_padding=0, label_noise=0.0, examples=0, **how
    ):
        images, labels = arrays["train"]
        if examples:
            chosen = np.random.default_rng(0).permutation(len(labels))[:examples]
            images, labels = images[chosen], labels[chosen]
        super().__init__(name, provenance, len(labels), examples=examples, **how)
        self.crop_padding = crop_padding
        _, self.size, _, self.channels = images.shape
        self.classes = int(arrays["train"][1].max()) + 1
        pixels = images.reshape(-1, self.channels).T
        counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels])
        means, squares = (counts @ np.arange(256.0) ** k / len(pixels.T) for k in (1, 2))
        like = {"dtype": self.dtype, "device": self.device}
        moments = means, (squares - means**2) ** 0.5
        self.mean, self.std = (torch.tensor(v, **like) for v in moments)
        around = (crop_padding, crop_padding)
        padded = np.pad(images, ((0, 0), around, around, (0, 0)))
        held = [torch.from_numpy(a).to(self.device) for a in (padded, labels, *arrays["test"])]
        self.train, self.labels, self.test, self.test_labels = held
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

    def partition(self, *key) -> Batches:
        """Return the whole training set in batches (the last may be smaller).

        They are in the order of the data, or with a key in a random one, which it decides.
        """
        generator = np.random.default_rng(seed_of(self.seed, "partition", *key))
        order = generator.permutation(self.count) if key else np.arange(self.count)
        parts = torch.from_numpy(order).to(self.device).split(self.batch_size)
        return Batches(len(parts), lambda: map(self._batch, parts))

    def test_batches(self) -> Iterator:
        """Yield the test set in batches, without augmentation."""
        mine = distributed.share(len(self.test))
        parts = self.test[mine].split(TEST_BATCH), self.test_labels[mine].split(TEST_BATCH)
        for images, labels in zip(*parts):
            yield self._normalise(images), labels

    def _batch(self, chosen: Tensor, *key):
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
        shifted = chosen, rows + shift[0], columns + shift[1]
        chosen, rows, columns = (part[mine] for part in shifted)
        images = self.train[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._normalise(images), self.labels[chosen]

    def _normalise(self, images: Tensor) -> Tensor:
        return ((images.to(self.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)


def with_wrong_labels(labels: Tensor, share: float, classes: int, *key) -> Tensor:
    """Return a copy of labels (n,) of which a share, drawn by the key, is of other classes."""
    generator, count = np.random.default_rng(seed_of(*key)), round(share * len(labels))
    drawn = generator.permutation(len(labels))[:count], generator.integers(1, classes, count)
    chosen, shift = (torch.from_numpy(part).to(labels.device) for part in drawn)
    changed = labels.clone()
    changed[chosen] = (labels[chosen] + shift) % classes
    return changed


def whole(batches, side: int = 0) -> tuple[Tensor, Tensor]:
    """Return all inputs of the batches, flat (n, D), and their labels (n,).

    Images are averaged down to ``side`` pixels a side; UsageError for no divisor; 0: as is.
    """
    images, labels = map(torch.cat, zip(*batches))
    if side and images.shape[-1] % side:
        said = f"The images' {images.shape[-1]} pixels a side cannot be averaged down to {side}"
        raise UsageError(f"{said}: the setting side must divide them.")
    if side:
        images = torch.nn.functional.avg_pool2d(images, images.shape[-1] // side)
    return images.flatten(1), labels


def decode(data: bytes, name, size: int = 0) -> Image.Image:
    """Return an encoded image in RGB, of ``size`` pixels a side if given; else UsageError."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise ValueError(f"it has {image.size} pixels, above Pillow's MAX_IMAGE_PIXELS")
        scaled = (image.format, image.mode) == ("PPM", "I")  # by Pillow, to 16 bits
        if scaled or image.mode.startswith("I;16"):  # what is above 255 would become white
            image = image.convert("I").point(lambda value: value * (1 / 256))
        elif image.mode in ("I", "F"):
            raise ValueError(f"its pixels, of mode {image.mode}, are not of 8 or 16 bits")
        image = image.convert("RGB")
        if size and image.size != (size, size):
            raise ValueError(f"it has {image.size} pixels, and not {size, size}")
    except Exception as error:  # too large, damaged or foreign: Pillow raises many kinds
        said = f"{name} cannot be read as an image ({str(error).partition(' <')[0]})"
        raise UsageError(f"{said}: fetch it again or remove it.") from None
    return image
