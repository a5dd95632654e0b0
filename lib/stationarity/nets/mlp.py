"""Small fully connected nets. ResNets are in ``resnets``, texts in ``transformer_xl``.

Initial weights are drawn from PyTorch's global generator: seed it first.
"""
import itertools

from torch import nn


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
