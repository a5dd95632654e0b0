"""What a run that was followed did along its modes, beside what theory says of it.

The predictions are those of :mod:`stationarity.theory`, exact, from the run's
eigenvalues, noise and settings. The runs are those of this chapter's study, and training
runs that were followed. Source: our section "Does a deep network obey?".
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate, jackknife
from ...stats.trends import slope_weights
from ...theory import modes
from .. import quantity
from .study import reference_steps

MEASURED = ("mode_variance", "mode_velocity_variance", "mode_frequency", "mode_decay")
FLAT = 1e-9  # curvature that counts as none


def optimiser(run: Run) -> tuple[float, float, float]:
    """Return the learning rate while it was followed, momentum and weight decay."""
    settings = run.settings
    rate = getattr(settings, "followed_rate", 0) or settings.learning_rate
    return rate, settings.momentum, settings.weight_decay


# --- modes ----------------------------------------------------------------------------


def by_mode(run: Run) -> pd.DataFrame:
    """Return a row for each mode: eigenvalue, noise, what was measured and predicted.

    Columns: ``eigenvalue`` (of the Hessian without decay), ``residual``,
    ``noise_variance`` (of one minibatch) with ``noise_error``, and for each name of
    ``MEASURED`` itself, ``<name>_error``, ``<name>_predicted``; NaN where there is none.
    Modes whose curvature with decay is not positive have no prediction.
    """
    columns = {}
    for name, value, error in (
        ("eigenvalue", "eigenvalue", "residual"),
        ("noise_variance", "noise_variance", "noise_error"),
        *((name, name, f"{name}_error") for name in MEASURED if run.has(name)),
    ):
        rows = run.series(name).set_index("index")
        columns |= {value: rows.value, error: rows.error}
    table = pd.DataFrame(columns).sort_index().reset_index(drop=True)
    predicted = modes.predictions(
        table.eigenvalue, table.noise_variance, *optimiser(run), positive_only=True
    )
    measured = [name for name in MEASURED if name in table]
    return table.assign(**{f"{name}_predicted": predicted[name] for name in measured})


def ratio(table: pd.DataFrame, name: str) -> Estimate:
    """Return measured over predicted, the geometric mean over the modes.

    The errors of the modes are taken for independent; that of a noise that was measured
    is part of them. Raises :class:`UsageError` where no mode has both.
    """
    columns = [name, f"{name}_error", f"{name}_predicted"]
    both = table.reindex(columns=[*columns, "noise_variance", "noise_error"])
    both = both[(both[columns] > 0).all(axis=1)]
    if both.empty:
        raise UsageError(f"No mode has a {name.replace('_', ' ')} and a prediction of it.")
    measured, error, predicted = both[columns].to_numpy().T
    value = np.exp(np.log(measured / predicted).mean())
    share = (error / measured) ** 2
    if name in ("mode_variance", "mode_velocity_variance"):  # proportional to the noise
        share += ((both.noise_error / both.noise_variance) ** 2).fillna(0).to_numpy()
    return Estimate.of(value, value * np.sqrt(share.sum()) / len(both))


def visited_noise(run: Run) -> float:
    """Return the noise where the replicas went over that at the reference weights.

    A ratio of traces; NaN where the run does not have them. To first order it is what
    the predictions, which take the noise for constant, are too small by.
    """
    if not run.has("replica_noise_trace"):
        return math.nan
    visited = run.series("replica_noise_trace").value.mean()
    return float(visited / run.series("reference_noise_trace").value[0])


def whole_spectrum(run: Run) -> tuple[NDArray, NDArray]:
    """Return curvatures (n,) along the modes and off them, and the noise of each (n,).

    Off the modes they are nodes and weights, of each draw as many. Raises
    :class:`UsageError` where the run has the modes alone.
    """
    table = by_mode(run)
    return (
        np.append(table.eigenvalue, run.series("rest_node").value),
        np.append(table.noise_variance, run.series("rest_weight").value),
    )


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
    matrix, eigenvalues = np.asarray(matrix, float), np.asarray(eigenvalues, float)
    diagonal = np.diag(matrix)
    whole, curvature = np.linalg.norm(matrix), np.linalg.norm(eigenvalues)
    multiple = diagonal @ eigenvalues / curvature**2
    ratios = diagonal / eigenvalues
    return {
        "cosine": diagonal @ eigenvalues / (whole * curvature),
        "residual": np.linalg.norm(matrix - multiple * np.diag(eigenvalues)) / whole,
        "off_diagonal": 1 - (diagonal @ diagonal) / whole**2,
        "spread": ratios.max() / ratios.min(),
        "least": ratios.min(),
        "most": ratios.max(),
    }


# --- displacements --------------------------------------------------------------------


def displacements(run: Run) -> pd.DataFrame:
    """Return the squared displacement by lag, measured and predicted.

    Columns: ``lag``, ``value`` and ``error`` (mean over replicas or reference points, and
    its standard error over them); where the run has them ``drift``, the squared
    displacement of the mean of the replicas, and ``rest_dimension``; ``top_predicted``
    (along the modes) and ``predicted`` (along all directions) with ``predicted_error``,
    NaN where the run has no spectrum of the rest. Predictions are for stationary motion;
    a direction whose curvature with decay is not positive counts as flat, where the noise
    diffuses freely.
    """
    series = _series(run)
    error = series.std(axis=1) / np.sqrt(series.count(axis=1))
    table = pd.DataFrame({"value": series.mean(axis=1), "error": error})
    for column, name in {"drift": "drift_squared", "rest_dimension": "rest_dimension"}.items():
        if run.has(name):
            table[column] = run.series(name).set_index("step").value
    table, modewise = table.reset_index(), by_mode(run)
    noise = modewise.eigenvalue, modewise.noise_variance
    table["top_predicted"] = _predicted(table.lag, *noise, run).sum(1)
    table["predicted"] = table["predicted_error"] = math.nan
    if run.has("rest_node"):
        rest, table["predicted_error"] = _off_the_modes(table.lag, run)
        table["predicted"] = table.top_predicted + rest
    return table


def _series(run: Run) -> pd.DataFrame:
    """Return the displacements by lag, with a column for each replica or reference point."""
    name = "global_displacement_squared"
    of_replicas = run.series(name).member.notna().all()
    return run.wide(name, "member" if of_replicas else "index").rename_axis(index="lag")


def _predicted(lags: ArrayLike, eigenvalues, noise, run: Run) -> NDArray:
    """Return the predicted squared displacement (L, n) at lags along n directions."""
    rate, momentum, decay = optimiser(run)
    total = np.maximum(np.asarray(eigenvalues) + decay, FLAT)
    return theory.displacement_squared(lags, total, rate, np.asarray(noise), momentum)


def _off_the_modes(lags: ArrayLike, run: Run) -> tuple[NDArray, NDArray]:
    """Return the predicted displacement off the modes, and its error, that of the draws."""
    count = run.settings.draws
    nodes, weights = (
        run.series(name).value.to_numpy() for name in ("rest_node", "rest_weight")
    )
    by_draw = _predicted(lags, nodes, weights, run).reshape(len(lags), count, -1).sum(2)
    weights = weights.reshape(count, -1).sum(1)
    value = by_draw.sum(1)
    # Linearised, for a ratio of sums over the draws: their weights' sum was known.
    scatter = by_draw - value[:, None] * weights / weights.sum()
    return value, np.sqrt((scatter**2).sum(1) * count / max(count - 1, 1))


def exponents(table: pd.DataFrame, first: float, last: float) -> dict[str, float]:
    """Return the slopes of log displacement on log lag over lags of a window.

    By least squares, ``measured`` and ``predicted`` (NaN without a prediction), of the
    table of :func:`displacements`. Raises :class:`UsageError` where fewer than three lags
    lie in the window.
    """
    inside = table[table.lag.between(first, last)]
    if len(inside) < 3:
        raise UsageError(f"An exponent needs three lags, and {len(inside)} are measured.")
    weights = slope_weights(np.log(inside.lag))
    return {
        "measured": float(weights @ np.log(inside.value)),
        "predicted": float(weights @ np.log(inside.predicted)),
    }


def inherited(run: Run, lag: int) -> float:
    """Return the squared displacement over a lag that replicas share in a stationary state.

    They inherit position and velocity at their branch, of covariance P in a mode. From t
    to t + k steps after it their mean goes (M^(t+k) - M^t) x, where M is the matrix of a
    step. Mean over the reference points t, sum over the modes.
    """
    curvature, noise = whole_spectrum(run)
    rate, momentum, decay = optimiser(run)
    total = np.maximum(curvature + decay, FLAT)
    covariance = theory.stationary_covariance(total, rate, noise, momentum)
    step, power = theory.transition(total, rate, momentum), np.linalg.matrix_power
    shared = []
    for start in reference_steps(run.settings):
        moved = power(step, start + lag) - power(step, start)
        shared.append((moved @ covariance @ moved.swapaxes(1, 2))[:, 0, 0].sum())
    return float(np.mean(shared))


# --- quantities of the ledger ---------------------------------------------------------


@quantity
def speed_ratio(run: Run) -> Estimate:
    """Mean squared displacement of one step, measured over predicted from Hessian and noise."""
    return _displacement_ratio(run, 1)


@quantity
def displacement_ratio(run: Run) -> Estimate:
    """Mean squared displacement over about 100 steps, measured over predicted."""
    return _displacement_ratio(run, 100)


@quantity
def late_displacement_ratio(run: Run) -> Estimate:
    """Mean squared displacement over the longest lag, measured over predicted."""
    return _displacement_ratio(run, math.inf)


def _displacement_ratio(run: Run, lag: float) -> Estimate:
    """Return measured over predicted at the measured lag that is nearest.

    By Student's t over the series, the error of the prediction added in squares.
    """
    table = displacements(run)
    row = table.iloc[np.abs(np.log(table.lag / min(lag, table.lag.max()))).argmin()]
    if np.isnan(row.predicted):
        raise UsageError(f"{run.name} has no spectrum off the modes to predict from.")
    series = _series(run).shape[1]
    value = row.value / row.predicted
    share = np.hypot(row.error / row.value, row.predicted_error / row.predicted)
    return Estimate.of(value, value * share, max(series - 1, 1))


@quantity
def late_exponent_difference(run: Run) -> Estimate:
    """The exponent over the last two octaves of the lags, measured less predicted.

    The interval is a jackknife over replicas and reference points.
    """
    table = displacements(run)
    last = table.lag.max()
    predicted = exponents(table, last / 4, last)["predicted"]
    series = _series(run).loc[last / 4 :].dropna(axis=1)
    if series.shape[1] < 2 or np.isnan(predicted):
        raise UsageError(
            f"{run.name} has no prediction off the modes, or fewer than two series to "
            "leave one out of."
        )
    weights = slope_weights(np.log(series.index))
    value, error = jackknife(lambda mean: weights @ np.log(mean), series, axis=1)
    return Estimate.of(value - predicted, error, series.shape[1] - 1)


@quantity
def mode_variance_ratio(run: Run) -> Estimate:
    """Variance along the top Hessian modes over that predicted, geometric mean.

    From u'Σu of each mode, its eigenvalue and the settings.
    """
    return ratio(by_mode(run), "mode_variance")


@quantity
def mode_speed_ratio(run: Run) -> Estimate:
    """Variance of the velocity along the top Hessian modes over that predicted."""
    return ratio(by_mode(run), "mode_velocity_variance")


@quantity
def mode_frequency_ratio(run: Run) -> Estimate:
    """Frequency of oscillation along the modes over that predicted, where both exist."""
    return ratio(by_mode(run), "mode_frequency")
