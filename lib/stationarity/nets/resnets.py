"""A ResNet for small images, of torchvision's blocks."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock


class GainAndBias(nn.Module):
    """In place of a batch normalisation: a gain (1 at first) and a bias (0) a channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weight.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class Shortcut(nn.Conv2d):
    """A 1x1 convolution with a stride and no bias, bit for bit ``nn.Conv2d``.

    Its own stride, with fewer than eight channels that lie last, writes beyond its memory
    in the backward pass on a CPU without AVX-512 (oneDNN issue 6035, in PyTorch 2.15).
    """

    def forward(self, features: Tensor) -> Tensor:
        rows, columns = self.stride
        return functional.conv2d(features[..., ::rows, ::columns], self.weight)


class CifarResNet(nn.Module):
    """A ResNet for small images: 3x3 stem with stride 1, no max-pooling.

    ``blocks`` are in each stage, whose widths double from ``width`` on; the default is a
    ResNet-18, initialised as torchvision's. It maps ``(N, channels, H, W)`` floats to
    ``(N, classes)`` logits. Without ``batch_norm`` every normalisation becomes a
    :class:`GainAndBias`, and the last gain of each block starts at zero: so the block is
    its shortcut, which lets a deep net train (SkipInit, De and Smith, 2020, by channel).

    >>> sum(p.numel() for p in CifarResNet(width=8).parameters())
    176402
    """

    def __init__(self, width=64, blocks=(2, 2, 2, 2), channels=3, classes=10, batch_norm=True):
        super().__init__()
        norm = nn.BatchNorm2d if batch_norm else GainAndBias
        stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, norm(width), nn.ReLU(inplace=True))
        stages, inputs = [], width
        for index, depth in enumerate(blocks):
            outputs, stride, shortcut = width * 2**index, 2 if index else 1, None
            if index:
                projection = Shortcut(inputs, outputs, 1, stride=stride, bias=False)
                shortcut = nn.Sequential(projection, norm(outputs))
            first = BasicBlock(inputs, outputs, stride, shortcut, norm_layer=norm)
            others = (BasicBlock(outputs, outputs, norm_layer=norm) for _ in range(depth - 1))
            stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.stages, self.head = nn.Sequential(*stages), nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, BasicBlock) and not batch_norm:
                nn.init.zeros_(module.bn2.weight)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.stages(self.stem(images)).mean(dim=(2, 3)))
