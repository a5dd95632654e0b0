"""ResNets: torchvision's, and one for small images.

Initial weights are drawn from PyTorch's global generator: seed it first. Apart
from the other nets, because importing torchvision takes seconds.
"""

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock


class GainAndBias(nn.Module):
    """What is left of a batch normalisation without it: a gain and a bias a channel.

    Maps ``(N, channels, H, W)`` to the same shape; the gains start at one, the
    biases at zero.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride and no bias: of every stride-th pixel, with stride 1.

    The numbers are those of ``nn.Conv2d``, bit for bit. Its own stride is not used: with
    fewer than eight channels that lie last, the backward pass then writes beyond its memory
    on a CPU without AVX-512 (oneDNN issue 6035, in PyTorch 2.15).
    """

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = self.stride
        return functional.conv2d(features[..., ::rows, ::columns], self.weight)


class CifarResNet(nn.Module):
    """A ResNet for small images: 3x3 stem with stride 1, no max-pooling.

    The default, of 11.2 million parameters, is the ResNet-18 that the CIFAR experiments
    use. Blocks and initialisation are torchvision's.

    Without ``batch_norm`` every normalisation becomes a :class:`GainAndBias`, and
    the last gain of each block starts at zero. A block is then the identity (or
    its shortcut) at the start, which lets a deep net train (SkipInit, De and
    Smith, 2020, with a gain for each channel).

    Input: ``(N, channels, H, W)`` floats; output: ``(N, classes)`` logits.

    >>> sum(p.numel() for p in CifarResNet(width=8).parameters())
    176402
    """

    def __init__(
        self,
        width: int = 64,
        blocks: tuple = (2, 2, 2, 2),
        channels: int = 3,
        classes: int = 10,
        batch_norm: bool = True,
    ):
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else GainAndBias
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, norm(width), nn.ReLU(inplace=True))
        stages, inputs = [], width
        for index, depth in enumerate(blocks):
            outputs = width * 2**index
            stages.append(_stage(inputs, outputs, depth, 1 if index == 0 else 2, norm))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock) and not batch_norm:
                nn.init.zeros_(module.bn2.weight)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))
        return self.head(features.mean(dim=(2, 3)))


def _stage(inputs: int, outputs: int, depth: int, stride: int, norm) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = Shortcut(inputs, outputs, 1, stride=stride, bias=False)
        shortcut = nn.Sequential(shortcut, norm(outputs))
    first = BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm)
    others = (BasicBlock(outputs, outputs, norm_layer=norm) for _ in range(depth - 1))
    return nn.Sequential(first, *others)


def imagenet_resnet(depth: int, classes: int) -> nn.Module:
    """Return torchvision's ResNet of that depth (18, 34, 50, 101 or 152).

    Input: ``(N, 3, H, W)`` floats; output: ``(N, classes)`` logits.
    """
    return getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
