"""Cost of the training loop, of measuring while training, and of several processes.

    python benchmarks/training.py [--device DEVICE] [--only PART ...] [--steps 100]

loop: the library's loop (records, progress, checkpoints) over a bare PyTorch loop with
the same model, precision and batches, in turns of a few steps (at most 1.03).
measuring: measurements over training, at the intervals of the scales (at most 0.25).
rate: images a second on the path that training takes, over a plain float32 loop; on a
GPU also the share of its bfloat16 matrix rate, measured beside it.
following: steps with the weights followed along 30 directions over bare steps (at most
1.10), batch 128.
processes: two processes over one on the CPU, with the same global batch.

Turns are interleaved and their medians compared, so a ratio survives a busy machine.
Images are noise: nothing here depends on what they show. About five minutes on two free
cores; with a GPU about as long, ResNet-101 at 224 included.
"""

import argparse
import copy
import os
import tempfile
from pathlib import Path
from statistics import median
from unittest import mock

import stationarity
import torch
from gpu_clock import now, once
from gpu_rates import product_seconds
from stationarity import data, measure, nets
from stationarity.book import cost
from stationarity.chapters.sizes import steps_per_epoch
from stationarity.data.images import Batches
from stationarity.runs import provenance, records
from stationarity.runs.checkpoints import Keeper, Place
from stationarity.runs.settings import get
from stationarity.train import loop as train
from stationarity.train import precision, trajectory
from torch.nn import functional

TURN = 2  # steps
CASES = {  # model, batch size, width and height of an image
    "cpu": [("cifar_resnet", 128, 32)],
    "cuda": [("cifar_resnet", 128, 32), ("resnet101", 256, 224)],
}


class Noise:
    """One batch of noise, again and again; ``between`` is called every few steps."""

    name, channels, dtype, provenance = "noise", 3, torch.float32, {"source": "noise"}

    def __init__(self, settings, size: int, steps: int, device: str, between=None):
        self.settings, self.size, self.steps_per_epoch = settings, size, steps
        self.device, self.count = torch.device(device), steps * settings.batch_size
        self.classes, self.between = 1000 if size > 32 else 10, between
        self.batch = (
            torch.randn(settings.batch_size, 3, size, size, device=device),
            torch.randint(self.classes, (settings.batch_size,), device=device),
        )

    def training_batches(self, first: int, last: int):
        for step in range(first, last):
            if self.between and step % TURN == 0 and last > 2:  # else it is a trial
                self.between()
            yield self.batch

    def draws(self, count: int, *key) -> Batches:
        return Batches(count, lambda: (self.batch for _ in range(count)))

    def test_batches(self):
        return iter(())


SETTINGS = {  # of a model: an experiment and its scale
    "cifar_resnet": ("cifar10_resnet", "single-gpu"),
    "resnet101": ("imagenet_resnet", "paper"),
}


def settings_of(model: str, size: int, batch_size: int, **changes):
    changes = {"batch_size": batch_size, "measure_every": 0} | changes
    return get(*SETTINGS[model], changes | {"epochs": 1, "drops": ()})


class BareLoop:
    """The fewest lines that train: turns of a few steps."""

    def __init__(self, dataset: Noise, path: str):
        way = precision.PATHS[path]
        self.model = nets.build(dataset.settings, dataset).to(dataset.device)
        self.model.to(memory_format=way.memory_format)
        self.stepping = torch.compile(self.model) if way.compiled else self.model
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4
        )
        self.way, self.dataset = way, dataset

    def turn(self) -> float:
        """Take the steps of a turn; return its seconds."""
        start, kind = now(self.dataset.device), self.dataset.device.type
        for _ in range(TURN):
            images, labels = self.dataset.batch
            images = images.contiguous(memory_format=self.way.memory_format)
            with torch.autocast(kind, self.way.autocast, enabled=self.way.autocast is not None):
                loss = functional.cross_entropy(self.stepping(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return now(self.dataset.device) - start


def loop(device: str, steps: int) -> None:
    print("loop: the library's over a bare one (at most 1.03)")
    for case in CASES[device]:
        _loop(device, steps, *case)


def _loop(device: str, steps: int, model: str, batch_size: int, size: int) -> None:
    path = fastest_path(model, batch_size, size, device)
    settings = settings_of(model, size, batch_size, precision=path)
    ours, bare = [], []
    dataset = Noise(settings, size, steps, device)
    other = BareLoop(dataset, path)
    started = None

    def between():
        nonlocal started
        if started is not None:
            ours.append(now(dataset.device) - started)
        bare.append(other.turn())
        started = now(dataset.device)

    dataset.between = between
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(data, "load", lambda *_, **__: dataset),
    ):
        info = records.new_info("benchmark", "single-gpu", settings, "none", device)
        keeper = Keeper(Path(folder), info, 30.0, device)
        train.train(settings, Place(device=device, keeper=keeper))
    # The first turns warm up; the mean of what is left of ours holds a checkpoint.
    ratio = median(ours[2:]) / median(bare[2:])
    mean = sum(ours[2:]) / sum(bare[2 : len(ours)])
    print(
        f"   {model}, batch {batch_size}, {path}: {ratio:.3f} (of means {mean:.3f}), "
        f"{1e3 * median(bare[2:]) / TURN:.1f} ms a bare step, {len(ours) - 2} turns"
    )


def fastest_path(model: str, batch_size: int, size: int, device: str) -> str:
    settings = settings_of(model, size, batch_size)
    dataset = Noise(settings, size, 1, device)
    net = nets.build(settings, dataset).to(device)
    return precision.fastest(net, train.loss_of(settings), dataset)


def measuring(device: str, _steps: int) -> None:
    print("measuring: over training, at the interval of the scale (at most 0.25)")
    for case in CASES[device]:
        _measuring(device, *case)


def _measuring(device: str, model: str, batch_size: int, size: int) -> None:
    path = fastest_path(model, batch_size, size, device)
    settings = settings_of(model, size, batch_size, precision=path)
    dataset = Noise(settings, size, 1, device)
    bare = BareLoop(dataset, path)
    net = copy.deepcopy(bare.model)
    count = 2 if device == "cpu" else 40

    def gradient():
        drawn = dataset.draws(count)
        measure.gradient_statistics(net, measure.cross_entropy, drawn)

    times = {gradient: [], bare.turn: []}
    for _ in range(4):
        for call, record in times.items():
            record.append(once(call, dataset.device))
    given = net, measure.cross_entropy, [dataset.batch], dataset.device
    products = [product_seconds(*given) for _ in range(1 if device == "cpu" else 4)]
    step = median(times[bare.turn][1:]) / TURN
    batch = median(times[gradient][1:]) / count / step
    first, further, _ = (median(taken) / step for taken in zip(*products[-3:]))
    print(
        f"   {model}, {path}: a measured batch costs {batch:.1f} steps, a first product "
        f"{first:.1f}, a further one {further:.1f}"
    )
    chosen = get(*SETTINGS[model])
    interval = chosen.measure_every * steps_per_epoch(chosen)
    few = chosen.sharpness_batches
    passes = chosen.measure_batches * batch
    passes += few * (first + chosen.sharpness_products * further + 2 * batch / 3)
    print(
        f"   {chosen.dataset}: {chosen.measure_batches} batches and {few} x at most "
        f"{chosen.sharpness_products} products every {interval} steps: at most "
        f"{passes / interval:.2f}"
    )


def followed(device: str, steps: int) -> None:
    """Turns are of as many steps as there are snapshots in the ring: each has its product."""
    print("following: 30 directions, steps with it over bare ones (at most 1.10)")
    settings = settings_of("cifar_resnet", 32, 128)
    path = fastest_path("cifar_resnet", 128, 32, device)
    bare = BareLoop(Noise(settings, 32, 1, device), path)
    theta = measure.parameter_vector(bare.model)
    directions = torch.randn(30, len(theta), device=device)
    axes = torch.cat([directions, theta[None]])
    follower = trajectory.Follower(axes, 10**6, Keeper(), theta)
    plain, extra = [], []
    for _ in range(max(steps // (5 * trajectory.SNAPSHOTS), 2)):
        plain += [bare.turn() / TURN for _ in range(trajectory.SNAPSHOTS // TURN)]
        start = now(theta.device)
        for _ in range(trajectory.SNAPSHOTS):
            follower.follow(measure.parameter_vector(bare.model))
        extra.append((now(theta.device) - start) / trajectory.SNAPSHOTS)
    held = theta.nbytes * (len(directions) + trajectory.SNAPSHOTS + trajectory.POINTS + 2)
    print(
        f"   ResNet-18, {path}: {1 + median(extra) / median(plain):.3f} "
        f"({1e3 * median(extra):.1f} ms beside {1e3 * median(plain):.0f} ms a step); "
        f"{held / 1e9:.2f} GB held"
    )


def rate(device: str, _steps: int) -> None:
    print("rate: images a second (on a CPU at least 3 times those of a plain float32 loop)")
    if device == "cuda":
        print(f"   matrix products in bfloat16: {matrix_rate() / 1e12:.0f} TFLOP/s")
    for model, batch_size, size in CASES[device]:
        path = fastest_path(model, batch_size, size, device)
        dataset = Noise(settings_of(model, size, batch_size), size, 1, device)
        with precision.backends(path, dataset.settings.deterministic):
            loops = {name: BareLoop(dataset, name) for name in ("float32", path)}
            times = {name: [] for name in loops}
            for _ in range(4):
                for name, one in loops.items():
                    times[name].append(one.turn() / TURN)
        seconds = {name: median(record[1:]) for name, record in times.items()}
        line = f"   {model}: {batch_size / seconds[path]:.0f} a second ({path})"
        line += f", {seconds['float32'] / seconds[path]:.1f} times float32's"
        if device == "cuda":
            operations = batch_size * cost.counted(dataset.settings)[0].gradient
            share = operations / seconds[path] / matrix_rate()
            line += f", {100 * share:.0f} % of the matrix rate"
        print(line)


def matrix_rate(side: int = 8192, times: int = 20) -> float:
    """Operations a second of products of bfloat16 matrices."""
    matrix = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)
    seconds = []
    for _ in range(5):
        start = now(matrix.device)
        for _ in range(times):
            matrix @ matrix
        seconds.append(now(matrix.device) - start)
    return times * 2 * side**3 / min(seconds)


def processes(_device: str, steps: int) -> None:
    print("processes: seconds of one over those of two on the CPU, the same global batch")
    settings = {"width": 32, "precision": "bfloat16", "measure_every": 0, "observe_every": 0}
    settings |= {"threads": 0, "drops": "", "batch_size": 128, "epochs": max(steps // 5, 1)}
    seconds = {}
    for devices in (1, 2):
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.dict(os.environ, {"STATIONARITY_RUNS": folder}),
        ):
            run = stationarity.run(
                "imagenet_resnet", settings=settings, device="cpu", devices=devices
            )
        seconds[devices] = run.info["wall_seconds"]
    print(
        f"   ResNet of width 32 on digits: {seconds[1]:.1f} s on one process of all "
        f"{torch.get_num_threads()} threads, {seconds[2]:.1f} s on two that share them: "
        f"{seconds[1] / seconds[2]:.2f}"
    )


PARTS = {
    "loop": loop,
    "measuring": measuring,
    "rate": rate,
    "following": followed,
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {provenance.device_name(options.device)}")
    for part in options.only:
        PARTS[part](options.device, options.steps)


if __name__ == "__main__":
    main()
