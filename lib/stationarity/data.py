"""Where the data come from: embedded, Hugging Face ``datasets``, image folders.

Digits are embedded in scikit-learn and a text in Python itself: no download.
CIFAR-10, WikiText-103 and ImageNet are found below a data root that the user
sets; without one, the first two are downloaded.
"""
import hashlib
import os
import pydoc_data.topics
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from .batches import TensorImages, decode, seed_of
from .errors import UsageError
from .experiments import LanguageTraining, Training
from .text import TokenStreams, words

CIFAR_ON_THE_HUB = "uoft-cs/cifar10"
WIKITEXT_ON_THE_HUB = ("Salesforce/wikitext", "wikitext-103-v1")
EMBEDDED = ("digits", "python-reference")


def load(
    settings: Training | LanguageTraining, data_root: str | Path | None = None, device="cpu"
):
    """Return the dataset of the settings, whose batches lie on the device.

    It is a :class:`TensorImages`, a :class:`stationarity.folders.FolderImages` or a
    :class:`TokenStreams`. ``data_root`` is where the data lie; without it the
    environment variable ``STATIONARITY_DATA`` is read, and without that CIFAR-10
    and WikiText-103 are downloaded from the Hugging Face hub. Raises :class:`UsageError` where files are missing or
    damaged, or where the batch size exceeds the data.
    """
    data_root = data_root or os.environ.get("STATIONARITY_DATA")
    root = Path(data_root).expanduser() if data_root else None
    if root and settings.dataset not in EMBEDDED and not root.is_dir():
        raise UsageError(f"The data root {root} is not a folder.")
    if settings.dataset == "imagenet":
        from .folders import FolderImages  # torchvision takes seconds to import

        return FolderImages(settings, _imagenet_root(root), device)
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
    splits = ("train", "validation")
    if root is None:
        tables = _download("WikiText-103", *WIKITEXT_ON_THE_HUB)
        columns = [tables[split].data.table for split in splits]
        provenance = {"source": f"Hugging Face hub, {'/'.join(WIKITEXT_ON_THE_HUB)}"}
    else:
        folders = ("wikitext-103", "wikitext-103-heldout")
        source = "WikiText-103", WIKITEXT_ON_THE_HUB[0]
        files = {s: _parquet_files(root, s, folders, ["text"], *source) for s in splits}
        columns = [_read_parquet(files[split], ["text"]) for split in splits]
        provenance = _parquet_provenance(files)
    return tuple(words(table.column("text")) for table in columns), provenance


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
    if root is None:
        from datasets import Image as Encoded  # only a download needs it

        tables = _download("CIFAR-10", CIFAR_ON_THE_HUB)
        tables = tables.cast_column("img", Encoded(decode=False))
        columns = {split: tables[split].data.table for split in ("train", "test")}
        provenance = {"source": f"Hugging Face hub, {CIFAR_ON_THE_HUB}"}
    else:
        names, source = ["img", "label"], ("CIFAR-10", CIFAR_ON_THE_HUB)
        files = {
            split: _parquet_files(root, split, ("cifar10",), names, *source)
            for split in ("train", "test")
        }
        columns = {split: _read_parquet(files[split], names) for split in files}
        provenance = _parquet_provenance(files)
    arrays = {}
    for split, table in columns.items():
        names = (f"Image {i} of CIFAR-10's {split} part" for i in range(len(table)))
        encoded = (cell["bytes"] for cell in table.column("img").to_pylist())
        with ThreadPoolExecutor() as pool:
            images = np.stack(list(pool.map(_pixels, encoded, names)))
        arrays[split] = (images, table.column("label").to_numpy().astype(np.int64))
    return arrays, provenance


def _download(name: str, *on_the_hub: str):
    """Return a dataset of the Hugging Face hub, verified and cached by ``datasets``."""
    from datasets import load_dataset

    try:
        return load_dataset(*on_the_hub)
    except OSError as error:  # no network, no room
        raise UsageError(
            f"{name} could not be downloaded ({str(error).splitlines()[0]}): go online, "
            "or put its parquet files under a data root."
        ) from None


def _parquet_files(
    root: Path, split: str, folders: tuple, columns: list, name: str, hub: str
) -> list[Path]:
    for folder in (*(root / part for part in folders), root):
        files = sorted(folder.glob(f"{split}-*.parquet"))
        if files:
            return files
    raise UsageError(
        f"No {name} in {root}: put {split}-*.parquet (columns {' and '.join(columns)}, from "
        f"https://huggingface.co/datasets/{hub}) there or into its folder "
        f"{folders[0]}, or set no data root, and it is downloaded."
    )


def _parquet_provenance(files: dict) -> dict:
    hashes = {f.name: _file_hash(f) for split in files for f in files[split]}
    return {"source": "parquet files", "sha256": hashes}


def _read_parquet(files: list[Path], columns: list):
    tables = []
    for file in files:
        try:
            tables.append(pyarrow.parquet.read_table(file, columns=columns))
        except (OSError, pyarrow.ArrowException) as error:
            raise UsageError(
                f"{file} is not a parquet file with columns {' and '.join(columns)} "
                f"({str(error).splitlines()[0]}): fetch it again."
            ) from None
    return pyarrow.concat_tables(tables)


def _imagenet_root(root: Path | None) -> Path:
    for folder in (root / "imagenet", root) if root else ():
        if (folder / "train").is_dir():
            return folder
    where = f"in {root}" if root else "without a data root"
    raise UsageError(
        f"No ImageNet {where}: the data root must hold imagenet/train/<class>/*.JPEG "
        "(and imagenet/val/<class>/*.JPEG), from https://image-net.org; set it by "
        "data_root, --data-root or STATIONARITY_DATA."
    )


def _pixels(data: bytes, name: str) -> np.ndarray:
    return np.asarray(decode(data, name))


def _file_hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
