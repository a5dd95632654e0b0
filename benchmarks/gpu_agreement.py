"""Steps of the GPU day: CPU against GPU on every measurement, and the CUDA tests."""

import copy
import functools
import importlib.util
import sys
import types
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-3}  # of norms and of the whole vectors
SIZES = dict(layers=2, width=8, heads=2, head_width=4, inner_width=16, memory=8)


def bare_package() -> None:
    """Let the library's measurements be imported without its settings, which need pydantic."""
    package = types.ModuleType("stationarity")
    package.__path__ = [str(ROOT / "lib" / "stationarity")]
    sys.modules["stationarity"] = package


def cases() -> dict:
    """Return a model, its objective and batches, by name, on the CPU in float32."""
    from stationarity import measure, nets
    from stationarity.nets import transformer_xl

    torch.manual_seed(0)
    flat = [(torch.randn(64, 64), torch.randint(10, (64,))) for _ in range(20)]
    images = [(torch.randn(8, 3, 8, 8), torch.randint(10, (8,))) for _ in range(4)]
    text = [torch.randint(50, (4, 25)) for _ in range(4)]
    read = [(rows[:, 16:-1], rows[:, 17:], rows[:, :16]) for rows in text]
    language = transformer_xl.TransformerXL(50, **SIZES, cutoffs=(20,))
    found = {
        "mlp": (nets.mlp((64, 32, 10)), measure.cross_entropy, flat),
        "squared loss": (nets.mlp((64, 10)), measure.squared_error, flat),
        "Transformer-XL": (language, transformer_xl.NextTokenLoss(), read),
    }
    if importlib.util.find_spec("torchvision"):
        from stationarity.nets.resnets import CifarResNet

        last = CifarResNet(4, (1, 1)).to(memory_format=torch.channels_last)  # as bfloat16 has
        found["ResNet"] = CifarResNet(4, (1, 1)), measure.cross_entropy, images
        found["ResNet, channels last"] = last, measure.cross_entropy, images
    return found


def moved(batches: list, device: str, dtype: torch.dtype) -> list:
    """Return the batches on a device, their floats of a dtype."""
    return [
        tuple(part.to(device, dtype if part.is_floating_point() else None) for part in batch)
        for batch in batches
    ]


def measured(model, objective, batches: list) -> dict:
    """Return all that is measured on a model: numbers and vectors, by name."""
    from stationarity import measure

    given, found = (model, objective), {}
    statistics = {
        "gradient": measure.gradient_statistics(*given, batches, weight_decay=0.01),
        "partition": measure.partition_statistics(*given, [batches, batches[::-1]]),
    }
    for way, one in statistics.items():
        found |= {f"{way}: {key}": value for key, value in vars(one).items()}
    gradient = statistics["gradient"].mean_gradient
    sharp = measure.sharpness(*given, batches[:3], k=2, max_products=20)
    found["sharpness"] = sharp.eigenvalues
    found["directional sharpness"] = measure.directional_sharpness(*given, batches, gradient)
    found["projected gradients"] = measure.projected_gradients(*given, batches, gradient[None])
    found["mean loss"] = measure.mean_loss(*given, batches)
    vector = measure.parameter_vector(model)
    return found | {"displacement": measure.displacement(model, vector + gradient)}


def apart(one, other) -> float:
    """Return how far two numbers or vectors are from each other, relative to the second."""
    one, other = (torch.as_tensor(value).double().cpu() for value in (one, other))
    return float((one - other).norm() / other.norm().clamp(min=1e-12))


def compared(case: tuple, truth, device: str, dtype: torch.dtype) -> dict:
    """Return how far each measurement on the device is from ``truth()``, of the CPU in float64.

    Products are allowed to be rounded to TF32 around it, which measuring must not heed.
    """
    from stationarity import measure

    (model, objective, batches), reference = case, truth()
    other = copy.deepcopy(model).to(device, dtype)
    with measure.float32_products("tf32"):
        found = measured(other, objective, moved(batches, device, dtype))
    # A standard error of a partition is a difference of two numbers that are nearly equal.
    names = [name for name in found if "partition: " not in name or "error" not in name]
    distances = {name: apart(found[name], reference[name]) for name in names}
    wrong = {name: far for name, far in distances.items() if not far < TOLERANCES[dtype]}
    if wrong:
        raise ArithmeticError(f"CPU and {device} differ beyond {TOLERANCES[dtype]}: {wrong}")
    return distances


def agreement(options, results) -> None:
    """Compare every measurement of every case, in float64 and in float32."""
    if importlib.util.find_spec("pydantic") is None:
        bare_package()
    device = "cpu" if options.dry else "cuda"
    worst = {}
    for name, case in cases().items():
        model, objective, batches = case
        exact = copy.deepcopy(model).double(), objective, moved(batches, "cpu", torch.float64)
        truth = functools.cache(functools.partial(measured, *exact))
        for dtype in TOLERANCES:
            part = f"{name}, {str(dtype).removeprefix('torch.')}"
            results.part(part, lambda: compared(case, truth, device, dtype))
            if part in results:
                worst[part] = max(results[part].values())
    print("Largest relative difference: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()))


def tests(options, results) -> None:
    """Run the tests that need a GPU, which skip themselves without one."""
    import pytest

    given = ["tests/test_gpu.py", "-q", "-p", "no:cacheprovider"]
    status = pytest.main([*given, "-o", "addopts=--import-mode=importlib"])
    if status:
        sys.exit(int(status))
