"""Small nets followed for very long, and replicas that branch from one of them.

Each study maps its settings to the rows of a run's metrics, ``(step, epoch,
quantity, value, error)``. A quantity of one member of an ensemble carries its number,
as in ``loss[3]``. f is the objective with decay, b PyTorch's momentum buffer after
the update, g the gradient of a minibatch of f, theta the weights before the step.
Source: our section "Watching a distribution settle".
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ... import data, measure
from ...data.images import whole
from ...errors import UsageError
from ...nets import mlp
from ...runs.checkpoints import Keeper, Table
from ...runs.seeds import seed_of
from ...train import ensembles
from ...train.settings import Training
from .settings import ReplicaStudy, SettlingStudy

DIRECTIONS = 2  # random directions, and as many top Hessian directions
OBSERVABLES = ("loss", "gradient_norm", "weight_norm")


@dataclass
class Task:
    """A training set in memory, with the settings that a step needs."""

    settings: SettlingStudy | ReplicaStudy
    inputs: Tensor  # (n, D)
    labels: Tensor  # (n,)
    widths: tuple
    test_inputs: Tensor
    test_labels: Tensor

    def gradients(self, theta: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Losses (K,) and gradients (K, P) of f on the members' minibatches (K, B)."""
        losses, gradients = ensembles.losses_and_gradients(
            theta, self.widths, self.inputs[chosen], self.labels[chosen]
        )
        return losses, gradients.add_(theta, alpha=self.settings.weight_decay)

    def exact(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Exact loss (K,), f (K,) and its gradient (K, P), in float64."""
        theta = theta.double()
        losses, gradients, _ = ensembles.exact_statistics(
            theta, self.widths, self.inputs.double(), self.labels
        )
        decay = self.settings.weight_decay
        return (
            losses,
            losses + decay / 2 * _dot(theta, theta),
            gradients + decay * theta,
        )

    def accuracy(self, theta: Tensor) -> Tensor:
        """Share of the test set that each member gets right, (K,) in float64."""
        logits = ensembles.logits(theta, self.widths, self.test_inputs)
        return (logits.argmax(2) == self.test_labels).double().mean(1)

    def batches(self, seeds: list, first: int, last: int):
        """The minibatches (K, B) of the steps, drawn with replacement."""
        size = self.settings.batch_size
        return ensembles.batches(len(self.labels), size, seeds, last, first=first)

    def epoch(self, step: int) -> float:
        """Return how many passes over the data so many steps are."""
        return step * self.settings.batch_size / len(self.labels)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return torch.linalg.vecdot(first, second)


def load_task(settings, data_root=None, device="cpu") -> Task:
    """Load the data, and give ``label_noise`` of the examples a wrong label.

    Raises :class:`UsageError` for settings that no study could start with.
    """
    for name in ("record_every", "measure_every", "members", "replicas"):
        if getattr(settings, name, 1) < 1:
            raise UsageError(f"The setting {name} must be at least 1.")
    if not 0 <= settings.label_noise < 1:
        raise UsageError(f"label_noise must lie in [0, 1), not {settings.label_noise}.")
    training = Training(
        dataset=settings.dataset, examples=settings.examples, model="mlp", epochs=1,
        batch_size=settings.batch_size, learning_rate=1.0,
        label_noise=settings.label_noise, precision="float32",
    )  # fmt: skip
    dataset = data.load(training, data_root, device)
    inputs, labels = whole(dataset.partition())
    widths = (inputs.shape[1], *settings.hidden, dataset.classes)
    return Task(settings, inputs, labels, widths, *whole(dataset.test_batches()))


def settling(settings: SettlingStudy, data_root=None, device="cpu", keeper=None) -> list:
    """Train ``members`` small nets together and follow them. Rows:

    - of every member at every ``measure_every`` steps, exact and over all the data:
      ``loss``, ``gradient_norm`` (of f), ``weight_norm_squared``; ``full_product``,
      <theta, grad f>; ``gain``, -<grad f, delta> of the step delta taken next;
      ``change``, what f changes by in it;
    - of every member, mean over the steps since the last of these: ``product``,
      <theta, g>, and ``square``, ||b||^2;
    - of the first member at every ``record_every`` steps, without a number:
      ``minibatch_loss``, what :func:`_observe` gives, and ``buffer_norm``;
      the Hessian directions are those before the first drop of the rate;
    - ``learning_rate`` at every ``measure_every`` steps.
    """
    keeper = keeper or Keeper()
    task = load_task(settings, data_root, device)
    seeds = [seed_of(settings.seed, "member", k) for k in range(settings.members)]
    theta = ensembles.initialise(task.widths, seeds, device=device)
    first, theta, buffer, sums, rows, found = keeper.begin(
        step=0, theta=theta, buffer=torch.zeros_like(theta),
        sums=theta.new_zeros(2, settings.members, dtype=torch.float64), rows=[], found=[],
    )  # fmt: skip
    kept = _Records(task, keeper.table(theta.shape[1], len(found)), found)
    with keeper.progress("settling", settings.steps) as progress:
        for step, chosen in enumerate(task.batches(seeds, first, settings.steps), first):
            rate = settings.learning_rate / 10 ** sum(
                step >= drop for drop in settings.drops
            )
            losses, gradients = task.gradients(theta, chosen)
            check_finite(losses, step)
            if step % settings.record_every == 0:
                kept.add(step, theta[:1], losses[0], buffer[0])
            measured = step % settings.measure_every == 0
            if measured:
                before = theta.double()
                rows += _sums_since(task, step, sums)
                rows.append((step, task.epoch(step), "learning_rate", rate, math.nan))
            sums[0] += _dot(theta, gradients)
            ensembles.sgd_step(theta, gradients, buffer, rate, settings.momentum)
            sums[1] += _dot(buffer, buffer)
            if measured:
                rows += _measure(task, step, before, theta.double())
            progress.advance()
            keeper.keep(
                step=step + 1, theta=theta, buffer=buffer, sums=sums, rows=rows, found=kept.found
            )
    rows += _sums_since(task, settings.steps, sums)
    reference = min([*settings.drops, settings.steps - 1])
    return rows + kept.rows(reference)


def check_finite(losses: Tensor, step: int) -> None:
    """Raise :class:`UsageError`, every hundred steps, where a loss is not finite."""
    if step % 100 == 0 and not torch.isfinite(losses).all():
        raise UsageError(
            f"A loss is no longer finite at step {step}: lower the learning rate."
        )


def _sums_since(task: Task, step: int, sums: Tensor) -> list:
    """Rows of the mean products and squares since the last call; sums become zero."""
    every = task.settings.measure_every
    steps = (step - 1) % every + 1
    means = (sums / steps).tolist() if step else []
    sums.zero_()
    return [
        (step, task.epoch(step), f"{name}[{k}]", value, math.nan)
        for name, values in zip(("product", "square"), means)
        for k, value in enumerate(values)
    ]


def _measure(task: Task, step: int, before: Tensor, after: Tensor) -> list:
    """Rows of what is exact, before a step and over it."""
    losses, objective, gradients = task.exact(before)
    found = {
        "loss": losses, "gradient_norm": gradients.norm(dim=1),
        "weight_norm_squared": _dot(before, before),
        "full_product": _dot(before, gradients),
        "gain": -_dot(gradients, after - before),
        "change": task.exact(after)[1] - objective,
    }  # fmt: skip
    return [
        (step, task.epoch(step), f"{name}[{k}]", value, math.nan)
        for name, values in found.items()
        for k, value in enumerate(values.tolist())
    ]


class _Records:
    """Weights of one member along a run, to be projected when directions are known.

    ``found`` holds, for each record, its step and what else is known of it by then.
    """

    def __init__(self, task: Task, weights: Table, found: list):
        self.task, self.weights, self.found = task, weights, found

    def add(self, step: int, theta: Tensor, loss: Tensor, buffer: Tensor) -> None:
        losses, _, gradients = self.task.exact(theta)
        values = (losses[0], gradients[0].norm(), loss, buffer.norm())
        self.weights.write(len(self.found), theta[0])
        self.found.append((step, *[float(value) for value in values]))

    def rows(self, reference: int) -> list:
        """Rows of all records; Hessian directions at the last one by ``reference``."""
        weights = self.weights.read(len(self.found))
        names = ("step", "loss", "gradient_norm", "minibatch_loss", "buffer_norm")
        columns = dict(zip(names, zip(*self.found, strict=True), strict=True))
        steps = columns.pop("step")
        place = np.searchsorted(steps, reference, side="right") - 1
        projections = weights.double() @ directions(self.task, weights[place]).T
        columns["weight_norm"] = weights.double().norm(dim=1).numpy()
        columns |= dict(zip(projection_names(), projections.T.numpy(), strict=True))
        return [
            (step, self.task.epoch(step), name, float(value), math.nan)
            for name, values in columns.items()
            for step, value in zip(steps, values, strict=True)
        ]


def projection_names() -> list[str]:
    """Names of the projections of the weights, in the order of :func:`directions`."""
    return [
        f"{kind}_{i + 1}" for kind in ("random", "hessian") for i in range(DIRECTIONS)
    ]


def directions(task: Task, theta: Tensor) -> Tensor:
    """Unit vectors (2 DIRECTIONS, P), float64: random ones, top Hessian ones at theta."""
    generator = torch.Generator().manual_seed(seed_of(task.settings.seed, "directions"))
    random = torch.randn(
        DIRECTIONS, len(theta), generator=generator, dtype=torch.float64
    )
    random /= random.norm(dim=1, keepdim=True)
    model = mlp.mlp(task.widths).to(task.inputs)
    nn.utils.vector_to_parameters(theta.to(task.inputs), model.parameters())
    batch = (task.inputs, task.labels)
    found = measure.sharpness(model, measure.cross_entropy, [batch], k=DIRECTIONS)
    return torch.cat([random, found.eigenvectors.double().cpu()])


def replicas(settings: ReplicaStudy, data_root=None, device="cpu", keeper=None) -> list:
    """Branch replicas from one net; compare them with its own trajectory. Rows:

    - of the trajectory, from the branch on at every ``record_every`` steps, and of
      each replica (``[k]``) at every ``measure_every`` steps: ``loss``,
      ``gradient_norm`` (of f), ``weight_norm`` and the projections of the weights.
      Steps count from the branch; the Hessian directions are those of the branch.

    The replicas share weights and momentum buffer at the branch; their minibatches
    are independent of each other's and of the trajectory's.
    """
    keeper = keeper or Keeper()
    task = load_task(settings, data_root, device)
    seed = seed_of(settings.seed, "member", 0)
    seeds = [seed_of(settings.seed, "replica", k) for k in range(settings.replicas)]
    theta = ensembles.initialise(task.widths, [seed], device=device)
    state, start = (theta, torch.zeros_like(theta)), settings.burn_in
    total = start + settings.trajectory + settings.steps
    with keeper.progress("replicas", total) as progress:

        def follow(name, state, seeds, first, steps, observe=lambda step, theta: []):
            arguments = (task, keeper, progress, state, seeds, first, steps, observe)
            return keeper.part(name, lambda: _follow(*arguments))

        def observe(step, theta, every, numbered):
            if (step - start) % every:
                return []
            return _observe(task, step - start, theta, unit, numbered)

        branch, _ = follow("burn-in", state, [seed], 0, start)
        unit = directions(task, branch[0][0].cpu()).to(device)
        one = functools.partial(observe, every=settings.record_every, numbered=False)
        _, path = follow("trajectory", branch, [seed], start, settings.trajectory, one)
        wide = tuple(part.expand(settings.replicas, -1) for part in branch)
        many = functools.partial(observe, every=settings.measure_every, numbered=True)
        _, spread = follow("replicas", wide, seeds, start, settings.steps, many)
    return path + spread


def _follow(task, keeper, progress, state, seeds, first, steps, observe) -> tuple:
    """Take steps from a state, (theta, buffer); return the last one, and rows.

    ``observe(step, theta)`` gives the rows before each step and after the last.
    """
    settings, last = task.settings, first + steps
    theta, buffer = (part.clone() for part in state)
    now, theta, buffer, rows = keeper.begin(step=first, theta=theta, buffer=buffer, rows=[])
    for step, chosen in enumerate(task.batches(seeds, now, last), now):
        rows += observe(step, theta)
        losses, gradients = task.gradients(theta, chosen)
        check_finite(losses, step)
        ensembles.sgd_step(
            theta, gradients, buffer, settings.learning_rate, settings.momentum
        )
        progress.advance()
        keeper.keep(step=step + 1, theta=theta, buffer=buffer, rows=rows)
    return (theta, buffer), rows + observe(last, theta)


def _observe(
    task: Task, step: int, theta: Tensor, unit: Tensor, numbered: bool
) -> list:
    """Rows of the observables of members (K, P)."""
    losses, _, gradients = task.exact(theta)
    values = [losses, gradients.norm(dim=1), theta.double().norm(dim=1)]
    values += (theta.double() @ unit.T).unbind(1)
    return [
        (step, task.epoch(step), f"{name}[{k}]" if numbered else name, value, math.nan)
        for name, column in zip(
            (*OBSERVABLES, *projection_names()), values, strict=True
        )
        for k, value in enumerate(column.tolist())
    ]
