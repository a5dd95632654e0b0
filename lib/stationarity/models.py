"""Networks: torchvision's ResNets, a ResNet for small images, small nets.

Initial weights are drawn from PyTorch's global generator: seed it first.
"""
import itertools

import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class CifarResNet(nn.Module):
    """A ResNet for small images: 3x3 stem with stride 1, no max-pooling.

    With ``width=64`` and ``blocks=(2, 2, 2, 2)`` it is the ResNet-18 that the
    CIFAR experiments use. Blocks and initialisation are torchvision's.

    Input: ``(N, channels, H, W)`` floats; output: ``(N, classes)`` logits.
    """

    def __init__(self, width: int, blocks: tuple, channels: int, classes: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        stages, inputs = [], width
        for index, depth in enumerate(blocks):
            outputs = width * 2**index
            stages.append(_stage(inputs, outputs, depth, 1 if index == 0 else 2))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )

    def forward(self, images: Tensor) -> Tensor:
        features = self.stages(self.stem(images))
        return self.head(features.mean(dim=(2, 3)))


def _stage(inputs: int, outputs: int, depth: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or inputs != outputs:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False),
            nn.BatchNorm2d(outputs),
        )
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(depth - 1)))


def cifar_resnet(
    width: int = 64, blocks: tuple = (2, 2, 2, 2), channels: int = 3, classes: int = 10
) -> CifarResNet:
    """Return a :class:`CifarResNet`; 11.2 million parameters by default.

    >>> sum(p.numel() for p in cifar_resnet(width=8).parameters())
    176402
    """
    return CifarResNet(width, tuple(blocks), channels, classes)


def imagenet_resnet(depth: int = 101, classes: int = 1000) -> nn.Module:
    """Return torchvision's ResNet of that depth (18, 34, 50, 101 or 152).

    Input: ``(N, 3, H, W)`` floats; output: ``(N, classes)`` logits.
    """
    return getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)


def mlp(widths: tuple, activation: str = "tanh") -> nn.Sequential:
    """Return a fully connected net; ``widths`` from the inputs to the logits.

    Inputs of any shape ``(N, ...)`` are flattened. Two widths make softmax
    regression. ``activation`` is ``tanh`` (smooth, for the theory) or ``relu``.

    >>> import torch
    >>> mlp((64, 32, 10))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    nonlinearity = {"tanh": nn.Tanh, "relu": nn.ReLU}[activation]
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        if index:
            layers.append(nonlinearity())
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)
