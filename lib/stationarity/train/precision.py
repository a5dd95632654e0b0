"""Ways to compute a training step; weights and measurements stay in float32."""

import contextlib
import copy
import itertools
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import measure
from ..measure.state import setting, without_trace
from ..runs import distributed


@dataclass(frozen=True)
class Computation:
    """How a training step is computed."""

    autocast: torch.dtype | None = None
    memory_format: torch.memory_format = torch.channels_last
    products: str = "ieee"  # of float32 in CUDA's kernels: ieee or tf32
    compiled: bool = False


PATHS = {
    "float32": Computation(memory_format=torch.contiguous_format),
    "float64": Computation(memory_format=torch.contiguous_format),
    "float32 channels_last": Computation(),
    "tf32": Computation(products="tf32"),
    "bfloat16": Computation(torch.bfloat16),
    "tf32 compiled": Computation(products="tf32", compiled=True),
    "bfloat16 compiled": Computation(torch.bfloat16, compiled=True),
}
TIMED = {  # by type of device, the simplest first
    "cpu": ("float32", "float32 channels_last", "bfloat16"),
    "cuda": ("tf32", "bfloat16", "tf32 compiled", "bfloat16 compiled"),
}


def computed(loss, model: nn.Module, batch, path: str) -> Tensor:
    """Return the loss of a model on a batch, computed in the way of a path."""
    way = PATHS[path]
    inputs, *rest = batch
    if inputs.dim() == 4:  # else there are no channels
        inputs = inputs.contiguous(memory_format=way.memory_format)
    with torch.autocast(inputs.device.type, way.autocast, enabled=way.autocast is not None):
        return loss(model, (inputs, *rest))


@contextlib.contextmanager
def backends(path: str, deterministic: bool) -> Iterator[None]:
    """Set what PyTorch's kernels may do: round products, vary from run to run."""
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(deterministic or before)
    benchmark = setting((torch.backends.cudnn, "benchmark", not deterministic))
    try:
        with benchmark, measure.float32_products(PATHS[path].products):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def stepping(model: nn.Module, loss, dataset, path: str) -> nn.Module:
    """Return the model as steps compute it: on all processes, compiled or as it is."""
    stepped = model
    if distributed.size() > 1:
        stepped = nn.parallel.DistributedDataParallel(model)
        # It lays its buckets out anew after the first backward pass. With that pass
        # here, a resumed run adds gradients up in the order of one never interrupted.
        with without_trace(model):
            _times(stepped, loss, next(iter(dataset.training_batches(1, 2))), path, 1)
            model.zero_grad(set_to_none=True)
    return torch.compile(stepped) if PATHS[path].compiled else stepped


def fastest(model: nn.Module, loss, dataset) -> str:
    """Time a few steps of each way; return the fastest, by a tenth, of the first process."""
    best, best_time = 0, math.inf
    batch = next(iter(dataset.training_batches(1, 2)))
    candidates = TIMED.get(dataset.device.type, TIMED["cpu"])
    for index, path in enumerate(candidates):
        way = PATHS[path]
        trial = copy.deepcopy(model).to(memory_format=way.memory_format)
        # A version of PyTorch may not be able to compile a step: then another way is taken.
        may_fail = contextlib.suppress(*[RuntimeError] * way.compiled)
        with may_fail, measure.float32_products(way.products):
            stepped = torch.compile(trial) if way.compiled else trial
            time_taken = min(_times(stepped, loss, batch, path, 5)[2:])  # two warm up
            if time_taken < 0.9 * best_time:
                best, best_time = index, time_taken
    return candidates[distributed.of_first(best, dataset.device)]


def _times(model: nn.Module, loss, batch, path: str, count: int) -> list[float]:
    device, ends = batch[0].device, []
    loss = copy.copy(loss)  # one of a text remembers what it has read
    for index in range(count + 1):
        if index:
            computed(loss, model, batch, path).backward()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ends.append(time.perf_counter())
    return [end - start for start, end in itertools.pairwise(ends)]
