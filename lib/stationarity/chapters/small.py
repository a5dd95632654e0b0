"""Small nets, several at once: their task in memory, and the loop that trains them::

    task = small.load(settings, place)
    seeds = small.seeds(settings.seed, "member", 4)
    nets = small.Nets(task, task.start(seeds), seeds, settings.steps, rows=[])
    for step in nets.steps():
        ...  # before the step: nets.theta, nets.buffer; its nets.losses and nets.gradients
        nets.update(settings.learning_rate)
        ...  # after it

f is the objective with decay, theta (K, P) as in :mod:`stationarity.train.ensembles`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import data
from ..data.images import whole
from ..errors import UsageError
from ..runs.seeds import seed_of
from ..train import ensembles

if TYPE_CHECKING:
    from ..runs.checkpoints import Keeper, Place
    from ..train.settings import SmallNet

Weights = tuple[Tensor, Tensor]  # (K, P), with the optimiser's buffer
CHECKED = 100  # steps between looks at whether the weights are finite


class Exact(NamedTuple):
    """What is exact of K nets, over the whole training set, in float64."""

    losses: Tensor  # (K,)
    objectives: Tensor  # (K,), f
    gradients: Tensor  # (K, P), of f
    variances: Tensor  # (K,), of the gradient of one example


@dataclass
class Task:
    """A training set in memory, with the settings that a step needs."""

    settings: SmallNet  # or what else has batch_size (0: all), momentum and weight_decay
    inputs: Tensor  # (n, D)
    labels: Tensor  # (n,); or (K, n), each net's own
    widths: tuple  # of a net, from the inputs to the logits
    keeper: Keeper
    test: tuple[Tensor, Tensor] | None = None  # inputs and labels
    loss: str = "cross_entropy"
    optimizer: str = "sgd"  # or adam
    sampling: str = "replacement"  # or reshuffled

    def start(self, seeds: Sequence[int]) -> Weights:
        """Return initial weights (K, P), one net a seed, and the empty buffer."""
        like = {"dtype": self.inputs.dtype, "device": self.inputs.device}
        theta = ensembles.initialise(self.widths, seeds, **like)
        return theta, theta.new_zeros(*([2] if self.optimizer == "adam" else []), *theta.shape)

    def column(self, values, each: int) -> Tensor:
        """Return a setting of every net, (..., K, 1): each of values (..., R) so often."""
        values = torch.as_tensor(np.asarray(values)).to(self.inputs)
        return values.repeat_interleave(each, -1).unsqueeze(-1)

    def batches(self, seeds: Sequence[int], first: int, last: int, copies: int = 1) -> Iterator:
        """Yield inputs and labels of each step, for ``copies`` of nets of each seed."""
        inputs, labels, size = self.inputs, self.labels, self.settings.batch_size
        if size == 0:
            yield from itertools.repeat((inputs, labels), last - first)
            return
        how = {"first": first, "sampling": self.sampling}
        for chosen in ensembles.batches(len(inputs), size, seeds, last, **how):
            chosen = chosen.repeat(copies, 1).to(inputs.device)
            own = labels.take(chosen) if labels.dim() == 1 else labels.gather(1, chosen)
            yield torch.embedding(inputs, chosen), own  # faster than inputs[chosen]

    def losses_and_gradients(self, theta: Tensor, inputs, labels) -> tuple[Tensor, Tensor]:
        return ensembles.losses_and_gradients(theta, self.widths, inputs, labels, self.loss)

    def exact(self, theta: Tensor) -> Exact:
        theta, decay = theta.double(), self.settings.weight_decay
        given = self.widths, self.inputs.double(), self.labels, self.loss
        losses, gradients, variances = ensembles.exact_statistics(theta, *given)
        objectives = losses + decay / 2 * torch.linalg.vecdot(theta, theta)
        return Exact(losses, objectives, gradients + decay * theta, variances)

    def epoch(self, step: int) -> float:
        return step * (self.settings.batch_size or len(self.inputs)) / len(self.inputs)


def load(settings: SmallNet, place: Place, side: int = 0) -> Task:
    """Load the data, images of a ``side``; :class:`UsageError` where they cannot be had."""
    how = settings.model_dump(include={"batch_size", "examples", "label_noise"})
    dataset = place.load(data.load, settings.dataset, **how)
    parts = dataset.partition(), dataset.test_batches()
    (inputs, labels), test = (whole(part, side) for part in parts)
    widths = (inputs.shape[1], *settings.hidden, dataset.classes)
    return Task(settings, inputs, labels, widths, place.keeper, test)


def seeds(seed: int, purpose: str, count: int) -> list[int]:
    """Return the seeds of so many nets, or of their minibatches, for a purpose."""
    return [seed_of(seed, purpose, number) for number in range(count)]


class Nets:
    """K nets on their way from a state, and what is kept of it in a checkpoint.

    Parameters
    ----------
    state : weights and buffer to begin with, which are not changed.
    seeds : of the minibatches. Theta may have several times so many rows: nets of equal
        number share their minibatches.
    last, first : the steps are those from ``first`` to ``last - 1``.
    momentum : a number, or (K, 1); that of the settings by default.
    decay : (K, 1) or (K, P), where each net or weight has its own, which the optimiser
        adds: ``gradients`` are then those of the loss, and not of f.
    names : what blocks of equally many nets are called, should one diverge.
    kept : lists, dicts and tensors that the caller changes in place, for the checkpoint:
        ``nets.kept`` has them as they were left, by name.

    ``losses`` (K,) and ``gradients`` (K, P) are those of the step in hand.
    """

    def __init__(
        self, task, state, seeds, last, *, first=0, momentum=None, decay=None, names=(), **kept
    ):
        self.task, self.seeds, self.last, self.names = task, seeds, last, names
        self.momentum = task.settings.momentum if momentum is None else momentum
        self.decay = decay
        theta, buffer = (part.clone() for part in state)
        self.now = task.keeper.begin(step=first, theta=theta, buffer=buffer, **kept)
        self.theta, self.buffer = self.now.theta, self.now.buffer
        self.kept = {name: getattr(self.now, name) for name in kept}

    step = property(lambda self: self.now.step)
    state = property(lambda self: (self.theta, self.buffer))

    def steps(self) -> Iterator[int]:
        """Yield the number of each step, which the caller takes by :meth:`update`.

        Raises :class:`UsageError` where weights are no longer finite.
        """
        task, copies = self.task, len(self.theta) // len(self.seeds)
        for batch in task.batches(self.seeds, self.step, self.last, copies):
            self.losses, self.gradients = task.losses_and_gradients(self.theta, *batch)
            if self.decay is None:
                self.gradients.add_(self.theta, alpha=task.settings.weight_decay)
            yield self.step
            if self.step % CHECKED == 0 or self.step == self.last - 1:
                finite = torch.isfinite(self.theta).view(max(len(self.names), 1), -1).all(1)
                if not finite.all():
                    lost = [repr(name) for name, fine in zip(self.names, finite) if not fine]
                    whose = f" of {', '.join(lost)}" if lost else ""
                    said = f"The weights{whose} are no longer finite at step {self.step}"
                    raise UsageError(f"{said}: lower the learning rate.")
            self.now.step += 1
            if task.keeper.bar:
                task.keeper.bar.advance()
            task.keeper.keep(self.now)

    def update(self, rate) -> None:
        """Take the step in hand, at a learning rate that is a number or (K, 1)."""
        moving = self.theta, self.gradients, self.buffer
        decay = 0.0 if self.decay is None else self.decay
        if self.task.optimizer == "adam":
            ensembles.adam_step(*moving, self.step + 1, rate, decay)
        else:
            ensembles.sgd_step(*moving, rate, self.momentum, decay)
