"""What a run leaves on disk, and reading it back.

A run is a folder: ``run.json`` (settings, provenance, status), ``metrics.parquet`` and,
while it may still go on, its checkpoints.
"""

import contextlib
import json
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, known_name, whole_path
from .provenance import PROJECT, WITHIN, code_hash, commit, device_name, now, version
from .settings import EXPERIMENTS, Settings, checked, get

if TYPE_CHECKING:  # what takes seconds to import waits until it is needed
    import pandas as pd

METRICS = "metrics.parquet"
GO_ON = "make room, or move the runs and set STATIONARITY_RUNS, then run again: it goes on"
KEYS = {  # what run.json holds of every run
    "experiment", "scale", "settings", "fingerprint", "code", "commit", "device", "seed",
    "start", "wall_seconds", "status",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A run on disk, finished or not."""

    folder: Path
    info: dict  # what run.json holds
    name = property(lambda self: self.info["experiment"])
    scale = property(lambda self: self.info["scale"])
    label = scale  # what figures call the run
    complete = property(lambda self: self.info["status"] == "complete")
    quantities = cached_property(lambda self: dict([*self.metrics.groupby("quantity")]))

    @cached_property
    def settings(self) -> Settings:
        """The settings; :class:`UsageError` where they are of another version."""
        try:
            return checked(type(get(self.name)), self.info["settings"])
        except UsageError as error:
            said = f"The settings of {self.folder.name} are of another version of the library"
            remedy = "make the run again, or read it with that version"
            raise UsageError(f"{said}: {remedy}. {error}") from None

    @property
    def but_for_the_seed(self) -> str:
        """What runs have in common that differ in nothing but the seed."""
        shared = [self.info.get(key) for key in ("experiment", "scale", "code", "status")]
        return json.dumps([*shared, self.info["settings"] | {"seed": None}], sort_keys=True)

    @property
    def made_by_this_code(self) -> bool:
        """Whether the library code that decides results is the run's own."""
        known = EXPERIMENTS.get(self.name)
        return bool(known) and self.info["code"] == code_hash(known["classroom"].study)

    @cached_property
    def metrics(self) -> "pd.DataFrame":
        """All :mod:`~stationarity.runs.metrics`; :class:`UsageError` if they are damaged."""
        import pandas as pd

        from . import metrics

        try:
            return metrics.typed(pd.read_parquet(self.folder / METRICS))
        except (OSError, ValueError, KeyError):  # pyarrow's errors are among the second
            said = f"The metrics in {self.folder} are missing or damaged: delete run.json there"
            remedy = "and the same call writes them again, from a checkpoint if there is one"
            raise UsageError(f"{said}, {remedy}.") from None

    def series(self, quantity: str, **where) -> "pd.DataFrame":
        """Return the rows of one quantity; ``where`` gives ``of``, ``member`` or ``index``.

        None chooses those where it is empty. Raises :class:`UsageError` where there are none.
        """
        if not self.has(quantity):
            known = ", ".join(self.quantities)
            raise UsageError(f"{self.folder.name} has no {quantity!r}; it has {known}.")
        rows = self.quantities[quantity]
        for column, value in where.items():
            known_name(column, ("of", "member", "index", "step"), "column")
            value = "" if column == "of" and value is None else value
            same = rows[column].isna() if value is None else rows[column].eq(value)
            chosen = rows[same.fillna(False).astype(bool)]
            if chosen.empty:
                known = ", ".join(map(str, rows[column].dropna().unique())) or "none"
                lacks = f"{self.folder.name} has no {quantity!r} with {column} {value!r}"
                raise UsageError(f"{lacks}; it has {known}.")
            rows = chosen
        return rows.reset_index(drop=True)

    def wide(self, quantity: str, columns: str = "member", **where) -> "pd.DataFrame":
        """Return a quantity with a row a step and a column for each member (or index, of).

        Values that are of no member are left out.
        """
        rows = self.series(quantity, **where).dropna(subset=columns)
        return rows.pivot(index="step", columns=columns, values="value")

    def has(self, quantity: str) -> bool:
        """Return whether the run holds a quantity."""
        return quantity in self.quantities


def runs_root() -> Path:
    """Return the folder of runs: ``STATIONARITY_RUNS``, or ``runs`` in the project, or here."""
    usual = "runs" if PROJECT == WITHIN else PROJECT / "runs"
    return whole_path(os.environ.get("STATIONARITY_RUNS") or usual)


def new_info(name: str, scale: str, settings, fingerprint: str, device) -> dict:
    """Return what run.json holds at the start of a run. It names no path."""
    import torch

    from . import distributed

    processes = f"{distributed.size()} x " if distributed.size() > 1 else ""
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    info = {"experiment": name, "scale": scale, "settings": settings.plain()}
    info |= {"fingerprint": fingerprint, "code": code_hash(settings.study), "commit": commit()}
    info |= {"versions": versions | {"stationarity": version()}}
    info |= {"device": processes + device_name(device), "seed": settings.seed, "start": now()}
    return info | {"end": None, "wall_seconds": 0.0, "status": "running"}


def prepare(folder: Path, needed: int = 0) -> None:
    """Make a run's folder; :class:`UsageError` where so many bytes cannot be written."""
    reason = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if not os.access(folder, os.W_OK):
            reason = "it cannot be written"
        elif free < needed:
            reason = f"{free / 1e9:.2g} GB are free, {needed / 1e9:.2g} GB needed"
    except OSError as error:
        reason = error.strerror
    if reason:
        said = f"No run can be kept in {folder} ({reason})"
        raise UsageError(f"{said}: make room, or set STATIONARITY_RUNS to another folder.")


def write(folder: Path, info: dict, rows: list[tuple] | None) -> Run:
    """Write a run's metrics, if given, then its run.json; return the run."""
    from . import metrics

    if rows is not None:
        frame, how = metrics.frame(rows), {"compression": "zstd", "compression_level": 9}
        # Numbers byte by byte: half as long where they are float32 in float64.
        how["use_byte_stream_split"] = ["value", "error"]
        how["use_dictionary"] = [*metrics.COLUMNS[:6]]
        write_whole(folder / METRICS, lambda path: frame.to_parquet(path, index=False, **how))
    write_info(folder, info)
    return Run(folder, info)


def write_info(folder: Path, info: dict) -> None:
    """Write run.json, with the time of its writing as the run's end so far."""
    info["end"] = now()
    text = json.dumps(info, indent=1) + "\n"
    write_whole(folder / "run.json", lambda path: path.write_text(text, encoding="utf-8"))


def write_whole(path: Path, save: Callable, previous: Path | None = None, **how) -> None:
    """Write a file by ``save(path)`` under another name, then rename it, and an old one first.

    Raises as :func:`writing`.
    """
    partial = path.with_name(path.name + ".partial")
    with writing(path, **how):
        try:
            save(partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            if previous and path.exists():
                os.replace(path, previous)
            os.replace(partial, path)
        except (OSError, RuntimeError):
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


@contextlib.contextmanager
def writing(path: Path, remedy=f"{GO_ON} from what was written before"):
    """Raise :class:`UsageError` for a file that cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises the latter
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        said = f"{path.name} could not be written to {path.parent} ({reason})"
        raise UsageError(f"{said}: {remedy}.") from None


def read(folder: Path) -> Run | None:
    """Return the run in a folder, None where there is none.

    Raises :class:`UsageError` where run.json is damaged or lacks what every run has.
    """
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{folder}/run.json cannot be read ({error.strerror}).") from None
    except ValueError:  # of JSON or of the encoding
        said = f"{folder}/run.json is damaged: delete this file, and the same call goes on from"
        raise UsageError(f"{said} the checkpoint there; without one it starts anew.") from None
    if missing := KEYS - set(info) if isinstance(info, dict) else KEYS:
        said = f"{folder}/run.json is of another version of the library: it lacks"
        raise UsageError(f"{said} {', '.join(sorted(missing))}. Delete or move that folder.")
    return Run(folder, info)
