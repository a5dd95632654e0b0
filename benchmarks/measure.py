"""Cost of the measurements, as ratios to plain forward-backward passes.

    python benchmarks/measure.py [--data-root ROOT] [--seeds 1] [--only PART ...]

Compared passes are interleaved and their medians divided, so a ratio survives a
busy machine. Without ``--data-root`` (a folder with ``cifar10/*.parquet``) the
images are noisy smooth templates, one a class. About five minutes on two free cores.
"""

import argparse
import copy
import io
import resource
import time
from pathlib import Path
from statistics import median

import torch
from stationarity.measure import (
    cross_entropy,
    directional_sharpness,
    gradient_statistics,
    sharpness,
)
from stationarity.nets import mlp
from stationarity.nets.resnets import CifarResNet
from torch import nn
from torch.nn import functional


def interleaved(first, second, rounds: int) -> tuple[float, float]:
    """Median seconds of two functions, run in turns after a warm-up of each."""
    first(), second()
    times = ([], [])
    for _ in range(rounds):
        for function, record in zip((first, second), times):
            begin = time.perf_counter()
            function()
            record.append(time.perf_counter() - begin)
    return median(times[0]), median(times[1])


def plain_pass(model: nn.Module, batches: list) -> None:
    """Forward and backward over the batches, as a training loop would."""
    for batch in batches:
        model.zero_grad()
        cross_entropy(model, batch).backward()


def random_batches(count: int, size: int, shape: tuple) -> list:
    return [(torch.randn(size, *shape), torch.randint(0, 10, (size,))) for _ in range(count)]


def gradient_overhead() -> None:
    print("1. gradient_statistics over plain forward-backward passes (at most 1.15)")
    cases = (
        ("ResNet-18, 4 batches of 32", CifarResNet(), (4, 32, (3, 32, 32)), 15),
        ("MLP 64-32-10, 64 batches of 64", mlp((64, 32, 10)), (64, 64, (64,)), 61),
        ("MLP 64-32-10, 512 batches of 64", mlp((64, 32, 10)), (512, 64, (64,)), 21),
    )
    for name, model, sizes, rounds in cases:
        batches = random_batches(*sizes)
        plain, ours = interleaved(
            lambda: plain_pass(model, batches),
            lambda: gradient_statistics(model, cross_entropy, batches),
            rounds,
        )
        print(f"   {name}: {ours / plain:.3f}  ({1e3 * plain:.1f} ms plain)")


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def memory() -> None:
    """Each line is what a call adds to the peak of those before it."""
    print("   peak memory beyond a plain pass, in gradients (ResNet-18, batch 8)")
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


def hessian_product() -> None:
    print("2. a Hessian product in gradients (floor 3, at most 4.5)")
    model = CifarResNet()
    batches = random_batches(2, 32, (3, 32, 32))
    direction = torch.randn(sum(p.numel() for p in model.parameters()))
    plain, ours = interleaved(
        lambda: plain_pass(model, batches),
        lambda: directional_sharpness(model, cross_entropy, batches, direction),
        3,
    )
    print(f"   ResNet-18, 2 batches of 32: {ours / plain:.2f}  ({plain:.2f} s plain)")


def images_and_labels(root: Path | None, count: int) -> tuple:
    """Standardised images (count, 3, 32, 32) and labels."""
    if root is None:
        labels = torch.randint(0, 10, (count,))
        templates = functional.interpolate(torch.randn(10, 3, 4, 4), size=32)
        return templates[labels] + 2 * torch.randn(count, 3, 32, 32), labels
    import pyarrow.parquet
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    path = next((root / "cifar10").glob("train*.parquet"))
    table = pyarrow.parquet.read_table(path).slice(0, count).to_pydict()
    images = [Image.open(io.BytesIO(image["bytes"])) for image in table["img"]]
    images = torch.stack([pil_to_tensor(image) for image in images]) / 255
    axes = (0, 2, 3)
    images = images - images.mean(axes, keepdim=True)
    return images / images.std(axes, keepdim=True), torch.tensor(table["label"])


def train(model: nn.Module, images, labels, steps: int) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(steps):
        index = torch.randint(0, len(labels), (128,))
        optimiser.zero_grad()
        cross_entropy(model, (images[index], labels[index])).backward()
        optimiser.step()


def library(model: nn.Module, batches: list, k: int = 1) -> tuple:
    """Top eigenvalues by curvlinops and scipy's eigsh, and its products."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import LinearOperator, eigsh

    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # its buffers stop torch.func
            module.running_mean = module.running_var = None
            module.num_batches_tracked = None
    hessian = HessianLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        list(model.parameters()),
        batches,
        check_deterministic=False,
    ).to_scipy()
    products = 0

    def product(vector):
        nonlocal products
        products += 1
        return hessian @ vector.astype("float32")

    counted = LinearOperator(hessian.shape, matvec=product, dtype="float32")
    return eigsh(counted, k=k, which="LA", tol=1e-2)[0][::-1], products


def top_eigenpairs(root: Path | None, seeds: int, width: int, size: int) -> None:
    """Ours and the libraries' in turns of a whole call, with the same tolerance."""
    print(
        f"4. top 30 eigenpairs to 1e-2, CIFAR ResNet-18 of width {width}, 10 batches of "
        f"{size}\n   (at most the products and the time of curvlinops + eigsh)"
    )
    for seed in range(seeds):
        torch.manual_seed(seed)
        images, labels = images_and_labels(root, 2048)
        model = CifarResNet(width=width)
        train(model, images, labels, 150 if width < 32 else 20)
        batches = [
            (images[i : i + size], labels[i : i + size]) for i in range(0, 10 * size, size)
        ]
        begin = now()
        ours = sharpness(model, cross_entropy, batches, k=30, max_products=600)
        middle = now()
        values, products = library(model, batches, k=30)
        end = now()
        seconds = [b - a for a, b in zip((*begin, *middle), (*middle, *end))]
        apart = (ours.eigenvalues / torch.tensor(values.copy()) - 1).abs().max()
        print(
            f"   seed {seed}: ours {ours.products} products (converged: "
            f"{ours.converged}), {seconds[0]:.0f} s wall, {seconds[1]:.0f} s of CPU; "
            f"curvlinops + eigsh {products} products, {seconds[2]:.0f} s wall, "
            f"{seconds[3]:.0f} s of CPU; eigenvalues {values[0]:.3g} to "
            f"{values[-1]:.3g}, largest relative difference {apart:.0e}",
            flush=True,
        )


def now() -> tuple[float, float]:
    """Wall time, and CPU time of this process."""
    return time.perf_counter(), time.process_time()


def top_eigenvalue(root: Path | None, seeds: int) -> None:
    print("3. top eigenvalue to 1e-2, thin ResNet-18, 2 batches of 128")
    print("   (at most 8 products; time in plain passes)")
    for seed in range(seeds):
        torch.manual_seed(seed)
        images, labels = images_and_labels(root, 8192)
        model = CifarResNet(width=8)
        train(model, images, labels, 200)
        batches = [(images[i : i + 128], labels[i : i + 128]) for i in (0, 128)]
        report(seed, model, batches)
        if seed == 0:
            begin = time.perf_counter()
            [value], products = library(model, batches)
            seconds = time.perf_counter() - begin
            passes = seconds / pass_seconds(model, batches)
            print(
                f"   curvlinops + eigsh at the same weights: {value:.4f}, "
                f"{products} products, {passes:.1f} passes",
                flush=True,
            )


def pass_seconds(model: nn.Module, batches: list) -> float:
    begin = time.perf_counter()
    plain_pass(model, batches)
    return time.perf_counter() - begin


def report(seed: int, model: nn.Module, batches: list) -> None:
    plain = pass_seconds(model, batches)
    begin = time.perf_counter()
    measured = sharpness(model, cross_entropy, batches)
    passes = (time.perf_counter() - begin) / plain
    precise = sharpness(model, cross_entropy, batches, tol=1e-5)
    value, truth = measured.eigenvalues.item(), precise.eigenvalues.item()
    print(
        f"   seed {seed}: {value:.4f}, error {abs(value / truth - 1):.0e}, "
        f"{measured.products} products, {passes:.1f} passes",
        flush=True,
    )


def main() -> None:
    parts = ("gradient", "product", "eigenvalue", "eigenpairs")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--width", type=int, default=16, help="of the eigenpairs' net")
    parser.add_argument("--size", type=int, default=32, help="of their batches")
    options = parser.parse_args()
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    if "gradient" in options.only:
        memory()
        gradient_overhead()
    if "product" in options.only:
        hessian_product()
    if "eigenvalue" in options.only:
        top_eigenvalue(options.data_root, options.seeds)
    if "eigenpairs" in options.only:
        top_eigenpairs(options.data_root, options.seeds, options.width, options.size)


if __name__ == "__main__":
    main()
