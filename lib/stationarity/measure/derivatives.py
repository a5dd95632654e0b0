"""A model's parameters as a vector, and derivatives of a loss that leave no trace."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import checkpoint

SHARDED = {"FSDPModule", "FullyShardedDataParallel", "DTensor"}
REMEDIES = {  # by what PyTorch says
    "nference tensor": "a tensor was made under torch.inference_mode(): pass its clone()",
    "does not require grad": "the objective differentiates: it must use torch.enable_grad()",
    "derivative for": "an operation lacks a derivative: write it with elementary ones",
}


def trainable(model: nn.Module) -> list[Tensor]:
    """Return the trainable parameters; ``ValueError`` where there are none, or complex ones."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError("the model has no trainable parameters: nothing to measure")
    for name, p in named.items():
        if p.is_complex():
            raise ValueError(f"the parameter {name!r} is complex: make it two real ones")
        if p.is_inference():
            raise ValueError(f"the parameter {name!r} was made in inference_mode(): clone it")
    return list(named.values())


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
    return norms(parameter_vector(model) - origin).item()


def norms(rows: Tensor) -> Tensor:
    """Return norms along the last dimension, float64 and scaled where squares have no room."""
    rows = rows if rows.is_floating_point() else rows.double()
    found = torch.linalg.vector_norm(rows, dim=-1)
    if all(1e-16 < norm < math.inf for norm in found.reshape(-1).tolist()):
        return found
    held, top = (found > 1e-16) & found.isfinite(), rows.double().abs().amax(-1, keepdim=True)
    unit = torch.linalg.vector_norm(rows.double() / top.clamp(min=1e-300), dim=-1)
    return found.double().where(held, unit * top[..., 0])


def gradients(ends, parameters: list[Tensor], along=None, **how) -> tuple[Tensor, ...]:
    """Return dense gradients (of ends along vectors); ``ValueError`` where a loss has none."""
    found = [None]
    if along or ends.requires_grad:
        found = torch.autograd.grad(ends, parameters, along, allow_unused=True, **how)
    if not along and all(one is None for one in found):
        raise ValueError("the loss depends on no trainable parameter: compute it with a graph")
    whole = [torch.zeros_like(p) if one is None else one for one, p in zip(found, parameters)]
    return tuple(one.to_dense() if one.is_sparse else one for one in whole)


def hessian_product(slopes: tuple, parameters: list[Tensor], vector: Tensor, **how) -> Tensor:
    """Return the Hessian times a flat vector: the gradient of <slopes, v>, ``how`` as there."""
    pairs = zip(slopes, parts(vector[None], parameters)[0])
    pairs = [(s, v.to(s.dtype)) for s, v in pairs if s.requires_grad]  # else it is linear there
    if not pairs:
        return torch.zeros_like(vector)
    ends, along = zip(*pairs)
    if any("Error" in name or "NotImpl" in name for name in _operations(ends)):
        raise ValueError(REMEDIES["derivative for"])  # PyTorch would take it for zero
    return flat(gradients(ends, parameters, along, **how))


def _operations(ends: tuple) -> set[str]:
    """Return the names of all operations of a graph."""
    known, nodes = set(), {end.grad_fn for end in ends}
    while nodes := {node for node in nodes if node} - known:
        known |= nodes
        nodes = {before for node in nodes for before, _ in node.next_functions}
    return {node.name() for node in known}


class Before:
    """Parameters, gradients, buffers, modes and random state of a model before it is measured."""

    def __init__(self, model: nn.Module):
        self.model = model
        things = *model.modules(), *model.parameters()
        if SHARDED & {kind.__name__ for one in things for kind in type(one).__mro__}:
            raise ValueError("the model is sharded (FSDP): measure an unsharded copy of it")
        tables = [t for m in model.modules() for t in (m._buffers, m._parameters, m._modules)]
        self.kept = [(t, dict(t)) for t in tables if isinstance(t, dict)]  # of no script
        own = (b for b in model.buffers() if b.layout != torch.strided or 0 not in b.stride())
        self.buffers = [(buffer, buffer.clone()) for buffer in own]
        self.gradients = [(p, p.grad) for p in model.parameters()]
        for p, _ in self.gradients:
            p.grad = None
        self.weights = [(p, p.detach().clone()) for p in model.parameters()]
        self.modes = [(module, module.training) for module in model.modules()]
        self.random_state = torch.get_rng_state()
        devices = {p.device for p in model.parameters() if p.device.type != "cpu"}
        self.device_states = {d: torch.get_device_module(d).get_rng_state(d) for d in devices}

    def restore_buffers(self) -> None:
        for table, entries in self.kept:
            table.clear()
            table.update(entries)
        for buffer, value in self.buffers:
            buffer.detach().copy_(value)

    def restore(self) -> str:
        """Put everything back; return what must not have happened."""
        said, had = "", ((t, k, v) for t, kept in self.kept for k, v in kept.items())
        replaced = any(t.get(k) is not v for t, k, v in had if isinstance(v, nn.Parameter))
        for p, gradient in self.gradients:
            if p.grad is not None:
                said = "the backward pass writes .grad: use non-reentrant checkpoints"
            p.grad = gradient
        self.restore_buffers()
        self.restore_random_state()
        for module, training in self.modes:
            module.training = training
        for p, old in self.weights:
            if replaced or not (p.equal(old) or p.nan_to_num().equal(old.nan_to_num())):
                p.detach().copy_(old)
                said = "the forward pass changes parameters: move that out of it"
        return said

    def restore_random_state(self) -> None:
        torch.set_rng_state(self.random_state)
        for device, state in self.device_states.items():
            torch.get_device_module(device).set_rng_state(state, device)

    def losses(self, objective: Callable, batches: Iterable) -> Iterator[Tensor]:
        """Yield the objective on each batch, from these buffers; ``ValueError`` without one."""
        empty = True
        for batch in batches:
            self.restore_buffers()
            yield _one_number(objective(self.model, batch))
            empty = False
        if empty:
            raise ValueError("no batch was given: pass a list or a fresh iterator of batches")


def _one_number(loss) -> Tensor:
    if isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex():
        return loss
    raise ValueError(f"the objective must return its loss, a scalar tensor, not {loss!s:.30}")


@contextmanager
def without_trace(model: nn.Module, curvature: bool = False) -> Iterator[Before]:
    """Measure inside, then put all back; ``ValueError`` where parameters had changed."""
    # Fused attention, compiled models and re-entrant checkpoints have no second derivative.
    attention = sdpa_kernel(SDPBackend.MATH) if curvature else nullcontext()
    compiles = "_dynamo" in vars(torch)
    eager = torch.compiler.set_stance("force_eager") if compiles else nullcontext()
    apply = "apply", lambda f, _, *x: checkpoint.checkpoint(f, *x, use_reentrant=False)
    replay = mock.patch.object(checkpoint.CheckpointFunction, *apply)
    with torch.inference_mode(False), float32_products("ieee"), attention, eager, replay:
        before = Before(model)
        try:
            yield before
        except RuntimeError as error:
            for said in [said for said in REMEDIES if said in str(error)]:
                raise ValueError(REMEDIES[said]) from error
            raise
        finally:
            wrong = before.restore()
        if wrong:
            raise ValueError(wrong)


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
