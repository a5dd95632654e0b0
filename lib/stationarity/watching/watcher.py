"""Watching a training: what is noted after its steps, and measured now and then."""

import contextlib
import importlib
import math
import os
import warnings

import numpy as np
import torch
from torch import nn

from ..errors import UsageError, from_home
from ..measure import Objective
from ..measure.derivatives import trainable
from ..runs import distributed, records
from . import checks, optimizers
from .fresh_batches import Draws, size_of
from .measuring import Measurement
from .pacing import Pace
from .passes import Passes
from .steps import NUMBERS, RING, Displacements, Steps, mean_of_known
from .tables import Table, new_info

LOST = 3  # calls in turn whose steps another optimizer seems to have taken


class Watch:
    """Follow a training of PyTorch's; write what is seen as a run.

    After each step of the optimizer, ``watch.step(batch, loss)`` notes the loss, the learning
    rates, ||theta||^2, the update's square and <theta, b> with the optimizer's momentum b,
    every eighth step a sketch of the weights. Every ``every`` steps it measures on fresh
    batches: gradient, noise, noise scale, sharpness. The training is, bit for bit, what it is
    without: weights, ``.grad``, buffers and random states are left as they were. Of several
    processes all call, each with its share of every batch, and the first writes.

    Parameters
    ----------
    model: the network, its parameters in one place; a wrapper (DistributedDataParallel,
        torch.compile) is looked through.
    objective: (model, batch) -> the mean loss that is minimised, without weight decay.
    optimizer: SGD, Adam or AdamW, with any groups; None leaves out what needs it. A
        scheduler may change rates from step to step, gradients may be accumulated or clipped.
    batches: where measurements draw from: a ``DataLoader`` (its data are drawn at random), an
        iterable that gives other batches each time, or a function (step, count) -> batches;
        of the size of a training batch, or else ``batch_size`` says what that is.
    name, root: the run lies in root/name/watched-ID; by default where all runs do.
    every: steps between measurements; None chooses so that they take at most 4 % of the time.
        The first one follows the first step, and its time is made up for. A report needs five
        in the part that it judges: where one takes the time of t steps, that takes 190 t steps
        at one rate, and a shorter training needs ``every``. Of small nets t is 15 to 30, and
        100 to 200 with the curvature.
    measure_batches: M, at least 3; 1 where one batch is the whole training set.
    batch_size: examples of a training step, all processes together; else those of a batch,
        ``accumulate`` times: of so many minibatches a step adds the gradients up. More backward
        passes than that are noticed in the first three steps, and told.
    measured_batch_size: examples of a batch of ``batches``, all processes together; by default
        the first dimension of its first tensor, which is none of examples where time comes
        first, or tokens are packed.
    sharpness: whether the Hessian's top eigenvalue is measured, on ``sharpness_batches`` of
        the batches (by default 4), at most half of them: as many others check it; None where
        it fits into half of the free memory (about 47 gradients), and leaves it out, with a
        warning, where it cannot be computed: an operation has no second derivative.
    also: writers that get the numbers too: see :mod:`stationarity.watching.exports`.

    Measurements are in the parameters' precision, of bfloat16 too, outside autocast; what is
    added up over parameters is in float32 at least. Memory, over the training's own peak: one
    copy of the weights and 30 MB, and while it measures the gradient of one tensor more. This
    holds with ``sharpness=False``, or where the curvature does not fit: it takes those 47.
    Raises :class:`UsageError` for bad input, most of it at the first step.

    >>> model = nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
    >>> watch = Watch(model, lambda model, x: model(x).square().mean(), optimizer,
    ...     lambda step, count: [torch.randn(8, 1) for _ in range(count)])
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer,
        batches,
        *,
        name: str = "training",
        root: str | os.PathLike | None = None,
        every: int | None = None,
        measure_batches: int = 16,
        batch_size: int | None = None,
        measured_batch_size: int | None = None,
        accumulate: int = 1,
        sharpness: bool | None = None,
        sharpness_batches: int | None = None,
        also: tuple = (),
    ):
        checks.check(name, every, measure_batches, sharpness_batches)
        checks.check_sizes(batch_size, measured_batch_size, accumulate)
        self.model, self.objective = checks.unwrapped(model), objective
        self.optimizer, self.draws = optimizers.plain(optimizer), Draws(batches)
        if measure_batches == 1 and self.draws.part:
            said = "measure_batches=1 is for a batch of the whole training set"
            raise UsageError(f"{said}, and the loader's is a part of it: give at least 3.")
        self.parameters = trainable(self.model)
        checks.check_device(self.parameters[0].device)
        self.count, self.batch_size, self.accumulate = measure_batches, batch_size, accumulate
        self.measured_size = measured_batch_size
        self.few = sharpness_batches or min(4, checks.most_for_sharpness(measure_batches))
        self.sharpness, self.asked, self.also = sharpness, sharpness is True, [*also]
        self.steps = Steps(self.parameters, *optimizers.groups(self.optimizer, self.parameters))
        self.displacements = Displacements(self.parameters)
        self.pace = Pace(every, self.steps.device)
        self.taken, self.row = 0, 0
        self.rates, self.forgetting = [], []  # of the steps since the last writing, by group
        self.idle = self.lost = 0  # calls in turn without a step; those where weights moved
        self.followed = optimizers.Followed(self.optimizer)
        self.passes = Passes(self.parameters[-1], told=None if batch_size else accumulate)
        self.memory, self.size = [0.0] * self.steps.groups, 0.0  # the latter: ||theta||^2
        self.checked = self.closed = self.diverged = False
        self.root = from_home(root) if root else records.runs_root()
        self.table = Table(None, new_info(self, name))
        self._place(f"watched-{os.urandom(6).hex()}")

    # --- what the training calls

    def step(self, batch=None, loss=None) -> None:
        """Note a step that the optimizer has taken; measure where that is due.

        ``batch`` is what the step was taken on, for its size alone; ``loss`` its loss, a number
        or a tensor, which is not waited for. Where the optimizer took none since the last
        call, as a ``GradScaler`` skips those whose gradients are not finite, nothing is noted.
        """
        if self.closed:
            said = "This watch is closed"
            raise UsageError(f"{said}: begin a new one for a training that goes on.")
        checks.one_number(loss)
        if self._skipped():
            return
        self.pace.step_begins()
        if batch is not None and self.measured_size is None and (size := size_of(batch)):
            size *= distributed.size() * self.accumulate
            if self.taken == 0 and self.batch_size:
                checks.same_size(self.batch_size, size)
            self.batch_size = self.batch_size or size
        self.taken += 1
        if self.steps.before is None:  # what was before the first step is not known
            self.steps.begin()
        self.steps.take(self.row, loss)
        self._note_settings()
        if count := self.passes.step_taken():
            self.table.info["watch"]["passes"] = count
        self.displacements.take(self.taken)
        self.row += 1
        if self.row == RING:
            self.flush()
        if not self.diverged and self.pace.is_due(self.taken):
            with self.pace.measuring(self.taken):
                self._measure()
        self.pace.step_ends()

    def close(self, status: str = "complete") -> records.Run | None:
        """Write all, and end the watch; return the run (None in a process that writes none)."""
        if not self.closed:
            ended = "interrupted"
            try:
                self.flush()
                ended = status
            finally:
                self._end(ended)
        return self.run

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        elif not self.closed:  # nothing may hide the error, nor wait for other processes
            with contextlib.suppress(Exception), contextlib.ExitStack() as ends:
                ends.callback(self._end, "interrupted")
                if distributed.size() == 1:
                    self.flush()

    @property
    def run(self) -> records.Run | None:
        """The run as it was last written, None where none was."""
        return self.table.folder and records.read(self.table.folder)

    def report(self) -> dict:
        """Return what the steps so far say: see :func:`stationarity.watching.report.report`.

        All processes call it; it is empty in those that write no run.
        """
        # By name: what a report says decides no row, and is no code of a run (runs.provenance).
        module = importlib.import_module(".report", __package__)
        if not self.closed:
            self.flush()
            self.table.write()
        return module.report(self.run) if self.run else {}

    # --- checkpoints

    def flush(self) -> None:
        """Move what is noted to the run's rows; all processes call it.

        Those of several processes that keep the state of the first alone call it before: the
        losses are then the means of all. Else the last ones, 255 at most, are the first's own.
        """
        checks.same_model(self)
        count, groups = self.row, self.steps.groups
        numbers = self.steps.ring[:count]
        numbers[:, 0] = mean_of_known(numbers[:, 0])
        numbers = numbers.cpu().numpy()
        steps = np.arange(self.taken - count + 1, self.taken + 1)
        first = steps == 1  # what was before is not known
        self._add("loss", steps, numbers[:, 0])
        for index, rates in enumerate(zip(*self.rates) if self.optimizer else ()):
            values = [float(rate) for rate in rates]
            self._add("learning_rate", steps, values, index=index)
            self.memory[index] += sum(v * f[index] for v, f in zip(values, self.forgetting))
        parts = numbers[:, 1:].reshape(count, groups, len(NUMBERS))
        self.size = float(parts[-1:, :, 1].sum()) if count else self.size
        parts[first, :, 0] = math.nan
        buffered = any(self.steps.buffer(p) is not None for p in self.parameters)
        for number, name in enumerate(NUMBERS[: 2 + buffered]):
            self._add(name, steps, parts[:, :, number].sum(1))
            for index in range(groups) if groups > 1 else ():
                self._add(f"group_{name}", steps, parts[:, index, number], index=index)
        for step, since, square in self.displacements.distances:
            self.table.add("displacement_square", [step], [float(square)], of=str(since))
        self.table.series = self.displacements.series
        self.table.info["watch"]["taken"] = self.taken
        self.row, self.displacements.distances, self.rates, self.forgetting = 0, [], [], []
        self.table.write(force=False)

    def state_dict(self) -> dict:
        """Return what a checkpoint of the training must hold, and write the rows so far."""
        if not self.closed:
            self.table.write()
        names = ("taken", "row", "memory", "checked", "batch_size", "sharpness")
        kept = {name: getattr(self, name) for name in names} | {"pace": self.pace.state_dict()}
        series = torch.stack([*self.displacements.series.values()] or [torch.zeros(0)])
        return kept | {
            "folder": self.table.info["fingerprint"],
            "facts": dict(self.table.info["watch"]),
            "rank": distributed.rank(),
            "ring": self.steps.ring[: self.row].clone(),
            "rates": [[float(rate) for rate in rates] for rates in self.rates],
            "forgetting": [[*one] for one in self.forgetting],
            "distances": [[*at, float(one)] for *at, one in self.displacements.distances],
            "displacements": self.displacements.state_dict(),
            "series": series,
            "series_steps": [*self.displacements.series],
        }

    def load_state_dict(self, kept: dict) -> None:
        """Go on with a watch, where its training does: rows of later steps are dropped.

        The model's state must be loaded before. The rows are those in the run's folder.
        """
        kept = dict(kept)
        self._place(kept.pop("folder"))
        self.pace.load_state_dict(kept.pop("pace"))
        ring, self.rates = kept.pop("ring").clone(), kept.pop("rates")
        if kept.pop("rank", 0) != distributed.rank():
            ring[:, 0] = math.nan  # another's losses, which it tells itself
        distances, steps = kept.pop("distances"), kept.pop("series_steps")
        series = dict(zip(steps, kept.pop("series").to(self.steps.device)))
        self.displacements.load_state_dict(kept.pop("displacements"), series)
        self.displacements.distances = [(t, since, one) for t, since, one in distances]
        kept["batch_size"] = self.batch_size or kept["batch_size"]
        self.table.know(kept.pop("facts", {}))
        for name, value in kept.items():
            setattr(self, name, value)
        self.steps.ring[: self.row] = ring.to(self.steps.ring)
        self.steps.begin()
        if self.table.folder and (run := records.read(self.table.folder)):
            self.table.resume(run, self.taken - self.row)
        elif self.table.folder:
            said = f"The rows of the watch are not in {self.table.folder}"
            warnings.warn(f"{said}: those before step {self.taken} are lost.", stacklevel=2)

    # --- inside

    def _end(self, status: str) -> None:
        """Write all, and leave the training and the writers, each whatever else fails."""
        self.closed, self.diverged = True, self.diverged or not math.isfinite(self.size)
        with contextlib.ExitStack() as ends:
            for one in (self.followed, self.passes, *self.also):
                ends.callback(one.close)
            self.table.write("diverged" if self.diverged else status)

    def _place(self, identity: str) -> None:
        self.table.info["fingerprint"] = identity
        folder = self.root / self.table.info["experiment"] / identity
        self.table.folder = folder if distributed.rank() == 0 else None

    def _note_settings(self) -> None:
        """Note with which rates, momenta and decays the step was taken."""
        self.rates.append(self.followed.noted())
        self.forgetting.append(self.followed.forgetting)
        told = self.table.info["watch"]
        if told["groups"] != self.followed.facts:
            told["groups_since"] = self.taken
        told["groups"] = self.followed.facts

    def _skipped(self) -> bool:
        """Return whether the optimizer took no step since the last call."""
        if not self.optimizer or self.followed.stepped is not None:
            self.idle = self.lost = 0
            return False
        self.idle += 1
        self.lost = self.lost + 1 if self.steps.moved_otherwise() else 0
        if self.lost >= LOST:
            said = f"The weights moved {LOST} times, and not by the optimizer that is watched"
            raise UsageError(f"{said}: begin a new watch with the one that took over.")
        if self.idle > RING:
            said = f"The optimizer took no step that its hooks tell of before {RING} calls"
            remedy = "call watch.step after optimizer.step(), or watch with optimizer=None"
            raise UsageError(f"{said}: {remedy}, as where a CUDA graph replays the steps.")
        return True

    def _add(self, quantity: str, steps, values, index=None) -> None:
        self.table.add(quantity, steps, values, index=index)
        shown = steps % Displacements.STRIDE == 0  # writing each would take too long
        name = quantity if index is None else f"{quantity}/{index}"
        self._show(name, steps[shown], np.asarray(values)[shown])

    def _show(self, name: str, steps, values) -> None:
        """Give numbers to the writers; the first process does."""
        for writer in self.also if distributed.rank() == 0 and len(steps) else ():
            writer.write(name, steps, values)

    def _measure(self) -> None:
        self.flush()
        self.steps.forget()
        try:
            rows = Measurement(self).rows
        except FloatingPointError as error:
            self.diverged, rows = True, []
            said = f"The training is no longer finite at step {self.taken} ({error})"
            warnings.warn(f"{said}: it is noted on, and measured no more.", stacklevel=3)
        finally:  # who catches another error may go on
            self.steps.begin()
        self.checked = True
        for quantity, value, error, of in rows:
            self.table.add(quantity, [self.taken], [value], error, of=of)
            self._show(quantity + (f"/{of}" if of else ""), [self.taken], [value])
        self.table.write(force=not self.pace.measured)
