"""What the runs of chapter 13 say: rises within a stage, their parts, and their rates."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...runs.records import Run
from ...stats.estimate import Estimate
from .. import quantity
from ..trends import slope_weights
from . import relaxation
from .arms import FULL, HELD, NO_DECAY, PLAIN, Arm, first_arms, interventions, slower

NORM = "gradient_norm"
SKIPPED = 1 / 20  # of a stage, left out of fits: the loss settles in it
PARTS = {  # of a rise; each a quantity, or one over another
    "gradient": (NORM,),
    "others": ("others_norm",),
    "normalised": ("normalised_norm",),
    "angular": ("angular_norm",),
    "1/‖w‖": ("normalised_norm", "angular_norm"),
    "noise": ("noise_norm",),
}
QUARTERS = (0, 0.25), (0.75, 1)  # of a stage, which a rise compares


def rate_arms(run: Run) -> list[Arm]:
    """Return the arms of normalised nets in their second stage, with that rate."""
    return slower(first_arms(run.settings)[:-1])


def second_stage(run: Run) -> list[str]:
    """Return the names of all arms of the second stage, the first arm first."""
    first, *more = rate_arms(run)
    others = [arm.name for arm in interventions(run.settings)]
    return [first.name, *others, FULL, PLAIN, *(arm.name for arm in more)]


def forgetting(run: Run, arm: Arm) -> float:
    """Return eta lambda / (1 - beta), one over the memory of the weights in steps."""
    return arm.rate * arm.decay / (1 - run.settings.momentum)


def curves(run: Run, name: str, arm: str, stage: int = 2) -> tuple[NDArray, NDArray]:
    """Return the steps (n,) since the stage began, and a quantity (members, n)."""
    table = run.wide(name, of=arm, index=stage)
    return table.index.to_numpy(float), table.to_numpy().T


def rise(run: Run, names, arm: str, stage: int = 2, parts=QUARTERS, over: str = "") -> Estimate:
    """Return by what factor a quantity rises from one part of a stage to another.

    The mean over the last quarter over that over the first, a geometric mean over the
    members with its interval by Student's t; of two names, the rise of the one over the
    rise of the other; ``over`` that of another arm, member by member.
    """
    return Estimate.geometric_mean(factors(run, names, arm, stage, parts, over))


def factors(
    run: Run, names, arm: str, stage: int = 2, parts=QUARTERS, over: str = ""
) -> NDArray:
    """Return the factors of :func:`rise`, one a member."""
    product = 1.0
    for one, sign in ((arm, 1), (over, -1)) if over else ((arm, 1),):
        for name, power in zip(names, (sign, -sign)):
            steps, values = curves(run, name, one, stage)
            product = product * growth(steps, values, parts) ** power
    return product


def shares(run: Run) -> dict[str, Estimate]:
    """Return three shares of the logarithm of the rise of the normalised part, first arm.

    What is seen with the norm held, too, and what the angular gradient and the quotient
    1/‖w‖ rise beyond it; they add up to one. By Student's t over members, each alone.
    """
    first = rate_arms(run)[0].name
    whole = np.log(factors(run, PARTS["normalised"], first))
    parts = {
        "geometry, 1/‖w‖": factors(run, PARTS["1/‖w‖"], first, over=HELD),
        "temperature": factors(run, PARTS["angular"], first, over=HELD),
        "with the norm held": factors(run, PARTS["normalised"], HELD),
    }
    return {name: Estimate.mean(np.log(part) / whole) for name, part in parts.items()}


def growth(steps: NDArray, values: NDArray, parts=QUARTERS) -> NDArray:
    """Return the mean of values (..., n) over one part of a stage over that of another."""
    passed = steps / steps[-1]
    means = [values[..., (passed > low) & (passed <= high)].mean(-1) for low, high in parts]
    return means[1] / means[0]


def rises(run: Run) -> pd.DataFrame:
    """Return the :func:`rise` of the gradient and its ``PARTS``, a row an arm.

    The normalised part is a product, *angular* times *1/‖w‖*: the square of the gradient is
    the sum of the squares of *normalised* and *others*. The first has ``low`` and ``high``.
    """
    rows = []
    for arm in second_stage(run):
        parts = {part: rise(run, names, arm) for part, names in PARTS.items()}
        whole = parts["gradient"]
        row = {"arm": arm, "low": whole.low, "high": whole.high}
        rows.append(row | {part: one.value for part, one in parts.items()})
    return pd.DataFrame(rows)[["arm", "gradient", "low", "high", *list(PARTS)[1:]]]


def against_sphere(run: Run) -> pd.DataFrame:
    """Return rises of 1/‖w‖ and of the angular gradient beside theory's, a row a rate arm.

    On the sphere both rise alike: where the angle that a step turns has the gradient that
    goes with it at every moment.
    """
    rows = []
    for arm in rate_arms(run):
        steps, _ = curves(run, NORM, arm.name)
        row = {"arm": arm.name, "memories": forgetting(run, arm) * steps[-1]}
        row["sphere"] = growth(steps, 1 / relaxation.sphere(forgetting(run, arm) * steps))
        for part in ("1/‖w‖", "angular"):
            row |= dict(
                zip((part, f"{part}, low", f"{part}, high"), rise(run, PARTS[part], arm.name))
            )
        rows.append(row)
    return pd.DataFrame(rows)


def to_last(run: Run, name: str, arm: Arm) -> tuple[NDArray, NDArray]:
    """Return the steps of the second stage after its first, and a quantity (members, n).

    The loss less its mean over the last quarter, in nats; all else over that mean.
    """
    steps, values = curves(run, name, arm.name)
    late = values[:, steps > 0.75 * steps[-1]].mean(1, keepdims=True)
    return steps[1:], (values - late if name == "loss" else values / late)[:, 1:]


def clocks_of(run: Run, arm: Arm) -> dict[str, float]:
    """Return what a step of an arm is on the clock of the loss, and on that of the weights."""
    return {"loss": arm.rate, "weights": forgetting(run, arm)}


def apart(run: Run, name: str) -> dict[str, float]:
    """Return how far the arms' means lie apart, at equal times of each clock.

    The root of the mean over the logarithm of time of their variance over the rate arms, of
    what :func:`to_last` returns, over all times that they share.
    """
    by_clock, arms = {}, rate_arms(run)
    for clock in clocks_of(run, arms[0]):
        means = []
        for arm in arms:
            steps, values = to_last(run, name, arm)
            means.append((np.log(clocks_of(run, arm)[clock] * steps), values.mean(0)))
        shared = max(time[0] for time, _ in means), min(time[-1] for time, _ in means)
        each = [np.interp(np.linspace(*shared, 200), *one) for one in means]
        by_clock[clock] = float(np.sqrt(np.var(each, axis=0, ddof=1).mean()))
    return by_clock


def half_way(run: Run, arm: Arm) -> float:
    """Return after how many memories ‖w‖ has gone half its way in the second stage.

    From its value at the drop to its mean over the last quarter; of the mean over members.
    """
    steps, values = curves(run, "weight_norm", arm.name)
    mean = values.mean(0)
    left = mean - mean[steps > 0.75 * steps[-1]].mean()
    return forgetting(run, arm) * steps[np.argmax(abs(left) < abs(left[0]) / 2)]


def settled_curves(run: Run, arm: str, skipped: float = SKIPPED) -> tuple[NDArray, NDArray]:
    """Return steps and gradient norms of the second stage without its first part."""
    steps, values = curves(run, NORM, arm)
    kept = steps >= skipped * steps[-1]
    return steps[kept], values[:, kept]


def rates(run: Run) -> pd.DataFrame:
    """Return fitted and predicted rates of settling, a row an arm of a rate and a decay.

    ``memories`` in the stage; ``predicted`` 2 eta lambda / (1 - beta) a step; ``ratio``,
    ``low`` and ``high`` of fitted over predicted, the mean over members by Student's t;
    ``sphere``, the same of the curve ||w||^-2 of scale-invariant weights.
    """
    rows = []
    for arm in rate_arms(run):
        (steps, values), forgotten = settled_curves(run, arm.name), forgetting(run, arm)
        ratio = Estimate.mean(relaxation.fit(steps, values).rate / (2 * forgotten))
        ideal = relaxation.fit(steps, relaxation.sphere(forgotten * steps) ** -2)
        row = {"arm": arm.name, "memories": forgotten * steps[-1], "predicted": 2 * forgotten}
        row |= dict(zip(("ratio", "low", "high"), ratio, strict=True))
        rows.append(row | {"sphere": ideal.rate[0] / (2 * forgotten)})
    return pd.DataFrame(rows)


def power_of_decay(run: Run) -> Estimate:
    """Return the power of eta lambda with which the fitted rate goes, by Student's t.

    Of each member a line through the logarithms of its rates at all rate arms: one is the
    hypothesis, zero a clock that knows nothing of decay.
    """
    arms = rate_arms(run)
    fitted = [relaxation.fit(*settled_curves(run, arm.name)).rate for arm in arms]
    predicted = np.log([forgetting(run, arm) for arm in arms])
    return Estimate.mean(slope_weights(predicted) @ np.log(fitted))


def power_on_sphere(table: pd.DataFrame) -> float:
    """Return the power of :func:`power_of_decay` of theory's curves, from :func:`rates`."""
    fitted = np.log(table.sphere * table.predicted)
    return float(slope_weights(np.log(table.predicted)) @ fitted)


def fitted_ratio(run: Run, arm: str) -> Estimate:
    """Return an arm's fitted rate over that of the first arm's decay, as :func:`rates` does."""
    fitted = relaxation.fit(*settled_curves(run, arm)).rate
    return Estimate.mean(fitted / (2 * forgetting(run, rate_arms(run)[0])))


def in_short(run: Run) -> dict[str, Estimate]:
    """Return what a run says of the path, each number alone: rises, rates, shares of a rise.

    A share is of the logarithm of the first arm's rise, member by member.
    """
    first, whole = rate_arms(run)[0].name, (NORM,)
    told = {"rise": rise(run, whole, first)}
    told["rise, stage 3"] = rise(run, whole, first, stage=3)
    arms = HELD, NO_DECAY, "decay of normalised alone", "decay of others alone", PLAIN, FULL
    told |= {f"rise, {arm}": rise(run, whole, arm) for arm in arms}
    held, base = (np.log(factors(run, whole, arm)) for arm in (HELD, first))
    told["share of it with the norm held"] = Estimate.mean(held / base)
    told |= {f"normalised part, share: {name}": share for name, share in shares(run).items()}
    told["fitted over predicted rate"] = fitted_ratio(run, first)
    return told | {f"the same, {arm}": fitted_ratio(run, arm) for arm in arms[:2]}


SPEEDS = {"predicted": 1, "quarter": 1 / 4, "fourfold": 4}  # over the predicted rate
MADE_UP = (
    "curves that settle at {} the predicted rate, with the residuals of this run, shifted "
    "and turned round in time by lot"
)
SURROGATES = 100  # drawn for a made-up case, whose estimate is their median


@quantity(
    "of one number, by Student's t over seeds",
    quarter=MADE_UP.format("a quarter of"),
    fourfold=MADE_UP.format("four times"),
    predicted=MADE_UP.format("just"),
)
def settling_ratio(run: Run, case: str = "", skipped: float = SKIPPED) -> Estimate:
    """The rate at which the gradient norm settles after a drop, over 2 eta lambda / (1 - beta).

    Fitted is N = level - rise exp(-rate t), for each member, to the second stage of the
    first arm but for its first part, by default ``SKIPPED``.
    """
    steps, values, predicted = _of_first_arm(run, skipped)

    def ratio(curves: NDArray) -> NDArray:
        return relaxation.fit(steps, curves).rate / predicted

    return _of_seeds(ratio, steps, values, predicted, case)


def _of_first_arm(run: Run, skipped: float) -> tuple[NDArray, NDArray, float]:
    """Return steps, norms (K, n) and predicted rate of the first arm."""
    arm = rate_arms(run)[0]
    return *settled_curves(run, arm.name, skipped), 2 * forgetting(run, arm)


def _of_seeds(
    number: Callable, steps: NDArray, values: NDArray, predicted: float, case: str
) -> Estimate:
    """Estimate a number of each curve (K, n), of the run or of curves at another rate.

    Residuals as they are would leave each fit where it was: they are what it cannot explain.
    So they are drawn anew, and made larger by what three fitted numbers take.
    """
    if not case:
        return Estimate.mean(number(values))
    fitted, (members, count) = relaxation.fit(steps, values), values.shape
    passed = np.exp(-SPEEDS[case] * predicted * (steps - steps[0]))
    ideal = fitted.level[:, None] - fitted.rise[:, None] * passed
    rest, generator = values - fitted.curve, np.random.default_rng(0)
    rest *= math.sqrt(count / (count - 3))
    estimates = []
    for _ in range(SURROGATES):
        begin, way = generator.integers(count, size=members), generator.choice([-1, 1], members)
        places = (begin[:, None] + way[:, None] * np.arange(count)) % count
        estimates.append(Estimate.mean(number(ideal + np.take_along_axis(rest, places, 1))))
    return Estimate(*map(float, np.median(estimates, axis=0)))


@quantity(
    "of one number, by Student's t over seeds",
    within=(-1.0, 1.0),
    no_decay="the nets of the run whose decay was switched off at the drop",
    quarter=MADE_UP.format("a quarter of"),
    fourfold=MADE_UP.format("four times"),
    predicted=MADE_UP.format("just"),
)
def settling_share(run: Run, case: str = "") -> Estimate:
    """The share of a gradient norm's variance after a drop that the clock of decay explains.

    Its curve is level - rise exp(-2 eta lambda t / (1 - beta)): level and rise are fitted to
    each member, the rate is not. A share has the sign of the rise.
    """
    steps, values, predicted = _of_first_arm(run, SKIPPED)
    if case == "no_decay":
        (steps, values), case = settled_curves(run, NO_DECAY), ""

    def share(curves: NDArray) -> NDArray:
        return relaxation.explained(steps, curves, predicted)

    return _of_seeds(share, steps, values, predicted, case)
