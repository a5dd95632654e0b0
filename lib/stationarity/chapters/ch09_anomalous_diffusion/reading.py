"""What a run says of how far its weights go: displacements, exponents, the loss meanwhile.

It reads runs of the experiments ``diffusion``, ``walks`` and any that follows one net and
notes ``global_displacement_squared[r]``. Source: our section "Anomalous diffusion".
"""

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats import displacement
from ...stats.displacement import Exponent

GLOBAL, LOCAL = "global_displacement_squared", "local_displacement_squared"
MAIN = ("base", "Brownian", "")  # what a run is about, where it holds several
WINDOW = "last two thirds"
POINTS = 4  # reference points of one trajectory whose lags do not overlap


def variations(run: Run) -> list[str]:
    """Return the names of what the run follows: variations or processes; "" for one net."""
    names = run.metrics.quantity[run.metrics.quantity.str.startswith(GLOBAL)]
    found = names.str.extract(r"\((.*)\)")[0].fillna("").unique().tolist()
    if not found:
        raise UsageError(
            f"The run {run.name} holds no displacements from reference points."
        )
    return found


def main(run: Run) -> str:
    """Return the variation that the run is about."""
    found = variations(run)
    return next((name for name in MAIN if name in found), found[0])


def displacements(run: Run, variation: str | None = None) -> tuple[NDArray, NDArray]:
    """Return lags (L,) and squared displacements (K, R, L) of one variation.

    ``variation`` is by default what the run is about. Where the trajectory ends before
    each reference point has the longest lag, the R points lie evenly over it: then at
    most ``POINTS`` of them are kept, so far from each other that their lags do not
    overlap. Raises :class:`UsageError` where the run has none.
    """
    name = main(run) if variation is None else variation
    head = f"{GLOBAL} ({name})" if name else GLOBAL
    chosen = run.metrics[
        run.metrics.quantity.str.startswith(head + "[") & (run.metrics.step > 0)
    ]
    if chosen.empty:
        raise UsageError(f"The run {run.name} follows no variation {name!r}.")
    places = (
        chosen.quantity.str.extract(r"\[(?:(\d+),)?(\d+)\]$").fillna("0").astype(int)
    )
    table = chosen.assign(member=places[0], reference=places[1]).pivot(
        index=["member", "reference"], columns="step", values="value"
    )
    if table.iloc[:, -1].isna().any():
        points = table.index.get_level_values("reference").nunique()
        apart = -(-points // POINTS)
        table = table[table.index.get_level_values("reference") % apart == 0]
        table = table.loc[:, : table.columns[-1] * apart / points].dropna(axis=1)
    members = table.index.get_level_values("member").nunique()
    return table.columns.to_numpy(float), table.to_numpy().reshape(
        members, len(table) // members, -1
    )


def exponent(run: Run, variation: str | None = None, name: str = WINDOW) -> Exponent:
    """Return the exponent of one variation in one of ``displacement.WINDOWS``."""
    lags, squares = displacements(run, variation)
    return displacement.exponent(lags, squares, displacement.window(lags[-1], name))


def exponent_change(
    run: Run, variation: str | None = None, octaves: int = 4
) -> Exponent:
    """Return how much the exponent changes over the last octaves of the lags."""
    lags, squares = displacements(run, variation)
    within = (lags[-1] / 2**octaves, lags[-1])
    return displacement.change_of_exponent(lags, squares, within)


def exponents(run: Run, name: str = WINDOW) -> pd.DataFrame:
    """Return the exponent of every variation, with what else is known of it.

    A row each: ``variation``, ``setting`` and ``number`` (of ``learning_rate=0.01``),
    ``value``, ``low``, ``high``, the ``local`` squared displacement of one step and the
    ``distance`` squared at the longest lag (squared units; means), both with errors.
    """
    rows = []
    for variation in variations(run):
        found = exponent(run, variation, name)
        setting, _, number = variation.partition("=")
        _, squares = displacements(run, variation)
        near = local(run, variation).mean(1)
        far = squares.mean(1)[:, -1]
        rows.append(
            {
                "variation": variation, "setting": setting, "number": number,
                "value": found.value, "low": found.low, "high": found.high,
                "local": near.mean(), "local_error": _error(near),
                "distance": far.mean(), "distance_error": _error(far),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def effective_rates(run: Run) -> pd.DataFrame:
    """Return the rows of :func:`exponents` that vary η or β, with the rate η / (1 − β).

    ``effective_rate`` is in unit² per nat; rows are sorted by it. ``expected`` is the
    exponent that the learning rates have there, interpolated in the logarithm: NaN beyond
    their range by more than an eighth.
    """
    table = exponents(run)
    kept = table[
        table.variation.eq(main(run))
        | table.setting.isin(["learning_rate", "momentum"])
    ]
    given = {
        name: kept.number.where(kept.setting == name, run.settings[name]).astype(float)
        for name in ("learning_rate", "momentum")
    }
    rate = given["learning_rate"] / (1 - given["momentum"])
    found = kept.assign(effective_rate=rate).sort_values(
        "effective_rate", ignore_index=True
    )
    known = found[found.setting != "momentum"]
    rates, ends = found.effective_rate, known.effective_rate
    expected = np.interp(np.log(rates), np.log(ends), known.value)
    inside = (rates > ends.min() / 1.125) & (rates < ends.max() * 1.125)
    return found.assign(expected=np.where(inside, expected, np.nan))


def _error(values: NDArray) -> float:
    return values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan


def local(run: Run, variation: str | None = None) -> NDArray:
    """Return ‖δ‖² of single steps, (K, L): of each member, at each step noted."""
    name = main(run) if variation is None else variation
    head = f"{LOCAL} ({name})" if name else LOCAL
    chosen = run.metrics[run.metrics.quantity.str.startswith(head)]
    chosen = chosen[~chosen.quantity.str.slice(len(head)).str.contains(r"\(")]
    if chosen.empty:
        raise UsageError(f"The run {run.name} notes no {LOCAL} of {name!r}.")
    return (
        chosen.pivot(index="quantity", columns="step", values="value")
        .dropna(axis=1)
        .to_numpy()
    )


def losses(run: Run, variation: str | None = None) -> pd.DataFrame:
    """Return the training loss meanwhile: ``step``, mean ``value`` and its ``error``.

    The mean is over the members; steps count from the first reference point.
    """
    table = _losses_of_members(run, variation)
    means = {"value": table.mean(axis=1), "error": table.sem(axis=1)}
    return pd.DataFrame(means).reset_index()


def _losses_of_members(run: Run, variation: str | None) -> pd.DataFrame:
    """Return the losses meanwhile: a row for each step, a column for each member."""
    name = main(run) if variation is None else variation
    chosen = run.metrics[run.metrics.quantity.str.startswith(f"loss ({name})[")]
    if chosen.empty:
        raise UsageError(f"The run {run.name} notes no loss of {name!r} by member.")
    return chosen.pivot(index="step", columns="quantity", values="value")


def loss_change(run: Run, variation: str | None = None) -> tuple[float, float, float]:
    """Return the change of the loss while the net is followed, with its interval.

    It is what a line through the loss of a seed gains, as a share of what the loss lost
    before, from the initial weights to there: the mean over seeds, with an interval by
    Student's t. Raises :class:`UsageError` where the loss fell nowhere.
    """
    table = _losses_of_members(run, variation)
    steps = table.index.to_numpy(float)
    gains = np.polyfit(steps, table.to_numpy(), 1)[0] * np.ptp(steps)  # of each member
    first = run.metrics.quantity.str.startswith("settling_loss") & (run.metrics.step == 0)
    lost = run.metrics.value[first].mean() - table.to_numpy().mean()
    if not lost > 0:
        raise UsageError(f"The loss of {run.name} fell nowhere: there is no share to give.")
    mean, count = gains.mean(), len(gains)
    margin = scipy.stats.t.ppf(0.975, count - 1) * gains.std(ddof=1) / np.sqrt(count)
    return mean / lost, (mean - margin) / lost, (mean + margin) / lost


def shared_share(run: Run) -> pd.DataFrame:
    """Return how much of their squared displacement replicas of one net share, by lag.

    Columns ``step``, ``total`` and ``shared`` (squared units, means over nets) with
    ``total_error`` and ``shared_error``, and ``share`` with ``share_error``: mean and
    standard error over the nets.
    """
    parts = {}
    for name in ("replica", "shared"):
        chosen = run.metrics.quantity.str.startswith(f"{name}_displacement_squared")
        rows = run.metrics[chosen & (run.metrics.step > 0)]
        if rows.empty:
            raise UsageError(
                f"The run {run.name} has no replicas: raise its setting branches."
            )
        rows = rows.assign(
            member=rows.quantity.str.extract(r"\[(\d+)\]")[0].astype(int)
        )
        parts[name] = rows.pivot(index="member", columns="step", values="value")
    total, shared = parts["replica"], parts["shared"]
    found = {"total": total, "shared": shared, "share": shared / total}
    columns = {name: table.mean() for name, table in found.items()}
    columns |= {f"{name}_error": table.sem() for name, table in found.items()}
    return pd.DataFrame(columns).rename_axis("step").reset_index()
