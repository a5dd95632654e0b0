"""What a training run notes about itself: full measurements, and cheap observations.

Both come in two halves, before a step and after it, because some quantities are of
the step. Neither changes the run. Of several processes all take part.
"""
import itertools
import math

import torch
from torch import Tensor, nn

from .. import measure
from ..runs import distributed
from ..runs.seeds import seed_of


def measurement(state, settings, dataset, origin: Tensor):
    """Measure the state; return what completes the measurement after the step."""
    model, step, objective = state.model, state.step, dataset.objective
    seed = seed_of(settings.seed, "measure", step, *distributed.key())
    torch.manual_seed(seed)  # of dropout
    distributed.equal_buffers(model)
    group = distributed.group()
    if settings.measure_on == "partition":
        batches = dataset.partition()
        population = len(batches)
        few = list(itertools.islice(batches, settings.sharpness_batches))
    else:
        batches, population = dataset.draws(settings.measure_batches, "measure", step), None
        few = list(dataset.draws(settings.sharpness_batches, "sharpness"))

    note = _noter(state, dataset)
    statistics = measure.gradient_statistics(
        model, objective, batches,
        population=population, weight_decay=settings.weight_decay, group=group,
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
        max_products=settings.sharpness_products, seed=settings.seed, group=group,
    )  # fmt: skip
    note("sharpness", sharpness.eigenvalues[0], sharpness.residuals[0])
    note("sharpness_products", sharpness.products)
    if statistics.gradient_norm_naive > 0:
        along = measure.directional_sharpness(
            model, objective, few, statistics.mean_gradient, group=group
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


def observation(state, settings, dataset):
    """Note the state before a step where that is due; return what notes the step.

    Cheap enough for every few steps: the weights' norm, their projections on two
    random directions, the minibatch's loss and the squared size of the step.
    """
    if not settings.observe_every or state.step % settings.observe_every:
        return None
    vector, note = measure.parameter_vector(state.model), _noter(state, dataset)
    generator = torch.Generator(vector.device).manual_seed(seed_of(settings.seed, "observe"))

    note("observed_weight_norm", vector.norm())
    for name in ("observed_random_1", "observed_random_2"):
        direction = torch.randn(
            vector.shape, generator=generator, device=vector.device, dtype=vector.dtype
        )
        note(name, direction @ vector / direction.norm())

    def note_the_step():
        note("observed_minibatch_loss", distributed.mean(state.unread[-1].clone()))
        note("observed_update_square", measure.displacement(state.model, vector) ** 2)

    return note_the_step


def _noter(state, dataset):
    """Return a function that notes quantities at the present step of a run."""
    step, epoch = state.step, state.step / dataset.steps_per_epoch

    def note(quantity, value, error=math.nan):
        state.rows.append((step, epoch, quantity, float(value), float(error)))

    return note


def _losses(model: nn.Module, objective, batches: list, seed: int) -> Tensor:
    torch.manual_seed(seed)  # the same dropout whenever it is called
    group = distributed.group()
    losses = [measure.mean_loss(model, objective, [b], group=group) for b in batches]
    return torch.tensor(losses, dtype=torch.float64)
