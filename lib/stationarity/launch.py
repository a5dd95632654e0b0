"""Start a run, go on with it, or load it: one verb for all experiments."""

import contextlib
import importlib
import re
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import filelock

from .data import embedded_hash
from .errors import UsageError
from .runs import distributed, records
from .runs.checkpoints import CHECKPOINTS, Keeper, Place
from .runs.devices import start_processes, threads, usable_device
from .runs.settings import Settings, get

CHECKPOINT_SECONDS = 30.0  # from one to the next, at least; 0: one after every step
KEPT = "start", "wall_seconds", "cpu_seconds", "commit", "code", "data", "processes"  # resumed


def run(
    name: str,
    scale: str = "classroom",
    *,
    settings: Settings | dict | None = None,
    seed: int | None = None,
    data_root: str | Path | None = None,
    device: str | None = None,
    devices: int = 1,
    other_code: bool = False,
) -> records.Run:
    """Return the run of an experiment, made now, continued or loaded.

    An interrupted run ends with the metrics it would have had. A ``classroom`` run that
    other library code made is repeated. A longer one is kept and flagged, and goes on only
    with ``other_code=True``.

    Parameters
    ----------
    name, scale : the experiment and its scale: ``stationarity list`` shows them.
    settings : all settings, or a dictionary of those that differ; strings are cast.
    seed : override of the setting ``seed``.
    data_root : folder of the data; else ``STATIONARITY_DATA``, else a download.
    device : ``cpu``, ``cuda``, ...; by default a GPU where there is one.
    devices : GPUs (or, of a CPU, processes) that a training run shares its batches
        among, by ``torchrun``; any other experiment takes one.

    Raises :class:`UsageError` for bad input, before any long work.
    """
    whole = isinstance(settings, Settings)
    usual = get(name, scale, None if whole else settings)
    if whole and type(settings) is not type(usual):
        said = f"The settings given are of {type(settings).__name__}, and those of {name} of"
        raise UsageError(f"{said} {type(usual).__name__}: begin with get({name!r}, {scale!r}).")
    chosen = settings if whole else usual
    chosen = chosen if seed is None else chosen.but(seed=seed)
    device, folder = usable_device(device, devices), folder_of(name, scale, chosen)
    if not chosen.shares_its_work:
        devices = 1
        if distributed.started() > 1:
            raise UsageError(f"{name} is not shared among processes: run it without torchrun.")
    with distributed.joined(), _alone(folder):
        earlier = _earlier(folder, scale, other_code)
        if earlier and earlier.complete:
            return earlier
        if earlier and earlier.info["status"] == "diverged":
            raise UsageError(earlier.info["failure"])
        if devices == 1:
            with _explained(folder, device), threads(chosen.threads):
                info = records.new_info(name, scale, chosen, fingerprint(chosen), device)
                if earlier:
                    info |= {key: earlier.info[key] for key in KEPT if key in earlier.info}
                records.prepare(folder)
                keeper = Keeper(folder, info, CHECKPOINT_SECONDS, device)
                rows = study_of(chosen)(chosen, Place(data_root, device, keeper))
                return keeper.finish(rows)
    start_processes(devices, name, scale, chosen, data_root, device, other_code)
    return records.read(folder)


def study_of(settings: Settings) -> Callable:
    """Return the function ``(settings, place) -> rows`` that computes a run's metrics."""
    module, function = settings.study.split(":")
    return getattr(importlib.import_module(f"stationarity.{module}"), function)


def fingerprint(settings: Settings) -> str:
    """Return 12 hex digits of the settings and of the embedded data they use."""
    return settings.fingerprint(embedded_hash(getattr(settings, "dataset", None)))


def folder_of(name: str, scale: str, settings: Settings) -> Path:
    """Return the folder of the run with these settings."""
    return records.runs_root() / name / f"{scale}-{fingerprint(settings)}"


@contextlib.contextmanager
def _alone(folder: Path):
    """Hold the lock of a run in its first process; wait while another run has it."""
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    # Where no lock can be had, what prepares the folder says why, or none is known.
    with contextlib.suppress(OSError):
        if distributed.rank() == 0:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                said = f"{folder.name} is running in another process"
                if distributed.size() > 1:
                    raise UsageError(f"{said}: wait for its end and call this again.") from None
                sys.stderr.write(f"{said}: waiting for its end.\n")
                lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _earlier(folder: Path, scale: str, other_code: bool) -> records.Run | None:
    """Return what all processes find of a run; remove a short one that other code made."""
    first = records.read(folder) if distributed.rank() == 0 else None
    if first and not first.made_by_this_code:
        if scale == "classroom":
            discarded = folder.with_name(folder.name + ".discarded")
            shutil.rmtree(discarded, ignore_errors=True)
            folder.rename(discarded)  # at once: an interrupted removal leaves no half run
            shutil.rmtree(discarded)
        elif first.complete:
            warnings.warn(f"{folder.name} was made by other library code.", stacklevel=3)
        elif not other_code:
            said = f"{folder.name} was begun by other library code: go on with it by"
            raise UsageError(f"{said} --other-code (other_code=True), or delete its folder.")
    distributed.wait()
    earlier = records.read(folder)
    distributed.wait()  # before the first one writes
    return earlier


@contextlib.contextmanager
def _explained(folder: Path, device: str):
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nInterrupted. {_way_on(folder)}\n")
        raise
    except (RuntimeError, MemoryError, ValueError) as error:
        # PyTorch has no one error for it.
        words = "out of memory|can't allocate memory|not enough memory|ALLOC_FAILED"
        words += "|size calculation overflowed|array is too big|allowed dimension exceeded"
        if not (isinstance(error, MemoryError) or re.search(words, str(error))):
            raise
        told = f"The memory of {device} does not suffice: lower batch_size or another size,"
        told += f" for another run, or give this one more memory or devices. {_way_on(folder)}"
        raise UsageError(told) from None


def _way_on(folder: Path) -> str:
    if not (newest := folder / CHECKPOINTS[0]).exists():
        return f"No checkpoint of {folder.name} was due yet: the same call starts anew."
    age = f"{time.time() - newest.stat().st_mtime:.0f} seconds ago"
    return f"The same call goes on with {folder.name} from its last checkpoint, of {age}."
