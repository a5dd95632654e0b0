"""Ensembles of SGD in phase space (chapter 11): what their stationary state does.

On quadratics with Gaussian noise, of which the theory is exact, and on true minibatches
of a regression, which judge it. Series are (members, T, k) for k modes, with mean zero,
in float64; standard errors are by the jackknife over members. Source: our section
"Modified loss and probability currents".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import scipy.signal
import scipy.stats
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ... import data
from ...errors import UsageError
from ...runs.metrics import common_rows, rows
from ...runs.seeds import seed_of
from ...stats.estimate import jackknife, mean_and_error
from ...stats.modes import FEW, statistics
from ...theory.discrete import check_stable
from ...theory.simulation import simulate
from ..trends import slope_weights
from .settings import NOISES, Ensembles, MinibatchCurrents, PhaseSpace

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from ...runs.progress import Progress

EDGES = np.linspace(-2.4, 2.4, 9)  # of cells in phase space, in standard deviations
VISITED = 100  # states in a cell: below it no mean motion is noted


def phase_space(settings: PhaseSpace, place: Place) -> list[tuple]:
    """Measure ensembles of SGD on a quadratic, with two kinds of noise.

    The noise of a mode has a variance proportional to its curvature, or the mean of
    these in every mode. Rows are those of :func:`measured`. Raises :class:`UsageError`
    for what is unstable, before any work.
    """
    curvature, metrics = np.array(settings.curvatures), []
    check_stable(curvature, settings.learning_rate, settings.momentum)
    like_hessian = settings.noise * curvature
    variances = like_hessian, np.full_like(curvature, like_hessian.mean())
    how = settings.momentum, settings.trajectories, settings.steps
    with place.keeper.progress("phase space", len(NOISES), "part") as bar:
        for of, variance in zip(NOISES, variances, strict=True):

            def measure():
                bar.advance()
                positions = simulated(settings, curvature, variance, *how)
                return measured(of, positions, curvature, np.diag(variance), settings)

            metrics += place.keeper.part(of, measure)
    return metrics


def simulated(
    settings: Ensembles, curvature, variance, momentum: float, members: int, steps: int
) -> NDArray:
    """Return the positions of an ensemble after its burn-in, (members, steps + 1, k)."""
    last = settings.burn_in + steps
    rates, recorded = [settings.learning_rate] * last, range(settings.burn_in, last + 1)
    how = {"momentum": momentum, "seed": settings.seed, "recorded": recorded}
    return simulate(curvature, rates, variance, trajectories=members, **how).swapaxes(0, 1)


def minibatch_currents(settings: MinibatchCurrents, place: Place) -> list[tuple]:
    """Measure ensembles of minibatch SGD on the regression of one-hot labels.

    Rows are those of :func:`measured`, ``hessian_trace`` and the number of ``outputs``.
    Raises :class:`UsageError` for what is unstable, and for a mode that the data do not
    have, before any long work.
    """
    inputs, residuals, curvature = problem(settings, place)
    for beta in settings.momenta:
        check_stable(curvature, settings.learning_rate, beta)
    if (members := settings.trajectories * residuals.shape[1]) < FEW:
        raise UsageError(f"An ensemble of {members} members has no errors: take {FEW}.")
    if max(settings.modes) >= len(curvature):
        raise UsageError(
            f"The regression has modes 0 to {len(curvature) - 1}: take modes from these."
        )
    chosen = list(settings.modes)
    noise = noise_covariance(inputs[:, chosen], residuals) / settings.batch_size
    metrics = rows("hessian_trace", curvature.sum()) + rows("outputs", residuals.shape[1])
    total = (settings.burn_in + settings.steps + 1) * len(settings.momenta)
    with place.keeper.progress("minibatches in phase space", total) as bar:
        for of, beta in settings.ensembles.items():

            def measure():
                positions = paths(inputs, residuals, settings, beta, bar)
                return measured(of, positions, curvature[chosen], noise, settings)

            metrics += place.keeper.part(of, measure)
    return metrics


def problem(settings: MinibatchCurrents, place: Place) -> tuple[Tensor, Tensor, NDArray]:
    """Return the regression's inputs (n, D), residuals (n, C) and curvatures (D,).

    Centred pixels in the basis of the Hessian's eigenvectors, descending, but for those
    without curvature. The residuals at the minimum, of centred one-hot labels, are turned to
    be uncorrelated and have mean square 1: SGD commutes with both, as every output sees the
    same minibatches. :class:`UsageError` where labels are fitted exactly.
    """
    how = {"batch_size": settings.batch_size, "examples": settings.examples}
    dataset = place.load(data.load, settings.dataset, dtype=torch.float64, **how)
    pixels, labels = data.whole(dataset.partition(), settings.side)
    pixels = pixels - pixels.mean(0)
    values, vectors = torch.linalg.eigh(pixels.T @ pixels / len(pixels))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > 1e-9 * values[0]
    inputs = pixels @ vectors[:, kept]
    targets = torch.nn.functional.one_hot(labels, dataset.classes).double()
    targets = targets - targets.mean(0)
    best = inputs.T @ targets / len(inputs) / values[kept, None]
    left, lengths, _ = torch.linalg.svd(targets - inputs @ best, full_matrices=False)
    if lengths[0] < 1e-6 * targets.norm():
        raise UsageError(
            f"The regression fits all {len(inputs)} labels exactly, so that no gradient noise "
            f"is left: take more examples than the {inputs.shape[1]} directions of the data."
        )
    residuals = left[:, lengths > 1e-6 * lengths[0]] * math.sqrt(len(left))
    return inputs, residuals, values[kept].cpu().numpy()


def noise_covariance(inputs: Tensor, residuals: Tensor) -> NDArray:
    """Return the covariance of one example's gradient at the minimum, mean over outputs."""
    weights = residuals.square().mean(1, keepdim=True)
    return (inputs.T @ (weights * inputs) / len(inputs)).cpu().numpy()


def paths(inputs, residuals, settings: MinibatchCurrents, momentum, bar: Progress) -> NDArray:
    """Return the weights along the modes, (members, T + 1, k), from the minimum on.

    The outputs of a trajectory, which share its minibatches, count as members.
    """
    generator = torch.Generator(inputs.device)
    generator.manual_seed(seed_of(settings.seed, "currents", f"{momentum:g}"))
    size, chosen = (settings.trajectories, settings.batch_size), list(settings.modes)
    weights = inputs.new_zeros(size[0], inputs.shape[1], residuals.shape[1])
    velocity = torch.zeros_like(weights)
    kept = torch.empty(settings.steps + 1, *weights[:, chosen].shape, dtype=torch.float64)
    for step in range(-settings.burn_in, settings.steps + 1):
        if step >= 0:
            kept[step] = weights[:, chosen]
        drawn = torch.randint(len(inputs), size, generator=generator, device=inputs.device)
        batch = inputs[drawn]
        error = batch @ weights - residuals[drawn]
        velocity = momentum * velocity - batch.transpose(1, 2) @ error / settings.batch_size
        weights = weights + settings.learning_rate * velocity
        bar.advance()
    series = kept.permute(1, 3, 0, 2)  # trajectory, output, step, mode
    return series.reshape(-1, *series.shape[2:]).numpy()


def measured(of: str, positions, curvature, noise, settings: Ensembles) -> list[tuple]:
    """Return rows ``of`` a stationary ensemble, positions (members, T + 1, k).

    A ``temperature_exponent``, and of each mode, the index:

    - ``curvature``, and of ``noise`` (k, k) ``noise_variance``, and ``noise_covariance``
      of this mode and the next: what the theory is told;
    - what :func:`stationarity.stats.modes.statistics` gives;
    - ``rotation`` of position and velocity in a step, ``position_rotation`` of the
      positions of this mode and the next, and ``rotation_at`` the lag that is the step;
    - ``spectrum`` of the position at the frequency 2π j / segment, where j is the step,
      and ``spectrum_peak``, radians per step, NaN where the spectrum falls from 0 on;
    - ``motion_position`` and ``motion_velocity`` (:func:`local_motion`), the cell as step.
    """
    rate, lags = settings.learning_rate, np.arange(settings.lags + 1)
    positions = np.ascontiguousarray(positions)
    velocity, position = np.diff(positions, axis=1) / rate, positions[:, 1:]
    turned, power = rotation(position, velocity, lags), spectra(position, settings.segment)
    by_mode = {
        "curvature": (curvature,),
        "noise_variance": (np.diag(noise),),
        "noise_covariance": (np.diag(noise, 1),),
        **statistics(position, rate),
        "rotation": turned[:, 1],
        "position_rotation": rotation(position[..., :-1], position[..., 1:], [1])[:, 0],
        "spectrum_peak": spectral_peaks(power),
    }
    exponent, modes = temperature_exponent(position, curvature), range(len(noise))
    metrics = rows("temperature_exponent", *exponent, of=of)
    for name, columns in by_mode.items():
        metrics += rows(name, *columns, of=of, index=range(len(columns[0])))
    metrics += rows("rotation_at", *turned, of=of, step=lags, index=modes)
    spectrum, bins = mean_and_error(power, axis=1), range(len(power))
    metrics += rows("spectrum", *spectrum, of=of, step=bins, index=modes)
    for mode in modes:
        states = np.stack([position[..., mode], velocity[..., mode]])
        motion, counts = local_motion(states, EDGES)
        cells = np.flatnonzero(counts >= VISITED)
        moved = {"motion_position": motion[0, cells], "motion_velocity": motion[1, cells]}
        metrics += common_rows(moved, of=of, step=cells, index=mode)
    return metrics


def rotation(one: NDArray, other: NDArray, lags: ArrayLike) -> NDArray:
    """Measure how pairs of series rotate within ``lags`` (L,) steps: value, error (2, L, k).

    ``E[y_t x_{t+k}] − E[x_t y_{t+k}]`` over twice √(E x² E y² − (E x y)²), without unit:
    positive where the pair turns clockwise in the (x, y) plane. Where the pair's covariance
    is the identity it is Lévy's stochastic area.
    """
    swept = [(_product(other, one, lag) - _product(one, other, lag)) / 2 for lag in lags]
    moments = [_product(one, one, 0), _product(other, other, 0), _product(one, other, 0)]

    def scaled(mean):
        return mean[3:] / np.sqrt(mean[0] * mean[1] - mean[2] ** 2)

    return np.array(jackknife(scaled, np.stack(moments + swept), axis=1, unbiased=True))


def temperature_exponent(series: NDArray, curvature: NDArray) -> tuple[NDArray, NDArray]:
    """Measure p in ``h E θ² ∝ h^p`` over modes, by least squares on logarithms."""
    weights, squares = slope_weights(np.log(curvature)), _product(series, series, 0)
    return jackknife(lambda mean: np.log(curvature * mean) @ weights, squares, unbiased=True)


def spectra(series: NDArray, segment: int) -> NDArray:
    """Return two-sided spectra (segment / 2 + 1, members, k): Welch's, of Hann windows."""
    how = {"nperseg": segment, "detrend": False, "return_onesided": False}
    modes = np.moveaxis(series, -1, 0)  # one at a time: memory
    power = [scipy.signal.welch(one, **how)[1].T[: segment // 2 + 1] for one in modes]
    return np.stack(power, -1)


def spectral_peaks(power: NDArray) -> tuple[NDArray, NDArray]:
    """Return the angles where spectra (bins, members, k), from 0 to π, are largest, (k,).

    The inverse spectrum, a parabola in the cosine of the frequency, is fitted over the bins
    of more than half of the maximum. NaN where its lowest point is not below cosine 1 by
    two standard errors: the spectrum may fall from 0 on.
    """
    cosine, peaks = np.cos(np.linspace(0, np.pi, len(power))), []
    for one in np.moveaxis(power, -1, 0):
        whole = one.mean(1)
        # Without the first bin: the window lets it in from both sides of 0.
        bins = 1 + np.flatnonzero(whole[1:] > whole[1:].max() / 2)

        def lowest(mean):
            below_one = cosine[bins] - 1
            second, first, _ = np.polyfit(below_one, 1 / mean[bins], 2, w=whole[bins])
            return 1 - first / (2 * second)

        nothing = (math.nan, math.nan)
        peaks.append(jackknife(lowest, one.T, unbiased=True) if len(bins) > 3 else nothing)
    place, error = np.array(peaks).T
    angle = np.arccos(np.where(place + 2 * error < 1, place, math.nan))
    return angle, error / np.sin(angle)


def local_motion(states: NDArray, edges: NDArray) -> tuple[NDArray, NDArray]:
    """Measure the mean motion at each place of phase space: the current over the density.

    Of a mode's positions and velocities (2, members, T), each over its root mean square,
    the mean of (x_{t+1} − x_{t−1}) / 2, in which the symmetric part of the drift cancels.
    Cell i G + j of a grid with ``edges`` (G + 1,) begins at the edges i of the position and
    j of the velocity. Means (2, G²), NaN in an empty cell; counts (G²,).
    """
    states = states / np.sqrt(np.mean(np.square(states), axis=(1, 2), keepdims=True))
    motion = ((states[..., 2:] - states[..., :-2]) / 2).reshape(2, -1)
    at, bins = states[..., 1:-1].reshape(2, -1), [edges, edges]
    means = scipy.stats.binned_statistic_2d(*at, motion, "mean", bins)[0]
    counts = np.histogram2d(*at, bins)[0]
    return means.reshape(2, -1), counts.ravel()


def _product(one: NDArray, other: NDArray, lag: int) -> NDArray:
    """Return the mean over t of one_t other_{t+lag} of each member, (members, k)."""
    length = one.shape[1] - lag
    return np.einsum("mtk,mtk->mk", one[:, :length], other[:, lag:]) / length
