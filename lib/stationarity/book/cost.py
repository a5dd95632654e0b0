"""Time, memory, disk and money that a run needs: those of a run that exists, or estimated.

A training run's operations are those of matrix products and convolutions (a multiplication
and an addition are two), counted without numbers; a study's time is that of a recorded run,
times the ratio of the steps. Source: our section "Running at full size".
"""

import itertools
import math
import re
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import flop_registry

from ..chapters.sizes import count_entries, data_of, net, steps_per_epoch
from ..measure import double_backward
from ..measure.derivatives import gradients, hessian_product, trainable
from ..measure.state import setting
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS, Settings
from ..train import directions, loop, precision
from ..train.settings import AnyTraining, LanguageTraining, Training
from . import verdicts
from .results import stale

GRADIENTS = 26  # of the size of the weights, that a measurement holds: see stationarity.measure
EACH = 4  # Hessian products that one of many directions takes, about
UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))
PATIENCE = 0.3  # seconds that one kind of pass is timed, and that an example may take
COUNTED = {  # settings of a run on images that decide what an example costs
    "dataset", "model", "classes", "width", "blocks", "batch_norm", "hidden", "image_size",
    "loss",
}  # fmt: skip
as_measured = setting(*double_backward.changes())  # products' second derivatives


class Work(NamedTuple):
    """What a training run computes: operations in training and in measuring."""

    steps: int  # taken one after another
    training: float
    measuring: float = 0.0
    images: float = 0.0  # read from files
    total = property(lambda self: self.training + self.measuring)  # of all operations


class Machine(NamedTuple):
    """What one device does a second, and its price in dollars an hour."""

    training: float  # operations a second in training
    measuring: float  # the same in measuring: float32, in GPUs without TF32
    step_seconds: float  # a step takes at least so long, whatever its size
    images: float = math.inf  # images that its CPU cores decode a second
    dollars: float = 0.0


def seconds(task: Work, machine: Machine, devices: int = 1) -> float:
    """Return how long some work takes on so many devices, which share it evenly."""
    steps = max(task.training / machine.training / devices, task.steps * machine.step_seconds)
    computed = steps + task.measuring / machine.measuring / devices
    return max(computed, task.images / machine.images / devices)


def work(settings: AnyTraining, products=None, costs: tuple = ()) -> Work:
    """Return the work of a training run and of its measurements; following is left out.

    ``products``: Hessian products of one sharpness, else those of the settings; ``costs``:
    of an example, as from :func:`counted` or, in seconds, :func:`timed`.
    """
    data, batch = data_of(settings), settings.batch_size
    few = settings.sharpness_batches * batch
    products = settings.sharpness_products if products is None else products
    counts, measured = costs or counted(settings)
    examples, tests, further = settings.measure_batches * batch, data.tests, 0.0
    if isinstance(settings, LanguageTraining):
        tests = data.tests / settings.segment
        # A step's batch once more with the memory that training kept, and with one made anew.
        further = batch * 2 * measured.gradient
    if settings.measure_on == "partition":
        examples = data.examples * min(steps_per_epoch(settings), 2)
        few = min(few, data.examples)
    once = examples * measured.gradient + tests * counts.forward + further
    # The products, with that along the gradient, are of one graph, which is kept.
    each = measured.product - measured.gradient
    curvature = few * (measured.gradient + (products + 1) * each)
    curvature += min(few, batch) * measured.forward  # one batch is asked for its loss again
    steps, every = settings.epochs * steps_per_epoch(settings), settings.measure_every
    often = len(range(0, settings.epochs, every)) + 1 if every else 0  # at the end, too
    measuring = often * once + len(range(0, often, settings.sharpness_every)) * curvature
    # Each ends with the losses before a step and after it, but for the last.
    measuring += (2 * often - min(often, 1)) * few * measured.forward
    images = steps * batch + often * (examples + few + tests)
    if settings.followed_epochs:
        few, noise = (n * batch for n in (settings.direction_batches, settings.noise_batches))
        directed = min(EACH * settings.directions, settings.direction_products)
        measuring += few * (measured.gradient + directed * each) + noise * measured.gradient
        images += few + noise
    decoded = images if settings.dataset == "imagenet" else 0.0
    return Work(steps, steps * batch * counts.gradient, measuring, decoded)


def room(settings: Settings, devices: int = 1) -> tuple[float, float]:
    """Return the bytes on disk, and those that each device needs at its fullest moment.

    On disk: the data, three checkpoints (one in writing), what following leaves; on a
    device: weights, moments, gradients, what following holds, and a product's graph.
    """
    files = data_of(settings).gigabytes * 1e9 if hasattr(settings, "dataset") else 0.0
    if not isinstance(settings, AnyTraining):
        return files, 0.0
    item = 8 if settings.precision == "float64" else 4
    size = item * count_entries(net(settings).parameters())
    moments = 2 if settings.optimizer == "adam" else int(settings.momentum > 0)
    on_disk, copies = directions.copies_of_weights(settings)
    held = GRADIENTS + copies + 2 * (settings.observe_every > 0)  # random directions
    if settings.followed_epochs:
        held = max(held, 6 * settings.directions + 40)  # of measure.sharpness
    _, measured = counted(settings)
    graph = max(measured.kept_by_gradient, measured.kept_by_product) * item / 4
    disk = files + (3 * (1 + moments) + on_disk) * size
    return disk, (1 + moments + held) * size + graph * settings.batch_size / devices


def table(scale: str, machine: Machine, devices: int = 1) -> pd.DataFrame:
    """Return what each experiment needs at a scale, a row an experiment.

    The time is that of a run where there is one. Else training takes the rate of the longest
    run of this scale with the same kind of model and data, or the machine's; a study that of
    its run at the largest scale, by the steps. Only training uses more than one device.
    """
    chosen = {name: scales[scale] for name, scales in EXPERIMENTS.items() if scale in scales}
    works = {name: work(s) for name, s in chosen.items() if isinstance(s, AnyTraining)}
    kinds = {n: (type(chosen[n]), chosen[n].model, chosen[n].dataset) for n in works}
    made = {
        name: {run.scale: run for run in verdicts.existing_runs(name) if not stale(run)}
        for name in chosen
    }
    known = {n: runs[scale].info["wall_seconds"] for n, runs in made.items() if scale in runs}
    donors = (n for n in known.keys() & works if not chosen[n].followed_epochs)  # uncounted
    longest = {kinds[name]: name for name in sorted(donors, key=known.get)}
    rows = {}
    for name, settings in chosen.items():
        task, used = works.get(name), devices if name in works else 1
        if name in known:
            took, source = known[name], f"run, {made[name][scale].info['device']}"
        elif like := longest.get(kinds.get(name)):
            took, source = task.total * known[like] / works[like].total, f"rate of {like}"
        elif task:
            took, source = seconds(task, machine, used), "assumed rate"
        elif made[name]:
            *_, run = made[name].values()
            took = run.info["wall_seconds"] * settings.total_steps / run.settings.total_steps
            source = f"steps of the {run.scale} run"
        else:
            took, source = math.nan, "no run yet"
        disk, memory = room(settings, used)
        rows[name] = {
            "time": spoken(took),
            "from": source,
            "operations": f"{task.total:.1e}" if task else "-",
            "measuring": f"{task.measuring / task.total:.0%}" if task else "-",
            "disk (GB)": _rounded(disk / 1e9),
            "memory (GB)": _rounded(memory / 1e9) if task else "-",
            "price ($)": _rounded(took / 3600 * used * machine.dollars),
        }
    return pd.DataFrame(rows).T.rename_axis(columns="experiment")


def _rounded(value: float) -> str:
    told = "< 0.1" if 0 < value < 0.1 else f"{value:.2g}" if value < 10 else f"{value:,.0f}"
    return "?" if math.isnan(value) else told


def spoken(duration: float) -> str:
    """Return a duration in seconds in the unit that suits it.

    >>> spoken(5400), spoken(200_000), spoken(math.nan)
    ('1.5 h', '2.3 days', '?')
    """
    if math.isnan(duration):
        return "?"
    number, unit = next(((duration / s, u) for s, u in UNITS if duration >= s), (duration, "s"))
    return f"{number:.2g} {unit}" if number < 10 else f"{number:.0f} {unit}"


def checked(run: Run, words: int = 0) -> dict:
    """Predict a run's time on this machine, beside the true one: threads share without loss."""
    settings, took = run.settings, run.info["wall_seconds"]
    products = run.series("sharpness_products").value.mean() if settings.measure_every else 0
    parts = timed(settings, path=run.info.get("path", "float32"), words=words)
    operations = work(settings, products, counted(settings, words)).total
    threads = re.search(r"(\d+) thread", run.info["device"])
    here = work(settings, products, parts).total / int(threads[1] if threads else 1)
    row = {"run": f"{run.name}, {run.label}", "hardware": run.info["device"]}
    row |= {"operations": operations, "a second": operations / took, "took (s)": took}
    return row | {"predicted (s)": here, "ratio": here / took}


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


@as_measured
def count(model: nn.Module, objective: Callable, batch, examples: int) -> Counts:
    """Count what an objective costs an example of a batch, which may be on ``meta``."""
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
    return Counts(*(n / examples for n in (forward, gradient, done.total, by_gradient, kept())))


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
    kind = Training if images else type(settings)  # what differs in its class alone is alike
    decisive = COUNTED if images else kind.model_fields.keys() - AnyTraining.model_fields
    alike = dict.fromkeys(kind.model_fields.keys() - decisive) | {"seed": 0}
    alike["batch_size"] = 2 if images else settings.batch_size  # one cannot be normalised
    return _counted(kind.model_construct(**dict(settings) | alike), words)


@cache
def _counted(settings, words: int) -> tuple[Counts, Counts]:
    model, ways = _ways(settings, "meta")
    if isinstance(settings, Training):
        return (count(model, *ways[0], settings.batch_size),) * 2
    vocabulary = model.vocabulary  # its cost depends on the words: it is added below
    vocabulary.embed = lambda tokens: 1.0 * vocabulary.tables[0][0].expand(*tokens.shape, -1)
    vocabulary.losses = lambda states, targets: states.square().sum(1)
    operations, scores = _words(settings, words or data_of(settings).classes)
    each = settings.segment * np.multiply([operations] * 3 + [scores] * 2, [1, 3, 9, 4, 8])
    return tuple(Counts(*np.add(count(model, *way, settings.batch_size), each)) for way in ways)


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

    The shortest of a few times, on a CPU of one thread; that of two examples where these take
    long (bfloat16 on many a CPU). ``path`` is as in run.json, ``words`` as in :func:`counted`.
    """
    how, each = {"timer": time.process_time} if torch.device(device).type == "cpu" else {}, []
    ways = (settings.model_copy(update={"batch_size": n}) for n in (2, settings.batch_size))
    for pair in zip(*(_passes(way, device, path, words) for way in ways)):
        few, whole = (Timer("one()", globals={"one": p}, num_threads=1, **how) for p in pair)
        took = few.timeit(1).mean / 2  # which pays for what is made once, too
        if took < PATIENCE:
            times = whole.blocked_autorange(min_run_time=PATIENCE).times
            took = min(times) / settings.batch_size
        each.append(took)
    return Counts(*each[:2]), Counts(*each[2:])


def _passes(settings, device, path: str, words: int) -> list[Callable]:
    """Return training's forward pass and step, and a measurement's three kinds of passes."""
    model, ((loss, trained), (objective, measured)) = _ways(settings, device, words)
    parameters = trainable(model)
    vector = torch.ones(count_entries(parameters), device=device)
    optimizer = torch.optim.SGD(parameters, 0.0, momentum=settings.momentum)

    def step():
        optimizer.zero_grad(set_to_none=True)
        precision.computed(loss, model, trained, path).backward()
        optimizer.step()

    def slopes(create_graph: bool = True) -> tuple:
        return gradients(objective(model, measured), parameters, create_graph=create_graph)

    return [
        lambda: torch.no_grad()(loss)(model, trained),
        step,
        lambda: torch.no_grad()(objective)(model, measured),
        lambda: slopes(create_graph=False),
        as_measured(lambda: hessian_product(slopes(), parameters, vector)),
    ]
