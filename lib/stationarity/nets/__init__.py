"""Networks: small fully connected ones, ResNets, a Transformer-XL."""

import torch
from torch import nn

from ..errors import UsageError


def build(settings, like) -> nn.Module:
    """Return the settings' model with its initial weights, drawn by the seed.

    ``settings`` has ``seed``, ``model`` and what that takes: ``hidden`` (mlp); ``width``,
    ``blocks`` and ``batch_norm`` (cifar_resnet); what :class:`transformer_xl.TransformerXL`
    takes; nothing (resnet18 and so on, torchvision's). The model fits data ``like``
    these: images have ``channels``, ``size`` and ``classes``, a text has ``vocabulary``.
    Raises :class:`UsageError` for images that the model cannot take.
    """
    torch.manual_seed(settings.seed)
    if settings.model == "mlp":
        from .mlp import mlp

        return mlp((like.channels * like.size**2, *settings.hidden, like.classes))
    if settings.model == "transformer_xl":
        from .transformer_xl import TransformerXL

        return TransformerXL(
            len(like.vocabulary), layers=settings.layers, width=settings.width,
            heads=settings.heads, head_width=settings.head_width,
            inner_width=settings.inner_width, memory=settings.memory,
            cutoffs=settings.cutoffs, divisor=settings.divisor, dropout=settings.dropout,
        )  # fmt: skip
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
    return resnets.imagenet_resnet(int(settings.model.removeprefix("resnet")), like.classes)
