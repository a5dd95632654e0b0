"""Parquet files of what is not embedded: below a data root, or downloaded.

Every file is known by its SHA-256, which is computed once and remembered as long as the
file's size and time of change stay as they are. A download is compared with the hub's own
SHA-256 and number of rows.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from ..errors import UsageError, from_home, readable, whole_path

ONLINE = "go online and call again, which fetches what is missing"
LARGE = 1e9  # bytes; to hash more takes seconds, and is announced
OF = r"(?<![^\W\d_])(?i:of)[\W_]*"
# A part's name: what all of a set begin with, its number, their count, and how all of them
# end but for a hash, which the hub adds; where none says a count, its number or letter alone.
COUNTED = re.compile(
    rf"(?!.*{OF}\d.*{OF}\d)([\w.-]*?)(\d+)([\W_]*(?:(?i:out)[\W_]*)?{OF})(\d+)"
    r"([\w.-]*?)(?:[0-9a-f]{16})?"
)
PLAIN = re.compile(r"([\w.-]*?)(\d+|(?<=[_.-])[a-zA-Z])()()()")


@dataclass(frozen=True)
class Source:
    """A dataset of the Hugging Face hub, as parquet files ``<split>-*.parquet``.

    Files of a split ``valid`` may also be called ``validation-*.parquet``.
    """

    name: str
    hub: str  # the repository
    inside: str  # its folder with the files
    columns: tuple[str, ...]
    rows: dict[str, int]  # of each split that is used
    folders: tuple[str, ...]  # where the files are looked for below a data root
    classes: int = 0  # of small images
    size: int = 0  # of small images, a side in pixels
    page = property(lambda self: f"https://huggingface.co/datasets/{self.hub}")


CIFAR = Source(
    "CIFAR-10", "uoft-cs/cifar10", "plain_text", ("img", "label"),
    {"train": 50_000, "test": 10_000}, ("cifar10",), 10, 32,
)  # fmt: skip
TINY = Source(
    "Tiny ImageNet", "zh-plus/tiny-imagenet", "data", ("image", "label"),
    {"train": 100_000, "valid": 10_000}, ("tiny-imagenet", "tiny-imagenet/data"), 200, 64,
)  # fmt: skip
WIKITEXT = Source(
    "WikiText-103", "Salesforce/wikitext", "wikitext-103-v1", ("text",),
    {"train": 1_801_350, "validation": 3_760}, ("wikitext-103", "wikitext-103-heldout"),
)  # fmt: skip
IMAGENET = Source(
    "ImageNet", "ILSVRC/imagenet-1k", "data", ("image", "label"),
    {"train": 1_281_167, "validation": 50_000},
    ("imagenet", "imagenet/data", "imagenet-1k", "imagenet-1k/data"),
)  # fmt: skip


def parquet_files(source: Source, root: Path | None, optional: str = "") -> tuple[dict, dict]:
    """Return the files of each split, below the root or downloaded, and their provenance.

    Raises :class:`UsageError` where a split is missing that is not optional, where a file is
    a copy of another, where the hub refuses, and where a download is damaged.
    """
    if root is None:
        files, provenance = _download(source), {"source": f"Hugging Face hub, {source.hub}"}
        provenance["checked"] = "SHA-256 against the hub's, number of rows"
    else:
        files, provenance = find(source, root), {"source": "parquet files"}
    for split in source.rows:
        if split not in files and not (files and split == optional):
            tree = "a tree imagenet/train/<class>/*.JPEG or " if optional else ""
            columns = " and ".join(source.columns)
            said = f"No {source.name} in {root}: put {tree}{split}-*.parquet (columns {columns}"
            said += f", from {source.page}) there or into its folder {source.folders[0]}"
            raise UsageError(f"{said}, or set no data root, and it is downloaded.")
    hashes = sha256([*itertools.chain(*files.values())])
    by_name = {file.name: digest for file, digest in hashes.items()}
    latest = {digest: file for file, digest in hashes.items()}
    for file, digest in hashes.items():
        if (copy := latest[digest]) != file:
            said = f"{copy} is a copy of {file.name} beside it, and its rows would count twice"
            raise UsageError(f"{said}: keep one of them.")
    if len(by_name) > 16:  # ImageNet has hundreds: the hash of their hashes
        lines = "\n".join(f"{name} {digest}" for name, digest in sorted(by_name.items()))
        digest = hashlib.sha256(lines.encode()).hexdigest()
        by_name = {f"names and SHA-256 of {len(by_name)} files": digest}
    return files, provenance | {"sha256": by_name}


def find(source: Source, root: Path) -> dict[str, list[Path]]:
    """Return the files of the splits that lie below the root.

    Raises :class:`UsageError` where the files of a split are not one set by their names: one
    file, all files such as ``-00000-of-00002``, or files with a number or a letter each.
    """
    for folder in (*(whole_path(root / part) for part in source.folders), root):
        names = {split: "valid*" if split == "valid" else split for split in source.rows}
        parts = {s: sorted(folder.glob(f"{name}-*.parquet")) for s, name in names.items()}
        if any(parts.values()):
            return {s: _whole(files, source) for s, files in parts.items() if files}
    return {}


def _whole(files: list[Path], source: Source) -> list[Path]:
    counted = any(re.search(rf"{OF}\d", file.stem) for file in files)
    if len(files) == 1 and not counted:
        return files  # a split in one file may have any name
    pattern, numbers = COUNTED if counted else PLAIN, []
    parts = [pattern.fullmatch(file.stem) for file in files]
    for k, part in enumerate(parts):
        alike = part and part.group(1, 3, 4, 5) == parts[0].group(1, 3, 4, 5)
        number = int(part[2], 36 if part[2].isalpha() else 10) if alike else 0
        count = int(part[4]) if alike and part[4] else sys.maxsize
        numbers.append(number)
        if not alike or numbers.count(number) > 1 or number + (0 in numbers) > count:
            beside = f" with {files[k - 1].name} beside it" if len(files) > 1 else ""
            said = f"{files[k]} is by its name no part of one set{beside}: keep the files of"
            remedy = "one copy or revision, and number them as in -00000-of-00002.parquet"
            raise UsageError(f"{said} {remedy}.")
    head, digits, of, last, _ = parts[0].groups()
    count = int(last or max(numbers) - min(numbers) + 1)
    first = int(count in numbers or digits[0] != "0") if last else min(numbers)
    for number in range(first, first + count):
        if number not in numbers:
            near = chr(number + 87) if digits.isalpha() else f"{number:0{len(digits)}}"
            lacking = f"{head}{near}{of}{last}*.parquet in {files[0].parent}"
            whole = "" if last else "; where it is whole, number them as in -00000-of-00002"
            remedy = f"get all its files from {source.page}; where they come from the hub"
            raise UsageError(f"{source.name} lacks {lacking}: {remedy}, {ONLINE}{whole}.")
    return files


def read(files: list[Path], columns: tuple[str, ...]) -> pyarrow.Table:
    """Return columns of parquet files as one table in memory; UsageError if damaged."""
    tables = []
    for file in files:
        try:
            table = pyarrow.parquet.read_table(file, columns=list(columns))
            held = [cells(table.column(name), name) for name in columns]
        except (OSError, pyarrow.ArrowException) as error:
            said = f"{file} is not a parquet file of whole columns {' and '.join(columns)}"
            raise UsageError(f"{said} ({first_line(error)}): fetch it again.") from None
        tables.append(pyarrow.table(held, list(columns)))
    return pyarrow.concat_tables(tables, promote_options="permissive")


def cells(column: pyarrow.ChunkedArray, name: str) -> pyarrow.ChunkedArray:
    """Return a column with its labels as int64; ``ArrowException`` where a cell is no value."""
    if name == "label":
        kind = getattr(column.type, "value_type", column.type)  # also of categories
        if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
            raise pyarrow.ArrowInvalid(f"its labels are no numbers, but {column.type}")
        column = column.cast(pyarrow.int64())
    image = len(column) and name not in ("label", "text")
    held = pyarrow.compute.struct_field(column, "bytes") if image else column
    if (there := len(held) - held.null_count) < max(len(held), 1):
        raise pyarrow.ArrowInvalid(f"{there} of its {len(held)} rows hold {name}")
    return column


def memory_mapped(source: Source, files: dict[str, list[Path]]):
    """Return each split in the cache, a ``datasets.Dataset``; UsageError if it cannot be."""
    import datasets  # takes a second to import

    for paths in files.values():
        read(paths, ("label",))  # which names a file that is damaged or empty
    files = {split: [str(file) for file in paths] for split, paths in files.items()}
    try:
        return datasets.load_dataset("parquet", data_files=files, columns=list(source.columns))
    except Exception as error:  # whatever it raises for damage, or for a full disk
        reason, cache = first_line(error.__cause__ or error), datasets.config.HF_DATASETS_CACHE
        said = f"{source.name}'s parquet files cannot be laid out for random access in {cache}"
        remedy = "fetch a damaged file again, or set HF_DATASETS_CACHE to a disk with more room"
        raise UsageError(f"{said} ({reason}): {remedy}.") from error


def _download(source: Source) -> dict[str, list[Path]]:
    from huggingface_hub import snapshot_download

    patterns = [f"{source.inside}/{split}-*.parquet" for split in source.rows]
    try:
        snapshot = snapshot_download(source.hub, repo_type="dataset", allow_patterns=patterns)
    except Exception as error:  # its HTTP client's errors have no common type
        raise UsageError(_why_not(source, error)) from error
    files = find(source, Path(snapshot) / source.inside)
    # In the hub's cache a file is a link to a blob, whose name is the hub's SHA-256.
    hashes = sha256([*itertools.chain(*files.values())]).items()
    damaged = [file for file, digest in hashes if digest != file.resolve().name]
    for file in damaged:
        file.resolve().unlink()
        file.unlink()
    if damaged:
        said = f"{damaged[0].name} of {source.name} was damaged in the download, and is deleted"
        raise UsageError(f"{said}: the same call fetches it again.")
    for split, expected in source.rows.items():
        rows = sum(pyarrow.parquet.read_metadata(f).num_rows for f in files.get(split, ()))
        if not rows:
            raise UsageError(f"The {split} part of {source.name} is missing: {ONLINE}.")
        if rows != expected:
            said = f"{source.name} of the hub has {rows} rows in its {split} part, not"
            remedy = f"put the files of an earlier revision of {source.page} under a data root"
            raise UsageError(f"{said} {expected}: {remedy}.")
    return files


def _why_not(source: Source, error: Exception) -> str:
    from huggingface_hub import errors, get_token

    status = getattr(getattr(error, "response", None), "status_code", None)
    if not isinstance(error, errors.GatedRepoError) and status not in (401, 403):
        said = f"{source.name} could not be downloaded ({first_line(error)}): {ONLINE}"
        return f"{said}, or put its files under a data root."
    if get_token() is None:
        said = f"{source.name} is a gated dataset, and there is no token of the hub here"
        remedy = f"accept its terms at {source.page}, then `hf auth login` or set HF_TOKEN"
        return f"{said}: {remedy}."
    said = f"The Hugging Face hub refuses {source.name} to this token: accept the terms at"
    return f"{said} {source.page} with its account, and let it read gated repositories."


def sha256(files: list[Path]) -> dict[Path, str]:
    """Return the SHA-256 of each file; that of an unchanged one is remembered."""
    cache = from_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    memory, known = cache / "stationarity" / "sha256.json", {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(memory.read_text(encoding="utf-8"))
    states = {file: readable(file, Path.stat) for file in files}
    keys = {f: f"{f.resolve()} {s.st_size} {s.st_mtime_ns}" for f, s in states.items()}
    new = [file for file in files if keys[file] not in known]
    if (size := sum(states[file].st_size for file in new)) > LARGE:
        sys.stderr.write(f"Hashing {size / 1e9:.0f} GB in {len(new)} files, once.\n")
    with ThreadPoolExecutor() as pool:
        hashes = pool.map(lambda file: readable(file, _hash), new)
        known |= zip((keys[file] for file in new), hashes)
    if new:
        with contextlib.suppress(OSError):  # then they are hashed again next time
            memory.parent.mkdir(parents=True, exist_ok=True)
            whole = memory.with_suffix(f".{os.getpid()}")
            whole.write_text(json.dumps(known, indent=1), encoding="utf-8")
            whole.replace(memory)
    return {file: known[keys[file]] for file in files}


def _hash(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
