"""Files of rows: what a run keeps and a checkpoint is too small for."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import records


class Table:
    """A file of rows (width,), too many for a checkpoint; temporary without a path."""

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
