"""How far does it reach? Regimes of training, each an ensemble of small nets.

Whether the gradient of the objective vanishes is asked of every regime in the
same way, of several nets each. Regimes that share batch size, loss, optimiser and
net are trained in one ensemble. Book: chapter 5.
"""

import functools
import itertools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import data
from ...data.images import whole, with_wrong_labels
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.seeds import seed_of
from ...train import ensembles
from ...train.settings import Training
from .settings import Regime, RegimeStudy

EARLY, LATE = 30, 40  # measurements: at growing distances, and in the last half


def regimes(settings: RegimeStudy, data_root=None, device="cpu", keeper=None) -> list:
    """Train every regime's nets; return rows of metrics.

    A quantity is named by :func:`named`. Everything is exact for the training set:
    no error. For each regime and member, at the steps of :func:`recorded_steps`:

    - ``objective``: the mean loss plus (weight_decay / 2) ||theta||^2, in the loss's
      units (nats for cross-entropy);
    - ``gradient_norm_squared``: ||grad f||^2 of that objective;
    - ``noise_norm``: the root of E||g_B - grad f||^2, 0 for the whole set;
    - ``weight_norm``, and ``learning_rate`` (that of the last step taken).

    Members of equal number share initial weights, wrong labels and, where sizes
    agree, batches in all regimes: regimes are compared on the same draws.

    Raises :class:`UsageError` where a net's weights are not finite.
    """
    keeper = keeper or Keeper()
    everything = _everything(settings, data_root, device)
    rows, groups = [], _groups(settings.regimes)
    total = sum(steps_of(group[0], settings) for group in groups)
    with keeper.progress("regimes", total) as progress:
        for group in groups:
            compute = functools.partial(_train, group, settings, everything, progress, keeper)
            rows += keeper.part(group[0].name, compute)
    return rows


def named(quantity: str, regime: str, member: int) -> str:
    """Return the name under which the metrics hold a quantity of one net.

    >>> named("noise_norm", "batch of 4", 2)
    'noise_norm (batch of 4, net 2)'
    """
    return f"{quantity} ({regime}, net {member})"


def steps_of(regime: Regime, settings: RegimeStudy) -> int:
    """Return the number of steps that a regime takes."""
    return max(1, round(regime.length * settings.steps))


def rates(regime: Regime, steps: int) -> NDArray:
    """Return the learning rate of every step (steps,).

    ``stages`` divides it by ten after each third of the run; ``inverse`` is
    learning_rate / (1 + k / timescale) at step k.

    >>> rates(Regime("a", 0.3, schedule="stages"), 6).round(4).tolist()
    [0.3, 0.3, 0.03, 0.03, 0.003, 0.003]
    """
    step = np.arange(steps)
    factor = {
        "constant": lambda: np.ones(steps),
        "stages": lambda: 0.1 ** (3 * step // steps),
        "cosine": lambda: (1 + np.cos(math.pi * step / steps)) / 2,
        "inverse": lambda: 1 / (1 + step / regime.timescale),
    }[regime.schedule]()
    return regime.learning_rate * factor


def recorded_steps(steps: int) -> NDArray:
    """Return the steps that are measured: rarer with time, then evenly in the last half."""
    early = np.geomspace(1, steps, EARLY).round().astype(int)
    late = np.linspace(steps / 2, steps, LATE).round().astype(int)
    return np.unique(np.concatenate([[0], early, late]))


def _everything(settings: RegimeStudy, data_root, device) -> tuple[Tensor, Tensor]:
    """Return the whole training set: inputs (n, D) and labels (n,)."""
    size = max(regime.batch_size for regime in settings.regimes) or 1
    training = Training(
        dataset=settings.dataset, examples=settings.examples, model="mlp", epochs=1,
        batch_size=size, learning_rate=1.0, precision=settings.precision,
    )  # fmt: skip
    return whole(data.load(training, data_root, device).partition())


def _groups(chosen: tuple[Regime, ...]) -> list[list[Regime]]:
    """Return the regimes that one ensemble can train, together."""
    groups: dict = {}
    for r in chosen:
        alike = (r.batch_size, r.sampling, r.loss, r.optimizer, r.hidden, r.examples, r.length)
        groups.setdefault(alike, []).append(r)
    return list(groups.values())


def _train(group: list[Regime], settings: RegimeStudy, everything, progress, keeper) -> list:
    """Train the nets of regimes that share batch size, loss, optimiser and net."""
    alike, members, classes = group[0], settings.members, int(everything[1].max()) + 1
    inputs, labels = (part[: alike.examples or None] for part in everything)
    steps = steps_of(alike, settings)
    widths = (inputs.shape[1], *alike.hidden, classes)
    seeds = [seed_of(settings.seed, "net", member) for member in range(members)]
    theta = ensembles.initialise(widths, seeds, dtype=inputs.dtype, device=inputs.device)
    theta = theta.repeat(len(group), 1)
    memory = torch.zeros(2, *theta.shape, dtype=theta.dtype, device=theta.device)
    targets = torch.stack(
        [
            with_wrong_labels(labels, r.wrong_labels, classes, s, "wrong labels")
            for r in group
            for s in seeds
        ]
    )

    def columns(values) -> Tensor:  # (..., R) to (..., K, 1)
        each = torch.as_tensor(np.asarray(values), dtype=theta.dtype, device=theta.device)
        return each.repeat_interleave(members, -1).unsqueeze(-1)

    rate = columns(np.stack([rates(r, steps) for r in group], -1))
    momentum = columns([r.momentum for r in group])
    decay = columns([r.weight_decay for r in group])
    done, theta, memory, rows = keeper.begin(step=0, theta=theta, memory=memory, rows=[])
    drawn = _batches(alike, inputs, targets, seeds, len(group), done, steps)
    recorded = set(recorded_steps(steps).tolist())
    for step, (x, y) in enumerate(drawn, start=done + 1):
        if step == 1:
            rows += _measured(0, theta, widths, group, (inputs, targets), rate[0])
        _, gradients = ensembles.losses_and_gradients(theta, widths, x, y, loss=alike.loss)
        if alike.optimizer == "adam":
            ensembles.adam_step(theta, gradients, memory, step, rate[step - 1], decay)
        else:
            ensembles.sgd_step(theta, gradients, memory[0], rate[step - 1], momentum, decay)
        if step in recorded:
            rows += _measured(step, theta, widths, group, (inputs, targets), rate[step - 1])
        progress.advance()
        keeper.keep(step=step, theta=theta, memory=memory, rows=rows)
    return rows


def _batches(regime: Regime, inputs: Tensor, targets: Tensor, seeds, copies, first, last):
    """Yield the inputs and targets of each step; those of ``seeds``, ``copies`` times."""
    if regime.batch_size == 0:
        yield from itertools.repeat((inputs, targets), last - first)
        return
    for chosen in ensembles.batches(
        len(inputs), regime.batch_size, seeds, last, first=first, sampling=regime.sampling
    ):
        chosen = chosen.to(inputs.device).repeat(copies, 1)
        yield inputs[chosen], targets.gather(1, chosen)


def _share(regime: Regime, count: int) -> float:
    """Return the variance of a batch's gradient over that of one example's."""
    size = regime.batch_size
    if size == 0:
        return 0.0
    if regime.sampling == "replacement":
        return 1 / size
    return (count - size) / (count - 1) / size


def _measured(step: int, theta: Tensor, widths, group, everything, rate: Tensor) -> list:
    """Return the rows of all nets of a group after some steps."""
    (inputs, targets), alike, members = everything, group[0], len(theta) // len(group)
    if not torch.isfinite(theta).all():
        lost = ~torch.isfinite(theta).all(1).view(len(group), -1).all(1)
        names = ", ".join(repr(r.name) for r, gone in zip(group, lost.tolist()) if gone)
        raise UsageError(
            f"The weights of {names} are no longer finite: lower its learning rate."
        )
    decay = torch.tensor([r.weight_decay for r in group], dtype=torch.float64)
    decay = decay.repeat_interleave(members).to(theta.device)
    losses, gradients, variances = ensembles.exact_statistics(
        theta, widths, inputs, targets, loss=alike.loss
    )
    weights = theta.double()
    squares = weights.square().sum(1)
    gradients = gradients.double() + decay.unsqueeze(1) * weights
    noise = variances * _share(alike, len(inputs))
    found = {
        "objective": losses + decay / 2 * squares,
        "gradient_norm_squared": gradients.square().sum(1),
        "noise_norm": noise.sqrt(),
        "weight_norm": squares.sqrt(),
        "learning_rate": rate.squeeze(1),
    }
    epoch = step * (alike.batch_size or len(inputs)) / len(inputs)
    return [
        (step, epoch, named(quantity, regime.name, member), value, math.nan)
        for quantity, values in found.items()
        for (regime, member), value in zip(
            itertools.product(group, range(members)), values.tolist()
        )
    ]
