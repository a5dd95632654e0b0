"""What a machine has for runs and for the book: versions, device, folders and data."""

import importlib.metadata
import itertools
import os
import shutil
from pathlib import Path

import torch
from huggingface_hub import get_token

from .. import data
from ..data import parquet
from ..errors import UsageError, readable
from ..runs import provenance, records


def report(data_root: str | None) -> int:
    """Print it; return 1 where something is wrong."""
    wrong = []
    for package in ("torch", "torchvision", "datasets", "seaborn", "papermill", "jupyter-book"):
        try:
            print(f"{package:<14}{importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{package:<14}missing: only the paths that use it fail")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"device        {provenance.device_name(device)}")
    runs = records.runs_root()
    existing = next(p for p in (runs, *runs.parents) if p.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK)):
        wrong.append(f"{existing} cannot be written: set STATIONARITY_RUNS.")
    print(f"runs          {runs}, {shutil.disk_usage(existing).free / 1e9:.0f} GB free")
    try:
        root = data.root_of(data_root)
        print(f"data root     {root or 'not set: data are downloaded'}")
        for name, there in _available(root).items() if root else ():
            print(f"  {name:<14}{there}")
    except UsageError as error:
        wrong.append(error)
    token = "there" if get_token() else "missing: only a download of ImageNet needs one"
    print(f"hub token     {token}")
    for message in wrong:
        print(f"WRONG: {message}")
    return 1 if wrong else 0


def _available(root: Path) -> dict[str, str]:
    """Return what a data root holds of each dataset that is not embedded, in words."""
    held = {}
    for source in (parquet.CIFAR, parquet.TINY, parquet.IMAGENET, parquet.WIKITEXT):
        held[source.name] = "not found"
        if files := list(itertools.chain(*parquet.find(source, root).values())):
            megabytes = sum(readable(file, Path.stat).st_size for file in files) / 1e6
            there = f"{len(files)} parquet files in {files[0].parent}, {megabytes:,.0f} MB"
            held[source.name] = there
    if tree := data.imagenet_tree(root):
        held[parquet.IMAGENET.name] = f"folders of images in {tree}"
    return held
