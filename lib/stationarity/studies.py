"""Small experiments that measure or simulate without a training run.

Each study maps its settings to the rows of a run's metrics, ``(step, epoch,
quantity, value, error)``; ``epoch`` counts the passes over the data that a
measurement takes. Source of all three: our section "What to measure".
"""
import dataclasses
import math

import torch
from torch import Tensor, nn

from . import data, langevin, measure, train
from .errors import UsageError
from .experiments import (
    CurvatureStudy, EstimatorStudy, NoisyQuadratic, NormalisationStudy, Training,
)  # fmt: skip
from .progress import Progress

NEGLIGIBLE = 1e-30  # an epsilon of BatchNorm below rounding; PyTorch allows no zero


def gradient_estimators(settings: EstimatorStudy, data_root=None, device="cpu") -> list:
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
    training = _training(settings, hidden=settings.hidden)
    model, dataset = _trained(training, settings.training_steps, data_root, device)
    if dataset.count % settings.batch_size:
        raise UsageError(
            f"The study draws from a partition of the data: {dataset.count} examples "
            f"are no multiple of the batch size {settings.batch_size}."
        )
    gradient, variance = _exact(model, training, data_root, device)
    square = gradient.square().sum().item()
    rows = [(0, 0.0, "exact_norm_squared", square, 0.0)]
    rows += [(0, 0.0, "exact_noise_variance", variance, 0.0)]
    tilted, total = _tilted(gradient), len(settings.sizes) * settings.replicates
    with Progress("gradient_estimators", total, unit="measurement") as progress:
        for size in settings.sizes:
            measured, at_zero = [], []
            for replicate in range(settings.replicates):
                batches = list(dataset.draws(size, "estimators", size, replicate))
                measured.append(_statistics(model, batches))
                at_zero.append(_statistics(model, batches, tilted))
                progress.advance()
            naive = _mean([s.gradient_norm_naive**2 for s in measured])
            found = {"naive_norm_squared": naive, **_calibration(measured)}
            zero = _calibration(at_zero).items()
            found |= {f"{name}_at_zero": pair for name, pair in zero}
            passes = size * settings.batch_size / dataset.count
            rows += [(size, passes, name, *pair) for name, pair in found.items()]
    return rows + _from_a_partition(model, dataset, settings)


def _from_a_partition(model: nn.Module, dataset, settings: EstimatorStudy) -> list:
    """Measure on the first M minibatches of reshuffled epochs, after the training."""
    rows, whole = [], dataset.steps_per_epoch
    for drawn in settings.drawn:
        wrong, right = [], []
        for replicate in range(settings.replicates):
            first = (settings.training_steps // whole + 1 + replicate) * whole
            batches = list(dataset.training_batches(first, first + drawn))
            right.append(_statistics(model, batches, population=whole))
            wrong.append(_statistics(model, batches))
        found = {
            "drawn_naive": _mean([s.gradient_norm_naive**2 for s in right]),
            "drawn_wrong": _mean([s.gradient_norm_squared for s in wrong]),
            "drawn_right": _mean([s.gradient_norm_squared for s in right]),
        }
        rows += [(drawn, drawn / whole, name, *pair) for name, pair in found.items()]
    return rows


def _exact(model: nn.Module, training: Training, data_root, device) -> tuple:
    """Return the gradient (P,) over all the data and a minibatch gradient's variance.

    A minibatch of B out of n without replacement has S^2/B (1 - B/n), with S^2 the
    variance of one example's gradient (n - 1 in the denominator).
    """
    single = data.load(dataclasses.replace(training, batch_size=1), data_root, device)
    count = single.count
    one_by_one = _statistics(model, single.partition(), population=count)
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
    estimates = [s.gradient_norm_squared for s in statistics]
    count, (mean, error_of_mean) = len(estimates), _mean(estimates)
    spread = error_of_mean * math.sqrt(count)
    square, error = _mean([s.standard_error**2 for s in statistics])
    return {
        "norm_squared": (mean, error_of_mean),
        "spread": (spread, spread / math.sqrt(2 * (count - 1))),  # of a normal sample
        "reported_error": (math.sqrt(square), error / 2 / math.sqrt(square)),
    }


def normalised_loss(settings: NormalisationStudy, data_root=None, device="cpu") -> list:
    """Measure what batch normalisation makes of the loss and of its gradient.

    A ResNet is trained for some steps with random crops. Rows:

    - ``loss_<mode>``, ``norm_squared_<mode>``: for minibatches of ``step`` examples
      without crops, in ``training`` and in ``evaluation`` mode;
    - ``loss_<mode>_<images>``, ``norm_squared_<mode>_<images>``: for the batch size
      of the training, with ``crops`` and on ``plain`` images;
    - ``cosine_<which>_<epsilon>``: |cos| between each parameter tensor (``step``
      counts them) and its gradient, for the convolutions (``normalised``) and the
      rest (``other``), with BatchNorm's ``usual`` epsilon and a ``negligible`` one;
    - ``decay_product``, ``decay_square``: w . grad f and weight_decay ||w||^2, w
      being all the convolutions' weights;
    - ``loss_scaled``, ``gradient_norm_scaled``, ``scale_free_norm_scaled``: with w
      times each of the ``scales`` (``step`` counts them), gradients in w.

    Losses are measured in float32, angles and scalings in float64 on one minibatch.
    """
    training = _training(
        settings, model="cifar_resnet", width=settings.width, blocks=settings.blocks,
        crop_padding=settings.crop_padding, momentum=settings.momentum,
        weight_decay=settings.weight_decay, precision="float32",
    )  # fmt: skip
    model, dataset = _trained(training, settings.training_steps, data_root, device)
    passes, rows = settings.measured_examples / dataset.count, []

    def note(step: int, name: str, **changes) -> None:
        variant = dataclasses.replace(training, **changes)
        count = max(3, settings.measured_examples // variant.batch_size)
        drawn = data.load(variant, data_root, device).draws(count, "normalisation")
        found = _statistics(model, drawn)
        loss = (found.loss, found.loss_standard_error)
        norm = (found.gradient_norm_squared, found.standard_error)
        rows.append((step, passes, f"loss_{name}", *loss))
        rows.append((step, passes, f"norm_squared_{name}", *norm))

    for mode in ("evaluation", "training"):
        model.train(mode == "training")
        for size in settings.batch_sizes:
            note(size, mode, batch_size=size, crop_padding=0)
        note(0, f"{mode}_crops")
        note(0, f"{mode}_plain", crop_padding=0)
    exact = dataclasses.replace(training, crop_padding=0, precision="float64")
    batch = next(iter(data.load(exact, data_root, device).draws(1, "angles")))
    rows += _angles(model.double(), batch, settings)
    return rows + _scalings(model, batch, settings)


def _angles(model: nn.Module, batch, settings: NormalisationStudy) -> list:
    rows, parameters = [], list(model.parameters())
    for name, epsilon in (("usual", 1e-5), ("negligible", NEGLIGIBLE)):
        _set_epsilon(model, epsilon)
        pairs = list(zip(parameters, _gradients(model, batch, parameters)))
        for index, (weight, gradient) in enumerate(pairs):
            product = (weight * gradient).sum().item()
            cosine = product / (_norm([weight]) * _norm([gradient]) or math.inf)
            which = "normalised" if weight.ndim == 4 else "other"
            rows.append((index, f"cosine_{which}_{name}", abs(cosine)))
    slope = sum((w * g).sum().item() for w, g in pairs if w.ndim == 4)
    decay = settings.weight_decay * _norm(_convolutions(model)) ** 2
    rows += [(0, "decay_product", slope + decay), (0, "decay_square", decay)]
    return [(step, math.nan, name, value, math.nan) for step, name, value in rows]


def _scalings(model: nn.Module, batch, settings: NormalisationStudy) -> list:
    rows, weights, previous = [], _convolutions(model), 1.0
    _set_epsilon(model, NEGLIGIBLE)
    for index, scale in enumerate(settings.scales):
        with torch.no_grad():
            for weight in weights:
                weight.mul_(scale / previous)
        previous, norm = scale, _norm(_gradients(model, batch, weights))
        found = {
            "loss_scaled": measure.mean_loss(model, measure.cross_entropy, [batch]),
            "gradient_norm_scaled": norm,
            "scale_free_norm_scaled": norm * _norm(weights),
        }
        rows += [(index, math.nan, name, v, math.nan) for name, v in found.items()]
    return rows


def sharpness_estimators(
    settings: CurvatureStudy, data_root=None, device="cpu"
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
    training, rows = _training(settings, hidden=settings.hidden), []
    for suffix, steps in (("before", 0), ("after", settings.training_steps)):
        model, dataset = _trained(training, steps, data_root, device)
        batches = list(dataset.draws(settings.batches, "curvature"))
        rows += [
            (step, math.nan, f"{quantity}_{suffix}", value, error)
            for step, quantity, value, error in _curvature(model, batches, settings)
        ]
    return rows


def _curvature(model: nn.Module, batches: list, settings: CurvatureStudy) -> list:
    hessian, objective = dense_hessian(model, batches), measure.cross_entropy
    eigenvalues = torch.linalg.eigvalsh(hessian)
    gradient = _statistics(model, batches, population=len(batches)).mean_gradient
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


def _training(settings, **changes) -> Training:
    """Return the settings of a study's training: an mlp in float64 if not changed."""
    common = {
        "dataset": settings.dataset, "examples": settings.examples, "model": "mlp",
        "batch_size": settings.batch_size, "learning_rate": settings.learning_rate,
        "epochs": 1, "precision": "float64", "seed": settings.seed,
    }  # fmt: skip
    return Training(**(common | changes))


def _trained(training: Training, steps: int, data_root, device) -> tuple:
    """Return a net after some steps of SGD, in training mode, and its dataset."""
    dataset = data.load(training, data_root, device)
    model = train.build_model(training, dataset).to(device, dataset.dtype).train()
    optimizer = torch.optim.SGD(
        model.parameters(), training.learning_rate, training.momentum,
        weight_decay=training.weight_decay,
    )  # fmt: skip
    for batch in dataset.training_batches(0, steps):
        optimizer.zero_grad()
        measure.cross_entropy(model, batch).backward()
        optimizer.step()
    return model, dataset


def _statistics(model, batches, objective=measure.cross_entropy, population=None):
    return measure.gradient_statistics(model, objective, batches, population=population)


def _mean(values: list) -> tuple[float, float]:
    """Return the mean and its standard error."""
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def _convolutions(model: nn.Module) -> list[Tensor]:
    """Return the convolutions' weights: in a ResNet each feeds a BatchNorm."""
    return [p for p in model.parameters() if p.ndim == 4]


def _set_epsilon(model: nn.Module, epsilon: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon


def _gradients(model: nn.Module, batch, parameters: list[Tensor]) -> tuple:
    return torch.autograd.grad(measure.cross_entropy(model, batch), parameters)


def _norm(tensors) -> float:
    return math.sqrt(sum(t.square().sum().item() for t in tensors))


# A study of another module is registered here, by one line.
STUDIES = {
    EstimatorStudy: gradient_estimators,
    NormalisationStudy: normalised_loss,
    CurvatureStudy: sharpness_estimators,
    NoisyQuadratic: lambda settings, *_, **__: langevin.ensemble(settings),  # on the CPU
}
