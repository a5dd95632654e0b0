"""Networks: small fully connected ones, ResNets, a Transformer-XL.

Initial weights are drawn from PyTorch's global generator: seed it first.
"""

import inspect
import itertools

import torch
from torch import nn

from ..errors import UsageError


def mlp(widths: tuple) -> nn.Sequential:
    """Return a fully connected net of tanh's; ``widths`` from the inputs to the logits.

    Inputs of any shape ``(N, ...)`` are flattened. Two widths make softmax regression.

    >>> mlp((64, 32, 10))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    layers = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def normalised_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the convolutions' weights if there are as many batch normalisations, else none."""
    convolutions = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    return convolutions if norms == len(convolutions) else []


def build(settings, like) -> nn.Module:
    """Return the settings' model with its initial weights, drawn by the seed.

    ``settings`` has ``seed``, ``model`` and what that takes: ``hidden`` (mlp); ``width``,
    ``blocks`` and ``batch_norm`` (cifar_resnet); the sizes of a
    :class:`~stationarity.nets.transformer_xl.TransformerXL`; nothing (resnet18 and so on,
    torchvision's). The model fits data ``like`` these: images have ``channels``, ``size``
    and ``classes``, a text has ``vocabulary``. Raises :class:`UsageError` for images that
    the model cannot take.
    """
    torch.manual_seed(settings.seed)
    if settings.model == "mlp":
        return mlp((like.channels * like.size**2, *settings.hidden, like.classes))
    if settings.model == "transformer_xl":
        from .transformer_xl import TransformerXL

        names = [*inspect.signature(TransformerXL).parameters][1:]
        sizes = {name: getattr(settings, name) for name in names}
        return TransformerXL(len(like.vocabulary), **sizes)
    if settings.model == "cifar_resnet":
        from .resnets import CifarResNet

        sizes = settings.width, settings.blocks, like.channels, like.classes
        return CifarResNet(*sizes, settings.batch_norm)
    from torchvision import models  # takes seconds

    if like.channels != 3:
        said = f"{settings.model} takes images of three channels, and these have"
        raise UsageError(f"{said} {like.channels}: set model=cifar_resnet or model=mlp.")
    return getattr(models, settings.model)(num_classes=like.classes)
