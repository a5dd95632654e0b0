"""A GPT that is trained as usual, by each schedule, and watched from its first step.

Source, as of all in this folder: our section "Your own training".
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ... import data
from ...errors import UsageError
from ...runs.seeds import seed_of
from ...watching.watcher import Watch
from . import schedules
from .gpt import GPT, objective

if TYPE_CHECKING:
    from ...data.text import TokenStreams
    from ...runs.checkpoints import Keeper, Place
    from .settings import YourTraining


def your_training(settings: YourTraining, place: Place) -> list[tuple]:
    """Train by each schedule; return the rows of each watch, ``member`` its number.

    run.json gets what a watch knows of its training: ``watched``, by the schedule's name.
    Raises :class:`UsageError` where a training diverges.
    """
    how = {"batch_size": settings.batch_size, "segment": settings.context}
    text = place.load(data.load_text, settings.dataset, seed=settings.seed, **how)
    keeper, rows, known = place.keeper, [], {}
    with (
        keeper.progress("your training", settings.total_steps),
        tempfile.TemporaryDirectory() as spare,
    ):
        root = (keeper.folder or Path(spare)) / "watches"  # there for a run that goes on
        for member, name in enumerate(schedules.NAMES):
            watch = keeper.part(name, lambda: _watched(settings, text, name, keeper, root))
            known[name] = watch["facts"]
            rows += [(*row[:2], member, *row[2:]) for row in watch["rows"]]
        keeper.save(keeper.begin())  # from here on nobody needs what the watches wrote
        shutil.rmtree(root, ignore_errors=True)
    keeper.info["watched"] = known
    return rows


def batches(text: TokenStreams, count: int, *key) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield independent batches ``(tokens, targets)``, the same for a key."""
    for tokens, targets, _ in text.draws(count, *key):
        yield tokens, targets


def groups(model: GPT, decay: float) -> list[dict]:
    """Return AdamW's parameter groups, as is usual: matrices decay, and nothing else."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]


class Training:
    """One training: model, optimizer, watch, and the seconds that they took."""

    def __init__(self, settings: YourTraining, text: TokenStreams, name: str, root: Path):
        self.settings, self.text, self.name = settings, text, name
        sizes = {key: getattr(settings, key) for key in ("context", "layers", "width", "heads")}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(settings.seed, "model"))
            self.model = GPT(len(text.vocabulary), **sizes).to(text.device)
        parts = groups(self.model, settings.weight_decay)
        self.optimizer = torch.optim.AdamW(parts, settings.learning_rate, fused=True)
        how = settings.model_dump(include={"measure_batches", "sharpness_batches"})
        how |= dict(name=name, root=root, every=settings.measure_every)
        self.watch = Watch(self.model, objective, self.optimizer, self.draw, **how)
        self.seconds = {"steps": 0.0, "watching": 0.0}

    def draw(self, step: int, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Return fresh batches for the watch."""
        return batches(self.text, count, "watch", step)

    def take_step(self, step: int) -> None:
        began = time.perf_counter()
        for group in self.optimizer.param_groups:
            group["lr"] = schedules.rate(self.settings, self.name, step)
        (batch,) = batches(self.text, 1, "training", step)
        self.optimizer.zero_grad()
        loss = objective(self.model, batch)
        loss.backward()
        self.optimizer.step()
        trained = time.perf_counter()
        self.watch.step(batch, loss)
        self.seconds["steps"] += trained - began
        self.seconds["watching"] += time.perf_counter() - trained

    def state_dict(self) -> dict:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "watch": self.watch.state_dict(),
            "seconds": dict(self.seconds),
        }

    def load_state_dict(self, kept: dict) -> None:
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.watch.load_state_dict(kept["watch"])  # last: it looks at the weights
        self.seconds = kept["seconds"]


def _watched(settings, text: TokenStreams, name: str, keeper: Keeper, root: Path) -> dict:
    """Return a training's rows, without a member, and what its watch knows of it."""
    training = Training(settings, text, name, root)
    keeper.restore(training)
    watch = training.watch
    while watch.taken < settings.steps:
        training.take_step(watch.taken)
        keeper.bar.advance()
        keeper.keep(training)
    run = watch.close()
    if watch.diverged:
        raise UsageError(f"The training diverged ({name}): lower the setting learning_rate.")
    table = run.metrics.drop(columns="member").sort_values(["quantity", "of", "index", "step"])
    table = table.astype({"index": object}).where(table.notna(), None)
    entries = sum(p.numel() for p in training.model.parameters() if p.dim() > 1)
    facts = run.info["watch"] | {"matrix_entries": entries, "seconds": _spent(training)}
    return {"facts": facts, "rows": [*table.itertuples(index=False, name=None)]}


def _spent(training: Training) -> dict[str, float]:
    """Return the seconds of all steps, of noting and of measuring, and how often that was."""
    pace, spent = training.watch.pace, training.seconds
    noting = spent["watching"] - pace.spent
    return {
        "steps": spent["steps"],
        "noting": noting,
        "measuring": pace.spent,
        "measurements": pace.measured,
    }
