"""What a run leaves on disk, and reading it back.

A run is a folder: ``run.json`` (settings, provenance, status), its metrics
(``metrics.parquet``; ``metrics.csv`` in a record of the book) and, while it
may still go on, its checkpoints. Files are written whole, then renamed.
"""
import contextlib
import errno
import json
import os
import shutil
import textwrap
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch

from ..errors import UsageError
from . import distributed, metrics
from .provenance import PROJECT, code_hash, commit, device_name, now
from .settings import SCALES, Settings, checked, get, kind_of

CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")  # the newest first
# What run.json holds of every run.
KEYS = {
    "experiment", "scale", "settings", "fingerprint", "code", "commit", "device", "seed", "start",
    "wall_seconds", "status",
}  # fmt: skip

@dataclass(frozen=True)
class Run:
    """A run on disk, finished or not."""

    folder: Path
    info: dict  # what run.json holds

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.info["experiment"]

    @property
    def scale(self) -> str:
        """The scale: classroom, single-gpu, paper."""
        return self.info["scale"]

    @cached_property
    def settings(self) -> Settings:
        """The settings, of their experiment's kind.

        Raises :class:`UsageError` where they are of another version of the library.
        """
        try:
            return checked(kind_of(self.name), self.info["settings"])
        except UsageError as error:
            raise UsageError(
                f"The settings of {self.folder.name} are of another version of the library: "
                f"make the run again, or read it with that version. {error}"
            ) from None

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.info["status"] == "complete"

    @property
    def made_by_this_code(self) -> bool:
        """Whether the library code that decides results is the run's own."""
        return self.info["code"] == code_hash(kind_of(self.name).study)

    @property
    def recorded(self) -> bool:
        """Whether this is a record of the book and not a live run."""
        return results_root() in self.folder.parents

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics, one row a value: see :mod:`stationarity.runs.metrics`.

        Raises :class:`UsageError` where they cannot be read.
        """
        try:
            if (self.folder / "metrics.parquet").exists():
                found = pd.read_parquet(self.folder / "metrics.parquet")
            else:  # exact floats
                found = pd.read_csv(self.folder / "metrics.csv", engine="pyarrow")
            return metrics.typed(found)
        except (OSError, ValueError, KeyError):  # pyarrow's errors are among the second
            raise UsageError(
                f"The metrics in {self.folder} are missing or damaged: delete run.json "
                "there, and the same call writes them again, from the checkpoint if "
                "there is one."
            ) from None

    def series(self, quantity: str, **where) -> pd.DataFrame:
        """Return the rows of one quantity, in the order of the steps.

        ``where`` chooses among them by ``of``, ``member`` or ``index``. Raises
        :class:`UsageError` where the run has no such rows.
        """
        rows = self.metrics[self.metrics.quantity == quantity]
        if rows.empty:
            known = ", ".join(sorted(self.metrics.quantity.unique()))
            raise UsageError(f"{self.folder.name} has no {quantity!r}; it has {known}.")
        for column, value in where.items():
            chosen = rows[(rows[column] == value).fillna(False).astype(bool)]
            if chosen.empty:
                known = ", ".join(map(str, rows[column].dropna().unique()))
                raise UsageError(
                    f"{self.folder.name} has no {quantity!r} with {column} {value!r}; it has "
                    f"{known or 'none'}."
                )
            rows = chosen
        return rows.reset_index(drop=True)

    def wide(self, quantity: str, columns: str = "member", **where) -> pd.DataFrame:
        """Return a quantity with a row a step and a column for each member (or index, of)."""
        return self.series(quantity, **where).pivot(
            index="step", columns=columns, values="value"
        )

    def has(self, quantity: str) -> bool:
        """Return whether the run holds a quantity."""
        return bool((self.metrics.quantity == quantity).any())

    @property
    def label(self) -> str:
        """What figures call the run: no record of the book is called like a live run.

        The label of a record says where its settings are not the book's any more.
        """
        if not self.recorded:
            return self.scale
        label = f"{self.scale} {self.info['fingerprint'][:4]}"
        return f"{label}, stale" if stale(self) else label


def runs_root() -> Path:
    """Return the folder of runs: ``STATIONARITY_RUNS``, or ``runs`` in the project."""
    return Path(os.environ.get("STATIONARITY_RUNS") or PROJECT / "runs").resolve()


def results_root() -> Path:
    """Return the folder of the book's records."""
    return PROJECT / "book" / "results"


def new_info(name: str, scale: str, settings, fingerprint: str, device) -> dict:
    """Return what run.json holds at the start of a run. It names no path."""
    processes = f"{distributed.size()} x " if distributed.size() > 1 else ""
    return {
        "experiment": name, "scale": scale, "settings": settings.plain(),
        "fingerprint": fingerprint, "code": code_hash(settings.study), "commit": commit(),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "stationarity": "0.1.0",
        },
        "device": processes + device_name(device), "seed": settings.seed, "start": now(), "end": None,
        "wall_seconds": 0.0, "status": "running",
    }  # fmt: skip


def prepare(folder: Path, checkpoint_bytes: int = 0, further_bytes: int = 0) -> None:
    """Make a run's folder, and see that two checkpoints and a third in writing fit.

    ``further_bytes`` are those of what else is written. Raises :class:`UsageError` where they do not, or where nothing can be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        reason = "it cannot be written" if not os.access(folder, os.W_OK) else ""
    except OSError as error:
        free, reason = 0, error.strerror
    needed = 3 * checkpoint_bytes + further_bytes
    if not reason and free < needed:
        reason = f"{free / 1e9:.2g} GB are free, {needed / 1e9:.2g} GB needed"
    if reason:
        raise UsageError(
            f"No run can be kept in {folder} ({reason}): make room, or set "
            "STATIONARITY_RUNS to another folder."
        )


def write(folder: Path, info: dict, rows: list[tuple]) -> Run:
    """Write a run's metrics, then its run.json; return the run."""
    frame = metrics.frame(rows)
    _whole(folder / "metrics.parquet", lambda path: frame.to_parquet(path, index=False))
    write_info(folder, info)
    return Run(folder, info)


def write_info(folder: Path, info: dict) -> None:
    """Write run.json, with the time of its writing as the run's end so far."""
    info["end"] = now()
    text = json.dumps(info, indent=1) + "\n"
    _whole(folder / "run.json", lambda path: path.write_text(text))


def write_tensors(path: Path, tensors: dict) -> None:
    """Write a file of tensors, to be read by ``torch.load`` with ``weights_only``."""
    _whole(path, lambda partial: torch.save(tensors, partial))


def write_checkpoint(folder: Path, state: dict) -> None:
    """Write a checkpoint; the one before it is kept as ``checkpoint.previous.pt``."""

    def save(path):
        if (folder / "checkpoint.pt").exists():
            os.replace(folder / "checkpoint.pt", folder / "checkpoint.previous.pt")

    target = folder / "checkpoint.pt"
    _whole(target, lambda path: torch.save(state, path), before_rename=save)


def read_checkpoint(folder: Path, fingerprint=None, device="cpu") -> dict | None:
    """Return the newest checkpoint that can be read, None where there is none.

    Tensors are on the device. A damaged newest one is deleted where the previous one
    serves. Raises :class:`UsageError` where there are some and none can be read, and
    for one of a run with another ``fingerprint``.
    """
    damaged = []
    for name in CHECKPOINTS:
        try:
            found = torch.load(folder / name, map_location=device, weights_only=True)
        except FileNotFoundError:
            continue
        except torch.OutOfMemoryError:
            raise  # the file may be good
        except Exception as error:  # truncated or foreign: torch.load raises many kinds
            # Within a truncated file it looks for a place before the beginning: EINVAL.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise UsageError(f"{folder / name} cannot be read ({error.strerror}).") from None
            damaged.append(folder / name)
            continue
        # Those of earlier versions of the library have no fingerprint.
        if not isinstance(found, dict) or (
            fingerprint and found.get("fingerprint", fingerprint) != fingerprint
        ):
            raise foreign_checkpoint(folder)
        for path in damaged:
            path.unlink()
        return found
    if damaged:
        raise UsageError(
            f"No checkpoint of {folder.name} can be read: delete its folder, and the run "
            "starts anew."
        )
    return None


def foreign_checkpoint(folder: Path) -> UsageError:
    """Return the error of a checkpoint that can be read, and is of something else."""
    return UsageError(
        f"The checkpoint in {folder} is of another run, or of another version of the "
        "library: put the right one in its place, or delete that folder, and the run "
        "starts anew."
    )


def _whole(path: Path, save, before_rename=lambda path: None) -> None:
    """Write a file whole under another name, then rename it."""
    partial = path.with_name(path.name + ".partial")
    with writing(path):
        try:
            save(partial)
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            before_rename(path)
            os.replace(partial, path)
        except (OSError, RuntimeError):
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


@contextlib.contextmanager
def writing(path: Path):
    """Raise :class:`UsageError` for a file that cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save raises the latter
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise UsageError(
            f"{path.name} could not be written to {path.parent} ({reason}): make room, "
            "or move the runs and set STATIONARITY_RUNS, then run again; what was "
            "written before is intact and the run goes on from it."
        ) from None


def read(folder: Path) -> Run | None:
    """Return the run in a folder, None where there is none.

    Raises :class:`UsageError` where run.json is damaged or lacks what every run has.
    """
    try:
        info = json.loads((folder / "run.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{folder}/run.json cannot be read ({error.strerror}).") from None
    except ValueError:  # of JSON or of the encoding
        raise UsageError(
            f"{folder}/run.json is damaged: delete this file, and the same call goes on "
            "from the checkpoint there; without one it starts anew."
        ) from None
    missing = KEYS - set(info) if isinstance(info, dict) else KEYS
    if not missing and not isinstance(info["settings"], dict):
        missing = {"settings"}
    if missing:
        raise UsageError(
            f"{folder}/run.json is of another version of the library: it lacks "
            f"{', '.join(sorted(missing))}. Delete or move that folder."
        )
    return Run(folder, info)


def recorded(name: str) -> list[Run]:
    """Return the book's records of an experiment, by scale.

    One that cannot be read is left out, with a warning.
    """
    found = []
    for path in sorted((results_root() / name).glob("*/run.json")):
        try:
            found.append(read(path.parent))
        except UsageError as error:
            warnings.warn(f"A record is left out. {error}", stacklevel=2)
    return sorted(found, key=by_scale)


def by_scale(run: Run) -> tuple:
    """Return the key that sorts runs by scale, then by folder."""
    return SCALES.index(run.scale) if run.scale in SCALES else len(SCALES), run.folder


def stale(run: Run) -> dict[str, tuple]:
    """Return the settings in which a run differs from its experiment as the book has it.

    Setting -> (the run's, the book's); the seed does not count, and a setting
    that is younger than the run has its default there. What one of the two does
    not know is ``None``; the name ``scale`` stands for an experiment or a scale
    that the book no longer has.
    """
    try:
        settings = get(run.name, run.scale)
    except UsageError:
        return {"scale": (f"{run.name} {run.scale}", None)}
    now, fields = settings.plain(), type(settings).model_fields
    young = {key: now[key] for key in now if not fields[key].is_required()}
    young |= {key: fields[key].get_default() for key in young}
    mine = json.loads(json.dumps(young)) | run.info["settings"]
    return {
        key: (mine.get(key), now.get(key))
        for key in (*now, *(key for key in mine if key not in now))
        if key != "seed" and mine.get(key) != now.get(key)
    }


def stale_note(run: Run) -> str:
    """Return the sentence that flags a record of other settings, else an empty text."""
    differing = stale(run) if run.recorded else {}
    if not differing:
        return ""

    def shown(value):
        return "absent" if value is None else textwrap.shorten(str(value), 40)

    said = "; ".join(f"{k}: {shown(a)}, now {shown(b)}" for k, (a, b) in differing.items())
    return f"Recorded with settings that the book no longer has ({said})."


def record(run: Run, note: str | None = None) -> Path:
    """Copy a complete run's settings, metrics and provenance into the book.

    ``note`` says what the settings do not, such as a peculiarity of the data.
    Raises :class:`UsageError` for a run that is not complete.
    """
    if not run.complete:
        raise UsageError(
            f"{run.folder.name} is {run.info['status']}, and only a complete run is "
            f"recorded: stationarity run {run.name} --scale {run.scale} ends it."
        )
    target = results_root() / run.name / run.folder.name
    target.mkdir(parents=True, exist_ok=True)
    rows = run.metrics.to_csv(index=False)
    _whole(target / "metrics.csv", lambda path: path.write_text(rows))
    text = json.dumps(run.info | ({"note": note} if note else {}), indent=1) + "\n"
    _whole(target / "run.json", lambda path: path.write_text(text))
    return target


def beside(run: Run) -> list[Run]:
    """Return a run followed by the book's other records of its experiment."""
    others = [r for r in recorded(run.name) if r.info["fingerprint"] != run.info["fingerprint"]]
    return [run, *others]


def provenance(runs: list[Run]) -> pd.DataFrame:
    """Return a table of where runs come from: data, hardware, date, time, code.

    Its last column flags the records whose settings the book no longer has.
    """
    rows = [
        {
            "run": run.label,
            "kind": "recorded" if run.recorded else "live",
            "data": run.info.get("note") or run.info["settings"].get("dataset"),
            "hardware": run.info["device"],
            "date": run.info["start"][:10],
            "minutes": round(run.info["wall_seconds"] / 60, 1),
            "code": _code(run),
            "settings": stale_note(run) or "of this book",
        }
        for run in runs
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("run")


def origin(run: Run) -> str:
    """Return where a run comes from, as a line of text."""
    data = run.info.get("note") or run.info["settings"].get("dataset")
    parts = [
        "Recorded run" if run.recorded else "Live run", data, run.info["device"],
        run.info["start"][:10], f"{run.info['wall_seconds'] / 60:.1f} minutes",
        f"code: {_code(run)}",
    ]  # fmt: skip
    return "; ".join(part for part in parts if part) + "."


def _code(run: Run) -> str:
    if run.made_by_this_code:
        return "this"
    return f"commit {(run.info['commit'] or '?')[:8]}"


def reference(name: str) -> pd.DataFrame:
    """Return a table of the papers' own numbers, from ``book/reference``."""
    return pd.read_csv(PROJECT / "book" / "reference" / f"{name}.csv")
