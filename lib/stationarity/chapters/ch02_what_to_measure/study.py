"""Small experiments that measure or simulate without a training run.

Each study maps its settings to the rows of a run's metrics, ``(step, epoch,
quantity, value, error)``; ``epoch`` counts the passes over the data that a
measurement takes. Source: our section "What to measure".
"""
import copy
import dataclasses
import functools
import math

import torch
from torch import Tensor, nn

from ... import data, measure
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...train import loop
from ...train.settings import Training
from ..ch06_invariant_measure.chains import mean_and_error
from .settings import CurvatureStudy, EstimatorStudy


def gradient_estimators(
    settings: EstimatorStudy, data_root=None, device="cpu", keeper=None
) -> list:
    """Compare estimators of ||grad f||^2 with its exact value.

    An mlp is trained for some steps in float64, without augmentation: the gradient
    over all the data and the variance of a minibatch's are then known exactly.
    Rows, ``step`` being the number M of minibatches:

    - ``exact_norm_squared``, ``exact_noise_variance``: the two truths;
    - ``naive_norm_squared``, ``norm_squared``: means over the replicates with their
      standard errors, for M independent minibatches;
    - ``spread``, ``reported_error``: of ``norm_squared``, its standard deviation
      over the replicates, and the root mean square of the standard errors;
    - ``..._at_zero``: the same for the tilted loss, whose gradient is zero here;
    - ``drawn_naive``, ``drawn_wrong``, ``drawn_right``: for M minibatches out of a
      partition of the data into N, the naive square, less s^2/M, and less
      s^2/M (1 - M/N).

    Raises :class:`UsageError` where the batch size does not divide the data.
    """
    keeper = keeper or Keeper()
    training = training_of(settings, hidden=settings.hidden)
    model, dataset = trained(training, settings.training_steps, data_root, device, keeper)
    if dataset.count % settings.batch_size:
        raise UsageError(
            f"The study draws from a partition of the data: {dataset.count} examples "
            f"are no multiple of the batch size {settings.batch_size}."
        )
    gradient, variance = keeper.part(
        "exact", lambda: _exact(model, training, data_root, device)
    )
    square = gradient.square().sum().item()
    rows = [(0, 0.0, "exact_norm_squared", square, 0.0)]
    rows += [(0, 0.0, "exact_noise_variance", variance, 0.0)]
    objectives = (measure.cross_entropy, _tilted(gradient))
    total = len(settings.sizes) * settings.replicates
    with keeper.progress("gradient_estimators", total, unit="measurement") as progress:

        def both(size: int, replicate: int) -> tuple:
            """Estimate for the loss and for the tilted one, on the same batches."""
            batches = list(dataset.draws(size, "estimators", size, replicate))
            progress.advance()
            return tuple(_estimate(statistics(model, batches, f)) for f in objectives)

        for size in settings.sizes:
            found = _repeated(f"{size} batches", both, size, settings, keeper)
            measured, at_zero = zip(*found, strict=True)
            naive = mean_and_error([s["gradient_norm_naive"] ** 2 for s in measured])
            found = {"naive_norm_squared": naive, **_calibration(measured)}
            zero = _calibration(at_zero).items()
            found |= {f"{name}_at_zero": pair for name, pair in zero}
            passes = size * settings.batch_size / dataset.count
            rows += [(size, passes, name, *pair) for name, pair in found.items()]
    return rows + _from_a_partition(model, dataset, settings, keeper)


def _from_a_partition(model, dataset, settings: EstimatorStudy, keeper) -> list:
    """Measure on the first M minibatches of reshuffled epochs, after the training."""
    rows, whole = [], dataset.steps_per_epoch

    def both(drawn: int, replicate: int) -> tuple:
        """Estimate with the right correction and with the wrong one."""
        first = (settings.training_steps // whole + 1 + replicate) * whole
        batches = list(dataset.training_batches(first, first + drawn))
        return tuple(
            _estimate(statistics(model, batches, population=size)) for size in (whole, None)
        )

    for drawn in settings.drawn:
        found = _repeated(f"{drawn} of a partition", both, drawn, settings, keeper)
        right, wrong = zip(*found, strict=True)
        found = {
            "drawn_naive": mean_and_error([s["gradient_norm_naive"] ** 2 for s in right]),
            "drawn_wrong": mean_and_error([s["gradient_norm_squared"] for s in wrong]),
            "drawn_right": mean_and_error([s["gradient_norm_squared"] for s in right]),
        }
        rows += [(drawn, drawn / whole, name, *pair) for name, pair in found.items()]
    return rows


def _repeated(name: str, measure_once, size: int, settings: EstimatorStudy, keeper) -> list:
    """Return what ``measure_once(size, replicate)`` gives for every replicate."""

    def all_of_them() -> list:
        first, found = keeper.begin(replicate=0, found=[])
        for replicate in range(first, settings.replicates):
            found.append(measure_once(size, replicate))
            keeper.keep(replicate=replicate + 1, found=found)
        return found

    return keeper.part(name, all_of_them)


def _estimate(found: measure.GradientStatistics) -> dict:
    """Return of the statistics what the study needs."""
    names = ("gradient_norm_naive", "gradient_norm_squared", "standard_error")
    return {name: getattr(found, name) for name in names}


def _exact(model: nn.Module, training: Training, data_root, device) -> tuple:
    """Return the gradient (P,) over all the data and a minibatch gradient's variance.

    A minibatch of B out of n without replacement has S^2/B (1 - B/n), with S^2 the
    variance of one example's gradient (n - 1 in the denominator).
    """
    single = data.load(dataclasses.replace(training, batch_size=1), data_root, device)
    count = single.count
    one_by_one = statistics(model, single.partition(), population=count)
    variance = one_by_one.noise_norm**2 * count / (count - 1)
    left = 1 - training.batch_size / count
    return one_by_one.mean_gradient, variance / training.batch_size * left


def _tilted(gradient: Tensor):
    """Return the cross-entropy less a linear term: the same noise, no gradient."""

    def objective(model: nn.Module, batch) -> Tensor:
        theta = torch.cat([p.flatten() for p in model.parameters()])
        return measure.cross_entropy(model, batch) - theta @ gradient

    return objective


def _calibration(statistics: list) -> dict:
    """Return the mean estimate, its spread and the reported error, with errors."""
    estimates = [s["gradient_norm_squared"] for s in statistics]
    count, (mean, error_of_mean) = len(estimates), mean_and_error(estimates)
    spread = error_of_mean * math.sqrt(count)
    square, error = mean_and_error([s["standard_error"] ** 2 for s in statistics])
    return {
        "norm_squared": (mean, error_of_mean),
        "spread": (spread, spread / math.sqrt(2 * (count - 1))),  # of a normal sample
        "reported_error": (math.sqrt(square), error / 2 / math.sqrt(square)),
    }


def sharpness_estimators(
    settings: CurvatureStudy, data_root=None, device="cpu", keeper=None
) -> list:
    """Compare the sharpness with the eigenvalues of the dense Hessian, in float64.

    The net is an mlp, ``before`` training and ``after`` some steps: each quantity
    has one of these suffixes. Rows:

    - ``largest``, ``smallest``: eigenvalues of the dense Hessian, by LAPACK;
    - ``sharpness`` with its residual, ``products``: of ``measure.sharpness``;
    - ``lanczos``, ``power``: estimates after ``step`` products:
      ``measure.sharpness`` stopped there, and the Rayleigh quotient of power
      iteration from the gradient;
    - ``directional``, ``directional_dense``, ``directional_norm``: v'Hv / v'v along
      the gradient v, by a product and by the dense Hessian; ||Hv|| / ||v||.
    """
    keeper = keeper or Keeper()
    training, rows = training_of(settings, hidden=settings.hidden), []
    for suffix, steps in (("before", 0), ("after", settings.training_steps)):
        model, dataset = trained(training, steps, data_root, device, keeper)
        batches = list(dataset.draws(settings.batches, "curvature"))
        compute = functools.partial(_curvature, model, batches, settings)
        rows += [
            (step, math.nan, f"{quantity}_{suffix}", value, error)
            for step, quantity, value, error in keeper.part(f"curvature {suffix}", compute)
        ]
    return rows


def _curvature(model: nn.Module, batches: list, settings: CurvatureStudy) -> list:
    hessian, objective = dense_hessian(model, batches), measure.cross_entropy
    eigenvalues = torch.linalg.eigvalsh(hessian)
    gradient = statistics(model, batches, population=len(batches)).mean_gradient
    unit = gradient / gradient.norm()
    image = hessian @ unit
    found = measure.sharpness(model, objective, batches, seed=settings.seed)
    along = measure.directional_sharpness(model, objective, batches, gradient)
    exact = {
        "largest": eigenvalues[-1], "smallest": eigenvalues[0],
        "directional": along, "directional_dense": unit @ image,
        "directional_norm": image.norm(), "products": found.products,
    }  # fmt: skip
    rows = [(0, name, float(number), math.nan) for name, number in exact.items()]
    pair = (found.eigenvalues[0].item(), found.residuals[0].item())
    rows.append((0, "sharpness", *pair))
    for products in range(1, settings.max_products + 1):
        rows.append((products, "power", (unit @ image).item(), math.nan))
        unit = image / image.norm()
        image = hessian @ unit
        stopped = measure.sharpness(
            model, objective, batches,
            tol=1e-9, max_products=products, seed=settings.seed,
        )  # fmt: skip
        pair = (stopped.eigenvalues[0].item(), stopped.residuals[0].item())
        rows.append((products, "lanczos", *pair))
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


def training_of(settings, **changes) -> Training:
    """Return the settings of a study's training: an mlp in float64 if not changed."""
    common = {
        "dataset": settings.dataset, "examples": settings.examples, "model": "mlp",
        "batch_size": settings.batch_size, "learning_rate": settings.learning_rate,
        "epochs": 1, "precision": "float64", "seed": settings.seed,
    }  # fmt: skip
    return Training(**(common | changes))


def trained(training: Training, steps: int, data_root, device, keeper: Keeper) -> tuple:
    """Return a net after some steps of SGD, in training mode, and its dataset."""
    dataset = data.load(training, data_root, device)
    model = loop.build_model(training, dataset).to(device, dataset.dtype).train()
    optimizer = torch.optim.SGD(
        model.parameters(), training.learning_rate, training.momentum,
        weight_decay=training.weight_decay,
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
            if keeper.due():
                net, moments = model.state_dict(), optimizer.state_dict()
                keeper.keep(step=step + 1, model=net, optimizer=moments)
        return copy.deepcopy(model.state_dict())

    model.load_state_dict(keeper.part(f"{steps} steps", take_steps))
    return model, dataset


def statistics(model, batches, objective=measure.cross_entropy, population=None):
    """Return the gradient statistics of the cross-entropy, if of nothing else."""
    return measure.gradient_statistics(model, objective, batches, population=population)
