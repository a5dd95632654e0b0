"""A model's parameters as a vector, and derivatives of a loss that leave no trace."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def trainable(model: nn.Module) -> list[Tensor]:
    """Return the trainable parameters; ``ValueError`` where there are none."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no trainable parameters: nothing to measure")
    return parameters


def count_entries(tensors: Iterable[Tensor]) -> int:
    """Return the number P of entries of all the tensors."""
    return sum(tensor.numel() for tensor in tensors)


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """The tensors' entries in one new vector (P,)."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def parts(rows: Tensor, parameters: list[Tensor]) -> list[tuple[Tensor, ...]]:
    """Views of each of the flat rows (R, P), in the parameters' shapes."""
    pieces = rows.split([p.numel() for p in parameters], dim=1)
    views = (piece.view(len(rows), *p.shape).unbind() for piece, p in zip(pieces, parameters))
    return list(zip(*views))


def parameter_vector(model: nn.Module) -> Tensor:
    """Return a detached copy of the trainable parameters, flat ``(P,)``.

    >>> parameter_vector(nn.Linear(3, 2)).shape
    torch.Size([8])
    """
    return flat(p.detach() for p in trainable(model))


def displacement(model: nn.Module, origin: Tensor) -> float:
    """Return ||theta - origin||, ``origin`` being an earlier :func:`parameter_vector`."""
    return torch.linalg.vector_norm(parameter_vector(model) - origin).item()


def gradients(loss: Tensor, parameters: list[Tensor], graph: bool = False) -> tuple:
    """Return the gradients of the loss, zeros for what it does not use."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(p) for p in parameters)
    return torch.autograd.grad(loss, parameters, create_graph=graph, materialize_grads=True)


def hessian_product(loss: Tensor, parameters: list[Tensor], vector: Tensor) -> Tensor:
    """Return the Hessian of the loss times a flat vector: the gradient of <grad, v>."""
    pairs = zip(gradients(loss, parameters, graph=True), parts(vector[None], parameters)[0])
    pairs = [pair for pair in pairs if pair[0].requires_grad]  # else the loss is linear there
    if not pairs:
        return torch.zeros_like(vector)
    slopes, along = zip(*pairs)
    return flat(torch.autograd.grad(slopes, parameters, along, materialize_grads=True))


class Before:
    """Buffers, modes and random state of a model before it is measured."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.buffers = [
            (module._buffers, name, buffer, buffer.clone())
            for module in model.modules()
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self.modes = [(module, module.training) for module in model.modules()]
        self.random_state = torch.get_rng_state()
        devices = {p.device for p in model.parameters() if p.device.type != "cpu"}
        self.device_states = {d: torch.get_device_module(d).get_rng_state(d) for d in devices}

    def restore_buffers(self) -> None:
        for owner, name, buffer, value in self.buffers:
            owner[name] = buffer
            buffer.detach().copy_(value)

    def restore_random_state(self) -> None:
        torch.set_rng_state(self.random_state)
        for device, state in self.device_states.items():
            torch.get_device_module(device).set_rng_state(state, device)

    def losses(self, objective: Callable, batches: Iterable) -> Iterator[Tensor]:
        """Yield the objective on each batch, from these buffers; ``ValueError`` without one."""
        empty = True
        for batch in batches:
            self.restore_buffers()
            yield objective(self.model, batch)
            empty = False
        if empty:
            raise ValueError("no batch was given: pass a list or a fresh iterator of batches")


@contextmanager
def without_trace(model: nn.Module, curvature: bool = False) -> Iterator[Before]:
    """Measure inside; the model and the random state come out as they went in."""
    before = Before(model)
    # Fused attention kernels have no second derivative.
    attention = sdpa_kernel(SDPBackend.MATH) if curvature else nullcontext()
    try:
        with torch.enable_grad(), float32_products("ieee"), attention:
            yield before
    finally:
        before.restore_buffers()
        before.restore_random_state()
        for module, training in before.modes:
            module.training = training


@contextmanager
def float32_products(precision: str) -> Iterator[None]:
    """Compute CUDA's products of float32 in full (``ieee``) or rounded (``tf32``)."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    settings = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = precision
    try:
        yield
    finally:
        for backend, setting in zip(backends, settings):
            backend.fp32_precision = setting
