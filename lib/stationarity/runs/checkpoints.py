"""Checkpoints every so often: when they are due, and what a study keeps in them.

A study that takes minutes is given a :class:`Keeper` by :func:`stationarity.launch.run`.
It tells the keeper its state after every step, and begins at the state that an
earlier process kept::

    first, theta = keeper.begin(step=0, theta=initial)
    for step in range(first, last):
        theta = next_weights(theta)
        keeper.keep(step=step + 1, theta=theta)

A study of several parts computes each by :meth:`Keeper.part`. So a process may be
killed at any moment: what the next one repeats is what came after the last checkpoint.
"""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import records
from .progress import Progress

SHARE = 100  # writing takes at most a hundredth of the time


class Clock:
    """When a run's checkpoints are due, and the wall time of all its sittings.

    They are due ``seconds`` after the last one, or later where its writing took so
    long that this would cost more than a hundredth of the time. With 0 seconds they
    are due after every step, whatever that costs.
    """

    def __init__(self, folder: Path | None, info: dict, seconds: float):
        self.folder, self.info, self.seconds = folder, info, seconds
        self.counted = time.monotonic()
        self.next = self.counted + seconds

    def due(self) -> bool:
        """Return whether it is time to write a checkpoint."""
        return time.monotonic() >= self.next

    @contextlib.contextmanager
    def written(self):
        """Within it a checkpoint is written: the next one is due from then on."""
        self.count()
        yield
        now = time.monotonic()
        pause = max(self.seconds, SHARE * (now - self.counted)) if self.seconds else 0.0
        self.next = now + pause

    def count(self) -> None:
        """Add the time since the last call to the run's wall time."""
        now = time.monotonic()
        self.info["wall_seconds"] += now - self.counted
        self.counted = now


class Keeper(Clock):
    """Keeps what a study has done: its finished parts, and the state of the one in hand.

    What is kept may be tensors, numbers, strings, and lists, tuples and dicts of these.
    Without a folder nothing is kept. Raises :class:`UsageError` for a checkpoint that
    cannot be read or is of something else.
    """

    def __init__(
        self, folder: Path | None = None, info=None, seconds=math.inf, device="cpu"
    ):
        super().__init__(folder, info or {}, seconds)
        self.parts, self.state, self.steps = {}, None, 0
        if folder and (
            found := records.read_checkpoint(folder, info["fingerprint"], device)
        ):
            if not {"parts", "state", "steps"} <= set(found):
                raise records.foreign_checkpoint(folder)
            self.parts, self.state = found["parts"], found["state"]
            self.steps = found["steps"]
        self.tables: list[Table] = []
        self.bar = None

    def part(self, name: str, compute: Callable):
        """Return ``compute()``, or what it returned in an earlier process.

        The value must not be changed in place. Parts come in the same order in
        every process, and none within another.
        """
        if name not in self.parts:
            self.parts[name] = compute()
            self.state = None
            if self.due():
                self._write()
        return self.parts[name]

    def begin(self, **initial) -> tuple:
        """Return what :meth:`keep` was last told of the part in hand, or ``initial``."""
        if self.state is None:
            return tuple(initial.values())
        same = set(self.state) == set(initial) and all(
            _alike(value, self.state[name]) for name, value in initial.items()
        )
        if not same:
            raise records.foreign_checkpoint(self.folder)
        return tuple(self.state[name] for name in initial)

    def keep(self, **state) -> None:
        """Write a checkpoint of the state where it is due; the names are those of begin."""
        if self.due():
            self.state = state
            self._write()

    def progress(self, label: str, total: int, unit: str = "step") -> Progress:
        """Return the progress of the study, which begins with what was done before."""
        self.bar = Progress(label, total, self.steps, unit)
        return self.bar

    def _write(self) -> None:
        with self.written():
            for table in self.tables:
                table.flush()
            records.write_info(self.folder, self.info)  # before: it names the code
            checkpoint = {
                "fingerprint": self.info["fingerprint"], "parts": self.parts,
                "state": self.state, "steps": self.bar.count if self.bar else 0,
            }  # fmt: skip
            records.write_checkpoint(self.folder, checkpoint)

    def table(self, width: int, count: int) -> "Table":
        """Return a table of rows (width,), of which ``count`` are there; one a study."""
        table = Table(self.folder and self.folder / "table.bin", width)
        if len(table.read(count)) < count:
            raise records.foreign_checkpoint(self.folder)
        self.tables.append(table)
        return table

    def finish(self, rows: list[tuple]) -> records.Run:
        """Write the metrics of the complete run; no checkpoint is needed any more."""
        self.count()
        run = records.write(self.folder, self.info | {"status": "complete"}, rows)
        for name in ("table.bin", *records.CHECKPOINTS):
            (self.folder / name).unlink(missing_ok=True)
        return run


class Table:
    """Rows of numbers, float32 or float64, that are too many for a checkpoint, in a file.

    A row is written at its place: after a resume the rows beyond the checkpoint are
    written again. Without a path the file has no name and goes with the process.

    >>> table = Table(None, width=2)
    >>> table.write(0, torch.tensor([1.0, 2.0]))
    >>> table.read(1)
    tensor([[1., 2.]])
    """

    def __init__(self, path: Path | None, width: int, dtype: torch.dtype = torch.float32):
        self.path, self.width, self.dtype = path, width, dtype
        if path is None:
            self.file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
            return
        with records.writing(path):
            path.touch()
            self.file = open(path, "r+b", buffering=0)  # noqa: SIM115

    def write(self, index: int, row: Tensor) -> None:
        """Write a row (width,), or rows from there on (n, width).

        Raises :class:`UsageError` where there is no room.
        """
        with records.writing(self.path):
            self.file.seek(index * self.width * self.dtype.itemsize)
            left = memoryview(row.detach().cpu().to(self.dtype).numpy().tobytes())
            while left:  # a write may take less than all
                left = left[self.file.write(left) :]

    def flush(self) -> None:
        """See that what was written survives the machine, too."""
        with records.writing(self.path):
            os.fsync(self.file.fileno())

    def read(self, count: int) -> Tensor:
        """Return the first rows (count, width), on the CPU; fewer where fewer are there."""
        self.file.seek(0)
        kind = np.float64 if self.dtype == torch.float64 else np.float32
        numbers = np.fromfile(self.file, kind, count * self.width)
        return torch.from_numpy(numbers).view(-1, self.width)


@dataclass(frozen=True)
class Place:
    """Where a study computes: its data, its device, and what keeps its checkpoints."""

    data_root: str | Path | None = None
    device: str = "cpu"
    keeper: Keeper = field(default_factory=Keeper)


def _alike(initial, kept) -> bool:
    """Return whether a kept value may take the place of an initial one."""
    if isinstance(initial, Tensor) and isinstance(kept, Tensor):
        return initial.shape == kept.shape and initial.dtype == kept.dtype
    return type(initial) is type(kept)
