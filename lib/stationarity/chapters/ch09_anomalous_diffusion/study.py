"""Small nets followed after their loss has settled: how far they still go.

The nets settle together; then each goes on from there with settings that differ from
its own in one place, and its distance from reference points is measured. No weights are
stored but those of the reference points. Source: our section "Anomalous diffusion".
"""

import dataclasses
import functools
import math

import numpy as np
import torch
from torch import Tensor

from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.seeds import seed_of
from ...stats.displacement import shared_part, spaced_lags
from ...train import ensembles
from ..ch07_watching_a_distribution_settle.study import Task, load_task
from .settings import DiffusionStudy
from .walks import displacement_rows

BASE = "base"
LOOKS = 12  # measurements of the loss after the burn-in
VARIED = {
    "learning_rate": "learning_rates", "batch_size": "batch_sizes", "momentum": "momenta",
    "weight_decay": "weight_decays",
}  # fmt: skip


def diffusion(
    settings: DiffusionStudy, data_root=None, device="cpu", keeper=None
) -> list:
    """Let nets settle, and follow them with each variation of the settings. Rows:

    - ``settling_loss [k]``: loss of member k on the way to the settled state;
    - of each variation, such as ``learning_rate=0.01`` or ``base``:
      ``global_displacement_squared (variation)[k,r]``, ||theta_{t+step} - theta_t||^2 of
      member k from reference point r, and ``local_displacement_squared (variation)[k]``,
      ||delta||^2 of the step that leads there, mean over the reference points; the step
      is the lag. ``loss (variation)[k]`` at so many steps after the burn-in;
    - ``replica_displacement_squared [k]`` and ``shared_displacement_squared [k]``: of
      replicas that branch from settled net k at the base settings and differ in their
      minibatches, the mean square, and the square of the mean displacement (unbiased).

    Losses are exact over the training set (nats, without decay). Minibatches are drawn
    with replacement, but for ``sampling=reshuffled``. The members of all variations of
    one batch size share their minibatches: they differ by their settings alone. Raises
    :class:`UsageError` for a study that cannot be made, and where a net diverges.
    """
    _check(settings)
    keeper = keeper or Keeper()
    task = load_task(settings, data_root, device)
    with keeper.progress("diffusion", all_steps(settings)) as progress:
        state, rows = keeper.part("settle", lambda: _settle(task, keeper, progress))
        for number, group in enumerate(_groups(settings)):
            follow = functools.partial(_follow, task, keeper, progress, state, group)
            rows = rows + keeper.part(f"group {number}", follow)
        if settings.branches:
            found = keeper.part(
                "replicas", lambda: _replicas(task, keeper, progress, state)
            )
            rows = rows + found
    return rows


def variations(settings: DiffusionStudy) -> dict[str, dict]:
    """Return name -> the settings that differ from the base; the base comes first.

    >>> from stationarity import experiments
    >>> list(variations(experiments.get("diffusion")))[:2]
    ['base', 'learning_rate=0.002']
    """
    found = {BASE: {}}
    for name, values in VARIED.items():
        for value in getattr(settings, values):
            found[f"{name}={value:g}"] = {name: value}
    if settings.reshuffled:
        found["sampling=reshuffled"] = {"sampling": "reshuffled"}
    return found


def _groups(settings: DiffusionStudy) -> list[dict]:
    """Return the variations in groups that one batched pass can serve."""
    groups = {}
    for name, changed in variations(settings).items():
        key = (changed.get("batch_size", settings.batch_size), changed.get("sampling"))
        groups.setdefault(key, {})[name] = changed
    return list(groups.values())


def followed(settings: DiffusionStudy) -> int:
    """Return the steps of a trajectory after its burn-in."""
    return (settings.references - 1) * (
        settings.spacing or settings.longest
    ) + settings.longest


def all_steps(settings: DiffusionStudy) -> int:
    """Return the steps that the study takes one after another."""
    each = settings.burn_in + followed(settings)
    replicas = settings.longest if settings.branches else 0
    return settings.settle + len(_groups(settings)) * each + replicas


def _settle(task: Task, keeper: Keeper, progress) -> tuple:
    """Train all members at the base settings; return their state, and rows of the loss."""
    settings, device = task.settings, task.inputs.device
    theta = ensembles.initialise(task.widths, _seeds(settings, "member"), device=device)
    state = (theta, torch.zeros_like(theta))
    every = max(settings.settle // LOOKS, 1)

    def observe(step, theta, buffer):
        return _losses(task, step, theta, "settling_loss ") if step % every == 0 else []

    return _walk(
        task, keeper, progress, state, [{}], settings.settle, "settle", observe
    )


def _follow(task: Task, keeper: Keeper, progress, state: tuple, group: dict) -> list:
    """Go on from the settled state with each variation of a group; return its rows."""
    settings, names, members = task.settings, list(group), task.settings.members
    lags = spaced_lags(settings.longest)
    begins = np.arange(settings.references) * (settings.spacing or settings.longest)
    theta, buffer = (part.repeat(len(group), 1) for part in state)
    references = theta.new_zeros(len(begins), *theta.shape)
    squares = torch.zeros(len(theta), len(begins), len(lags), dtype=torch.float64)
    local = torch.zeros_like(squares)
    rates = _column(task, group.values(), "learning_rate").double().cpu()[:, 0]
    every = max(followed(settings) // LOOKS, 1)
    place = {int(lag): i for i, lag in enumerate(lags)}

    def observe(step, theta, buffer):
        since = step - settings.burn_in
        for r, begin in enumerate(begins):
            if since == begin:
                references[r] = theta
            if since - begin in place:
                at = (slice(None), r, place[int(since - begin)])
                squares[at] = _squared(theta - references[r])
                local[at] = rates**2 * _squared(buffer)
        if since < 0 or since % every:
            return []
        parts = zip(names, theta.split(members), strict=True)
        return [
            row
            for name, part in parts
            for row in _losses(task, since, part, f"loss ({name})")
        ]

    kept = {"references": references, "squares": squares, "local": local}
    steps = settings.burn_in + followed(settings)
    arguments = ((theta, buffer), list(group.values()), steps, "follow", observe, kept)
    _, rows = _walk(task, keeper, progress, *arguments)
    shape = (len(names), members, len(begins), len(lags))
    for name, far, near in zip(
        names, squares.view(shape), local.view(shape), strict=True
    ):
        rows += displacement_rows(f"({name})", lags, far.numpy())
        rows += _member_rows(f"local_displacement_squared ({name})", lags, near.mean(1))
    return rows


def _replicas(task: Task, keeper: Keeper, progress, state: tuple) -> list:
    """Let replicas branch from each settled net; return what they share of the way."""
    settings, count = task.settings, task.settings.branches
    lags = spaced_lags(settings.longest)
    start, buffer = (part.repeat_interleave(count, 0) for part in state)
    found = torch.zeros(2, settings.members, len(lags), dtype=torch.float64)
    place = {int(lag): i for i, lag in enumerate(lags)}

    def observe(step, theta, buffer):
        if step in place:
            gone = (theta - start).view(settings.members, count, -1).double().cpu()
            for part, values in zip(found, shared_part(gone.numpy()), strict=True):
                part[:, place[step]] = torch.from_numpy(values)
        return []

    arguments = (
        (start, buffer),
        [{}],
        settings.longest,
        "replicas",
        observe,
        {"found": found},
    )
    _walk(task, keeper, progress, *arguments)
    names = ("replica_displacement_squared ", "shared_displacement_squared ")
    return [
        row
        for name, values in zip(names, found, strict=True)
        for row in _member_rows(name, lags, values)
    ]


def _walk(
    task, keeper, progress, state, changes, steps, purpose, observe, kept=None
) -> tuple:
    """Take steps from a state (theta, buffer); return the last one, and rows.

    ``changes`` are the variations in hand: each has as many rows of theta as the next.
    ``observe(step, theta, buffer)`` gives the rows before the first step and after every
    one; ``kept`` are tensors that it fills. ``purpose`` keys the minibatches.
    """
    kept = kept or {}
    theta, buffer = (part.clone() for part in state)
    rates, momenta, decays = (
        _column(task, changes, name, len(theta) // len(changes))
        for name in ("learning_rate", "momentum", "weight_decay")
    )
    first, theta, buffer, rows, *found = keeper.begin(
        step=0, theta=theta, buffer=buffer, rows=[], **kept
    )
    for mine, earlier in zip(kept.values(), found, strict=True):
        mine.copy_(earlier)
    if first == 0:
        rows = rows + observe(0, theta, buffer)
    for step, chosen in enumerate(
        _batches(task, changes[0], purpose, len(theta), first, steps)
    ):
        step += first + 1
        losses, gradients = ensembles.losses_and_gradients(
            theta, task.widths, task.inputs[chosen], task.labels[chosen]
        )
        ensembles.sgd_step(theta, gradients, buffer, rates, momenta, decays)
        if step % 100 == 0:
            _check_finite(losses, changes)
        rows += observe(step, theta, buffer)
        progress.advance()
        keeper.keep(step=step, theta=theta, buffer=buffer, rows=rows, **kept)
    return (theta, buffer), rows


def _batches(task: Task, change: dict, purpose: str, rows: int, first: int, last: int):
    """Yield the examples (rows, S) of each step: of variations the same for a member."""
    settings = task.settings
    count = settings.members * (settings.branches if purpose == "replicas" else 1)
    size = change.get("batch_size", settings.batch_size)
    sampling = change.get("sampling", "replacement")
    seeds = _seeds(settings, purpose, count)
    for chosen in ensembles.batches(
        len(task.labels), size, seeds, last, first=first, sampling=sampling
    ):
        yield chosen.repeat(rows // count, 1)


def _seeds(settings: DiffusionStudy, purpose: str, count: int = 0) -> list[int]:
    return [
        seed_of(settings.seed, purpose, k) for k in range(count or settings.members)
    ]


def _column(task: Task, changes, name: str, each: int = 0) -> Tensor:
    """Return a setting of every row of theta, (K, 1)."""
    settings = task.settings
    values = [change.get(name, getattr(settings, name)) for change in changes]
    column = torch.tensor(values, dtype=task.inputs.dtype, device=task.inputs.device)
    return column.repeat_interleave(each or settings.members)[:, None]


def _squared(vectors: Tensor) -> Tensor:
    """Return squared norms (K,) in float64 on the CPU."""
    vectors = vectors.double()
    return torch.linalg.vecdot(vectors, vectors).cpu()


def _losses(task: Task, step: int, theta: Tensor, name: str) -> list:
    losses, _, _ = ensembles.exact_statistics(
        theta, task.widths, task.inputs, task.labels
    )
    return [
        (step, math.nan, f"{name}[{k}]", v, math.nan)
        for k, v in enumerate(losses.tolist())
    ]


def _member_rows(name: str, lags, values: Tensor) -> list:
    """Return the rows of values (K, L) at lags."""
    return [
        (int(lag), math.nan, f"{name}[{k}]", value, math.nan)
        for k, member in enumerate(values.tolist())
        for lag, value in zip(lags, member, strict=True)
    ]


def _check_finite(losses: Tensor, changes: list) -> None:
    finite = torch.isfinite(losses).view(len(changes), -1).all(1)
    if not finite.all():
        changed = changes[int(finite.logical_not().nonzero()[0])]
        what = ", ".join(f"{k}={v}" for k, v in changed.items()) or "the base settings"
        raise UsageError(
            f"A net diverged with {what}: lower that learning rate or momentum."
        )


def _check(settings: DiffusionStudy) -> None:
    for name in ("settle", "longest", "references"):
        if getattr(settings, name) < 1:
            raise UsageError(f"The setting {name} must be at least 1.")
    if settings.members < 2:
        raise UsageError("The setting members must be at least 2, for intervals.")
    if settings.longest < 12:
        raise UsageError(
            f"A longest lag of {settings.longest} steps is too short for an exponent: the "
            "setting longest must be at least 12."
        )
    if settings.burn_in < 0 or settings.spacing < 0:
        raise UsageError("The settings burn_in and spacing must not be negative.")
    if settings.branches == 1:
        raise UsageError("The setting branches must be 0 or at least 2.")
    for change in variations(settings).values():
        value = dataclasses.replace(
            settings, **{k: v for k, v in change.items() if k in VARIED}
        )
        if not 0 <= value.momentum < 1:
            raise UsageError(
                f"Every momentum must lie in [0, 1), and {value.momentum} does not."
            )
        if (
            not value.learning_rate > 0
            or value.batch_size < 1
            or value.weight_decay < 0
        ):
            raise UsageError(
                "Learning rates and batch sizes must be positive, and weight decays not "
                f"negative: {change} is not."
            )
