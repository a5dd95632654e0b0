"""A measurement of a watched training: gradient, noise and curvature, on fresh batches."""

import contextlib
import math
import warnings
from collections.abc import Iterator

import torch

from ..errors import UsageError
from ..measure.derivatives import CHANGED
from ..measure.memory import spare_memory
from ..measure.state import without_trace
from ..runs import distributed
from . import curvature
from .fresh_batches import repeated, size_of
from .noise import Gradients, Noise

COPIES = 47  # gradients that the curvature holds in memory
ROUNDING = 1e-5  # of the mean gradient's norm: less is no noise of batches
LEFT = -2  # what a process says whose curvature failed; others say how many graphs they keep
GROWS, EVEN = 0.1, 0.1  # by which a sum of twice as many is larger at least; and steps differ


class Measurement:
    """What is measured after a step: ``rows`` of (quantity, value, error, of).

    Raises ``FloatingPointError`` where the weights, or a curvature, are not finite.
    """

    def __init__(self, watch):
        self.watch, self.rows = watch, []
        if not math.isfinite(watch.size):
            raise FloatingPointError("its weights are not")
        with plainly(watch.steps.device):
            self._note_gradient()
            if self._bears_curvature():
                self._note_curvature()

    def note(self, quantity: str, value: float, error: float = math.nan, of: str = "") -> None:
        self.rows.append((quantity, float(value), float(error), of))

    def _note_gradient(self) -> None:
        watch, self.batches, examples = self.watch, [], None
        with without_trace(watch.model, watch.objective) as before:
            collected = Gradients(watch.parameters, watch.count)
            with watch.draws.seeded(watch.taken):
                for loss in before.losses(watch.objective, self._drawn()):
                    collected.add(loss)
            if not watch.checked:
                self._check_mean(before)
            examples = watch.measured_size or (
                (size_of(self.batches[0]) or 0) * distributed.size()
            )
            population = 1 if watch.count == 1 else None
            noise = collected.noise(self._decays(), examples or 1, population)
        self._check_examples(examples)
        self._note_noise(noise)

    def _drawn(self) -> Iterator:
        """Yield fresh batches; keep the first few, and as many others, for the curvature."""
        kept = 1 if self.watch.sharpness is False else 2 * self.watch.few
        for batch in self.watch.draws.of(self.watch.taken, self.watch.count):
            if len(self.batches) < kept:
                self.batches.append(batch)
            yield batch

    def _check_mean(self, before) -> None:
        """Raise :class:`UsageError` for a loss that grows with the number of examples.

        That of the same examples once, twice and three times is to grow by steps of one size:
        one that compares examples with each other, as InfoNCE, grows by ever smaller ones.
        """

        def settled(model, batch):  # without dropout and statistics of the batch
            return self.watch.objective(model.eval(), batch)

        losses = [math.nan] * 3
        with contextlib.suppress(RuntimeError, ValueError, IndexError), torch.no_grad():
            parts = [repeated(self.batches[0], times) for times in (1, 2, 3)]
            if parts[0] is None:
                return
            losses = [float(one) for one in before.losses(settled, parts)]
        first, second = losses[1] - losses[0], losses[2] - losses[1]
        if abs(second - first) < EVEN * abs(first) and first / (losses[0] or math.nan) > GROWS:
            said = "The objective is a sum over the examples: it grows with their number"
            raise UsageError(f"{said}. Return the mean.")

    def _check_examples(self, examples: int) -> None:
        """Note the sizes of batches, where they were not given."""
        told = self.watch.table.info["watch"]
        if not examples:
            said = (
                "How many examples a batch holds cannot be seen, as its first tensor has none"
            )
            remedy = "give measured_batch_size, or let them begin with a row an example"
            raise UsageError(f"{said}: {remedy}.")
        size = self.watch.batch_size or examples * self.watch.accumulate
        self.watch.batch_size = told["batch_size"] = size
        told["measured_batch_size"] = examples

    def _decays(self) -> list[float]:
        """Return each parameter's weight decay, within the gradient."""
        groups = self.watch.followed.settings or [{"weight_decay": 0.0}]
        return [float(groups[number]["weight_decay"]) for number in self.watch.steps.of]

    def _note_noise(self, noise: Noise) -> None:
        sample, regularised = noise.sample, noise.regularised
        self.note("mean_loss", noise.losses.mean(), sample.standard_error_of_mean(noise.losses))
        self.note("gradient_norm_squared", sample.estimate, sample.standard_error)
        naive = math.sqrt(sample.square_of_sum) / sample.count
        self.note("gradient_norm_naive", naive)
        estimate = regularised.estimate, regularised.standard_error
        self.note("regularised_gradient_norm_squared", *estimate)
        strength = math.sqrt(sample.variance * (1 - 1 / sample.population))
        noisy = strength > ROUNDING * naive
        self.note("noise_norm", strength if noisy else 0.0)
        if noisy:
            scale = noise.scale
            self.note("noise_scale", scale.value, scale.error)
            self.note("noise_scale", scale.low, of="low")
            self.note("noise_scale", scale.high, of="high")
        if self.watch.optimizer:
            self.note("memory", max(self.watch.memory))

    def _bears_curvature(self) -> bool:
        """Return whether the curvature is wanted, and its memory there; note it in run.json."""
        watch = self.watch
        if watch.sharpness is None:
            size = sum(p.numel() * max(p.element_size(), 4) for p in watch.parameters)
            bears = COPIES * size <= spare_memory(watch.steps.device) / 2
            watch.sharpness = bool(distributed.of_first(bears, watch.steps.device))
            if not bears:
                told = f"left out: it takes {COPIES * size / 1e9:.2g} GB"
                watch.table.info["watch"]["sharpness"] = told
        return watch.sharpness

    def _note_curvature(self) -> None:
        """Note the curvature; where it cannot be computed, leave it out from here on."""
        watch, rows, reason = self.watch, [], ""
        try:
            rows = curvature.bracket(watch, self.batches)
        except (RuntimeError, ValueError) as error:
            if str(error) == CHANGED:  # which is wrong of the gradient, too
                raise
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            said = f"The curvature cannot be computed ({reason})"
            failed = UsageError(f"{said}: give sharpness=False, and all else is watched.")
            failed.__cause__ = error
        # Others may wait in a sum of all processes for one that failed alone, which ends them.
        state = torch.tensor([LEFT if reason else 0], device=watch.steps.device)
        all_left = bool((distributed.joined_up(state, 0) == LEFT).all())
        if reason and (watch.asked or not all_left):
            raise failed
        if reason:
            watch.sharpness = False
            watch.table.info["watch"]["sharpness"] = f"left out: {reason}"
            warnings.warn(f"{said}: it is left out, all else is watched.", stacklevel=6)
        for row in rows:
            self.note(*row)


@contextlib.contextmanager
def plainly(device) -> Iterator[None]:
    """Compute with gradients, and outside autocast."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield
