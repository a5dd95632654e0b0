"""A watched run's rows: held until they are written, on disk from then on.

Memory does not grow with the training: rows beyond ``MOST`` wait in files beside the run's,
and a writing joins these, and what was written before, to one file in a stream.
"""

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from ..runs import distributed, metrics, records
from ..runs.provenance import commit, device_name, now, version
from . import optimizers
from .steps import Displacements

SECONDS, SHARE = 30.0, 100  # from one writing to the next at least, and in its durations
MOST = 2**17  # rows that are held in memory: about 5 MB
SKETCH = "sketch"  # the series that is thinned, and so written anew each time
WAITING = "waiting-{}.parquet"  # rows that the next writing takes in
TOLD = "optimizer", "every", "batches", "batch_size"  # facts that a watch is made with
ROW = ("", "", 0, 0, 0, 0.0, 0.0, 0.0)
SCHEMA = pa.Schema.from_pandas(metrics.frame([ROW]), preserve_index=False)


class Table:
    """Metrics that grow; ``series`` is the sketch, a tensor by step, whole.

    ``folder`` is None in processes that write nothing, and so keep none.
    """

    def __init__(self, folder: Path | None, info: dict):
        self.folder, self.info = folder, info
        self.pieces, self.held, self.waiting, self.series = [], 0, [], {}
        self.written, self.last = False, math.inf  # up to which step what is written counts
        self.counted = time.monotonic()
        self.next = self.counted + SECONDS

    def add(self, quantity: str, steps, values, errors=math.nan, *, of="", index=None) -> None:
        """Add values (n,) with their steps and errors; those that are NaN are left out."""
        steps, values = np.asarray(steps, int), np.asarray(values, float)
        errors, there = np.broadcast_to(errors, values.shape), ~np.isnan(values)
        if self.folder and there.any():
            columns = (steps[there], values[there], errors[there])
            self.pieces.append((quantity, of, index, *columns))
            self.held += len(columns[0])
        if self.held >= MOST:
            records.prepare(self.folder)
            path = self.folder / WAITING.format(len(self.waiting))
            records.write_whole(path, lambda place: pq.write_table(rows(self.pieces), place))
            self.waiting.append(path)
            self.pieces, self.held = [], 0

    def write(self, status: str = "running", force: bool = True) -> None:
        """Write the run as it is, if it is due or forced."""
        began = time.monotonic()
        if self.folder is None or not (force or began >= self.next):
            return
        records.prepare(self.folder)
        self.info["wall_seconds"] += began - self.counted
        self.counted, self.info["status"] = began, status
        records.write_whole(self.folder / records.METRICS, self._save)
        self.pieces, self.held, self.written, self.last = [], 0, True, math.inf
        while self.waiting:
            self.waiting.pop().unlink(missing_ok=True)
        records.write_info(self.folder, self.info)
        ended = time.monotonic()
        self.next = ended + max(SECONDS, SHARE * (ended - began))

    def _save(self, place: Path) -> None:
        sketch = [(SKETCH, "", *piece) for piece in self._pieces_of_the_sketch()]
        with pq.ParquetWriter(place, SCHEMA, compression="zstd") as writer:
            for batch in self._on_disk():
                writer.write_batch(batch)
            for batch in rows(self.pieces + sketch).to_batches():
                writer.write_batch(batch)

    def _on_disk(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows that were written before, and those that wait."""
        written = [(self.folder / records.METRICS, self.last)] * self.written
        for path, last in [*written, *((path, math.inf) for path in self.waiting)]:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(MOST):
                    old = pc.not_equal(batch["quantity"], SKETCH)
                    yield batch.filter(pc.and_(old, pc.less_equal(batch["step"], last)))

    def _pieces_of_the_sketch(self) -> Iterator[tuple]:
        if self.series:
            steps = np.array([*self.series])
            values = torch.stack([*self.series.values()]).cpu().numpy()
            for index, column in enumerate(values.T.astype(float)):
                yield index, steps, column, np.full(len(steps), math.nan)

    def know(self, facts: dict) -> None:
        """Take over what an earlier process noted, but for what this one was told."""
        own = self.info["watch"]
        own |= facts | {key: own[key] for key in TOLD if own[key] is not None}

    def resume(self, run: records.Run, last: int) -> None:
        """Go on with the rows of a run up to a step, but for the sketch; later ones go."""
        try:
            pq.read_metadata(run.folder / records.METRICS)
        except (OSError, ValueError):
            run.metrics  # which says what to do  # noqa: B018
        for path in run.folder.glob(WAITING.format("*") + "*"):  # of a process that was killed
            path.unlink()
        self.pieces, self.held, self.waiting = [], 0, []
        self.written, self.last = True, last
        self.info.update({key: run.info[key] for key in ("start", "wall_seconds")})


def new_info(watch, name: str) -> dict:
    """Return what run.json holds when a watch begins."""
    processes = f"{distributed.size()} x " if distributed.size() > 1 else ""
    device, optimizer = watch.parameters[0].device, watch.optimizer
    return {
        "experiment": name,
        "scale": "watched",
        "settings": {},
        "fingerprint": "",
        "code": "",
        "commit": commit(),
        "device": processes + device_name(device),
        "versions": {"torch": torch.__version__, "stationarity": version()},
        "seed": None,
        "start": now(),
        "end": None,
        "wall_seconds": 0.0,
        "status": "running",
        "watch": {
            "optimizer": optimizers.name_of(optimizer),
            "parameters": sum(p.numel() for p in watch.parameters),
            "every": watch.pace.every,
            "batches": watch.count,
            "batch_size": watch.batch_size,
            "groups": watch.followed.facts,
            "sketch": Displacements.KEPT,
        },
    }


def rows(pieces: Iterable[tuple]) -> pa.Table:
    """Return pieces (quantity, of, index, steps, values, errors) as a table of metrics."""
    if not pieces:
        return SCHEMA.empty_table()
    lengths = [len(piece[3]) for piece in pieces]
    *same, steps, values, errors = zip(*pieces)
    names, of, index = (np.repeat(np.array(one, object), lengths) for one in same)
    joined = map(np.concatenate, (steps, values, errors))
    table = pd.DataFrame(dict(zip(("step", "value", "error"), joined)))
    table = table.assign(quantity=names, of=of, index=index, member=None, epoch=math.nan)
    return pa.Table.from_pandas(metrics.typed(table), SCHEMA, preserve_index=False)
