"""Ensembles of small nets, trained together: K mlps as one tensor (K, P).

Row k of ``theta`` holds the parameters of member k, in the order of
:func:`stationarity.measure.parameter_vector` of a :func:`stationarity.nets.mlp` of these
widths. A step of all members is a few batched matrix products, with the gradient by hand.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .. import measure
from ..errors import UsageError, known_name
from ..nets import mlp
from ..runs.seeds import seed_of

SAMPLINGS = ("replacement", "reshuffled")
BLOCK = 256  # steps whose batches are drawn at once
CHUNK = 256  # examples of one pass over a whole training set


def initialise(widths: tuple, seeds: Sequence, *, dtype=torch.float32, device="cpu") -> Tensor:
    """Return initial weights (K, P), one member a seed, by PyTorch's default law.

    Global random state is left as it was.
    """
    members = []
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed_of(seed, "initial weights"))
            members.append(measure.parameter_vector(mlp(widths)))
    return torch.stack(members).to(device, dtype)


def losses_and_gradients(
    theta: Tensor, widths: tuple, inputs: Tensor, targets: Tensor, loss="cross_entropy"
) -> tuple[Tensor, Tensor]:
    """Return each member's mean loss (K,) on its batch, and the gradients (K, P).

    A batch is one for each member, ``inputs`` (K, B, D) and labels ``targets`` (K, B),
    int64, or one for all, (B, D) and (B,). The loss is the ``cross_entropy`` (nats), or
    ``squared``: half of the squared distance of the logits from the label's unit vector.
    Raises :class:`UsageError` for an unknown loss, and for weights that do not fit.
    """
    losses, pairs = _backward(theta, widths, inputs, targets, loss)
    return losses.mean(1), _gradients(pairs)


def exact_statistics(
    theta: Tensor, widths: tuple, inputs: Tensor, targets: Tensor, loss: str = "cross_entropy"
) -> tuple[Tensor, Tensor, Tensor]:
    """Return losses (K,), full gradients (K, P) and noise variances (K,), all exact.

    The mean is over the whole training set, ``inputs`` (n, D) with ``targets`` (n,)
    or (K, n). The noise variance is that of the gradient of *one* example, drawn uniformly,
    E||g_i - grad L||^2. A batch of B has it divided by B where it is drawn with
    replacement, and by B (n - 1) / (n - B) without. Raises as :func:`losses_and_gradients`.
    Source: our section "How far does it reach?".
    """
    count = len(inputs)
    losses, squares = theta.new_zeros(2, len(theta), dtype=torch.float64)
    gradients = torch.zeros_like(theta)
    for start in range(0, count, CHUNK):
        x, y = inputs[start : start + CHUNK], targets[..., start : start + CHUNK]
        chunk_losses, pairs = _backward(theta, widths, x, y, loss)
        losses += chunk_losses.sum(1)
        # The chunk's gradients are means over it, and so are the deltas.
        gradients.add_(_gradients(pairs), alpha=len(x) / count)
        for inner, delta in pairs:
            # The gradient of one example by a layer's weights is an outer product.
            norms = delta.square().sum(2) * (inner.square().sum(2) + 1)
            squares += norms.sum(1) * len(x) ** 2
    variances = squares / count - gradients.double().square().sum(1)
    return losses / count, gradients, variances.clamp(min=0)


def _layers(theta: Tensor, widths: tuple) -> list[tuple[Tensor, Tensor]]:
    """Views of ``theta`` (K, P): weights (K, out, in) and biases (K, out)."""
    shapes = list(itertools.pairwise(widths))
    sizes = [size for inputs, outputs in shapes for size in (inputs * outputs, outputs)]
    if theta.shape[1] != sum(sizes):
        said = f"Nets of widths {tuple(widths)} have {sum(sizes)} parameters, and theta has"
        raise UsageError(f"{said} {theta.shape[1]}: pass the widths that it was made with.")
    pieces = torch.split_with_sizes(theta, sizes, 1)
    triples = zip(shapes, pieces[::2], pieces[1::2])
    return [(weight.view(-1, *shape[::-1]), bias) for shape, weight, bias in triples]


def forward(theta: Tensor, widths: tuple, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return each layer's inputs (K, B, in) and the logits; a batch (B, D) is one for all."""
    *hidden, (weight, bias) = _layers(theta, widths)
    inner = [inputs.expand(len(theta), *inputs.shape[-2:])]
    for matrix, shift in hidden:
        twice = torch.baddbmm(shift.unsqueeze(1), inner[-1], matrix.mT, alpha=2, beta=2)
        inner.append(twice.sigmoid_().mul(2).sub_(1))  # the tanh, in a third of its time
    # In memory the batch lies last: PyTorch's softmax is slow over a short last dimension.
    return inner, torch.baddbmm(bias.unsqueeze(2), weight, inner[-1].mT).mT


def _backward(theta, widths, inputs, targets, loss) -> tuple[Tensor, list]:
    """Return losses (K, B), and each layer's inputs (K, B, in) and deltas (K, B, out)."""
    known_name(loss, measure.LOSSES, "loss")
    inner, outputs = forward(theta, widths, inputs)
    losses, delta = _outermost(outputs, targets.expand(outputs.shape[:2]), loss)
    pairs, layers = [], _layers(theta, widths)
    for (weight, _), values in zip(reversed(layers), reversed(inner), strict=True):
        pairs.append((values, delta))
        if len(pairs) < len(layers):
            delta = torch.ops.aten.tanh_backward(torch.bmm(delta, weight), values)
    return losses, pairs[::-1]


def _outermost(logits: Tensor, targets: Tensor, loss: str) -> tuple[Tensor, Tensor]:
    """Return losses (K, B) and derivatives of their mean over B (K, B, classes)."""
    if loss == "squared":
        delta = logits - functional.one_hot(targets, logits.shape[2])
        return delta.square().sum(2) / 2, delta / delta.shape[1]
    targets, logarithms = targets.unsqueeze(1), torch.log_softmax(logits.mT, 1)
    losses = -logarithms.gather(1, targets).squeeze(1)
    delta = logarithms.exp_().scatter_(1, targets, -1.0, reduce="add")
    return losses, delta.div_(delta.shape[2]).mT


def _gradients(pairs: list) -> Tensor:
    pieces = [(torch.bmm(delta.mT, inner).flatten(1), delta.sum(1)) for inner, delta in pairs]
    return torch.cat([*itertools.chain(*pieces)], 1)


def sgd_step(theta: Tensor, gradients, buffer, rate, momentum=0.0, weight_decay=0.0) -> None:
    """Take one step of SGD in place, as ``torch.optim.SGD`` does.

    ``theta`` and ``buffer`` (K, P), zero at first, change, ``gradients`` (K, P) do not. The
    other three are numbers, or (K, 1) for each member its own.
    """
    buffer.mul_(momentum).add_(gradients).add_(weight_decay * theta)
    theta.sub_(rate * buffer)


def adam_step(theta: Tensor, gradients, moments, step: int, rate, weight_decay=0.0) -> None:
    """Take one step of Adam in place, as ``torch.optim.Adam`` does by default.

    ``moments`` (2, K, P) are zero at first; ``step`` counts from 1; the rest is as for
    :func:`sgd_step`.
    """
    gradients = gradients + weight_decay * theta
    (first, second), (beta, gamma) = moments, (0.9, 0.999)
    first.lerp_(gradients, 1 - beta)
    second.mul_(gamma).addcmul_(gradients, gradients, value=1 - gamma)
    scale = (second / (1 - gamma**step)).sqrt_().add_(1e-8)
    theta.sub_(rate / (1 - beta**step) * first / scale)


def batches(
    count: int, size: int, seeds: Sequence[int], last: int, *, first=0, sampling="replacement"
) -> Iterator[Tensor]:
    """Yield the examples (K, size) of each step from ``first`` to ``last - 1``.

    Indices are int64 below ``count``; those of a member depend on its seed and the step
    alone. ``sampling`` is ``replacement`` (all draws independent) or ``reshuffled``
    (epochs of count // size steps without replacement). Raises :class:`UsageError`, at the
    first step, for an unknown sampling and for batches that are larger than the data.
    """
    known_name(sampling, SAMPLINGS, "sampling")
    if size > count and sampling != "replacement":
        said = f"Batches of {size} without replacement need as many examples"
        raise UsageError(f"{said}: there are {count}. Lower the batch size.")
    length = count // size if sampling == "reshuffled" else BLOCK

    def drawn(seed: int, block: int) -> np.ndarray:
        generator = np.random.default_rng(seed_of(seed, "batches", sampling, block))
        if sampling == "replacement":
            return generator.integers(count, size=(length, size))
        return generator.permutation(count)[: length * size].reshape(length, size)

    for block in range(first // length, -(-last // length)):
        start = block * length
        steps = torch.from_numpy(np.stack([drawn(seed, block) for seed in seeds], 1))
        yield from steps[max(first - start, 0) : last - start]
