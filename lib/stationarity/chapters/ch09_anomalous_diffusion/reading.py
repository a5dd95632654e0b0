"""What a run says of how far its weights go: displacements, exponents, the loss meanwhile.

Of the experiments ``diffusion``, ``walks`` and any that follows one net. A case of a
quantity is another variation of the run, or a made-up one with the run's own scatter.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...runs.records import Run
from ...stats.estimate import Estimate
from .. import SHARE, SIZE, authors_sweep, bootstrap, quantity
from ..trends import slope_weights
from . import study

GLOBAL, LOCAL = "global_displacement_squared", "local_displacement_squared"
# Windows of lags in which the authors' code fits, as shares of the longest lag. Which
# octave theirs is we do not know: here it is the one before the last.
WINDOW = "last two thirds"
WINDOWS = {
    WINDOW: np.array([1 / 3, 1]), "second half": np.array([1 / 2, 1]),
    "one octave": np.array([1 / 4, 1 / 2]),
}  # fmt: skip
POINTS = 4  # reference points of one trajectory whose lags do not overlap
LAWS = {  # made-up squared displacements, of the lag as a share of the longest
    "settled": (
        lambda x: 1 - np.exp(-10 * x),
        "a process that settles, by 1 - exp(-10 k / K) to the longest lag K",
    ),
    "power_law": (np.sqrt, "a power law of the exponent 1/2"),
    "brownian": (lambda x: x, "Brownian motion"),
    "drift": (
        lambda x: x + 4 * x**2,
        "Brownian motion with a drift, as large at a quarter of the longest lag",
    ),
    "ballistic": (np.square, "motion at a constant velocity"),
}
BOOTSTRAP = "of one number, by a bootstrap over seeds and Student's t"
SCATTER = ", with the scatter of this run's seeds"
SHARES = {"forgotten": 1 / 2, "carried": 5 / 6}  # made-up shares of replicas


def _made_up(*names: str) -> dict[str, str]:
    return {name: LAWS[name][1] + SCATTER for name in names}


def variations(run: Run) -> list[str]:
    """Return the names of what the run follows: variations or processes; "" for one net."""
    return run.series(GLOBAL).of.unique().tolist()


def main(run: Run) -> str:
    """Return the variation that the run is about, which is its first."""
    return variations(run)[0]


def displacements(run: Run, of: str = "") -> tuple[NDArray, NDArray]:
    """Return lags (L,) and squared displacements (K, R, L) of one variation.

    ``of`` is by default what the run is about; one of ``LAWS`` gives that law times what
    each of the run's squared displacements is of their mean. Where the trajectory ends
    before each reference point has the longest lag, at most ``POINTS`` of these are kept,
    so far from each other that their lags do not overlap.
    """
    if of in LAWS:
        lags, squares = displacements(run)
        return lags, squares / squares.mean((0, 1)) * LAWS[of][0](lags / lags[-1])
    series = run.series(GLOBAL, of=of or main(run))
    series = series[series.step > 0].assign(member=series.member.fillna(0))
    table = series.pivot(index=["member", "index"], columns="step", values="value")
    if table.iloc[:, -1].isna().any():
        points = series["index"].nunique()
        apart = -(-points // POINTS)
        table = table[table.index.get_level_values("index") % apart == 0]
        table = table.loc[:, : table.columns[-1] * apart / points].dropna(axis=1)
    squares = table.to_numpy().reshape(series.member.nunique(), -1, table.shape[1])
    return table.columns.to_numpy(float), squares


def octave_exponents(lags: NDArray, squares: NDArray) -> list[tuple[float, float, Estimate]]:
    """Return first lag, last lag and exponent of each octave of three lags, the last first."""
    octaves, last = [], float(lags.max())
    while np.sum((lags >= last / 2) & (lags <= last)) >= 3:
        octaves.append((last / 2, last, bootstrap.exponent(lags, squares, (last / 2, last))))
        last /= 2
    return octaves


@quantity(BOOTSTRAP, **_made_up("settled", "ballistic", "power_law"))
def displacement_exponent(run: Run, case: str = "", window: str = WINDOW) -> Estimate:
    """The exponent of the squared displacement, fitted over the last two thirds of the lags.

    Or over another of ``WINDOWS``. Of a single net the bootstrap is over reference points.
    """
    lags, squares = displacements(run, case)
    return bootstrap.exponent(lags, squares, lags[-1] * WINDOWS[window])


def unlike(run: Run, few: int, draws: int = 400) -> dict[str, float]:
    """Return how unlike nets are, and what that does to the exponent's interval of a few.

    ``least``, ``most`` and ``mean`` are of the exponents that each has alone, ``whole`` is that
    of their mean squared distance; ``covered`` is the share of ``draws`` of a few, with
    replacement, whose interval holds it.
    """
    lags, squares = displacements(run)
    nets = squares.mean(1)
    weights = bootstrap.exponent_weights(lags, lags[-1] * WINDOWS[WINDOW])
    alone, whole = np.log(nets) @ weights, np.log(nets.mean(0)) @ weights
    chosen = np.random.default_rng(0).integers(len(nets), size=(draws, few))
    found = [bootstrap.weighted(lags, nets[one], weights) for one in chosen]
    covered = np.mean([one.low <= whole <= one.high for one in found])
    told = {"least": alone.min(), "most": alone.max(), "mean": alone.mean()}
    return told | {"whole": whole, "covered": covered}


@quantity(BOOTSTRAP, within=SIZE, **_made_up("brownian", "power_law"))
def distance_from_brownian(run: Run, case: str = "") -> Estimate:
    """How far that exponent lies from 1, the value of Brownian motion, to either side."""
    fit = displacement_exponent(run, case)
    low = max(fit.low - 1, 1 - fit.high, 0.0)
    return Estimate(abs(fit.value - 1), low, max(fit.high - 1, 1 - fit.low))


@quantity(
    BOOTSTRAP,
    **_made_up("settled", "drift", "power_law"),
    **{"Ornstein-Uhlenbeck": "the Ornstein-Uhlenbeck process of the run of known walks"},
)
def exponent_change(run: Run, case: str = "") -> Estimate:
    """How much the exponent changes over the last four octaves of the lags.

    That of the later two octaves less that of the two before: zero for a power law.
    """
    lags, squares = displacements(run, case)
    ends = [lags[-1] / 2**octaves for octaves in (4, 2, 0)]
    early, late = (bootstrap.exponent_weights(lags, ends[k : k + 2]) for k in (0, 1))
    return bootstrap.weighted(lags, squares, late - early)


def local(run: Run, of: str = "") -> pd.Series:
    """Return the mean of ‖δ‖² of single steps, of each member (K,), in unit²."""
    series = run.series(LOCAL, of=of or main(run))
    return series.groupby("member", dropna=False).value.mean()


def _settings(run: Run, variation: str) -> dict[str, float]:
    """Return those settings of a variation, as ``learning_rate=0.01``, that can be varied."""
    changed = study.variations(run.settings)[variation]
    given = {name: getattr(run.settings, name) for name in study.VARIED}
    return given | {name: float(changed[name]) for name in given if name in changed}


def rates(run: Run, variation: str) -> tuple[float, float]:
    """Return the effective rate η/(1−β) of a variation (unit² per nat), and its memories.

    Those of the square of a weight, as in :func:`by_memories`.
    """
    one = _settings(run, variation)
    rate = one["learning_rate"] / (1 - one["momentum"])
    return rate, 2 * rate * one["weight_decay"] * run.settings.longest


def exponents(run: Run) -> pd.DataFrame:
    """Return a row for every variation: its exponent ``value``, ``low``, ``high``.

    Also ``variation``, ``setting`` (the names that it changes), all settings that are
    varied, and :func:`rates` as ``effective_rate`` and ``memories``; ``local``, the squared
    displacement of one step, and ``distance``, that at the longest lag (unit²), means over
    seeds with ends ``_low`` and ``_high`` by Student's t; and ``local_expected``, what
    ‖δ‖² ∝ η² / (S (1 − β²)) gives from the base settings on.
    """
    rows = []
    for variation in variations(run):
        given = _settings(run, variation)
        setting = " ".join(study.variations(run.settings)[variation]) or variation
        row = {"variation": variation, "setting": setting, **given}
        row |= zip(("effective_rate", "memories"), rates(run, variation))
        row |= displacement_exponent(run, variation)._asdict()
        far = displacements(run, variation)[1].mean(1)[:, -1]
        for name, values in (("local", local(run, variation)), ("distance", far)):
            row |= zip((name, f"{name}_low", f"{name}_high"), Estimate.mean(values))
        rows.append(row)
    table = pd.DataFrame(rows)
    noise = table.learning_rate**2 / (table.batch_size * (1 - table.momentum**2))
    base = (table.local / noise)[table.variation == main(run)].item()
    return table.assign(local_expected=base * noise)


def effective_rates(run: Run) -> pd.DataFrame:
    """Return the rows of :func:`exponents` that vary η or β, with the rate η / (1 − β).

    Sorted by this ``effective_rate`` (unit² per nat). ``expected`` is the exponent that the
    learning rates have there, interpolated: NaN beyond their range by more than an eighth.
    """
    table = exponents(run)
    table = table[table.setting.isin(["learning_rate", "momentum", main(run)])]
    table = table.sort_values("effective_rate")
    known, rates = table[table.setting != "momentum"], table.effective_rate
    expected = np.interp(np.log(rates), np.log(known.effective_rate), known.value)
    low, *_, high = known.effective_rate
    inside = rates.between(low / 1.125, high * 1.125, inclusive="neither")
    return table.assign(expected=np.where(inside, expected, np.nan))


def by_memories(run: Run) -> pd.DataFrame:
    """Return the rows of :func:`exponents` that vary η, β or λ, with their ``memories``.

    Those of the square of a weight, 2ηλK/(1−β), up to the longest lag K; none without decay.
    """
    table = exponents(run)
    varied = ["learning_rate", "momentum", "weight_decay", main(run)]
    table = table[table.setting.isin(varied)]
    return table[table.memories > 0].sort_values("memories")


def _of_each_member(run: Run, variation: str) -> NDArray:
    """Return the exponent of each member (K,), over the usual window."""
    lags, squares = displacements(run, variation)
    weights = bootstrap.exponent_weights(lags, tuple(lags[-1] * WINDOWS[WINDOW]))
    return np.log(squares.mean(1)) @ weights


def of_members(run: Run) -> tuple[NDArray, NDArray]:
    """Return the variations' effective rates (V,), sorted, and members' exponents (V, K)."""
    pairs = [(rates(run, name)[0], _of_each_member(run, name)) for name in variations(run)]
    pairs.sort(key=lambda one: one[0])
    return tuple(map(np.array, zip(*pairs, strict=True)))


def quenched_ends(run: Run) -> tuple[Estimate, Estimate]:
    """Return the largest and the smallest exponent of nets that go on at a smaller rate.

    Means over members of each one's exponent, with intervals by Student's t that hold for
    all these settings together (Bonferroni), as two must that are chosen among them.
    """
    base, names = run.settings.learning_rate, variations(run)
    names = [name for name in names if _settings(run, name)["learning_rate"] < base]
    members = [_of_each_member(run, name) for name in names]
    each = Estimate.mean(np.transpose(members), together=len(names))
    places = each.value.argmax(), each.value.argmin()
    return tuple(Estimate(*(float(end[place]) for end in each)) for place in places)


@quantity(
    "of one number, by Student's t over seeds",
    brownian="Brownian motion at every setting" + SCATTER,
    authors="the authors' nine exponents" + SCATTER,
)
def exponent_slope(run: Run, case: str = "") -> Estimate:
    """The change of the exponent with each decade of the effective rate, over all settings.

    Of a line through the exponents of a seed, for nets that go on at several rates.
    """
    effective, exponents = of_members(run)
    slopes = slope_weights(np.log10(effective)) @ exponents
    if case:
        grid = authors_sweep.exponents()
        theirs = slope_weights(np.log10(grid.memories)) @ grid.exponent
        slopes += (theirs if case == "authors" else 0.0) - slopes.mean()
    return Estimate.mean(slopes)


def axes_apart(run: Run, other: Run) -> dict[str, Estimate]:
    """Return how far two sweeps with the same rates and two decays lie apart on two axes.

    ``effective rate``: the exponents of ``other`` less those of the run at the same rate.
    ``memories``: less those at the same number of memories, interpolated, where the run has
    it. Means over the settings; intervals by Student's t over seeds, whose nets settled
    apart.
    """
    (effective, mine), (_, theirs) = of_members(run), of_members(other)
    times = other.settings.weight_decay / run.settings.weight_decay
    at = np.log(effective)
    inside = (at + np.log(times) >= at[0]) & (at + np.log(times) <= at[-1])
    moved = np.transpose([np.interp(at + np.log(times), at, one) for one in mine.T])
    apart = {"effective rate": theirs - mine, "memories": (theirs - moved)[inside]}
    return {name: Estimate.mean(one.mean(0)) for name, one in apart.items()}


@quantity(
    "of one number, by Student's t over seeds",
    flat="no change" + SCATTER,
    falling="a loss that falls as 1 / t at this run's age, as that of separable data" + SCATTER,
    **{"weight_decay=0": "the same nets after their weight decay was taken away"},
)
def followed_loss_change(run: Run, case: str = "") -> Estimate:
    """The change of the loss while the weights are followed, as a share of the loss.

    It is what a line through the loss of a seed gains, over its mean.
    """
    made_up = case in ("flat", "falling")
    table = run.wide("loss", of=main(run) if made_up or not case else case)
    weights = slope_weights(table.index) * np.ptp(table.index)
    gains = weights @ table / table.mean()
    if made_up:
        falling = 1 / (run.settings.settle + run.settings.burn_in + table.index)
        fall = weights @ falling / falling.to_numpy().mean()
        gains += (fall if case == "falling" else 0.0) - gains.mean()
    return Estimate.mean(gains)


def shared_parts(run: Run) -> tuple[NDArray, dict[str, Estimate]]:
    """Return lags (L,) and how much of their squared displacement replicas of a net share.

    ``total``, ``shared`` (unit²) and their ratio, the ``share``: means over the nets (L,),
    with intervals by Student's t, of each lag alone.
    """
    names = "replica_displacement_squared", "shared_displacement_squared"
    total, shared = (run.wide(name).T for name in names)
    parts = {"total": total, "shared": shared, "share": shared / total}
    return total.columns.to_numpy(), {k: Estimate.mean(one) for k, one in parts.items()}


@quantity(
    "of one number, by Student's t over nets",
    within=SHARE,
    forgotten="a settled process that has forgotten where it was, of which replicas share one "
    "half" + SCATTER,
    carried="such a process with a drift on top that makes two thirds of its squared "
    "displacement" + SCATTER,
)
def shared_share(run: Run, case: str = "") -> Estimate:
    """The share of their squared displacement, at the longest lag, that replicas share.

    Replicas start from one state and draw their own minibatches. A settled quadratic comes
    to one half, a drift to 1. It is the mean over nets of the share of each: a net that moves
    in few directions has a mean share below one half, where it has settled.
    """
    share = np.array(shared_parts(run)[1]["share"])[:, -1]
    return Estimate(*(share - share[0] + SHARES[case] if case else share))
