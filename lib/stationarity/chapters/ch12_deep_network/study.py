"""A small net at the end of training: its Hessian, its noise, and replicas by mode.

Modes are eigenvectors of the Hessian of the loss without decay, descending. Sums of a
stationary law over all directions are ``tr[Σ g(H)]``, of the Hessian H and the covariance Σ
of the gradient of one example: exact along the modes, a spectrum for the rest. Source, as
of all in this folder: our section "Does a deep network obey?".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ... import measure
from ...errors import UsageError
from ...nets import mlp
from ...runs import metrics
from ...runs.seeds import seed_of
from ...stats import modes
from ...stats.displacement import spaced_lags
from ...stats.estimate import mean_and_error
from ...train import chance_level, ensembles
from .. import small
from ..small import Task

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import ModeStudy

CHUNK = 128  # examples whose own gradients are in memory at once


def followed_modes(settings: ModeStudy, place: Place) -> list[tuple]:
    """Train a net, take its Hessian and its noise, follow replicas. Rows:

    - at the reference weights, means over the last steps of training: ``reference_loss``;
      ``reference_noise_trace``, of one minibatch gradient; of each mode (``index``)
      ``eigenvalue`` (error: residual) and ``noise_variance``; of the modes i < j among k
      ``noise_covariance``, ``index`` i k + j; ``smallest_eigenvalue``, at most so much;
      ``rest_node`` and ``rest_weight``, for each draw the spectrum of H off the modes in
      which each direction counts with its noise; ``parameters``, their number P;
    - of the replicas after the discarded steps, of each mode, what
      :func:`stationarity.stats.modes.statistics` gives; of random directions off the modes
      ``rest_variance`` and ``rest_kurtosis``; ``projection`` of the first replica on some
      modes, its last steps; ``replica_loss`` and ``replica_noise_trace``, exact;
    - with the lag as step: ``global_displacement_squared`` of each ``member``, mean over
      its reference points; ``drift_squared``, of the mean displacement of the replicas; and
      ``rest_dimension``, (tr C)^2 / tr C^2 of what is not along the modes.

    Errors are standard errors over the replicas. Disk: ``steps`` x ``replicas`` x (modes +
    random directions) float32 numbers, which are read at the end; memory: ``points`` x
    ``replicas`` nets, too. Raises :class:`UsageError` for too small a net.
    """
    task, keeper = small.load(settings, place, settings.side), place.keeper
    if settings.reshuffled:
        task.sampling = "reshuffled"
    parameters = sum((inputs + 1) * outputs for inputs, outputs in pairwise(task.widths))
    if parameters - settings.modes < max(settings.random_directions, settings.nodes):
        raise UsageError(
            f"A net of {parameters} parameters has no room for {settings.modes} modes and as "
            "many others: lower modes, random_directions or nodes."
        )
    with keeper.progress("modes", settings.burn_in + settings.steps):
        state, reference = keeper.part("training", lambda: _train(task))
        directions, spectrum = keeper.part("hessian", lambda: _at_reference(task, reference))
        rows = metrics.rows("parameters", parameters) + spectrum
        return rows + _follow(task, state, reference, directions)


def _train(task: Task) -> tuple[small.Weights, Tensor]:
    """Return the state after burn-in, and the reference weights (P,)."""
    settings, seeds = task.settings, small.seeds(task.settings.seed, "member", 1)
    start = task.start(seeds)
    total = torch.zeros_like(start[0][0], dtype=torch.float64)
    nets = small.Nets(task, start, seeds, settings.burn_in, total=total)
    total = nets.kept["total"]
    for step in nets.steps():
        if step >= settings.burn_in - settings.averaged:
            total += nets.theta[0]
        nets.update(settings.learning_rate)
    return nets.state, total / settings.averaged


def _at_reference(task: Task, reference: Tensor) -> tuple[Tensor, list[tuple]]:
    """Return the directions (k + R, P), float32, and rows of Hessian and noise."""
    settings, k = task.settings, task.settings.modes
    model, objective = mlp(task.widths).to(reference), measure.cross_entropy
    nn.utils.vector_to_parameters(reference, model.parameters())
    on = [(task.inputs.double(), task.labels)]
    top = measure.sharpness(model, objective, on, k=k, tol=1e-3, max_products=40 * k)
    if not top.converged:
        raise UsageError(f"{top.products} products do not give the modes: ask for fewer.")
    low = measure.sharpness(model, lambda *of: -objective(*of), on, tol=0.02, max_products=600)
    directions, at = top.eigenvectors, {"step": settings.burn_in, "epoch": task.epoch}
    smallest = -low.eigenvalues[0], low.residuals[0]
    rows = metrics.rows("smallest_eigenvalue", *smallest, **at)
    rows += metrics.rows("eigenvalue", top.eigenvalues, top.residuals, index=range(k), **at)
    (loss,), (mean,), (trace,) = ensembles.exact_statistics(
        reference[None], task.widths, *on[0]
    )
    lost = "The loss of the net", [loss], task.widths[-1], settings, settings.burn_in
    chance_level.tell(*lost)
    whole = {"reference_loss": loss, "reference_noise_trace": trace / settings.batch_size}
    rows += metrics.common_rows(whole, **at)
    generator = torch.Generator().manual_seed(seed_of(settings.seed, "draws"))
    normal = {"generator": generator, "dtype": torch.float64}
    draws = torch.randn(settings.draws, len(task.labels), **normal).to(reference)
    deviations, samples = example_noise(task, reference, mean, directions, draws)
    covariance = deviations.T @ deviations / len(deviations)
    product = hessian(task, reference)
    nodes, weights = quadrature(product, samples, settings.nodes, directions)
    # The draws' weights err in their sum, which is known.
    weights *= (trace - covariance.trace()) / weights.sum()
    covariance, weights = covariance / settings.batch_size, weights / settings.batch_size
    i, j = torch.triu_indices(k, k, 1)
    rows += metrics.rows("noise_variance", covariance.diagonal(), index=range(k), **at)
    rows += metrics.rows("noise_covariance", covariance[i, j], index=i * k + j, **at)
    rest = {"rest_node": nodes.flatten(), "rest_weight": weights.flatten()}
    rows += metrics.common_rows(rest, index=range(nodes.numel()), **at)
    others = torch.randn(settings.random_directions, len(reference), **normal).to(reference)
    # Orthonormal, and orthogonal to the modes.
    every = torch.linalg.qr(torch.cat([directions, others]).T).Q.T
    return torch.cat([directions, every[k:]]).float(), rows


def example_noise(
    task: Task, theta: Tensor, mean: Tensor, directions: Tensor, draws: Tensor
) -> tuple[Tensor, Tensor]:
    """Return deviations (n, k) of n examples' gradients from their mean, and samples (m, P).

    The former along directions (k, P). The samples have mean zero and the covariance Σ, and
    are normal for normal ``draws`` (m, n). All at ``theta`` (P,), in float64.
    """
    inputs, labels, count = task.inputs.double(), task.labels, len(task.inputs)
    deviations = theta.new_empty(count, len(directions))
    samples = theta.new_zeros(len(draws), len(theta))
    for start in range(0, count, CHUNK):
        part = slice(start, start + CHUNK)
        chosen = inputs[part, None], labels[part, None]
        many = theta.expand(len(chosen[0]), -1)
        gradients = ensembles.losses_and_gradients(many, task.widths, *chosen)[1] - mean
        deviations[part] = gradients @ directions.T
        samples += draws[:, part] @ gradients
    return deviations, samples / count**0.5


def hessian(task: Task, theta: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function that maps (m, P) to products with the Hessian."""
    weights = theta.clone().requires_grad_()
    _, (logits,) = ensembles.forward(weights[None], task.widths, task.inputs.double())
    loss = torch.nn.functional.cross_entropy(logits, task.labels)
    (gradient,) = torch.autograd.grad(loss, weights, create_graph=True)
    batched = {"retain_graph": True, "is_grads_batched": True}
    return lambda vectors: torch.autograd.grad(gradient, weights, vectors, **batched)[0]


def quadrature(
    matvec: Callable[[Tensor], Tensor], starts: Tensor, steps: int, outside: Tensor
) -> tuple[Tensor, Tensor]:
    """Return nodes and weights (m, steps): ``sum_j weights g(nodes)`` is about z'g(H)z.

    Gauss quadrature by Lanczos with full re-orthogonalisation from each start z, (m, P),
    without its part along the eigenvectors ``outside`` (k, P). Exact for polynomials g of
    degree below 2 ``steps``. ``matvec`` maps (m, P) to products.
    """

    def rest(rows: Tensor) -> Tensor:
        return rows - (rows @ outside.T) @ outside

    starts = rest(starts)
    norms = starts.norm(dim=1, keepdim=True)
    basis, diagonal, beside = [starts / norms], [], []
    for _ in range(steps):
        image = rest(matvec(basis[-1]))
        diagonal.append((image * basis[-1]).sum(1))
        for _ in range(2):  # twice is enough
            for unit in basis:
                image = image - (image * unit).sum(1, keepdim=True) * unit
        beside.append(image.norm(dim=1))
        basis.append(image / beside[-1][:, None])
    matrix, below = torch.diag_embed(torch.stack(diagonal, 1)), torch.stack(beside, 1)[:, :-1]
    nodes, vectors = torch.linalg.eigh(matrix + torch.diag_embed(below, -1))  # lower half
    return nodes, norms**2 * vectors[:, 0] ** 2


def _follow(
    task: Task, state: small.Weights, reference: Tensor, directions: Tensor
) -> list[tuple]:
    settings, count = task.settings, task.settings.replicas
    seeds, reference = small.seeds(settings.seed, "replica", count), reference.float()
    theta, buffer = (part.expand(count, -1) for part in state)
    kept = {"sums": {}, "rows": [], "places": theta.new_zeros(settings.points, *theta.shape)}
    nets = small.Nets(task, (theta, buffer), seeds, settings.steps, **kept)
    sums, rows, places = nets.kept.values()
    table = task.keeper.table(count * len(directions), nets.step)
    top = directions[: settings.modes].double()
    starts = reference_steps(settings)
    lags = set(spaced_lags(settings.steps - 1 - starts[-1], 2).tolist())
    for step in nets.steps():
        table.write(step, ((nets.theta - reference) @ directions.T).flatten())
        for point, start in enumerate(starts):
            if step == start:
                places[point] = nets.theta
            if step - start in lags:
                gone = _distances((nets.theta - places[point]).double(), top)
                sums[step - start] = sums.get(step - start, 0) + gone
        counted = step - settings.discarded
        if counted >= 0 and counted % settings.measure_every == 0:
            exact, at = task.exact(nets.theta), {"step": step, "epoch": task.epoch}
            traces = mean_and_error(exact.variances.cpu() / settings.batch_size)
            rows += metrics.rows("replica_loss", *mean_and_error(exact.losses.cpu()), **at)
            rows += metrics.rows("replica_noise_trace", *traces, **at)
        nets.update(settings.learning_rate)
    for lag, total in sorted(sums.items()):
        every, (drift, trace, crossed) = (total / len(starts)).split([count, 3])
        at = {"step": lag, "epoch": task.epoch}
        shared = {"drift_squared": drift, "rest_dimension": trace**2 / crossed}
        rows += metrics.rows("global_displacement_squared", every, member=range(count), **at)
        rows += metrics.common_rows(shared, **at)
    series = table.read(settings.steps).view(settings.steps, count, -1).transpose(0, 1)
    return rows + _motion_rows(task, series[:, settings.discarded :].double().numpy())


def reference_steps(settings: ModeStudy) -> list[int]:
    """Return the steps of the reference points: in the first half of what is left."""
    half, points = (settings.steps - settings.discarded) // 2, settings.points
    return [settings.discarded + half * point // points for point in range(points)]


def _distances(gone: Tensor, top: Tensor) -> Tensor:
    """Return squares (K,), that of the common drift, tr C and tr C² off the modes, in one."""
    rest, total = gone - (gone @ top.T) @ top, gone.sum(0)
    count, squares = len(gone), torch.linalg.vecdot(gone, gone)
    drift = (total @ total - squares.sum()) / (count * (count - 1))
    # Differences of pairs have no drift, and are independent of each other.
    pairs = (rest[0::2] - rest[1::2]) / math.sqrt(2)
    products = pairs @ pairs.T
    trace = products.trace() / len(pairs)
    crossed = products.square().sum() - products.diagonal().square().sum()
    crossed = crossed / (len(pairs) * (len(pairs) - 1))
    return torch.cat([squares, torch.stack([drift, trace, crossed])])


def _motion_rows(task: Task, series: NDArray) -> list[tuple]:
    settings = task.settings
    top, others = np.split(series, [settings.modes], axis=2)
    last, rows = {"step": settings.steps, "epoch": task.epoch}, []
    for name, pair in modes.statistics(top, settings.learning_rate).items():
        rows += metrics.rows(name, *pair, index=range(settings.modes), **last)
    centred = others - others.mean((0, 1))
    variance, fourth = (centred**2).mean((0, 1)), (centred**4).mean((0, 1))
    values = {"rest_variance": variance, "rest_kurtosis": fourth / variance**2}
    rows += metrics.common_rows(values, index=range(settings.random_directions), **last)
    kept = range(max(settings.steps - 2000, settings.discarded), settings.steps)
    for mode in {0, min(29, settings.modes - 1)}:  # those whose spirals are drawn
        path = top[0, -len(kept) :, mode]
        rows += metrics.rows("projection", path, index=mode, step=kept, epoch=task.epoch)
    return rows
