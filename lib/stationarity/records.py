"""What a run leaves on disk, and reading it back.

A run is a folder: ``run.json`` (settings, provenance, status), its metrics
(``metrics.parquet``; ``metrics.csv`` in a record of the book) and, while it
may still go on, its checkpoints. Files are written whole, then renamed.
"""
import ast
import contextlib
import datetime
import errno
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import textwrap
import tokenize
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pandas as pd
import torch

from . import data, distributed, experiments
from .errors import UsageError

PROJECT = Path(__file__).resolve().parents[2]
COLUMNS = ["step", "epoch", "quantity", "value", "error"]
CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")  # the newest first
# What run.json holds of every run.
KEYS = {
    "experiment", "scale", "settings", "fingerprint", "code", "commit", "device", "seed", "start",
    "wall_seconds", "status",
}  # fmt: skip
# All other modules of the library decide what a run's numbers are. What the
# settings say stands in the fingerprint.
NOT_DECIDING = (
    "__init__", "__main__", "agreement", "budget", "checkpoints", "claims", "costs", "criteria",
    "ergodic", "errors", "experiments", "figures", "invariance", "judging", "page", "parameters",
    "progress", "quantities", "records", "regimes", "travel", "work",
    "__init__", "__main__", "budget", "checkpoints", "claims", "costs", "criteria", "ergodic",
    "errors", "experiments", "figures", "invariance", "judging", "laws", "page", "parameters",
    "progress", "quantities", "records", "regimes", "work",
)  # fmt: skip


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

    @property
    def settings(self) -> dict:
        """The settings as plain values. One that the run lacks raises :class:`UsageError`."""
        return _Settings(self.folder.name, self.info["settings"])

    @property
    def complete(self) -> bool:
        """Whether the run came to its end."""
        return self.info["status"] == "complete"

    @property
    def made_by_this_code(self) -> bool:
        """Whether the library code that decides results is the run's own."""
        return self.info["code"] == code_hash()

    @property
    def recorded(self) -> bool:
        """Whether this is a record of the book and not a live run."""
        return results_root() in self.folder.parents

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """All metrics, one row a value: step, epoch, quantity, value, error.

        Raises :class:`UsageError` where they cannot be read.
        """
        try:
            if (self.folder / "metrics.parquet").exists():
                found = pd.read_parquet(self.folder / "metrics.parquet")
            else:  # exact floats
                found = pd.read_csv(self.folder / "metrics.csv", engine="pyarrow")
            return found[COLUMNS]
        except (OSError, ValueError, KeyError):  # pyarrow's errors are among the second
            raise UsageError(
                f"The metrics in {self.folder} are missing or damaged: delete run.json "
                "there, and the same call writes them again, from the checkpoint if "
                "there is one."
            ) from None

    def series(self, quantity: str) -> pd.DataFrame:
        """Return the rows of one quantity, in the order of the steps.

        Raises :class:`UsageError` where the run has no such quantity.
        """
        rows = self.metrics[self.metrics.quantity == quantity]
        if rows.empty:
            known = ", ".join(sorted(self.metrics.quantity.unique()))
            raise UsageError(f"{self.folder.name} has no {quantity!r}; it has {known}.")
        return rows.reset_index(drop=True)

    @property
    def label(self) -> str:
        """What figures call the run: no record of the book is called like a live run.

        The label of a record says where its settings are not the book's any more.
        """
        if not self.recorded:
            return self.scale
        label = f"{self.scale} {self.info['fingerprint'][:4]}"
        return f"{label}, stale" if stale(self) else label


class _Settings(dict):
    """Settings as plain values; a missing one is told in a sentence."""

    def __init__(self, run: str, values: dict):
        super().__init__(values)
        self.run = run

    def __missing__(self, key):
        raise UsageError(_foreign(f"the settings of {self.run}", [key]))


def _foreign(what: str, missing) -> str:
    return (
        f"{what[0].upper()}{what[1:]} lack {', '.join(missing)}: another version of the "
        "library wrote them; make the run again, or read it with that version."
    )


def runs_root() -> Path:
    """Return the folder of runs: ``STATIONARITY_RUNS``, or ``runs`` in the project."""
    return Path(os.environ.get("STATIONARITY_RUNS") or PROJECT / "runs").resolve()


def results_root() -> Path:
    """Return the folder of the book's records."""
    return PROJECT / "book" / "results"


def folder_of(name: str, scale: str, settings) -> Path:
    """Return the folder of the run with these settings."""
    return runs_root() / name / f"{scale}-{fingerprint(settings)}"


def fingerprint(settings) -> str:
    """Return 12 hex digits of the settings and of the embedded data they use."""
    embedded = data.embedded_hash(getattr(settings, "dataset", None))
    content = [experiments.distinctive(settings), embedded]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


@cache
def code_hash() -> str:
    """Return a hash of the library code that decides results.

    Comments, docstrings and blank lines do not count.
    """
    digest = hashlib.sha256()
    library = Path(__file__).parent
    for path in sorted(library.rglob("*.py")):
        name = path.relative_to(library).with_suffix("")
        if name.parts[0] not in NOT_DECIDING:
            digest.update(f"{name.as_posix()}\n{_bare(path.read_text())}".encode())
    return digest.hexdigest()[:12]


def _bare(source: str) -> str:
    """Return Python source without comments, docstrings and blank lines."""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def new_info(name: str, scale: str, settings, device) -> dict:
    """Return what run.json holds at the start of a run. It names no path."""
    processes = f"{distributed.size()} x " if distributed.size() > 1 else ""
    return {
        "experiment": name, "scale": scale, "settings": experiments.to_dict(settings),
        "fingerprint": fingerprint(settings), "code": code_hash(), "commit": _commit(),
        "versions": {
            "python": platform.python_version(), "torch": torch.__version__,
            "stationarity": "0.1.0",
        },
        "device": processes + device_name(device), "seed": settings.seed, "start": _now(), "end": None,
        "wall_seconds": 0.0, "status": "running",
    }  # fmt: skip


def device_name(device) -> str:
    """Return the name of a device, such as ``NVIDIA H200`` or ``CPU (arm64), 8 threads``."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    count = torch.get_num_threads()
    return f"{device.type.upper()} ({model}), {count} thread{'s' if count > 1 else ''}"


def _commit() -> str | None:
    """Return the commit: ``STATIONARITY_COMMIT``, or what git says of the project."""
    if os.environ.get("STATIONARITY_COMMIT"):
        return os.environ["STATIONARITY_COMMIT"]
    try:
        command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


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
    frame = pd.DataFrame(rows, columns=COLUMNS).astype({"value": float, "error": float})
    _whole(folder / "metrics.parquet", lambda path: frame.to_parquet(path, index=False))
    write_info(folder, info)
    return Run(folder, info)


def write_info(folder: Path, info: dict) -> None:
    """Write run.json, with the time of its writing as the run's end so far."""
    info["end"] = _now()
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
    scales = experiments.SCALES
    return scales.index(run.scale) if run.scale in scales else len(scales), run.folder


def stale(run: Run) -> dict[str, tuple]:
    """Return the settings in which a run differs from its experiment as the book has it.

    Setting -> (the run's, the book's); the seed does not count, and a setting
    that is younger than the run has its default there. What one of the two does
    not know is ``None``; the name ``scale`` stands for an experiment or a scale
    that the book no longer has.
    """
    try:
        now = _plain(experiments.to_dict(experiments.get(run.name, run.scale)))
    except UsageError:
        return {"scale": (f"{run.name} {run.scale}", None)}
    mine = _plain(run.info["settings"])
    if mine.get("kind") == now["kind"]:
        mine = experiments.defaults(now["kind"]) | mine
    return {
        key: (mine.get(key), now.get(key))
        for key in (*now, *(key for key in mine if key not in now))
        if key != "seed" and mine.get(key) != now.get(key)
    }


def _plain(values: dict) -> dict:
    return json.loads(json.dumps(values))  # tuples inside become lists, as on disk


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
            "data": run.info.get("note") or run.settings.get("dataset"),
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
    data = run.info.get("note") or run.settings.get("dataset")
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
