"""First and second derivatives of a loss that leave no trace on the model."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def trainable(model: nn.Module) -> list[Tensor]:
    """The trainable parameters; ``ValueError`` where there are none."""
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


def gradients(loss: Tensor, parameters: list[Tensor], graph: bool = False) -> tuple:
    """Gradients of the loss, zeros for what it does not use."""
    if not loss.requires_grad:
        return tuple(torch.zeros_like(p) for p in parameters)
    slopes = torch.autograd.grad(loss, parameters, create_graph=graph, allow_unused=True)
    return tuple(
        torch.zeros_like(p) if gradient is None else gradient
        for gradient, p in zip(slopes, parameters)
    )


def hessian_product(loss: Tensor, parameters: list[Tensor], vector: Tensor) -> Tensor:
    """Hessian of the loss times a flat vector: the gradient of <grad, v>."""
    first = gradients(loss, parameters, graph=True)
    pairs = [
        (gradient, part)
        for gradient, part in zip(first, parts(vector[None], parameters)[0])
        if gradient.requires_grad  # else the loss is linear in this parameter
    ]
    if not pairs:
        return torch.zeros_like(vector)
    return flat(
        torch.autograd.grad(
            [gradient for gradient, _ in pairs],
            parameters,
            grad_outputs=[part for _, part in pairs],
            materialize_grads=True,
        )
    )


class Before:
    """Buffers, modes and random state of a model before it is measured."""

    def __init__(self, model: nn.Module):
        self.model, modules = model, list(model.modules())
        self.buffers = [
            (module._buffers, name, buffer, buffer.clone())
            for module in modules
            for name, buffer in module._buffers.items()
            if buffer is not None
        ]
        self.modes = [(module, module.training) for module in modules]
        self.random_state = torch.get_rng_state()
        devices = {p.device for p in model.parameters() if p.device.type != "cpu"}
        self.device_states = [
            (torch.get_device_module(d), d, torch.get_device_module(d).get_rng_state(d))
            for d in devices
        ]

    def restore_buffers(self) -> None:
        for owner, name, buffer, value in self.buffers:
            owner[name] = buffer
            buffer.detach().copy_(value)

    def restore_random_state(self) -> None:
        torch.set_rng_state(self.random_state)
        for module, device, state in self.device_states:
            module.set_rng_state(state, device)

    def losses(self, objective: Callable, batches: Iterable) -> Iterator[Tensor]:
        """Yield the objective on each batch, from these buffers; ``ValueError`` without one."""
        empty = True
        for batch in batches:
            self.restore_buffers()
            yield objective(self.model, batch)
            empty = False
        if empty:
            raise ValueError("no batch was given: pass a list or a fresh iterator of batches")

    def restore(self) -> None:
        self.restore_buffers()
        self.restore_random_state()
        for module, training in self.modes:
            module.training = training


@contextmanager
def without_trace(model: nn.Module, curvature: bool = False) -> Iterator[Before]:
    """Measure inside; the model and the random state come out as they went in."""
    before = Before(model)
    with ExitStack() as stack:
        stack.callback(before.restore)
        stack.enter_context(torch.enable_grad())
        stack.enter_context(float32_products("ieee"))
        if curvature:
            # Fused attention kernels have no second derivative.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield before


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
