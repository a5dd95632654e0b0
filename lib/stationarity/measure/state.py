"""Measuring without a trace: what a model and an objective know is put back."""

import collections
import contextlib
import copy
import operator
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules import module as globally
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.utils import checkpoint

from .derivatives import REMEDIES

SHARDED = {"FSDPModule", "FullyShardedDataParallel", "DTensor"}
CHANGED = "the forward pass changes parameters: move that out of it"
HOOKS = "_backward_hooks", "_backward_pre_hooks"  # which change gradients, not the loss
KNOWN = {"_parameters", "_modules", "_buffers", "_non_persistent_buffers_set"}
PYTORCHS = vars(nn.Module()).keys() - KNOWN  # attributes of its own: hooks, the mode
TABLES = dict, list, set, collections.deque
RANDOM = torch.Generator, np.random.Generator, np.random.RandomState, random.Random
REACHED = (*TABLES, *RANDOM, tuple, nn.Module, Tensor, np.ndarray)


def _modules_of(objective: Callable | None) -> list[nn.Module]:
    """Return the modules that an objective is, belongs to, or was made with."""
    parts = [objective]
    if isinstance(objective, partial):
        parts += [objective.func, *objective.args, *objective.keywords.values()]
        objective = objective.func
    parts.append(getattr(objective, "__self__", None))
    for cell in getattr(objective, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # an empty one
            parts.append(cell.cell_contents)
    return [one for one in parts if isinstance(one, nn.Module)]


def _reached(queue: list) -> list:
    """Return what is reached from modules through attributes and containers, each once."""
    found = {}
    while queue:
        if id(one := queue.pop()) in found:
            continue
        found[id(one)] = one
        if isinstance(one, nn.Module):
            if not isinstance(one, nn.parallel.DistributedDataParallel):  # which is in step
                queue.append(vars(one))
            queue += [*one.children(), *one.buffers(recurse=False)]  # of a script, too
        elif isinstance(one, dict):
            own = [k for k, v in one.items() if k in PYTORCHS and (not v or k in HOOKS)]
            queue += [v for k, v in one.items() if isinstance(v, REACHED) and k not in own]
        elif isinstance(one, (*TABLES, tuple)):
            queue += [v for v in one if isinstance(v, REACHED)]
    return [*found.values()]


def _same(table, before) -> bool:
    """Return whether a table holds the very things that it held."""
    if isinstance(table, dict):
        same = all(map(operator.is_, table.values(), before.values()))
        return same and table.keys() == before.keys()
    return len(table) == len(before) and all(map(operator.is_, table, before))


def _weights(things: Iterable) -> dict[int, nn.Parameter]:
    """Return the parameters among things, and of modules among them, by id."""
    parts = [one.parameters() if isinstance(one, nn.Module) else [one] for one in things]
    return {id(p): p for part in parts for p in part if isinstance(p, nn.Parameter)}


def _random_state(one) -> tuple[Callable, object]:
    """Return what sets a generator's state, and its state."""
    if isinstance(one, np.random.Generator):
        return partial(setattr, one.bit_generator, "state"), one.bit_generator.state
    if one is random or isinstance(one, random.Random):
        return one.setstate, one.getstate()
    return one.set_state, one.get_state()


class Before:
    """All that a model and an objective know, before they are measured."""

    def __init__(self, model: nn.Module, objective: Callable | None, lends: bool):
        self.model, parameters = model, list(model.parameters())
        reached = _reached([model, *_modules_of(objective)])
        modules = [one for one in reached if isinstance(one, nn.Module)]
        things = *modules, *parameters
        if SHARDED & {kind.__name__ for one in things for kind in type(one).__mro__}:
            raise ValueError("the model is sharded (FSDP): measure an unsharded copy of it")
        self.weights = [(p, p.detach().clone(), p.requires_grad) for p in parameters]
        if any(p.is_meta for p in parameters):
            raise ValueError(
                "the model is on the meta device: give its parameters values first"
            )
        self.kept = [(one, copy.copy(one)) for one in reached if isinstance(one, TABLES)]
        norms = (m._buffers for m in modules if lends and isinstance(m, _BatchNorm))
        self.lent = [(t, k, b) for t in norms for k, b in t.items() if b is not None]
        self.replaced = False  # a parameter, by the forward pass
        tensors = (one for one in reached if isinstance(one, Tensor))
        tensors = [one for one in tensors if not isinstance(one, nn.Parameter)]
        tensors = [one for one in tensors if not (one.is_meta or one.is_nested)]
        own = (v for v in tensors if v.layout != torch.strided or 0 not in v.stride())
        self.tensors = [(one, one.detach().clone(), one.grad_fn) for one in own]
        self.arrays = [(one, one.copy()) for one in reached if isinstance(one, np.ndarray)]
        scripts = (m for m in modules if "training" not in vars(m))
        self.modes = [(script, script.training) for script in scripts]
        self.devices = {p.device for p in parameters if p.device.type != "cpu"}
        self.generators = [one for one in reached if isinstance(one, RANDOM)]
        self.random_states = self.random_states_now()
        hooks = [getattr(one, name, None) for one in things for name in HOOKS]
        hooks += [globally._global_backward_hooks, globally._global_backward_pre_hooks]
        self.hooks = [(one, copy.copy(one)) for one in hooks if one]
        self.gradients = [(p, p.grad) for p in parameters]
        for one, _ in self.hooks:
            one.clear()
        for p in parameters:
            p.grad = None

    def random_states_now(self) -> list[tuple[Callable, object]]:
        """Return what sets each random state of Python, NumPy and PyTorch, with that state."""
        found = [_random_state(one) for one in (random, np.random, *self.generators)]
        found.append((torch.set_rng_state, torch.get_rng_state()))
        for device in self.devices:
            module = torch.get_device_module(device)
            put = partial(module.set_rng_state, device=device)
            found.append((put, module.get_rng_state(device)))
        return found

    def restore_state(self) -> None:
        """Put modes, attributes and tables back, and the values of buffers and arrays."""
        for table, before in self.kept:
            if (table or before) and not _same(table, before):
                if isinstance(table, dict):
                    now, then = _weights(table.values()), _weights(before.values())
                    new = (now[key] for key in now.keys() - then.keys())
                    self.replaced |= not then.keys() <= now.keys()
                    self.replaced |= any(one.requires_grad for one in new)
                table.clear()
                (table.update if isinstance(table, dict | set) else table.extend)(before)
        for module, training in self.modes:
            if module.training != training:
                module.training = training
        for tensor, value, node in self.tensors:
            if tensor.grad_fn is not node and not tensor._is_view():
                tensor.detach_()
            if tensor.shape != value.shape:
                tensor.data = value.clone()
            elif tensor.layout != torch.strided or not tensor.equal(value):
                tensor.data.copy_(value)  # of which graphs need not know
        for array, value in self.arrays:
            array[...] = value

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
        for hooks, before in self.hooks:
            hooks.clear()
            hooks.update(before)
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
        return loss.reshape(())
    raise ValueError(f"the objective must return its loss, a scalar tensor, not {loss!s:.30}")


@contextmanager
def without_trace(
    model: nn.Module, objective: Callable | None = None, curvature: bool = False
) -> Iterator[Before]:
    """Measure inside, then put all back; ``ValueError`` where parameters had changed."""
    # What is fused, compiled or checkpointed by re-entrance has no second derivative.
    attention = sdpa_kernel(SDPBackend.MATH) if curvature else nullcontext()
    compiles = "_dynamo" in vars(torch)
    eager = torch.compiler.set_stance("force_eager") if compiles else nullcontext()
    apply = "apply", lambda f, _, *x: checkpoint.checkpoint(f, *x, use_reentrant=False)
    replay = mock.patch.object(checkpoint.CheckpointFunction, *apply)
    changes = [(parametrize, "_cache_enabled", 0)]
    if curvature and any(isinstance(one, nn.RNNBase) for one in model.modules()):
        changes.append((torch.backends.cudnn, "enabled", False))
    plainly = torch.inference_mode(False), float32_products("ieee"), setting(*changes)
    with contextlib.ExitStack() as stack:
        for way in (*plainly, attention, eager, replay):
            stack.enter_context(way)
        before = Before(model, objective, lends=curvature)
        try:
            yield before
        except BaseException as error:
            wrong, said = before.restore(), str(error)
            told = [REMEDIES[one] for one in REMEDIES if one in said]
            if isinstance(error, ValueError):
                told = [wrong] if wrong == CHANGED else []  # which explains the rest
            if told and isinstance(error, RuntimeError | ValueError):
                raise ValueError(told[0]) from error
            raise
        if wrong := before.restore():
            raise ValueError(wrong)


def float32_products(precision: str) -> contextlib.AbstractContextManager:
    """Compute CUDA's products of float32 in full (``ieee``) or rounded (``tf32``)."""
    cudnn = torch.backends.cudnn
    backends = torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
    return setting(*((one, "fp32_precision", precision) for one in backends))


@contextmanager
def setting(*changes: tuple) -> Iterator[None]:
    """Give attributes values, (object, name, value), and then those they had."""
    before = [getattr(one, name) for one, name, _ in changes]
    for one, name, value in changes:
        setattr(one, name, value)
    try:
        yield
    finally:
        for (one, name, _), value in zip(changes, before):
            setattr(one, name, value)
