"""Averages over the last weights of a run, beside the weights of single moments.

Source: Polyak and Juditsky, 1992; for nets Izmailov and others, 2018.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...runs.metrics import common_rows
from ...train import ensembles
from .. import small

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import AveragingStudy


def averaging(settings: AveragingStudy, place: Place) -> list[tuple]:
    """Compare averages over the last weights with moments.

    Rows ``of`` each ``learning_rate=...`` and of each ``member``:

    - ``loss``, ``accuracy``: of the average over the last ``step`` weights of the
      constant stage, exact over the training set (nats, with its label noise) and on
      the test set;
    - ``moment_loss``, ``moment_accuracy``: the means over single moments of that window,
      or of the last window but one where it is shorter than that;
    - ``late_accuracy``, ``spread_in_time``: mean and standard deviation of the test
      accuracy over the moments in the later half of the longest window;
    - ``annealed_loss``, ``annealed_accuracy``: ``step`` steps after the rate was
      divided by ten.

    Raises :class:`UsageError` where a net diverges.
    """
    task, keeper = small.load(settings, place), place.keeper
    seeds = small.seeds(settings.seed, "member", settings.members)
    start = task.start(seeds * len(settings.learning_rates))
    rate, middle = task.column(settings.learning_rates, settings.members), settings.steps
    last, windows = middle + settings.annealed, settings.windows
    with keeper.progress("averaging", last):
        state, moments, averages = keeper.part(
            "constant", lambda: _stage(task, seeds, start, rate, 0, middle, windows)
        )
        _, after, _ = keeper.part(
            "annealed", lambda: _stage(task, seeds, state, rate / 10, middle, last)
        )
    return _rows(task, averages, moments, after)


def _stage(task: small.Task, seeds, state, rate: Tensor, first, last, windows=()) -> tuple:
    """Return the last state; moments (steps since the first, loss, accuracy); averages."""
    kept = dict(total=torch.zeros_like(state[0], dtype=torch.float64), sums={}, moments=[])
    nets = small.Nets(task, state, seeds, last, first=first, **kept)
    total, sums, moments = nets.kept.values()
    begun = {last - window: window for window in windows}
    for step in nets.steps():
        if step in begun:
            sums[begun[step]] = total.clone()
        if step >= min(begun, default=first) and step % task.settings.record_every == 0:
            moments.append((step - first, *_evaluate(task, nets.theta)))
        total += nets.theta
        nets.update(rate)
    means = {window: ((total - sums[window]) / window).float() for window in windows}
    return nets.state, moments, {key: _evaluate(task, mean) for key, mean in means.items()}


def _evaluate(task: small.Task, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return training loss and test accuracy, each (K,) in float64."""
    inputs, labels = task.test
    _, logits = ensembles.forward(theta, task.widths, inputs)
    predicted = logits.argmax(2)
    return task.exact(theta).losses, (predicted == labels).double().mean(1)


def _rows(task: small.Task, averages: dict, moments: list, after: list) -> list[tuple]:
    settings, rows = task.settings, []
    names = [f"learning_rate={rate:g}" for rate in settings.learning_rates]
    axes = {"of": names, "member": range(settings.members)}

    def note(step: int, **quantities: Tensor) -> None:
        split = {name: each.double().view(len(names), -1) for name, each in quantities.items()}
        rows.extend(common_rows(split, **axes, step=step, epoch=task.epoch))

    def last(window: int) -> tuple[Tensor, Tensor]:  # of moments, (T, K)
        chosen = [moment[1:] for moment in moments if moment[0] >= settings.steps - window]
        return tuple(torch.stack(values) for values in zip(*chosen, strict=True))

    for window, (loss, accuracy) in averages.items():
        note(window, loss=loss, accuracy=accuracy)
        losses, accuracies = (part.mean(0) for part in last(max(window, settings.windows[-2])))
        note(window, moment_loss=losses, moment_accuracy=accuracies)
    half = settings.windows[-1] // 2
    _, accuracies = last(half)
    note(half, late_accuracy=accuracies.mean(0), spread_in_time=accuracies.std(dim=0))
    for step, loss, accuracy in after:
        note(step, annealed_loss=loss, annealed_accuracy=accuracy)
    return rows
