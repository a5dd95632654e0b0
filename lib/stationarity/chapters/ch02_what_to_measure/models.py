"""Small models with a layer or wrapper each, which the table of what is supported measures.

Source: our section "What to measure".
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint


class Through(nn.Module):
    """A model whose forward pass is a given function of its layers and the inputs."""

    def __init__(self, function: Callable, *layers: nn.Module):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(*self.layers, inputs)


def net(*middle: nn.Module) -> nn.Sequential:
    """Return a small net with layers in its middle."""
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), *middle, nn.Linear(4, 2))


def adapted() -> nn.Module:
    """Return a net whose first layer is frozen, as with adapters."""
    model = net(nn.Linear(4, 4), nn.Tanh())
    model[0].requires_grad_(False)
    return model


def tied() -> nn.Module:
    """Return a net that uses its weights twice."""
    return Through(lambda layer, x: layer(layer(x).tanh()), nn.Linear(3, 3))


def checkpointed(reentrant: bool) -> nn.Module:
    """Return a net that computes its last layers again in the backward pass."""

    def forward(first, second, x):
        return checkpoint(second, first(x), use_reentrant=reentrant)

    layers = nn.Linear(3, 4).requires_grad_(False), nn.Sequential(nn.Tanh(), nn.Linear(4, 2))
    return Through(forward, *layers)


def recurrent(kind: type[nn.Module]) -> nn.Module:
    """Return a recurrent layer's outputs, without its last state."""
    return Through(lambda layer, x: layer(x)[0], kind(3, 2, batch_first=True))


def attention() -> nn.Module:
    """Return self-attention, without its weights."""
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    return Through(lambda layer, x: layer(x, x, x, need_weights=False)[0], layer)


def expanded() -> nn.Module:
    """Return a layer with a buffer whose entries share one place in memory."""
    model = Through(lambda layer, x: layer(x).tanh(), nn.Linear(3, 2))
    model.register_buffer("shift", torch.zeros(1).expand(3))
    return model


def written_out(layer: nn.Linear, x: Tensor) -> Tensor:
    """Normalise weights by elementary operations; lengths are the layer's bias."""
    direction = layer.weight / layer.weight.norm(dim=1, keepdim=True)
    return x @ (layer.bias[:, None] * direction).T


def clamping(layer: nn.Linear, x: Tensor) -> Tensor:
    """Change weights in the forward pass."""
    layer.weight.data.clamp_(-0.1, 0.1)
    return layer(x)


def replaying(first: nn.Linear, second: nn.Linear, x: Tensor) -> Tensor:
    """Compute the second layer again in the backward pass."""
    return Replayed.apply(lambda h: second(h.tanh()), first(x))


def counting() -> nn.Module:
    """Return a net that is another with every call, by what it keeps in an attribute."""

    def forward(layers, x):
        model.calls += 1
        return model.calls * layers(x)

    model = Through(forward, net())
    model.calls = 0
    return model


def hooked() -> nn.Module:
    """Return a net whose gradients are cut as they are computed."""
    model = net()
    for weight in model.parameters():
        weight.register_hook(lambda slope: slope.clamp(-1e-3, 1e-3))
    return model


def of_half_precision() -> nn.Module:
    """Return a net in float16, in which small gradients are zero."""
    model = net().half()
    model.double = lambda: model
    return model


def cast(layers: nn.Module, x: Tensor) -> Tensor:
    """Compute in float16, as GradScaler's users do."""
    with torch.autocast(x.device.type, torch.float16):
        return layers(x)


def complex_layer() -> nn.Module:
    """Return a layer with complex weights."""
    weight = nn.ParameterList([torch.ones(3, 2, dtype=torch.complex128)])
    model = Through(lambda parameters, x: (x @ parameters[0].real).tanh(), weight)
    model.double = lambda: model  # which would make it real
    return model


def spectral() -> nn.Module:
    """Return a net whose layer turns its vectors with the weights, in training mode."""
    return net(parametrizations.spectral_norm(nn.Linear(4, 4)))


class Square(torch.autograd.Function):
    """A square whose derivative is not differentiable: PyTorch would take it for constant."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(context, slope):
        return 2 * context.saved_tensors[0] * slope


class Replayed(torch.autograd.Function):
    """A re-entrant checkpoint of one's own: its inner gradients go to ``.grad``."""

    @staticmethod
    def forward(context, function, x):
        context.function = function
        context.save_for_backward(x)
        with torch.no_grad():
            return function(x)

    @staticmethod
    def backward(context, slope):
        x = context.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            torch.autograd.backward(context.function(x), slope)
        return None, x.grad


class Deaf(Square):
    """A square whose derivative is computed without a graph, as by a kernel of one's own."""

    @staticmethod
    def backward(context, slope):
        with torch.no_grad():
            return 2 * context.saved_tensors[0] * slope


class Saving(torch.autograd.Function):
    """A square that keeps its derivative from the forward pass: a constant, to PyTorch."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(2 * x)
        return x * x

    @staticmethod
    def backward(context, slope):
        return context.saved_tensors[0] * slope


class Scaled(nn.Module):
    """A factor: a parameter without a dimension."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.7))

    def forward(self, x):
        return self.factor * x


def traced() -> nn.Module:
    """Return a net as PyTorch has traced it."""
    torch.manual_seed(0)  # the net is made here, and not when it is called
    with warnings.catch_warnings(action="ignore"):
        return torch.jit.trace(net().double(), torch.zeros(5, 3, dtype=torch.float64))
