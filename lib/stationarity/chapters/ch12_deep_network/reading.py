"""What a run that was followed did along its modes, beside what theory says of it."""

import math

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate, jackknife
from ...stats.trends import slope_weights
from ...theory import discrete
from ...train.directions import BURN_IN
from .. import quantity
from . import shares, surrogates
from .study import reference_steps

FLAT = 1e-9  # curvature that counts as none


def optimiser(run: Run) -> tuple[float, float, float]:
    """Return the learning rate while it was followed, momentum and weight decay."""
    settings = run.settings
    rate = getattr(settings, "followed_rate", 0) or settings.learning_rate
    return rate, settings.momentum, settings.weight_decay


def by_mode(run: Run, law: str = "") -> pd.DataFrame:
    """Return a row for each mode: what was measured, with errors, and predicted.

    Columns: ``eigenvalue`` (of the Hessian without decay), ``noise_variance`` (of one
    minibatch), those of ``discrete.MODES`` that the run has, and of each ``<name>_error``; of
    the last ``<name>_predicted``, too, NaN where the curvature with decay is not positive,
    and ``<name>_ratio`` of the two, with ``<name>_ratio_error`` of measurement and noise.
    Of a surrogate by one of :data:`.surrogates.LAWS`, the same predictions.
    """
    measured, columns = list(filter(run.has, discrete.MODES)), {}
    for name in ("eigenvalue", "noise_variance", *measured):
        rows = run.series(name).set_index("index")
        columns |= {name: rows.value, f"{name}_error": rows.error}
    table = pd.DataFrame(columns).sort_index().reset_index(drop=True)
    given = table.eigenvalue, table.noise_variance, *optimiser(run)
    predicted = discrete.predictions(*given, positive_only=True)
    of_noise = (table.noise_variance_error / table.noise_variance).fillna(0.0)
    if law:
        for name, found in _surrogate_modes(run, law, table, of_noise).items():
            table[name], table[f"{name}_error"] = found
    for name in measured:
        ratio = table[name] / predicted[name]
        errors = table[f"{name}_error"] / table[name], of_noise * name.endswith("variance")
        columns = {"predicted": predicted[name], "ratio": ratio}
        columns["ratio_error"] = ratio * np.hypot(*errors)
        table = table.assign(**{f"{name}_{key}": one for key, one in columns.items()})
    return table


def _surrogate_modes(run: Run, law: str, table: pd.DataFrame, of_noise: pd.Series) -> dict:
    """Return the statistics of modes that obey a law, with the run's sampling and errors."""
    if not run.has("mode_variance"):
        raise UsageError(f"{run.name} followed its modes for too few steps to measure them.")
    if run.has("followed_from"):
        steps = run.series("mode_variance").step.iloc[0] + 1
        steps -= run.series("followed_from").value.iloc[0]
        sampling = 1, int(steps - round(BURN_IN * steps))
    else:
        sampling = run.settings.replicas, run.settings.steps - run.settings.discarded
    rate, momentum, decay = optimiser(run)
    errors = np.random.default_rng(run.settings.seed).standard_normal(len(table))
    noise = table.noise_variance * (1 + of_noise * errors).clip(0.1)
    given = (np.maximum(table.eigenvalue + decay, FLAT), noise)
    given = [part.to_numpy() for part in given]
    moved = surrogates.moved(law, *given, rate, momentum, _geometric(law))
    return surrogates.statistics(moved, *sampling, run.settings.seed)


def _geometric(law: str):
    """Return the geometric mean of what a law has one of."""
    return lambda *given: scipy.stats.gmean(given[law == "one_noise"])


def ratio(table: pd.DataFrame, name: str) -> Estimate:
    """Return measured over predicted, the geometric mean over the modes that have both.

    The errors of the modes are taken for independent. Raises :class:`UsageError` where
    no mode has both.
    """
    both = table.reindex(columns=[f"{name}_ratio", f"{name}_ratio_error"]).dropna()
    if both.empty:
        raise UsageError(f"No mode has a {name.replace('_', ' ')} and a prediction of it.")
    found, error = both.to_numpy().T
    value = np.exp(np.log(found).mean())
    return Estimate.of(value, value * np.linalg.norm(error / found) / len(both))


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


def displacements(run: Run, law: str = "") -> pd.DataFrame:
    """Return the squared displacement by lag, measured and predicted.

    Of a surrogate by one of :data:`.surrogates.MOTIONS`, the same predictions.

    Columns: ``lag``, ``value`` and ``error`` (mean over replicas or reference points, and
    its standard error over them); where the run has them ``drift``, the squared
    displacement of the mean of the replicas, and ``rest_dimension``; ``top_predicted``
    (along the modes) and ``predicted`` (along all directions) with ``predicted_error``,
    that of the draws, and ``ratio`` of value and predicted with ``ratio_error`` of both;
    NaN where the run has no spectrum off the modes. Predictions are for stationary motion;
    a curvature that is not positive with decay counts as flat.
    """
    series = _series(run, law)
    table = pd.DataFrame({"value": series.mean(axis=1), "error": series.sem(axis=1)})
    for name in filter(run.has, ("drift_squared", "rest_dimension")):
        table[name.removesuffix("_squared")] = run.series(name).set_index("step").value
    table = table.reset_index()
    table["top_predicted"], by_draw, weights = _predicted(run, table.lag)
    table["predicted"] = table["predicted_error"] = math.nan
    if count := len(weights):
        # Linearised, for a ratio of sums over the draws: their weights' sum was known.
        scatter = by_draw - by_draw.sum(1, keepdims=True) * weights / weights.sum()
        table["predicted"] = table.top_predicted + by_draw.sum(1)
        table["predicted_error"] = np.sqrt((scatter**2).sum(1) * count / max(count - 1, 1))
    errors = table.error / table.value, table.predicted_error / table.predicted
    table["ratio"] = table.value / table.predicted
    return table.assign(ratio_error=table.ratio * np.hypot(*errors))


def _predicted(run: Run, lags: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Return what is predicted along the modes (L,), and off them by each draw (L, n).

    With the draws' weights (n,), n = 0 where the run has no spectrum off the modes.
    """
    modewise, whole, (rate, momentum, decay) = (
        by_mode(run),
        run.has("rest_node"),
        optimiser(run),
    )
    top = modewise[["eigenvalue", "noise_variance"]].to_numpy().T
    curvature, noise = whole_spectrum(run) if whole else top
    total, count = np.maximum(curvature + decay, FLAT), run.settings.draws if whole else 0
    every = theory.displacement_squared(lags, total, rate, noise, momentum)
    along, off = np.split(every, [len(modewise)], axis=1)
    by_draw = off.reshape(len(lags), count, -1) if count else np.zeros((len(lags), 0, 1))
    weights = noise[len(modewise) :].reshape(count, -1) if count else np.zeros((0, 1))
    return along.sum(1), by_draw.sum(2), weights.sum(1)


def _series(run: Run, law: str = "") -> pd.DataFrame:
    """Return the displacements by lag, with a column for each replica or reference point."""
    name = "global_displacement_squared"
    of_replicas = run.series(name).member.notna().all()
    series = run.wide(name, "member" if of_replicas else "index").rename_axis(index="lag")
    if not law:
        return series
    (curvature, noise), (rate, momentum, decay) = whole_spectrum(run), optimiser(run)
    given = np.maximum(curvature + decay, FLAT), noise, rate, momentum
    lags, settings = series.index.to_numpy(int), run.settings
    moved = surrogates.moved(law, *given, lambda h, s: np.average(h, weights=s))
    how = reference_steps(settings), settings.replicas, settings.seed
    squares = surrogates.displacements(moved, lags, *how)
    if law == "drift":
        end = theory.displacement_squared(lags[-1:], *given[::2], given[1], momentum).sum()
        squares += end / 2 * (lags[:, None] / lags[-1]) ** 2
    return pd.DataFrame(squares, series.index)


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


OF_DISPLACEMENT = "of one number, by Student's t over replicas, the prediction's error added"
OF_SHARE = "of one share, by Clopper and Pearson, a mode being a draw, jointly with the scatter"


@quantity(OF_DISPLACEMENT, **surrogates.MOTIONS)
def displacement_ratio(run: Run, case: str = "", lag: float = 100) -> Estimate:
    """Mean squared displacement over about 100 steps, measured over predicted.

    Or at the measured lag that is nearest to another. By Student's t over replicas or
    reference points, the error of the prediction added in squares.
    """
    table = displacements(run, case)
    row = table.iloc[np.abs(np.log(table.lag / min(lag, table.lag.max()))).argmin()]
    if np.isnan(row.predicted):
        raise UsageError(f"{run.name} has no spectrum off the modes to predict from.")
    return Estimate.of(row.ratio, row.ratio_error, max(_series(run).shape[1] - 1, 1))


@quantity(OF_DISPLACEMENT, **surrogates.MOTIONS)
def speed_ratio(run: Run, case: str = "") -> Estimate:
    """Mean squared displacement of one step, measured over predicted from Hessian and noise."""
    return displacement_ratio(run, case, 1)


@quantity(OF_DISPLACEMENT, **surrogates.MOTIONS)
def late_displacement_ratio(run: Run, case: str = "") -> Estimate:
    """Mean squared displacement over the longest lag, measured over predicted."""
    return displacement_ratio(run, case, math.inf)


@quantity("of one number, by a jackknife over replicas", **surrogates.MOTIONS)
def late_exponent_difference(run: Run, case: str = "") -> Estimate:
    """The exponent over the last two octaves of the lags, measured less predicted.

    The interval is a jackknife over replicas and reference points, and over the draws of
    which the prediction is a mean.
    """
    series = _series(run, case)
    last = series.index.max()
    series = series.loc[last / 4 :].dropna(axis=1)
    top, by_draw, weights = _predicted(run, lags := series.index.to_numpy())
    if series.shape[1] < 2 or len(weights) < 2:
        lacking = "no prediction off the modes, or fewer than two series to leave one out of"
        raise UsageError(f"{run.name} has {lacking}.")

    def slope(squares):
        return slope_weights(np.log(lags)) @ np.log(squares)

    def predicted(mean):  # of each draw: its squares, and its weight
        return slope(top + weights.sum() * mean[:-1] / mean[-1])

    drawn, drawn_error = jackknife(predicted, np.vstack([by_draw, weights]), axis=1)
    value, error = jackknife(slope, series, axis=1)
    return Estimate.of(value - drawn, np.hypot(error, drawn_error), series.shape[1] - 1)


@quantity(OF_SHARE, **surrogates.LAWS)
def mode_variance_share(run: Run, case: str = "") -> Estimate:
    """The share of the top modes whose variance is within a quarter of the prediction."""
    return shares.inside(by_mode(run, case), "mode_variance")


@quantity(OF_SHARE, **surrogates.LAWS)
def mode_speed_share(run: Run, case: str = "") -> Estimate:
    """The share of the top modes whose velocity's variance is within a quarter of that predicted."""
    return shares.inside(by_mode(run, case), "mode_velocity_variance")


@quantity(OF_SHARE, **surrogates.LAWS)
def mode_frequency_share(run: Run, case: str = "") -> Estimate:
    """The share of the modes that should oscillate with a frequency within a quarter of it.

    A mode that is predicted to oscillate and was not seen to is outside.
    """
    return shares.inside(by_mode(run, case), "mode_frequency")
