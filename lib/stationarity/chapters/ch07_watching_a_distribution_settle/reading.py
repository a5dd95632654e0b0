"""What the runs of chapter 7 say: which observables have settled, in time and by replicas."""

import contextlib
import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import scipy.signal
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import UNKNOWN, Estimate
from .. import SIZE, levels, quantity
from ..autocorrelation import autocorrelation_time, fluctuation_time
from . import invariance
from .simulated import fitted_scales, two_scales

LOSSES = ("minibatch_loss", "loss", "gradient_norm", "buffer_norm")  # what the loss sees
WEIGHTS = ("weight_norm", "random_1", "random_2", "hessian_1", "hessian_2")
PROJECTIONS = {
    f"{name}_{index + 1}": {"quantity": name, "index": index}
    for name in ("random", "hessian", "observed_random")
    for index in range(2)
}
# Along a training run, see the setting observe_every.
OBSERVED = tuple(f"observed_{name}" for name in ("minibatch_loss", *WEIGHTS[:3]))
SURROGATES = 20  # drawn for a control or a known case, whose estimate is their median


def observables(run: Run, names, first: float = 0, last: float = math.inf) -> dict:
    """Return ``{name: (steps, values)}`` of the records with first <= step < last."""
    series = {}
    for name in names:
        rows = run.series(member=None, **_place(name))
        rows = rows[rows.step.between(first, last, inclusive="left")]
        series[name] = (rows.step.to_numpy(), rows.value.to_numpy())
    return series


def members(run: Run, name: str) -> pd.DataFrame:
    """Return an observable with a row a step, and a column for each member or replica."""
    return run.wide(**_place(name))


def _place(name: str) -> dict:
    """Return where an observable stands: ``random_2`` is ``random`` of index 1."""
    return PROJECTIONS.get(name, {"quantity": name})


def stages(run: Run) -> list[tuple[int, int]]:
    """Return the first step and the end of each stage of constant learning rate."""
    settings = run.settings
    if hasattr(settings, "epochs"):
        length = run.metrics.step.max() / run.metrics.epoch.max()
        return [(round(length * a), round(length * b)) for a, b in levels.stages(settings)]
    ends = np.cumsum([0, *(steps for _, steps in settings.spans)]).tolist()
    return list(itertools.pairwise(ends))


def settled_stage(run: Run, otherwise: tuple | None = None) -> tuple[int, int]:
    """Return the first step and the end of the stage that is judged.

    Of those in whose last two windows the mean loss differs by less than ``levels.STABLE`` of
    all that was lost, the longest on the clock of the weights: steps times step size. Where
    there is none, ``otherwise``, or :class:`UsageError`.
    """
    name = _named(run, LOSSES[:1] if hasattr(run.settings, "epochs") else ["loss"])[0]
    start, lengths, short = observables(run, [name])[name][1][0], {}, ""
    for number, (begin, end) in enumerate(stages(run)):
        try:
            early, late = (part.mean() for part in _last_two(run, name, (begin, end)))
            if abs(late - early) < levels.STABLE * (start - late):
                lengths[begin, end] = (end - begin) / 10**number
        except UsageError as error:  # a stage too short to be judged
            short = f" {error}"
    if not lengths and not otherwise:
        raise UsageError(f"In no stage of this run is the loss seen to become stable.{short}")
    return max(lengths, key=lengths.get, default=otherwise)


def _named(run: Run, names) -> list[str]:
    """Return those of the observables, as a run names them, that it recorded."""
    prefix = "observed_" if hasattr(run.settings, "epochs") else ""
    known = [prefix + name for name in names]
    known = [name for name in known if run.has(_place(name)["quantity"])]
    if not known:
        raise UsageError("This run did not record the observables that are compared.")
    return known


def _last_two(run: Run, name: str, stage: tuple[int, int]) -> tuple[NDArray, NDArray]:
    values = observables(run, [name], *stage)[name][1]
    windows = invariance.growing_windows(len(values))[-2:]
    if len(windows) < 2:
        raise UsageError(f"A stage has {len(values)} records: lower observe_ or record_every.")
    return tuple(values[window] for window in windows)


def verdicts_by_stage(run: Run) -> pd.DataFrame:
    """Return the verdict of each ``observable`` in each ``stage``, one row each."""
    tables = {
        number: invariance.verdicts(observables(run, (*LOSSES, *WEIGHTS), *stage))
        for number, stage in enumerate(stages(run), start=1)
    }
    return pd.concat(tables, names=["stage", "observable"]).reset_index()


def said(verdicts) -> str:
    """Count verdicts in words, as in ``2 settled, 1 drifts, 0 undecided``."""
    known = list(verdicts)
    return ", ".join(f"{known.count(v)} {v}" for v in ("settled", "drifts", "undecided"))


def listed(names) -> str:
    """Name observables in a sentence."""
    return ", ".join(name.replace("_", " ") for name in names) or "none"


def relations(run: Run) -> pd.DataFrame:
    """Relate memories, windows in time and replicas of a run, a row for each observable.

    Of the trajectory without its first quarter: its autocorrelation ``time`` in steps; and
    of its last two ``windows``, and of the ``replicas`` at the end against it (at a joint
    level), the verdict and the ``_shift`` over its resolution.
    """
    names = _named(run, (*LOSSES, *WEIGHTS))
    path = observables(run, names, run.settings.trajectory / 4)
    table = pd.DataFrame(index=names)
    table["time"] = [
        autocorrelation_time(x) * (steps[1] - steps[0]) for steps, x in path.values()
    ]
    replicas = _judged(_replica_pairs(run, names).values(), True).set_axis(names)
    for name, part in (("windows", invariance.verdicts(path)), ("replicas", replicas)):
        table[name] = part.verdict
        table[f"{name}_shift"] = part["shift"] / part.resolution
    return table.sort_values("time")


def across_starts(run: Run) -> pd.DataFrame:
    """Compare the later half of stage 1 of each member with that of the first.

    Only of observables that do not depend on the order and the signs of hidden units. A row
    for each: how many members ``agree``, ``differ`` or are ``undecided``, at a joint level.
    """
    (begin, end), rows = stages(run)[0], {}
    names = ("loss", "gradient_norm", "weight_norm_squared")
    level = invariance.LEVEL / (len(names) * max(run.settings.members - 1, 1))
    for name in names:
        values = members(run, name).loc[(begin + end) / 2 : end - 1]
        first, *others = values.to_numpy().T
        verdicts = [invariance.judge(first, one, level=level)["verdict"] for one in others]
        rows[name] = {word: verdicts.count(word) for word in ("agree", "differ", "undecided")}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("observable")


def attempt(quantity: Callable, run: Run) -> tuple[Estimate, str]:
    """Return an estimate, or one of NaN where there is none, and what to say of it."""
    try:
        estimate = quantity(run)
    except UsageError as error:
        return UNKNOWN, f"no value ({error})"
    return estimate, "{:.2f} (interval {:.2f} to {:.2f})".format(*estimate)


# --- quantities of the ledger ---------------------------------------------------------


STILL = (
    "stationary series of the same number, length and memory: white noise and a slow "
    "Ornstein-Uhlenbeck part, fitted to this run"
)
DRIFT = f"{STILL}, with a slow drift"


@quantity(
    "of one number, by Student's t over the members",
    still=STILL,
    drift=f"{DRIFT} of each by four standard deviations over the window",
)
def norm_drift(run: Run, case: str = "") -> Estimate:
    """The drift of ||theta||^2 over the last half of the settled stage, over its spread."""
    begin, end = settled_stage(run)
    values = members(run, "weight_norm_squared").loc[(begin + end) / 2 : end - 1].to_numpy()
    if len(values) < 8:
        raise UsageError("The settled stage holds too few measurements: lower measure_every.")
    if not case:
        return drift_in_spreads(values)
    scales, (length, count) = fitted_scales(values.T), values.shape
    line = np.linspace(0, 4.0 if case == "drift" else 0.0, length)
    drifts = [
        drift_in_spreads((two_scales(count, length, *scales, seed) + line).T)
        for seed in range(SURROGATES)
    ]
    return Estimate(*map(float, np.median(drifts, axis=0)))


def drift_in_spreads(values: NDArray) -> Estimate:
    """Return the rise of fitted lines, in standard deviations about them, of series (n, K).

    By Student's t over the K, which are independent. NaN for fewer than eight values.
    """
    if len(values) < 8:
        return UNKNOWN
    still = scipy.signal.detrend(values, axis=0)
    line = values - still
    spread = math.sqrt((still**2).sum() / (still.size - 2 * still.shape[1]))
    return Estimate.mean(line[-1] - line[0]) / (spread or 1.0)


JUDGED = (
    "simultaneous (Bonferroni) over the observables with enough effective samples; "
    "chapter 7 lists the others"
)
SHIFT = "of one of them by 1.25 standard deviations between what is compared"
_in_time = quantity(JUDGED, within=SIZE, still=STILL, drift=f"{DRIFT} {SHIFT}")
_of_replicas = quantity(
    JUDGED, within=SIZE, still=STILL, drift=f"{STILL}, with a shift {SHIFT}"
)


@_in_time
def largest_shift(run: Run, case: str = "") -> Estimate:
    """The largest shift of losses and gradient norms between the settled stage's windows.

    Its last two, in standard deviations, see :func:`~.invariance.judge`; the
    interval is what chance could add or hide. Of training runs only the loss.
    """
    return _shift_in_time(run, LOSSES, case)


@_in_time
def weight_shift(run: Run, case: str = "") -> Estimate:
    """The largest shift of the weight norm and of projections of the weights in time."""
    return _shift_in_time(run, WEIGHTS, case)


@_of_replicas
def replica_shift(run: Run, case: str = "") -> Estimate:
    """The largest shift of loss and gradient norm, replicas against time.

    That is, against the trajectory without its first quarter.
    """
    return _largest(_replica_pairs(run, LOSSES), True, case)


@_of_replicas
def replica_weight_shift(run: Run, case: str = "") -> Estimate:
    """The largest shift of weight norm and projections, replicas against time."""
    return _largest(_replica_pairs(run, WEIGHTS), True, case)


def _shift_in_time(run: Run, names, case: str) -> Estimate:
    names, stage = _named(run, names), settled_stage(run)
    return _largest({name: _last_two(run, name, stage) for name in names}, False, case)


def _replica_pairs(run: Run, names) -> dict[str, tuple[NDArray, NDArray]]:
    seen = observables(run, _named(run, names), run.settings.trajectory / 4)
    return {
        name: (members(run, name).iloc[-1].to_numpy(), values)
        for name, (_, values) in seen.items()
    }


def replicas_enough(run: Run, counts=(32, 64, 128, 256), names=LOSSES) -> pd.Series:
    """Return how often replicas of the trajectory's own law are told to be of it, by number.

    The whole interval of :func:`replica_shift` is below 1/2; NaN: the trajectory is too short.
    """
    shares, observed = pd.Series(math.nan, counts), _replica_pairs(run, names)
    for count in counts:
        pairs = {name: (np.empty(count), path) for name, (_, path) in observed.items()}
        with contextlib.suppress(UsageError):
            drawn = _drawn(_enough(pairs, True), True, "still")
            shares[count] = np.mean([one.high < 0.5 for one in drawn])
    return shares


def _largest(pairs: dict, replicas: bool, case: str) -> Estimate:
    known = _enough(pairs, replicas)
    if not case:
        return _widest(_judged(known.values(), replicas))
    return Estimate(*map(float, np.median(_drawn(known, replicas, case), axis=0)))


def _enough(pairs: dict, replicas: bool) -> dict:
    """Return the pairs of windows with enough effective samples, the slowest one first."""
    known, faults = {}, []
    for name, pair in pairs.items():
        try:
            known[name] = max(fluctuation_time(one) / len(one) for one in pair[replicas:])
        except UsageError as error:
            faults.append(str(error))
    if not known:
        raise UsageError(f"No observable can be compared: {faults[0]}")
    return {name: pairs[name] for name in sorted(known, key=known.get, reverse=True)}


def _drawn(known: dict, replicas: bool, case: str) -> list[Estimate]:
    """Draw stationary pairs of the same memory, of which the slowest may drift."""
    sizes = [tuple(map(len, pair)) for pair in known.values()]
    scales = [
        fitted_scales(pair[1] if replicas else np.concatenate(pair)) for pair in known.values()
    ]
    shifts, estimates = [1.25 * (case == "drift")] + [0.0] * (len(known) - 1), []
    for seed in range(SURROGATES):
        keys = range(seed * len(known), (seed + 1) * len(known))
        drawn = zip(sizes, scales, shifts, keys, strict=True)
        rows = [_surrogate(*one, replicas, len(known)) for one in drawn]
        estimates.append(_widest(pd.DataFrame(rows)))
    judged = [one for one in estimates if not math.isnan(one.value)]
    if len(judged) < SURROGATES / 2:
        raise UsageError("Stationary series of this memory have too few effective samples.")
    return judged


@cache
def _surrogate(
    sizes: tuple, scales: tuple, shift: float, key: int, replicas: bool, together: int
) -> dict:
    """Draw a stationary pair that may drift, by its key, and judge it as one of several."""
    count, length = sizes
    (values,) = two_scales(1, length + (0 if replicas else count), *scales, key)
    if replicas:
        sample = np.random.default_rng([key, 1]).standard_normal(count) + shift
        return _judge((sample, values), replicas, together)
    values += np.linspace(0, 2 * shift, len(values))
    return _judge((values[:count], values[count:]), replicas, together)


def _judge(pair: tuple, replicas: bool, together: int) -> dict:
    """Compare one of several pairs at a joint level (Bonferroni)."""
    options = {"independent": (replicas, False), "level": invariance.LEVEL / together}
    return invariance.judge(*pair, **options)


def _judged(pairs, replicas: bool) -> pd.DataFrame:
    """Compare several pairs, a row each."""
    return pd.DataFrame([_judge(pair, replicas, len(pairs)) for pair in pairs])


def _widest(rows: pd.DataFrame) -> Estimate:
    """Return the largest shift of pairs that were compared, with a simultaneous interval."""
    shift, chance = rows["shift"], rows["resolution"]
    low = max((shift - chance).max(), 0.0)
    return Estimate(float(shift.max()), float(low), float((shift + chance).max()))
