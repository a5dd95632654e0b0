"""One training loop: step, schedule, measurement, checkpoint, resume."""
import copy
import functools
import itertools
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from . import checkpoints, data, experiments, measure, models, records
from .batches import seed_of
from .errors import UsageError
from .experiments import LanguageTraining, Training
from .progress import Progress
from .transformer_xl import TransformerXL

# How a step is computed: (dtype of autocast or None, memory format). Weights
# stay in float32; measurements are float32 whatever the path.
PATHS = {
    "float32": (None, torch.contiguous_format),
    "float64": (None, torch.contiguous_format),
    "float32 channels_last": (None, torch.channels_last),
    "bfloat16": (torch.bfloat16, torch.channels_last),
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
    memory: Tensor | None = None  # of the text read so far


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
    dataset = data.load(settings, data_root, device)
    state = _begin(settings, dataset, device)
    origin = measure.parameter_vector(state.model)
    _check_data(settings, dataset, info)
    # Weights, and two moments at most.
    records.prepare(folder, checkpoint_bytes=3 * origin.nbytes)
    _restore(state, records.read_checkpoint(folder, info["fingerprint"]), folder)
    info["path"] = state.path = state.path or _fastest_path(state.model, dataset)
    state.model.to(memory_format=PATHS[state.path][1])
    total = settings.epochs * dataset.steps_per_epoch
    clock = _Clock(info, folder, state, checkpoint_seconds)
    watched = functools.partial(_watched_measurement, clock, settings, dataset, origin)
    records.write_info(folder, info)
    with Progress(f"{info['experiment']} {info['scale']}", total, state.step) as progress:
        for batch in dataset.training_batches(state.step, total):
            after_the_step = None
            if _is_due(settings, dataset, state.step):
                if time.monotonic() > progress.next_line:
                    progress.show(f"measuring at epoch {state.step / dataset.steps_per_epoch:g}")
                after_the_step = watched()
            observe = _observation(state, settings, dataset)
            state.losses.append(_take_step(state, settings, dataset, batch, total))
            if observe:
                observe()
            if after_the_step:
                after_the_step()
            state.step += 1
            end_of_epoch = state.step % dataset.steps_per_epoch == 0
            if end_of_epoch or state.step % CHECK_EVERY == 0:
                _check_losses(state, clock)
            if end_of_epoch:
                _close_epoch(state, dataset)
            clock.checkpoint_if_due()
            progress.advance(lambda: _caption(state, settings, dataset))
    final = any(row[0] == total and row[2] == "weight_norm" for row in state.rows)
    if settings.measure_every and not final:  # a run killed here has it already
        watched()
    return clock.finish("complete")


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
    _restore(state, checkpoint, run.folder)
    return state.model, dataset


def learning_rate(settings: Training, step: int, total: int, per_epoch: int) -> float:
    """Return the learning rate of a step (0 is the first)."""
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / total))
    if settings.schedule == "stages":
        passed = sum(step >= drop * per_epoch for drop in settings.drops)
        return settings.learning_rate / 10**passed
    return settings.learning_rate


def build_model(settings: Training, dataset) -> nn.Module:
    """Return the settings' model with its initial weights, drawn by the seed."""
    torch.manual_seed(settings.seed)
    if settings.model == "mlp":
        inputs = dataset.channels * dataset.size**2
        return models.mlp((inputs, *settings.hidden, dataset.classes))
    if settings.model == "transformer_xl":
        return TransformerXL(
            len(dataset.vocabulary), layers=settings.layers, width=settings.width,
            heads=settings.heads, head_width=settings.head_width,
            inner_width=settings.inner_width, memory=settings.memory,
            cutoffs=settings.cutoffs, divisor=settings.divisor, dropout=settings.dropout,
        )  # fmt: skip
    from . import resnets  # torchvision takes seconds to import

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
    return State(model, optimizer, path)


def _restore(state: State, checkpoint: dict | None, folder: Path) -> None:
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
        state.memory = memory.to(device)


def _fastest_path(model: nn.Module, dataset) -> str:
    """Time a few steps of each way to compute them; return the fastest.

    Another path than float32 must be at least a tenth faster.
    """
    device, best, best_time = dataset.device, "", math.inf
    batch = next(iter(dataset.draws(1, "timing")))
    for path in ("float32", "float32 channels_last", "bfloat16"):
        trial = copy.deepcopy(model).to(memory_format=PATHS[path][1])
        times = []
        for _ in range(4):  # the first warms up
            _synchronize(device)
            start = time.perf_counter()
            _computed(dataset.objective, trial, batch, path).backward()
            _synchronize(device)
            times.append(time.perf_counter() - start)
        if min(times[1:]) < 0.9 * best_time:
            best, best_time = path, min(times[1:])
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _computed(objective, model: nn.Module, batch, path: str):
    """Return what an objective is on a batch, computed in the way of a path."""
    dtype, memory_format = PATHS[path]
    inputs, *rest = batch
    if inputs.dim() == 4:  # else there are no channels
        inputs = inputs.contiguous(memory_format=memory_format)
    with torch.autocast(inputs.device.type, dtype, enabled=dtype is not None):
        return objective(model, (inputs, *rest))


def _take_step(state: State, settings: Training, dataset, batch, total: int) -> Tensor:
    """Take one step of the optimiser; return the minibatch loss, not waited for."""
    torch.manual_seed(seed_of(settings.seed, "step", state.step))  # of dropout
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(settings, state.step, total, dataset.steps_per_epoch)
    objective = functools.partial(dataset.training_loss, memory=state.memory)
    loss, state.memory = _computed(objective, state.model, batch, state.path)
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip:
        nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.optimizer.step()
    return loss.detach()


def _is_due(settings: Training, dataset, step: int) -> bool:
    every = settings.measure_every * dataset.steps_per_epoch
    return every > 0 and step % every == 0


def _measurement(state: State, settings: Training, dataset, origin: Tensor):
    """Measure the state; return what completes the measurement after the step."""
    model, step, objective = state.model, state.step, dataset.objective
    seed = seed_of(settings.seed, "measure", step)
    torch.manual_seed(seed)  # of dropout
    if settings.measure_on == "partition":
        batches = dataset.partition()
        population = len(batches)
        few = list(itertools.islice(batches, settings.sharpness_batches))
    else:
        batches, population = dataset.draws(settings.measure_batches, "measure", step), None
        few = list(dataset.draws(settings.sharpness_batches, "sharpness"))

    def note(quantity, value, error=math.nan):
        row = (step, step / dataset.steps_per_epoch, quantity, float(value), float(error))
        state.rows.append(row)

    statistics = measure.gradient_statistics(
        model, objective, batches,
        population=population, weight_decay=settings.weight_decay,
    )  # fmt: skip
    note("loss", statistics.loss, statistics.loss_standard_error)
    note(
        "gradient_norm_squared", statistics.gradient_norm_squared, statistics.standard_error
    )
    note(
        "regularised_gradient_norm_squared",
        statistics.regularised_gradient_norm_squared,
        statistics.regularised_standard_error,
    )
    note("gradient_norm_naive", statistics.gradient_norm_naive)
    note("noise_norm", statistics.noise_norm)
    note("batches", statistics.batches)
    # Cold: between measurements eigenvalues may cross, and a warm start would
    # stay with the one that was the largest.
    sharpness = measure.sharpness(
        model, objective, few,
        max_products=settings.sharpness_products, seed=settings.seed,
    )  # fmt: skip
    note("sharpness", sharpness.eigenvalues[0], sharpness.residuals[0])
    note("sharpness_products", sharpness.products)
    if statistics.gradient_norm_naive > 0:
        along = measure.directional_sharpness(
            model, objective, few, statistics.mean_gradient
        )
        note("directional_sharpness", along)
    note("weight_norm", measure.weight_norm(model))
    note("displacement", measure.displacement(model, origin))
    for quantity, value, error in dataset.further_measurements(model, step, state.memory):
        note(quantity, value, error)
    vector, before = measure.parameter_vector(model), _losses(model, objective, few, seed)

    def after_the_step():
        change = _losses(model, objective, few, seed) - before
        note("update_norm", measure.displacement(model, vector))
        error = change.std() / len(few) ** 0.5 if len(few) > 1 else math.nan
        note("loss_change", change.mean(), error)
        note("learning_rate", state.optimizer.param_groups[0]["lr"])

    return after_the_step


def _observation(state: State, settings: Training, dataset):
    """Note the state before a step where that is due; return what notes the step.

    Cheap enough for every few steps: the weights' norm, their projections on two
    random directions, the minibatch's loss and the squared size of the step.
    """
    if not settings.observe_every or state.step % settings.observe_every:
        return None
    vector, step = measure.parameter_vector(state.model), state.step
    generator = torch.Generator(vector.device).manual_seed(seed_of(settings.seed, "observe"))

    def note(quantity, value):
        row = (step, step / dataset.steps_per_epoch, quantity, float(value), math.nan)
        state.rows.append(row)

    note("observed_weight_norm", vector.norm())
    for name in ("observed_random_1", "observed_random_2"):
        direction = torch.randn(
            vector.shape, generator=generator, device=vector.device, dtype=vector.dtype
        )
        note(name, direction @ vector / direction.norm())

    def note_the_step():
        note("observed_minibatch_loss", state.losses[-1])
        note("observed_update_square", measure.displacement(state.model, vector) ** 2)

    return note_the_step


def _check_data(settings: Training, dataset, info: dict) -> None:
    """Raise :class:`UsageError` for data that the run was not begun on, or cannot measure."""
    if info.setdefault("data", dataset.provenance) != dataset.provenance:
        raise UsageError(
            "This run was begun on other data: give the data root that it was begun "
            f"with, or delete its folder {info['experiment']}/{info['scale']}-"
            f"{info['fingerprint']}."
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
            return _measurement(state, settings, dataset, origin)
    except FloatingPointError:  # a curvature beyond the largest float
        pass
    clock.stop_diverged(state.step)


def _losses(model: nn.Module, objective, batches: list, seed: int) -> Tensor:
    torch.manual_seed(seed)  # the same dropout whenever it is called
    losses = [measure.mean_loss(model, objective, [b]) for b in batches]
    return torch.tensor(losses, dtype=torch.float64)


def _check_losses(state: State, clock) -> None:
    """Stop the run where a loss of this epoch is not finite."""
    losses = torch.stack(state.losses)
    if torch.isfinite(losses).all():
        return
    clock.stop_diverged(state.step - len(losses) + int(torch.isfinite(losses).int().argmin()))


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
    loss = state.losses[-1].item() if state.losses else past[0] if past else math.nan
    return f"epoch {epoch:.1f} of {settings.epochs}, loss {loss:.3f}"


class _Clock(checkpoints.Clock):
    """Writes checkpoints of a state every so often."""

    def __init__(self, info: dict, folder: Path, state: State, seconds: float):
        super().__init__(folder, info, seconds)
        self.state = state

    def checkpoint_if_due(self) -> None:
        if self.due():
            self._write()

    def _write(self) -> None:
        """Write the checkpoint first: run.json may then say that all is there."""
        state = self.state
        checkpoint = {
            "model": state.model.state_dict(), "optimizer": state.optimizer.state_dict(),
            "path": state.path, "step": state.step, "rows": state.rows,
            "losses": state.losses, "memory": state.memory,
            "fingerprint": self.info["fingerprint"],
        }  # fmt: skip
        with self.written():
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
