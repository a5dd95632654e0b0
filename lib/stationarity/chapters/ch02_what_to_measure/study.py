"""Estimators of gradient norm and sharpness, each against a truth that is known.

The nets are mlps in float64, without augmentation. Source: our section "What to measure".
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
from ...runs import metrics
from ...stats.estimate import mean_and_error

if TYPE_CHECKING:
    from ...runs.checkpoints import Keeper, Place
    from .settings import CurvatureStudy, EstimatorStudy, NormalisationStudy


def gradient_estimators(settings: EstimatorStudy, place: Place) -> list[tuple]:
    """Compare estimators of ||grad f||^2 with its exact value, after some training.

    The gradient over all the data and the variance of a minibatch's are known
    exactly. Rows; ``step`` is the number M of minibatches, ``epoch`` so many passes
    over the data:

    - ``exact_norm_squared``, ``exact_noise_variance``: the two truths;
    - ``naive_norm_squared``, ``norm_squared`` of the ``loss``: means over the replicates
      with their standard errors, for M independent minibatches;
    - ``spread``, ``reported_error``: of ``norm_squared``, its standard deviation
      over the replicates, and the root mean square of the standard errors;
    - the last three of the ``tilted loss``, too, whose gradient is zero here;
    - ``drawn_norm_squared`` for M minibatches out of a partition of the data into N:
      ``naive``, the ``wrong`` one, less s^2/M, and the ``right`` one, less
      s^2/M (1 - M/N).

    Raises :class:`UsageError` where the batch size does not divide the data.
    """
    keeper, dataset = place.keeper, load(settings, place, label_noise=settings.label_noise)
    if dataset.count % settings.batch_size:
        raise UsageError(
            f"The study draws from a partition of the data: {dataset.count} examples "
            f"are no multiple of the batch size {settings.batch_size}."
        )
    model = trained(settings, dataset, settings.training_steps, keeper)
    gradient, variance = keeper.part("exact", lambda: _exact(model, settings, place))
    rows = metrics.rows("exact_norm_squared", gradient.square().sum(), 0.0, epoch=0.0)
    rows += metrics.rows("exact_noise_variance", variance, 0.0, epoch=0.0)
    objectives = {"loss": measure.cross_entropy, "tilted loss": _tilted(gradient)}
    total = len(settings.sizes) * settings.replicates
    with keeper.progress("gradient_estimators", total, unit="measurement") as progress:
        for size in settings.sizes:

            def both(replicate: int) -> list:
                """Estimate for the two objectives on the same batches."""
                batches = list(dataset.draws(size, "estimators", size, replicate))
                progress.advance()
                return [_estimate(model, batches, f) for f in objectives.values()]

            measured = _repeated(f"{size} batches", both, settings, keeper)
            at = {"step": size, "epoch": size * settings.batch_size / dataset.count}
            naive = mean_and_error(measured[:, 0, 0])
            rows += metrics.rows("naive_norm_squared", *naive, of="loss", **at)
            for number, objective in enumerate(objectives):
                for name, pair in _calibration(*measured[:, number, 1:].T).items():
                    rows += metrics.rows(name, *pair, of=objective, **at)
    return rows + _from_a_partition(model, dataset, settings, keeper)


def _from_a_partition(model, dataset, settings: EstimatorStudy, keeper: Keeper) -> list[tuple]:
    """Measure on the first M minibatches of reshuffled epochs, after the training."""
    rows, whole = [], dataset.steps_per_epoch
    for drawn in settings.drawn:

        def both(replicate: int) -> list:
            """Estimate with the right correction and with the wrong one."""
            first = (settings.training_steps // whole + 1 + replicate) * whole
            batches = list(dataset.training_batches(first, first + drawn))
            return [_estimate(model, batches, population=size) for size in (whole, None)]

        measured = _repeated(f"{drawn} of a partition", both, settings, keeper)
        naive, right, wrong = measured[:, 0, 0], measured[:, 0, 1], measured[:, 1, 1]
        for name, squares in {"naive": naive, "wrong": wrong, "right": right}.items():
            at = {"of": name, "step": drawn, "epoch": drawn / whole}
            rows += metrics.rows("drawn_norm_squared", *mean_and_error(squares), **at)
    return rows


def _repeated(name: str, once: Callable[[int], list], settings, keeper: Keeper) -> np.ndarray:
    """Return what ``once(replicate)`` gives for every replicate, (replicates, ...)."""

    def all_of_them() -> list:
        first, measured = keeper.begin(replicate=0, measured=[])
        for replicate in range(first, settings.replicates):
            measured.append(once(replicate))
            keeper.keep(replicate=replicate + 1, measured=measured)
        return measured

    return np.array(keeper.part(name, all_of_them))


def _estimate(model, batches: list, objective=measure.cross_entropy, population=None) -> list:
    """Return the naive square of a gradient's norm, the unbiased one and its error."""
    s = measure.gradient_statistics(model, objective, batches, population=population)
    return [s.gradient_norm_naive**2, s.gradient_norm_squared, s.standard_error]


def _exact(model: nn.Module, settings: EstimatorStudy, place: Place) -> tuple[Tensor, float]:
    """Return the gradient (P,) over all the data and a minibatch gradient's variance.

    A minibatch of B out of n without replacement has S^2/B (1 - B/n), with S^2 the
    variance of one example's gradient (n - 1 in the denominator).
    """
    single = load(settings, place, batch_size=1, label_noise=settings.label_noise)
    count, size = single.count, settings.batch_size
    one_by_one = measure.gradient_statistics(
        model, measure.cross_entropy, single.partition(), population=count
    )
    variance = one_by_one.noise_norm**2 * count / (count - 1)
    return one_by_one.mean_gradient, variance / size * (1 - size / count)


def _tilted(gradient: Tensor) -> measure.Objective:
    """Return the cross-entropy less a linear term: the same noise, no gradient."""

    def objective(model: nn.Module, batch) -> Tensor:
        theta = torch.cat([p.flatten() for p in model.parameters()])
        return measure.cross_entropy(model, batch) - theta @ gradient

    return objective


def _calibration(estimates: np.ndarray, errors: np.ndarray) -> dict[str, tuple]:
    """Return mean estimates, their spread and the reported error, with errors."""
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

    - ``largest``, ``smallest``: eigenvalues of the dense Hessian, by LAPACK;
    - ``sharpness`` with its residual, ``products``: of ``measure.sharpness``;
    - ``lanczos``, ``power``: estimates after ``step`` products:
      ``measure.sharpness`` stopped there, and the Rayleigh quotient of power
      iteration from the gradient;
    - ``directional``, ``directional_dense``, ``directional_norm``: v'Hv / v'v along
      the gradient v, by a product and by the dense Hessian; ||Hv|| / ||v||.
    """
    dataset, rows = load(settings, place, label_noise=settings.label_noise), []
    batches = list(dataset.draws(settings.batches, "curvature"))
    for state, steps in (("before", 0), ("after", settings.training_steps)):
        model = trained(settings, dataset, steps, place.keeper)
        rows += place.keeper.part(
            f"curvature {state}", lambda: _curvature(model, batches, settings, state)
        )
    return rows


def _curvature(model: nn.Module, batches: list, settings: CurvatureStudy, of: str) -> list:
    hessian, measured = dense_hessian(model, batches), (model, measure.cross_entropy, batches)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    statistics = measure.gradient_statistics(*measured, population=len(batches))
    gradient = statistics.mean_gradient
    unit = gradient / gradient.norm()
    image = hessian @ unit
    whole = measure.sharpness(*measured, seed=settings.seed)
    exact = {
        "largest": eigenvalues[-1], "smallest": eigenvalues[0],
        "directional": measure.directional_sharpness(*measured, gradient),
        "directional_dense": unit @ image, "directional_norm": image.norm(),
        "products": whole.products,
    }  # fmt: skip
    rows = [row for name, value in exact.items() for row in metrics.rows(name, value, of=of)]
    rows += metrics.rows("sharpness", whole.eigenvalues[0], whole.residuals[0], of=of)
    for products in range(1, settings.max_products + 1):
        rows += metrics.rows("power", unit @ image, of=of, step=products)
        unit = image / image.norm()
        image = hessian @ unit
        stopped = measure.sharpness(
            *measured, tol=1e-9, max_products=products, seed=settings.seed
        )
        pair = stopped.eigenvalues[0], stopped.residuals[0]
        rows += metrics.rows("lanczos", *pair, of=of, step=products)
    return rows


def dense_hessian(model: nn.Module, batches: list) -> Tensor:
    """Return the Hessian (P, P) of the mean cross-entropy over the batches."""
    names, parameters = zip(*model.named_parameters())
    shapes, sizes = [p.shape for p in parameters], [p.numel() for p in parameters]

    def loss(vector: Tensor) -> Tensor:
        pieces = zip(names, vector.split(sizes), shapes)
        values = {name: piece.view(shape) for name, piece, shape in pieces}

        def net(inputs):
            return torch.func.functional_call(model, values, (inputs,))

        return sum(measure.cross_entropy(net, b) for b in batches) / len(batches)

    # Reverse over reverse: torch.func.hessian goes forward, with a warning.
    gradient = torch.func.grad(loss)
    return torch.func.jacrev(gradient, chunk_size=512)(measure.parameter_vector(model))


def load(settings: EstimatorStudy | CurvatureStudy | NormalisationStudy, place: Place, **how):
    """Return the settings' data, in float64 and by their batch size if not told ``how``."""
    usual = dict(
        batch_size=settings.batch_size, examples=settings.examples, seed=settings.seed,
        dtype=torch.float64, data_root=place.data_root, device=place.device,
    )  # fmt: skip
    return data.load(settings.dataset, **usual | how)


def trained(settings, dataset, steps: int, keeper: Keeper) -> nn.Module:
    """Return the settings' net after some steps of SGD, in training mode."""
    model = nets.build(settings, dataset).to(dataset.device, dataset.dtype).train()
    optimizer = torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum,
        weight_decay=settings.weight_decay,
    )  # fmt: skip

    def take_steps() -> dict:
        first, net, moments = keeper.begin(
            step=0, model=model.state_dict(), optimizer=optimizer.state_dict()
        )
        model.load_state_dict(net)
        optimizer.load_state_dict(moments)
        for step, batch in enumerate(dataset.training_batches(first, steps), first):
            optimizer.zero_grad()
            measure.cross_entropy(model, batch).backward()
            optimizer.step()
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            keeper.keep(step=step + 1, **state)
        return copy.deepcopy(model.state_dict())

    model.load_state_dict(keeper.part(f"{steps} steps", take_steps))
    return model
