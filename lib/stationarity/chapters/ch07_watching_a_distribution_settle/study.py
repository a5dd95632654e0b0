"""Small nets followed for very long, and replicas that branch from one of them.

f is the objective with decay, b PyTorch's momentum buffer after the update, g the
gradient of a minibatch of f, theta the weights before the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ... import measure
from ...nets import mlp
from ...runs import metrics
from ...runs.seeds import seed_of
from ...train import chance_level
from ...train.schedules import dropped
from .. import small
from ..small import Task

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import ReplicaStudy, SettlingStudy

DIRECTIONS = 2  # random directions, and as many top Hessian directions
STATE = ("loss", "gradient_norm", "minibatch_loss", "buffer_norm")  # of the first member


def settling(settings: SettlingStudy, place: Place) -> list[tuple]:
    """Train ``members`` small nets together and follow them. Rows:

    - of every member at every ``measure_every`` steps, exact and over all the data: ``loss``,
      ``gradient_norm`` (of f), ``weight_norm_squared``; ``full_product``, <theta, grad f>;
      ``gain``, -<grad f, delta> of the step delta taken next; ``change`` of f by it;
    - mean over the steps since the last of these: ``product``, <theta, g>; ``square``, ||b||^2;
    - of the first member at every ``record_every`` steps, without a number: ``minibatch_loss``,
      ``buffer_norm``, and what :func:`replicas` observes, with Hessian directions from before
      the first drop of the rate.
    """
    task = small.load(settings, place)
    of_members = {"member": range(settings.members), "epoch": task.epoch}
    seeds = small.seeds(settings.seed, "member", settings.members)
    start = task.start(seeds)
    sums = start[0].new_zeros(2, settings.members, dtype=torch.float64)
    nets = small.Nets(task, start, seeds, settings.steps, sums=sums, rows=[], records=[])
    sums, rows, records = nets.kept.values()
    stored = place.keeper.table(nets.theta.shape[1], len(records))
    with place.keeper.progress("settling", settings.steps):
        for step in nets.steps():
            if step % settings.record_every == 0:
                stored.write(len(records), nets.theta[0])
                exact, buffer = task.exact(nets.theta[:1]), nets.buffer[0].norm()
                state = exact.losses[0], exact.gradients[0].norm(), nets.losses[0], buffer
                records.append((step, *map(float, state)))
            measured = step % settings.measure_every == 0
            if measured:
                before, values = nets.theta.double(), _means_since(task, step, sums)
            sums[0] += torch.linalg.vecdot(nets.theta, nets.gradients)
            nets.update(dropped(settings.learning_rate, step, settings.drops))
            sums[1] += torch.linalg.vecdot(nets.buffer, nets.buffer)
            if measured:
                values |= _over_step(task, before, nets.theta.double())
                rows += metrics.common_rows(values, **of_members, step=step)
    losses, classes = task.exact(nets.theta).losses, task.widths[-1]
    chance_level.tell("The loss of the nets", losses, classes, settings, settings.steps)
    values = _means_since(task, settings.steps, sums)
    rows += metrics.common_rows(values, **of_members, step=settings.steps)
    (steps, *columns), weights = zip(*records, strict=True), stored.read(len(records))
    drop = min([*settings.drops, settings.steps - 1])
    unit = directions(task, weights[np.searchsorted(steps, drop, side="right") - 1])
    weights = weights.double()
    values = dict(zip(STATE, columns, strict=True), weight_norm=weights.norm(dim=1))
    rows += metrics.common_rows(values, step=steps, epoch=task.epoch)
    return rows + _projected(task, weights, unit, step=steps)


def _means_since(task: Task, step: int, sums: Tensor) -> dict[str, Tensor]:
    if step == 0:
        return {}
    products, squares = sums / ((step - 1) % task.settings.measure_every + 1)
    sums.zero_()
    return {"product": products, "square": squares}


def _over_step(task: Task, before: Tensor, after: Tensor) -> dict[str, Tensor]:
    exact = task.exact(before)
    return {
        "loss": exact.losses,
        "gradient_norm": exact.gradients.norm(dim=1),
        "weight_norm_squared": torch.linalg.vecdot(before, before),
        "full_product": torch.linalg.vecdot(before, exact.gradients),
        "gain": -torch.linalg.vecdot(exact.gradients, after - before),
        "change": task.exact(after).objectives - exact.objectives,
    }


def _projected(task: Task, weights: Tensor, unit: Tensor, **axes) -> list[tuple]:
    random, hessian = (weights @ unit.T).split(DIRECTIONS, 1)
    axes |= {"index": range(DIRECTIONS), "epoch": task.epoch}
    return metrics.common_rows({"random": random, "hessian": hessian}, **axes)


def directions(task: Task, theta: Tensor) -> Tensor:
    """Unit vectors (2 DIRECTIONS, P), float64: random ones, top Hessian ones at theta."""
    generator = torch.Generator().manual_seed(seed_of(task.settings.seed, "directions"))
    random = torch.randn(DIRECTIONS, len(theta), generator=generator, dtype=torch.float64)
    random /= random.norm(dim=1, keepdim=True)
    model = mlp(task.widths).to(task.inputs)
    nn.utils.vector_to_parameters(theta.to(task.inputs), model.parameters())
    batch = (task.inputs, task.labels)
    top = measure.sharpness(model, measure.cross_entropy, [batch], k=DIRECTIONS)
    return torch.cat([random, top.eigenvectors.double().cpu()])


def replicas(settings: ReplicaStudy, place: Place) -> list[tuple]:
    """Branch replicas from one net; follow them and its own trajectory.

    Rows of the trajectory at every ``record_every`` steps from the branch on, and of each
    replica (``member``) at every ``measure_every``: ``loss``, ``gradient_norm`` (of f),
    ``weight_norm``, and the projections of the weights on two ``random`` and the two top
    ``hessian`` directions of the branch (``index``). Only minibatches differ.
    """
    task, keeper, rows = small.load(settings, place), place.keeper, []
    one = small.seeds(settings.seed, "member", 1)
    many = small.seeds(settings.seed, "replica", settings.replicas)
    parts = {
        "trajectory": (one, settings.trajectory, settings.record_every, [None]),
        "replicas": (many, settings.steps, settings.measure_every, range(len(many))),
    }
    total = settings.burn_in + settings.trajectory + settings.steps
    with keeper.progress("replicas", total):
        branch = keeper.part("burn-in", lambda: _burned_in(task, one))
        unit = directions(task, branch[0][0].cpu()).to(place.device)
        for name, how in parts.items():
            rows += keeper.part(name, lambda: _follow(task, branch, unit, *how))
    return rows


def _burned_in(task: Task, seeds: list[int]) -> small.Weights:
    nets = small.Nets(task, task.start(seeds), seeds, task.settings.burn_in)
    for _ in nets.steps():
        nets.update(task.settings.learning_rate)
    losses, classes = task.exact(nets.theta).losses, task.widths[-1]
    chance_level.tell("The loss of the net", losses, classes, task.settings, nets.last)
    return nets.state


def _follow(
    task: Task, branch: small.Weights, unit: Tensor, seeds: list, steps: int, every: int, member
) -> list[tuple]:
    first, state = task.settings.burn_in, (part.expand(len(seeds), -1) for part in branch)
    nets = small.Nets(task, state, seeds, first + steps, first=first, rows=[])
    rows = nets.kept["rows"]

    def observe(step: int) -> None:
        if step % every == 0:
            exact, theta = task.exact(nets.theta), nets.theta.double()
            values = {"loss": exact.losses, "gradient_norm": exact.gradients.norm(dim=1)}
            values["weight_norm"] = theta.norm(dim=1)
            at = {"member": member, "step": step}
            rows.extend(metrics.common_rows(values, **at, epoch=task.epoch))
            rows.extend(_projected(task, theta, unit, **at))

    for step in nets.steps():
        observe(step - first)
        nets.update(task.settings.learning_rate)
    observe(steps)
    return rows
