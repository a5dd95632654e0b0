"""Time, memory, disk and money that an experiment needs: measured, or estimated.

Source: our section "Running at full size".
"""
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch

from .. import experiments, measure
from ..data import text
from ..launch import threads
from ..measure.derivatives import count_entries, gradients, hessian_product, trainable
from ..runs.records import Run
from ..runs.results import stale
from ..train import directions, loop
from ..train.settings import LanguageTraining, Training
from . import claims, costs, work
from .costs import DATA, Counts

GRADIENTS = 26  # of the size of the weights, that a measurement holds: see stationarity.measure
PATIENCE = 0.3  # seconds that one kind of pass is timed
UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Machine:
    """What one device does a second, and its price in dollars an hour."""

    training: float  # operations a second in training
    measuring: float  # the same in measuring: float32, in GPUs without TF32
    step_seconds: float  # a step takes at least so long, whatever its size
    images: float = math.inf  # images that its CPU cores decode a second
    dollars: float = 0.0


def seconds(task: work.Work, machine: Machine, devices: int = 1) -> float:
    """Return how long some work takes on so many devices, which share it evenly.

    >>> task = work.Work(steps=1000, training=4e15, measuring=1e15)
    >>> seconds(task, Machine(training=1e14, measuring=1e13, step_seconds=1e-3))
    140.0
    """
    steps = max(task.training / machine.training / devices, task.steps * machine.step_seconds)
    computed = steps + task.measuring / machine.measuring / devices
    return max(computed, task.images / machine.images / devices)


def memory(settings, devices: int = 1) -> float:
    """Return the bytes that each device of a training run needs, at its fullest moment.

    Weights, moments of the optimiser, gradients that a measurement holds, what following
    the weights holds, or their directions took, and what the graph of a Hessian product
    keeps for a device's part of a batch, in float32.
    """
    size = count_entries(costs.net(settings).parameters())
    _, measured = costs.counted(settings)
    graph = max(measured.kept_by_gradient, measured.kept_by_product)
    item = 8 if settings.precision == "float64" else 4
    held = item * size * GRADIENTS
    if settings.followed_epochs:
        held = max(
            held + directions.memory(settings, size, item),
            item * size * (6 * settings.directions + 40),  # as of measure.sharpness
        )
    weights = item * size * (1 + _moments(settings))
    return weights + held + item / 4 * graph * settings.batch_size / devices


def _moments(settings) -> int:
    """Return how many moments of the weights the optimiser keeps."""
    return 2 if settings.optimizer == "adam" else int(settings.momentum > 0)


def disk(settings) -> float:
    """Return the bytes of the data and, for a training run, of what it keeps.

    Two checkpoints are kept, and a third is there while it is written.
    """
    files = DATA[settings.dataset].gigabytes * 1e9 if hasattr(settings, "dataset") else 0.0
    if not isinstance(settings, Training | LanguageTraining):
        return files
    size = count_entries(costs.net(settings).parameters())
    item = 8 if settings.precision == "float64" else 4
    followed = directions.disk(settings, size, item)
    return files + 3 * item * size * (1 + _moments(settings)) + followed


def table(scale: str, machine: Machine, devices: int = 1) -> pd.DataFrame:
    """Return what each experiment needs at a scale, a row an experiment.

    The time is that of a run where there is one. Else it is estimated by the rate of the
    longest run of this scale with the same kind of model and data, and without one by
    that of the machine. Only training runs use more than one device.
    """
    chosen = {
        name: scales[scale] for name, scales in experiments.EXPERIMENTS.items() if scale in scales
    }
    tasks = {name: work.of(settings) for name, settings in chosen.items()}
    totals = {name: task.training + task.measuring for name, task in tasks.items()}
    runs = {name: _run(name, scale) for name in chosen}
    known = {name: run.info["wall_seconds"] for name, run in runs.items() if run}
    rates = {
        _kind(chosen[name]): (totals[name] / known[name], name)
        for name in sorted(known, key=known.get)  # of a kind the longest stays
    }
    rows = {}
    for name, settings in chosen.items():
        trains = isinstance(settings, Training | LanguageTraining)
        used = devices if trains else 1
        if runs[name]:
            took, source = runs[name].info["wall_seconds"], f"run, {runs[name].info['device']}"
        elif _kind(settings) in rates:
            rate, like = rates[_kind(settings)]
            took, source = totals[name] / rate, f"rate of {like}"
        else:
            took, source = seconds(tasks[name], machine, used), "assumed rate"
        rows[name] = {
            "time": spoken(took), "from": source, "operations": f"{totals[name]:.1e}",
            "measuring": f"{tasks[name].measuring / totals[name]:.0%}",
            "disk (GB)": _rounded(disk(settings) / 1e9),
            "memory (GB)": _rounded(memory(settings, used) / 1e9) if trains else "-",
            "price ($)": _rounded(took / 3600 * used * machine.dollars),
        }  # fmt: skip
    return pd.DataFrame(rows).T.rename_axis(columns="experiment")


def _run(name: str, scale: str) -> Run | None:
    """Return a run of an experiment with the settings that the book has, if there is one."""
    found = (run for run in claims.existing_runs(name) if run.scale == scale)
    return next((run for run in found if not stale(run)), None)


def _kind(settings) -> tuple:
    return type(settings), getattr(settings, "model", ""), getattr(settings, "dataset", "")


def _rounded(value: float) -> str:
    return "< 0.1" if 0 < value < 0.1 else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def spoken(duration: float) -> str:
    """Return a duration in seconds in the unit that suits it.

    >>> spoken(5400), spoken(200_000)
    ('1.5 h', '2.3 days')
    """
    size, unit = next(((s, u) for s, u in UNITS if duration >= s), (1, "s"))
    return f"{duration / size:.2g} {unit}" if duration / size < 10 else (
        f"{duration / size:.0f} {unit}"
    )


def timed(settings, device="cpu", path="float32", words=0) -> tuple:
    """Time an example in training and in a measurement on this machine, in seconds.

    The net is the settings' own with random data; each kind of pass is repeated for a
    moment, and the shortest counts. Making the batches is left out. ``path`` is the way
    of the training step that run.json states; ``words`` as in
    :func:`stationarity.book.costs.counted`. On a CPU it is the time of one thread, which does
    not depend on what else the machine does.
    """
    model, batch, memory = _random(settings, torch.device(device), words)
    parameters = trainable(model)
    optimizer = torch.optim.SGD(parameters, 0.0, momentum=settings.momentum)
    vector = torch.randn(count_entries(parameters), device=device)
    if isinstance(settings, LanguageTraining):
        objective, trained = text.next_token_loss, batch[1:]

        def loss(model, batch):
            return model(*batch, memory)[0].mean()
    else:
        loss = objective = measure.LOSSES[settings.loss]
        trained = batch

    def step():
        found = loop._computed(loss, model, trained, path)
        optimizer.zero_grad(set_to_none=True)
        found.backward()
        optimizer.step()

    def forward(loss, batch):
        with torch.no_grad():
            loss(model, batch)

    def measured():
        return objective(model, batch)

    passes = (
        lambda: forward(loss, trained), step, lambda: forward(objective, batch),
        lambda: gradients(measured(), parameters),
        lambda: hessian_product(measured(), parameters, vector),
    )  # fmt: skip
    with threads(1):
        found = [_shortest(one, device) / settings.batch_size for one in passes]
    return Counts(*found[:2]), Counts(*found[2:])


def _random(settings, device, words: int) -> tuple:
    """Return the net with a batch of random data, and with a full memory for a text."""
    data, size = DATA[settings.dataset], settings.batch_size
    with torch.random.fork_rng(devices=[]):
        model = costs.net(settings, words, device)
        if not isinstance(settings, LanguageTraining):
            side = settings.image_size if settings.dataset == "imagenet" else data.size
            images = torch.randn(size, data.channels, side, side, device=device)
            return model, (images, torch.randint(data.classes, (size,), device=device)), None
        logarithms = torch.rand(size, settings.segment) * math.log(words or data.classes)
        tokens = logarithms.double().exp().long().sub(1).to(device)  # Zipf's law
        context = tokens.repeat(1, settings.measure_context)
        shape = (settings.layers, size, settings.memory, settings.width)
        return model, (context, tokens, tokens), torch.randn(shape, device=device)


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


def checked(run: Run, device="cpu", words: int = 0) -> dict:
    """Predict how long a run takes on this machine, beside how long it took.

    The threads of a CPU are held to share the work without loss. Raises
    :class:`UsageError` where the run's settings are of another version.
    """
    settings = experiments.of_run(run.settings)
    products = run.series("sharpness_products").value.mean() if settings.measure_every else 0
    parts = timed(settings, device, run.info.get("path", "float32"), words)
    predicted = work.of_training(settings, products, parts)
    counted = work.of_training(settings, products, costs.counted(settings, words))
    threads = re.search(r"(\d+) thread", run.info["device"])
    here = (predicted.training + predicted.measuring) / int(threads[1] if threads else 1)
    took, operations = run.info["wall_seconds"], counted.training + counted.measuring
    return {
        "run": f"{run.name}, {run.label}", "hardware": run.info["device"],
        "operations": operations, "a second": operations / took, "took (s)": took,
        "predicted (s)": here, "ratio": here / took,
    }  # fmt: skip
