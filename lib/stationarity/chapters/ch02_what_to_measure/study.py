"""What is measured on small nets, each estimator against a truth that is known (chapter 2).

Source: our section "What to measure".
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from ... import data, measure, nets
from ...errors import UsageError
from ...measure.derivatives import parts
from ...runs import metrics
from ...stats.estimate import mean_and_error

if TYPE_CHECKING:
    from ...runs.checkpoints import Keeper, Place
    from .settings import CurvatureStudy, EstimatorStudy, NormalisationStudy

# Of BatchNorm; the second is below rounding: PyTorch allows no zero.
EPSILONS = {"usual": 1e-5, "negligible": 1e-30}


def gradient_estimators(settings: EstimatorStudy, place: Place) -> list[tuple]:
    """Compare estimators of ||grad f||^2 with its exact value, after some training.

    Rows; ``step`` is the number M of minibatches, ``epoch`` so many passes over the data:

    - ``exact_norm_squared``, ``exact_noise_variance``: of the gradient over all the
      data, and of a minibatch's;
    - ``naive_norm_squared``, ``norm_squared`` of the ``loss``: means over the replicates
      with their standard errors, for M independent minibatches;
    - ``spread``, ``reported_error`` of ``norm_squared``: its standard deviation over the
      replicates, and the root mean square of the standard errors;
    - the last three of the ``tilted loss``, too, whose gradient is zero here;
    - ``drawn_norm_squared`` for M minibatches out of a partition of the data into N:
      ``naive``, ``wrong``: less s^2/M, and ``right``: less s^2/M (1 - M/N).

    Raises :class:`UsageError` where the batch size does not divide the data.
    """
    keeper, dataset = place.keeper, load(settings, place)
    if dataset.count % settings.batch_size:
        said = f"The study draws from a partition of the data: {dataset.count} examples are no"
        raise UsageError(f"{said} multiple of the batch size {settings.batch_size}.")
    model = trained(settings, dataset, settings.training_steps, keeper)
    gradient, variance = keeper.part("exact", lambda: _exact(model, settings, place))
    rows = metrics.rows("exact_norm_squared", gradient.square().sum(), 0.0, epoch=0.0)
    rows += metrics.rows("exact_noise_variance", variance, 0.0, epoch=0.0)

    def tilted(model: nn.Module, batch) -> Tensor:  # the same noise, no gradient
        theta = nn.utils.parameters_to_vector(model.parameters())
        return measure.cross_entropy(model, batch) - theta @ gradient

    objectives = {"loss": measure.cross_entropy, "tilted loss": tilted}
    whole, replicates = dataset.steps_per_epoch, settings.replicates
    total = (len(settings.sizes) + len(settings.drawn)) * replicates
    with keeper.progress("gradient_estimators", total, unit="measurement"):
        for size in settings.sizes:

            def independent(replicate: int) -> list:
                batches = list(dataset.draws(size, "estimators", size, replicate))
                return [_estimate(model, batches, f) for f in objectives.values()]

            measured = _repeated(f"{size} batches", independent, replicates, keeper)
            at = {"step": size, "epoch": size * settings.batch_size / dataset.count}
            naive = mean_and_error(measured[:, 0, 0])
            rows += metrics.rows("naive_norm_squared", *naive, of="loss", **at)
            for number, objective in enumerate(objectives):
                for name, pair in _calibration(*measured[:, number, 1:].T).items():
                    rows += metrics.rows(name, *pair, of=objective, **at)
        for drawn in settings.drawn:  # the first of a reshuffled epoch, after the training

            def partition(replicate: int) -> list:
                first = (settings.training_steps // whole + 1 + replicate) * whole
                batches = list(dataset.training_batches(first, first + drawn))
                return [_estimate(model, batches, population=size) for size in (whole, None)]

            measured = _repeated(f"{drawn} of a partition", partition, replicates, keeper)
            for name, chosen in {"naive": (0, 0), "wrong": (1, 1), "right": (0, 1)}.items():
                at = {"of": name, "step": drawn, "epoch": drawn / whole}
                squares = mean_and_error(measured[:, *chosen])
                rows += metrics.rows("drawn_norm_squared", *squares, **at)
    return rows


def _exact(model: nn.Module, settings: EstimatorStudy, place: Place) -> tuple[Tensor, float]:
    """Return the gradient (P,) over all the data and a minibatch gradient's variance."""
    single = load(settings, place, batch_size=1)
    count, size = single.count, settings.batch_size
    measured = model, measure.cross_entropy, single.partition()
    one_by_one = measure.gradient_statistics(*measured, population=count)
    # A minibatch without replacement has S^2/B (1 - B/n), S^2 being one example's variance.
    variance = one_by_one.noise_norm**2 * count / (count - 1)
    return one_by_one.mean_gradient, variance / size * (1 - size / count)


def _repeated(name: str, once: Callable[[int], list], replicates: int, keeper: Keeper):
    def all_of_them() -> list:
        state = keeper.begin(measured=[])
        while len(state.measured) < replicates:
            state.measured.append(once(len(state.measured)))
            keeper.bar.advance()
            keeper.keep(state)
        return state.measured

    return np.array(keeper.part(name, all_of_them))


def _estimate(model, batches: list, objective=measure.cross_entropy, population=None) -> list:
    s = measure.gradient_statistics(model, objective, batches, population=population)
    return [s.gradient_norm_naive**2, s.gradient_norm_squared, s.standard_error]


def _calibration(estimates: np.ndarray, errors: np.ndarray) -> dict[str, tuple]:
    count, (mean, error_of_mean) = len(estimates), mean_and_error(estimates)
    spread = error_of_mean * math.sqrt(count)
    square, error = mean_and_error(errors**2)
    return {
        "norm_squared": (mean, error_of_mean),
        "spread": (spread, spread / math.sqrt(2 * (count - 1))),  # of a normal sample
        "reported_error": (math.sqrt(square), error / 2 / math.sqrt(square)),
    }


def sharpness_estimators(settings: CurvatureStudy, place: Place) -> list[tuple]:
    """Compare the sharpness with the eigenvalues of the dense Hessian.

    Rows of the net ``before`` training and ``after`` some steps:

    - ``largest``, ``smallest``: eigenvalues of the dense Hessian;
    - ``sharpness`` with its residual, ``products``: of ``measure.sharpness``;
    - ``lanczos``, ``power``: ``measure.sharpness`` stopped after ``step`` products, and
      the Rayleigh quotient of power iteration from the gradient after so many;
    - ``directional``, ``directional_dense``, ``directional_norm``: v'Hv / v'v along
      the gradient v, by a product and by the dense Hessian; ||Hv|| / ||v||.
    """
    keeper, dataset, rows = place.keeper, load(settings, place), []
    batches = list(dataset.draws(settings.batches, "curvature"))
    for of, steps in (("before", 0), ("after", settings.training_steps)):
        model = trained(settings, dataset, steps, keeper)
        rows += keeper.part(f"curvature {of}", lambda: _curvature(model, batches, settings, of))
    return rows


def _curvature(model: nn.Module, batches: list, settings: CurvatureStudy, of: str) -> list:
    hessian, measured = dense_hessian(model, batches), (model, measure.cross_entropy, batches)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    gradient = measure.gradient_statistics(*measured, population=len(batches)).mean_gradient
    unit = gradient / gradient.norm()
    image = hessian @ unit
    whole = measure.sharpness(*measured, seed=settings.seed)
    exact = {
        "largest": eigenvalues[-1],
        "smallest": eigenvalues[0],
        "directional": measure.directional_sharpness(*measured, gradient),
        "directional_dense": unit @ image,
        "directional_norm": image.norm(),
        "products": whole.products,
    }
    rows = metrics.common_rows(exact, of=of)
    rows += metrics.rows("sharpness", whole.eigenvalues[0], whole.residuals[0], of=of)
    for products in range(1, settings.max_products + 1):
        rows += metrics.rows("power", unit @ image, of=of, step=products)
        unit = image / image.norm()
        image = hessian @ unit
        how = {"tol": 1e-9, "max_products": products, "seed": settings.seed}
        stopped = measure.sharpness(*measured, **how)
        pair = stopped.eigenvalues[0], stopped.residuals[0]
        rows += metrics.rows("lanczos", *pair, of=of, step=products)
    return rows


def dense_hessian(model: nn.Module, batches: list) -> Tensor:
    """Return the Hessian (P, P) of the mean cross-entropy over the batches."""
    names, parameters = zip(*model.named_parameters())

    def loss(vector: Tensor) -> Tensor:
        pieces = parts(vector, parameters)

        def net(inputs):
            return torch.func.functional_call(model, dict(zip(names, pieces)), (inputs,))

        return sum(measure.cross_entropy(net, b) for b in batches) / len(batches)

    # Reverse over reverse: torch.func.hessian goes forward, with a warning.
    gradient = torch.func.grad(loss)
    return torch.func.jacrev(gradient, chunk_size=512)(measure.parameter_vector(model))


def normalised_loss(settings: NormalisationStudy, place: Place) -> list[tuple]:
    """Measure what batch normalisation makes of the loss and of its gradient.

    A ResNet is trained for some steps with random crops. Rows:

    - ``loss``, ``norm_squared`` in ``training mode`` and in ``evaluation mode``, for
      minibatches of ``step`` examples without crops; in ``training mode, crops`` and
      ``training mode, plain``, and so on, for the batch size of the training;
    - ``cosine``: |cos| between each parameter tensor (``index``) and its gradient, of
      the convolutions with BatchNorm's usual epsilon (``normalised, usual epsilon``),
      with a ``negligible`` one, and of the ``other`` tensors;
    - ``decay_product``, ``decay_square``: w . grad f and weight_decay ||w||^2, w
      being all the convolutions' weights;
    - ``gradient_norm_scaled``, ``scale_free_norm_scaled``: with w times each of the
      ``scales`` (``index``), gradients in w.

    Losses are measured in float32, angles and scalings in float64 on one minibatch.
    """
    crops = {"crop_padding": settings.crop_padding}
    dataset = load(settings, place, dtype=torch.float32, **crops)
    model = trained(settings, dataset, settings.training_steps, place.keeper)
    passes, rows = settings.measured_examples / dataset.count, []

    def note(of: str, size: int = settings.batch_size, **how) -> None:
        def measured() -> list[tuple]:
            some = load(settings, place, dtype=torch.float32, batch_size=size, **how)
            drawn = some.draws(max(3, settings.measured_examples // size), "normalisation")
            s = measure.gradient_statistics(model, measure.cross_entropy, drawn)
            at, squared = {"of": of, "step": size, "epoch": passes}, s.gradient_norm_squared
            losses = metrics.rows("loss", s.loss, s.loss_standard_error, **at)
            return losses + metrics.rows("norm_squared", squared, s.standard_error, **at)

        rows.extend(place.keeper.part(f"{of} {size}", measured))

    for mode in ("evaluation", "training"):
        model.train(mode == "training")
        for size in settings.batch_sizes:
            note(f"{mode} mode", size)
        note(f"{mode} mode, crops", **crops)
        note(f"{mode} mode, plain")
    batch = next(iter(load(settings, place).draws(1, "angles")))
    return rows + _angles(model.double(), batch) + _scalings(model, batch, settings)


def _angles(model: nn.Module, batch) -> list[tuple]:
    rows, weights = [], list(model.parameters())
    for name in EPSILONS:
        for index, (w, g) in enumerate(zip(weights, _gradients(model, batch, weights, name))):
            cosine = (w * g).sum().item() / (_norm([w]) * _norm([g]) or math.inf)
            of = f"{'normalised' if w.ndim == 4 else 'other'}, {name} epsilon"
            rows += metrics.rows("cosine", abs(cosine), of=of, index=index)
    return rows


def _scalings(model: nn.Module, batch, settings: NormalisationStudy) -> list[tuple]:
    weights = [p for p in model.parameters() if p.ndim == 4]  # each feeds a BatchNorm
    pairs = zip(weights, _gradients(model, batch, weights, "negligible"), strict=True)
    slope = sum((w * g).sum().item() for w, g in pairs)
    decay, previous = settings.weight_decay * _norm(weights) ** 2, 1.0
    rows = metrics.common_rows({"decay_product": slope + decay, "decay_square": decay})
    for index, scale in enumerate(settings.scales):
        with torch.no_grad():
            for weight in weights:
                weight.mul_(scale / previous)
        previous, norm = scale, _norm(_gradients(model, batch, weights, "negligible"))
        norms = {"gradient_norm_scaled": norm, "scale_free_norm_scaled": norm * _norm(weights)}
        rows += metrics.common_rows(norms, index=index)
    return rows


def _gradients(model: nn.Module, batch, parameters: list[Tensor], epsilon: str) -> tuple:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPSILONS[epsilon]
    return torch.autograd.grad(measure.cross_entropy(model, batch), parameters)


def _norm(tensors) -> float:
    return math.sqrt(sum(t.square().sum().item() for t in tensors))


def load(settings: EstimatorStudy | CurvatureStudy | NormalisationStudy, place: Place, **how):
    """Return the settings' data, in float64 and by their batch size if not told ``how``."""
    usual = settings.model_dump(include={"batch_size", "examples", "seed", "label_noise"})
    return place.load(data.load, settings.dataset, **usual | {"dtype": torch.float64} | how)


def trained(settings, dataset, steps: int, keeper: Keeper) -> nn.Module:
    """Return the settings' net after some steps of SGD, in training mode."""
    model = nets.build(settings, dataset).to(dataset.device, dataset.dtype).train()
    how = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    optimizer = torch.optim.SGD(model.parameters(), momentum=settings.momentum, **how)

    def take_steps() -> dict:
        now = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        state = keeper.begin(step=0, **now)
        model.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        for batch in dataset.training_batches(state.step, steps):
            optimizer.zero_grad()
            measure.cross_entropy(model, batch).backward()
            optimizer.step()
            state.step += 1
            state.model, state.optimizer = model.state_dict(), optimizer.state_dict()
            keeper.keep(state)
        return copy.deepcopy(model.state_dict())

    model.load_state_dict(keeper.part(f"{steps} steps", take_steps))
    return model
