"""ImageNet, as an ImageFolder tree or a table: batches streamed from disk by workers.

Every crop and flip is keyed by the run's seed, as in :mod:`stationarity.data.images`.
"""

import atexit
import contextlib
import hashlib
import multiprocessing
import os
import signal
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from ..errors import UsageError
from ..runs import distributed
from ..runs.seeds import seed_of
from .batches import Images
from .images import decode

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class StreamedImages(Images):
    """Encoded images (files, or rows of a table), decoded by workers.

    ``train`` and ``test`` (None without) are the images of the two parts. Training images
    are random resized crops, flipped; test images are resized by 256/224 and cropped at
    the centre. The rest is as in :class:`~stationarity.data.batches.Images`.
    """

    channels = 3

    def __init__(self, name, train, test, provenance, *, examples, flip, image_size, **how):
        chosen = np.random.default_rng(0).permutation(len(train.labels))
        self.chosen = chosen[: examples or None]
        super().__init__(name, provenance, len(self.chosen), **how)
        self.train, self.test, self.flip = train, test, flip
        self.classes, self.size = train.classes, image_size
        self.mean, self.std = (
            torch.tensor(v, dtype=self.dtype, device=self.device).view(3, 1, 1)
            for v in (IMAGENET_MEAN, IMAGENET_STD)
        )

    def made(self, draws: Iterable[tuple]) -> Iterator[tuple[Tensor, Tensor]]:
        return self._load(self.train, map(self._items, draws), augment=self.flip)

    def test_batches(self, size: int = 250) -> Iterator:
        """Yield the test set in batches; nothing where there is none."""
        if self.test is None:
            return iter(())
        indices = range(len(self.test.labels))
        indices = indices[distributed.share(len(indices))]
        items = ([(i, None) for i in indices[k : k + size]] for k in indices[::size])
        return self._load(self.test, items, augment=False)

    def _items(self, draw: tuple) -> list[tuple]:
        """Return the images of this process's share of a draw, each with its seed."""
        chosen, *key = draw
        return [
            (int(self.chosen[i]), seed_of(self.seed, "augment", *key, i))
            for i in chosen[distributed.share(len(chosen))].tolist()
        ]

    def _load(self, images, items, augment: bool) -> Iterator:
        loader = DataLoader(
            _Decoded(images, self.size, augment),
            batch_sampler=items,
            num_workers=_workers(),
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # not the global one: loading leaves no trace
        )
        try:
            with _interruptions_are_ours():
                before = set(multiprocessing.active_children())
                batches = iter(loader)
                _WORKERS.update(set(multiprocessing.active_children()) - before)
            for pixels, labels in batches:
                pixels = pixels.to(self.device, non_blocking=True).to(self.dtype)
                labels = labels.to(self.device, non_blocking=True)
                yield (pixels / 255 - self.mean) / self.std, labels
        except UsageError as error:  # a worker's, wrapped in its traceback
            raise UsageError(str(error).strip().rpartition("UsageError: ")[2]) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise UsageError(
                "A process that loads images was killed, perhaps for lack of memory: give the "
                "run more memory or fewer CPU cores; the same call goes on with it."
            ) from None


_WORKERS = weakref.WeakSet()  # all that were started here


@atexit.register  # after multiprocessing did, so called before it
def _end_workers() -> None:
    """End the workers that are left, because something keeps their batches.

    As a process ends, multiprocessing sends them a SIGTERM, which they do not hear,
    and would wait for them for ever.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's takes it for a failure
    for child in multiprocessing.active_children():
        if child in _WORKERS:
            child.kill()


@contextlib.contextmanager
def _interruptions_are_ours() -> Iterator[None]:
    """Keep interruptions, which reach all processes, from those that are started here."""
    numbers = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tree(root: Path) -> tuple[tuple, dict]:
    """Return the images of ``train`` and of ``val`` (None without), and their provenance.

    That holds the names of all training images, and the sizes of a thousand of
    them, evenly spread: so an image tree that was scaled down is another one.
    """
    train = _Files(root / "train")
    test = _Files(root / "val") if (root / "val").is_dir() else None
    if test and test.names != train.names:
        raise UsageError(
            f"{root}/val and {root}/train have different class folders: sort the "
            "validation images into the folders of their classes."
        )
    paths = train.paths.to_pylist()
    names = "\n".join(map(os.path.basename, paths))
    sizes = [os.path.getsize(path) for path in paths[:: -(-len(paths) // 1000)]]
    return (train, test), {
        "source": "ImageFolder",
        "images": len(paths),
        "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
        "sizes_sha256": hashlib.sha256(repr(sizes).encode()).hexdigest(),
    }


class _Files:
    """The image files of a folder tree, one folder for each class.

    The paths are one Arrow array: a list of a million would be copied into each
    worker, a page at a time, as its references are counted.
    """

    def __init__(self, root: Path):
        try:
            folder = ImageFolder(root)
        except FileNotFoundError as error:
            reason = str(error).splitlines()[0]
            raise UsageError(
                f"{root} must hold a folder of images for each class: {reason}"
            ) from None
        self.names, self.classes = folder.classes, len(folder.classes)
        self.paths = pyarrow.array([path for path, _ in folder.samples])
        self.labels = np.array(folder.targets)

    def encoded(self, index: int) -> tuple[bytes, str]:
        path = self.paths[index].as_py()
        with open(path, "rb") as file:
            return file.read(), path


def table(tables) -> tuple:
    """Return the images of the parts ``train`` and ``validation`` (None without)."""
    train, test = (
        _Rows(tables[split], split) if split in tables else None
        for split in ("train", "validation")
    )
    if test and test.classes > train.classes:
        raise UsageError(
            f"ImageNet's validation part has {test.classes} classes here and its train part "
            f"{train.classes}: fetch the missing train-*.parquet files."
        )
    return train, test


class _Rows:
    """The rows of a memory-mapped table: ``image`` (encoded bytes) and ``label``."""

    def __init__(self, rows, split: str):
        self.rows, self.split = rows.with_format("arrow"), split
        self.labels = rows.data.column("label").to_numpy().astype(np.int64)
        if self.labels.min() < 0:
            raise UsageError(
                f"ImageNet's {split} part has images without a label (-1): leave out the "
                "files of its test part."
            )
        self.classes = int(self.labels.max()) + 1

    def encoded(self, index: int) -> tuple[bytes, str]:
        image = self.rows[index].column("image")[0]["bytes"].as_py()
        return image, f"Image {index} of ImageNet's {self.split} part"


class _Decoded(Dataset):
    """Images as uint8 ``(3, size, size)`` with their labels, seeded one by one.

    Pillow decodes and crops; the crop is resized as a tensor, which is twice as fast
    and differs from Pillow's by rounding.
    """

    def __init__(self, images, size: int, augment: bool):
        self.images = images
        resized = v2.Resize(round(size * 256 / 224))
        self.centre = v2.Compose([v2.PILToTensor(), resized, v2.CenterCrop(size)])
        self.crop = v2.RandomResizedCrop(size)
        self.flip = v2.RandomHorizontalFlip() if augment else v2.Identity()

    def __getitem__(self, item):
        index, seed = item
        image, label = decode(*self.images.encoded(index)), self.images.labels[index]
        if seed is None:
            return self.centre(image), label
        before = torch.get_rng_state()
        torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for devices too
        try:
            place = self.crop.make_params([image])
            pixels = v2.functional.pil_to_tensor(v2.functional.crop(image, **place))
            return self.flip(v2.functional.resize(pixels, self.crop.size)), label
        finally:
            torch.set_rng_state(before)


def _workers() -> int:
    """Return this process's share of the CPUs, 16 at most.

    ``torchrun`` starts ``LOCAL_WORLD_SIZE`` processes on a machine.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it, macOS not
    cpus = len(affinity(0)) if affinity else os.cpu_count()
    return min(16, max(1, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
