"""Steps of the GPU day: how fast training and Hessian products are, and what bounds them.

A training step is the library's own, on one batch that stays on the device and on what
its loader makes. Its share of the peak is that of the matrix rate measured beside it.
"""

import contextlib
import multiprocessing
import tempfile
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow
import torch
from gpu_clock import matrix_rate, once, profile, seconds_of
from PIL import Image
from stationarity import data, measure
from stationarity.book import cost
from stationarity.chapters.sizes import data_of, net
from stationarity.data.images import TensorImages
from stationarity.data.text import TokenStreams
from stationarity.measure.curvature import MeanHessian
from stationarity.measure.state import without_trace
from stationarity.runs.settings import get
from stationarity.train import loop, precision

PATHS = ("tf32", "bfloat16")  # to compile takes a minute: of ResNet-101 alone, at the end
DRY_PATHS = ("float32", "bfloat16")
THIN = {"model": "cifar_resnet", "width": 4, "blocks": (1, 1)}  # in a dry run
FILES = 512  # images of the folder that stands for ImageNet
AHEAD = 2  # batches that a worker of a loader has made before they are asked for


def device_of(options) -> str:
    return "cpu" if options.dry else "cuda"


def training(options, results, settings, dataset, unit: str, each=1, paths=PATHS) -> None:
    """Time training steps on each path; ``each`` are the units of an example."""
    device, dry = device_of(options), options.dry
    operations = settings.batch_size * cost.counted(settings)[0].gradient

    def row(path: str) -> dict:
        peak = matrix_rate(torch.bfloat16, device, dry)
        state = loop.State(settings.but(precision=path), dataset)
        state.choose_path()
        batches, within = dataset.training_batches(0, 10**6), {}
        _, fixed = next(batches), next(batches)  # the first one of a text empties the memory
        torch.compiler.reset()  # else another batch size makes sizes dynamic
        with precision.backends(path, False):
            seconds = seconds_of(lambda: state.take_step(fixed), device, dry)
            # What workers made meanwhile does not count, and they deliver in bursts.
            count = AHEAD * len(multiprocessing.active_children()) or (2 if dry else 20)
            for _ in range(count):
                next(batches)
            loaded = once(lambda: [*map(state.take_step, islice(batches, count))], device)
            loaded /= count
            with contextlib.suppress(RuntimeError, AttributeError):  # where none can be had
                within = profile(lambda: state.take_step(fixed), device)
        batches.close()  # with its workers
        return {
            "a second": f"{settings.batch_size * each / loaded:,.0f} {unit}",
            "share of the peak": operations / seconds / peak,
            "ms a step": 1e3 * seconds,
            "with loader": 1e3 * loaded,
            "operations": operations,
            "peak": peak,
            "bound by": bound(1e3 * seconds, 1e3 * loaded, within),
        } | within

    for path in DRY_PATHS if dry else paths:
        results.part(
            f"{settings.model}, batch {settings.batch_size}, {path}", lambda: row(path)
        )


def bound(step: float, loaded: float, within: dict) -> str:
    """Return what a step waits for, as its times in milliseconds tell."""
    if loaded > 1.15 * step:
        return "the loader"
    if not within.get("kernels"):
        return "not known: no kernel was seen"
    if within["kernels"] < 0.85 * step:
        return "the processor, which starts kernels"
    products = within["products"] > 0.5 * within["kernels"]
    return "products" if products else "memory, between the products"


def resnet18(options, results) -> None:
    """The ResNet-18 of CIFAR-10, in its batches and in large ones; the images are noise."""
    sizes = THIN if options.dry else {}
    for batch_size in (8,) if options.dry else (128, 1024):
        changes = sizes | {"batch_size": batch_size, "epochs": 1, "drops": ()}
        settings = get("cifar10_resnet", "single-gpu", changes)
        count = 64 if options.dry else 20_000
        generator = np.random.default_rng(0)
        pixels = generator.integers(0, 256, (count, 32, 32, 3), np.uint8)
        part = pixels, np.arange(count) % 10
        how = {"batch_size": batch_size, "crop_padding": 4, "flip": True}
        arrays = {"train": part, "test": part}
        images = TensorImages("noise", arrays, {}, **how, device=device_of(options))
        training(options, results, settings, images, "images")


def resnet101(options, results) -> None:
    """The ResNet-101 of the paper, on a folder of smooth JPEG images of ImageNet's size."""
    small = {"batch_size": 4, "image_size": 32} | THIN if options.dry else {}
    settings = get("imagenet_resnet", "paper", small | {"epochs": 1, "drops": ()})
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        for index in range(8 if options.dry else FILES):
            coarse = generator.integers(0, 256, (24, 32, 3), np.uint8)
            image = Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC)
            place = Path(folder) / "imagenet" / "train" / f"class{index % 4}"
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{index}.JPEG", quality=90)
        how = {"batch_size": settings.batch_size, "image_size": settings.image_size}
        how |= {"flip": True, "device": device_of(options), "data_root": folder}
        images = data.load("imagenet", **how)
        images.classes = data_of(settings).classes
        paths = *PATHS, "bfloat16 compiled"
        training(options, results, settings, images, "images", paths=paths)


def transformer_xl(options, results) -> None:
    """The Transformer-XL base of the paper, on words by Zipf's law."""
    small = dict(layers=1, width=16, heads=2, head_width=8, inner_width=16, segment=8, memory=8)
    small |= {"batch_size": 4, "cutoffs": (2000,)}
    changes = {"epochs": 1} | (small if options.dry else {})
    settings = get("wikitext_transformer_xl", "paper", changes)
    words = data_of(settings).classes
    tokens = 10_000 if options.dry else 1_500_000
    drawn = np.exp(np.random.default_rng(0).uniform(0, np.log(words), tokens)).astype(int)
    text = pyarrow.array(drawn).cast(pyarrow.large_string())
    how = {"batch_size": settings.batch_size, "segment": settings.segment}
    streams = TokenStreams("Zipf", (text, text[:5000]), {}, **how, device=device_of(options))
    streams.vocabulary = range(words)  # those of the whole text
    training(options, results, settings, streams, "tokens", settings.segment)


def products(options, results) -> None:
    """A Hessian product in gradients, and both as shares of the float32 matrix rate."""
    device, dry = device_of(options), options.dry
    with measure.float32_products("ieee"):
        peak = matrix_rate(torch.float32, device, dry)
    nets = {"ResNet-18": "cifar10_resnet", "ResNet-101 at 64": "imagenet_resnet"}
    for name, experiment in nets.items():
        changes = {"batch_size": 4} | THIN if dry else {}
        settings = get(experiment, "single-gpu", changes)
        results.part(name, lambda: product(settings, device, dry, peak))


def product(settings, device: str, dry: bool, peak: float) -> dict:
    """Time gradients and products of the same batches, in turns."""
    model, like, objective = net(settings, 0, device), data_of(settings), measure.cross_entropy
    shape, count = (settings.batch_size, like.channels, like.size, like.size), 2 if dry else 8
    labels = torch.arange(settings.batch_size, device=device) % like.classes
    batches = [(torch.randn(shape, device=device), labels) for _ in range(count)]

    def gradients() -> None:
        for batch in batches:
            model.zero_grad()
            objective(model, batch).backward()

    with precision.backends("float32", False):
        rounds = [
            [once(gradients, device), *product_seconds(model, objective, batches, device)]
            for _ in range(2 if dry else 4)
        ]
    plain, first, further, alone = (median(taken) / count for taken in zip(*rounds[1:]))
    counts = cost.counted(settings)[1]
    operations = settings.batch_size * (counts.product - counts.gradient)  # of a kept graph
    return {
        "a second": f"{1 / further:.3g} products of a batch of {settings.batch_size}",
        "in gradients": further / plain,
        "the first in gradients": first / plain,
        "in gradients, no graph kept": alone / plain,
        "share of the peak": operations / further / peak,
        "ms a step": 1e3 * further,
        "ms a gradient": 1e3 * plain,
    }


def product_seconds(model, objective, batches: list, device) -> tuple[float, float, float]:
    """Return the seconds of a first Hessian product, of a further one, and without graphs."""
    with without_trace(model, objective, curvature=True) as before:
        vector = torch.randn_like(measure.parameter_vector(model))
        keeping = MeanHessian(before, objective, batches)  # graphs, for further products
        other = MeanHessian(before, objective, batches, keeps=False)
        other.checked = True  # as in a call's further products
        calls = (partial(hessian, vector) for hessian in (*[keeping] * 3, other))
        first, _, further, alone = (once(call, device) for call in calls)
    return first, further, alone  # the second asks for one loss again
