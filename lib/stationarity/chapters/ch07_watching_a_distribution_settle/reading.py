"""What the runs of chapter 7 say: which observables have settled, and what balances.

Source: our section "Watching a distribution settle".
"""

import itertools
import math

import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import ArrayLike, NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats import invariance
from ...stats.autocorrelation import autocorrelation_time, block_bootstrap
from ...stats.estimate import Estimate, mean_and_error
from .. import levels, quantity
from ..levels import STABLE

MAIN = ("minibatch_loss", "loss", "gradient_norm", "weight_norm", "buffer_norm")
PROJECTIONS = ("random_1", "random_2", "hessian_1", "hessian_2")
# Along a training run, see the setting observe_every.
OBSERVED = tuple(
    f"observed_{name}" for name in ("minibatch_loss", "weight_norm", *PROJECTIONS[:2])
)
RATIOS = {
    "fluctuation_dissipation": "fluctuation-dissipation, minibatch gradient",
    "fluctuation_dissipation_full": "fluctuation-dissipation, full gradient",
    "descent_budget": "descent budget",
}


def observables(run: Run, names, first: float = 0, last: float = math.inf) -> dict:
    """Return ``{name: (steps, values)}`` of the records with first <= step < last."""
    found = {}
    for name in names:
        rows = run.series(member=None, **_columns(name))
        rows = rows[rows.step.between(first, last, inclusive="left")]
        found[name] = (rows.step.to_numpy(), rows.value.to_numpy())
    return found


def members(run: Run, name: str) -> pd.DataFrame:
    """Return an observable with a row a step, and a column for each member or replica."""
    return run.wide(**_columns(name))


def _columns(name: str) -> dict:
    """Return where an observable stands: ``random_2`` is ``random`` of index 1."""
    stem, _, number = name.rpartition("_")
    if number.isdigit():
        return {"quantity": stem, "index": int(number) - 1}
    return {"quantity": name}


def stages(run: Run) -> list[tuple[int, int]]:
    """Return the first step and the end of each stage of constant learning rate."""
    settings = run.settings
    if hasattr(settings, "epochs"):
        length = run.metrics.step.max() / run.metrics.epoch.max()
        return [tuple(round(length * epoch) for epoch in one) for one in levels.stages(run)]
    drops = [drop for drop in settings.drops if drop < settings.steps]
    return list(itertools.pairwise([0, *drops, settings.steps]))


def longest_stage(run: Run) -> tuple[int, int]:
    """Return the first step and the end of the longest stage, the last of equals."""
    return max(reversed(stages(run)), key=lambda stage: stage[1] - stage[0])


def memory(observables: dict) -> pd.DataFrame:
    """Return how long each series ``{name: (steps, values)}`` remembers.

    ``time`` is the autocorrelation time in steps, of the whole series with its drift:
    where ``effective``, the number of effective samples, is small, it says no more than
    that the memory is not short against the series.
    """
    rows = {}
    for name, (steps, values) in observables.items():
        time = autocorrelation_time(values)
        rows[name] = {"time": time * (steps[1] - steps[0]), "effective": len(values) / time}
    return pd.DataFrame.from_dict(rows, orient="index")


def controls(length: int, time: float = 5.0, drift: float = 3.0, seed: int = 0) -> dict:
    """Return two control series, ``{name: (steps, values)}``, of ``length`` samples.

    A sampled Ornstein-Uhlenbeck process of variance 1, stationary from the first
    sample, with autocorrelation time ``time`` (samples); and the same plus a line
    that rises by ``drift`` standard deviations over the series.
    """
    phi = (time - 1) / (time + 1)
    noise = np.random.default_rng(seed).standard_normal(length)
    noise[1:] *= math.sqrt(1 - phi**2)
    values, steps = scipy.signal.lfilter([1], [1, -phi], noise), np.arange(length)
    return {
        "stationary control": (steps, values),
        "drifting control": (steps, values + np.linspace(0, drift, length)),
    }


def verdicts_by_stage(run: Run, names=(*MAIN, *PROJECTIONS)) -> pd.DataFrame:
    """Return the verdict of each observable in each stage, one row each."""
    tables = [
        invariance.verdicts(observables(run, names, *stage)).assign(stage=number)
        for number, stage in enumerate(stages(run), start=1)
    ]
    return pd.concat(tables).rename_axis("observable").reset_index()


def said(verdicts) -> str:
    """Count verdicts in words.

    >>> said(["settled", "drifts", "settled"])
    '2 settled, 1 drifts, 0 undecided'
    """
    known = list(verdicts)
    return ", ".join(f"{known.count(v)} {v}" for v in ("settled", "drifts", "undecided"))


def listed(names) -> str:
    """Name observables in a sentence.

    >>> listed(["weight_norm", "loss"]), listed([])
    ('weight norm, loss', 'none')
    """
    return ", ".join(name.replace("_", " ") for name in names) or "none"


def replicas_against_time(run: Run, names, part=None, last: int = 0) -> pd.DataFrame:
    """Compare the replicas at each measured step with a part of the trajectory.

    Of the trajectory ``part`` gives the first step and the end, by default all but its
    first quarter; of the measured steps only the ``last`` so many are taken, where that is
    not 0. A row for each ``observable`` and ``step``: what
    :func:`stationarity.stats.invariance.judge` says.
    """
    part = part or (run.settings.trajectory / 4, math.inf)
    rows = [
        {"observable": name, "step": step}
        | invariance.judge(sample, values, independent=(True, False))
        for name, (_, values) in observables(run, names, *part).items()
        for step, sample in members(run, name)[1:][-last:].iterrows()
    ]
    return pd.DataFrame(rows, columns=["observable", "step", *invariance.JUDGED])


def across_starts(run: Run) -> pd.DataFrame:
    """Compare the later half of stage 1 of each member with that of the first.

    Only of observables that do not depend on the order and the signs of hidden
    units. A row for each: how many members ``agree``, ``differ`` or are ``undecided``
    at the level ``LEVEL`` over the number of comparisons (Bonferroni), the lowest and
    the highest of the members' means, and one member's standard deviation.
    """
    (begin, end), rows = stages(run)[0], {}
    for name in ("loss", "gradient_norm", "weight_norm_squared"):
        values = members(run, name).loc[(begin + end) / 2 : end - 1]
        first, *others = values.to_numpy().T
        level, means = invariance.LEVEL / len(others), values.mean()
        verdicts = [invariance.judge(first, one, level=level)["verdict"] for one in others]
        row = {word: verdicts.count(word) for word in ("agree", "differ", "undecided")}
        row |= {"lowest mean": means.min(), "highest mean": means.max()}
        rows[name] = row | {"standard deviation": values.std(ddof=0).mean()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("observable")


def fluctuation_dissipation(
    products: ArrayLike, squares: ArrayLike, learning_rate: float, momentum: float
) -> Estimate:
    """Return <theta, g> over (eta (1 + beta) / 2) ||b||^2: 1 where stationary.

    ``products`` are means of <theta, g> over the steps of a window, (K,) of K replicas:
    theta before the step and g with the decay term. ``squares`` are those of ||b||^2, b
    being PyTorch's buffer after the update; eta is the learning rate, beta the momentum.

    With the minibatch's g the ratio is 1 as soon as ||theta||^2 no longer drifts: for
    every sequence of gradients, with brackets for last less first value,

        sum <theta, g> = (eta (1 + beta) / 2) sum ||b||^2
            - (1 - beta) / (2 eta) [||theta||^2] + beta [<theta, b>].

    With grad f in its place it also tests that batches are independent of the weights.
    Raises as :meth:`Estimate.ratio`. Source: our theorem thm-fdr.
    """
    return Estimate.ratio(products, learning_rate * (1 + momentum) / 2 * np.asarray(squares))


def descent_budget(gains: ArrayLike, changes: ArrayLike) -> Estimate:
    """Return the first-order gain over the second-order loss: 1 where stationary.

    ``gains`` are means of eta <grad f(theta), b> over measured steps, (K,) of K replicas,
    b after the update and theta before; ``changes`` those of f(theta - eta b) - f(theta).
    The second-order loss is gain + change: exactly the integral remainder of Taylor's
    formula. Raises as :meth:`Estimate.ratio`. Source: our theorem thm-budget.
    """
    return Estimate.ratio(gains, np.asarray(gains) + np.asarray(changes))


def balances(run: Run, windows: int = 5) -> pd.DataFrame:
    """Return what must balance, over windows of every stage of a run.

    Each stage is cut into ``windows`` that double in length. One row a window: ``first``
    and ``last`` step, their ``middle`` and ``half`` the length, ``learning_rate``, ``loss``
    with ``loss_error``, and for each name in ``RATIOS`` the ratio, ``_low`` and ``_high``.
    Errors are those over the members, which are independent. Raises :class:`UsageError`
    for a window without a measurement.
    """
    names = ("loss", "product", "square", "full_product", "gain", "change")
    series, rows = {name: members(run, name) for name in names}, []
    for name in ("product", "square"):  # of the steps before the one they stand at
        series[name].index -= 1
    shares = (2 ** np.arange(windows + 1) - 1).tolist()
    for number, (begin, end) in enumerate(stages(run)):
        rates = run.settings.learning_rate / 10**number, run.settings.momentum
        cuts = [begin + (end - begin) * share // shares[-1] for share in shares]
        for first, last in itertools.pairwise(cuts):
            inside = [values.loc[first : last - 1] for values in series.values()]
            if any(part.empty for part in inside):
                where = f"the steps {first} to {last}: lower measure_every"
                raise UsageError(f"No measurement lies in {where}.")
            loss, product, square, full, gain, change = (p.mean().to_numpy() for p in inside)
            row = {"stage": number + 1, "first": first, "last": last, "learning_rate": rates[0]}
            row |= {"middle": (first + last) / 2, "half": (last - first) / 2}
            row |= dict(zip(("loss", "loss_error"), mean_and_error(loss), strict=True))
            ratios = [fluctuation_dissipation(p, square, *rates) for p in (product, full)]
            for name, ratio in zip(
                RATIOS, [*ratios, descent_budget(gain, change)], strict=True
            ):
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), ratio, strict=True))
            rows.append(row)
    return pd.DataFrame(rows)


def when_balanced(table: pd.DataFrame, start: float) -> pd.DataFrame:
    """Return from which window on the loss is stable, and the minibatch ratio near 1.

    ``table`` comes from :func:`balances`, ``start`` is the loss at the first step. Per
    stage, ``loss``: the first step of the first window from which on the mean loss stays
    within ``STABLE`` of all that was lost since the start (the criterion of chapter 3);
    ``ratio``: the same for a ratio within ``STABLE`` of 1. Infinite where that is not so
    in the stage's last window.
    """
    rows = {}
    for number, stage in table.groupby("stage"):
        last = stage.loss.iloc[-1]
        quiet = (stage.loss - last).abs() < STABLE * (start - last)
        near = (stage.fluctuation_dissipation - 1).abs() < STABLE
        rows[number] = [stage["first"][k[::-1].cummin()[::-1]].min() for k in (quiet, near)]
    since = pd.DataFrame.from_dict(rows, orient="index", columns=["loss", "ratio"], dtype=float)
    return since.fillna(math.inf).rename_axis("stage")


def norm_balance(run: Run, windows: int = 8) -> pd.DataFrame:
    """Return the fluctuation-dissipation ratio of a training run from its observations.

    For SGD at a constant rate the minibatch ratio of a window is, by the identity of
    :func:`fluctuation_dissipation` without its last term,

        1 - (1 - beta) / (1 + beta) * [||theta||^2] / sum ||delta||^2,

    delta being the steps taken. The sum is estimated by the mean of the observed
    steps. Equal windows; columns ``first``, ``last``, ``middle`` and ``half`` (steps),
    ``ratio``, and the minibatch ``loss`` with its ``error`` (see :func:`error_of`).
    """
    names = [f"observed_{name}" for name in ("weight_norm", "update_square", "minibatch_loss")]
    norms, squares, losses = (run.series(name).value.to_numpy() for name in names)
    steps, beta = run.series(names[0]).step.to_numpy(), run.settings.momentum
    edges, rows = np.linspace(0, len(steps) - 1, windows + 1).astype(int), []
    for first, last in itertools.pairwise(edges):
        begin, end, window = steps[first], steps[last], losses[first:last]
        drift = norms[last] ** 2 - norms[first] ** 2
        moved = squares[first:last].mean() * (end - begin)
        row = {"first": begin, "last": end, "middle": (begin + end) / 2}
        row |= {"half": (end - begin) / 2, "loss": window.mean()}
        row |= {"ratio": 1 - (1 - beta) / (1 + beta) * drift / moved}
        rows.append(row | {"error": error_of(np.mean, window)})
    return pd.DataFrame(rows)


def error_of(statistic, window: NDArray) -> float:
    """Return the error by the block bootstrap, NaN for too few effective samples."""
    try:
        return block_bootstrap(statistic, window)
    except UsageError:
        return math.nan


# --- quantities of the ledger ---------------------------------------------------------


@quantity("TODO")
def balance_ratio(run: Run) -> Estimate:
    """The fluctuation-dissipation ratio in the last half of the longest stage.

    Of minibatch gradients, 1 where the norm of the weights has stopped drifting.
    """
    table, (begin, end) = balances(run), longest_stage(run)
    row = table[(table["first"] >= begin) & (table["last"] <= end)].iloc[-1]
    return Estimate(*(row[f"fluctuation_dissipation{part}"] for part in ("", "_low", "_high")))


@quantity("TODO")
def largest_shift(run: Run) -> Estimate:
    """The largest shift of an observable between the last two windows of the longest stage.

    In standard deviations, see :func:`stationarity.stats.invariance.judge`; the interval is
    what chance could add or hide, without an upper end where an observable has too few
    effective samples. Of small nets ``MAIN`` is compared, of training runs ``OBSERVED``.
    """
    names = OBSERVED if hasattr(run.settings, "epochs") else MAIN
    if not all(run.has(_columns(name)["quantity"]) for name in names):
        raise UsageError("This run did not record the observables that are compared.")
    return _largest(invariance.verdicts(observables(run, names, *longest_stage(run))))


@quantity("TODO")
def replica_shift(run: Run) -> Estimate:
    """The largest shift of loss, gradient norm or weight norm, replicas against time.

    The replicas at the end against the trajectory without its first quarter, in standard
    deviations of the latter, with an interval as for windows in time.
    """
    names = ("loss", "gradient_norm", "weight_norm")
    return _largest(replicas_against_time(run, names, last=1))


def _largest(judged: pd.DataFrame) -> Estimate:
    compared, faults = judged[judged.fault == ""], judged.fault[judged.fault != ""]
    if compared.empty:
        reason = faults.iloc[0] if len(faults) else "the run holds too few measurements."
        raise UsageError(f"No observable can be compared: {reason}")
    row = compared.loc[(compared["shift"] - compared.resolution).idxmax()]
    high = math.inf if len(faults) else (compared["shift"] + compared.resolution).max()
    return Estimate(row["shift"], max(row["shift"] - row.resolution, 0.0), high)
