"""A watched run's rows: held as arrays, written as the library's runs are."""

import math
import time

import numpy as np
import pandas as pd

from ..runs import metrics, records

SECONDS, SHARE = 30.0, 100  # from one writing to the next at least, and in its durations


class Table:
    """Metrics that grow: pieces of columns, joined when they are written.

    ``folder`` is None in processes that write nothing.
    """

    def __init__(self, folder, info: dict):
        self.folder, self.info = folder, info
        self.whole, self.pieces, self.series = metrics.frame([]), [], {}
        self.counted = time.monotonic()
        self.next = self.counted + SECONDS

    def add(self, quantity: str, steps, values, errors=math.nan, *, of="", index=None) -> None:
        """Add values (n,) with their steps and errors; those that are NaN are left out."""
        steps, values = np.asarray(steps, int), np.asarray(values, float)
        errors, there = np.broadcast_to(errors, values.shape), ~np.isnan(values)
        if there.any():
            columns = (steps[there], values[there], errors[there])
            self.pieces.append((quantity, of, index, *columns))

    def frame(self) -> pd.DataFrame:
        """Return all rows, but for the series that is thinned."""
        if self.pieces:
            lengths = [len(piece[3]) for piece in self.pieces]
            names, of, index, steps, values, errors = zip(*self.pieces)
            columns = {
                "quantity": np.repeat(np.array(names, object), lengths),
                "of": np.repeat(np.array(of, object), lengths),
                "member": None, "epoch": math.nan,
                "index": np.repeat(np.array(index, object), lengths),
                "step": np.concatenate(steps), "value": np.concatenate(values),
                "error": np.concatenate(errors),
            }  # fmt: skip
            new = metrics.typed(pd.DataFrame(columns))
            self.whole = pd.concat([self.whole, new]) if len(self.whole) else new
            self.pieces = []
        return self.whole

    def with_series(self) -> pd.DataFrame:
        """Return all rows, with those of the sketch."""
        if not self.series:
            return self.frame()
        steps, values = np.array([*self.series]), np.stack([*self.series.values()])
        columns = {
            "quantity": "sketch", "of": "", "member": None, "epoch": math.nan,
            "index": np.tile(np.arange(values.shape[1]), len(steps)),
            "step": np.repeat(steps, values.shape[1]), "value": values.reshape(-1),
            "error": math.nan,
        }  # fmt: skip
        return pd.concat([self.frame(), metrics.typed(pd.DataFrame(columns))])

    def write(self, status: str = "running", force: bool = True) -> None:
        """Write the run as it is, if it is due or forced."""
        began = time.monotonic()
        if self.folder is None or not (force or began >= self.next):
            return
        records.prepare(self.folder)
        self.info["wall_seconds"] += began - self.counted
        self.counted, self.info["status"] = began, status
        table, how = self.with_series(), {"compression": "zstd", "index": False}
        path = self.folder / records.METRICS
        records.write_whole(path, lambda place: table.to_parquet(place, **how))
        records.write_info(self.folder, self.info)
        now = time.monotonic()
        self.next = now + max(SECONDS, SHARE * (now - began))

    def resume(self, run: records.Run, last: int) -> None:
        """Go on with the rows of a run up to a step, but for the sketch; later ones go."""
        table = run.metrics[run.metrics.step <= last].reset_index(drop=True)
        self.whole, self.pieces = table[table.quantity != "sketch"], []
        self.info.update(run.info | {"status": "running"})
