"""Averages over the last weights of a run, beside the weights of single moments.

Under an invariant measure the weights of a moment are a draw; their mean over a long
window is one point. Source: our section "Back to practice"; the method is Polyak and
Juditsky's (1992), for nets Izmailov and others' (2018).
"""

import math

import torch
from torch import Tensor

from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.seeds import seed_of
from ...train import ensembles
from ..ch07_watching_a_distribution_settle.study import Task, load_task
from .settings import AveragingStudy


def averaging(settings: AveragingStudy, data_root=None, device="cpu", keeper=None) -> list:
    """Compare averages over the last weights with moments. Rows, for each rate:

    - ``loss``, ``accuracy``: of the average over the last ``step`` weights of the
      constant stage, exact over the training set (nats, with its label noise) and on
      the test set; means over the members with their standard errors;
    - ``moment_loss``, ``moment_accuracy``: the means over single moments of that window,
      or of the last window but one where it is shorter than that;
    - ``gain``: how much lower the loss of the average is than that of these moments,
      paired by member;
    - ``spread_in_time``, ``spread_over_seeds``: standard deviations of the test
      accuracy between moments of one member in the later half of the longest window,
      and of their mean between members;
    - ``annealed_loss``, ``annealed_accuracy``: ``step`` steps after the rate was
      divided by ten.

    Quantities carry the rate, as in ``loss (0.05)``. Raises :class:`UsageError` for
    windows that are not rising or longer than the stage.
    """
    _check(settings)
    keeper = keeper or Keeper()
    task = load_task(settings, data_root, device)
    seeds = [seed_of(settings.seed, "member", k) for k in range(settings.members)]
    seeds = seeds * len(settings.learning_rates)
    with keeper.progress("averaging", settings.steps + settings.annealed) as progress:
        given = (task, seeds, keeper, progress)
        state, averages, moments = keeper.part("constant", lambda: _constant(*given))
        state, after = keeper.part("annealed", lambda: _annealed(*given, state))
    if not torch.isfinite(state[0]).all():
        raise UsageError("A net of the study diverged: lower its learning rates.")
    return _rows(task, averages, moments, after)


def _rates(task: Task, theta: Tensor) -> Tensor:
    """Return the learning rates of all nets, (K, 1)."""
    rates = torch.tensor(task.settings.learning_rates, device=theta.device)
    return rates.repeat_interleave(task.settings.members)[:, None]


def _constant(task: Task, seeds: list, keeper: Keeper, progress) -> tuple:
    """Train at the constant rates. Return the last state, (theta, buffer); loss and
    accuracy of every window's average; and (step, loss, accuracy) of moments.
    """
    settings = task.settings
    theta = ensembles.initialise(task.widths, seeds, device=task.inputs.device)
    rates = _rates(task, theta)
    begun = {settings.steps - window: window for window in settings.windows}
    first, theta, buffer, total, sums, moments = keeper.begin(
        step=0, theta=theta, buffer=torch.zeros_like(theta),
        total=torch.zeros_like(theta, dtype=torch.float64), sums={}, moments=[],
    )  # fmt: skip
    for step, chosen in enumerate(task.batches(seeds, first, settings.steps), first):
        if step in begun:
            sums[begun[step]] = total.clone()
        settled = step >= settings.steps - settings.windows[-1]
        if settled and step % settings.record_every == 0:
            moments.append((step, *_evaluate(task, theta)))
        total += theta
        _, gradients = task.gradients(theta, chosen)
        ensembles.sgd_step(theta, gradients, buffer, rates, settings.momentum)
        progress.advance()
        keeper.keep(
            step=step + 1, theta=theta, buffer=buffer, total=total, sums=sums, moments=moments
        )
    averages = {
        window: _evaluate(task, ((total - sums[window]) / window).float())
        for window in settings.windows
    }
    return (theta, buffer), averages, moments


def _annealed(task: Task, seeds: list, keeper: Keeper, progress, state: tuple) -> tuple:
    """Go on at a tenth of the rates. Return the last state, and moments as above."""
    settings = task.settings
    theta, buffer = (part.clone() for part in state)
    start, last, rates = settings.steps, settings.steps + settings.annealed, _rates(task, theta)
    first, theta, buffer, moments = keeper.begin(
        step=start, theta=theta, buffer=buffer, moments=[]
    )
    for step, chosen in enumerate(task.batches(seeds, first, last), first):
        if step % settings.record_every == 0:
            moments.append((step - start, *_evaluate(task, theta)))
        _, gradients = task.gradients(theta, chosen)
        ensembles.sgd_step(theta, gradients, buffer, rates / 10, settings.momentum)
        progress.advance()
        keeper.keep(step=step + 1, theta=theta, buffer=buffer, moments=moments)
    return (theta, buffer), moments


def _check(settings: AveragingStudy) -> None:
    windows = settings.windows
    if len(windows) < 2 or sorted({0, *windows}) != [0, *windows]:
        raise UsageError(f"The setting windows must be positive and rising, not {windows}.")
    if windows[-1] > settings.steps or 4 * settings.record_every > windows[-1]:
        raise UsageError(
            f"The longest window, {windows[-1]}, must fit into the {settings.steps} steps "
            f"and hold at least four moments, {settings.record_every} steps apart."
        )
    if settings.record_every > windows[-2]:
        raise UsageError(
            f"The last window but one, {windows[-2]}, must hold a moment: lower "
            f"record_every, which is {settings.record_every}."
        )
    if settings.members < 2:
        raise UsageError("The setting members must be at least 2, for standard errors.")


def _evaluate(task: Task, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return training loss and test accuracy, each (K,) in float64."""
    loss, _, _ = task.exact(theta)
    return loss, task.accuracy(theta)


def _rows(task: Task, averages: dict, moments: list, after: list) -> list:
    settings = task.settings
    rows, rates = [], settings.learning_rates

    def note(step: int, name: str, values: Tensor) -> None:
        """Note the mean over the members (R, M), for each rate."""
        values = values.double().view(len(rates), -1)
        errors = values.std(dim=1) / math.sqrt(settings.members)
        for rate, value, error in zip(rates, values.mean(1), errors):
            quantity = f"{name} ({rate:g})"
            rows.append((step, task.epoch(step), quantity, value.item(), error.item()))

    def last(window: int) -> tuple[Tensor, Tensor]:
        """Losses and accuracies (T, K) of the moments in the last so many steps."""
        chosen = [m for m in moments if m[0] >= settings.steps - window]
        return tuple(torch.stack(values) for values in list(zip(*chosen, strict=True))[1:])

    for window, (loss, accuracy) in averages.items():
        losses, accuracies = last(max(window, settings.windows[-2]))
        note(window, "loss", loss)
        note(window, "accuracy", accuracy)
        note(window, "moment_loss", losses.mean(0))
        note(window, "moment_accuracy", accuracies.mean(0))
        note(window, "gain", losses.mean(0) - loss)
    half = settings.windows[-1] // 2
    _, accuracies = last(half)
    note(half, "spread_in_time", accuracies.std(dim=0))
    spread = accuracies.mean(0).view(len(rates), -1).std(dim=1, keepdim=True)
    note(half, "spread_over_seeds", spread.expand(-1, settings.members))
    for step, loss, accuracy in after:
        note(step, "annealed_loss", loss)
        note(step, "annealed_accuracy", accuracy)
    return rows
