"""Callbacks that watch the trainings of Lightning and of the Hugging Face ``Trainer``.

    Trainer(callbacks=[lightning_callback(batches=...)])        # Lightning
    Trainer(..., callbacks=[transformers_callback(batches=...)])  # Hugging Face

Both take what :class:`~stationarity.watching.Watch` takes by name. The objective and the
batches are by default the training's own: the loss of ``training_step`` or of the model, and
the data of the training's loader, drawn at random. Each package is imported where its
callback is made.
"""

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from ..errors import UsageError
from .exports import needed
from .watcher import Watch

STATE = "stationarity-watch.pt"  # beside the Trainer's checkpoint


class _Losses:
    """Losses of the minibatches since the last step; nothing waits for the device."""

    def __init__(self):
        self.parts, self.adds_up = [], False

    def add(self, loss, adds_up: bool = False) -> None:
        self.parts.append(loss.detach())
        self.adds_up = adds_up

    def take(self):
        """Return the loss of the step, None where none was seen."""
        parts, self.parts = self.parts, []
        if not parts:
            return None
        whole = torch.stack([part.float().reshape(()) for part in parts]).sum()
        return whole if self.adds_up else whole / len(parts)


def lightning_callback(*, objective: Callable | None = None, batches=None, **how):
    """Return a Lightning ``Callback`` that watches the training it is given to.

    ``objective`` (module, batch) is by default the loss of ``training_step``, whose logging
    is silenced meanwhile, in the precision of the parameters. After the end ``callback.watch``
    is closed, and has the run. The watch is kept in Lightning's checkpoints. A module that
    optimizes by hand, as with several optimizers, is refused: only its own ``training_step``
    knows whose step has which loss.
    """
    callbacks = needed("lightning.pytorch.callbacks", "lightning")

    class Watching(callbacks.Callback):
        watch, kept, seen = None, None, 0

        def on_train_start(self, trainer, module) -> None:
            if not module.automatic_optimization:
                said = "The module optimizes by hand, where a step's loss and part of the model"
                said += f" cannot be told from outside ({len(trainer.optimizers)} optimizers)"
                remedy = "in on_train_start make stationarity.watch(part, objective, optimizer,"
                remedy += " batches), and in training_step call its step after the optimizer's"
                raise UsageError(f"{said}: {remedy}.")
            self.losses, self.seen = _Losses(), trainer.global_step
            drawn = batches if batches is not None else trainer.train_dataloader
            own = objective or _of_training_step(trainer)
            given = {"optimizer": (trainer.optimizers or [None])[0]}
            given |= {"accumulate": trainer.accumulate_grad_batches} | how
            self.watch = Watch(module, own, batches=drawn, **given)
            if self.kept:
                self.watch.load_state_dict(self.kept)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if isinstance(loss, torch.Tensor):
                self.losses.add(loss, adds_up=True)  # it is divided by their number
            if trainer.global_step > self.seen:  # else gradients are being accumulated
                self.seen = trainer.global_step
                self.watch.step(loss=self.losses.take())

        def on_train_end(self, trainer, module) -> None:
            self.watch.close()

        def on_exception(self, trainer, module, exception) -> None:
            if self.watch:
                self.watch.__exit__(type(exception), exception, None)

        def state_dict(self) -> dict:
            if self.watch is None:
                return self.kept or {}
            if not self.watch.closed:
                self.watch.flush()
            return self.watch.state_dict()

        def load_state_dict(self, state_dict: dict) -> None:
            self.kept = state_dict

    return Watching()


def _of_training_step(trainer) -> Callable:
    def objective(module, batch):
        device, precision = next(module.parameters()).device, trainer.precision_plugin
        batch = trainer.strategy.batch_to_device(precision.convert_input(batch), device)
        silent = {"log": mock.DEFAULT, "log_dict": mock.DEFAULT}
        plainly = torch.autocast(device.type, enabled=False)
        with mock.patch.multiple(module, **silent), precision.train_step_context(), plainly:
            output = module.training_step(batch, 0)
        return output["loss"] if isinstance(output, dict) else output

    return objective


def transformers_callback(
    *, objective: Callable | None = None, batches=None, checkpoint=None, **how
):
    """Return a ``TrainerCallback`` that watches the training it is given to.

    ``objective`` (model, batch) is by default ``model(**batch).loss``; where the ``Trainer``
    smooths labels it must be given. The loss of a step is what the model returned in its
    forward passes, if it did. The watch is kept beside the checkpoints of
    the ``Trainer``, and goes on with ``resume_from_checkpoint``; where that lies outside
    ``output_dir``, ``checkpoint`` is its folder, which callbacks are not told. After the end
    ``callback.watch`` is closed, and has the run.
    """
    transformers = needed("transformers", "transformers")

    class Watching(transformers.TrainerCallback):
        watch, handle, measuring = None, None, False

        def on_train_begin(self, args, state, control, model=None, optimizer=None, **others):
            if args.label_smoothing_factor and objective is None:
                said = f"The Trainer smooths labels by {args.label_smoothing_factor}, and the"
                remedy = "give the callback an objective that smooths them too"
                raise UsageError(f"{said} model's own loss does not: {remedy}.")
            self.losses = _Losses()
            loader = others.get("train_dataloader")
            drawn = batches if batches is not None else loader
            given = {"accumulate": args.gradient_accumulation_steps}
            given |= {"optimizer": optimizer} | how
            self.watch = Watch(model, objective or _of_outputs, batches=drawn, **given)
            self.handle = self.watch.model.register_forward_hook(self._see, with_kwargs=True)
            place = Path(checkpoint) / STATE if checkpoint else _place(args, state)
            if state.global_step and (kept := _kept(place)):
                self.watch.load_state_dict(kept)

        def _see(self, model, given, named, outputs) -> None:
            loss = outputs.get("loss") if isinstance(outputs, dict) else None
            seen = model.training and torch.is_grad_enabled() and not self.measuring
            if seen and isinstance(loss, torch.Tensor):
                self.losses.add(loss, adds_up=named.get("num_items_in_batch") is not None)

        def on_step_end(self, args, state, control, **others) -> None:
            loss, self.measuring = self.losses.take(), True
            try:
                self.watch.step(loss=loss)
            finally:
                self.measuring = False

        def on_save(self, args, state, control, **others) -> None:
            self.watch.flush()  # by all processes
            if state.is_world_process_zero:
                torch.save(self.watch.state_dict(), _place(args, state))

        def on_train_end(self, args, state, control, **others) -> None:
            self.handle.remove()
            self.watch.close()

    return Watching()


def _of_outputs(model, batch):
    device = next(model.parameters()).device
    moved = {k: x.to(device) if isinstance(x, torch.Tensor) else x for k, x in batch.items()}
    plain = getattr(model, "_original_forward", model.forward)  # without Accelerate's autocast
    with mock.patch.object(model, "forward", plain):
        outputs = model(**moved)
    if outputs.get("loss") is None:
        said = "The model returns no loss for a batch"
        raise UsageError(f"{said}: give labels with it, or an objective of your own.")
    return outputs["loss"]


def _place(args, state) -> Path:
    return Path(args.output_dir, f"checkpoint-{state.global_step}", STATE)


def _kept(place: Path) -> dict | None:
    """Return the state of a watch; None, with a warning, where there is none."""
    with contextlib.suppress(FileNotFoundError):
        return torch.load(place, map_location="cpu", weights_only=True)
    said = f"The Trainer goes on from a checkpoint, and no state of a watch is {place}"
    remedy = "if it lies elsewhere, give the callback that checkpoint's folder"
    warnings.warn(f"{said}: a new watch begins; {remedy}.", stacklevel=2)
    return None
