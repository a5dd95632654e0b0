"""A small net at the end of training: its Hessian, its noise, and replicas by mode.

The study maps its settings to the rows of a run's metrics, ``(step, epoch, quantity,
value, error)``; what belongs to mode i, or to replica r, carries its number, as in
``eigenvalue[0]``. Modes are eigenvectors of the Hessian of the loss without decay,
descending. Source: our section "Does a deep network obey?".
"""

import math

import numpy as np
import torch
from torch import Tensor, nn

from ... import measure
from ...errors import UsageError
from ...nets import mlp
from ...runs.checkpoints import Keeper
from ...runs.seeds import seed_of
from ...stats import modes
from ...stats.displacement import spaced_lags
from ...train import ensembles
from ..ch06_invariant_measure.chains import mean_and_error
from ..ch07_watching_a_distribution_settle.study import Task, check_finite, load_task
from . import spectra
from .settings import ModeStudy

SPIRAL = (0, 29)  # modes whose projections are kept step by step
KEPT = 2000  # last steps of which they are
PER_OCTAVE = 2  # lags


def followed_modes(
    settings: ModeStudy, data_root=None, device="cpu", keeper=None
) -> list:
    """Train a net, take its Hessian and its noise, follow replicas. Rows:

    - in training at every ``measure_every`` steps: ``loss``, ``gradient_norm`` (of f) and
      ``noise_trace``, of the covariance of one minibatch gradient, all exact;
    - at the reference weights, means over the last steps of training:
      ``eigenvalue[i]`` (error: residual), ``noise_variance[i]``, u_i'Σu_i of a minibatch;
      ``smallest_eigenvalue`` of all, at most so much (error: residual);
      ``noise_covariance[i,j]`` for i < j; ``noise_trace`` and ``reference_gradient_norm``;
      ``rest_node[j]`` and ``rest_weight[j]``, the spectrum of H off the modes in which
      each direction counts with its noise: its weights sum to the rest of the trace;
    - of the replicas after the discarded steps, what :func:`modes.statistics` gives, as
      ``mode_variance[i]`` and so on; for random directions off the modes
      ``rest_variance[i]`` and ``rest_kurtosis[i]``; ``local_displacement_squared``, the
      mean of ||delta||^2, and ``projection[i]`` of the first replica, its last steps;
    - with the lag as step: ``global_displacement_squared[r]``, mean over the reference
      points of replica r; ``top_displacement_squared[r]``, its part along the modes;
      ``drift_squared``, of the mean displacement of the replicas; and
      ``rest_dimension``, (tr C)^2 / tr C^2 of what is not along the modes;
    - ``parameters``, their number P;
    - of the replicas at every ``measure_every`` of these steps ``replica_loss`` and
      ``replica_noise_trace``, exact.

    Errors are standard errors over the replicas. Memory: a file of ``steps`` x
    ``replicas`` x (modes + random directions) float32 numbers, read once at the end, and
    ``points`` x ``replicas`` nets.
    """
    keeper = keeper or Keeper()
    task = load_task(settings, data_root, device)
    parameters = ensembles.count_parameters(task.widths)
    _check(settings, parameters)
    with keeper.progress("modes", settings.burn_in + settings.steps) as progress:
        trained = keeper.part("training", lambda: _train(task, keeper, progress))
        *_, reference, rows = trained
        found = keeper.part("hessian", lambda: _at_reference(task, reference))
        directions, more = found
        rows = [*rows, (0, 0.0, "parameters", parameters, math.nan), *more]
        return rows + _follow(task, keeper, progress, trained, directions)


def _check(settings: ModeStudy, parameters: int) -> None:
    for name in ("modes", "random_directions", "draws", "nodes", "averaged", "points"):
        if getattr(settings, name) < 1:
            raise UsageError(f"The setting {name} must be at least 1.")
    if settings.replicas < 4 or settings.replicas % 2:
        raise UsageError("The setting replicas must be even, and 4 or more.")
    room = parameters - settings.modes
    if min(room - settings.random_directions, room - settings.nodes) < 0:
        raise UsageError(
            f"A net of {parameters} parameters has no room for {settings.modes} modes and as "
            "many others: lower modes, random_directions or nodes."
        )
    if settings.averaged > settings.burn_in:
        raise UsageError("The setting averaged must be at most burn_in.")
    if settings.steps - settings.discarded < 16 * settings.points:
        raise UsageError(
            f"Of {settings.steps} steps {settings.discarded} are discarded, too many for "
            f"{settings.points} reference points: raise steps."
        )


def _batches(task: Task, seeds: list, first: int, last: int):
    settings = task.settings
    sampling = "reshuffled" if settings.reshuffled else "replacement"
    return ensembles.batches(
        len(task.labels),
        settings.batch_size,
        seeds,
        last,
        first=first,
        sampling=sampling,
    )


def _step(task: Task, theta: Tensor, buffer: Tensor, chosen: Tensor, step: int) -> None:
    losses, gradients = task.gradients(theta, chosen)
    check_finite(losses, step)
    ensembles.sgd_step(
        theta, gradients, buffer, task.settings.learning_rate, task.settings.momentum
    )


def _train(task: Task, keeper: Keeper, progress) -> tuple:
    """Return weights and buffer (1, P) after burn-in, the reference (P,), and rows."""
    settings = task.settings
    seeds = [seed_of(settings.seed, "member", 0)]
    theta = ensembles.initialise(task.widths, seeds, device=task.inputs.device)
    first, theta, buffer, total, rows = keeper.begin(
        step=0, theta=theta, buffer=torch.zeros_like(theta), total=theta[0].double() * 0,
        rows=[],
    )  # fmt: skip
    for step, chosen in enumerate(
        _batches(task, seeds, first, settings.burn_in), first
    ):
        if step % settings.measure_every == 0:
            rows += _state(task, theta, step)
        if step >= settings.burn_in - settings.averaged:
            total += theta[0]
        _step(task, theta, buffer, chosen, step)
        progress.advance()
        keeper.keep(step=step + 1, theta=theta, buffer=buffer, total=total, rows=rows)
    rows += _state(task, theta, settings.burn_in)
    return theta, buffer, total / settings.averaged, rows


def _state(task: Task, theta: Tensor, step: int) -> list:
    """Rows of the exact loss, gradient norm and noise of one net, (1, P)."""
    theta = theta.double()
    losses, gradients, variances = ensembles.exact_statistics(
        theta, task.widths, task.inputs.double(), task.labels
    )
    slope = (gradients + task.settings.weight_decay * theta).norm()
    found = {
        "loss": losses[0], "gradient_norm": slope,
        "noise_trace": variances[0] / task.settings.batch_size,
    }  # fmt: skip
    return [
        (step, task.epoch(step), name, float(value), math.nan)
        for name, value in found.items()
    ]


def _at_reference(task: Task, reference: Tensor) -> tuple[Tensor, list]:
    """Return the directions (k + R, P), float32, and rows of Hessian and noise."""
    settings, where = task.settings, (task.inputs.double(), task.labels)
    model = mlp.mlp(task.widths).to(reference)
    nn.utils.vector_to_parameters(reference, model.parameters())
    pairs = measure.sharpness(
        model, measure.cross_entropy, [where], k=settings.modes, tol=1e-3,
        max_products=40 * settings.modes,
    )  # fmt: skip
    if not pairs.converged:
        raise UsageError(
            f"{pairs.products} products do not give the modes: ask for fewer."
        )
    lowest = measure.sharpness(model, _negative, [where], tol=0.02, max_products=600)
    generator = torch.Generator().manual_seed(seed_of(settings.seed, "draws"))
    shape = settings.draws, len(task.labels)
    draws = torch.randn(shape, generator=generator, dtype=torch.float64).to(reference)
    deviations, samples, trace = spectra.noise(
        reference, task.widths, *where, pairs.eigenvectors, draws
    )
    covariance = deviations.T @ deviations / len(deviations)
    product = spectra.hessian(reference, task.widths, *where)
    nodes, weights = spectra.quadrature(
        product, samples, settings.nodes, pairs.eigenvectors
    )
    # The draws' weights err in their sum, which is known.
    weights *= (trace - covariance.trace()) / weights.sum()
    rows = _noise_rows(pairs, covariance / settings.batch_size)
    smallest, residual = -lowest.eigenvalues.item(), lowest.residuals.item()
    rows.append((0, 0.0, "smallest_eigenvalue", smallest, residual))
    rows += _numbered("rest_node", nodes.flatten())
    rows += _numbered("rest_weight", weights.flatten() / settings.batch_size)
    others = torch.randn(
        settings.random_directions,
        len(reference),
        generator=generator,
        dtype=torch.float64,
    ).to(reference)
    # Orthonormal, and orthogonal to the modes.
    every = torch.linalg.qr(torch.cat([pairs.eigenvectors, others]).T).Q.T
    directions = torch.cat([pairs.eigenvectors, every[settings.modes :]]).float()
    last = [
        (settings.burn_in, task.epoch(settings.burn_in), *row[2:])
        for row in rows + _reference_state(task, reference)
    ]
    return directions, last


def _negative(model: nn.Module, batch) -> Tensor:
    return -measure.cross_entropy(model, batch)


def _reference_state(task: Task, reference: Tensor) -> list:
    names = ("reference_loss", "reference_gradient_norm", "reference_noise_trace")
    found = _state(task, reference[None], 0)
    return [(0, 0.0, name, *row[3:]) for name, row in zip(names, found, strict=True)]


def _noise_rows(pairs, covariance: Tensor) -> list:
    """Rows of the eigenvalues and of the noise's covariance (k, k) of a minibatch."""
    rows = _numbered("eigenvalue", pairs.eigenvalues, pairs.residuals)
    rows += _numbered("noise_variance", covariance.diagonal())
    count = len(covariance)
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    return rows + [
        (0, 0.0, f"noise_covariance[{i},{j}]", float(covariance[i, j]), math.nan)
        for i, j in pairs
    ]


def _numbered(
    name: str, values, errors=None, step: int = 0, epoch: float = 0.0
) -> list:
    errors = [math.nan] * len(values) if errors is None else errors
    return [
        (step, epoch, f"{name}[{i}]", float(value), float(error))
        for i, (value, error) in enumerate(zip(values, errors, strict=True))
    ]


def _follow(
    task: Task, keeper: Keeper, progress, trained: tuple, directions: Tensor
) -> list:
    """Follow the replicas; return the rows of what they did."""
    settings = task.settings
    count, width = settings.replicas, settings.replicas * len(directions)
    seeds = [seed_of(settings.seed, "replica", k) for k in range(count)]
    theta, buffer = (part.expand(count, -1).clone() for part in trained[:2])
    reference = trained[2].float()
    places = theta.new_zeros(settings.points, *theta.shape)
    squares = theta.new_zeros(count, dtype=torch.float64)
    first, theta, buffer, places, squares, sums, rows = keeper.begin(
        step=0,
        theta=theta,
        buffer=buffer,
        places=places,
        squares=squares,
        sums={},
        rows=[],
    )
    table = keeper.table(width, first)
    starts, lags = _reference_points(settings)
    for step, chosen in enumerate(_batches(task, seeds, first, settings.steps), first):
        table.write(step, ((theta - reference) @ directions.T).flatten())
        for point, start in enumerate(starts):
            if step == start:
                places[point] = theta
            if step - start in lags:
                _add_distances(
                    sums, step - start, theta - places[point], directions, settings
                )
        counted = step - settings.discarded
        if counted >= 0 and counted % settings.measure_every == 0:
            rows += _visited(task, theta, step)
        _step(task, theta, buffer, chosen, step)
        if counted >= 0:
            squares += torch.linalg.vecdot(buffer, buffer).double()
        progress.advance()
        keeper.keep(
            step=step + 1, theta=theta, buffer=buffer, places=places, squares=squares,
            sums=sums, rows=rows,
        )  # fmt: skip
    rows += _distance_rows(task, sums, len(starts))
    squares *= settings.learning_rate**2 / (settings.steps - settings.discarded)
    name, last = (
        "local_displacement_squared",
        (settings.steps, task.epoch(settings.steps)),
    )
    rows.append((*last, name, *mean_and_error(squares.cpu())))
    series = table.read(settings.steps).view(settings.steps, count, -1).transpose(0, 1)
    return rows + _motion_rows(task, series[:, settings.discarded :].double().numpy())


def _visited(task: Task, theta: Tensor, step: int) -> list:
    """Rows of loss and noise of one minibatch, exact, at the replicas' weights (K, P)."""
    losses, _, variances = ensembles.exact_statistics(
        theta.double(), task.widths, task.inputs.double(), task.labels
    )
    found = {
        "replica_loss": losses, "replica_noise_trace": variances / task.settings.batch_size,
    }  # fmt: skip
    return [
        (step, task.epoch(step), name, *mean_and_error(values.cpu())) for name, values in found.items()
    ]


def reference_steps(steps: int, discarded: int, points: int) -> list[int]:
    """Return the steps of the reference points: in the first half of what is left.

    >>> reference_steps(steps=300, discarded=100, points=2)
    [100, 150]
    """
    left = steps - discarded
    return [discarded + left // 2 * k // points for k in range(points)]


def _reference_points(settings: ModeStudy) -> tuple[list[int], set[int]]:
    """Return the steps of the reference points, and the lags at which all are left."""
    starts = reference_steps(settings.steps, settings.discarded, settings.points)
    return starts, set(spaced_lags(settings.steps - 1 - starts[-1], PER_OCTAVE).tolist())


def _add_distances(sums, lag: int, gone: Tensor, directions: Tensor, settings) -> None:
    """Add what the replicas' displacements (K, P) over a lag say, to the sums by lag."""
    gone = gone.double()
    along = gone @ directions[: settings.modes].double().T
    rest = gone - along @ directions[: settings.modes].double()
    total = gone.sum(0)
    count, squares = len(gone), torch.linalg.vecdot(gone, gone)
    drift = (total @ total - squares.sum()) / (count * (count - 1))
    # Differences of pairs have no drift, and are independent of each other.
    pairs = (rest[0::2] - rest[1::2]) / math.sqrt(2)
    products = pairs @ pairs.T
    trace = products.trace() / len(pairs)
    crossed = (products.square().sum() - products.diagonal().square().sum()) / (
        len(pairs) * (len(pairs) - 1)
    )
    found = torch.cat(
        [
            squares,
            torch.linalg.vecdot(along, along),
            torch.stack([drift, trace, crossed]),
        ]
    )
    sums[lag] = sums[lag] + found if lag in sums else found


def _distance_rows(task: Task, sums: dict, points: int) -> list:
    count, rows = task.settings.replicas, []
    for lag in sorted(sums):
        mean = (sums[lag] / points).tolist()
        place = lag, task.epoch(lag)
        rows += _numbered("global_displacement_squared", mean[:count], None, *place)
        rows += _numbered(
            "top_displacement_squared", mean[count : 2 * count], None, *place
        )
        drift, trace, crossed = mean[2 * count :]
        rows.append((*place, "drift_squared", drift, math.nan))
        rows.append((*place, "rest_dimension", trace**2 / crossed, math.nan))
    return rows


def _motion_rows(task: Task, series: np.ndarray) -> list:
    """Rows of the projections (K, T, k + R) along modes and random directions."""
    settings = task.settings
    top, others = np.split(series, [settings.modes], axis=2)
    last = settings.steps, task.epoch(settings.steps)
    rows = []
    for name, found in modes.statistics(top, settings.learning_rate).items():
        rows += _numbered(name, *found, *last)
    centred = others - others.mean((0, 1))
    variance, fourth = (centred**2).mean((0, 1)), (centred**4).mean((0, 1))
    rows += _numbered("rest_variance", variance, None, *last)
    rows += _numbered("rest_kurtosis", fourth / variance**2, None, *last)
    kept = range(max(settings.steps - KEPT, settings.discarded), settings.steps)
    for mode in {min(mode, settings.modes - 1) for mode in SPIRAL}:
        rows += [
            (step, task.epoch(step), f"projection[{mode}]", value, math.nan)
            for step, value in zip(
                kept, top[0, -len(kept) :, mode].tolist(), strict=True
            )
        ]
    return rows
