"""Time, memory, disk and money that a run needs: those of a run that exists, or estimated.

Source: our section "Running at full size".
"""

import math
import re
from typing import NamedTuple

import pandas as pd

from ..chapters.sizes import count_entries, data_of, net, steps_per_epoch
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS, Settings
from ..train import directions
from ..train.settings import AnyTraining, LanguageTraining
from . import counting, verdicts
from .results import stale

GRADIENTS = 26  # of the size of the weights, that a measurement holds: see stationarity.measure
EACH = 4  # Hessian products that one of many directions takes, about
UNITS = ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))


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
    of an example, as from :func:`counting.counted` or, in seconds, :func:`counting.timed`.
    """
    data, batch = data_of(settings), settings.batch_size
    few = settings.sharpness_batches * batch
    products = settings.sharpness_products if products is None else products
    counts, measured = costs or counting.counted(settings)
    examples, tests, further = settings.measure_batches * batch, data.tests, 0.0
    if isinstance(settings, LanguageTraining):
        tests = data.tests / settings.segment
        # A step's batch once more with the memory that training kept, and with one made anew.
        further = batch * 2 * measured.gradient
    if settings.measure_on == "partition":
        examples = data.examples * min(steps_per_epoch(settings), 2)
        few = min(few, data.examples)
    # Each ends with the losses before a step and after it, but for the last.
    # The products, with that along the gradient, are of one graph, which is kept.
    each = measured.product - measured.gradient
    curvature = few * (measured.gradient + (products + 1) * each + 2 * measured.forward)
    curvature += min(few, batch) * measured.forward  # one batch is asked for its loss again
    once = examples * measured.gradient + curvature + tests * counts.forward + further
    per_epoch = steps_per_epoch(settings)
    steps, every = settings.epochs * per_epoch, settings.measure_every * per_epoch
    often = len(range(0, steps, every)) + 1 if every else 0  # at the end, too
    measuring = often * once - min(often, 1) * few * measured.forward
    images = steps * batch + often * (examples + few + tests)
    if settings.followed_epochs:
        few, noise = (n * batch for n in (settings.direction_batches, settings.noise_batches))
        directed = min(EACH * settings.directions, settings.direction_products)
        measuring += few * (measured.gradient + directed * each) + noise * measured.gradient
        images += few + noise
    images = images if settings.dataset == "imagenet" else 0.0
    return Work(steps, steps * batch * counts.gradient, measuring, images)


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
    held = GRADIENTS + copies
    if settings.followed_epochs:
        held = max(held, 6 * settings.directions + 40)  # of measure.sharpness
    _, measured = counting.counted(settings)
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
    longest = {kinds[name]: name for name in sorted(known.keys() & works, key=known.get)}
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
            "time": spoken(took), "from": source,
            "operations": f"{task.total:.1e}" if task else "-",
            "measuring": f"{task.measuring / task.total:.0%}" if task else "-",
            "disk (GB)": _rounded(disk / 1e9),
            "memory (GB)": _rounded(memory / 1e9) if task else "-",
            "price ($)": _rounded(took / 3600 * used * machine.dollars),
        }  # fmt: skip
    return pd.DataFrame(rows).T.rename_axis(columns="experiment")


def _rounded(value: float) -> str:
    if math.isnan(value):
        return "?"
    return "< 0.1" if 0 < value < 0.1 else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def spoken(duration: float) -> str:
    """Return a duration in seconds in the unit that suits it.

    >>> spoken(5400), spoken(200_000), spoken(math.nan)
    ('1.5 h', '2.3 days', '?')
    """
    if math.isnan(duration):
        return "?"
    size, unit = next(((s, u) for s, u in UNITS if duration >= s), UNITS[-1])
    number = duration / size
    return f"{number:.2g} {unit}" if number < 10 else f"{number:.0f} {unit}"


def checked(run: Run, device="cpu", words: int = 0) -> dict:
    """Predict a run's time on this machine, beside the true one: threads share without loss."""
    settings, took = run.settings, run.info["wall_seconds"]
    products = run.series("sharpness_products").value.mean() if settings.measure_every else 0
    parts = counting.timed(settings, device, run.info.get("path", "float32"), words)
    operations = work(settings, products, counting.counted(settings, words)).total
    threads = re.search(r"(\d+) thread", run.info["device"])
    here = work(settings, products, parts).total / int(threads[1] if threads else 1)
    return {
        "run": f"{run.name}, {run.label}", "hardware": run.info["device"],
        "operations": operations, "a second": operations / took, "took (s)": took,
        "predicted (s)": here, "ratio": here / took,
    }  # fmt: skip
