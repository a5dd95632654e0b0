"""Checkpoints: a study begins at the state that was kept, and keeps its own after a step::

state = keeper.begin(step=0, theta=initial)
while state.step < last:
    state.theta = next_weights(state.theta)
    state.step += 1
    keeper.keep(state)
"""

import errno
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import torch
from torch import Tensor

from ..errors import UsageError
from . import distributed, records
from .progress import Progress
from .tables import Table

CHECKPOINTS = ("checkpoint.pt", "checkpoint.previous.pt")  # the newest first
SHARE = 100  # writing takes at most a hundredth of the time


class Kept(SimpleNamespace):
    """What changes in a loop, by name."""

    def state_dict(self) -> dict:
        return dict(vars(self))

    def load_state_dict(self, kept: dict) -> None:
        if _kinds(kept) != _kinds(vars(self)):
            raise ValueError("this is another loop's")
        for name, own in vars(self).items():
            value = kept[name].to(own.device) if isinstance(own, Tensor) else kept[name]
            setattr(self, name, value)


class Keeper:
    """Keeps a run's finished parts, and the state of the one in hand.

    The state, by ``state_dict`` and ``load_state_dict``, is of tensors, numbers, strings, and
    lists, tuples and dicts of these. Without a folder nothing is kept; of several processes
    the first writes. Checkpoints are due ``seconds`` after the last one, or later where writing
    takes long. Raises :class:`UsageError` for one that cannot be read or is of something else.
    """

    def __init__(self, folder: Path | None = None, info=None, seconds=math.inf, device="cpu"):
        self.folder, self.seconds, self.device = folder, seconds, device
        self.info = info or {"experiment": "a run", "scale": "", "wall_seconds": 0.0}
        self.counted, self.spent = time.monotonic(), time.process_time()
        self.next = self.counted + seconds
        self.tables, self.bar, self.stays = [], None, False
        self.parts, self.state, self.steps = {}, None, 0
        if folder and (kept := read_checkpoint(folder, info["fingerprint"], device)):
            if not {"parts", "state", "steps"} <= set(kept):
                raise foreign_checkpoint(folder)
            self.parts, self.state, self.steps = kept["parts"], kept["state"], kept["steps"]

    def due(self) -> bool:
        """Return whether it is time to write a checkpoint; all processes ask together."""
        return bool(distributed.of_first(time.monotonic() >= self.next, self.device))

    def part(self, name: str, compute: Callable):
        """Return ``compute()``, or what it returned in an earlier process: do not change it.

        Parts come in the same order each time, and none within another.
        """
        if name not in self.parts:
            self.parts[name] = compute()
            self.state = None
            if self.due():
                self._write()
        return self.parts[name]

    def begin(self, **initial) -> Kept:
        """Return the state of the part in hand as it was kept, or ``initial``."""
        state = Kept(**initial)
        self.restore(state)
        return state

    def restore(self, state) -> None:
        """Give the state what :meth:`save` kept of it, if it did."""
        kept, self.state = self.state, None  # it may be large
        try:
            if kept is not None:
                state.load_state_dict(kept)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError):  # by what is other in it
            raise foreign_checkpoint(self.folder) from None

    def keep(self, state, rows: list[tuple] | None = None) -> None:
        """Save the state where a checkpoint is due."""
        if self.due():
            self.save(state, rows)

    def save(self, state, rows: list[tuple] | None = None, last: bool = False) -> None:
        """Write a checkpoint, and the metrics so far if given; the ``last`` stays for good."""
        self.state, self.stays = state.state_dict(), last
        self._write(rows)
        self.state = None

    def hold(self, key: str, value, otherwise: str) -> None:
        """Note what a run is made with; :class:`UsageError` where it was begun otherwise."""
        if (earlier := self.info.setdefault(key, value)) != value:
            told = otherwise.format(earlier)
            raise UsageError(f"{told}, or delete its folder {self.folder}.")

    def ask_for(self, room: int) -> None:
        """Raise :class:`UsageError` where so many bytes cannot be written."""
        if self.folder:
            records.prepare(self.folder, room)

    def progress(self, label: str, total: int, unit: str = "step") -> Progress:
        """Return the progress of the run, which begins with what was done before."""
        self.bar = Progress(label, total, self.steps, unit)
        return self.bar

    def table(self, width: int, count: int, name="table", dtype=torch.float32) -> Table:
        """Return a table of rows (width,), of which ``count`` must be there already."""
        table = Table(self.folder and self.folder / f"{name}.bin", width, dtype)
        if table.file.seek(0, os.SEEK_END) < count * table.row_bytes:
            raise foreign_checkpoint(self.folder)
        self.tables.append(table)
        return table

    def _write(self, rows: list[tuple] | None = None) -> None:
        if self.folder is None or distributed.rank() > 0:
            return
        self._count()
        for table in self.tables:  # what was written shall survive the machine, too
            with records.writing(table.path):
                os.fsync(table.file.fileno())
        if not (self.folder / "run.json").exists():  # it names the code
            records.write_info(self.folder, self.info)
        name, steps = self.info["fingerprint"], self.bar.n if self.bar else 0
        kept = {"fingerprint": name, "parts": self.parts, "state": self.state, "steps": steps}
        newest, previous = (self.folder / name for name in CHECKPOINTS)
        records.write_whole(newest, lambda path: torch.save(kept, path), previous)
        records.write(self.folder, self.info, rows)
        now = time.monotonic()  # the next is due after a pause in proportion
        self.next = now + (self.seconds and max(self.seconds, SHARE * (now - self.counted)))

    def _count(self) -> None:
        before, self.counted = self.counted, time.monotonic()
        self.info["wall_seconds"] += self.counted - before
        before, self.spent = self.spent, time.process_time()  # of all its threads
        self.info["cpu_seconds"] = self.info.get("cpu_seconds", 0.0) + self.spent - before

    def finish(self, rows: list[tuple], status: str = "complete") -> records.Run:
        """Write the metrics of a run at its end; a checkpoint stays if it shall."""
        self._count()
        self.info["status"] = status
        if self.folder is None or distributed.rank() > 0:
            return records.Run(self.folder, self.info)
        run = records.write(self.folder, self.info, rows)
        if not self.stays:
            paths = [table.path for table in self.tables]
            for path in (*paths, *(self.folder / name for name in CHECKPOINTS)):
                path.unlink(missing_ok=True)
        return run

    def stop(self, message: str, rows: list[tuple]) -> NoReturn:
        """End a run that cannot go on; raise the message, now and whenever it is called."""
        self.info["failure"], self.stays = message, True
        self.finish(rows, "diverged")
        raise UsageError(message)


@dataclass(frozen=True)
class Place:
    """Where a study computes: its data, its device, and what keeps its checkpoints."""

    data_root: str | Path | None = None
    device: str = "cpu"
    keeper: Keeper = field(default_factory=Keeper)

    def load(self, load: Callable, name: str, **how):
        """Return ``load(name, ...)``, data that the run is held to."""
        dataset = load(name, data_root=self.data_root, device=self.device, **how)
        told = "This run was begun on other data: give the data root that they are in, or where"
        told += ' files were but mended, delete the entry "data" of its run.json'
        self.keeper.hold("data", dataset.provenance, told)
        return dataset


def read_checkpoint(folder: Path, fingerprint=None, device="cpu") -> dict | None:
    """Return the newest checkpoint that can be read, on the device; None without one.

    A damaged one is deleted where the previous one serves. Raises :class:`UsageError` where
    none can be read, and for one of a run with another ``fingerprint``.
    """
    damaged = []
    for path in (folder / name for name in CHECKPOINTS):
        try:
            kept = torch.load(path, map_location=device, weights_only=True)
        except FileNotFoundError:
            continue
        except Exception as error:  # truncated or foreign: torch.load raises many kinds
            lacking = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if lacking or "allocate memory" in str(error):
                raise  # the file may be good
            # Within a truncated file it looks for a place before the beginning: EINVAL.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise UsageError(f"{path} cannot be read ({error.strerror}).") from None
            damaged.append(path)
            continue
        if not isinstance(kept, dict) or fingerprint not in (None, kept.get("fingerprint")):
            raise foreign_checkpoint(folder)
        for other in damaged:
            other.unlink()
        return kept
    if damaged:
        said = f"No checkpoint of {folder.name} can be read"
        raise UsageError(f"{said}: delete its folder, and the run starts anew.")
    return None


def foreign_checkpoint(folder: Path) -> UsageError:
    """Return the error of a checkpoint that can be read, and is of something else."""
    said = f"The checkpoint in {folder} is of another run, or of another version of the library"
    remedy = "put the right one in its place, or delete that folder, and the run starts anew"
    return UsageError(f"{said}: {remedy}.")


def _kinds(state: dict) -> dict:
    kinds = ("__class__", "shape", "dtype")
    return {key: [getattr(x, kind, None) for kind in kinds] for key, x in state.items()}
