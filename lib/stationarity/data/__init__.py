"""Datasets to batches: embedded, parquet files of the hub, image folders.

What is not embedded lies below a data root, that of the call or else
``STATIONARITY_DATA``; without both it is downloaded from the Hugging Face hub.

A dataset has a ``name``, a ``count`` of training examples (of a text: segments),
``steps_per_epoch``, ``provenance``, ``device`` and ``dtype``, ``training_batches(first,
last)`` and ``draws(count, *key)``. Batches of both are alike: ``(images, labels)``, or as in
:mod:`stationarity.data.text`. Of several processes each makes its share of a batch.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow

from ..errors import UsageError, known_name, readable, whole_path
from . import embedded, parquet
from .embedded import embedded_hash
from .images import Images, TensorImages, decode, whole, with_wrong_labels
from .text import TokenStreams, words


def load(name: str, *, data_root=None, classes=0, image_size=224, **how) -> Images:
    """Return images, in batches ``(images, labels)``.

    Of the small ones, ``digits``, ``cifar10`` and ``tiny-imagenet``, the first ``classes``
    are used (0: all); ``imagenet`` is cropped to a side of ``image_size`` pixels. The rest
    is what :class:`~stationarity.data.images.TensorImages` takes. Raises :class:`UsageError`
    for what is missing, damaged or refused by the hub, and for more than there is.
    """
    small = {"cifar10": parquet.CIFAR, "tiny-imagenet": parquet.TINY}
    known_name(name, ("digits", *small, "imagenet"), "dataset of images")
    if name == "imagenet":
        return _imagenet(root_of(data_root), image_size=image_size, **how)
    if name in small:
        arrays, provenance = _small_images(small[name], root_of(data_root))
    else:
        arrays = embedded.digits()
        provenance = {"source": "scikit-learn", "sha256": embedded_hash(name)}
    if classes:
        there = len(set(arrays["train"][1]))
        if not 1 < classes <= there:
            said = f"The setting classes is {classes}, and must be at most {there} for {name}"
            raise UsageError(f"{said} and at least 2; 0 takes all.")
        arrays = {p: (x[y < classes], y[y < classes]) for p, (x, y) in arrays.items()}
    return TensorImages(name, arrays, provenance, **how)


def load_text(name: str, *, data_root: str | Path | None = None, **how) -> TokenStreams:
    """Return a text as streams of tokens on the device.

    ``name`` is ``python-reference`` (characters) or ``wikitext103`` (words); the rest is what
    :class:`TokenStreams` takes. Raises :class:`UsageError` as :func:`load` and it do.
    """
    known_name(name, ("python-reference", "wikitext103"), "text")
    if name == "wikitext103":
        files, provenance = parquet.parquet_files(parquet.WIKITEXT, root_of(data_root))
        tables = (parquet.read(files[split], ("text",)) for split in ("train", "validation"))
        parts = tuple(words(table.column("text")) for table in tables)
    else:  # nine tenths for training, then the rest
        characters = pyarrow.array(list(embedded.python_reference()))
        cut = len(characters) * 9 // 10
        parts = characters[:cut], characters[cut:]
        provenance = {"source": "Python", "sha256": embedded_hash(name)}
    return TokenStreams(name, parts, provenance, **how)


def root_of(data_root: str | Path | None) -> Path | None:
    """Return the data root of a call, or else the environment's; None without both.

    Raises :class:`UsageError` where it is not a folder.
    """
    if not (data_root := data_root or os.environ.get("STATIONARITY_DATA")):
        return None
    root = whole_path(data_root)
    if not root.is_dir():
        raise UsageError(f"The data root {data_root} is not a folder ({root}).")
    return root


def _small_images(source: parquet.Source, root: Path | None) -> tuple[dict, dict]:
    files, provenance = parquet.parquet_files(source, root)
    arrays = {}
    for split, part in zip(source.rows, ("train", "test"), strict=True):
        table = parquet.read(files[split], source.columns)
        labels = table.column("label").to_numpy().astype(np.int64)
        there, classes = set(labels), set(range(source.classes))
        if not (there == classes if part == "train" else there <= classes):
            said = f"{source.name}'s {split} part has {len(there)} classes, {min(there)} to"
            said += f" {max(there)}, in {files[split][0].parent}, and not 0 to {max(classes)}"
            raise UsageError(f"{said}: get all its files from {source.page}.")
        names = (f"Image {i} of {source.name}'s {split} part" for i in range(len(table)))
        encoded = (cell["bytes"] for cell in table.column(source.columns[0]).to_pylist())
        with ThreadPoolExecutor() as pool:
            images = list(pool.map(decode, encoded, names, itertools.repeat(source.size)))
        arrays[part] = np.stack(images), labels
    return arrays, provenance


def imagenet_tree(root: Path | None) -> Path | None:
    """Return the folder below a data root that holds ``train/<class>/``, None without."""
    for folder in (root / "imagenet", root / "imagenet-sample", root) if root else ():
        for link in filter(os.path.islink, (folder, folder / "train")):
            readable(link, os.stat)
        if readable(folder / "train", Path.is_dir):
            return folder
    return None


def _imagenet(root: Path | None, crop_padding=0, label_noise=0.0, **how):  # it has neither
    from . import folders  # torchvision takes seconds to import

    if tree := imagenet_tree(root):
        parts, provenance = folders.tree(tree)
    else:
        files, provenance = parquet.parquet_files(parquet.IMAGENET, root, "validation")
        parts = folders.table(parquet.memory_mapped(parquet.IMAGENET, files))
    return folders.StreamedImages("imagenet", *parts, provenance, **how)
