"""Measuring without a trace: what a model and an objective know is put back."""

import collections
import contextlib
import inspect
import itertools
import operator
import os
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import CellType, FunctionType, MethodType, ModuleType
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules import module as globally
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize
from torch.utils import checkpoint
from torch.utils.hooks import BackwardHook, RemovableHandle

from . import double_backward
from .derivatives import CHANGED, NO_VALUES, REMEDIES, WRONG, refuse
from .memory import kept_memory

WROTE = "backward passes write .grad: use non-reentrant checkpoints, and objectives without one"
ONE_AT_A_TIME = threading.RLock()  # what is set aside meanwhile is the whole process's
os.register_at_fork(after_in_child=ONE_AT_A_TIME._at_fork_reinit)  # a thread may have held it
HOOKS = "_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks"  # no loss's
GLOBAL = [v for k, v in vars(globally).items() if k[:7] == "_global" and isinstance(v, dict)]
TABLES = dict, list, set, collections.deque
RANDOM = torch.Generator, np.random.Generator, np.random.RandomState, random.Random
CALLS = partial, FunctionType, MethodType
PARTS = "func", "args", "keywords", "__self__", "__func__", "__defaults__", "__kwdefaults__"
UNHOOKED = [  # hooks that a forward pass sets
    (Tensor, f"register_{kind}hook", lambda *_: RemovableHandle(collections.OrderedDict()))
    for kind in ("", "post_accumulate_grad_")
]
UNHOOKED += [(BackwardHook, f"setup_{way}put_hook", lambda _, x: x) for way in ("in", "out")]
graph_of = operator.attrgetter("grad_fn", "requires_grad")
REACHED = (*TABLES, *RANDOM, tuple, nn.Module, Tensor, np.ndarray)
KNOWING = nn.Module, dict, list, *CALLS, *RANDOM
NOT_PLAIN = *REACHED, *CALLS, type, ModuleType  # objects whose attributes are not looked at


def known_to(call: Callable) -> list:
    """Return what a call of CALLS belongs to, was made with, or names."""
    things = [getattr(call, name, None) for name in PARTS]
    if inspect.isfunction(call) and not str(call.__module__).startswith("torch"):
        things += [one.cell_contents for one in call.__closure__ or () if one != CellType()]
        things += map(call.__globals__.get, call.__code__.co_names)
    return things


def _known_by(objective: Callable | None) -> list:
    """Return modules and generators that an objective is, has, was made with, or names."""
    found, seen, queue = [], {}, [objective]
    while queue:
        if id(part := queue.pop()) in seen:
            continue
        seen[id(part)] = part
        if isinstance(part, (nn.Module, *RANDOM)):
            found.append(part)
        elif isinstance(part, CALLS):
            queue += known_to(part)
        elif not (inspect.isclass(part) or inspect.ismodule(part)):
            held = getattr(part, "__dict__", part)
            held = [*held.values()] if isinstance(held, dict) else held
            if isinstance(held, list | tuple) and len(held) < 100:  # no data
                queue += [v for v in held if isinstance(v, KNOWING)]
    return found


def _reached(queue: list) -> list:
    """Return what is reached from modules through attributes and containers, each once."""
    found = {}
    while queue:
        if id(one := queue.pop()) in found:
            continue
        found[id(one)] = one
        if isinstance(one, nn.Module):
            if not isinstance(one, nn.parallel.DistributedDataParallel):  # which is in step
                held = [v for v in vars(one).values() if hasattr(v, "__dict__")]
                queue += [vars(one), *(vars(v) for v in held if not isinstance(v, NOT_PLAIN))]
            queue += [*one.children(), *one.buffers(recurse=False)]  # of a script, too
        elif isinstance(one, dict):
            queue += [v for v in one.values() if isinstance(v, REACHED)]
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


def random_state(one) -> tuple[Callable, object]:
    """Return what sets a generator's state, and its state."""
    if isinstance(one, np.random.Generator):
        return partial(setattr, one.bit_generator, "state"), one.bit_generator.state
    if one is random or isinstance(one, random.Random):
        return one.setstate, one.getstate()
    return one.set_state, one.get_state()


def _memory_of(tensor: Tensor) -> Tensor:
    """Return a tensor; of an expanded one its memory, without repeats."""
    if tensor.layout != torch.strided or 0 not in (steps := tensor.stride()):
        return tensor
    shape = [size if step else 1 for size, step in zip(tensor.shape, steps)]
    return tensor.detach().as_strided(shape, steps)


def _put_back(tensor: Tensor, value: Tensor) -> bool:
    """Give a tensor its value again, unseen by graphs; return whether it had another."""
    if tensor.shape != value.shape or tensor.dtype != value.dtype:
        tensor.data = value.clone()
        return True
    if tensor.layout == torch.strided:
        floats = tensor.is_floating_point() or tensor.is_complex()
        if tensor.equal(value) or (floats and tensor.nan_to_num().equal(value.nan_to_num())):
            return False
    tensor.data.copy_(value)
    return tensor.layout == torch.strided


class Before:
    """All that a model and an objective know, before they are measured."""

    def __init__(self, model: nn.Module, objective: Callable | None, lends: bool):
        self.model, parameters = model, list(model.parameters())
        reached = _reached([model, *_known_by(objective), *GLOBAL])
        modules = [one for one in reached if isinstance(one, nn.Module)]
        things = *modules, *parameters
        refuse(things, model.named_parameters(), (*WRONG[:2], NO_VALUES))
        self.weights = [(p, p.detach().clone(), p.requires_grad) for p in parameters]
        norms = (m._buffers for m in modules if lends and isinstance(m, _BatchNorm))
        self.lent = [(t, k, b) for t in norms for k, b in t.items() if b is not None]
        self.autocast = set()  # dtypes in which the objective computes
        self.replaced = False  # a parameter, by the forward pass
        known = {id(p) for p in parameters}
        tensors = [v for v in reached if isinstance(v, Tensor) and id(v) not in known]
        tensors = (v for v in tensors if not (v.is_meta or v.is_nested or v.is_inference()))
        own = map(_memory_of, tensors)
        self.tensors = [[v, v.detach().clone(), graph_of(v), v._version] for v in own]
        arrays = (one for one in reached if isinstance(one, np.ndarray) and one.flags.writeable)
        self.arrays = [(one, one.copy()) for one in arrays if not one.dtype.hasobject]
        self.unseen = False  # a change of a tensor or an array that no graph sees
        self.modes = [(m, m.training) for m in modules if "training" not in vars(m)]
        self.devices = {p.device for p in parameters if p.device.type != "cpu"}
        self.generators = [one for one in reached if type(one) in RANDOM]
        self.random_states = self.random_states_now()
        hooks = [getattr(one, name, None) for one in things for name in HOOKS]
        hooks += [globally._global_backward_hooks, globally._global_backward_pre_hooks]
        self.hooks = [(one, dict(one)) for one in hooks if one]
        self.gradients = [(p, p.grad) for p in parameters]
        for one, _ in self.hooks:
            one.clear()
        for p in parameters:
            p.grad = None
        self.tables = [one for one in reached if isinstance(one, TABLES)]
        self.kept = [dict(one) if isinstance(one, dict) else [*one] for one in self.tables]
        filled, self.empty = ([t for t in self.tables if bool(t) == full] for full in (1, 0))
        self.filled, self.sizes = filled, [*map(len, filled)]
        self.views = [*filled, *(one.values() for one in filled if isinstance(one, dict))]
        self.held = [*itertools.chain(*self.views)]  # for one look at all

    def random_states_now(self) -> list[tuple[Callable, object]]:
        """Return what sets each random state of Python, NumPy and PyTorch, with that state."""
        found = [random_state(one) for one in (random, np.random, *self.generators)]
        found.append((torch.set_rng_state, torch.get_rng_state()))
        for device in self.devices:
            module = torch.get_device_module(device)
            put = partial(module.set_rng_state, device=device)
            found.append((put, module.get_rng_state(device)))
        return found

    def restore_state(self) -> None:
        """Put modes, attributes and tables back, and the values of buffers and arrays."""
        same = not any(self.empty) and [*map(len, self.filled)] == self.sizes
        same = same and all(map(operator.is_, itertools.chain(*self.views), self.held))
        for table, before in () if same else zip(self.tables, self.kept):
            if not _same(table, before):
                if isinstance(table, dict):
                    now, then = _weights(table.values()), _weights(before.values())
                    new = any(now[key].requires_grad for key in now.keys() - then.keys())
                    self.replaced |= new or not then.keys() <= now.keys()
                table.clear()
                (table.update if isinstance(table, dict | set) else table.extend)(before)
        for module, training in self.modes:
            module.training = training
        for entry in self.tensors:
            tensor, value, graph, version = entry
            if graph_of(tensor) != graph and not tensor._is_view():
                tensor.detach_()
            self.unseen |= _put_back(tensor, value) and tensor._version == version
            entry[3] = tensor._version
        for array, value in self.arrays:
            if array.shape == value.shape and not np.all(array == value):
                array[...], self.unseen = value, True

    def lend_buffers(self) -> None:
        """Put all back; lend batch normalisations copies, for graphs that stay."""
        self.restore_state()
        copies = {id(buffer): buffer.clone() for *_, buffer in self.lent}
        for table, name, buffer in self.lent:
            table[name] = copies[id(buffer)]

    def restore(self) -> str:
        """Put everything back; return what must not have happened."""
        self.restore_random_state()
        self.restore_state()
        for hooks, before in self.hooks:
            hooks.update(before)
        said = WROTE if any(p.grad is not None for p, _ in self.gradients) else ""
        for p, old, trained in self.weights:
            if _put_back(p, old) or self.replaced or p.requires_grad != trained:
                p.requires_grad_(trained)
                said = CHANGED
        for p, gradient in self.gradients:
            p.grad = gradient
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
    usual = isinstance(loss, Tensor) and loss.layout == torch.strided and not loss.is_nested
    if usual and loss.numel() == 1 and not loss.is_complex():
        return loss if loss.dim() == 0 else loss.reshape(())
    raise ValueError(f"the objective must return its loss, a scalar tensor, not {loss!s:.30}")


def _noting(dtypes: set) -> Callable:
    """Return what enters autocast, and notes its dtype; ``ValueError`` for float16."""
    enter = torch.autocast.__enter__

    def noted(autocast):
        if autocast._enabled and autocast.fast_dtype == torch.float16:
            said = "the objective computes in float16 (autocast), too coarse for derivatives"
            raise ValueError(f"{said}: let it use bfloat16, or no autocast")
        dtypes.update({autocast.fast_dtype} if autocast._enabled else ())
        return enter(autocast)

    return noted


@contextmanager
def without_trace(
    model: nn.Module, objective: Callable | None = None, curvature: bool = False
) -> Iterator[Before]:
    """Measure inside, then put all back; ``ValueError`` where parameters had changed."""
    with ONE_AT_A_TIME, contextlib.ExitStack() as stack:
        # What is fused, compiled or checkpointed by re-entrance has no second derivative.
        ways = [sdpa_kernel(SDPBackend.MATH), kept_memory()] if curvature else []
        ways += [torch.compiler.set_stance("force_eager")] if "_dynamo" in vars(torch) else []
        apply = "apply", lambda f, _, *x: checkpoint.checkpoint(f, *x, use_reentrant=False)
        replay = mock.patch.object(checkpoint.CheckpointFunction, *apply)
        changes = [(parametrize, "_cache_enabled", 0), *UNHOOKED]
        changes += double_backward.changes() if curvature else []
        if curvature and any(isinstance(one, nn.RNNBase) for one in model.modules()):
            changes.append((torch.backends.cudnn, "enabled", False))
        kinds = {p.device.type for p in model.parameters()}
        casts = filter(torch.amp.is_autocast_available, kinds)
        plainly = [torch.autocast(kind, enabled=False) for kind in casts]
        plainly += torch.inference_mode(False), float32_products("ieee"), setting(*changes)
        for way in (*plainly, *ways, replay):
            stack.enter_context(way)
        before = Before(model, objective, lends=curvature)
        stack.enter_context(setting((torch.autocast, "__enter__", _noting(before.autocast))))
        try:
            yield before
        except BaseException as error:
            wrong = before.restore()
            found = [remedy for said, remedy in REMEDIES.items() if said in str(error)]
            told = [CHANGED] if wrong == CHANGED else found  # which explains the rest
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
