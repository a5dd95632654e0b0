"""What a run that was followed did along its modes, beside what theory says of it."""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate, jackknife
from ...stats.trends import slope_weights
from ...theory import discrete
from .. import quantity
from .study import reference_steps

FLAT = 1e-9  # curvature that counts as none


def optimiser(run: Run) -> tuple[float, float, float]:
    """Return the learning rate while it was followed, momentum and weight decay."""
    settings = run.settings
    rate = getattr(settings, "followed_rate", 0) or settings.learning_rate
    return rate, settings.momentum, settings.weight_decay


def by_mode(run: Run) -> pd.DataFrame:
    """Return a row for each mode: what was measured, with errors, and predicted.

    Columns: ``eigenvalue`` (of the Hessian without decay), ``noise_variance`` (of one
    minibatch), those of ``discrete.MODES`` that the run has, and of each ``<name>_error``; of
    the last ``<name>_predicted``, too, NaN where the curvature with decay is not positive.
    """
    measured, columns = list(filter(run.has, discrete.MODES)), {}
    for name in ("eigenvalue", "noise_variance", *measured):
        rows = run.series(name).set_index("index")
        columns |= {name: rows.value, f"{name}_error": rows.error}
    table = pd.DataFrame(columns).sort_index().reset_index(drop=True)
    given = table.eigenvalue, table.noise_variance, *optimiser(run)
    predicted = discrete.predictions(*given, positive_only=True)
    return table.assign(**{f"{name}_predicted": predicted[name] for name in measured})


def ratio(table: pd.DataFrame, name: str) -> Estimate:
    """Return measured over predicted, the geometric mean over the modes.

    The errors of the modes are taken for independent; that of a noise that was measured
    is part of them. Raises :class:`UsageError` where no mode has both.
    """
    columns = [name, f"{name}_error", f"{name}_predicted"]
    both = table.reindex(columns=[*columns, "noise_variance", "noise_variance_error"])
    both = both[(both[columns] > 0).all(axis=1)]
    if both.empty:
        raise UsageError(f"No mode has a {name.replace('_', ' ')} and a prediction of it.")
    measured, error, predicted = both[columns].to_numpy().T
    value, share = np.exp(np.log(measured / predicted).mean()), (error / measured) ** 2
    if name in ("mode_variance", "mode_velocity_variance"):  # proportional to the noise
        noise = both.noise_variance_error / both.noise_variance
        share += (noise**2).fillna(0).to_numpy()
    return Estimate.of(value, value * np.sqrt(share.sum()) / len(both))


def visited_noise(run: Run) -> float:
    """Return the noise where the replicas went over that at the reference weights.

    A ratio of traces; NaN where the run does not have them. To first order it is what
    the predictions, which take the noise for constant, are too small by.
    """
    if not run.has("replica_noise_trace"):
        return math.nan
    at_reference = run.series("reference_noise_trace").value[0]
    return run.series("replica_noise_trace").value.mean() / at_reference


def whole_spectrum(run: Run) -> tuple[NDArray, NDArray]:
    """Return curvatures (n,) along the modes and off them, and the noise of each (n,).

    Off the modes they are nodes and weights, of each draw as many. Raises
    :class:`UsageError` where the run has the modes alone.
    """
    table = by_mode(run)
    nodes, weights = (run.series(name).value for name in ("rest_node", "rest_weight"))
    return np.append(table.eigenvalue, nodes), np.append(table.noise_variance, weights)


def noise_matrix(run: Run) -> NDArray:
    """Return the covariance of one minibatch gradient along the modes, (k, k)."""
    if not run.has("noise_covariance"):
        raise UsageError(f"{run.name} has the noise along each mode, and not between modes.")
    matrix = np.diag(by_mode(run).noise_variance)
    pairs = run.series("noise_covariance")
    i, j = np.divmod(pairs["index"].to_numpy(int), len(matrix))
    matrix[i, j] = matrix[j, i] = pairs.value
    return matrix


def proportionality(matrix: ArrayLike, eigenvalues: ArrayLike) -> dict[str, float]:
    """Say how far a noise covariance (k, k) is proportional to H along k modes.

    ``cosine`` of the angle between the two as vectors of k^2 entries (1: proportional);
    ``residual``, the norm of what the best multiple of H leaves over that of the
    covariance; ``off_diagonal``, the share of its squared norm off the diagonal;
    ``least`` and ``most``, the ratios of its diagonal to the eigenvalues, and ``spread``,
    the largest of them over the smallest.

    >>> proportionality(np.diag([4.0, 2.0]), [2.0, 1.0])["spread"]
    np.float64(1.0)
    """
    diagonal = np.diag(matrix)
    whole, curvature = np.linalg.norm(matrix), np.linalg.norm(eigenvalues)
    multiple, ratios = diagonal @ eigenvalues / curvature**2, diagonal / eigenvalues
    return {
        "cosine": diagonal @ eigenvalues / (whole * curvature),
        "residual": np.linalg.norm(matrix - multiple * np.diag(eigenvalues)) / whole,
        "off_diagonal": 1 - (diagonal @ diagonal) / whole**2,
        "spread": ratios.max() / ratios.min(),
        "least": ratios.min(),
        "most": ratios.max(),
    }


def displacements(run: Run) -> pd.DataFrame:
    """Return the squared displacement by lag, measured and predicted.

    Columns: ``lag``, ``value`` and ``error`` (mean over replicas or reference points, and
    its standard error over them); where the run has them ``drift``, the squared
    displacement of the mean of the replicas, and ``rest_dimension``; ``top_predicted``
    (along the modes) and ``predicted`` (along all directions) with ``predicted_error``,
    that of the draws, and ``ratio`` of value and predicted with ``ratio_error`` of both;
    NaN where the run has no spectrum off the modes. Predictions are for stationary motion;
    a curvature that is not positive with decay counts as flat.
    """
    series, modewise, whole = _series(run), by_mode(run), run.has("rest_node")
    table = pd.DataFrame({"value": series.mean(axis=1), "error": series.sem(axis=1)})
    for name in filter(run.has, ("drift_squared", "rest_dimension")):
        table[name.removesuffix("_squared")] = run.series(name).set_index("step").value
    table, (rate, momentum, decay) = table.reset_index(), optimiser(run)
    top = modewise[["eigenvalue", "noise_variance"]].to_numpy().T
    curvature, noise = whole_spectrum(run) if whole else top
    total = np.maximum(curvature + decay, FLAT)
    along = theory.displacement_squared(table.lag, total, rate, noise, momentum)
    along, off = np.split(along, [len(modewise)], axis=1)
    table["top_predicted"] = along.sum(1)
    table["predicted"] = table["predicted_error"] = math.nan
    if whole:
        count = run.settings.draws
        by_draw = off.reshape(len(table), count, -1).sum(2)
        weights = noise[len(modewise) :].reshape(count, -1).sum(1)
        # Linearised, for a ratio of sums over the draws: their weights' sum was known.
        scatter = by_draw - by_draw.sum(1, keepdims=True) * weights / weights.sum()
        table["predicted"] = table.top_predicted + by_draw.sum(1)
        table["predicted_error"] = np.sqrt((scatter**2).sum(1) * count / max(count - 1, 1))
    shares = table.error / table.value, table.predicted_error / table.predicted
    table["ratio"] = table.value / table.predicted
    return table.assign(ratio_error=table.ratio * np.hypot(*shares))


def _series(run: Run) -> pd.DataFrame:
    """Return the displacements by lag, with a column for each replica or reference point."""
    name = "global_displacement_squared"
    of_replicas = run.series(name).member.notna().all()
    return run.wide(name, "member" if of_replicas else "index").rename_axis(index="lag")


def exponents(table: pd.DataFrame, first: float, last: float) -> dict[str, float]:
    """Return the slopes of log displacement on log lag over lags of a window.

    By least squares, ``measured`` and ``predicted`` (NaN without a prediction), of the table
    of :func:`displacements`. Raises :class:`UsageError` for fewer than three lags.
    """
    inside = table[table.lag.between(first, last)]
    if len(inside) < 3:
        raise UsageError(f"An exponent needs three lags, and {len(inside)} are measured.")
    slopes = slope_weights(np.log(inside.lag)) @ np.log(inside[["value", "predicted"]])
    return dict(zip(("measured", "predicted"), slopes, strict=True))


def inherited(run: Run, lag: int) -> float:
    """Return the squared displacement over a lag that replicas share in a stationary state.

    From t to t + k steps after their branch at x = (position, velocity) their mean goes
    (M^(t+k) - M^t) x, M being the matrix of a step. Mean over the reference points t, sum
    over all directions.
    """
    curvature, noise = whole_spectrum(run)
    rate, momentum, decay = optimiser(run)
    total = np.maximum(curvature + decay, FLAT)
    covariance = theory.stationary_covariance(total, rate, noise, momentum)
    step, power = theory.transition(total, rate, momentum), np.linalg.matrix_power
    starts = reference_steps(run.settings)
    moved = np.stack([power(step, start + lag) - power(step, start) for start in starts])
    return float((moved @ covariance @ moved.mT)[..., 0, 0].sum(1).mean())


@quantity("TODO")
def displacement_ratio(run: Run, lag: float = 100) -> Estimate:
    """Mean squared displacement over about 100 steps, measured over predicted.

    Or at the measured lag that is nearest to another. By Student's t over replicas or
    reference points, the error of the prediction added in squares.
    """
    table = displacements(run)
    row = table.iloc[np.abs(np.log(table.lag / min(lag, table.lag.max()))).argmin()]
    if np.isnan(row.predicted):
        raise UsageError(f"{run.name} has no spectrum off the modes to predict from.")
    return Estimate.of(row.ratio, row.ratio_error, max(_series(run).shape[1] - 1, 1))


@quantity("TODO")
def speed_ratio(run: Run) -> Estimate:
    """Mean squared displacement of one step, measured over predicted from Hessian and noise."""
    return displacement_ratio(run, 1)


@quantity("TODO")
def late_displacement_ratio(run: Run) -> Estimate:
    """Mean squared displacement over the longest lag, measured over predicted."""
    return displacement_ratio(run, math.inf)


@quantity("TODO")
def late_exponent_difference(run: Run) -> Estimate:
    """The exponent over the last two octaves of the lags, measured less predicted.

    The interval is a jackknife over replicas and reference points.
    """
    table = displacements(run)
    last = table.lag.max()
    predicted = exponents(table, last / 4, last)["predicted"]
    series = _series(run).loc[last / 4 :].dropna(axis=1)
    if series.shape[1] < 2 or np.isnan(predicted):
        lacking = "no prediction off the modes, or fewer than two series to leave one out of"
        raise UsageError(f"{run.name} has {lacking}.")
    weights = slope_weights(np.log(series.index))
    value, error = jackknife(lambda mean: weights @ np.log(mean), series, axis=1)
    return Estimate.of(value - predicted, error, series.shape[1] - 1)


@quantity("TODO")
def mode_variance_ratio(run: Run) -> Estimate:
    """Variance along the top Hessian modes over that predicted, geometric mean."""
    return ratio(by_mode(run), "mode_variance")


@quantity("TODO")
def mode_speed_ratio(run: Run) -> Estimate:
    """Variance of the velocity along the top Hessian modes over that predicted."""
    return ratio(by_mode(run), "mode_velocity_variance")


@quantity("TODO")
def mode_frequency_ratio(run: Run) -> Estimate:
    """Frequency of oscillation along the modes over that predicted, where both exist."""
    return ratio(by_mode(run), "mode_frequency")
