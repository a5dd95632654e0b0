"""One training loop: step, schedule, measurement, checkpoint, resume."""
import contextlib
import copy
import functools
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import data, measure
from ..errors import UsageError
from ..measure._derivatives import without_trace
from ..nets import mlp, pretrained
from ..nets.transformer_xl import TransformerXL
from ..runs import checkpoints, distributed, records
from ..runs.progress import Progress
from ..runs.seeds import seed_of
from ..train.settings import LanguageTraining, Training
from . import continuing, measuring
from .following import Follower


@dataclass(frozen=True)
class Computation:
    """How a training step is computed. Weights stay in float32.

    Measurements are float32, not compiled, whatever the path.
    """

    autocast: torch.dtype | None = None
    memory_format: torch.memory_format = torch.channels_last
    products: str = "ieee"  # of float32 in CUDA's kernels: ieee or tf32
    compiled: bool = False


PATHS = {
    "float32": Computation(memory_format=torch.contiguous_format),
    "float64": Computation(memory_format=torch.contiguous_format),
    "float32 channels_last": Computation(),
    "tf32": Computation(products="tf32"),
    "bfloat16": Computation(torch.bfloat16),
    "tf32 compiled": Computation(products="tf32", compiled=True),
    "bfloat16 compiled": Computation(torch.bfloat16, compiled=True),
}
TIMED = {  # by type of device, the simplest first
    "cpu": ("float32", "float32 channels_last", "bfloat16"),
    "cuda": ("tf32", "bfloat16", "tf32 compiled", "bfloat16 compiled"),
}
CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


@dataclass
class State:
    """All that changes during a run."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    path: str
    step: int = 0
    rows: list = field(default_factory=list)  # of metrics
    losses: list = field(default_factory=list)  # of this epoch's minibatches
    unread: list = field(default_factory=list)  # the latest ones, of this process's shares
    memory: Tensor | None = None  # of the text read so far
    stepping: nn.Module | None = None  # the model as steps compute it
    follower: Follower | None = None  # in the first process, once weights are followed


def train(
    settings: Training | LanguageTraining,
    folder: Path,
    info: dict,
    *,
    data_root=None,
    device="cpu",
    checkpoint_seconds: float = 30.0,
) -> records.Run:
    """Train and measure, from the folder's checkpoint where there is one.

    The metrics do not depend on where a run was interrupted. Raises
    :class:`UsageError` where the loss is no longer finite; the records up to
    there are kept.
    """
    distributed.check_divisible(settings.batch_size)
    dataset = data.load(settings, data_root, device)
    state = _begin(settings, dataset, device)
    if settings.pretrained:
        given = pretrained.weights(settings.model, dataset.classes, data_root)
        state.model.load_state_dict(given[0])
        info["pretrained"] = given[1]
    origin = measure.parameter_vector(state.model)
    _check_data(settings, dataset, info)
    # Weights, and two moments at most.
    if distributed.rank() == 0:
        followed = continuing.disk(settings, len(origin), origin.itemsize)
        records.prepare(folder, 3 * origin.nbytes, further_bytes=followed)
    _restore(state, records.read_checkpoint(folder, info["fingerprint"]), folder, settings)
    info["path"] = state.path = state.path or _fastest_path(state.model, dataset)
    state.model.to(memory_format=PATHS[state.path].memory_format)
    state.stepping = _stepping(state, dataset)
    total = settings.epochs * dataset.steps_per_epoch
    first = continuing.first_step(settings, dataset)
    clock = _Clock(info, folder, state, checkpoint_seconds)
    if distributed.rank() == 0:
        records.write_info(folder, info)
    with (
        Progress(f"{info['experiment']} {info['scale']}", total, state.step) as progress,
        _backends(settings, state.path),
    ):
        steps = functools.partial(
            _take_steps, clock=clock, settings=settings, total=total, origin=origin,
            progress=progress,
        )  # fmt: skip
        if state.step < first:
            steps(dataset, last=first)
        if first < total:
            progress.show("computing the directions")
            dataset = _followed(clock, settings, dataset)
            steps(dataset, last=total)
    known = {row[2] for row in state.rows if row[0] == total}  # of a run killed here
    if settings.measure_every and "weight_norm" not in known:
        _watched_measurement(clock, settings, dataset, origin)
    if state.follower and "followed_from" not in known:
        state.rows += continuing.rows(
            state.follower, settings, first, dataset.steps_per_epoch
        )
    return clock.finish("complete")


def _followed(clock, settings: Training, dataset):
    """Begin to follow the weights; return the dataset of the steps from then on."""
    state = clock.state
    dataset = dataset.plain() if settings.plain_images else dataset
    if settings.frozen_norms:
        continuing.freeze_norms(state.model)
    try:
        state.follower = continuing.begin(state, settings, dataset, clock.folder, clock.info)
    except FloatingPointError:  # weights or a curvature beyond the largest float
        clock.stop_diverged(state.step)
    return dataset


def _take_steps(dataset, last: int, *, clock, settings, total, origin, progress) -> None:
    """Take the steps up to the ``last``, measure and follow, and write checkpoints."""
    state = clock.state
    for batch in dataset.training_batches(state.step, last):
        after_the_step = None
        if _is_due(settings, dataset, state.step):
            if time.monotonic() > progress.next_line:
                progress.show(f"measuring at epoch {state.step / dataset.steps_per_epoch:g}")
            after_the_step = _watched_measurement(clock, settings, dataset, origin)
        observe = measuring.observation(state, settings, dataset)
        state.unread.append(_take_step(state, settings, dataset, batch, total))
        if observe:
            observe()
        if after_the_step:
            after_the_step()
        state.step += 1
        if state.follower:
            state.follower.follow(measure.parameter_vector(state.model))
        end_of_epoch = state.step % dataset.steps_per_epoch == 0
        together = end_of_epoch or state.step % CHECK_EVERY == 0
        if together:
            _read_losses(state, clock)
        if end_of_epoch:
            _close_epoch(state, dataset)
        # Several processes must do so at the same step.
        if together or distributed.size() == 1:
            clock.checkpoint_if_due()
        progress.advance(lambda: _caption(state, settings, dataset))


def load_model(run: records.Run, data_root=None, device="cpu") -> tuple[nn.Module, object]:
    """Return the trained model of a run and its dataset.

    Raises :class:`UsageError` where the run left no checkpoint, as a record
    of the book does not.
    """
    settings = experiments.of_run(run.settings)
    checkpoint = records.read_checkpoint(run.folder, run.info["fingerprint"])
    if checkpoint is None:
        raise UsageError(f"{run.folder.name} holds no weights: repeat the run first.")
    dataset = data.load(settings, data_root, device)
    state = _begin(settings, dataset, device)
    _restore(state, checkpoint, run.folder, settings)
    return state.model, dataset


def learning_rate(settings: Training, step: int, total: int, per_epoch: int) -> float:
    """Return the learning rate of a step (0 is the first)."""
    trained = total - settings.followed_epochs * per_epoch
    if settings.followed_epochs and step >= trained:
        return settings.followed_rate
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / trained))
    if settings.schedule == "stages":
        passed = sum(step >= drop * per_epoch for drop in settings.drops)
        return settings.learning_rate / 10**passed
    return settings.learning_rate


def build_model(settings: Training, dataset) -> nn.Module:
    """Return the settings' model with its initial weights, drawn by the seed."""
    torch.manual_seed(settings.seed)
    if settings.model == "mlp":
        inputs = dataset.channels * dataset.size**2
        return mlp.mlp((inputs, *settings.hidden, dataset.classes))
    if settings.model == "transformer_xl":
        return TransformerXL(
            len(dataset.vocabulary), layers=settings.layers, width=settings.width,
            heads=settings.heads, head_width=settings.head_width,
            inner_width=settings.inner_width, memory=settings.memory,
            cutoffs=settings.cutoffs, divisor=settings.divisor, dropout=settings.dropout,
        )  # fmt: skip
    from ..nets import resnets  # torchvision takes seconds to import

    if settings.model == "cifar_resnet":
        return resnets.cifar_resnet(
            settings.width, settings.blocks, dataset.channels, dataset.classes,
            batch_norm=settings.batch_norm,
        )  # fmt: skip
    if dataset.channels != 3:
        raise UsageError(
            f"{settings.model} takes images of three channels, and {settings.dataset} has "
            f"{dataset.channels}: set model=cifar_resnet or model=mlp."
        )
    return resnets.imagenet_resnet(int(settings.model.removeprefix("resnet")), dataset.classes)


def _begin(settings: Training, dataset, device) -> State:
    model = build_model(settings, dataset).to(device, dataset.dtype).train()
    if settings.optimizer == "adam":
        optimizer = torch.optim.Adam(
            model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(), settings.learning_rate, momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )  # fmt: skip
    path = settings.precision if settings.precision != "auto" else ""
    return State(model, optimizer, path, stepping=model)


def _restore(state: State, checkpoint: dict | None, folder: Path, settings) -> None:
    """Take over a checkpoint; :class:`UsageError` for that of another model."""
    if checkpoint is None:
        return
    try:
        state.model.load_state_dict(checkpoint["model"])
        state.optimizer.load_state_dict(checkpoint["optimizer"])
        state.path, state.step = checkpoint["path"], checkpoint["step"]
        state.rows = [tuple(row) for row in checkpoint["rows"]]
        losses, memory = checkpoint["losses"], checkpoint["memory"]
    except torch.OutOfMemoryError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError):  # by what is other in it
        raise records.foreign_checkpoint(folder) from None
    device = next(state.model.parameters()).device
    state.losses = [loss.to(device) for loss in losses]
    if memory is not None:
        mine = distributed.share(settings.batch_size)
        state.memory = memory[:, mine].to(device)


@contextlib.contextmanager
def _backends(settings: Training, path: str):
    """Set what PyTorch's kernels may do: round products, vary from run to run."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = not settings.deterministic
    try:
        with measure.float32_products(PATHS[path].products):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _stepping(state: State, dataset) -> nn.Module:
    """Return the model as steps compute it: on all processes, compiled or as it is."""
    model = state.model
    if distributed.size() > 1:
        model = nn.parallel.DistributedDataParallel(model)
        # It lays its buckets out anew after the first backward pass. With that pass
        # here, a resumed run adds gradients up in the order of one never interrupted.
        with without_trace(state.model):
            list(_passes(model, dataset, _one_batch(dataset), state.path, 1))
        state.model.zero_grad(set_to_none=True)
    return torch.compile(model) if PATHS[state.path].compiled else model


def _fastest_path(model: nn.Module, dataset) -> str:
    """Time a few steps of each way to compute them; return the fastest.

    Another than the first must be at least a tenth faster than those before it.
    Of several processes the first decides.
    """
    best, best_time, batch = 0, math.inf, _one_batch(dataset)
    candidates = TIMED.get(dataset.device.type, TIMED["cpu"])
    for index, path in enumerate(candidates):
        way = PATHS[path]
        trial = copy.deepcopy(model).to(memory_format=way.memory_format)
        with measure.float32_products(way.products):
            stepping = torch.compile(trial) if way.compiled else trial
            times = list(_passes(stepping, dataset, batch, path, 5))
        if min(times[2:]) < 0.9 * best_time:  # the first two warm up
            best, best_time = index, min(times[2:])
    return candidates[distributed.of_first(best, dataset.device)]


def _one_batch(dataset):
    return next(iter(dataset.training_batches(1, 2)))


def _passes(model: nn.Module, dataset, batch, path: str, count: int) -> Iterator[float]:
    """Yield the seconds of forward and backward passes over one training batch."""
    memory = None
    for _ in range(count):
        _synchronize(dataset.device)
        start = time.perf_counter()
        objective = functools.partial(dataset.training_loss, memory=memory)
        loss, memory = _computed(objective, model, batch, path)
        loss.backward()
        _synchronize(dataset.device)
        yield time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _computed(objective, model: nn.Module, batch, path: str):
    """Return what an objective is on a batch, computed in the way of a path."""
    way = PATHS[path]
    inputs, *rest = batch
    if inputs.dim() == 4:  # else there are no channels
        inputs = inputs.contiguous(memory_format=way.memory_format)
    with torch.autocast(inputs.device.type, way.autocast, enabled=way.autocast is not None):
        return objective(model, (inputs, *rest))


def _take_step(state: State, settings: Training, dataset, batch, total: int) -> Tensor:
    """Take one step of the optimiser; return the minibatch loss, not waited for."""
    torch.manual_seed(seed_of(settings.seed, "step", state.step, *distributed.key()))  # of dropout
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step, total, dataset.steps_per_epoch)
    objective = functools.partial(dataset.training_loss, memory=state.memory)
    loss, state.memory = _computed(objective, state.stepping, batch, state.path)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip:
        nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.optimizer.step()
    return loss.detach()


def _is_due(settings: Training, dataset, step: int) -> bool:
    every = settings.measure_every * dataset.steps_per_epoch
    return every > 0 and step % every == 0


def _check_data(settings: Training, dataset, info: dict) -> None:
    """Raise :class:`UsageError` for data that the run was not begun on, or cannot measure."""
    if info.setdefault("data", dataset.provenance) != dataset.provenance:
        raise UsageError(
            "This run was begun on other data: give the data root that it was begun "
            f"with, or delete its folder {info['experiment']}/{info['scale']}-"
            f"{info['fingerprint']}."
        )
    if info.setdefault("processes", distributed.size()) != distributed.size():
        raise UsageError(
            f"This run was begun on {info['processes']} processes: go on with it on as many "
            "(--devices, or torchrun --nproc-per-node), or delete its folder "
            f"{info['experiment']}/{info['scale']}-{info['fingerprint']}."
        )
    if settings.measure_on == "partition" and dataset.count % settings.batch_size:
        raise UsageError(
            "measure_on='partition' needs a batch size that divides the "
            f"{dataset.count} training examples, and {settings.batch_size} does not."
        )


def _watched_measurement(clock, settings: Training, dataset, origin: Tensor):
    """Measure, or stop the run where the weights are no longer finite."""
    state = clock.state
    try:
        if torch.isfinite(measure.parameter_vector(state.model)).all():
            return measuring.measurement(state, settings, dataset, origin)
    except FloatingPointError:  # a curvature beyond the largest float
        pass
    clock.stop_diverged(state.step)


def _read_losses(state: State, clock) -> None:
    """Average the latest losses over the processes; stop where one is not finite."""
    if not state.unread:
        return
    losses = distributed.mean(torch.stack(state.unread))
    state.unread.clear()
    state.losses.extend(losses.unbind())
    if not torch.isfinite(losses).all():
        first = int(torch.isfinite(losses).int().argmin())
        clock.stop_diverged(state.step - len(losses) + first)


def _close_epoch(state: State, dataset) -> None:
    """Record the mean training loss of the epoch that ends."""
    losses = torch.stack(state.losses).double()
    error = losses.std() / len(losses) ** 0.5 if len(losses) > 1 else torch.tensor(math.nan)
    epoch = state.step / dataset.steps_per_epoch
    state.rows.append((state.step, epoch, "train_loss", losses.mean().item(), error.item()))
    state.losses.clear()


def _caption(state: State, settings: Training, dataset) -> str:
    epoch = state.step / dataset.steps_per_epoch
    past = [row[3] for row in state.rows[-1:] if row[2] == "train_loss"]
    latest = state.unread or state.losses
    loss = latest[-1].item() if latest else past[0] if past else math.nan
    return f"epoch {epoch:.1f} of {settings.epochs}, loss {loss:.3f}"


class _Clock(checkpoints.Clock):
    """Writes checkpoints of a state every so often."""

    def __init__(self, info: dict, folder: Path, state: State, seconds: float):
        super().__init__(folder, info, seconds)
        self.state, self.device = state, next(state.model.parameters()).device

    def checkpoint_if_due(self) -> None:
        if distributed.of_first(self.due(), self.device):
            self._write()

    def _write(self) -> None:
        """Write the checkpoint first: run.json may then say that all is there."""
        state = self.state
        checkpoint = {
            "model": state.model.state_dict(), "optimizer": state.optimizer.state_dict(),
            "path": state.path, "step": state.step, "rows": state.rows,
            "losses": state.losses + state.unread, "memory": state.memory,
            "fingerprint": self.info["fingerprint"],
        }  # fmt: skip
        if state.memory is not None:
            checkpoint["memory"] = distributed.joined_up(state.memory, 1)
        if distributed.rank() > 0:
            return
        with self.written():
            if state.follower:
                state.follower.flush()
            records.write_checkpoint(self.folder, checkpoint)
            records.write(self.folder, self.info, state.rows)

    def stop_diverged(self, step: int) -> None:
        message = (
            f"The loss is no longer finite at step {step} of {self.info['experiment']}: "
            "lower the learning rate. The records up to there are kept."
        )
        self.info["failure"] = message
        self.finish("diverged")
        raise UsageError(message)

    def finish(self, status: str) -> records.Run:
        self.info["status"] = status
        self._write()
        return records.Run(self.folder, self.info)
