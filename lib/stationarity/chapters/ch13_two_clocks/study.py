"""Nets whose step size drops, with their decay and what normalisation does taken apart."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from ...runs.metrics import common_rows
from ...train import chance_level, ensembles
from .. import small
from . import nets
from .arms import FULL, first_arms, interventions, slower

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import TwoClocks

TINY = 1e-20
FULL_MEMBERS = 3  # that descend by the full gradient: it is dear
COPIES = 100  # of every image, with the labels that a draw may give it


def two_clocks(settings: TwoClocks, place: Place) -> list[tuple]:
    """Train the arms through their stages; by the full gradient the first members alone.

    Rows of each arm (``of``), ``member``, stage (``index``) and ``step`` of the stage. The
    gradient is that of the training loss, without decay, over all minibatches of a fixed
    partition, each normalised by itself, and over all labels that a draw may have:

    - ``loss``, ``gradient_norm``, ``noise_norm``: exact there;
    - ``normalised_norm``, ``others_norm``: of the gradient's two parts;
    - ``angular_norm``: of the gradient by the direction of every unit's weights, the norm
      of each unit's gradient times that of its weights;
    - ``weight_norm``: of the normalised weights; ``living_units``: the share of the units
      whose weights are longer than a hundredth of the root mean square of all.

    Raises :class:`UsageError` where a net diverges; warns where decay keeps one from learning.
    """
    task, keeper = Task(settings, place), place.keeper
    seeds = small.seeds(settings.seed, "member", settings.members)
    arms, rows = first_arms(settings), []
    first, second, third = settings.stages
    with keeper.progress("two clocks", sum(settings.stages) + settings.full_steps):
        theta = nets.initialise(task.widths, seeds).repeat(len(arms), 1).to(task.inputs)
        state = theta, torch.zeros_like(theta)

        def stage(number, arms, state, first, last, full=False):
            mine = seeds[: FULL_MEMBERS if full else None]
            *state, looks = keeper.part(
                f"stage {number}{full * ', full gradient'}",
                lambda: _stage(task, arms, state, mine, first, last, full),
            )
            for step, values in looks:
                axes = {"of": [arm.name for arm in arms], "member": range(len(mine))}
                epoch = task.epoch(step)
                rows.extend(common_rows(values, **axes, index=number, step=step, epoch=epoch))
            return state

        state = stage(1, arms, state, 0, first)
        own = slice(0, len(seeds))  # nets of the first arm
        more = interventions(settings)
        wide = [torch.cat([part, part[own].repeat(len(more), 1)]) for part in state]
        done = stage(2, slower([*arms, *more]), wide, first, first + second)
        full = slower([arms[0]._replace(name=FULL)])
        few = [part[own][:FULL_MEMBERS] for part in state]
        stage(2, full, few, 0, settings.full_steps, True)
        last = slower(slower(arms[:1]))
        stage(3, last, [part[own] for part in done], first + second, first + second + third)
    return rows


class Task(small.Task):
    """The training set in memory, with the labels that a draw may have."""

    norm: Tensor  # (K, 1, 1), False for a net without normalisation
    full = False  # whether a step is by the gradient over all minibatches

    def __init__(self, settings: TwoClocks, place: Place):
        super().__init__(**vars(small.load(settings, place)))
        classes, wrong = self.widths[-1], round(settings.wrong * COPIES)
        labels = self.labels[:, None].repeat(1, COPIES)
        labels[:, :wrong] = torch.arange(wrong, device=labels.device) % classes
        self.draws = functional.one_hot(labels, classes).to(self.inputs)  # (n, COPIES, classes)
        size = settings.batch_size
        inside = slice(0, len(self.inputs) // size * size)
        self.partition = self.inputs[inside].view(-1, size, self.widths[0])
        self.targets = self.draws.mean(1)[inside].view(-1, size, classes)

    def exact(self, theta: Tensor) -> nets.Exact:
        return nets.exact(theta, self.widths, self.partition, self.targets, self.norm)

    def losses_and_gradients(self, theta: Tensor, inputs, targets) -> tuple[Tensor, Tensor]:
        if self.full:
            return self.exact(theta)[:2]
        return nets.losses_and_gradients(theta, self.widths, inputs, targets, self.norm)

    def batches(self, seeds: Sequence[int], first: int, last: int, copies: int) -> Iterator:
        """Yield inputs (K, B, D) and targets (K, B, classes) of each step; if full, all."""
        if self.full:
            yield from itertools.repeat((self.partition, self.targets), last - first)
            return
        count = len(self.inputs) * COPIES
        size = self.settings.batch_size
        for drawn in ensembles.batches(count, size, seeds, last, first=first):
            drawn = drawn.to(self.inputs.device)
            image = drawn // COPIES
            inputs, targets = self.inputs[image], self.draws[image, drawn % COPIES]
            yield inputs.repeat(copies, 1, 1), targets.repeat(copies, 1, 1)


def _stage(task, arms, state, seeds, first, last, full) -> tuple[Tensor, Tensor, list]:
    """Take the steps from first to last; return the weights, the buffer and what was seen.

    That is a list of (step of the stage, {quantity: (arms, members)}).
    """
    task, count = copy.copy(task), nets.normalised(task.widths)

    def column(values) -> Tensor:
        return task.column(list(values), len(seeds))

    task.norm, task.full = column(arm.normal for arm in arms)[:, None].bool(), full
    rate, hold = column(arm.rate for arm in arms), column(arm.hold for arm in arms).bool()
    effective = column(arm.effective for arm in arms).bool()
    decay = torch.empty_like(state[0])
    decay[:, :count] = column(arm.decay * arm.weights for arm in arms)
    decay[:, count:] = column(arm.decay * arm.others for arm in arms)
    begun = nets.unit_norms(state[0], task.widths).clamp(min=TINY)  # a unit may have died
    own = dict(decay=decay, names=[arm.name for arm in arms], begun=begun, looks=[])
    ensemble = small.Nets(task, state, seeds, last, first=first, **own)
    weights, (begun, looks) = ensemble.theta[:, :count], ensemble.kept.values()

    def look(step: int) -> None:
        if (step - first) % task.settings.measure_every == 0:
            values = _measure(task, ensemble.theta)
            shaped = {name: each.view(len(arms), -1) for name, each in values.items()}
            looks.append((step - first, shaped))

    for step in ensemble.steps():
        look(step)
        if effective.any():
            share = nets.unit_norms(ensemble.theta, task.widths) / begun
            factor = nets.by_unit(torch.where(effective, share**2, 1.0), task.widths)
            ensemble.gradients[:, :count] *= factor
        ensemble.update(rate)
        if hold.any():
            share = begun / nets.unit_norms(ensemble.theta, task.widths).clamp(min=TINY)
            weights *= nets.by_unit(torch.where(hold, share, 1.0), task.widths)
    look(last)
    if not first and not full:
        for arm, losses in zip(arms, looks[-1][1]["loss"], strict=True):
            own = {"learning_rate": arm.rate, "weight_decay": arm.decay}
            of = f"The loss of {arm.name}", losses, task.widths[-1], task.settings
            chance_level.tell(*of, last, **own)
    return *ensemble.state, looks


def _measure(task: Task, theta: Tensor) -> dict[str, Tensor]:
    """Return each quantity (K,) of :func:`two_clocks`."""
    count, exact = nets.normalised(task.widths), task.exact(theta)
    weights, gradients = (
        nets.unit_norms(part, task.widths) for part in (theta, exact.gradients)
    )
    root = weights.square().mean(1, keepdim=True).sqrt()
    return {
        "loss": exact.losses,
        "gradient_norm": exact.gradients.norm(dim=1),
        "normalised_norm": exact.gradients[:, :count].norm(dim=1),
        "others_norm": exact.gradients[:, count:].norm(dim=1),
        "angular_norm": (gradients * weights).norm(dim=1),
        "noise_norm": exact.noise.sqrt(),
        "weight_norm": weights.norm(dim=1),
        "living_units": (weights > 0.01 * root).to(theta).mean(1),
    }
