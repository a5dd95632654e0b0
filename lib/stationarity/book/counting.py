"""What one example costs a model: operations, and bytes that a graph keeps.

Operations are floating-point operations (a multiplication and an addition are two)
of matrix products and convolutions. They are counted on PyTorch's ``meta`` device,
with shapes and without numbers. Source: our section "Running at full size".
"""

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from .. import nets
from ..measure.derivatives import count_entries, gradients, hessian_product, trainable
from ..runs.devices import threads
from ..train import loop, precision
from ..train.settings import LanguageTraining, Training

PATIENCE = 0.3  # seconds that one kind of pass is timed
SHAPE = {  # of the settings, what the cost of an example depends on
    Training: (
        "dataset", "model", "width", "blocks", "batch_norm", "hidden", "image_size", "loss",
    ),
    LanguageTraining: (
        "dataset", "layers", "width", "heads", "head_width", "inner_width", "segment", "memory",
        "cutoffs", "divisor", "measure_context", "batch_size",  # which shares its positions
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """The size of a dataset: images of ``size`` squared, or words of text."""

    examples: int  # training images, or tokens
    tests: int = 0
    channels: int = 0
    size: int = 0
    classes: int = 0  # of the images; of a text, the words of its vocabulary
    gigabytes: float = 0.0  # of the files; 0: it is embedded


DATA = {
    "digits": Data(1437, 360, 1, 8, 10),
    "cifar10": Data(50_000, 10_000, 3, 32, 10, 0.2),
    "imagenet": Data(1_281_167, 50_000, 3, 224, 1000, 150),
    "python-reference": Data(418_613, 46_513, classes=103),
    "wikitext103": Data(103_227_021, 217_646, classes=267_735, gigabytes=0.6),
}


class Counts(NamedTuple):
    """What one example costs: operations, and bytes that a graph keeps (in float32)."""

    forward: float = 0.0
    gradient: float = 0.0  # the forward pass included
    product: float = 0.0  # a Hessian product, all included
    kept_by_gradient: float = 0.0
    kept_by_product: float = 0.0


class Operations(TorchDispatchMode):
    """Counts operations inside, in ``total``, by PyTorch's own formulas.

    PyTorch's ``FlopCounterMode`` also tells modules apart, and cannot do so where one is
    handed a parameter of another, as the layers of a Transformer-XL are.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def count(model: nn.Module, objective: Callable, batch, examples: int) -> Counts:
    """Count what the objective costs on a batch of so many examples, for one of them.

    All tensors may lie on the ``meta`` device. A linear layer of n inputs and m
    outputs has 2 n m operations forward, as many for the gradient of the weights,
    and as many again for that of the inputs where these need one:

    >>> counts = count(nn.Linear(3, 5), lambda model, x: model(x).sum(), torch.ones(4, 3), 4)
    >>> counts.forward, counts.gradient
    (30.0, 60.0)
    """
    parameters = trainable(model)
    vector = parameters[0].new_zeros(count_entries(parameters))
    with Operations() as once, _kept(parameters) as kept:
        loss = objective(model, batch)
        forward = once.total
        gradients(loss, parameters)
    with Operations() as twice, _kept(parameters) as kept_twice:
        hessian_product(objective(model, batch), parameters, vector)
    kept, kept_twice = (sum(s.nbytes() for s in found.values()) for found in (kept, kept_twice))
    totals = (forward, once.total, twice.total, kept, kept_twice)
    return Counts(*(total / examples for total in totals))


@contextlib.contextmanager
def _kept(parameters: list[Tensor]):
    """Collect the storages that graphs keep for derivatives, but for the parameters'."""
    own, kept = {p.untyped_storage()._cdata for p in parameters}, {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def net(settings, words: int = 0, device="meta") -> nn.Module:
    """Return the settings' model, without numbers where the device is ``meta``."""
    data = DATA[settings.dataset]
    like = SimpleNamespace(vocabulary=range(words or data.classes), **dataclasses.asdict(data))
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return nets.build(settings, like).train()


def _ways(settings, device, words: int = 0) -> tuple[nn.Module, tuple]:
    """Return the net, and what it computes in training, then in a measurement.

    Each is a loss with a random batch for it, that of a text with a full memory or context.
    """
    model, objective = net(settings, words, device), loop.measured_loss(settings)
    size, data = settings.batch_size, DATA[settings.dataset]
    with torch.random.fork_rng(devices=[]):
        if isinstance(settings, Training):
            side = settings.image_size if settings.dataset == "imagenet" else data.size
            images = torch.randn(size, data.channels, side, side, device=device)
            way = objective, (images, torch.randint(data.classes, (size,), device=device))
            return model, (way, way)
        logarithms = torch.rand(size, settings.segment) * math.log(words or data.classes)
        tokens = logarithms.double().exp().long().sub(1).to(device)  # Zipf's law
        memory = torch.randn(
            settings.layers, size, settings.memory, settings.width, device=device
        )
    training = (lambda model, batch: model(*batch)[0].mean()), (tokens, tokens, memory)
    context = tokens.repeat(1, settings.measure_context)
    return model, (training, (objective, (context, tokens, tokens)))


def counted(settings, words: int = 0) -> tuple[Counts, Counts]:
    """Count what an example costs in training, and what it costs in a measurement.

    An example is an image, or a segment of text. ``words`` is the size of the vocabulary,
    where the text at hand has another than the whole dataset.
    """
    shape = {name: getattr(settings, name) for name in SHAPE[type(settings)]}
    few = {"epochs": 1, "learning_rate": 1.0, "batch_size": 2}  # one cannot be normalised
    return _counted(type(settings)(**few | shape), words)


@cache
def _counted(settings, words: int) -> tuple[Counts, Counts]:
    model, ways = _ways(settings, "meta")
    if isinstance(settings, LanguageTraining):
        model.vocabulary = _NoVocabulary(settings.width)
    counts = [count(model, *way, settings.batch_size) for way in dict.fromkeys(ways)]
    if isinstance(settings, LanguageTraining):
        operations, scores = _words(settings, words or DATA[settings.dataset].classes)
        each = np.array([operations, 3 * operations, 9 * operations, 4 * scores, 8 * scores])
        counts = [Counts(*np.add(one, settings.segment * each)) for one in counts]
    return counts[0], counts[-1]


class _NoVocabulary(nn.Module):
    """Stands in for a vocabulary, whose cost depends on the words: see :func:`_words`."""

    def __init__(self, width: int):
        super().__init__()
        self.row = nn.Parameter(torch.empty(width, device="meta"))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.row.expand(*tokens.shape, -1) * 1.0

    def losses(self, states: Tensor, targets: Tensor) -> Tensor:
        return states.square().sum(1)


def _words(settings: LanguageTraining, size: int) -> tuple[float, float]:
    """Return the operations of the vocabulary for one token, and the scores it computes.

    A gradient needs three times as many operations, a Hessian product nine times. Tokens are
    held to follow Zipf's law, which overrates rare ones.
    """
    edges = [0, *settings.cutoffs, size]
    first = edges[1] + len(settings.cutoffs)
    operations, scores = 2.0 * settings.width * first, float(first)
    for place, (begin, end) in enumerate(itertools.pairwise(edges[1:]), start=1):
        share = math.log((end + 1) / (begin + 1)) / math.log(size + 1)
        width = max(settings.width // settings.divisor**place, 1)
        operations += share * 2 * width * (end - begin)
        if width < settings.width:  # the projections of embedding and of softmax
            operations += share * 4 * width * settings.width
        scores += share * (end - begin)
    return operations, scores


def timed(settings, device="cpu", path="float32", words: int = 0) -> tuple[Counts, Counts]:
    """Time an example in training and in a measurement on this machine, in seconds.

    The net is the settings' own with random data; each kind of pass is repeated for a
    moment, and the shortest counts. Making the batches is left out. ``path`` is the way
    of the training step that run.json states; ``words`` as in :func:`counted`. On a CPU it
    is the time of one thread, which does not depend on what else the machine does.
    """
    model, ((loss, trained), (objective, batch)) = _ways(settings, device, words)
    parameters = trainable(model)
    optimizer = torch.optim.SGD(parameters, 0.0, momentum=settings.momentum)
    vector = torch.randn(count_entries(parameters), device=device)

    def step():
        optimizer.zero_grad(set_to_none=True)
        precision.computed(loss, model, trained, path).backward()
        optimizer.step()

    passes = (
        lambda: torch.no_grad()(loss)(model, trained), step,
        lambda: torch.no_grad()(objective)(model, batch),
        lambda: gradients(objective(model, batch), parameters),
        lambda: hessian_product(objective(model, batch), parameters, vector),
    )  # fmt: skip
    with threads(1):
        times = [_shortest(one, device) / settings.batch_size for one in passes]
    return Counts(*times[:2]), Counts(*times[2:])


def _shortest(call: Callable, device) -> float:
    """Return the seconds of one call, the shortest of a few."""
    cuda, times, begin = torch.device(device).type == "cuda", [], time.monotonic()
    clock = time.perf_counter if cuda else time.process_time
    while len(times) < 2 or time.monotonic() - begin < PATIENCE:
        start = clock()
        call()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times)
