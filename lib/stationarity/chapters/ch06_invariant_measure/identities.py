"""Two identities of the invariant measure, measured on softmax regression.

SGD with momentum and weight decay in PyTorch's convention,

    b ← β b + g,    θ ← θ − η b,

where ``g`` is a minibatch gradient of the objective with decay. Several chains
run at once, each with its own minibatches; weights have shape (R, D, C) for R
chains, D inputs and C classes. Everything is float64. Book: chapter 6.
"""

import functools
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from scipy.special import roots_jacobi
from torch import Tensor

from ... import data
from ...errors import UsageError
from ...runs.checkpoints import Keeper
from ...runs.progress import Progress
from ...train.settings import Training
from .chains import mean_and_error
from .settings import Identities

NODES = 2  # of the quadrature along a step, exact for polynomials of degree 3
NORM = 4.0  # root mean square norm of the inputs, without the constant
SAMPLINGS = ("independent", "reshuffled")
MEASURED = (  # at every stride-th step, over all examples
    "full_product", "gain", "full_gain", "second_order", "loss", "objective",
    "gradient_norm_squared",
)  # fmt: skip


class Problem(NamedTuple):
    """Softmax regression with weight decay on n fixed examples."""

    inputs: Tensor  # (n, D), the last input is 1
    targets: Tensor  # (n, C), one-hot
    weight_decay: float


def problem(settings: Identities, data_root=None, device="cpu") -> Problem:
    """Return the learning problem of the settings.

    The pixels are scaled to a root mean square norm of 4, and a constant 1 joins them.
    Raises :class:`UsageError` for settings that cannot be measured.
    """
    _check(settings)
    training = Training(
        dataset=settings.dataset, examples=settings.examples, model="mlp", epochs=1,
        batch_size=settings.examples, learning_rate=1.0, label_noise=settings.label_noise,
        precision="float64",
    )  # fmt: skip
    dataset = data.load(training, data_root, device)
    images, labels = next(iter(dataset.partition()))
    pixels = images.flatten(1)
    pixels = pixels * (NORM / pixels.square().sum(1).mean().sqrt())
    return Problem(
        torch.cat([pixels, torch.ones_like(pixels[:, :1])], 1),
        torch.nn.functional.one_hot(labels, dataset.classes).double(),
        settings.weight_decay,
    )


def minibatch_gradient(given: Problem, weights: Tensor, chosen: Tensor) -> Tensor:
    """Return gradients (R, D, C) of the objective on the examples ``chosen`` (R, B)."""
    inputs = given.inputs[chosen]
    residual = torch.softmax(inputs @ weights, -1) - given.targets[chosen]
    gradient = inputs.transpose(1, 2) @ residual / chosen.shape[1]
    return gradient + given.weight_decay * weights


def full_gradient(given: Problem, weights: Tensor) -> Tensor:
    """Return the gradients (R, D, C) of the objective over all examples."""
    residual = torch.softmax(given.inputs @ weights, -1) - given.targets
    gradient = given.inputs.T @ residual / len(given.inputs)
    return gradient + given.weight_decay * weights


def losses(given: Problem, weights: Tensor) -> Tensor:
    """Return the mean cross-entropies (R,) over all examples, in nats."""
    scores = given.inputs @ weights
    own = (scores * given.targets).sum(-1)
    return (torch.logsumexp(scores, -1) - own).mean(-1)


def second_order(given: Problem, weights: Tensor, step: Tensor) -> Tensor:
    """Return ∫₀¹ (1 − s) dᵀ H(θ + s d) d ds (R,) for the ``step`` d from ``weights``.

    H is the Hessian of the objective. Added to the first-order change ∇f·d it is
    the whole change of the objective (book: Taylor's formula in chapter 6). The
    integral is a Gauss-Jacobi sum of two nodes, with an error of fourth order in d.
    """
    scores, along = given.inputs @ weights, given.inputs @ step
    nodes, masses = roots_jacobi(NODES, 1, 0)
    total = given.weight_decay * inner(step, step) / 2
    for node, mass in zip((nodes + 1) / 2, masses / 4, strict=True):
        share = torch.softmax(scores + node * along, -1)
        mean = (share * along).sum(-1)
        curvature = (share * along**2).sum(-1) - mean**2
        total = total + mass * curvature.mean(-1)
    return total


def inner(one: Tensor, other: Tensor) -> Tensor:
    """Return the inner products (R,) of two tensors (R, D, C)."""
    return (one * other).sum((1, 2))


def batches(settings: Identities, sampling: str, steps: int, device) -> Iterator:
    """Yield the examples (R, B) of each step's minibatches.

    ``independent``: drawn anew with replacement. ``reshuffled``: each epoch is a
    new random order of all examples, cut into minibatches.
    """
    shape = (settings.replicates, settings.batch_size)
    generator = torch.Generator(device).manual_seed(settings.seed)
    per_epoch = settings.examples // settings.batch_size
    for step in range(steps):
        if sampling == "independent":
            yield torch.randint(
                settings.examples, shape, generator=generator, device=device
            )
        else:
            if step % per_epoch == 0:
                random = torch.rand(
                    settings.replicates, settings.examples,
                    generator=generator, device=device,
                )  # fmt: skip
                epoch = random.argsort(1).split(settings.batch_size, 1)
            yield epoch[step % per_epoch]


def chain(
    given: Problem, settings: Identities, sampling: str, progress: Progress, keeper: Keeper
) -> dict[str, Tensor]:
    """Run the chains from zero weights; return what the identities need.

    At every step, (steps, R): ``minibatch_product`` θ·g, ``buffer_square`` ‖b‖²;
    before every step and after the last, (steps + 1, R): ``weight_square`` ‖θ‖²
    and ``buffer_product`` θ·b of the buffer before the update. At every
    ``stride``-th step, (measured, R): ``full_product`` θ·∇f, ``gain`` and
    ``full_gain``, ∇f·b with the buffer's own last gradient and with ∇f in its
    place, ``second_order`` of the step, ``loss``, ``objective``,
    ``gradient_norm_squared`` ‖∇f‖².
    """
    device, steps = given.inputs.device, settings.edges[-1]
    rate, beta, stride = settings.learning_rate, settings.momentum, settings.stride
    shape = (settings.replicates, given.inputs.shape[1], given.targets.shape[1])
    weights = torch.zeros(shape, dtype=torch.float64, device=device)
    rows = (
        dict.fromkeys(("minibatch_product", "buffer_square"), steps)
        | dict.fromkeys(("weight_square", "buffer_product"), steps + 1)
        | dict.fromkeys(MEASURED, -(-steps // stride))
    )
    first, weights, buffer, kept = keeper.begin(
        step=0, weights=weights, buffer=torch.zeros_like(weights),
        kept={name: weights.new_zeros(count, len(weights)) for name, count in rows.items()},
    )  # fmt: skip

    def note(row: int, **values):
        for name, value in values.items():
            kept[name][row] = value

    drawn = itertools.islice(batches(settings, sampling, steps, device), first, None)
    for step, chosen in enumerate(drawn, first):
        gradient = minibatch_gradient(given, weights, chosen)
        previous, buffer = buffer, beta * buffer + gradient
        note(
            step,
            weight_square=inner(weights, weights),
            buffer_product=inner(weights, previous),
            minibatch_product=inner(weights, gradient),
            buffer_square=inner(buffer, buffer),
        )
        if step % stride == 0:
            full, loss = full_gradient(given, weights), losses(given, weights)
            note(
                step // stride,
                full_product=inner(weights, full),
                gain=inner(full, buffer),
                full_gain=inner(full, beta * previous + full),
                second_order=second_order(given, weights, -rate * buffer),
                loss=loss,
                objective=loss + given.weight_decay / 2 * inner(weights, weights),
                gradient_norm_squared=inner(full, full),
            )
        weights = weights - rate * buffer
        progress.advance()
        keeper.keep(step=step + 1, weights=weights, buffer=buffer, kept=kept)
    note(steps, weight_square=inner(weights, weights), buffer_product=inner(weights, buffer))
    return {name: values.cpu() for name, values in kept.items()}


def drift(kept: dict, settings: Identities, begin: int, end: int) -> Tensor:
    """Return 1 less the minibatch form of the ratio, (R,), from the ends of a window.

    By the pathwise identity the ratio of Σ θ·g to η (1+β)/2 Σ ‖b‖² differs from 1
    by what ‖θ‖² and θ·b changed between steps ``begin`` and ``end`` (book: chapter 6).
    """
    rate, beta = settings.learning_rate, settings.momentum
    change = {name: kept[name][end] - kept[name][begin] for name in
              ("weight_square", "buffer_product")}  # fmt: skip
    boundary = (1 - beta) / (2 * rate) * change["weight_square"]
    boundary = boundary - beta * change["buffer_product"]
    whole = rate * (1 + beta) / 2 * kept["buffer_square"][begin:end].sum(0)
    return boundary / whole


def two_identities(
    settings: Identities, data_root=None, device="cpu", keeper=None
) -> list[tuple]:
    """Measure both identities, in both forms, under both samplings.

    Rows of metrics; each name ends in the sampling, as in ``loss (reshuffled)``;
    errors are standard errors over the independent chains. For each window of
    time, ``step`` being its end:

    - ``minibatch_ratio``, ``full_ratio``: mean θ·g, and mean θ·∇f, over
      η (1+β)/2 times the mean of ‖b‖²;
    - ``drift``: 1 less the first, by :func:`drift`;
    - ``minibatch_budget``, ``full_budget``: first-order gain over second-order
      loss, the gain with the buffer's last gradient, and with ∇f in its place;
    - ``mean_loss``, ``mean_gradient_norm_squared``, ``mean_weight_square`` ‖θ‖² and
      ``mean_buffer_square`` ‖b‖²: means over the window.

    At the measured steps ``loss``, ``objective``, ``gradient_norm_squared`` and
    ``weight_norm``. Raises :class:`UsageError` for what cannot be measured.
    """
    keeper = keeper or Keeper()
    given, rows = problem(settings, data_root, device), []
    passes, total = settings.batch_size / settings.examples, len(SAMPLINGS) * settings.edges[-1]
    with keeper.progress("two_identities", total) as progress:

        def measured(sampling: str) -> list[tuple]:
            kept = chain(given, settings, sampling, progress, keeper)
            return _windows(kept, settings) + _course(kept, settings)

        for sampling in SAMPLINGS:
            rows += [
                (step, step * passes, f"{name} ({sampling})", value, error)
                for step, name, value, error in keeper.part(
                    sampling, functools.partial(measured, sampling)
                )
            ]
    return rows


def _windows(kept: dict, settings: Identities) -> list[tuple]:
    rate, beta, rows = settings.learning_rate, settings.momentum, []
    for begin, end in itertools.pairwise((0, *settings.edges)):
        steps = slice(begin, end)
        measured = slice(-(-begin // settings.stride), -(-end // settings.stride))
        squares = rate * (1 + beta) / 2 * kept["buffer_square"][steps].mean(0)
        second = kept["second_order"][measured].mean(0)
        moved = drift(kept, settings, begin, end)
        found = {
            "minibatch_ratio": _ratio(
                kept["minibatch_product"][steps].mean(0), squares
            ),
            "full_ratio": _ratio(kept["full_product"][measured].mean(0), squares),
            "drift": _ratio(moved * squares, squares),
            "minibatch_budget": _ratio(rate * kept["gain"][measured].mean(0), second),
            "full_budget": _ratio(rate * kept["full_gain"][measured].mean(0), second),
        }
        for name in ("loss", "gradient_norm_squared"):
            found[f"mean_{name}"] = mean_and_error(kept[name][measured].mean(0).cpu())
        for name in ("weight_square", "buffer_square"):
            found[f"mean_{name}"] = mean_and_error(kept[name][steps].mean(0).cpu())
        rows += [(end, name, *pair) for name, pair in found.items()]
    return rows


def _course(kept: dict, settings: Identities) -> list[tuple]:
    rows = []
    norms = kept["weight_square"][: -1 : settings.stride].sqrt()
    names = ("loss", "objective", "gradient_norm_squared")
    for name, values in [
        *((name, kept[name]) for name in names),
        ("weight_norm", norms),
    ]:
        errors = values.std(1) / math.sqrt(settings.replicates)
        pairs = zip(values.mean(1).tolist(), errors.tolist(), strict=True)
        rows += [(i * settings.stride, name, *pair) for i, pair in enumerate(pairs)]
    return rows


def _ratio(above: Tensor, below: Tensor) -> tuple[float, float]:
    """Return the ratio of two means over chains and its standard error (delta method)."""
    ratio = above.mean() / below.mean()
    error = (above - ratio * below).std() / below.mean() / math.sqrt(len(above))
    return ratio.item(), error.item()


def coupled_distance(
    given: Problem, settings: Identities, steps: int, spread: float
) -> Tensor:
    """Return distances (steps + 1, R) of chains that share their minibatches.

    Two chains without momentum start at independent normal weights of standard
    deviation ``spread``; R pairs run at once.
    """
    device = given.inputs.device
    generator = torch.Generator(device).manual_seed(settings.seed)
    shape = (settings.replicates, given.inputs.shape[1], given.targets.shape[1])
    one, other = (
        spread
        * torch.randn(shape, generator=generator, dtype=torch.float64, device=device)
        for _ in range(2)
    )
    distances = [inner(one - other, one - other).sqrt()]
    for chosen in batches(settings, "independent", steps, device):
        one, other = (
            weights
            - settings.learning_rate * minibatch_gradient(given, weights, chosen)
            for weights in (one, other)
        )
        distances.append(inner(one - other, one - other).sqrt())
    return torch.stack(distances).cpu()


def smoothness(given: Problem) -> float:
    """Return a Lipschitz constant of every minibatch gradient: λ + max ‖x‖² / 2."""
    return given.weight_decay + given.inputs.square().sum(1).max().item() / 2


def gradient_bound(given: Problem) -> float:
    """Return a bound of every minibatch gradient of the loss: √2 max ‖x‖."""
    return math.sqrt(2 * given.inputs.square().sum(1).max().item())


def _check(settings: Identities) -> None:
    per_epoch, rest = divmod(settings.examples, settings.batch_size)
    if rest or not per_epoch:
        raise UsageError(
            f"A reshuffled epoch needs whole minibatches: {settings.examples} examples "
            f"are no multiple of the batch size {settings.batch_size}."
        )
    if not 0 <= settings.label_noise <= 1:
        raise UsageError(
            f"The label noise is a share in [0, 1], not {settings.label_noise:g}."
        )
    if settings.replicates < 2:
        raise UsageError("The setting replicates must be at least 2, for errors.")
    edges = (0, *settings.edges)
    if len(edges) < 2 or any(
        b - a < settings.stride for a, b in itertools.pairwise(edges)
    ):
        raise UsageError(
            f"The setting edges must rise by at least the stride {settings.stride} "
            f"each, so that every window is measured: it is {settings.edges}."
        )
    if settings.stride < 1 or math.gcd(settings.stride, per_epoch) > 1:
        raise UsageError(
            f"The stride {settings.stride} must be positive and share no factor with "
            f"the {per_epoch} minibatches of an epoch, to see all parts of it."
        )
