"""Small fully connected nets."""

import itertools

from torch import nn


def mlp(widths: tuple) -> nn.Sequential:
    """Return a fully connected net of tanh's; ``widths`` from the inputs to the logits.

    Inputs of any shape ``(N, ...)`` are flattened. Two widths make softmax regression.
    Initial weights are drawn from PyTorch's global generator: seed it first.

    >>> import torch
    >>> mlp((64, 32, 10))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        if index:
            layers.append(nn.Tanh())
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)
