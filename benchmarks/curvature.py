"""Cost of the curvature's measurements beside that of others, in gradients.

    python benchmarks/curvature.py [--data-root ROOT] [--seeds 1] [--only PART ...]

A gradient is a plain forward-backward pass over the same batches. Times are CPU time of one
thread, and what is compared runs in turns, so a ratio survives a busy machine; attention is
the elementary one, whose second derivative PyTorch has. Without ``--data-root`` (a folder
with ``cifar10/*.parquet``) the images are noisy smooth templates, one a class. About eight
minutes on a free core.
"""

import argparse
import copy
import io
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import torch
from measure import cpu_seconds, plain_pass
from stationarity.measure import cross_entropy, sharpness
from stationarity.measure.curvature import MeanHessian
from stationarity.measure.derivatives import parameter_vector
from stationarity.measure.state import without_trace
from stationarity.nets import mlp
from stationarity.nets.resnets import CifarResNet
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS, CLASSES = 64, 10


class Reader(nn.Module):
    """A small transformer that says what kind of text its tokens (N, T) are."""

    def __init__(self, width: int = 64, layers: int = 2):
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens):
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


def partly_random(labels):
    """A fifth of them drawn anew, so that a trained net's loss is not zero."""
    drawn = torch.rand(len(labels)) < 0.2
    return torch.where(drawn, torch.randint(0, CLASSES, labels.shape), labels)


def images_and_labels(root: Path | None, count: int) -> tuple:
    """Standardised images (count, 3, 32, 32) and labels."""
    if root is None:
        labels = torch.randint(0, CLASSES, (count,))
        templates = functional.interpolate(torch.randn(CLASSES, 3, 4, 4), size=32)
        images = templates[labels] + 2 * torch.randn(count, 3, 32, 32)
        return images, labels
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


def texts_and_labels(count: int, length: int = 32) -> tuple:
    """Tokens (count, length), whose frequencies depend on the label."""
    labels = torch.randint(0, CLASSES, (count,))
    frequencies = torch.randn(CLASSES, TOKENS).div(2).exp()
    tokens = frequencies[labels].multinomial(length, replacement=True)
    return tokens, partly_random(labels)


def cases(root: Path | None, width: int, noisy: bool) -> Iterator[tuple]:
    """Yield nets: a name, the net, the count and size of its batches, and its data.

    A fitted ResNet's top eigenvalue stands apart; with noisy labels it has near ones. The
    transformer has one batch: that is where PyHessian keeps a graph.
    """
    images, labels = images_and_labels(root, 4096)
    name, others = f"ResNet-18 of width {width}", (images, partly_random(labels))
    yield name, CifarResNet(width=width), (2, 64), (images, labels)
    if noisy:
        yield f"{name}, noisy labels", CifarResNet(width=width), (2, 64), others
    yield "MLP 3072-256-256-10", mlp((3072, 256, 256, CLASSES)), (2, 256), others
    yield "transformer of 2 layers", Reader(), (1, 64), texts_and_labels(4096)


def batches_of(data: tuple, count: int, size: int) -> list:
    return list(zip(*(one[: count * size].split(size) for one in data)))


def train(model: nn.Module, data: tuple, steps: int) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    if isinstance(model, Reader):
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs, labels = data
    for _ in range(steps):
        index = torch.randint(0, len(labels), (64,))
        optimiser.zero_grad()
        cross_entropy(model, (inputs[index], labels[index])).backward()
        optimiser.step()


# --- a product ---------------------------------------------------------------


def product_seconds(model: nn.Module, batches: list) -> list[float]:
    """A first product, a second one, a further one, and one of those that keep no graphs."""
    with without_trace(model, curvature=True) as before:
        vector = torch.randn_like(parameter_vector(model))
        keeping, other = (
            MeanHessian(before, cross_entropy, batches, keeps=keeps) for keeps in (True, False)
        )
        other.checked = True  # as in a call's further products
        return [cpu_seconds(partial(one, vector)) for one in (*[keeping] * 3, other)]


def hessian_products(root: Path | None, rounds: int = 7) -> None:
    print(
        "1. a Hessian product in gradients: the first of a call (floor 3), the second, which\n"
        "   asks for one loss again, a further one of kept graphs (floor 2, at most 2.2), and\n"
        "   one where none are kept (floor 3)"
    )
    for name, model, sizes, data in cases(root, 16, noisy=False):
        batches = batches_of(data, *sizes)
        times = []
        for _ in range(rounds + 1):
            plain = cpu_seconds(partial(plain_pass, model, batches))
            times.append([plain, *product_seconds(model, batches)])
        plain, *ours = map(median, zip(*times[1:]))
        costs = ", ".join(f"{one / plain:.2f}" for one in ours)
        print(f"   {name}: {costs}  ({1e3 * plain:.0f} ms a gradient)", flush=True)


# --- the largest eigenvalues, by ours and by others --------------------------


def ours(model: nn.Module, batches: list) -> tuple:
    found = sharpness(model, cross_entropy, batches)
    return found.eigenvalues.item(), found.products


def pyhessian(model: nn.Module, batches: list) -> tuple:
    """Power iteration until the value changes by a hundredth; graphs kept of one batch."""
    from pyhessian import hessian

    data = {"data": batches[0]} if len(batches) == 1 else {"dataloader": batches}
    with mock.patch.object(torch.autograd, "grad", wraps=torch.autograd.grad) as grad:
        peer = hessian(model, nn.CrossEntropyLoss(), cuda=False, **data)
        peer.model.train()  # it means to measure in evaluation mode
        [value], _ = peer.eigenvalues(tol=1e-2)
    return value, grad.call_count // len(batches)


def curvlinops(model: nn.Module, batches: list, k: int = 1) -> tuple:
    """Its products in scipy's eigsh."""
    from curvlinops import HessianLinearOperator
    from scipy.sparse.linalg import LinearOperator, eigsh

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # its buffers stop torch.func
            module.running_mean = module.running_var = None
            module.num_batches_tracked = None
    loss, parameters = nn.CrossEntropyLoss(), list(model.parameters())
    how = {"check_deterministic": False}
    hessian = HessianLinearOperator(model, loss, parameters, batches, **how).to_scipy()
    products = 0

    def product(vector):
        nonlocal products
        products += 1
        return hessian @ vector.astype("float32")

    counted = LinearOperator(hessian.shape, matvec=product, dtype="float32")
    values = eigsh(counted, k=k, which="LA", tol=1e-2)[0][::-1]
    return (values[0] if k == 1 else values), products


def eigenthings(model: nn.Module, batches: list) -> tuple:
    """Its Lanczos, from the start with twice the steps until it says that it converged."""
    import hessian_eigenthings as peer

    loss = peer.supervised_loss(nn.CrossEntropyLoss())
    hessian = peer.HessianOperator(model, batches, loss)
    products, steps, how = 0, 4, {"tol": 1e-2, "which": "LA", "seed": 0}
    while True:
        found = peer.lanczos(hessian, k=1, max_iter=steps, **how)
        products, steps = products + found.iterations, 2 * steps
        if found.converged.all() or products > 100:
            return found.eigenvalues.item(), products


METHODS = {
    "ours": ours,
    "PyHessian": pyhessian,
    "curvlinops + eigsh": curvlinops,
    "hessian-eigenthings": eigenthings,
}


def top_eigenvalue(root: Path | None, seed: int) -> None:
    for name, model, sizes, data in cases(root, 8, noisy=True):
        train(model, data, 150)
        batches = batches_of(data, *sizes)
        precise = sharpness(model, cross_entropy, batches, tol=1e-5).eigenvalues.item()
        print(f"   {name}, {sizes[0]} x {sizes[1]}, seed {seed}: {precise:.4g}", flush=True)
        plain, found = [], {}
        for method, function in METHODS.items():
            plain += [cpu_seconds(partial(plain_pass, model, batches)) for _ in range(3)]
            torch.manual_seed(seed)
            begin = time.process_time()
            try:
                value, products = function(copy.deepcopy(model), batches)
            except Exception as error:
                found[method] = f"fails: {str(error).splitlines()[0]:.60}"
                continue
            seconds = time.process_time() - begin
            found[method] = seconds, products, abs(value / precise - 1)
        for method, said in found.items():
            if not isinstance(said, str):
                gradients = f"{said[0] / median(plain):.1f} gradients"
                said = f"{gradients}, {said[1]} products, error {said[2]:.0e}"
            print(f"      {method}: {said}", flush=True)


def top_eigenpairs(root: Path | None, seed: int, width: int, size: int) -> None:
    model, data = CifarResNet(width=width), images_and_labels(root, 2048)
    train(model, data, 150 if width < 32 else 20)
    batches = batches_of(data, 4, size)
    begin = time.process_time()
    ours = sharpness(model, cross_entropy, batches, k=30, max_products=600)
    middle = time.process_time()
    values, products = curvlinops(copy.deepcopy(model), batches, k=30)
    end = time.process_time()
    apart = (ours.eigenvalues / torch.tensor(values.copy()) - 1).abs().max()
    print(
        f"   seed {seed}: ours {ours.products} products (converged: {ours.converged}), "
        f"{middle - begin:.0f} s; curvlinops + eigsh {products} products, "
        f"{end - middle:.0f} s;\n   eigenvalues {values[0]:.3g} to {values[-1]:.3g}, "
        f"largest relative difference {apart:.0e}",
        flush=True,
    )


def main() -> None:
    parts = ("product", "eigenvalue", "eigenpairs")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--width", type=int, default=8, help="of the eigenpairs' net")
    parser.add_argument("--size", type=int, default=8, help="of their batches")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # others' about their own calls
    print(f"torch {torch.__version__}, 1 thread")
    if "product" in options.only:
        hessian_products(options.data_root)
    if "eigenvalue" in options.only:
        print("2. top eigenvalue to 1e-2 of trained nets (ours at most 9 gradients on ResNet)")
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            top_eigenvalue(options.data_root, seed)
    if "eigenpairs" in options.only:
        print(
            f"3. top 30 eigenpairs to 1e-2, ResNet-18 of width {options.width}, 4 batches of "
            f"{options.size}\n   (at most the products and the time of curvlinops + eigsh)"
        )
        for seed in range(options.seeds):
            torch.manual_seed(seed)
            top_eigenpairs(options.data_root, seed, options.width, options.size)


if __name__ == "__main__":
    with sdpa_kernel(SDPBackend.MATH):
        main()
