"""What a run that was followed did along its modes, beside what theory says of it."""

import math

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike, NDArray

from ... import theory
from ...errors import UsageError
from ...runs.records import Run
from ...stats.displacement import spaced_lags
from ...stats.estimate import Estimate, jackknife
from ...theory import discrete
from ...train.directions import BURN_IN
from .. import SHARE, SIZE, bootstrap, quantity
from ..levels import AT_REST, fall_while_followed
from ..trends import slope_weights
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

    ``eigenvalue`` (without decay), ``noise_variance`` (of one minibatch) and those of
    ``discrete.MODES`` that the run has, each with ``<name>_error``; of the last
    ``<name>_predicted`` (NaN where the curvature with decay is not positive), and
    ``<name>_ratio`` with ``<name>_ratio_error``, of measurement and noise. With one of
    :data:`.surrogates.LAWS` a surrogate is what was measured.
    """
    measured = list(filter(run.has, discrete.MODES))
    rows = run.metrics[run.metrics.quantity.isin(["eigenvalue", "noise_variance", *measured])]
    wide = rows.pivot(index="index", columns="quantity", values=["value", "error"])
    table = wide["value"].join(wide["error"].add_suffix("_error")).reset_index(drop=True)
    given = table.eigenvalue, table.noise_variance, *optimiser(run)
    predicted = discrete.predictions(*given, positive_only=True)
    of_noise = (table.noise_variance_error / table.noise_variance).fillna(0.0)
    if law:
        for name, statistic in _surrogate_modes(run, law, table, of_noise).items():
            table[name], table[f"{name}_error"] = statistic
    for name in measured:
        errors = table[f"{name}_error"] / table[name], of_noise * name.endswith("variance")
        table[f"{name}_predicted"] = predicted[name]
        table[f"{name}_ratio"] = table[name] / predicted[name]
        table[f"{name}_ratio_error"] = table[f"{name}_ratio"] * np.hypot(*errors)
    return table


def _surrogate_modes(run: Run, law: str, table: pd.DataFrame, of_noise: pd.Series) -> dict:
    """Return the statistics of modes that obey a law, with the run's sampling and errors."""
    settings, (rate, momentum, decay) = run.settings, optimiser(run)
    if run.has("followed_from"):
        steps = run.series("mode_variance").step[0] + 1 - run.series("followed_from").value[0]
        sampling = 1, int(steps - round(BURN_IN * steps))
    else:
        sampling = settings.replicas, settings.steps - settings.discarded
    errors = np.random.default_rng(settings.seed).standard_normal(len(table))
    curvature = np.maximum(table.eigenvalue + decay, FLAT).to_numpy()
    noise = (table.noise_variance * (1 + of_noise * errors).clip(0.1)).to_numpy()
    if law == "one_noise":
        noise = np.full_like(noise, scipy.stats.gmean(noise))
    if law == "one_curvature":
        curvature = np.full_like(curvature, scipy.stats.gmean(curvature))
    drawn = tuple(curvature), rate, tuple(noise), momentum
    return surrogates.statistics(*drawn, *sampling, settings.seed)


def visited_noise(run: Run) -> float:
    """Return the trace of the noise where the replicas went over that at the reference."""
    if not run.has("replica_noise_trace"):
        return math.nan
    at_reference = run.series("reference_noise_trace").value[0]
    return run.series("replica_noise_trace").value.mean() / at_reference


def whole_spectrum(run: Run) -> tuple[NDArray, NDArray]:
    """Return curvatures (n,) and their noise (n,): of the modes, then nodes of the rest."""
    spectrum = by_mode(run)[["eigenvalue", "noise_variance"]].to_numpy().T
    if run.has("rest_node"):
        rest = [run.series(name).value for name in ("rest_node", "rest_weight")]
        spectrum = np.hstack([spectrum, rest])
    return tuple(spectrum)


def _law(run: Run) -> tuple[NDArray, float, NDArray, float]:
    """Return the whole spectrum with decay, as the functions of the theory take it."""
    (curvature, noise), (rate, momentum, decay) = whole_spectrum(run), optimiser(run)
    return np.maximum(curvature + decay, FLAT), rate, noise, momentum


def noise_matrix(run: Run) -> NDArray:
    """Return the covariance of one minibatch gradient along the modes, (k, k)."""
    pairs, matrix = run.series("noise_covariance"), np.diag(by_mode(run).noise_variance)
    i, j = np.divmod(pairs["index"].to_numpy(int), len(matrix))
    matrix[i, j] = matrix[j, i] = pairs.value
    return matrix


def proportionality(matrix: ArrayLike, eigenvalues: ArrayLike) -> dict[str, float]:
    """Say how far a noise covariance (k, k) is proportional to H along k modes.

    ``cosine`` of the angle between the two; ``residual``, the norm of what the best multiple
    of H leaves, over that of the covariance; ``off_diagonal``, the share of its squared norm
    there; and of the ratios of its diagonal to the eigenvalues.
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
    """Return the squared displacement by lag, measured and predicted for stationary motion.

    ``value`` and ``error`` (over replicas or reference points); where the run has them
    ``drift``, that of the mean of the replicas, and ``rest_dimension``; ``top_predicted``
    (along the modes); along all directions, or NaN, ``predicted`` with ``predicted_error``,
    of the draws, and ``ratio`` with ``ratio_error``, of both. With one of
    :data:`.surrogates.MOTIONS` a surrogate is what was measured.
    """
    series = _series(run, law)
    table = pd.DataFrame({"value": series.mean(axis=1), "error": series.sem(axis=1)})
    for name in filter(run.has, ("drift_squared", "rest_dimension")):
        table[name.removesuffix("_squared")] = run.series(name).set_index("step").value
    table = table.reset_index()
    table["top_predicted"], by_draw, weights = _predicted(run, table.lag)
    table["predicted"] = table["predicted_error"] = math.nan
    if run.has("rest_node"):
        # Linearised, for a ratio of sums over the draws: their weights' sum was known.
        scatter = by_draw - by_draw.sum(1, keepdims=True) * weights / weights.sum()
        table["predicted"] = table.top_predicted + by_draw.sum(1)
        table["predicted_error"] = scatter.std(1, ddof=1) * math.sqrt(len(weights))
    errors = table.error / table.value, table.predicted_error / table.predicted
    table["ratio"] = table.value / table.predicted
    return table.assign(ratio_error=table.ratio * np.hypot(*errors))


def _predicted(run: Run, lags: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
    """Return predictions along the modes (L,), of each draw off them (L, n), its weight."""
    law, modes = _law(run), len(run.series("eigenvalue"))
    draws = run.settings.draws if run.has("rest_node") else 1
    along, off = np.split(theory.displacement_squared(lags, *law), [modes], axis=1)
    by_draw, weights = off.reshape(len(lags), draws, -1), law[2][modes:].reshape(draws, -1)
    return along.sum(1), by_draw.sum(2), weights.sum(1)


def _series(run: Run, law: str = "") -> pd.DataFrame:
    """Return the displacements by lag, with a column for each replica or reference point."""
    name, settings = "global_displacement_squared", run.settings
    of_replicas = run.series(name).member.notna().all()
    series = run.wide(name, "member" if of_replicas else "index").rename_axis(index="lag")
    if not law:
        return series
    curvature, rate, noise, momentum = _law(run)
    if law == "plain_sgd":
        rate, momentum = rate / (1 - momentum), 0.0
    if law == "one_curvature":
        curvature = np.full_like(curvature, np.average(curvature, weights=noise))
    own, lags = (tuple(curvature), rate, tuple(noise), momentum), series.index.to_numpy(int)
    how = tuple(reference_steps(settings)), settings.replicas, settings.seed
    squares = surrogates.displacements(own, tuple(lags), *how)
    if law == "drift":
        end = theory.displacement_squared(lags[-1:], *own).sum()
        squares = squares + end / 2 * (lags[:, None] / lags[-1]) ** 2
    return pd.DataFrame(squares, series.index)


def quenched(run: Run, sweep: pd.DataFrame, longest: int) -> pd.DataFrame:
    """Return the exponents that the run's spectrum predicts where its nets go on differently.

    A row for each of ``sweep``, with its ``learning_rate`` and ``momentum``, and two columns:
    ``quenched`` from the stationary state at the run's own settings, ``settled`` from that
    at the new ones. The fit is that of chapter 9, over the last two thirds of the lags.
    """
    curvature, rate, noise, momentum = _law(run)
    hot = theory.stationary_covariance(curvature, rate, noise, momentum)
    lags, rows = spaced_lags(longest), []
    weights = bootstrap.exponent_weights(lags, (longest / 3, longest))
    for new in sweep[["learning_rate", "momentum"]].itertuples(index=False):
        law = theory.stationary_covariance(curvature, new[0], noise, new[1])
        step, squares = theory.transition(curvature, *new), []
        for power in (np.linalg.matrix_power(step, lag) for lag in lags):
            moved, spread = power - np.eye(2), law - power @ law @ power.mT
            both = (moved @ start @ moved.mT + spread for start in (hot, law))
            squares.append([one[..., 0, 0].sum() for one in both])
        rows.append(weights @ np.log(squares))
    return pd.DataFrame(rows, sweep.index, ["quenched", "settled"])


def exponents(table: pd.DataFrame, first: float, last: float) -> dict[str, float]:
    """Fit exponents, ``measured`` and ``predicted``, in a window of :func:`displacements`.

    Raises :class:`UsageError` for fewer than three lags.
    """
    weights = bootstrap.exponent_weights(table.lag, (first, last))
    measured, predicted = weights @ np.log(table[["value", "predicted"]])
    return {"measured": measured, "predicted": predicted}


def inherited(run: Run, lag: int) -> float:
    """Return the squared displacement over a lag that replicas share in a stationary state.

    From step t to t + k after their branch at x their mean goes (M^(t+k) - M^t) x.
    """
    curvature, rate, _, momentum = law = _law(run)
    step, power = theory.transition(curvature, rate, momentum), np.linalg.matrix_power
    starts = reference_steps(run.settings)
    moved = np.stack([power(step, start + lag) - power(step, start) for start in starts])
    shared = moved @ theory.stationary_covariance(*law) @ moved.mT
    return float(shared[..., 0, 0].sum(1).mean())


def _need_the_rest(run: Run) -> None:
    if not run.has("rest_node"):
        raise UsageError(f"{run.name} has no spectrum off the modes to predict from.")


OF_DISPLACEMENT = "of one number, by Student's t over replicas, the prediction's error added"
OF_SHARE = "of one share, by Clopper and Pearson, a mode being a draw, jointly with the scatter"


@quantity(OF_DISPLACEMENT, within=SIZE, **surrogates.MOTIONS)
def displacement_ratio(run: Run, case: str = "", lag: float = 100) -> Estimate:
    """Mean squared displacement over about 100 steps, measured over predicted.

    Or at the measured lag that is nearest to another.
    """
    _need_the_rest(run)
    table = displacements(run, case)
    row = table.iloc[np.abs(np.log(table.lag / min(lag, table.lag.max()))).argmin()]
    return Estimate.of(row.ratio, row.ratio_error, max(_series(run).shape[1] - 1, 1))


@quantity(OF_DISPLACEMENT, within=SIZE, **surrogates.MOTIONS)
def speed_ratio(run: Run, case: str = "") -> Estimate:
    """Mean squared displacement of one step, measured over predicted from Hessian and noise."""
    return displacement_ratio(run, case, 1)


@quantity(OF_DISPLACEMENT, within=SIZE, **surrogates.MOTIONS)
def late_displacement_ratio(run: Run, case: str = "") -> Estimate:
    """Mean squared displacement over the longest lag, measured over predicted."""
    return displacement_ratio(run, case, math.inf)


@quantity("of one number, by a jackknife over replicas", **surrogates.MOTIONS)
def late_exponent_difference(run: Run, case: str = "") -> Estimate:
    """The exponent over the lags from a quarter of the longest on, measured less predicted."""
    _need_the_rest(run)
    series = _series(run, case)
    series = series.loc[series.index.max() / 4 :]
    top, by_draw, weights = _predicted(run, lags := series.index.to_numpy())

    def slope(squares):
        return slope_weights(np.log(lags)) @ np.log(squares)

    def predicted(mean):  # of each draw: its squares, and its weight
        return slope(top + weights.sum() * mean[:-1] / mean[-1])

    drawn, drawn_error = jackknife(predicted, np.vstack([by_draw, weights]), axis=1)
    value, error = jackknife(slope, series, axis=1)
    return Estimate.of(value - drawn, np.hypot(error, drawn_error), series.shape[1] - 1)


def _share(run: Run, case: str, name: str) -> Estimate:
    """Return the share of modes that obey; :class:`UsageError` where a net had not settled."""
    if run.has("followed_from"):
        first, last = fall_while_followed(run)
        if last < AT_REST * first:
            raise UsageError(
                f"The predictions are of a net at rest, and this one's training loss fell "
                f"from {first:.2g} to {last:.2g} while it was followed."
            )
    return shares.inside(by_mode(run, case), name)


@quantity(OF_SHARE, within=SHARE, **surrogates.LAWS)
def mode_variance_share(run: Run, case: str = "") -> Estimate:
    """The share of the top modes whose variance is within a quarter of the prediction."""
    return _share(run, case, "mode_variance")


@quantity(OF_SHARE, within=SHARE, **surrogates.LAWS)
def mode_speed_share(run: Run, case: str = "") -> Estimate:
    """The share of the top modes whose velocity's variance is within a quarter of theory's."""
    return _share(run, case, "mode_velocity_variance")


@quantity(OF_SHARE, within=SHARE, **surrogates.LAWS)
def mode_frequency_share(run: Run, case: str = "") -> Estimate:
    """The share of the modes that should oscillate with a frequency within a quarter of it.

    A mode that is predicted to oscillate and was not seen to is outside.
    """
    return _share(run, case, "mode_frequency")
