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
TESTS = 1_000  # images of a test part, at most
SOURCES = {
    "cifar10": parquet.CIFAR,
    "tiny-imagenet": parquet.TINY,
    "wikitext103": parquet.WIKITEXT,
}


def pack(options) -> int:
    """Write the parts that the chosen steps need; fail where they are too large.

    What an earlier call wrote there stays, so each dataset can have a note of its own.
    """
    root, wanted = data.root_of(options.data_root), {}
    if root is None:
        raise SystemExit("Name the data root of which a part is packed: --data-root ROOT.")
    for step in gpu_records.RECORDS:
        if step in options.only:
            settings = gpu_records.settings_of(step)
            wanted.setdefault(settings.dataset, settings)
    found = {name: parquet.parquet_files(SOURCES[name], root)[0] for name in wanted}
    for name, files in found.items():
        known_or_noted(SOURCES[name], files, options.note)
    written = options.out / gpu_records.NOTE
    notes = json.loads(written.read_text("utf-8")) if written.exists() else {}
    for name, settings in wanted.items():
        source, files = SOURCES[name], found[name]
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
        said = f"{source.name}, {' and '.join(kept)}"
        notes[name] = "; ".join(filter(None, [said, options.note]))
    text = json.dumps(notes, indent=1, ensure_ascii=False) + "\n"
    written.write_text(text, "utf-8")
    print("\n".join(notes.values()))
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB in {options.out}")
    if size > LIMIT:
        print(f"That is more than {LIMIT / 1e6:.0f} MB: pack for fewer steps, by --only.")
    return int(size > LIMIT)


def known_or_noted(source: parquet.Source, files: dict, note: str | None) -> None:
    """End where files are by their rows not the hub's, and no note says what they are."""
    for split, rows in source.rows.items():
        here = sum(pyarrow.parquet.read_metadata(file).num_rows for file in files[split])
        if here != rows and not note:
            said = f"{source.name}'s {split} part has {here:,} rows here, at the hub {rows:,}"
            how = "pack it in a call of its own, with --only, and say by --note what it is"
            raise SystemExit(f"{said}: {how}.")


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
    used = np.flatnonzero(labels < (getattr(settings, "classes", 0) or len(labels)))
    many = settings.examples if train else TESTS
    chosen = used[np.random.default_rng(0).permutation(len(used))[: many or None]]
    classes, first = np.unique(labels, return_index=True)
    absent = first[~np.isin(classes, labels[chosen])]
    return np.union1d(chosen, absent)
