"""What a training run notes about itself: full measurements, and cheap observations.

Each is made before a step, and completed after it. Of several processes all take part.
"""

import itertools
import math

import torch
from torch import Tensor

from .. import measure, nets
from ..runs import distributed
from ..runs.metrics import rows
from ..stats.estimate import mean_and_error
from . import validation

ERRORS = {  # of what gradient statistics hold
    "loss": "loss_standard_error",
    "gradient_norm_squared": "standard_error",
    "regularised_gradient_norm_squared": "regularised_standard_error",
    "gradient_norm_naive": "", "noise_norm": "", "batches": "",
}  # fmt: skip


class _Rows:
    def __init__(self, state):
        self.rows, self.at = [], {"step": state.step, "epoch": state.epoch}
        self.vector = measure.parameter_vector(state.model)

    def note(self, quantity: str, values, errors=math.nan, **axes) -> None:
        self.rows += rows(quantity, values, errors, **axes, **self.at)


class Measurement(_Rows):
    """A measurement of the gradient, its noise, the curvature and the progress.

    Raises ``FloatingPointError`` where the weights or a curvature are not finite.
    """

    def __init__(self, state):
        super().__init__(state)
        if not torch.isfinite(self.vector).all():
            raise FloatingPointError("the weights are not finite")
        settings, dataset, step = state.settings, state.dataset, state.step
        state.seed_dropout("measure", step)
        distributed.equal_buffers(state.model)
        few = dataset.draws(settings.sharpness_batches, "sharpness")
        decay = settings.weight_decay
        if settings.measure_on == "partition":
            few = dataset.partition()
            pair = [dataset.partition("measure", step, k) for k in range(min(len(few), 2))]
            statistics = measure.partition_statistics(*state.measured, pair, weight_decay=decay)
        else:
            drawn = dataset.draws(settings.measure_batches, "measure", step)
            statistics = measure.gradient_statistics(*state.measured, drawn, weight_decay=decay)
        self.few = list(itertools.islice(few, settings.sharpness_batches))
        for name, error in ERRORS.items():
            self.note(name, getattr(statistics, name), getattr(statistics, error, math.nan))
        if math.ceil(state.epoch / settings.measure_every) % settings.sharpness_every == 0:
            how = {"max_products": settings.sharpness_products, "seed": settings.seed}
            moves = statistics.gradient_norm_naive > 0
            how["direction"] = statistics.mean_gradient if moves else None
            sharpness = measure.sharpness(*state.measured, self.few, **how)
            self.note("sharpness", sharpness.eigenvalues[0], sharpness.residuals[0])
            self.note("sharpness_products", sharpness.products)
            if moves:
                self.note("directional_sharpness", sharpness.directional)
        self.note("weight_norm", measure.norms(self.vector))
        for quantity, pair in validation.measured(state).items():
            self.note(quantity, *pair)
        self.losses = self._losses(state)

    def _losses(self, state) -> Tensor:
        state.seed_dropout("measure", self.at["step"])
        losses = [measure.mean_loss(*state.measured, [b]) for b in self.few]
        return torch.tensor(losses, dtype=torch.float64)

    def after(self, state) -> list[tuple]:
        """Return the rows, with those of the step that was taken."""
        self.note("update_norm", measure.displacement(state.model, self.vector))
        self.note("loss_change", *mean_and_error(self._losses(state) - self.losses))
        self.note("learning_rate", state.optimizer.param_groups[0]["lr"])
        return self.rows


class Observation(_Rows):
    """What is cheap enough for every few steps, of the weights, the loss and the step."""

    def __init__(self, state):
        super().__init__(state)
        vector, (random, lengths) = self.vector, state.random_directions
        self.note("observed_weight_norm", measure.norms(vector))
        if normalised := nets.normalised_weights(state.model):
            self.note("observed_normalised_norm", torch.nn.utils.get_total_norm(normalised))
        along = measure.inner(random, vector[None])[:, 0] / lengths
        self.note("observed_random", along, index=range(2))

    def after(self, state) -> list[tuple]:
        self.note("observed_minibatch_loss", distributed.mean(state.losses[-1].clone()))
        self.note("observed_update_square", measure.displacement(state.model, self.vector) ** 2)
        return self.rows
