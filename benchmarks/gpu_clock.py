"""Times on a device, for the GPU day: this needs PyTorch alone."""

import re
import time
from statistics import median

import torch
from torch.profiler import ProfilerActivity

TURN, TURNS = 4, 7  # calls of a turn, and turns, of which the first two warm up
SIDE = 8192  # of the matrices that are multiplied
# Names of kernels, on a CPU of operations; what Triton compiled lies between the products.
PRODUCTS = re.compile(r"^(?!triton).*(gemm|xmma|nvjet|cutlass|[dw]grad|fprop|mm$|convolution)")


def now(device) -> float:
    """The time, once the device has done what it was told."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def once(call, device) -> float:
    """Return the seconds of one call."""
    start = now(device)
    call()
    return now(device) - start


def seconds_of(call, device, dry: bool = False) -> float:
    """Return the seconds of a call: the median of some turns of several calls."""
    taken, calls = [], 1 if dry else TURN
    for _ in range(3 if dry else TURNS):
        start = now(device)
        for _ in range(calls):
            call()
        taken.append((now(device) - start) / calls)
    return median(taken[2:])


def matrix_rate(dtype: torch.dtype, device: str, dry: bool) -> float:
    """Return operations a second of products of square matrices."""
    side = 256 if dry else SIDE
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    return 2 * side**3 / seconds_of(lambda: matrix @ matrix, device, dry)


def profile(call, device: str) -> dict:
    """Return milliseconds that kernels take in a call, those of products, and the longest."""
    kind = "CUDA" if device == "cuda" else "CPU"
    with torch.profiler.profile(activities=[getattr(ProfilerActivity, kind)]) as found:
        call()
        now(device)
    name = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    kernels = {event.key: getattr(event, name) / 1e3 for event in found.key_averages()}
    longest = sorted(kernels, key=kernels.get, reverse=True)[:8]
    products = sum(time for key, time in kernels.items() if PRODUCTS.search(key))
    return {
        "kernels": sum(kernels.values()),
        "products": products,
        "longest": {key[:80]: round(kernels[key], 3) for key in longest},
    }


def matrix(options, results) -> None:
    """The ceilings: matrix products by precision, and copies within the device's memory."""
    device, dry = "cpu" if options.dry else "cuda", options.dry

    def products(dtype: torch.dtype, way: str = "ieee") -> dict:
        torch.backends.cuda.matmul.fp32_precision = way
        return {"a second": f"{matrix_rate(dtype, device, dry) / 1e12:.4g} Tflop"}

    def copies() -> dict:
        numbers = torch.randn(10**6 if dry else 10**9, device=device)
        seconds = seconds_of(numbers.clone, device, dry)
        return {"a second": f"{2 * numbers.nbytes / seconds / 1e9:.4g} GB"}

    results.part("bfloat16", lambda: products(torch.bfloat16))
    results.part("tf32", lambda: products(torch.float32, "tf32"))
    results.part("float32", lambda: products(torch.float32))
    results.part("memory", copies)
