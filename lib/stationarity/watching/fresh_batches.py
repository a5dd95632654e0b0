"""Fresh batches for a measurement, which leave the training's own as they are."""

import collections
import contextlib
import hashlib
import inspect
import random
import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils import data

from ..errors import UsageError
from ..measure import Batch
from ..measure.state import CALLS, RANDOM, known_to, random_state
from ..runs import distributed
from ..runs.seeds import seed_of

PLAIN = (data.RandomSampler, data.SequentialSampler, data.distributed.DistributedSampler)
ACCELERATE = "accelerate.data_loader"  # where its samplers are, which are plain, too
SAMPLE = 2**12  # entries of a tensor that a batch is recognised by
LEAST, SORTED = 16, 2**14  # entries of a row, at least; and rows in any order, at most
FEW = 4  # batches that the data of a loader make up: fewer are a part of a training, perhaps
MOST = 4096  # things that are looked through for random states, the nearest first
PLAIN_VALUES = Tensor, np.ndarray, str, bytes, int, float, type(None)
FRESH = "give an iterable that draws anew each time, or a function of the step and the count"


class Draws:
    """Batches for measurements: of a loader, an iterable, or a function.

    ``source`` is a ``DataLoader``, whose data are drawn at random by the watch itself, each
    batch without replacement and independent of the others, where its sampler is one of
    PyTorch's plain ones; another iterable that can be gone through again; or a function
    ``(step, count) -> iterable``. Random states that it holds are put back.
    """

    def __init__(self, source):
        self.own = self.part = False  # whether the watch draws itself; and only a part
        if callable(source) and not isinstance(source, Iterable):
            self.make = source
        elif isinstance(source, Iterator):
            said = "The batches are an iterator, which can be gone through only once"
            raise UsageError(f"{said}: {FRESH}.")
        elif isinstance(source, Iterable):
            own = _own_draws(source) if isinstance(source, data.DataLoader) else None
            self.make, self.own = own or (lambda step, count: source), own is not None
            self.part = self.own and _is_part(_size_of(source), len(source.dataset))
        else:
            raise UsageError(f"The batches cannot be {source!r:.40}: {FRESH}.")
        self.source, self.earlier, self.looked = source, frozenset(), False

    @contextlib.contextmanager
    def seeded(self, step: int) -> Iterator[None]:
        """Seed all random states by the step; put those of the source back.

        The global ones are put back by what measures without a trace.
        """
        generators = random_states(self.source)
        states = [random_state(one) for one in generators]
        seed = seed_of("watch", step, *distributed.key())
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        for number, one in enumerate(generators):
            reseed(one, seed_of("watch", step, number, *distributed.key()))
        try:
            yield
        finally:
            for put, state in states:
                put(state)

    def of(self, step: int, count: int) -> Iterator[Batch]:
        """Yield ``count`` batches; :class:`UsageError` for too few, and for stale ones.

        These are half of them or more that are repeated, or all of them those of the
        measurement before: a few may coincide by chance.
        """
        if not self.looked:
            _check_stream(self.source)
        seen, self.looked = [], True
        for batch in self.make(step, count):
            seen.append(mark_of(batch))
            yield batch
            if len(seen) == count:
                break
        if len(seen) < count:
            said = f"{count} batches are to be measured, and only {len(seen)} could be drawn"
            raise UsageError(f"{said}: give more, or lower measure_batches.")
        if self.own or count == 1:  # what coincides does so by chance
            return
        if 2 * len({*seen}) <= count:
            said = "Half the batches of one measurement are the same as others of it"
            whole = "measure_batches=1 is for one batch of the whole training set"
            raise UsageError(f"{said}: {FRESH}; {whole}.")
        if self.earlier.issuperset(seen):
            said = "The batches are those of the measurement before, and no fresh ones"
            raise UsageError(f"{said}: {FRESH}.")
        self.earlier = frozenset(seen)


def _check_stream(source) -> None:
    """Raise :class:`UsageError` for a data set that goes on where training draws from it."""
    if isinstance(source, data.DataLoader) and not source.num_workers:  # which have copies
        source = source.dataset
    begins = getattr(type(source), "__iter__", None)
    if not isinstance(source, data.IterableDataset) or inspect.isgeneratorfunction(begins):
        return
    if iter(source) is iter(source):
        said = "The batches come from one stream, and measurements would take theirs from it"
        raise UsageError(f"{said}: give the watch a stream of its own that begins anew.")


def _is_part(size: int, count: int) -> bool:
    """Return whether a batch is a part of the data; warn where it is a large one."""
    size *= distributed.size()
    if size < count < FEW * size:
        said = f"The loader for measurements has {count} examples, a batch {size} of them"
        remedy = "where the training has more, give the watch its own loader"
        warnings.warn(
            f"{said}, and shows less noise than more data have: {remedy}.", stacklevel=4
        )
    return size < count


def _own_draws(loader: data.DataLoader) -> Callable | None:
    """Return a function that draws batches of a loader's data, None where it is not plain."""
    size = _size_of(loader)
    sampled = hasattr(loader.dataset, "__getitem__") and hasattr(loader.dataset, "__len__")
    if not (sampled and size and _is_plain(loader.batch_sampler)):
        if getattr(loader, "persistent_workers", False):
            said = "A loader with persistent workers cannot serve the training and the watch"
            raise UsageError(f"{said}: give the watch a loader of its own.")
        return None
    dataset, collate = loader.dataset, loader.collate_fn

    def make(step: int, count: int) -> Iterator[Batch]:
        for _ in range(count):
            chosen = torch.randperm(len(dataset))[:size].sort().values.tolist()
            if hasattr(dataset, "__getitems__"):
                yield collate(dataset.__getitems__(chosen))
            else:
                yield collate([dataset[index] for index in chosen])

    return make


def _is_plain(batches) -> bool:
    """Return whether a batch sampler draws as PyTorch's does, of one of :data:`PLAIN`.

    Accelerate's batch samplers hold the one that they divide, its samplers are subclasses.
    """
    while type(batches).__module__ == ACCELERATE and hasattr(batches, "batch_sampler"):
        batches = batches.batch_sampler
    if type(batches) is not data.BatchSampler:
        return False
    kind = type(batches.sampler)
    return (kind.__base__ if kind.__module__ == ACCELERATE else kind) in PLAIN


def _size_of(loader: data.DataLoader) -> int | None:
    return getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size


def reseed(one, seed: int) -> None:
    """Seed a generator of PyTorch, NumPy or Python."""
    if isinstance(one, torch.Generator):
        one.manual_seed(seed)
    elif isinstance(one, np.random.Generator):
        one.bit_generator.state = type(one.bit_generator)(seed).state
    else:
        one.seed(seed % 2**32)


def random_states(source) -> list:
    """Return the generators that a source of batches holds, or that its functions know."""
    generators, seen, waiting = [], {}, collections.deque([source])
    while waiting and len(seen) < MOST:
        one = waiting.popleft()
        if id(one) in seen or isinstance(one, PLAIN_VALUES):
            continue
        seen[id(one)] = one  # kept, as another may get the place of one that is gone
        if isinstance(one, RANDOM):
            generators.append(one)
        elif isinstance(one, CALLS):
            waiting += known_to(one)
        elif not (inspect.isclass(one) or inspect.ismodule(one)):
            held = one if isinstance(one, dict | list | tuple) else getattr(one, "__dict__", ())
            held = list(held.values()) if isinstance(held, dict) else held
            if len(held) < 100:  # no data
                waiting += held
    return generators


def tensors(batch) -> Iterator[Tensor]:
    """Yield the tensors in a batch of any nesting."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, dict) or hasattr(batch, "keys"):
        for key in batch.keys():  # noqa: SIM118  of a tokenizer's batch, which is no dict
            yield from tensors(batch[key])
    elif isinstance(batch, list | tuple):
        for part in batch:
            yield from tensors(part)


def mark_of(batch) -> bytes:
    """Return what tells a batch from others: a hash of a sample of its numbers.

    Of the same rows in another order it is the same, up to ``SORTED`` that are not sparse.
    """
    digest = hashlib.blake2b(digest_size=8)
    for tensor in (part.detach() for one in tensors(batch) for part in strided(one)):
        if not tensor.numel():
            continue
        rows = tensor.reshape(len(tensor) if tensor.dim() else 1, -1)
        if len(rows) <= SORTED:
            columns = max(SAMPLE // len(rows), LEAST)
            sample = rows[:, :: max(rows.shape[1] // columns, 1)].cpu().contiguous()
            numbers = sample.view(torch.uint8).numpy()
            digest.update(np.sort(numbers.view(f"V{numbers.shape[1]}"), axis=0).tobytes())
        else:
            flat = rows.reshape(-1)
            sample = flat[:: max(len(flat) // SAMPLE, 1)].cpu()
            digest.update(sample.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.digest() if next(tensors(batch), None) is not None else repr(batch).encode()


def strided(tensor: Tensor) -> list[Tensor]:
    """Return a tensor, or the places and values of a sparse one."""
    if tensor.layout == torch.strided:
        return [tensor]
    sparse = tensor.to_sparse().coalesce()
    return [sparse.indices(), sparse.values()]


def size_of(batch) -> int | None:
    """Return how many examples a batch holds: the first length of its first tensor."""
    first = next((one for one in tensors(batch) if one.dim()), None)
    return None if first is None else len(first)


def repeated(batch, times: int):
    """Return the first half of a batch so many times in a row, None where it cannot be cut."""
    size = size_of(batch)
    if not size or size < 2:
        return None

    def cut(part):
        if isinstance(part, Tensor):
            rows = torch.arange(size // 2, device=part.device).repeat(times)
            return part.index_select(0, rows) if part.dim() and len(part) == size else part
        if isinstance(part, dict):
            return {key: cut(one) for key, one in part.items()}
        if isinstance(part, list | tuple) and not hasattr(part, "_fields"):
            return type(part)(map(cut, part))
        return part

    return cut(batch)
