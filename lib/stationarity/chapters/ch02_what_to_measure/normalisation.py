"""What batch normalisation makes of the loss: the study of chapter 2.

Source: our section "What to measure".
"""
import dataclasses
import functools
import math

import torch
from torch import Tensor, nn

from ... import data, measure
from ...runs.checkpoints import Keeper
from .settings import NormalisationStudy
from .study import statistics, trained, training_of

NEGLIGIBLE = 1e-30  # an epsilon of BatchNorm below rounding; PyTorch allows no zero


def normalised_loss(
    settings: NormalisationStudy, data_root=None, device="cpu", keeper=None
) -> list:
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
    training = training_of(
        settings, model="cifar_resnet", width=settings.width, blocks=settings.blocks,
        crop_padding=settings.crop_padding, momentum=settings.momentum,
        weight_decay=settings.weight_decay, precision="float32",
    )  # fmt: skip
    keeper = keeper or Keeper()
    model, dataset = trained(training, settings.training_steps, data_root, device, keeper)
    passes, rows = settings.measured_examples / dataset.count, []

    def measured(step: int, name: str, changes: dict) -> list:
        variant = dataclasses.replace(training, **changes)
        count = max(3, settings.measured_examples // variant.batch_size)
        drawn = data.load(variant, data_root, device).draws(count, "normalisation")
        found = statistics(model, drawn)
        loss = (found.loss, found.loss_standard_error)
        norm = (found.gradient_norm_squared, found.standard_error)
        return [
            (step, passes, f"loss_{name}", *loss),
            (step, passes, f"norm_squared_{name}", *norm),
        ]

    def note(step: int, name: str, **changes) -> None:
        compute = functools.partial(measured, step, name, changes)
        rows.extend(keeper.part(f"{name} {step}", compute))

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
