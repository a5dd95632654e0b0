"""What one example costs a model: operations, and bytes that a graph keeps.

Operations are those of matrix products and convolutions (a multiplication and an addition
are two), counted without numbers. Source: our section "Running at full size".
"""

import itertools
import math
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark.utils.timer import timer as synchronised
from torch.utils.flop_counter import flop_registry

from ..chapters.sizes import count_entries, data_of, net
from ..measure.derivatives import gradients, hessian_product, trainable
from ..runs.devices import threads
from ..train import loop, precision
from ..train.settings import AnyTraining, LanguageTraining, Training

PATIENCE = 0.3  # seconds that one kind of pass is timed
COUNTED = {  # settings of a run on images that decide what an example costs
    "dataset", "model", "classes", "width", "blocks", "batch_norm", "hidden", "image_size",
    "loss",
}  # fmt: skip


class Counts(NamedTuple):
    """What one example costs: operations, and bytes that a graph keeps (in float32)."""

    forward: float = 0.0
    gradient: float = 0.0  # the forward pass included
    product: float = 0.0  # a Hessian product, all included
    kept_by_gradient: float = 0.0
    kept_by_product: float = 0.0


class Operations(TorchDispatchMode):
    """Counts operations by PyTorch's formulas; its FlopCounterMode fails for shared weights."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _passes(model: nn.Module, objective: Callable, batch) -> list[Callable]:
    parameters = trainable(model)
    vector = torch.ones(count_entries(parameters), device=parameters[0].device)

    def slopes(create_graph: bool = True) -> tuple:
        return gradients(objective(model, batch), parameters, create_graph=create_graph)

    return [
        lambda: torch.no_grad()(objective)(model, batch),
        lambda: slopes(create_graph=False),
        lambda: hessian_product(slopes(), parameters, vector),
    ]


def count(model: nn.Module, objective: Callable, batch, examples: int) -> Counts:
    """Count what the objective costs on a batch of so many examples, for one of them.

    All tensors may lie on the ``meta`` device.
    """
    parameters, storages = trainable(model), {}
    weights = {weight.untyped_storage()._cdata for weight in parameters}
    vector = torch.ones(count_entries(parameters), device=parameters[0].device)

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    def kept() -> int:
        return sum(s.nbytes() for key, s in storages.items() if key not in weights)

    with Operations() as done, torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        loss = objective(model, batch)
        forward, by_gradient = done.total, kept()
        slopes = gradients(loss, parameters, create_graph=True)
        gradient = done.total
        hessian_product(slopes, parameters, vector)
    counts = forward, gradient, done.total, by_gradient, kept()
    return Counts(*(one / examples for one in counts))


def _ways(settings, device, words: int = 0) -> tuple[nn.Module, tuple]:
    """Return the net, and the loss with a random batch in training and in a measurement."""
    model, objective = net(settings, words, device), loop.loss_of(settings)
    size, data = settings.batch_size, data_of(settings)
    with torch.random.fork_rng(devices=[]):
        if isinstance(settings, Training):
            side = settings.image_size if settings.dataset == "imagenet" else data.size
            images = torch.randn(size, data.channels, side, side, device=device)
            way = objective, (images, torch.randint(data.classes, (size,), device=device))
            return model, (way, way)
        logarithms = torch.rand(size, settings.segment) * math.log(words or data.classes)
        tokens = logarithms.double().exp().long().sub(1).to(device)  # Zipf's law
        shape = settings.layers, size, settings.memory, settings.width
        loss = loop.loss_of(settings)
        loss.memory = torch.randn(shape, device=device)
    context = tokens.repeat(1, settings.measure_context)
    return model, ((loss, (tokens, tokens, None)), (objective, (tokens, tokens, context)))


def counted(settings, words: int = 0) -> tuple[Counts, Counts]:
    """Count what an example costs in training, and what it costs in a measurement.

    It is an image, or a segment of text; ``words`` a vocabulary's size, if not the dataset's.
    """
    images = isinstance(settings, Training)
    counts = (
        COUNTED if images else type(settings).model_fields.keys() - AnyTraining.model_fields
    )
    alike = dict.fromkeys(type(settings).model_fields.keys() - counts) | {"seed": 0}
    # Of images one alone cannot be normalised.
    alike["batch_size"] = 2 if images else settings.batch_size
    return _counted(settings.model_copy(update=alike), words)


@cache
def _counted(settings, words: int) -> tuple[Counts, Counts]:
    model, ways = _ways(settings, "meta")
    if isinstance(settings, Training):
        return (count(model, *ways[0], settings.batch_size),) * 2
    vocabulary = model.vocabulary  # its cost depends on the words: it is added below
    vocabulary.embed = lambda tokens: 1.0 * vocabulary.tables[0][0].expand(*tokens.shape, -1)
    vocabulary.losses = lambda states, targets: states.square().sum(1)
    operations, scores = _words(settings, words or data_of(settings).classes)
    each = np.array([operations, 3 * operations, 9 * operations, 4 * scores, 8 * scores])
    counts = [count(model, *way, settings.batch_size) for way in ways]
    return tuple(Counts(*np.add(one, settings.segment * each)) for one in counts)


def _words(settings: LanguageTraining, size: int) -> tuple[float, float]:
    """Return operations and scores of the vocabulary for one token, by Zipf's law."""
    edges, operations, scores = (0, *settings.cutoffs, size), 0.0, 0.0
    for place, (begin, end) in enumerate(itertools.pairwise(edges)):
        share = math.log((end + 1) / (begin + 1)) / math.log(size + 1) if place else 1.0
        width = max(settings.width // settings.divisor**place, 1)
        entries = end - begin if place else end + len(settings.cutoffs)
        projections = 4 * width * settings.width if width < settings.width else 0
        operations += share * (2 * width * entries + projections)
        scores += share * entries
    return operations, scores


def timed(settings, device="cpu", path="float32", words: int = 0) -> tuple[Counts, Counts]:
    """Time an example in training and in a measurement on this machine, in seconds.

    The shortest of a few times; on a CPU of one thread. ``path`` is the training step's way
    in run.json; ``words`` as in :func:`counted`.
    """
    clock = time.process_time if torch.device(device).type == "cpu" else synchronised
    small = _timed_passes(settings.model_copy(update={"batch_size": 2}), device, path, words)
    with threads(1):
        for one in small:  # which pays for what is made once
            one()
        passes = _timed_passes(settings, device, path, words)
        times = [_shortest(one, clock) / settings.batch_size for one in passes]
    return Counts(*times[:2]), Counts(*times[2:])


def _timed_passes(settings, device, path: str, words: int) -> list[Callable]:
    model, ((loss, trained), measured) = _ways(settings, device, words)
    optimizer = torch.optim.SGD(trainable(model), 0.0, momentum=settings.momentum)

    def step():
        optimizer.zero_grad(set_to_none=True)
        precision.computed(loss, model, trained, path).backward()
        optimizer.step()

    return [_passes(model, loss, trained)[0], step, *_passes(model, *measured)]


def _shortest(one: Callable, clock: Callable) -> float:
    times = []
    while not times or sum(times) < PATIENCE:
        begun = clock()
        one()
        times.append(clock() - begun)
    return min(times)
