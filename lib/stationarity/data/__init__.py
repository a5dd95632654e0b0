"""Datasets to batches: embedded, parquet files of the hub, image folders.

Digits are embedded in scikit-learn and a text in Python itself: no download.
CIFAR-10, WikiText-103 and ImageNet are found below a data root that the user
sets; without one, they are downloaded from the Hugging Face hub.

A dataset knows nothing of models and losses. It has a ``name``, a ``count`` of
training examples (of a text: segments), ``steps_per_epoch``, ``provenance`` (where it
came from), ``device`` and ``dtype``, ``training_batches(first, last)`` and
``draws(count, *key)``. Of several processes each makes its share of every batch.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow
import torch

from ..errors import UsageError, known_name
from . import embedded, parquet
from .embedded import embedded_hash
from .images import TensorImages, decode, whole, with_wrong_labels
from .text import TokenStreams, words

__all__ = ["available", "embedded_hash", "load", "load_text", "whole", "with_wrong_labels"]


def load(
    name: str,
    *,
    batch_size: int,
    examples: int = 0,
    sampling: str = "reshuffled",
    crop_padding: int = 0,
    flip: bool = False,
    image_size: int = 224,
    label_noise: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    data_root: str | Path | None = None,
    device="cpu",
):
    """Return a dataset of images, whose batches ``(images, labels)`` lie on the device.

    It is a :class:`TensorImages`, or a :class:`stationarity.data.folders.StreamedImages`
    of ImageNet.

    ``name`` is ``digits``, ``cifar10`` or ``imagenet``; ``batch_size`` is that of all
    processes together; ``examples`` is how many of the training images are used (0: all);
    ``sampling`` is ``reshuffled`` (epochs) or ``independent`` (batches). Training images
    are flipped at random with ``flip``; small ones are cropped at random with
    ``crop_padding`` pixels around them, and a part ``label_noise`` gets a wrong label;
    ImageNet's random resized crops have a side of ``image_size`` pixels.

    The data lie below ``data_root``, else below the folder that the environment variable
    ``STATIONARITY_DATA`` names; without both they are downloaded from the Hugging Face
    hub, see :mod:`stationarity.data.parquet`.

    Raises :class:`UsageError` where files are missing or damaged, where the hub refuses
    them, or where the batch size exceeds the data.
    """
    known_name(name, ("digits", "cifar10", "imagenet"), "dataset of images")
    how = {"batch_size": batch_size, "examples": examples, "sampling": sampling, "flip": flip}
    how |= {"seed": seed, "dtype": dtype, "device": device}
    if name == "imagenet":
        return _imagenet(_root(data_root), image_size=image_size, **how)
    if name == "cifar10":
        arrays, provenance = _cifar10(_root(data_root))
    else:
        arrays = embedded.digits()
        provenance = {"source": "scikit-learn", "sha256": embedded_hash(name)}
    how |= {"crop_padding": crop_padding, "label_noise": label_noise}
    return TensorImages(name, arrays, provenance, **how)


def load_text(
    name: str, *, data_root: str | Path | None = None, **how: int | str | torch.dtype
) -> TokenStreams:
    """Return a text as streams of tokens on the device.

    ``name`` is ``python-reference`` (characters) or ``wikitext103`` (words);
    ``data_root`` is as in :func:`load`; the rest is what :class:`TokenStreams` takes:
    ``batch_size``, ``segment``, ``context``, ``tokens``, ``steps_per_epoch``, ``seed``,
    ``dtype`` and ``device``. Raises :class:`UsageError` as :func:`load` does, and for a
    text that is too short or has one token only.
    """
    known_name(name, ("python-reference", "wikitext103"), "text")
    if name == "wikitext103":
        files, provenance = parquet.parquet_files(parquet.WIKITEXT, _root(data_root))
        tables = (parquet.read(files[split], ("text",)) for split in ("train", "validation"))
        parts = tuple(words(table.column("text")) for table in tables)
    else:  # nine tenths for training, then the rest
        characters = pyarrow.array(list(embedded.python_reference()))
        cut = len(characters) * 9 // 10
        parts = characters[:cut], characters[cut:]
        provenance = {"source": "Python", "sha256": embedded_hash(name)}
    return TokenStreams(name, parts, provenance, **how)


def available(root: Path) -> dict[str, str]:
    """Return what a data root holds of each dataset that is not embedded, in words."""
    held = {}
    for source in (parquet.CIFAR, parquet.IMAGENET, parquet.WIKITEXT):
        tree = _imagenet_tree(root) if source is parquet.IMAGENET else None
        files = [file for part in parquet.find(source, root).values() for file in part]
        if tree:
            held[source.name] = f"folders of images in {tree}"
        elif files:
            size = sum(file.stat().st_size for file in files)
            held[source.name] = (
                f"{len(files)} parquet files in {files[0].parent}, {size / 1e6:,.0f} MB"
            )
        else:
            held[source.name] = "not found"
    return held


def _root(data_root: str | Path | None) -> Path | None:
    data_root = data_root or os.environ.get("STATIONARITY_DATA")
    root = Path(data_root).expanduser() if data_root else None
    if root and not root.is_dir():
        raise UsageError(f"The data root {root} is not a folder.")
    return root


def _cifar10(root: Path | None) -> tuple[dict, dict]:
    """Return the arrays of each part, as :func:`embedded.digits`, and their provenance."""
    files, provenance = parquet.parquet_files(parquet.CIFAR, root)
    arrays = {}
    for split in ("train", "test"):
        table = parquet.read(files[split], parquet.CIFAR.columns)
        names = (f"Image {i} of CIFAR-10's {split} part" for i in range(len(table)))
        encoded = (cell["bytes"] for cell in table.column("img").to_pylist())
        with ThreadPoolExecutor() as pool:
            images = np.stack([np.asarray(i) for i in pool.map(decode, encoded, names)])
        arrays[split] = (images, table.column("label").to_numpy().astype(np.int64))
    return arrays, provenance


def _imagenet_tree(root: Path | None) -> Path | None:
    """Return the folder below a data root that holds ``train/<class>/``, None without."""
    for folder in (root / "imagenet", root / "imagenet-sample", root) if root else ():
        if (folder / "train").is_dir():
            return folder
    return None


def _imagenet(root: Path | None, **how):
    """Return the images of a folder tree, else of parquet files."""
    from . import folders  # torchvision takes seconds to import

    if tree := _imagenet_tree(root):
        parts, provenance = folders.tree(tree)
    else:
        if root and not parquet.find(parquet.IMAGENET, root):
            raise UsageError(
                f"No ImageNet in {root}: it must hold imagenet/train/<class>/*.JPEG (and "
                "imagenet/val/<class>/*.JPEG), from https://image-net.org, or "
                "imagenet/train-*.parquet (and validation-*.parquet), from "
                f"https://huggingface.co/datasets/{parquet.IMAGENET.hub}; without a data "
                "root, the latter are downloaded."
            )
        files, provenance = parquet.parquet_files(
            parquet.IMAGENET, root, optional=("validation",)
        )
        parts = folders.table(parquet.memory_mapped(parquet.IMAGENET, files))
    return folders.StreamedImages("imagenet", *parts, provenance, **how)
