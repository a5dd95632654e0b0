"""Where the data come from: embedded, parquet files of the hub, image folders.

Digits are embedded in scikit-learn and a text in Python itself: no download.
CIFAR-10, WikiText-103 and ImageNet are found below a data root that the user
sets; without one, they are downloaded from the Hugging Face hub.
"""
import hashlib
import itertools
import os
import pydoc_data.topics
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow
from sklearn.datasets import load_digits

from ..errors import UsageError
from ..train.settings import LanguageTraining, Training
from . import sources
from .images import TensorImages, decode
from .text import TokenStreams, words

EMBEDDED = ("digits", "python-reference")


def load(
    settings: Training | LanguageTraining, data_root: str | Path | None = None, device="cpu"
):
    """Return the dataset of the settings, whose batches lie on the device.

    It is a :class:`TensorImages`, a :class:`stationarity.data.folders.StreamedImages` or a
    :class:`TokenStreams`. ``data_root`` is where the data lie; without it the
    environment variable ``STATIONARITY_DATA`` is read, and without that they are
    downloaded from the Hugging Face hub, see :mod:`stationarity.data.sources`. Raises
    :class:`UsageError` where files are missing or damaged, where the hub refuses
    them, or where the batch size exceeds the data.
    """
    data_root = data_root or os.environ.get("STATIONARITY_DATA")
    root = Path(data_root).expanduser() if data_root else None
    if root and settings.dataset not in EMBEDDED and not root.is_dir():
        raise UsageError(f"The data root {root} is not a folder.")
    if settings.dataset == "imagenet":
        return _imagenet(settings, root, device)
    if settings.dataset in ("python-reference", "wikitext103"):
        parts, provenance = (
            _wikitext(root) if settings.dataset == "wikitext103" else _reference_parts()
        )
        return TokenStreams(settings, parts, provenance, device)
    if settings.dataset == "cifar10":
        arrays, provenance = _cifar10(root)
    else:
        arrays = _digits()
        provenance = {"source": "scikit-learn", "sha256": embedded_hash("digits")}
    return TensorImages(settings, arrays, provenance, device)


def available(root: Path) -> dict[str, str]:
    """Return what a data root holds of each dataset that is not embedded, in words."""
    found = {}
    for source in (sources.CIFAR, sources.IMAGENET, sources.WIKITEXT):
        tree = imagenet_tree(root) if source is sources.IMAGENET else None
        parts = {} if tree else sources.find(source, root)
        files = list(itertools.chain.from_iterable(parts.values()))
        size = sum(file.stat().st_size for file in files)
        found[source.name] = (
            f"folders of images in {tree}" if tree
            else f"{len(files)} parquet files in {files[0].parent}, {size / 1e6:,.0f} MB"
            if files
            else "not found"
        )  # fmt: skip
    return found


def embedded_hash(dataset: str) -> str | None:
    """Return the SHA-256 of an embedded dataset, None for any other.

    It enters the fingerprint of a run: the text differs between versions of
    Python, and a package may mend its data.
    """
    if dataset == "python-reference":
        return hashlib.sha256(python_reference().encode()).hexdigest()
    if dataset != "digits":
        return None
    arrays = _digits()
    parts = [a.tobytes() for split in ("train", "test") for a in arrays[split]]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def python_reference() -> str:
    """Return the Python language reference that ships with Python, as one text.

    About half a million characters: the help topics in alphabetical order.
    """
    return "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


def _reference_parts() -> tuple[tuple, dict]:
    """Return the characters of the reference: nine tenths for training, then the rest."""
    characters = pyarrow.array(list(python_reference()))
    cut = len(characters) * 9 // 10
    provenance = {"source": "Python", "sha256": embedded_hash("python-reference")}
    return (characters[:cut], characters[cut:]), provenance


def _wikitext(root: Path | None) -> tuple[tuple, dict]:
    """Return the words of WikiText-103's training and validation parts."""
    files, provenance = sources.parquet_files(sources.WIKITEXT, root)
    tables = (sources.read(files[split], ("text",)) for split in ("train", "validation"))
    return tuple(words(table.column("text")) for table in tables), provenance


@cache
def _digits() -> dict:
    """Return scikit-learn's digits: 1437 for training, 360 for testing."""
    bunch = load_digits()
    images = (bunch.images * 15.9375).astype(np.uint8)[..., None]  # 16 becomes 255
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[:1437], order[1437:]
    return {"train": (images[train], labels[train]), "test": (images[test], labels[test])}


def _cifar10(root: Path | None) -> tuple[dict, dict]:
    files, provenance = sources.parquet_files(sources.CIFAR, root)
    arrays = {}
    for split in ("train", "test"):
        table = sources.read(files[split], sources.CIFAR.columns)
        names = (f"Image {i} of CIFAR-10's {split} part" for i in range(len(table)))
        encoded = (cell["bytes"] for cell in table.column("img").to_pylist())
        with ThreadPoolExecutor() as pool:
            images = np.stack(list(pool.map(_pixels, encoded, names)))
        arrays[split] = (images, table.column("label").to_numpy().astype(np.int64))
    return arrays, provenance


def imagenet_tree(root: Path | None) -> Path | None:
    """Return the folder below a data root that holds ``train/<class>/``, None without."""
    for folder in (root / "imagenet", root / "imagenet-sample", root) if root else ():
        if (folder / "train").is_dir():
            return folder
    return None


def _imagenet(settings: Training, root: Path | None, device):
    """Return the images of a folder tree, else of parquet files."""
    from . import folders  # torchvision takes seconds to import

    if tree := imagenet_tree(root):
        parts, provenance = folders.tree(tree)
    else:
        if root and not sources.find(sources.IMAGENET, root):
            raise UsageError(
                f"No ImageNet in {root}: it must hold imagenet/train/<class>/*.JPEG (and "
                "imagenet/val/<class>/*.JPEG), from https://image-net.org, or "
                "imagenet/train-*.parquet (and validation-*.parquet), from "
                f"https://huggingface.co/datasets/{sources.IMAGENET.hub}; without a data "
                "root, the latter are downloaded."
            )
        files, provenance = sources.parquet_files(
            sources.IMAGENET, root, optional=("validation",)
        )
        parts = folders.table(sources.memory_mapped(sources.IMAGENET, files))
    return folders.StreamedImages(settings, *parts, provenance, device)


def _pixels(data: bytes, name: str) -> np.ndarray:
    return np.asarray(decode(data, name))
