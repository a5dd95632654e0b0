"""Checkpoints: a study begins at the state that was kept, and tells its own after a step::

first, theta = keeper.begin(step=0, theta=initial)
for step in range(first, last):
    theta = next_weights(theta)
    keeper.keep(step=step + 1, theta=theta)
"""

import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from . import distributed, records
from .progress import Progress

SHARE = 100  # writing takes at most a hundredth of the time


class Table:
    """A file of rows (width,), too many for a checkpoint; temporary without a path.

    >>> table = Table(None, width=2)
    >>> table.write(0, torch.tensor([1.0, 2.0]))
    >>> table.read(1)
    tensor([[1., 2.]])
    """

    def __init__(self, path: Path | None, width: int, dtype: torch.dtype = torch.float32):
        self.path, self.width, self.dtype = path, width, dtype
        self.row_bytes = width * dtype.itemsize
        if path is None:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            return
        with records.writing(path):
            path.touch()
            self.file = open(path, "r+b", buffering=0)  # noqa: SIM115

    def write(self, index: int, row: Tensor) -> None:
        """Write a row (width,), or rows (n, width) from there on; UsageError without room."""
        with records.writing(self.path):
            self.file.seek(index * self.row_bytes)
            left = memoryview(row.detach().cpu().to(self.dtype).numpy().tobytes())
            while left:  # a write may take less than all
                left = left[self.file.write(left) :]

    def read(self, count: int) -> Tensor:
        """Return the first rows (count, width), on the CPU; fewer where fewer are there."""
        self.file.seek(0)
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        numbers = np.fromfile(self.file, kind, count * self.width)
        return torch.from_numpy(numbers).view(-1, self.width)


class Keeper:
    """Keeps a run's finished parts, and the state of the one in hand.

    What is kept may be tensors, numbers, strings, and lists, tuples and dicts of these.
    Without a folder nothing is kept; of several processes the first writes. Checkpoints are
    due ``seconds`` after the last one, or later where writing costs a share of the time.
    Raises :class:`UsageError` for a checkpoint that cannot be read or is of something else.
    """

    def __init__(self, folder: Path | None = None, info=None, seconds=math.inf, device="cpu"):
        self.folder, self.seconds, self.device = folder, seconds, device
        self.info = info or {"experiment": "a run", "scale": "", "wall_seconds": 0.0}
        self.counted = time.monotonic()
        self.next = self.counted + seconds
        self.tables, self.bar, self.stays = [], None, False
        self.parts, self.state, self.steps = {}, None, 0
        if folder and (kept := records.read_checkpoint(folder, info["fingerprint"], device)):
            if not {"parts", "state", "steps"} <= set(kept):
                raise records.foreign_checkpoint(folder)
            self.parts, self.state, self.steps = kept["parts"], kept["state"], kept["steps"]

    def due(self) -> bool:
        """Return whether it is time to write a checkpoint; all processes ask together."""
        return bool(distributed.of_first(time.monotonic() >= self.next, self.device))

    def part(self, name: str, compute: Callable):
        """Return ``compute()``, or what it returned in an earlier process: do not change it.

        Parts come in the same order in every process, and none within another.
        """
        if name not in self.parts:
            self.parts[name] = compute()
            self.state = None
            if self.due():
                self._write()
        return self.parts[name]

    def begin(self, **initial) -> tuple:
        """Return what :meth:`keep` was last told of the part in hand, or ``initial``."""
        kept = initial if self.state is None else self.state
        if _kinds(kept) != _kinds(initial):
            raise records.foreign_checkpoint(self.folder)
        return tuple(kept[name] for name in initial)

    def keep(self, **state) -> None:
        """Write a checkpoint of the state where it is due; the names are those of begin."""
        if self.due():
            self.state = state
            self._write()

    def restore(self, whole) -> None:
        """Call ``whole.load_state_dict`` with what :meth:`save` kept of it, if it did."""
        kept, self.state = self.state, None  # it may be large
        try:
            if kept is not None:
                whole.load_state_dict(kept)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, RuntimeError):  # by what is other in it
            raise records.foreign_checkpoint(self.folder) from None

    def save(self, whole, last: bool = False) -> None:
        """Write a checkpoint, and the metrics ``whole.rows``; the ``last`` stays for good."""
        self.state, self.stays = whole.state_dict(), last
        self._write(whole.rows)
        self.state = None

    def need(self, checkpoint_bytes: int, further_bytes: int) -> None:
        """Raise :class:`UsageError` where there is no room for checkpoints and what else."""
        if self.folder:
            records.prepare(self.folder, checkpoint_bytes, further_bytes)

    def hold(self, key: str, value, otherwise: str) -> None:
        """Note what a run is made with; :class:`UsageError` where it was begun otherwise."""
        if (earlier := self.info.setdefault(key, value)) != value:
            told = otherwise.format(earlier)
            raise UsageError(f"{told}, or delete its folder {self.folder}.")

    def progress(self, label: str, total: int, unit: str = "step") -> Progress:
        """Return the progress of the run, which begins with what was done before."""
        self.bar = Progress(label, total, self.steps, unit)
        return self.bar

    def table(self, width: int, count: int, name="table", dtype=torch.float32) -> Table:
        """Return a table of rows (width,), of which ``count`` must be there already."""
        table = Table(self.folder and self.folder / f"{name}.bin", width, dtype)
        if table.file.seek(0, os.SEEK_END) < count * table.row_bytes:
            raise records.foreign_checkpoint(self.folder)
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
        records.write_checkpoint(self.folder, kept)
        if rows is None:
            records.write_info(self.folder, self.info)
        else:
            records.write(self.folder, self.info, rows)
        self._written()

    def _count(self) -> None:
        now = time.monotonic()
        self.info["wall_seconds"] += now - self.counted
        self.counted = now

    def _written(self) -> None:
        """Set when the next checkpoint is due, after one that was begun by _count."""
        now = time.monotonic()
        self.next = now + (self.seconds and max(self.seconds, SHARE * (now - self.counted)))

    def finish(self, rows: list[tuple], status: str = "complete") -> records.Run:
        """Write the metrics of a run at its end; a checkpoint stays if it shall."""
        self._count()
        self.info["status"] = status
        if self.folder is None or distributed.rank() > 0:
            return records.Run(self.folder, self.info)
        run = records.write(self.folder, self.info, rows)
        if not self.stays:
            paths = [table.path for table in self.tables]
            for path in (*paths, *(self.folder / name for name in records.CHECKPOINTS)):
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


def _kinds(state: dict) -> dict:
    return {
        name: (value.shape, value.dtype) if isinstance(value, Tensor) else type(value)
        for name, value in state.items()
    }
