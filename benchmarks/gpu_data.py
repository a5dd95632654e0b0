"""The part of the data that the GPU day's runs take, in the layout of a data root."""

import json
import shutil

import gpu_records
import numpy as np
import pyarrow
import pyarrow.parquet
from stationarity import data
from stationarity.data import parquet

LIMIT = 55_000_000  # bytes of all files: with the project itself they are below 64 MB
TESTS = 4_000  # images of a test part, at most
SOURCES = {
    "cifar10": parquet.CIFAR,
    "tiny-imagenet": parquet.TINY,
    "wikitext103": parquet.WIKITEXT,
}


def pack(options) -> int:
    """Write the parts that the chosen steps need; fail where they are too large."""
    root, notes, wanted = data.root_of(options.data_root), {}, {}
    if root is None:
        raise SystemExit("Name the data root of which a part is packed: --data-root ROOT.")
    for step in options.only:
        if step in gpu_records.RECORDS:
            settings = gpu_records.settings_of(step)
            wanted.setdefault(settings.dataset, settings)
    for name, settings in wanted.items():
        source = SOURCES[name]
        files, _ = parquet.parquet_files(source, root)
        place, kept = options.out / source.folders[0], []
        place.mkdir(parents=True, exist_ok=True)
        for split in source.rows:
            table = parquet.read(files[split], source.columns)
            chosen = table.take(rows_of(table, settings, split == "train"))
            path = place / f"{split}-00000-of-00001.parquet"
            if len(files[split]) == 1 and len(chosen) == len(table):
                shutil.copyfile(files[split][0], path)  # by its hash it is known for whole
            else:
                pyarrow.parquet.write_table(chosen, path, compression="zstd")
            kept.append(f"{len(chosen):,} of {len(table):,} {split} rows")
        notes[name] = f"{source.name}, {' and '.join(kept)}"
    text = json.dumps(notes, indent=1, ensure_ascii=False) + "\n"
    (options.out / gpu_records.NOTE).write_text(text, "utf-8")
    print("\n".join(notes.values()))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")
    if size > LIMIT:
        print(f"That is more than {LIMIT / 1e6:.0f} MB: pack for fewer steps, by --only.")
    return int(size > LIMIT)


def rows_of(table: pyarrow.Table, settings, train: bool) -> np.ndarray:
    """Return the rows that a run with these settings takes of the whole table.

    Of images these and one of each class that it lacks, as a data root has all classes.
    """
    if "text" in table.column_names:
        if not train or not settings.tokens:
            return np.arange(len(table))
        words = [len(line.split()) + 1 for line in table.column("text").to_pylist()]
        return np.arange(np.searchsorted(np.cumsum(words), settings.tokens) + 1)[: len(words)]
    labels = table.column("label").to_numpy()
    used = np.flatnonzero(labels < (settings.classes or len(labels)))
    many = settings.examples if train else TESTS
    chosen = used[np.random.default_rng(0).permutation(len(used))[: many or None]]
    classes, first = np.unique(labels, return_index=True)
    absent = first[~np.isin(classes, labels[chosen])]
    return np.union1d(chosen, absent)
