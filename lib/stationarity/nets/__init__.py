"""Networks: small fully connected ones, ResNets, a Transformer-XL."""

import torch
from torch import nn

from ..errors import UsageError

OF_TEXT = (
    "layers", "width", "heads", "head_width", "inner_width", "memory", "cutoffs", "divisor",
    "dropout",
)  # fmt: skip


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
        from .mlp import mlp

        return mlp((like.channels * like.size**2, *settings.hidden, like.classes))
    if settings.model == "transformer_xl":
        from .transformer_xl import TransformerXL

        sizes = {name: getattr(settings, name) for name in OF_TEXT}
        return TransformerXL(len(like.vocabulary), **sizes)
    from . import resnets  # torchvision takes seconds to import

    if settings.model == "cifar_resnet":
        return resnets.CifarResNet(
            settings.width, settings.blocks, like.channels, like.classes, settings.batch_norm
        )
    if like.channels != 3:
        raise UsageError(
            f"{settings.model} takes images of three channels, and these have "
            f"{like.channels}: set model=cifar_resnet or model=mlp."
        )
    depth = settings.model.removeprefix("resnet")
    return resnets.imagenet_resnet(int(depth), like.classes)
