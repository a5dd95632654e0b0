"""ImageNet, or any ImageFolder tree: batches streamed from disk by workers.

Every crop and flip is keyed by the run's seed, as in :mod:`stationarity.batches`.
"""
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from . import distributed
from .batches import (
    Batches,
    Images,
    decode,
    sample,
    seed_of,
    steps_per_epoch,
    training_order,
)
from .errors import UsageError
from .experiments import Training

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FolderImages(Images):
    """ImageNet, or any ImageFolder tree, streamed from disk by workers.

    Training images are random resized crops, flipped; test images (where the
    tree has a ``val`` folder) are resized by 256/224 and cropped at the centre.
    """

    def __init__(self, settings: Training, root: Path, device):
        self.settings, self.device, self.channels = settings, torch.device(device), 3
        self.dtype = torch.float64 if settings.precision == "float64" else torch.float32
        self.folder = _image_folder(root / "train")
        self.test_folder = _image_folder(root / "val") if (root / "val").is_dir() else None
        if self.test_folder and self.test_folder.classes != self.folder.classes:
            raise UsageError(
                f"{root}/val and {root}/train have different class folders: sort the "
                "validation images into the folders of their classes."
            )
        self.classes, self.size = len(self.folder.classes), settings.image_size
        chosen = np.random.default_rng(0).permutation(len(self.folder.samples))
        self.chosen = chosen[: settings.examples or None]
        self.count = len(self.chosen)
        self.steps_per_epoch = steps_per_epoch(settings, self.count)
        self.mean, self.std = (
            torch.tensor(v, dtype=self.dtype, device=self.device).view(3, 1, 1)
            for v in (IMAGENET_MEAN, IMAGENET_STD)
        )
        names = "\n".join(Path(path).name for path, _ in self.folder.samples)
        self.provenance = {
            "source": "ImageFolder", "images": len(self.folder.samples),
            "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
        }  # fmt: skip

    def training_batches(self, first: int, last: int) -> Iterator:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        items = (
            self._items(chosen, "training", step)
            for step, chosen in training_order(self.settings, self.count, first, last)
        )
        return self._load(self.folder, items, augment=self.settings.flip)

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent training batches, the same for a key."""

        def make():
            items = (
                self._items(sample(self.settings, self.count, *key, i), *key, i)
                for i in range(count)
            )
            return self._load(self.folder, items, augment=self.settings.flip)

        return Batches(count, make)

    def test_batches(self, size: int = 250) -> Iterator:
        """Yield the test set in batches; nothing where there is no ``val``."""
        if self.test_folder is None:
            return iter(())
        indices = range(len(self.test_folder.samples))
        indices = indices[distributed.share(len(indices))]
        items = ([(i, None) for i in indices[k : k + size]] for k in indices[::size])
        return self._load(self.test_folder, items, augment=False)

    def _items(self, chosen: Tensor, *key) -> list:
        return [
            (int(self.chosen[i]), seed_of(self.settings.seed, "augment", *key, i))
            for i in chosen[distributed.share(len(chosen))].tolist()
        ]

    def _load(self, folder: ImageFolder, items, augment: bool) -> Iterator:
        loader = DataLoader(
            _Decoded(folder.samples, self.size, augment), batch_sampler=items,
            num_workers=_workers(), pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # not the global one: loading leaves no trace
        )  # fmt: skip
        try:
            for images, labels in loader:
                images, labels = (t.to(self.device, non_blocking=True) for t in (images, labels))
                yield (images.to(self.dtype) / 255 - self.mean) / self.std, labels
        except UsageError as error:  # a worker's, wrapped in its traceback
            raise UsageError(str(error).strip().rpartition("UsageError: ")[2]) from None


def _image_folder(root: Path) -> ImageFolder:
    try:
        return ImageFolder(root)
    except FileNotFoundError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"{root} must hold a folder of images for each class: {reason}"
        ) from None


class _Decoded(Dataset):
    """Images of a folder tree as uint8 ``(3, size, size)``, seeded one by one."""

    def __init__(self, samples: list, size: int, augment: bool):
        self.samples = samples
        resized = v2.Resize(round(size * 256 / 224), antialias=True)
        self.centre = v2.Compose([resized, v2.CenterCrop(size), v2.PILToTensor()])
        crops = [v2.RandomResizedCrop(size, antialias=True), v2.PILToTensor()]
        flip = [v2.RandomHorizontalFlip()] if augment else []
        self.random = v2.Compose(flip + crops)

    def __getitem__(self, item):
        index, seed = item
        path, label = self.samples[index]
        with open(path, "rb") as file:
            image = decode(file.read(), path)
        if seed is None:
            return self.centre(image), label
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.random(image), label


def _workers() -> int:
    """Return the number of CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS not
    return min(16, len(affinity(0)) if affinity else os.cpu_count())
