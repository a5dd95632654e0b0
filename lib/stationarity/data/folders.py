"""ImageNet, as an ImageFolder tree or a table: batches streamed from disk by workers."""

import atexit
import filecmp
import hashlib
import itertools
import multiprocessing
import os
import re
import signal
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2

from ..errors import UsageError, readable
from ..runs import distributed
from ..runs.seeds import seed_of
from . import parquet
from .images import TEST_BATCH, Images, decode

MEAN_AND_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels


class StreamedImages(Images):
    """Encoded images ``train`` and ``test`` (None without), decoded by workers.

    Training images are random resized crops; test images are resized by 256/224 and cropped
    at the centre. The rest is as in :class:`~stationarity.data.images.Images`.
    """

    channels = 3

    def __init__(self, name, train, test, provenance, *, image_size, examples=0, **how):
        chosen = np.random.default_rng(0).permutation(len(train.labels))
        self.chosen = chosen[: examples or None]
        super().__init__(name, provenance, len(self.chosen), examples=examples, **how)
        self.train, self.test = train, test
        self.classes, self.size = train.classes, image_size
        like = {"dtype": self.dtype, "device": self.device}
        self.mean, self.std = (torch.tensor(v, **like).view(3, 1, 1) for v in MEAN_AND_STD)

    def made(self, draws: Iterable[tuple]) -> Iterator[tuple[Tensor, Tensor]]:
        def items(chosen: Tensor, *key) -> list[tuple[int, int]]:
            mine = chosen[distributed.share(len(chosen))].tolist()
            return [(int(self.chosen[i]), seed_of(self.seed, "augment", *key, i)) for i in mine]

        return self._load(self.train, itertools.starmap(items, draws), augment=self.flip)

    def test_batches(self) -> Iterator:
        """Yield the test set in batches; nothing where there is none."""
        if self.test is None:
            return iter(())
        count = len(self.test.labels)
        indices = range(count)[distributed.share(count)]
        parts = (indices[k : k + TEST_BATCH] for k in range(0, len(indices), TEST_BATCH))
        return self._load(self.test, ([(i, None) for i in part] for part in parts), False)

    def _load(self, images, items, augment: bool) -> Iterator:
        loader = DataLoader(
            _Decoded(images, self.size, augment),
            batch_sampler=items,
            num_workers=_workers(),
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # not the global one: loading leaves no trace
        )
        try:
            before = set(multiprocessing.active_children())
            # Interruptions reach all processes: the workers are kept from them.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
            try:
                batches = iter(loader)
                _WORKERS.update(set(multiprocessing.active_children()) - before)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for pixels, labels in batches:
                pixels = pixels.to(self.device, non_blocking=True).to(self.dtype)
                labels = labels.to(self.device, non_blocking=True)
                yield (pixels / 255 - self.mean) / self.std, labels
        except UsageError as error:  # a worker's, wrapped in its traceback
            error.__traceback__ = None  # else it would keep the loader, which ends its workers
            raise UsageError(str(error).strip().rpartition("UsageError: ")[2]) from None
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            shared = "shared memory" in str(error) or "</torch_" in str(error)
            lack = "room in /dev/shm (docker run --shm-size=8g)" if shared else "memory"
            said = f"A process that loads images was killed, perhaps for lack of {lack}: give"
            remedy = "the run more of it or fewer CPU cores; the same call goes on with it"
            raise UsageError(f"{said} {remedy}.") from None
        finally:
            batches = None  # an error's traceback holds this frame, too


_WORKERS = weakref.WeakSet()  # all that were started here


@atexit.register  # after multiprocessing did, so called before it
def _end_workers() -> None:
    """End the workers that are left: they do not hear the SIGTERM of multiprocessing."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's takes it for a failure
    for child in multiprocessing.active_children():
        if child in _WORKERS:
            child.kill()


def tree(root: Path) -> tuple[tuple, dict]:
    """Return the images of ``train`` and of ``val`` (None without), and their provenance.

    By the sizes of a thousand images a scaled tree is another. UsageError for a faulty one.
    """
    train = _Files(root / "train")
    test = _Files(root / "val") if os.path.lexists(root / "val") else None
    if test and test.names != train.names:
        said = f"{root}/val and {root}/train have different class folders"
        raise UsageError(f"{said}: sort the validation images into those of their classes.")
    paths = train.paths.to_pylist()
    sizes = [readable(path, os.path.getsize) for path in paths[:: -(-len(paths) // 1000)]]
    known = {"names": b"\n".join(map(os.path.basename, paths)), "sizes": repr(sizes).encode()}
    hashes = {f"{k}_sha256": hashlib.sha256(v).hexdigest() for k, v in known.items()}
    return (train, test), {"source": "ImageFolder", "images": len(paths)} | hashes


class _Files:
    """The image files of a folder tree, one folder for each class, in torchvision's order.

    Hidden ones are left out: notebooks and macOS make them.
    """

    def __init__(self, root: Path):
        found, homes, closed, top = [], {}, [], os.fspath(root)
        for at, inner, names in os.walk(top, followlinks=True, onerror=closed.append):
            inner[:] = [name for name in inner if name[0] != "."]
            if (other := homes.setdefault(os.path.realpath(at), at)) != at:
                told = f"{at} leads to {other}, whose images would count twice: remove it."
                raise UsageError(told)
            if at == top:
                self.names, self.classes = sorted(inner), len(inner)
            names = {name for name in names if name[0] != "."}
            images = {n for n in names if at != top and n.lower().endswith(IMG_EXTENSIONS)}
            for name in names - images:  # links that lead nowhere are among them
                readable(os.path.join(at, name), os.stat)
            label = os.path.relpath(at, top).partition(os.sep)[0]
            found += ((label, at, name) for name in images)
            for name in images:  # is it another's and a sign, such as " (1)"?
                (stem, kind), file = os.path.splitext(name), os.path.join(at, name)
                heads = {stem[: sign.start()] + kind for sign in re.finditer(r"[\W_]", stem)}
                for head in heads & images:
                    other = os.path.join(at, head)
                    if readable(file, lambda path: filecmp.cmp(path, other, shallow=False)):
                        told = f"{file} is a copy of {head} beside it, and would count twice"
                        raise UsageError(f"{told}: remove it.")
        if closed:
            said = f"{closed[0].filename} cannot be read ({closed[0].strerror})"
            raise UsageError(f"{said}: make it readable, or remove it.")
        lacking = sorted({*self.names} - {label for label, *_ in found})
        if lacking or not found:
            said = f"{root} must hold a folder of images ({' '.join(IMG_EXTENSIONS)}) a class"
            raise UsageError(f"{said}: there are none in {', '.join(lacking or ['it'])}.")
        found.sort()
        # Of a list each worker would come to have a copy, as it counts references.
        self.paths = pyarrow.array([os.fsencode(os.path.join(*place)) for _, *place in found])
        number = {name: k for k, name in enumerate(self.names)}
        self.labels = np.array([number[label] for label, *_ in found])

    def encoded(self, index: int) -> tuple[bytes, str]:
        path = os.fsdecode(self.paths[index].as_py())
        return readable(path, lambda path: Path(path).read_bytes()), path


def table(tables) -> tuple:
    """Return images of ``train``, ``validation`` (None without); UsageError if classes lack."""
    parts = {split: _Rows(rows, split) for split, rows in tables.items()}
    train, test = parts["train"], parts.get("validation")
    if test and test.classes > train.classes:
        said = f"ImageNet's validation part has {test.classes} classes here and its train part"
        raise UsageError(f"{said} {train.classes}: fetch the missing train-*.parquet files.")
    return train, test


class _Rows:
    """The rows of a memory-mapped table: ``image`` (encoded bytes) and ``label``."""

    def __init__(self, rows, split: str):
        self.rows, self.split = rows.with_format("arrow"), split
        try:
            _, labels = (parquet.cells(rows.data.column(n), n) for n in ("image", "label"))
        except pyarrow.ArrowException as error:
            said = f"ImageNet's {split} part lacks an image or a label"
            raise UsageError(f"{said} ({parquet.first_line(error)}): fetch it again.") from None
        self.labels = labels.to_numpy()
        if self.labels.min() < 0:
            said = f"ImageNet's {split} part has images without a label (-1)"
            raise UsageError(f"{said}: leave out the files of its test part.")
        self.classes = int(self.labels.max()) + 1

    def encoded(self, index: int) -> tuple[bytes, str]:
        image = self.rows[index].column("image")[0]["bytes"].as_py()
        return image, f"Image {index} of ImageNet's {self.split} part"


class _Decoded(Dataset):
    """Images as uint8 ``(3, size, size)`` with their labels, seeded one by one."""

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
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed looks for devices too
            # As a tensor an image is resized twice as fast as by Pillow, but for rounding.
            place = self.crop.make_params([image])
            pixels = v2.functional.pil_to_tensor(v2.functional.crop(image, **place))
            return self.flip(v2.functional.resize(pixels, self.crop.size)), label


def _workers() -> int:
    processes = distributed.number("LOCAL_WORLD_SIZE", 1) or 1
    return min(16, max(1, distributed.cores() // processes))
