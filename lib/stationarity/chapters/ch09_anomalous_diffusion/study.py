"""Small nets followed after their loss has settled: how far they still go.

The nets settle together; then each goes on from there with settings that differ from
its own in one place. Source: our section "Anomalous diffusion".
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...runs.metrics import common_rows, rows
from ...stats.displacement import spaced_lags
from ...train import chance_level, ensembles
from .. import small

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import DiffusionStudy

BASE = "base"
LOOKS = 12  # measurements of the loss while nets settle, and again while they are followed
VARIED = {
    "learning_rate": "learning_rates", "batch_size": "batch_sizes", "momentum": "momenta",
    "weight_decay": "weight_decays",
}  # fmt: skip


def diffusion(settings: DiffusionStudy, place: Place) -> list[tuple]:
    """Let nets settle, and follow them with each variation of the settings. Rows:

    - ``settling_loss`` of each ``member`` on the way to the settled state;
    - ``of`` each of the :func:`variations`, with the lag as step:
      ``global_displacement_squared`` of each ``member`` from reference point ``index``, and
      ``local_displacement_squared``, ||delta||^2 of the step that leads there, mean over
      the reference points; ``loss``, so many steps after the burn-in;
    - of replicas of each net at the base settings ``replica_displacement_squared`` and
      ``shared_displacement_squared``, the two of :func:`shared_part`.

    Losses are exact over the training set (nats, without decay), all numbers in float32, for
    a small record. Raises :class:`UsageError` for data that cannot be had, and where a net
    diverges.
    """
    task, keeper = small.load(settings, place, settings.side), place.keeper
    groups, replicas = {}, settings.longest if settings.branches else 0
    for name, changed in variations(settings).items():  # one batched pass serves a group
        key = (changed.get("batch_size", settings.batch_size), changed.get("sampling"))
        groups.setdefault(key, {})[name] = changed
    followed = len(groups) * (settings.burn_in + settings.followed)
    with keeper.progress("diffusion", settings.settle + followed + replicas):
        state, settling = keeper.part("settle", lambda: _settle(task))
        metrics = [*settling]
        for number, group in enumerate(groups.values()):
            metrics += keeper.part(f"group {number}", lambda: _follow(task, state, group))
        if settings.branches:
            metrics += keeper.part("replicas", lambda: _replicas(task, state))
    return metrics


def variations(settings: DiffusionStudy) -> dict[str, dict]:
    """Return name, as ``learning_rate=0.01``, -> what differs from the base, the first."""
    changes = {BASE: {}}
    for name, values in VARIED.items():
        changes |= {f"{name}={value:g}": {name: value} for value in getattr(settings, values)}
    if settings.crossed:
        for rate, momentum in itertools.product(settings.learning_rates, settings.momenta):
            both = {"learning_rate": rate, "momentum": momentum}
            changes[" ".join(f"{name}={value:g}" for name, value in both.items())] = both
    if settings.reshuffled:
        changes["sampling=reshuffled"] = {"sampling": "reshuffled"}
    return changes


def _settle(task: small.Task) -> tuple[small.Weights, list[tuple]]:
    settings, members = task.settings, range(task.settings.members)
    start = task.start(small.seeds(settings.seed, "member", len(members)))
    nets, rate = _nets(task, start, {BASE: {}}, "settle", settings.settle, metrics=[])
    every = max(settings.settle // LOOKS, 1)
    for step in _moments(nets, rate):
        if step % every == 0:
            losses = _losses(nets)
            nets.kept["metrics"] += rows("settling_loss", losses, member=members, step=step)
    lost = _losses(nets), task.widths[-1], settings, settings.settle
    chance_level.tell("The loss of the nets", *lost)
    return nets.state, nets.kept["metrics"]


def _follow(task: small.Task, state: small.Weights, group: dict) -> list[tuple]:
    settings, lags = task.settings, spaced_lags(task.settings.longest)
    begins = np.arange(settings.references) * (settings.spacing or settings.longest)
    theta, buffer = (part.repeat(len(group), 1) for part in state)
    nets_of = (len(group), settings.members)
    squares = torch.zeros(2, *nets_of, len(begins), len(lags))
    kept = dict(references=theta.repeat(len(begins), 1, 1), squares=squares, metrics=[])
    last, every = settings.burn_in + settings.followed, max(settings.followed // LOOKS, 1)
    nets, rate = _nets(task, (theta, buffer), group, "follow", last, **kept)
    references, squares, metrics = nets.kept.values()
    squared_rate = rate[:, 0].double().cpu() ** 2
    where = dict(of=list(group), member=range(settings.members))
    for step in _moments(nets, rate):
        since = step - settings.burn_in
        for r, begin in enumerate(begins):
            if since == begin:
                references[r] = nets.theta
            if since - begin in lags:
                far, near = _squared(nets.theta - references[r]), _squared(nets.buffer)
                both = torch.stack([far, squared_rate * near]).view(2, *nets_of)
                squares[..., r, np.searchsorted(lags, since - begin)] = both
        if since >= 0 and since % every == 0:
            metrics += rows("loss", _losses(nets).view(nets_of), **where, step=since)
    for (name, own), losses in zip(group.items(), _losses(nets).view(nets_of), strict=True):
        if "weight_decay" in own:
            lost = f"The loss with {name}", losses, task.widths[-1], settings, last
            chance_level.tell(*lost, **own)
    far, near = squares
    metrics += rows("local_displacement_squared", near.mean(2), **where, step=lags)
    where |= dict(index=range(len(begins)), step=lags)
    return metrics + rows("global_displacement_squared", far, **where)


def shared_part(displacements: NDArray) -> tuple[NDArray, NDArray]:
    """Return E‖Δ‖² of replicas (..., M, D) from one state, and ‖E Δ‖² that they share.

    Both (...), squared units. The second is unbiased, and negative at times.
    """
    total = (displacements**2).sum(-1).mean(-1)
    spread = displacements.var(axis=-2, ddof=1).sum(-1)
    return total, (displacements.mean(-2) ** 2).sum(-1) - spread / displacements.shape[-2]


def _replicas(task: small.Task, state: small.Weights) -> list[tuple]:
    settings, lags = task.settings, spaced_lags(task.settings.longest)
    start = tuple(part.repeat_interleave(settings.branches, 0) for part in state)
    shape = (settings.members, settings.branches, -1)
    squares = torch.zeros(2, settings.members, len(lags))
    nets, rate = _nets(task, start, {BASE: {}}, "replicas", settings.longest, squares=squares)
    for step in _moments(nets, rate):
        if step in lags:
            gone = (nets.theta - start[0]).view(shape).double().cpu().numpy()
            parts = torch.from_numpy(np.stack(shared_part(gone)))
            nets.kept["squares"][..., np.searchsorted(lags, step)] = parts
    names = ("replica_displacement_squared", "shared_displacement_squared")
    displacements = dict(zip(names, nets.kept["squares"], strict=True))
    return common_rows(displacements, member=range(settings.members), step=lags)


def _nets(
    task: small.Task, state: small.Weights, group: dict, purpose: str, last: int, **kept
) -> tuple[small.Nets, Tensor]:
    """Return nets that go on for ``last`` steps, variation by variation, and rates (K, 1)."""
    settings, changes = task.settings, list(group.values())
    each = len(state[0]) // len(group)
    rate, momentum, decay = (
        task.column([one.get(name, getattr(settings, name)) for one in changes], each)
        for name in ("learning_rate", "momentum", "weight_decay")
    )
    alike = settings.but(batch_size=changes[0].get("batch_size", settings.batch_size))
    sampling = changes[0].get("sampling", "replacement")
    task = dataclasses.replace(task, settings=alike, sampling=sampling)
    given = dict(momentum=momentum, decay=decay, names=list(group)) | kept
    seeds = small.seeds(settings.seed, purpose, each)
    return small.Nets(task, state, seeds, last, **given), rate


def _moments(nets: small.Nets, rate: Tensor) -> Iterator[int]:
    """Take all steps; yield their number before the first one and after each."""
    for step in nets.steps():
        yield step
        nets.update(rate)
    yield nets.last


def _losses(nets: small.Nets) -> Tensor:
    task = nets.task
    given = nets.theta, task.widths, task.inputs, task.labels
    return ensembles.exact_statistics(*given)[0].float()


def _squared(vectors: Tensor) -> Tensor:
    vectors = vectors.double()
    return torch.linalg.vecdot(vectors, vectors).cpu()
