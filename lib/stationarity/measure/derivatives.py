"""A model's parameters as a vector, and derivatives of a loss that leave no trace."""

import copy
import math
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import checkpoint

PIECE = 4096  # entries that are added in their own dtype
SHARDED = {"FSDPModule", "FullyShardedDataParallel", "DTensor"}
CHANGED = "the forward pass changes parameters: move that out of it"
HOOKS = "_backward_hooks", "_backward_pre_hooks"  # which change gradients, not the loss
TABLES = vars(nn.Module()).keys() - {"_parameters", "_modules", "_buffers"}  # of PyTorch's own
REMEDIES = {  # by what PyTorch says
    "differentiated Tensors": CHANGED,
    "nference tensor": "a tensor was made in inference_mode(): make it, or a clone, outside",
    "graph a second time": "a graph stays between calls, as in parametrize.cached(): leave it",
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
            said = "was made in inference_mode(): make it, or a clone, outside"
            raise ValueError(f"the parameter {name!r} {said}")
        if p.dtype == torch.float16:
            said = "is float16, without room for small gradients: measure model.float()"
            raise ValueError(f"the parameter {name!r} {said}")
    return list(named.values())


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """The tensors' entries in one new vector (P,), float32 at least."""
    vector = torch.cat([tensor.reshape(-1) for tensor in tensors])
    return vector.to(torch.promote_types(vector.dtype, torch.float32))


def parts(rows: Tensor, parameters: list[Tensor]) -> list[tuple[Tensor, ...]]:
    """Views of each of the flat rows (R, P), in the parameters' shapes."""
    pieces = rows.split([p.numel() for p in parameters], dim=1)
    views = (piece.view(len(rows), *p.shape).unbind() for piece, p in zip(pieces, parameters))
    return list(zip(*views))


def parameter_vector(model: nn.Module) -> Tensor:
    """Return a copy of the trainable parameters, flat ``(P,)``, in float32 at least.

    >>> parameter_vector(nn.Linear(3, 2)).shape
    torch.Size([8])
    """
    return flat(p.detach() for p in trainable(model))


def displacement(model: nn.Module, origin: Tensor) -> float:
    """Return ||theta - origin||, ``origin`` being an earlier :func:`parameter_vector`."""
    theta = parameter_vector(model)
    return norms(theta - dense(origin, theta.shape, "origin").to(theta.device)).item()


def dense(values, shape: tuple, name: str) -> Tensor:
    """Return tensors of any layout, arrays or lists as a tensor; ``ValueError`` by shape."""
    values = torch.as_tensor(values, device=getattr(values, "device", "cpu"))
    if values.shape != shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}, not {tuple(shape)}")
    return values.detach().to_dense()


def _pieces(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (..., P) in pieces, (..., n, PIECE), and what is left of them."""
    count = rows.shape[-1] // PIECE
    return rows[..., : count * PIECE].unflatten(-1, (count, PIECE)), rows[..., count * PIECE :]


def norms(rows: Tensor) -> Tensor:
    """Return norms along the last dimension, float64; scaled where squares have no room."""
    rows = rows if rows.dtype in {torch.float32, torch.float64} else rows.double()
    sums = [torch.linalg.vector_norm(one, dim=-1) for one in _pieces(rows)]
    found = torch.hypot(sums[0].double().norm(dim=-1), sums[1].double())
    if all(1e-16 < norm < math.inf for norm in found.reshape(-1).tolist()):
        return found
    held, top = (found > 1e-16) & found.isfinite(), rows.double().abs().amax(-1, keepdim=True)
    unit = torch.linalg.vector_norm(rows.double() / top.where(top > 0, 1), dim=-1)
    return found.where(held, unit * top[..., 0])


def inner(rows: Tensor, others: Tensor) -> Tensor:
    """Return inner products (R, S) of rows (R, P) and (S, P), float64.

    Sums over pieces are in float64: over millions of entries float32 keeps three digits.
    """
    (pieces, rest), (across, left) = _pieces(rows), _pieces(others)
    sums = torch.einsum("rcp,scp->crs", pieces, across).double().sum(0)
    return sums + (rest @ left.T).double()


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
    return flat(gradients(ends, parameters, along, **how))


def _nodes(ends: Iterable[Tensor]) -> set:
    """Return the operations that tensors were computed by."""
    known, nodes = set(), {end.grad_fn for end in ends}
    while nodes := {node for node in nodes if node} - known:
        known |= nodes
        nodes = {before for node in nodes for before, _ in node.next_functions}
    return known


def differentiable_gradients(loss: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    """Return gradients with their graph, as :func:`gradients` does.

    Raises ``ValueError`` where PyTorch would take a second derivative that lacks for zero.
    """
    lacking = []

    def look(node, found: tuple, given: tuple) -> None:
        """Ask whether a Function's own derivative depends on what it cannot know."""
        used = (one for one, (before, _) in zip(found, node.next_functions) if before)
        if any(one is not None and not one.requires_grad and one.any() for one in used):
            tensors = (*node.saved_tensors, *(v for v in vars(node).values()))
            if any(one.requires_grad for one in given if one is not None) or any(
                isinstance(one, Tensor) for one in tensors
            ):
                lacking.append(node)

    own = [node for node in _nodes([loss]) if isinstance(node, BackwardCFunction)]
    handles = [node.register_hook(partial(look, node)) for node in own]
    slopes = gradients(loss, parameters, create_graph=True)
    for handle in handles:
        handle.remove()
    names = [node.name() for node in _nodes(slopes)]
    if lacking or any("Error" in name or "NotImpl" in name for name in names):
        raise ValueError(REMEDIES["derivative for"])
    return slopes


def _same(table: dict | list | set, before: dict | list | set) -> bool:
    """Return whether a table holds the very things that it held."""
    if isinstance(table, dict):
        same = all(map(operator.is_, table.values(), before.values()))
        return same and table.keys() == before.keys()
    return len(table) == len(before) and all(map(operator.is_, table, before))


class Before:
    """All that a model and an objective know, before they are measured."""

    def __init__(self, model: nn.Module, objective: Callable, lends: bool):
        self.model = model
        owner = getattr(objective, "__self__", objective)  # of a method
        both = (one for one in (model, owner) if isinstance(one, nn.Module))
        modules = [*dict.fromkeys(module for one in both for module in one.modules())]
        parameters = list(model.parameters())
        things = *modules, *parameters
        if SHARDED & {kind.__name__ for one in things for kind in type(one).__mro__}:
            raise ValueError("the model is sharded (FSDP): measure an unsharded copy of it")
        self.weights = [(p, p.detach().clone(), p.requires_grad) for p in parameters]
        if any(p.is_meta for p, *_ in self.weights):
            raise ValueError(
                "the model is on the meta device: give its parameters values first"
            )
        self.hooks = [(o, k, h) for o in things for k in HOOKS if (h := getattr(o, k, None))]
        for thing, name, hooks in self.hooks:
            setattr(thing, name, type(hooks)())
        known = [vars(m) for m in modules]
        held = [v for table in known for k, v in table.items() if k not in TABLES]
        tables = *known, *(one for one in held if isinstance(one, dict | list | set))
        self.kept = [(table, copy.copy(table)) for table in tables]
        norms = (m._buffers for m in modules if lends and isinstance(m, _BatchNorm))
        self.lent = [(t, k, b) for t in norms for k, b in t.items() if b is not None]
        self.replaced = False  # a parameter, by the forward pass
        tensors = (v for one in (held, *(m._buffers.values() for m in modules)) for v in one)
        tensors = [v for v in tensors if isinstance(v, Tensor)]
        own = (v for v in tensors if v.layout != torch.strided or 0 not in v.stride())
        self.buffers = [(buffer, buffer.detach().clone()) for buffer in own]
        self.gradients = [(p, p.grad) for p in parameters]
        for p in parameters:
            p.grad = None
        scripts = (m for m in modules if "training" not in vars(m))
        self.modes = [(script, script.training) for script in scripts]
        self.devices = {p.device for p in parameters if p.device.type != "cpu"}
        self.generators = [one for one in held if isinstance(one, torch.Generator)]
        self.random_states = self.random_states_now()

    def random_states_now(self) -> list[tuple[Callable, object]]:
        """Return what sets each random state of Python, NumPy and PyTorch, with that state."""
        found = [(random.setstate, random.getstate())]
        found.append((np.random.set_state, np.random.get_state()))
        found.append((torch.set_rng_state, torch.get_rng_state()))
        for device in self.devices:
            module = torch.get_device_module(device)
            put = partial(module.set_rng_state, device=device)
            found.append((put, module.get_rng_state(device)))
        return found + [(one.set_state, one.get_state()) for one in self.generators]

    def restore_state(self) -> None:
        """Put modes, attributes and tables back, and the values of buffers."""
        for table, before in self.kept:
            if (table or before) and not _same(table, before):
                if isinstance(table, dict):
                    weights = ((k, v) for k, v in before.items() if isinstance(v, nn.Parameter))
                    self.replaced |= any(table.get(k) is not v for k, v in weights)
                table.clear()
                (table.extend if isinstance(table, list) else table.update)(before)
        for module, training in self.modes:
            if module.training != training:
                module.training = training
        for buffer, value in self.buffers:
            if buffer.shape != value.shape:
                buffer.data = value.clone()
            elif buffer.layout != torch.strided or not buffer.equal(value):
                buffer.detach().copy_(value)

    def lend_buffers(self) -> None:
        """Put all back; for graphs that stay lend batch normalisations copies of buffers.

        Others may share memory, and stay: a graph that holds one that changes says so.
        """
        self.restore_state()
        copies = {id(buffer): buffer.clone() for *_, buffer in self.lent}
        for table, name, buffer in self.lent:
            table[name] = copies[id(buffer)]

    def restore(self) -> str:
        """Put everything back; return what must not have happened."""
        said = ""
        for p, gradient in self.gradients:
            if p.grad is not None:
                said = "the backward pass writes .grad: use non-reentrant checkpoints"
            p.grad = gradient
        self.restore_state()
        self.restore_random_state()
        for thing, name, hooks in self.hooks:
            setattr(thing, name, hooks)
        for p, old, trained in self.weights:
            same = p.equal(old) or p.nan_to_num().equal(old.nan_to_num())
            if self.replaced or not same or p.requires_grad != trained:
                p.requires_grad_(trained).detach().copy_(old)
                said = CHANGED
        return said

    def restore_random_state(self) -> None:
        for put, state in self.random_states:
            put(state)

    def losses(self, objective: Callable, batches: Iterable) -> Iterator[Tensor]:
        """Yield the objective on each batch, from these buffers; ``ValueError`` without one."""
        empty = True
        for batch in batches:
            self.lend_buffers()
            yield _one_number(objective(self.model, batch))
            empty = False
        if empty:
            raise ValueError("no batch was given: pass a list or a fresh iterator of batches")


def _one_number(loss) -> Tensor:
    if isinstance(loss, Tensor) and loss.numel() == 1 and not loss.is_complex():
        return loss
    raise ValueError(f"the objective must return its loss, a scalar tensor, not {loss!s:.30}")


@contextmanager
def without_trace(
    model: nn.Module, objective: Callable | None = None, curvature: bool = False
) -> Iterator[Before]:
    """Measure inside, then put all back; ``ValueError`` where parameters had changed."""
    # Fused attention, compiled models and re-entrant checkpoints have no second derivative.
    attention = sdpa_kernel(SDPBackend.MATH) if curvature else nullcontext()
    compiles = "_dynamo" in vars(torch)
    eager = torch.compiler.set_stance("force_eager") if compiles else nullcontext()
    apply = "apply", lambda f, _, *x: checkpoint.checkpoint(f, *x, use_reentrant=False)
    replay = mock.patch.object(checkpoint.CheckpointFunction, *apply)
    with torch.inference_mode(False), float32_products("ieee"), attention, eager, replay:
        before = Before(model, objective, lends=curvature)
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
