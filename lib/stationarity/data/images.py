"""Batches of images, made on the device, each from its own random seed.

Every random draw is keyed by the run's seed, a stream (training, measuring)
and the step, so any batch can be drawn again without those before it: a
resumed run sees the batches it would have seen, and measuring changes none.

A batch is ``(images, labels)``: normalised floats ``(B, C, H, W)`` and int64
``(B,)``, on the device. Of several processes each makes its share of a batch.
"""
import copy
import dataclasses
import io
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from .. import measure
from ..errors import UsageError
from ..runs import distributed
from ..runs.seeds import seed_of
from ..train.settings import Training


class Batches:
    """A list of batches that are made anew at each pass, not stored."""

    def __init__(self, count: int, make: Callable[[], Iterator]):
        self.count, self.make = count, make

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        return self.make()


class Images:
    """What images have in common: the loss, and how a test set is used."""

    @property
    def objective(self) -> measure.Objective:
        """The mean loss of a model on a batch, by the settings."""
        return measure.LOSSES[self.settings.loss]

    def training_loss(self, model: nn.Module, batch, memory: None) -> tuple[Tensor, None]:
        """Return the loss of a training batch; images need no memory."""
        return self.objective(model, batch), memory

    @torch.no_grad()
    def further_measurements(self, model: nn.Module, step: int, memory: None) -> list:
        """Return loss and accuracy on the test set, in evaluation mode."""
        columns, modes = [], [(module, module.training) for module in model.modules()]
        model.eval()
        for images, labels in self.test_batches():
            logits = model(images)
            losses = functional.cross_entropy(logits, labels, reduction="none")
            columns.append(torch.stack([losses, (logits.argmax(1) == labels).to(losses)]))
        for module, training in modes:
            module.training = training
        found = mean_and_error(columns, 2, self.device)
        return [(name, *pair) for name, pair in zip(("test_loss", "accuracy"), found)]


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


class TensorImages(Images):
    """A small dataset that lives on the device as uint8 ``(N, H, W, C)``.

    ``classes``, ``channels`` and ``size`` describe it; ``provenance`` says
    where it came from; ``steps_per_epoch`` is the number of whole batches.
    """

    def __init__(self, settings: Training, arrays: dict, provenance: dict, device):
        self.settings, self.provenance = settings, provenance
        self.device = torch.device(device)
        self.dtype = torch.float64 if settings.precision == "float64" else torch.float32
        images, labels = arrays["train"]
        if settings.examples:
            chosen = np.random.default_rng(0).permutation(len(labels))
            images, labels = (a[chosen[: settings.examples]] for a in (images, labels))
        self.steps_per_epoch = steps_per_epoch(settings, len(labels))
        self.count, self.size, _, self.channels = images.shape
        self.classes = int(arrays["train"][1].max()) + 1
        pixels = images.reshape(-1, self.channels).astype(np.float64)
        self.mean, self.std = (
            torch.tensor(v, dtype=self.dtype, device=self.device)
            for v in (pixels.mean(0), pixels.std(0))
        )
        padding = settings.crop_padding
        padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        self.train, self.labels, self.test, self.test_labels = (
            torch.from_numpy(a).to(self.device)
            for a in (padded, labels, *arrays["test"])
        )
        self.labels = with_wrong_labels(
            self.labels, settings.label_noise, self.classes, "label noise"
        )
        self.generator = torch.Generator(self.device)

    def training_batches(self, first: int, last: int) -> Iterator:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        for step, chosen in training_order(self.settings, self.count, first, last):
            yield self._batch(chosen.to(self.device), "training", step)

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent training batches, the same for a key.

        Each is drawn without replacement within itself and augmented as in
        training, independently of the others and of the training batches.
        """

        def make():
            for i in range(count):
                chosen = sample(self.settings, self.count, *key, i)
                yield self._batch(chosen.to(self.device), *key, i)

        return Batches(count, make)

    def plain(self) -> "TensorImages":
        """Return the same images, neither cropped nor flipped in training."""
        other, inner = copy.copy(self), slice(self.settings.crop_padding, None)
        other.settings = dataclasses.replace(self.settings, crop_padding=0, flip=False)
        other.train = self.train[:, inner, inner][:, : self.size, : self.size]
        return other

    def partition(self) -> Batches:
        """Return the whole training set in batches (the last may be smaller)."""
        size = self.settings.batch_size

        def make():
            for chosen in torch.arange(self.count, device=self.device).split(size):
                yield self._batch(chosen)

        return Batches(-(-self.count // size), make)

    def test_batches(self, size: int = 1000) -> Iterator:
        """Yield the test set in batches, without augmentation."""
        mine = distributed.share(len(self.test))
        parts = self.test[mine].split(size), self.test_labels[mine].split(size)
        for images, labels in zip(*parts):
            yield self._normalise(images), labels

    def _batch(self, chosen: Tensor, *key):
        """Gather, crop and flip in one indexing operation."""
        settings, mine = self.settings, distributed.share(len(chosen))
        if not (settings.flip or settings.crop_padding):
            chosen = chosen[mine]
            return self._normalise(self.train[chosen]), self.labels[chosen]
        self.generator.manual_seed(seed_of(settings.seed, "augment", *key))
        rows = columns = torch.arange(self.size, device=self.device).expand(len(chosen), -1)
        shift = torch.randint(
            2 * settings.crop_padding + 1, (2, len(chosen), 1),
            generator=self.generator, device=self.device,
        )  # fmt: skip
        if settings.flip:
            coin = torch.rand((len(chosen), 1), generator=self.generator, device=self.device)
            columns = torch.where(coin < 0.5, self.size - 1 - columns, columns)
        chosen, rows, columns = chosen[mine], (rows + shift[0])[mine], (columns + shift[1])[mine]
        images = self.train[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return self._normalise(images), self.labels[chosen]

    def _normalise(self, images: Tensor) -> Tensor:
        return ((images.to(self.dtype) - self.mean) / self.std).permute(0, 3, 1, 2)


def decode(data: bytes, name) -> Image.Image:
    """Return an encoded image in RGB; ``name`` names it where that fails."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(
            f"{name} cannot be read as an image ({error}): fetch it again or remove it."
        ) from None


def mean_and_error(columns: list[Tensor], count: int, device) -> list[tuple]:
    """Return means and standard errors of the rows of columns (count, n) side by side.

    Over the examples of all processes; nothing where there is none.
    """
    values = torch.zeros(count, 0, dtype=torch.float64, device=device)
    values = torch.cat([values, *columns], 1)
    number = distributed.total(values.new_tensor(values.shape[1]))
    if not number:
        return []
    means = distributed.total(values.sum(1)) / number
    squares = distributed.total((values - means[:, None]).square().sum(1))
    errors = (squares / (number - 1) / number).sqrt()
    return list(zip(means.tolist(), errors.tolist()))


def whole(batches) -> tuple[Tensor, Tensor]:
    """Return all inputs of the batches, flat (n, D), and their labels (n,)."""
    images, labels = zip(*batches, strict=True)
    return torch.cat(images).flatten(1), torch.cat(labels)


def steps_per_epoch(settings: Training, count: int) -> int:
    """Return the number of whole batches; :class:`UsageError` where there is none."""
    if settings.batch_size > count:
        raise UsageError(
            f"The batch size {settings.batch_size} is larger than the data: "
            f"{settings.dataset} has {count} training examples here."
        )
    return count // settings.batch_size


def training_order(settings: Training, count: int, first: int, last: int) -> Iterator:
    """Yield each step from ``first`` to ``last - 1`` with the examples it takes."""
    size, order, epoch = settings.batch_size, None, None
    for step in range(first, last):
        if settings.sampling == "independent":
            yield step, sample(settings, count, "training", step)
            continue
        now, place = divmod(step, count // size)
        if now != epoch:
            generator = np.random.default_rng(seed_of(settings.seed, "order", now))
            epoch, order = now, torch.from_numpy(generator.permutation(count))
        yield step, order[place * size : (place + 1) * size]


def sample(settings: Training, count: int, *key) -> Tensor:
    """Draw the examples of one batch, without replacement within it."""
    generator = np.random.default_rng(seed_of(settings.seed, "independent", *key))
    return torch.from_numpy(generator.choice(count, settings.batch_size, replace=False))
