"""What batch normalisation makes of the loss: the study of chapter 2.

Source: our section "What to measure".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ... import measure
from ...runs import metrics
from .study import load, trained

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import NormalisationStudy

# Of BatchNorm; the second is below rounding: PyTorch allows no zero.
EPSILONS = {"usual": 1e-5, "negligible": 1e-30}


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
    - ``loss_scaled``, ``gradient_norm_scaled``, ``scale_free_norm_scaled``: with w
      times each of the ``scales`` (``index``), gradients in w.

    Losses are measured in float32, angles and scalings in float64 on one minibatch.
    """
    crops = {"crop_padding": settings.crop_padding}
    dataset = load(settings, place, dtype=torch.float32, **crops)
    model = trained(settings, dataset, settings.training_steps, place.keeper)
    passes, rows = settings.measured_examples / dataset.count, []

    def note(mode: str, batch_size: int = settings.batch_size, **how) -> None:
        def measured() -> list[tuple]:
            some = load(settings, place, dtype=torch.float32, batch_size=batch_size, **how)
            count = max(3, settings.measured_examples // batch_size)
            drawn = some.draws(count, "normalisation")
            s = measure.gradient_statistics(model, measure.cross_entropy, drawn)
            at = {"of": mode, "step": batch_size, "epoch": passes}
            return metrics.rows("loss", s.loss, s.loss_standard_error, **at) + metrics.rows(
                "norm_squared", s.gradient_norm_squared, s.standard_error, **at
            )

        rows.extend(place.keeper.part(f"{mode} {batch_size}", measured))

    for mode in ("evaluation", "training"):
        model.train(mode == "training")
        for size in settings.batch_sizes:
            note(f"{mode} mode", size)
        note(f"{mode} mode, crops", **crops)
        note(f"{mode} mode, plain")
    batch = next(iter(load(settings, place).draws(1, "angles")))
    rows += _angles(model.double(), batch, settings)
    return rows + _scalings(model, batch, settings)


def _angles(model: nn.Module, batch, settings: NormalisationStudy) -> list[tuple]:
    rows, weights = [], list(model.parameters())
    gradients = {name: _gradients(model, batch, weights, name) for name in EPSILONS}
    for name, found in gradients.items():
        for index, (weight, gradient) in enumerate(zip(weights, found, strict=True)):
            product = (weight * gradient).sum().item()
            cosine = product / (_norm([weight]) * _norm([gradient]) or math.inf)
            which = "normalised" if weight.ndim == 4 else "other"
            at = {"of": f"{which}, {name} epsilon", "index": index}
            rows += metrics.rows("cosine", abs(cosine), **at)
    pairs = zip(weights, gradients["negligible"], strict=True)
    slope = sum((w * g).sum().item() for w, g in pairs if w.ndim == 4)
    decay = settings.weight_decay * _norm(_convolutions(model)) ** 2
    rows += metrics.rows("decay_product", slope + decay)
    return rows + metrics.rows("decay_square", decay)


def _scalings(model: nn.Module, batch, settings: NormalisationStudy) -> list[tuple]:
    rows, weights, previous = [], _convolutions(model), 1.0
    for index, scale in enumerate(settings.scales):
        with torch.no_grad():
            for weight in weights:
                weight.mul_(scale / previous)
        previous, norm = scale, _norm(_gradients(model, batch, weights, "negligible"))
        loss = measure.mean_loss(model, measure.cross_entropy, [batch])
        rows += metrics.rows("loss_scaled", loss, index=index)
        rows += metrics.rows("gradient_norm_scaled", norm, index=index)
        rows += metrics.rows("scale_free_norm_scaled", norm * _norm(weights), index=index)
    return rows


def _convolutions(model: nn.Module) -> list[Tensor]:
    """Return the convolutions' weights: in a ResNet each feeds a BatchNorm."""
    return [p for p in model.parameters() if p.ndim == 4]


def _gradients(model: nn.Module, batch, parameters: list[Tensor], epsilon: str) -> tuple:
    """Return the gradient in each of the parameters, for one of the ``EPSILONS``."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = EPSILONS[epsilon]
    return torch.autograd.grad(measure.cross_entropy(model, batch), parameters)


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(t.square().sum().item() for t in tensors))
