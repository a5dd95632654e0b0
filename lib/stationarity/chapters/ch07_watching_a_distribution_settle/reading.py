"""From a run to its verdicts: which observables have settled, and what balances.

Tables for the figures and the prose of our section "Watching a distribution settle";
the statistics are those of :mod:`stationarity.stats.ergodic` and
:mod:`stationarity.stats.invariance`.
"""

import itertools
import math

import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats import ergodic, invariance
from ...train import levels
from ...train.levels import STABLE

MAIN = ("minibatch_loss", "loss", "gradient_norm", "weight_norm", "buffer_norm")
PROJECTIONS = ("random_1", "random_2", "hessian_1", "hessian_2")
OBSERVED = (  # along a training run, see the setting observe_every
    "observed_minibatch_loss", "observed_weight_norm", "observed_random_1",
    "observed_random_2",
)  # fmt: skip
SYMMETRIC = ("loss", "gradient_norm", "weight_norm_squared")
RATIOS = {
    "fluctuation_dissipation": "fluctuation-dissipation, minibatch gradient",
    "fluctuation_dissipation_full": "fluctuation-dissipation, full gradient",
    "descent_budget": "descent budget",
}


def observables(run: Run, names, first: float = 0, last: float = math.inf) -> dict:
    """Return ``{name: (steps, values)}`` of the records with first <= step < last."""
    found = {}
    for name in names:
        series = run.series(name)
        inside = series[(series.step >= first) & (series.step < last)]
        found[name] = (inside.step.to_numpy(), inside.value.to_numpy())
    return found


def stages(run: Run) -> list[tuple[int, int]]:
    """Return the first step and the end of each stage of constant learning rate.

    >>> Stub = type("Stub", (), {"settings": {"drops": [5], "steps": 9}})
    >>> stages(Stub)
    [(0, 5), (5, 9)]
    """
    if "epochs" in run.settings:
        steps_per_epoch = run.metrics.step.max() / run.metrics.epoch.max()
        edges = [(steps_per_epoch * np.array(stage)).round() for stage in levels.stages(run)]
        return [tuple(stage.astype(int).tolist()) for stage in edges]
    drops = [drop for drop in run.settings["drops"] if drop < run.settings["steps"]]
    return list(itertools.pairwise([0, *drops, run.settings["steps"]]))


def longest_stage(run: Run) -> tuple[int, int]:
    """Return the first step and the end of the longest stage, the last of equals.

    >>> Stub = type("Stub", (), {"settings": {"drops": [4, 8], "steps": 10}})
    >>> longest_stage(Stub)
    (4, 8)
    """
    return max(reversed(stages(run)), key=lambda stage: stage[1] - stage[0])


def members(run: Run, quantity: str) -> tuple[NDArray, NDArray]:
    """Return the steps (T,) and values (K, T) of a quantity of all members."""
    count = run.settings.get("members") or run.settings["replicas"]
    series = [run.series(f"{quantity}[{k}]") for k in range(count)]
    return series[0].step.to_numpy(), np.stack([one.value.to_numpy() for one in series])


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
    found = list(verdicts)
    return ", ".join(
        f"{found.count(v)} {v}" for v in ("settled", "drifts", "undecided")
    )


def listed(names) -> str:
    """Name observables in a sentence.

    >>> listed(["weight_norm", "loss"]), listed([])
    ('weight norm, loss', 'none')
    """
    return ", ".join(name.replace("_", " ") for name in names) or "none"


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


def identities(run: Run, windows: int = 5) -> pd.DataFrame:
    """Return the stationarity identities over windows of every stage of a run.

    Each stage is cut into ``windows`` that double in length (the last is about half of
    it). One row a window: ``first`` and ``last`` step, ``learning_rate``, ``loss``, its
    ``loss_error``, and for each name in ``RATIOS`` the ratio, ``_low`` and ``_high``.
    Errors are those over the members, which are independent.
    """
    rows = []
    for (begin, end), number in zip(stages(run), itertools.count()):
        rate = run.settings["learning_rate"] / 10**number
        cuts = [
            begin + (end - begin) * (2**k - 1) // (2**windows - 1)
            for k in range(windows + 1)
        ]
        for first, last in itertools.pairwise(cuts):
            row = {
                "stage": number + 1,
                "first": first,
                "last": last,
                "learning_rate": rate,
            }
            rows.append(row | _identities(run, first, last, rate))
    return pd.DataFrame(rows)


def when_balanced(table: pd.DataFrame, start: float) -> pd.DataFrame:
    """Return from which window on the loss is stable, and the minibatch ratio near 1.

    ``table`` comes from :func:`identities`, ``start`` is the loss at the first step. Per
    stage, ``loss``: the first step of the first window from which on the mean loss stays
    within ``STABLE`` of all that was lost since the start (the criterion of chapter 3);
    ``ratio``: the same for a ratio within ``STABLE`` of 1. Infinite where that is not so
    in the stage's last window.
    """

    def since(stage: pd.DataFrame, near: pd.Series) -> float:
        kept = near[::-1].cummin()[::-1]
        return float(stage["first"][kept].min()) if kept.any() else math.inf

    rows = {}
    for number, stage in table.groupby("stage"):
        last = stage.loss.iloc[-1]
        quiet = (stage.loss - last).abs() < STABLE * (start - last)
        near = (stage.fluctuation_dissipation - 1).abs() < STABLE
        rows[number] = {"loss": since(stage, quiet), "ratio": since(stage, near)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("stage")


def _identities(run: Run, first: int, last: int, rate: float) -> dict:
    def means(quantity: str, after: bool = False) -> NDArray:
        """Means over the window: of steps from ``first``, or of intervals after it."""
        steps, values = members(run, quantity)
        inside = (
            (steps > first) & (steps <= last)
            if after
            else (steps >= first) & (steps < last)
        )
        if not inside.any():
            raise UsageError(
                f"No measurement lies in the steps {first} to {last}: lower measure_every."
            )
        return values[:, inside].mean(1, keepdims=True)

    squares, momentum = means("square", after=True), run.settings["momentum"]
    losses = means("loss")[:, 0]
    ratios = (
        ergodic.fluctuation_dissipation(
            means("product", after=True), squares, rate, momentum
        ),
        ergodic.fluctuation_dissipation(means("full_product"), squares, rate, momentum),
        ergodic.descent_budget(means("gain"), means("change")),
    )
    row = {"loss": losses.mean(), "loss_error": losses.std(ddof=1) / len(losses) ** 0.5}
    for name, found in zip(RATIOS, ratios, strict=True):
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def replicas_against_time(run: Run, names, part=None, last=0) -> pd.DataFrame:
    """Compare the replicas at each measured step with a part of the trajectory.

    The replicas are independent samples, the trajectory (``part``: its first step and
    end; by default all but the first quarter) an autocorrelated one. Of the measured
    steps only the ``last`` so many are taken, where that is not 0. A row for each
    observable and step: ``shift``, the
    Wasserstein distance over the trajectory's standard deviation, its ``error`` and
    ``null`` (95 % quantile under equal laws), the energy distance's ``p_value``,
    ``verdict`` (``agree``, ``differ`` or ``undecided``) and the ``fault``.
    """
    part, rows = part or (run.settings["trajectory"] / 4, math.inf), []
    for name, (_, values) in observables(run, names, *part).items():
        steps, ensemble = members(run, name)
        steps, ensemble = steps[1:][-last:], ensemble[:, 1:][:, -last:]
        for step, sample in zip(steps, ensemble.T, strict=True):
            row = {
                "observable": name,
                "step": step,
                "fault": "",
                "verdict": "undecided",
            }
            try:
                found = invariance.compare(sample, values, independent=(True, False))
            except UsageError as error:
                row["fault"] = str(error)
            else:
                distance, p_value = (
                    found["wasserstein"],
                    found[invariance.JUDGE].p_value,
                )
                scaled = (
                    np.array([distance.value, distance.error, distance.null])
                    / values.std()
                )
                row |= dict(
                    zip(("shift", "error", "null"), scaled.tolist(), strict=True)
                )
                row["p_value"] = p_value
                row["verdict"] = "agree" if p_value > invariance.LEVEL else "differ"
            rows.append(row)
    return pd.DataFrame(rows).reindex(
        columns=[
            "observable",
            "step",
            "shift",
            "error",
            "null",
            "p_value",
            "verdict",
            "fault",
        ]
    )


def across_starts(run: Run, names=SYMMETRIC) -> pd.DataFrame:
    """Compare the later half of stage 1 of each member with that of the first.

    Only of observables that do not depend on the order and the signs of hidden
    units. A row for each: how many members ``agree``, ``differ`` or are ``undecided``
    at the level ``LEVEL`` over the number of comparisons (Bonferroni), with the
    members' ``means``, lowest and highest, and one member's standard deviation.
    """
    begin, end = stages(run)[0]
    rows = []
    for name in names:
        steps, values = members(run, name)
        values = values[:, (steps >= (begin + end) / 2) & (steps < end)]
        found = []
        for other in values[1:]:
            try:
                p_value = invariance.compare(values[0], other)[invariance.JUDGE].p_value
            except UsageError:
                found.append("undecided")
            else:
                allowed = invariance.LEVEL / (len(values) - 1)
                found.append("agree" if p_value > allowed else "differ")
        counts = {
            verdict: found.count(verdict)
            for verdict in ("agree", "differ", "undecided")
        }
        means = values.mean(1)
        rows.append(
            {"observable": name, **counts, "lowest mean": means.min(),
             "highest mean": means.max(), "standard deviation": values.std(1).mean()}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("observable")


def norm_balance(run: Run, windows: int = 8) -> pd.DataFrame:
    """Return the fluctuation-dissipation ratio of a training run from its observations.

    For SGD at a constant rate the minibatch ratio of a window is, by the identity of
    :func:`stationarity.stats.ergodic.norm_drift` without the term [<theta, b>],

        1 - (1 - beta) / (1 + beta) * [||theta||^2] / sum ||delta||^2,

    delta being the steps taken. The sum is estimated by the mean of the observed
    steps. Equal windows; columns ``first``, ``last`` (steps), ``ratio``, and the
    minibatch ``loss`` with its standard error ``error`` (NaN where the window has
    too few effective samples).
    """
    series = {
        name: run.series(f"observed_{name}")
        for name in ("weight_norm", "update_square", "minibatch_loss")
    }
    steps, beta = series["weight_norm"].step.to_numpy(), run.settings["momentum"]
    values = {name: one.value.to_numpy() for name, one in series.items()}
    edges, rows = np.linspace(0, len(steps) - 1, windows + 1).astype(int), []
    for first, last in itertools.pairwise(edges):
        inside = slice(first, last)
        drift = values["weight_norm"][last] ** 2 - values["weight_norm"][first] ** 2
        moved = values["update_square"][inside].mean() * (steps[last] - steps[first])
        losses = values["minibatch_loss"][inside]
        try:
            error = ergodic.time_average(losses).error
        except UsageError:
            error = math.nan
        rows.append(
            {"first": steps[first], "last": steps[last], "loss": losses.mean(),
             "error": error, "ratio": 1 - (1 - beta) / (1 + beta) * drift / moved}
        )  # fmt: skip
    return pd.DataFrame(rows)


def memory(observables: dict) -> pd.DataFrame:
    """Return how long each series ``{name: (steps, values)}`` remembers.

    ``time`` is the autocorrelation time in steps, of the whole series with its drift:
    where ``effective``, the number of effective samples, is small, it says no more than
    that the memory is not short against the series.
    """
    rows = {}
    for name, (steps, values) in observables.items():
        time = ergodic.autocorrelation_time(values)
        rows[name] = {
            "time": time * (steps[1] - steps[0]), "effective": len(values) / time,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index")
