"""How far does it reach? Regimes of training, each an ensemble of small nets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import data
from ...runs.metrics import common_rows
from ...train import ensembles
from .. import small

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import Regime, RegimeStudy


def regimes(settings: RegimeStudy, place: Place) -> list[tuple]:
    """Train every regime's nets. Rows ``of`` each regime, of each net ``member``:

    - ``gradient_norm_squared``: ||grad f||^2 of the mean loss plus (weight_decay / 2)
      ||theta||^2, in the loss's units (nats for cross-entropy);
    - ``noise_norm``: the root of E||g_B - grad f||^2, 0 for the whole set;
    - ``weight_norm``, and ``learning_rate`` (that of the last step taken).

    At the steps of :func:`recorded_steps`, exact for the training set: no error. Members of
    equal number share initial weights, wrong labels and, where sizes agree, batches in all
    regimes. Raises :class:`UsageError` where a net's weights are not finite.
    """
    keeper, groups, rows = place.keeper, {}, []
    for r in settings.regimes:  # together those that one ensemble can train
        alike = (r.batch_size, r.sampling, r.loss, r.optimizer, r.hidden, r.examples, r.length)
        groups.setdefault(alike, []).append(r)
    size = max(regime.batch_size for regime in settings.regimes) or 1
    how = {"batch_size": size, "examples": settings.examples}
    dataset = place.load(data.load, settings.dataset, **how)
    whole = data.whole(dataset.partition())
    steps = sum(settings.steps_of(group[0]) for group in groups.values())
    with keeper.progress("regimes", steps):
        for group in groups.values():
            rows += keeper.part(group[0].name, lambda: _train(group, settings, *whole, keeper))
    return rows


def rates(regime: Regime, steps: int) -> NDArray:
    """Return the learning rate of every step (steps,), by the regime's schedule."""
    step = np.arange(steps)
    factor = {
        "constant": lambda: np.ones(steps),
        "stages": lambda: 0.1 ** (3 * step // steps),  # a tenth after each third
        "cosine": lambda: (1 + np.cos(math.pi * step / steps)) / 2,
        "inverse": lambda: 1 / (1 + step / regime.timescale),
    }[regime.schedule]()
    return regime.learning_rate * factor


def recorded_steps(steps: int) -> NDArray:
    """Return the steps that are measured: rarer with time, then evenly in the last half."""
    early = np.geomspace(1, steps, 30).round().astype(int)
    late = np.linspace(steps / 2, steps, 40).round().astype(int)
    return np.unique(np.concatenate([[0], early, late]))


def _train(group: list[Regime], settings: RegimeStudy, inputs, labels, keeper) -> list[tuple]:
    alike, members, steps = group[0], settings.members, settings.steps_of(group[0])
    seeds, classes = small.seeds(settings.seed, "net", members), int(labels.max()) + 1
    inputs = inputs[: alike.examples or None].to(getattr(torch, settings.precision))
    labels = labels[: alike.examples or None]
    targets = [
        data.with_wrong_labels(labels, regime.wrong_labels, classes, seed, "wrong labels")
        for regime in group
        for seed in seeds
    ]
    widths = (inputs.shape[1], *alike.hidden, classes)
    how = dict(loss=alike.loss, optimizer=alike.optimizer, sampling=alike.sampling)
    task = small.Task(alike, inputs, torch.stack(targets), widths, keeper, **how)
    rate = task.column(np.stack([rates(regime, steps) for regime in group], -1), members)
    momentum = task.column([regime.momentum for regime in group], members)
    decay = task.column([regime.weight_decay for regime in group], members)
    own = dict(momentum=momentum, decay=decay, names=[regime.name for regime in group])
    nets = small.Nets(task, task.start(seeds * len(group)), seeds, steps, **own, rows=[])
    recorded = set(recorded_steps(steps).tolist())
    for step in nets.steps():
        if step in recorded:
            nets.kept["rows"] += _measured(nets, group, step, rate[max(step - 1, 0)])
        nets.update(rate[step])
    return nets.kept["rows"] + _measured(nets, group, steps, rate[-1])


def _measured(nets: small.Nets, group: list[Regime], step: int, rate: Tensor) -> list[tuple]:
    task, weights = nets.task, nets.theta.double()
    size, count = task.settings.batch_size, len(task.inputs)
    apart = 1 if task.sampling == "replacement" else (count - size) / (count - 1)
    share = apart / size if size else 0.0  # of the variance of one example's gradient
    _, gradients, variances = ensembles.exact_statistics(
        nets.theta, task.widths, task.inputs, task.labels, loss=task.loss
    )
    decay = torch.tensor([regime.weight_decay for regime in group], dtype=torch.float64)
    decay = decay.repeat_interleave(len(nets.seeds)).to(weights.device)
    gradients = gradients.double() + decay.unsqueeze(1) * weights
    values = {
        "gradient_norm_squared": gradients.square().sum(1),
        "noise_norm": (variances * share).sqrt(),
        "weight_norm": weights.square().sum(1).sqrt(),
        "learning_rate": rate.squeeze(1),
    }
    values = {quantity: each.view(len(group), -1) for quantity, each in values.items()}
    axes = dict(of=[regime.name for regime in group], member=range(len(nets.seeds)), step=step)
    return common_rows(values, **axes, epoch=task.epoch)
