"""A model's parameters as a vector, and derivatives of a loss that leave no trace."""

import math
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.overrides import has_torch_function

ENGINE = torch.autograd.Variable._execution_engine  # of torch.autograd.grad and backward
PIECE = 4096  # entries that are added in their own dtype
CHANGED = "the forward pass changes parameters: move that out of it"
ELEMENTARY = "write it with elementary operations (weight_norm as v * (g / v.norm()))"
LACKING = "an operation lacks a derivative: write it with elementary ones"
REMEDIES = {  # by what PyTorch says
    "differentiated Tensors": CHANGED,
    "nference tensor": "a tensor was made in inference_mode(): make it, or a clone, outside",
    "graph a second time": "a graph is used twice: keep none between calls, and let the "
    "objective return its loss without calling backward()",
    "does not require grad": "the objective differentiates: it must use torch.enable_grad()",
    "derivative for": LACKING,
    "double backwards on": LACKING,
    "no autograd formula": LACKING,
}

SHARDED = {"FSDPModule", "FullyShardedDataParallel", "DTensor"}
NO_VALUES = lambda p: p.is_meta, "is on the meta device: give it values"
WRONG = (  # with a trained parameter; the first two with any
    (nn.parameter.is_lazy, "is lazy: give it values by a first call"),
    (lambda p: p.device.type == "mps", "is on mps, which has no float64: move it to the CPU"),
    (lambda p: p.dtype == torch.float16, "is float16, too coarse: measure model.float()"),
    (Tensor.is_complex, "is complex: make it two real ones"),
    (lambda p: p.layout != torch.strided, "is sparse: make it dense"),
    (Tensor.is_inference, "was made in inference_mode(): make it, or a clone, outside"),
)


def refuse(things: Iterable, named: Iterable, wrong=WRONG) -> None:
    """Raise ``ValueError`` for a shard among modules and parameters, and for a wrong one."""
    if SHARDED & {base.__name__ for kind in set(map(type, things)) for base in kind.__mro__}:
        raise ValueError("the model is sharded (FSDP): measure an unsharded copy of it")
    for name, p in named:
        if told := next((said for is_wrong, said in wrong if is_wrong(p)), ""):
            raise ValueError(f"the parameter {name!r} {told}")


def trainable(model: nn.Module) -> list[Tensor]:
    """Return the trainable parameters; ``ValueError`` where there are none, or complex ones."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not named:
        raise ValueError("the model has no trainable parameters: nothing to measure")
    refuse([*model.modules(), *named.values()], named.items())
    if len({p.device for p in named.values()}) > 1:
        raise ValueError("parameters are on several devices: move the model to one")
    return list(named.values())


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """The tensors' entries in one new vector (P,), float32 at least."""
    vector = torch.cat([tensor.reshape(-1) for tensor in tensors])
    return vector.to(torch.promote_types(vector.dtype, torch.float32))


def parts(vector: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Views of a flat vector (P,), in the parameters' shapes."""
    pieces = vector.split([p.numel() for p in parameters])
    return [piece.view(p.shape) for piece, p in zip(pieces, parameters)]


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
    """Return numbers of any kind as a tensor; ``ValueError`` where the shape is another.

    They may be a tensor of any layout, an array, or a list; None stands for any size.
    """
    try:
        if isinstance(values, list | tuple) and isinstance(next(iter(values), 0), Tensor):
            values = torch.stack(values)
        whole = torch.as_tensor(values, device=getattr(values, "device", "cpu"))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be numbers, not {values!s:.40}") from error
    if whole.is_complex():
        raise ValueError(f"{name} is complex: pass real numbers")
    wrong = any(size not in (n, None) for n, size in zip(whole.shape, shape))
    if wrong or whole.dim() != len(shape):
        wanted = ", ".join("k" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {tuple(whole.shape)}, not ({wanted})")
    return whole.detach().to_dense()


def _pieces(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows (..., P) in pieces, (..., n, PIECE), and what is left of them."""
    count = rows.shape[-1] // PIECE
    return rows[..., : count * PIECE].unflatten(-1, (count, PIECE)), rows[..., count * PIECE :]


def norms(rows: Tensor) -> Tensor:
    """Return norms along the last dimension, float64; scaled where squares have no room."""
    rows = rows if rows.dtype in {torch.float32, torch.float64} else rows.double()
    pieces, rest = _pieces(rows) if rows.shape[-1] >= PIECE else (None, rows)
    found = torch.linalg.vector_norm(rest, dim=-1).double()
    if pieces is not None:
        across = torch.linalg.vector_norm(pieces, dim=-1).double().norm(dim=-1)
        found = torch.hypot(found, across)
    if all(1e-16 < norm < math.inf for norm in found.reshape(-1).tolist()):
        return found
    held, top = (found > 1e-16) & found.isfinite(), rows.double().abs().amax(-1, keepdim=True)
    unit = torch.linalg.vector_norm(rows.double() / top.where(top > 0, 1), dim=-1)
    return found.where(held, unit * top[..., 0])


def inner(rows: Tensor, others: Tensor) -> Tensor:
    """Return inner products (R, S) of rows (R, P) and (S, P), float64, as pieces are added."""
    (pieces, rest), (across, left) = _pieces(rows), _pieces(others)
    sums = torch.einsum("rcp,scp->crs", pieces, across).double().sum(0)
    return sums + (rest @ left.T).double()


def gradients(ends, parameters: list[Tensor], along=None, **how) -> tuple[Tensor, ...]:
    """Return dense gradients (of ends along vectors); ``ValueError`` where a loss has none."""
    found, plain = [None], not (along or how or has_torch_function((ends, *parameters)))
    if plain and ends.requires_grad:  # as grad does, which asks each tensor much before
        given = (ends,), (torch.ones_like(ends),), False, False, tuple(parameters), True
        found = ENGINE.run_backward(*given, accumulate_grad=False)
    elif along or ends.requires_grad:
        found = torch.autograd.grad(ends, parameters, along, allow_unused=True, **how)
    if not any(one is None or one.is_sparse for one in found):
        return found
    if not along and all(one is None for one in found):
        raise ValueError("the loss depends on no trainable parameter: compute it with a graph")
    whole = [torch.zeros_like(p) if one is None else one for one, p in zip(found, parameters)]
    return tuple(one.to_dense() if one.is_sparse else one for one in whole)


def hessian_product(slopes: tuple, parameters: list[Tensor], vector: Tensor, **how) -> Tensor:
    """Return the Hessian times a flat vector: the gradient of <slopes, v>, ``how`` as there."""
    pairs = zip(slopes, parts(vector, parameters))
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
    """Return :func:`gradients` with their graph; ``ValueError`` where that is not whole."""
    lacking, doubtful = [], []

    def look(node, found: tuple, given: tuple) -> None:
        """Ask whether a Function's own derivative depends on what PyTorch cannot know."""
        used = (one for one, (before, _) in zip(found, node.next_functions) if before)
        used = [one for one in used if one is not None and not one.requires_grad]
        if not any(one.any() for one in used):
            return
        saved = [*vars(node).values()]
        saved += [one for v in saved if isinstance(v, list | tuple) for one in v]
        with suppress(RuntimeError):  # of a checkpoint, which gives them once
            saved += node.saved_tensors
        linear = not any(isinstance(one, Tensor) for one in saved)
        linear &= not any(one is not None and one.requires_grad for one in given)
        (doubtful if linear else lacking).append(node)

    nodes = _nodes([loss])
    fused = [node for node in nodes if node.name().startswith("WeightNormInterface")]
    if any(node.next_functions[0][0] for node in fused):  # where its first input is trained
        raise ValueError(f"the second derivative of weight_norm is wrong: {ELEMENTARY}")
    own = [node for node in nodes if isinstance(node, BackwardCFunction)]
    handles = [node.register_hook(partial(look, node)) for node in own]
    try:
        slopes = gradients(loss, parameters, create_graph=True)
    finally:
        for handle in handles:
            handle.remove()
    names = [node.name() for node in _nodes(slopes)]
    if not any(slope.requires_grad for slope in slopes):
        lacking += doubtful
    if lacking or any(name.endswith(("Error", "NotImplemented")) for name in names):
        raise ValueError(LACKING)
    return slopes
