"""Cost of the gradients' statistics over plain passes, and the measurements' memory.

    python benchmarks/measure.py

Times are CPU time of one thread; compared passes are interleaved and their medians divided,
so a ratio survives a busy machine. About a minute on a free core.
"""

import resource
import time
from collections.abc import Callable
from statistics import median

import torch
from stationarity.measure import cross_entropy, gradient_statistics, sharpness
from stationarity.nets import mlp
from stationarity.nets.resnets import CifarResNet
from torch import nn


def cpu_seconds(function: Callable) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def interleaved(first: Callable, second: Callable, rounds: int) -> tuple[float, float]:
    """Median seconds of two functions, run in turns after a warm-up of each."""
    times = [(cpu_seconds(first), cpu_seconds(second)) for _ in range(rounds + 1)]
    return tuple(map(median, zip(*times[1:])))


def plain_pass(model: nn.Module, batches: list) -> None:
    """Forward and backward over the batches, as a training loop would."""
    for batch in batches:
        model.zero_grad()
        cross_entropy(model, batch).backward()


def random_batches(count: int, size: int, shape: tuple) -> list:
    return [(torch.randn(size, *shape), torch.randint(0, 10, (size,))) for _ in range(count)]


def gradient_overhead() -> None:
    print("2. gradient_statistics over plain forward-backward passes (at most 1.15)")
    cases = (
        ("ResNet-18 of width 32, 4 batches of 32", CifarResNet(32), (4, 32, (3, 32, 32)), 9),
        ("MLP 64-32-10, 64 batches of 64", mlp((64, 32, 10)), (64, 64, (64,)), 61),
        ("MLP 64-32-10, 512 batches of 64", mlp((64, 32, 10)), (512, 64, (64,)), 21),
    )
    extra = {}
    for name, model, sizes, rounds in cases:
        batches = random_batches(*sizes)
        plain, ours = interleaved(
            lambda: plain_pass(model, batches),
            lambda: gradient_statistics(model, cross_entropy, batches),
            rounds,
        )
        print(f"   {name}: {ours / plain:.3f}  ({1e3 * plain:.1f} ms plain)")
        extra[sizes[0]] = 1e3 * (ours - plain)
    each = (extra[512] - extra[64]) / (512 - 64)
    call = extra[64] - 64 * each
    print(f"   so on the MLP a batch costs {1e3 * each:+.0f} us, a call {call:+.1f} ms")


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory() -> None:
    """Each line is what a call adds to the peak of those before it."""
    print("1. peak memory beyond a plain pass, in gradients (ResNet-18, batch 8)")
    model = CifarResNet()
    gradient = 4 * sum(p.numel() for p in model.parameters())
    batches = random_batches(40, 8, (3, 32, 32))
    plain_pass(model, batches)
    model.zero_grad()
    for count in (1, 8):
        before = peak_bytes()
        sharpness(model, cross_entropy, batches[:count], max_products=3)
        extra = (peak_bytes() - before) / gradient
        print(f"   sharpness, {count} batches: {extra:+.1f}")
    for count in (20, 40):
        before = peak_bytes()
        gradient_statistics(model, cross_entropy, batches[:count])
        extra = (peak_bytes() - before) / gradient
        print(f"   gradient_statistics, {count} batches: {extra:+.1f}")


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread")
    memory()
    gradient_overhead()


if __name__ == "__main__":
    main()
