"""One training loop: step, schedule, measurement, checkpoint, resume."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import data, measure, nets
from ..errors import UsageError
from ..measure.memory import kept_memory
from ..nets import pretrained, transformer_xl
from ..runs import distributed
from ..runs.metrics import rows
from ..runs.seeds import seed_of
from ..stats.estimate import mean_and_error
from . import chance_level, directions, precision
from .measuring import Measurement, Observation
from .schedules import learning_rate

if TYPE_CHECKING:
    from ..runs.checkpoints import Keeper, Place
    from .settings import LanguageTraining, Training

CHECK_EVERY = 50  # steps between looks at the losses: each look waits for the device


def train(settings: Training | LanguageTraining, place: Place) -> list[tuple]:
    """Train and measure, from the checkpoint where there is one; return the metrics.

    Raises :class:`UsageError` where the loss is no longer finite; records up to there are kept.
    """
    keeper, state = place.keeper, State(settings, load_data(settings, place))
    if settings.pretrained:
        root = data.root_of(place.data_root)
        given = pretrained.weights(settings.model, state.dataset.classes, root)
        state.model.load_state_dict(given[0])
        keeper.info["pretrained"] = given[1]
    _check_data(state, keeper)
    # Three checkpoints, each of weights and two moments at most.
    copies = 9 + directions.copies_of_weights(settings)[0]
    keeper.ask_for(copies * measure.parameter_vector(state.model).nbytes)
    keeper.restore(state)
    state.choose_path()
    keeper.info["path"] = state.path
    label = f"{keeper.info['experiment']} {keeper.info['scale']}"
    backends = precision.backends(state.path, settings.deterministic)
    with keeper.progress(label, state.total), backends, kept_memory():
        try:
            take_steps(state, keeper)
            keeper.save(state, state.rows, last=True)
            final = Measurement(state).rows if settings.measure_every else []
            return state.rows + final + directions.rows_of_motion(state)
        except FloatingPointError as error:  # weights, a loss or a curvature
            step = getattr(error, "step", state.step)
            told = f"The loss is no longer finite at step {step} of {keeper.info['experiment']}"
            told += ": lower the learning rate. The records up to there are kept."
            keeper.stop(told, state.rows)


def take_steps(state: State, keeper: Keeper) -> None:
    """Take the steps that are left: measure, follow, write checkpoints."""
    settings, bar, per_epoch = state.settings, keeper.bar, state.dataset.steps_per_epoch
    for batch in state.batches(keeper):
        before = []
        if state.is_due(settings.measure_every * per_epoch):
            if time.monotonic() > bar.next_line:
                bar.set_postfix_str(f"measuring at epoch {state.epoch:g}")
            before.append(Measurement(state))
        if state.is_due(settings.observe_every):
            before.append(Observation(state))
        loss = state.take_step(batch)
        for noted in before:
            state.rows += noted.after(state)
        state.step += 1
        if state.follower:
            state.follower.follow(measure.parameter_vector(state.model))
        end_of_epoch = state.step % per_epoch == 0
        together = end_of_epoch or state.step % CHECK_EVERY == 0
        if together:
            state.read_losses(end_of_epoch)
        if together or distributed.size() == 1:  # several must do so at the same step
            keeper.keep(state, state.rows)
        bar.advance(lambda: f"epoch {state.epoch:.1f} of {settings.epochs}, loss {loss:.3f}")


class State:
    """A training run at a step: it saves and restores all of it that changes.

    ``step`` is the next one; of the ``losses`` of this epoch's minibatches ``read`` are
    averaged over the processes; ``loss`` is of training, and remembers a text that it read;
    ``objective``, of the same kind, is measured; ``path`` is how steps are computed;
    ``directed`` says whether there are directions; the first process's ``follower`` has them.
    """

    def __init__(self, settings: Training | LanguageTraining, dataset):
        self.settings, self.dataset = settings, dataset
        self.total = settings.epochs * dataset.steps_per_epoch
        followed = settings.followed_epochs * dataset.steps_per_epoch
        self.trained = self.total - followed  # steps before weights are followed
        self.model = nets.build(settings, dataset).to(dataset.device, dataset.dtype).train()
        how = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.optimizer]
        how |= {"momentum": settings.momentum} if kind is torch.optim.SGD else {}
        self.optimizer = kind(self.model.parameters(), **how, fused=True)  # on a CPU, too
        self.loss, self.objective = loss_of(settings), loss_of(settings)
        self.stepping = self.model
        self.path = settings.precision if settings.precision != "auto" else ""
        self.step, self.rows, self.losses, self.read = 0, [], [], 0
        self.directed, self.follower = False, None

    measured = property(lambda self: (self.model, self.objective))
    epoch = property(lambda self: self.step / self.dataset.steps_per_epoch)

    @cached_property
    def random_directions(self) -> tuple[Tensor, Tensor]:
        """Two directions (2, P) that observations project the weights on, and their norms."""
        like = measure.parameter_vector(self.model)
        seed = seed_of(self.settings.seed, "observe")
        generator = torch.Generator(like.device).manual_seed(seed)
        random = like.new_empty(2, len(like)).normal_(generator=generator)
        return random, measure.norms(random)

    def is_due(self, every: int) -> bool:
        return every > 0 and self.step % every == 0

    def seed_dropout(self, *key) -> None:
        seed = seed_of(self.settings.seed, *key, *distributed.key())
        for one in (torch.default_generator, *torch.cuda.default_generators):
            one.manual_seed(seed)  # torch.manual_seed looks for devices, each time

    def choose_path(self) -> None:
        given = self.model, loss_of(self.settings), self.dataset  # whose memory goes
        self.path = self.path or precision.fastest(*given)
        self.model.to(memory_format=precision.PATHS[self.path].memory_format)
        self.stepping = precision.stepping(*given, self.path)

    def batches(self, keeper: Keeper) -> Iterator:
        """Yield the batches of the steps that are left; follow the weights in the last ones."""
        if self.step < self.trained:
            yield from self.dataset.training_batches(self.step, self.trained)
        if self.trained < self.total:
            if self.settings.plain_images:
                self.dataset = self.dataset.plain()
            keeper.bar.set_postfix_str("computing the directions")
            directions.begin(self, keeper)
            yield from self.dataset.training_batches(self.step, self.total)

    def take_step(self, batch) -> Tensor:
        """Take one step of the optimiser; return the minibatch loss, not waited for."""
        settings = self.settings
        self.seed_dropout("step", self.step)
        rate = learning_rate(settings, self.step, self.total, self.dataset.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = precision.computed(self.loss, self.stepping, batch, self.path)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip)
        self.optimizer.step()
        self.losses.append(loss.detach())
        return self.losses[-1]

    def read_losses(self, end_of_epoch: bool) -> None:
        """Average the latest losses over the processes; at an epoch's end record its mean.

        Raises ``FloatingPointError``, with the ``step``, where one is not finite.
        """
        latest = distributed.mean(torch.stack(self.losses[self.read :]))
        self.losses[self.read :] = latest.unbind()
        self.read = len(self.losses)
        if not torch.isfinite(latest).all():
            error = FloatingPointError("a loss is not finite")
            error.step = self.step - len(latest) + int(torch.isfinite(latest).int().argmin())
            raise error
        if end_of_epoch:
            average = mean_and_error(torch.stack(self.losses).double().cpu())
            self.rows += rows("train_loss", *average, step=self.step, epoch=self.epoch)
            self.losses, self.read = [], 0
            chance_level.warn(self)

    def state_dict(self) -> dict:
        """Return all that changes; all processes call it together."""
        if self.follower:
            self.follower.write()
        kept = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        memory = getattr(self.loss, "memory", None)
        kept["memory"] = None if memory is None else distributed.joined_up(memory, 1)
        names = "path", "step", "rows", "losses", "directed"
        return kept | {name: getattr(self, name) for name in names}

    def load_state_dict(self, kept: dict) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.path, self.step, self.rows = kept["path"], kept["step"], list(kept["rows"])
        self.losses, self.read = list(kept["losses"]), len(kept["losses"])
        self.directed = kept["directed"]
        if kept["memory"] is not None:
            self.loss.memory = kept["memory"][:, distributed.share(self.settings.batch_size)]


def loss_of(settings: Training | LanguageTraining) -> measure.Objective:
    """Return the loss of a batch, to train by or to measure."""
    if settings.model == "transformer_xl":
        return transformer_xl.NextTokenLoss()
    return measure.LOSSES[settings.loss]


def load_data(settings: Training | LanguageTraining, place: Place):
    """Return the dataset of the settings: see :mod:`stationarity.data`."""
    how = {"dtype": torch.float64 if settings.precision == "float64" else torch.float32}
    names = {"batch_size", "seed", "segment", "tokens", "steps_per_epoch", "examples"}
    names |= {"classes", "sampling", "crop_padding", "flip", "image_size", "label_noise"}
    how |= settings.model_dump(include=names)  # of these, those that it has
    if settings.model == "transformer_xl":
        how["context"] = settings.measure_context
        return place.load(data.load_text, settings.dataset, **how)
    return place.load(data.load, settings.dataset, **how)


def _check_data(state: State, keeper: Keeper) -> None:
    told = "This run was begun on {} processes: go on with it on as many, by --devices"
    keeper.hold("processes", distributed.size(), told)
    size, count = state.settings.batch_size, state.dataset.count
    if size % distributed.size():
        said = f"The batch size {size} cannot be divided among {distributed.size()} processes"
        raise UsageError(f"{said}: set another number of devices, or another batch_size.")
    if state.settings.measure_on == "partition" and count % size:
        said = f"measure_on='partition' needs a batch size that divides the {count} training"
        raise UsageError(f"{said} examples, and {size} does not.")
