"""A measurement of a watched training: gradient, noise and curvature, on fresh batches."""

import contextlib
import math
from collections.abc import Iterator

import torch

from .. import measure
from ..errors import UsageError
from ..measure.curvature import MeanHessian, spare_memory
from ..measure.derivatives import flat, gradients, parameter_vector
from ..measure.lanczos import largest_eigenpairs
from ..measure.state import without_trace
from ..runs import distributed
from . import optimizers
from .drawing import halves, size_of
from .noise import Gradients, Noise

COPIES = 47  # gradients that the curvature holds in memory
PRODUCTS, TOLERANCE = 50, 0.02
ROUNDING = 1e-5  # of the mean gradient's norm: less is no noise of batches
SUM = 1.5  # of two halves' losses over that of the whole: 2 for a mean, 1 for a sum


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
            collected = Gradients(watch.parameters)
            with watch.draws.seeded(watch.taken):
                for loss in before.losses(watch.objective, self._drawn()):
                    collected.add(gradients(loss, watch.parameters), loss)
            if not watch.checked:
                self._check_mean(before, collected.losses[0])
            examples = (size_of(self.batches[0]) or 0) * distributed.size()
            population = 1 if watch.count == 1 else None
            noise = collected.noise(self._decay(), examples or 1, population)
        self._check_examples(examples)
        self._note_noise(noise)

    def _drawn(self) -> Iterator:
        """Yield fresh batches; keep the first few for the curvature."""
        for batch in self.watch.draws.of(self.watch.taken, self.watch.count):
            if len(self.batches) < self.watch.few:
                self.batches.append(batch)
            yield batch

    def _check_mean(self, before, loss) -> None:
        """Raise :class:`UsageError` for a loss that grows with the number of examples."""
        if (parts := halves(self.batches[0])) is None:
            return
        found = math.nan
        with contextlib.suppress(RuntimeError, ValueError, IndexError), torch.no_grad():
            found = sum(float(one) for one in before.losses(self.watch.objective, parts))
        if 0 < found / (float(loss) or math.nan) < SUM:
            said = "The objective is a sum over the examples: half a batch has half its loss"
            raise UsageError(f"{said}. Return the mean.")

    def _check_examples(self, examples: int) -> None:
        """Note the sizes of batches, where they were not given."""
        told = self.watch.table.info["watch"]
        if not examples:
            said = (
                "How many examples a batch holds cannot be seen, as its first tensor has none"
            )
            raise UsageError(f"{said}: let batches begin with a tensor of a row an example.")
        size = self.watch.batch_size or examples * self.watch.accumulate
        self.watch.batch_size = told["batch_size"] = size
        told["measured_batch_size"] = examples

    def _decay(self) -> Iterator:
        """Yield what a weight decay within the gradient adds to it, tensor by tensor."""
        optimizer = self.watch.optimizer
        groups = optimizer.param_groups if optimizer else [{"weight_decay": 0.0}]
        for p, number in zip(self.watch.parameters, self.watch.steps.of):
            yield p.detach() * float(groups[number]["weight_decay"])

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
        watch, how = self.watch, {"tol": TOLERANCE, "max_products": PRODUCTS}
        scales = self._scales()
        if scales is None:
            found = measure.sharpness(watch.model, watch.objective, self.batches, **how)
        else:
            root, shift = scales
            generator = torch.Generator().manual_seed(0)
            with without_trace(watch.model, watch.objective, curvature=True) as before:
                like = parameter_vector(watch.model)
                hessian = MeanHessian(before, watch.objective, self.batches)

                def product(vector):
                    inner = root * vector
                    return root * (hessian(inner, check=not hessian.checked) + shift * inner)

                found = largest_eigenpairs(product, like, k=1, generator=generator, **how)
        self.note("sharpness", found.eigenvalues[0], found.residuals[0])
        self.note("sharpness_products", found.products)
        told = watch.table.info["watch"]
        told["sharpness_examples"] = len(self.batches) * told["measured_batch_size"]
        if watch.optimizer:
            self.note("stable_sharpness", self._stable())

    def _fastest(self) -> dict:
        """Return the parameter group with the highest rate."""
        return max(self.watch.optimizer.param_groups, key=lambda group: float(group["lr"]))

    def _stable(self) -> float:
        """Return the largest stable curvature, in the fastest group's terms."""
        optimizer, rate = self.watch.optimizer, {"lr": self._fastest()["lr"]}
        groups = optimizer.param_groups
        return min(optimizers.stable_curvature(optimizer, group | rate) for group in groups)

    def _scales(self):
        """Return the root of what preconditions the Hessian, and the decay within it, (P,).

        That is each group's rate over the highest, and Adam's own preconditioner. None where
        the Hessian is as it is.
        """
        watch = self.watch
        if watch.optimizer is None:
            return None
        groups, top = watch.optimizer.param_groups, float(self._fastest()["lr"])
        adam = optimizers.name_of(watch.optimizer) != "SGD"
        if not adam and all(float(group["lr"]) == top for group in groups):
            return None
        roots, shifts = [], []
        for p, number in zip(watch.parameters, watch.steps.of):
            group = groups[number]
            whole = torch.full_like(p, float(group["lr"]) / top if top else 1.0)
            other = optimizers.preconditioner(watch.optimizer, group, p) if adam else None
            roots.append((whole if other is None else whole / other).sqrt_())
            inside = adam and not optimizers.decoupled(watch.optimizer, group)
            shifts.append(torch.full_like(p, float(group["weight_decay"]) if inside else 0.0))
        return flat(roots), flat(shifts)


@contextlib.contextmanager
def plainly(device) -> Iterator[None]:
    """Compute with gradients, and outside autocast."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        yield
