"""Rows of numbers that are too many for a checkpoint, in a file of their own."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import records


class Table:
    """A file of rows (width,), float32 or float64, each at its place.

    So after a resume rows beyond the checkpoint are written again. Without a path the file
    has no name and goes with the process.

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

    def count(self) -> int:
        """Return the number of whole rows that are there."""
        return self.file.seek(0, os.SEEK_END) // (self.width * self.dtype.itemsize)

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
