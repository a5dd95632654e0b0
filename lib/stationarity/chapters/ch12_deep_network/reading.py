"""From a run that was followed to what theory says of it, side by side.

Tables of what was measured along Hessian modes, and of how far the weights went,
beside the exact predictions of :mod:`stationarity.stats.modes` and
:mod:`stationarity.theory` from the run's eigenvalues, noise and settings. The rows
that are read are those of :mod:`stationarity.chapters.ch12_deep_network.study` and of training runs that are
followed. Source: our section "Does a deep network obey?".
"""

from collections import namedtuple

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ...theory import modes
from .study import reference_steps

Estimate = namedtuple("Estimate", "value error")
MEASURED = ("mode_variance", "mode_velocity_variance", "mode_frequency", "mode_decay")
FLAT = 1e-9  # curvature that counts as none


def numbered(run: Run, name: str) -> pd.DataFrame:
    """Return the rows ``name[0]``, ``name[1]``, ... by number: value, error, step.

    Raises :class:`UsageError` where the run has none.
    """
    rows = run.metrics[run.metrics.quantity.str.startswith(f"{name}[")]
    if rows.empty:
        run.series(f"{name}[0]")  # says what there is
    number = rows.quantity.str.extract(r"\[(\d+)\]", expand=False).astype(int)
    return rows.assign(number=number.to_numpy()).sort_values(["number", "step"])


def by_mode(run: Run) -> pd.DataFrame:
    """Return a row for each mode: eigenvalue, noise, what was measured and predicted.

    Columns: ``eigenvalue`` (of the Hessian without decay), ``residual``,
    ``noise_variance`` (of one minibatch) with ``noise_error``, and for each name of ``MEASURED`` itself,
    ``<name>_error``, ``<name>_predicted``; NaN where there is none. Modes whose
    curvature with decay is not positive have no prediction.
    """
    eigenvalues, noise = numbered(run, "eigenvalue"), numbered(run, "noise_variance")
    table = pd.DataFrame(
        {"eigenvalue": eigenvalues.value.to_numpy(), "residual": eigenvalues.error.to_numpy(),
         "noise_variance": noise.value.to_numpy(), "noise_error": noise.error.to_numpy()}
    )  # fmt: skip
    predicted = modes.predictions(
        table.eigenvalue, table.noise_variance, *optimiser(run), positive_only=True
    )
    for name in MEASURED:
        if f"{name}[0]" not in set(run.metrics.quantity):
            continue
        found = numbered(run, name)
        table[name], table[f"{name}_error"] = (
            found.value.to_numpy(),
            found.error.to_numpy(),
        )
        table[f"{name}_predicted"] = predicted[name]
    return table


def optimiser(run: Run) -> tuple[float, float, float]:
    """Return the learning rate while it was followed, momentum and weight decay."""
    settings = run.settings
    rate = settings.get("followed_rate") or settings["learning_rate"]
    return rate, settings["momentum"], settings["weight_decay"]


def ratio(table: pd.DataFrame, name: str) -> Estimate:
    """Return measured over predicted, the geometric mean over the modes, with its error.

    The errors of the modes are taken for independent; that of a noise that was measured
    is part of them. Raises :class:`UsageError` where no mode has both.
    """
    columns = [name, f"{name}_error", f"{name}_predicted"]
    both = table.reindex(columns=[*columns, "noise_variance", "noise_error"])
    both = both.dropna(subset=columns)
    both = both[(both[columns] > 0).all(axis=1)]
    if both.empty:
        raise UsageError(
            f"No mode has a {name.replace('_', ' ')} and a prediction of it."
        )
    measured, error, predicted = both[columns].to_numpy().T
    value = np.exp(np.log(measured / predicted).mean())
    share = (error / measured) ** 2
    if name in ("mode_variance", "mode_velocity_variance"):  # proportional to the noise
        share += ((both.noise_error / both.noise_variance) ** 2).fillna(0).to_numpy()
    return Estimate(value, value * np.sqrt(share.sum()) / len(both))


def visited_noise(run: Run) -> float:
    """Return the noise where the replicas went over that at the reference weights.

    A ratio of traces; NaN where the run does not have them. To first order it is what
    the predictions, which take the noise for constant, are too small by.
    """
    if "replica_noise_trace" not in set(run.metrics.quantity):
        return np.nan
    visited = run.series("replica_noise_trace").value.mean()
    return float(visited / run.series("reference_noise_trace").value[0])


def displacements(run: Run) -> pd.DataFrame:
    """Return the squared displacement by lag, measured and predicted.

    Columns: ``lag``, ``value`` and ``error`` (mean over the series r, and its standard
    error over them); where the run has them ``top``, the part along the modes, and
    ``drift``, the squared displacement of the mean of the replicas; ``top_predicted``,
    ``predicted`` (of all directions) with ``predicted_error``, NaN where the run has no
    spectrum of the rest. Predictions are for stationary motion; a direction whose
    curvature with decay is not positive counts as flat, where the noise diffuses freely.
    """
    table = _mean_over_series(run, "global_displacement_squared")
    lags, known = table.lag.to_numpy(), set(run.metrics.quantity)
    if "top_displacement_squared[0]" in known:
        top = _mean_over_series(run, "top_displacement_squared")
        table["top"], table["top_error"] = top.value, top.error
        table["drift"] = run.series("drift_squared").value
        table["rest_dimension"] = run.series("rest_dimension").value
    modewise = by_mode(run)
    table["top_predicted"] = _predicted(
        lags, modewise.eigenvalue, modewise.noise_variance, run
    ).sum(1)
    table["predicted"] = table["predicted_error"] = np.nan
    if "rest_node[0]" in known:
        rest = _rest(lags, run)
        table["predicted"] = table.top_predicted + rest.value
        table["predicted_error"] = rest.error
    return table


def _mean_over_series(run: Run, name: str) -> pd.DataFrame:
    by_lag = numbered(run, name).groupby("step").value
    error = by_lag.std() / np.sqrt(by_lag.count())
    return (
        pd.DataFrame({"value": by_lag.mean(), "error": error})
        .rename_axis("lag")
        .reset_index()
    )


def _predicted(lags: ArrayLike, eigenvalues, noise, run: Run) -> NDArray:
    rate, momentum, decay = optimiser(run)
    total = np.maximum(np.asarray(eigenvalues) + decay, FLAT)
    return theory.displacement_squared(lags, total, rate, np.asarray(noise), momentum)


def _rest(lags: ArrayLike, run: Run) -> Estimate:
    """Return the predicted displacement off the modes, its error that of the draws."""
    shape = run.settings["draws"], -1
    nodes = numbered(run, "rest_node").value.to_numpy().reshape(shape)
    weights = numbered(run, "rest_weight").value.to_numpy().reshape(shape)
    found = _predicted(lags, nodes.ravel(), weights.ravel(), run)
    found = found.reshape(len(found), *nodes.shape).sum(2)
    value, shares = found.sum(1), weights.sum(1) / weights.sum()
    # Linearised, for a ratio of sums over the draws: their weights' sum was known.
    scatter = found - value[:, None] * shares
    count = nodes.shape[0]
    return Estimate(value, np.sqrt((scatter**2).sum(1) * count / max(count - 1, 1)))


def exponents(table: pd.DataFrame, first: float, last: float) -> dict[str, float]:
    """Return the slopes of log displacement on log lag over lags of a window.

    By least squares, ``measured`` and ``predicted`` (NaN without a prediction), of the
    table of :func:`displacements`.

    Raises :class:`UsageError` where fewer than three lags lie in the window.
    """
    inside = table[(table.lag >= first) & (table.lag <= last)]
    if len(inside) < 3:
        raise UsageError(
            f"An exponent needs three lags, and {len(inside)} are measured."
        )
    names = {"measured": inside.value, "predicted": inside.predicted}
    return {
        name: float(np.polyfit(np.log(inside.lag), np.log(values), 1)[0])
        if values.notna().all()
        else np.nan
        for name, values in names.items()
    }


def exponent_difference(run: Run) -> tuple[float, float, float]:
    """Return the exponent over the last two octaves of lags, measured less predicted.

    With the ends of its interval at 95 %: Student's t by a jackknife over the series r
    of squared displacements, which are taken for independent.
    """
    table = displacements(run)
    last = table.lag.max()
    found = exponents(table, last / 4, last)
    rows = numbered(run, "global_displacement_squared")
    wide = rows[rows.step >= last / 4].pivot(index="step", columns="number", values="value")
    wide = wide.dropna(axis=1)
    count, total = wide.shape[1], wide.sum(axis=1)
    if count < 2 or np.isnan(found["predicted"]):
        raise UsageError(
            f"{run.name} has no prediction off the modes, or fewer than two series to "
            "leave one out of."
        )
    parts = [
        np.polyfit(np.log(wide.index), np.log((total - wide[one]) / (count - 1)), 1)[0]
        for one in wide
    ]
    quantile = scipy.stats.t.ppf(0.975, count - 1)
    margin = quantile * np.sqrt((count - 1) * np.var(parts))
    value = found["measured"] - found["predicted"]
    return value, value - margin, value + margin


def inherited(run: Run, lag: int) -> float:
    """Return the squared displacement over a lag that replicas share in a stationary state.

    They inherit position and velocity at their branch, of covariance P in a mode. From t
    to t + k steps after it their mean goes (M^(t+k) - M^t) x, where M is the matrix of a
    step. Mean over the reference points t, sum over the modes.
    """
    given, table = run.settings, by_mode(run)
    curvature = np.append(table.eigenvalue, numbered(run, "rest_node").value)
    noise = np.append(table.noise_variance, numbered(run, "rest_weight").value)
    rate, momentum, decay = optimiser(run)
    total = np.maximum(curvature + decay, FLAT)
    covariance = theory.stationary_covariance(total, rate, noise, momentum)
    step, power = theory.transition(total, rate, momentum), np.linalg.matrix_power
    found = []
    for start in reference_steps(given["steps"], given["discarded"], given["points"]):
        moved = power(step, start + lag) - power(step, start)
        found.append((moved @ covariance @ moved.swapaxes(1, 2))[:, 0, 0].sum())
    return float(np.mean(found))


def noise_matrix(run: Run) -> NDArray:
    """Return the covariance of one minibatch gradient along the modes, (k, k)."""
    diagonal = numbered(run, "noise_variance").value.to_numpy()
    matrix = np.diag(diagonal)
    if "noise_covariance[0,1]" not in set(run.metrics.quantity):
        raise UsageError(
            f"{run.name} has the noise along each mode, and not between modes."
        )
    values = run.metrics.set_index("quantity").value
    for i in range(len(diagonal) - 1):
        pairs = [f"noise_covariance[{i},{j}]" for j in range(i + 1, len(diagonal))]
        row = [values[pair] for pair in pairs]
        matrix[i, i + 1 :] = matrix[i + 1 :, i] = row
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


def displacement_ratio(run: Run, lag: float) -> tuple[float, float, float]:
    """Return measured over predicted squared displacement at the measured lag nearest.

    With the ends of its interval at 95 %: Student's t over the series r, the error of
    the prediction added in squares. Raises :class:`UsageError` without a prediction.
    """
    table = displacements(run)
    lag = min(lag, table.lag.max())
    row = table.iloc[np.abs(np.log(table.lag / lag)).argmin()]
    if np.isnan(row.predicted):
        raise UsageError(f"{run.name} has no spectrum off the modes to predict from.")
    series = len(numbered(run, "global_displacement_squared").number.unique())
    quantile = scipy.stats.t.ppf(0.975, max(series - 1, 1))
    found = row.value / row.predicted
    share = np.hypot(row.error / row.value, row.predicted_error / row.predicted)
    return found, found * (1 - quantile * share), found * (1 + quantile * share)
