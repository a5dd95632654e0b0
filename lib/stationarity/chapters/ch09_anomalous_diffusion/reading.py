"""What a run says of how far its weights go: displacements, exponents, the loss meanwhile.

It reads runs of the experiments ``diffusion``, ``walks`` and any that follows one net and
notes its ``global_displacement_squared``. Source: our section "Anomalous diffusion".
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats import displacement
from ...stats.estimate import Estimate
from .. import quantity

GLOBAL, LOCAL = "global_displacement_squared", "local_displacement_squared"
MAIN = ("base", "Brownian", "")  # what a run is about, where it holds several
# Windows of lags in which the authors' code fits, as shares of the longest lag. Which
# octave theirs is we do not know: here it is the one before the last.
WINDOW = "last two thirds"
WINDOWS = {WINDOW: (1 / 3, 1), "second half": (1 / 2, 1), "one octave": (1 / 4, 1 / 2)}
POINTS = 4  # reference points of one trajectory whose lags do not overlap


def variations(run: Run) -> list[str]:
    """Return the names of what the run follows: variations or processes; "" for one net."""
    if not run.has(GLOBAL):
        raise UsageError(f"The run {run.name} holds no displacements from reference points.")
    return run.series(GLOBAL).of.unique().tolist()


def main(run: Run) -> str:
    """Return the variation that the run is about."""
    names = variations(run)
    return next((name for name in MAIN if name in names), names[0])


def displacements(run: Run, variation: str | None = None) -> tuple[NDArray, NDArray]:
    """Return lags (L,) and squared displacements (K, R, L) of one variation.

    ``variation`` is by default what the run is about. Where the trajectory ends before
    each reference point has the longest lag, the R points lie evenly over it: then at
    most ``POINTS`` of them are kept, so far from each other that their lags do not
    overlap. Raises :class:`UsageError` where the run has none.
    """
    name = main(run) if variation is None else variation
    if name not in variations(run):
        raise UsageError(f"The run {run.name} follows no variation {name!r}.")
    series = run.series(GLOBAL, of=name)
    series = series[series.step > 0].assign(member=series.member.fillna(0))
    table = series.pivot(index=["member", "index"], columns="step", values="value")
    if table.iloc[:, -1].isna().any():
        points = series["index"].nunique()
        apart = -(-points // POINTS)
        table = table[table.index.get_level_values("index") % apart == 0]
        table = table.loc[:, : table.columns[-1] * apart / points].dropna(axis=1)
    squares = table.to_numpy().reshape(series.member.nunique(), -1, table.shape[1])
    return table.columns.to_numpy(float), squares


def ends(longest: float, window: str) -> tuple[float, float]:
    """Return the first and the last lag of one of ``WINDOWS``."""
    first, last = WINDOWS[window]
    return longest * first, longest * last


def octave_exponents(lags: NDArray, squares: NDArray) -> list[tuple[float, float, Estimate]]:
    """Return the first lag, the last and the exponent of every octave, the last one first.

    Octaves reach back from the longest lag, as far as three lags lie in each.
    """
    octaves, last = [], float(lags.max())
    while np.sum((lags >= last / 2) & (lags <= last)) >= 3:
        octaves.append((last / 2, last, displacement.exponent(lags, squares, (last / 2, last))))
        last /= 2
    return octaves


@quantity("TODO")
def displacement_exponent(
    run: Run, variation: str | None = None, window: str = WINDOW
) -> Estimate:
    """The exponent of the squared displacement, fitted over the last two thirds of the lags.

    Or over another of ``WINDOWS``; by default of what the run is about. The interval is a
    bootstrap over seeds, or over the reference points of a single net.
    """
    lags, squares = displacements(run, variation)
    return displacement.exponent(lags, squares, ends(lags[-1], window))


@quantity("TODO")
def distance_from_brownian(run: Run) -> Estimate:
    """How far that exponent lies from 1, the value of Brownian motion, to either side."""
    fit = displacement_exponent(run)
    low = max(fit.low - 1, 1 - fit.high, 0.0)
    return Estimate(abs(fit.value - 1), low, max(fit.high - 1, 1 - fit.low))


@quantity("TODO")
def exponent_change(run: Run, variation: str | None = None) -> Estimate:
    """How much the exponent changes over the last four octaves of the lags.

    That of the later two octaves less that of the two before: zero for a power law.
    """
    lags, squares = displacements(run, variation)
    return displacement.change_of_exponent(lags, squares, (lags[-1] / 2**4, lags[-1]))


@quantity("TODO")
def ornstein_uhlenbeck_change(run: Run) -> Estimate:
    """The same change of an Ornstein-Uhlenbeck process, which settles: no power law."""
    return exponent_change(run, "Ornstein-Uhlenbeck")


def local(run: Run, variation: str | None = None) -> pd.Series:
    """Return the mean of ‖δ‖² of single steps, of each member (K,)."""
    name = main(run) if variation is None else variation
    return run.series(LOCAL, of=name).groupby("member", dropna=False).value.mean()


def exponents(run: Run) -> pd.DataFrame:
    """Return the exponent of every variation, with what else is known of it.

    A row each: ``variation``, ``setting`` and ``number`` (of ``learning_rate=0.01``),
    ``value``, ``low``, ``high``, the ``local`` squared displacement of one step and the
    ``distance`` squared at the longest lag (squared units; means), both with errors.
    """
    rows = []
    for variation in variations(run):
        setting, _, number = variation.partition("=")
        near, (_, squares) = local(run, variation), displacements(run, variation)
        far = pd.Series(squares.mean(1)[:, -1])
        row = {"variation": variation, "setting": setting, "number": number}
        row |= displacement_exponent(run, variation)._asdict()
        row |= {"local": near.mean(), "local_error": near.sem()}
        rows.append(row | {"distance": far.mean(), "distance_error": far.sem()})
    return pd.DataFrame(rows)


def effective_rates(run: Run) -> pd.DataFrame:
    """Return the rows of :func:`exponents` that vary η or β, with the rate η / (1 − β).

    ``effective_rate`` is in unit² per nat; rows are sorted by it. ``expected`` is the
    exponent that the learning rates have there, interpolated in the logarithm: NaN beyond
    their range by more than an eighth.
    """
    table = exponents(run)
    varied = table.setting.isin(["learning_rate", "momentum"])
    table = table[varied | table.variation.eq(main(run))]
    rate, momentum = (
        table.number.where(table.setting == name, getattr(run.settings, name)).astype(float)
        for name in ("learning_rate", "momentum")
    )
    table = table.assign(effective_rate=rate / (1 - momentum))
    table = table.sort_values("effective_rate", ignore_index=True)
    known, rates = table[table.setting != "momentum"], table.effective_rate
    ends = known.effective_rate
    expected = np.interp(np.log(rates), np.log(ends), known.value)
    inside = (rates > ends.min() / 1.125) & (rates < ends.max() * 1.125)
    return table.assign(expected=np.where(inside, expected, np.nan))


def losses(run: Run, variation: str | None = None) -> pd.DataFrame:
    """Return the training loss: a row a step from the first reference point on, by member."""
    return run.wide("loss", of=main(run) if variation is None else variation)


@quantity("TODO")
def followed_loss_change(run: Run, variation: str | None = None) -> Estimate:
    """The change of the loss while the weights are followed, as a share of what it lost.

    It is what a line through the loss of a seed gains; what was lost counts from the
    initial weights to there. The mean over seeds, with an interval by Student's t. Raises
    :class:`UsageError` where the loss fell nowhere.
    """
    table = losses(run, variation)
    steps, values = table.index.to_numpy(float), table.to_numpy()
    gains = np.polyfit(steps, values, 1)[0] * np.ptp(steps)  # of each member
    lost = run.wide("settling_loss").loc[0].mean() - values.mean()
    if not lost > 0:
        raise UsageError(f"The loss of {run.name} fell nowhere: there is no share to give.")
    return Estimate.mean(gains) / lost


def shared_share(run: Run) -> pd.DataFrame:
    """Return how much of their squared displacement replicas of one net share, by lag.

    Columns ``step``, ``total`` and ``shared`` (squared units) and ``share``: means over
    the nets, with standard errors ``total_error``, ``shared_error``, ``share_error``.
    """
    if not run.has("replica_displacement_squared"):
        raise UsageError(f"The run {run.name} has no replicas: raise its setting branches.")
    total, shared = (run.wide(f"{name}_displacement_squared") for name in ("replica", "shared"))
    tables = {"total": total, "shared": shared, "share": shared / total}
    columns = {name: table.mean(axis=1) for name, table in tables.items()}
    columns |= {f"{name}_error": table.sem(axis=1) for name, table in tables.items()}
    return pd.DataFrame(columns).reset_index()
