"""Have loss, gradient and weights of a watched training settled? A function a question."""

import contextlib
import math

import numpy as np

from ..chapters.levels import STABLE, VANISHED
from ..errors import UsageError
from ..stats.estimate import UNKNOWN, Estimate
from . import diffusion, drifts, identities
from .answers import (
    NO,
    OPEN,
    RISES,
    YES,
    Answer,
    all_of,
    asks,
    between,
    ends,
    number,
    opposite,
    percent,
    within,
)
from .watched import Watched

STILL = 1e-6  # of ||theta||^2: a change that float32 does not tell from none
FAR = 10.0  # times the loss at the start: a mean above it has risen, whatever its change
LOWER = "Lower the rate, or go back to earlier weights: the loss rises."
HOLD = "To have a verdict, hold the rate for a stage and watch that."
BOUNDED = 0.25  # an exponent below it, and the weights stay where they are


@asks(
    "Has the loss settled?",
    "change of the loss over the window, as a share of what it lost before",
    f"yes: its interval lies within ±{percent(STABLE)}; no: else, if it does not hold zero;"
    f" where nothing was lost, no: the loss rises, or is {FAR:g} times that at the start",
)
def loss(watched: Watched, together: int = 1) -> Answer:
    """Judge the change of the minibatch loss over the window: :func:`~.drifts.change`.

    What was lost is from the first measured loss, taken as exact, to the window's mean. Where
    that is nothing, there is no share: all that is judged is whether the loss rises.
    """
    values, start = watched.of("loss").values, watched.loss_at_the_start
    change, lost = drifts.change(values, together), start - float(values.mean())
    if not lost > 0:
        return _without_a_loss(values, start, change)
    share, quarter = change.gain / lost, len(values) // 4
    verdict = within(share, STABLE)
    moves = share.trend if share.trend != "no trend" else "shows no trend"
    why = f"Over the window the loss {moves}: {ends(share, percent)} of the {number(lost)} that"
    why += " it lost before."
    if (values > 0).all():  # else a ratio says nothing
        left = number(float(values[-quarter:].mean() / values[:quarter].mean()))
        why += f" Its mean over the last quarter is {left} of that over the first."
    if not watched.steady:
        why += f" Meanwhile {watched.course}: a shrinking rate alone can settle a loss."
    rises = verdict == NO and share.low > 0
    longer = max(math.ceil(((share.high - share.low) / 2 / STABLE) ** 2), 2)
    settled = "Against what it lost, more steps at this rate change little: decay the rate or"
    settled += " average the weights"
    if not watched.steady:
        settled = "Nothing: against what it lost, the loss changes little under this schedule"
    if share.high < 0:
        settled += ". It still falls: where the last digits count, train on."
    else:
        settled += ", or stop." if watched.steady else "."
    advice = {
        YES: settled,
        NO: LOWER if rises else "Train longer at this rate: the loss still falls.",
        OPEN: f"Train about {longer:,} times as long at this rate to tell.",
    }
    return verdict, share, why, advice[verdict], RISES if rises else ""


def _without_a_loss(values, start: float, change: drifts.Change):
    """Return the answer's parts where the window's loss is not below that at the start."""
    mean = float(values.mean())
    said = f"The loss was {number(start)} when the watching began and is {number(mean)}"
    if change.gain.low > 0:
        why = f"{said}: it rises, by {ends(change.gain)} over the window."
    elif mean > FAR * start > 0:
        why = f"{said}: it has risen."
    else:
        raise UsageError(f"{said}: it lost nothing that a change could be a share of.")
    return NO, UNKNOWN, why, LOWER, RISES


@asks(
    "Has the gradient vanished?",
    "norm of the full gradient over the window, as a share of that at the start",
    f"yes: its interval lies below {percent(VANISHED)}; no: above",
)
def gradient(watched: Watched, together: int = 1) -> Answer:
    """Judge the unbiased norm of the full gradient against its value at the start.

    Of the objective with its decay where the decay is part of the gradient; decoupled decay
    has no such objective, and is left out. The interval of the ratio is made of those of the
    mean over the window and of the first measurement, each at 97.5 %.
    """
    name = "gradient_norm_squared"
    if watched.decays and "regularised_gradient_norm_squared" in watched.series:
        name = "regularised_gradient_norm_squared"
    square = watched.mean(name, 2 * together)
    first, error = watched.start[name]
    begin = Estimate.of(first, np.nan_to_num(error), 10**6, 2 * together)
    if not begin.low > 0:
        said = f"The squared gradient at the start is {ends(begin)}, and not told from zero"
        raise UsageError(f"{said}: measure it with more batches.")
    ratio = Estimate(square.value / first, square.low / begin.high, square.high / begin.low)
    ratio = ratio.root()
    verdict = between(ratio, -math.inf, VANISHED)
    why, noise = f"The norm is {ends(ratio, percent)} of that at the start.", math.nan
    with contextlib.suppress(UsageError):
        noise = float(np.mean(watched.of("noise_norm").values ** 2))
    if noise > 0:
        why += f" Its square is {number(square.value / noise, 2)} of a minibatch's noise."
    kept = (
        "At a constant rate with noise that is as it must be: to come nearer, decay the rate."
    )
    if noise == 0:
        why, kept = f"{why} There is no noise.", "There is no noise: go on to come nearer."
    advice = {
        YES: f"The gradient has come to within {percent(VANISHED)} of its norm at the start:"
        " what more steps change is for the loss to say.",
        NO: f"The weights are at no stationary point. {kept}",
        OPEN: "Measure with more batches: the error falls as one over their number.",
    }
    return verdict, ratio, why, advice[verdict]


WORDS = {
    "weight_square": "‖θ‖²",
    "update_square": "the size of the steps",
    "sketch": "the weights",
}


@asks(
    "Are the weights stationary?",
    "change of ‖θ‖² over the window, as a share of ‖θ‖²",
    "yes: ‖θ‖², the size of the steps and the weights (a sketch of them) all drift by less than"
    " one standard deviation of their own scatter, by joint intervals, at a constant rate; no:"
    " one of them drifts, and by its interval perhaps by more",
)
def weights(watched: Watched, together: int = 1) -> Answer:
    """Judge the drifts of ||theta||^2, ||u||^2 and the sketch, each as one of three.

    All are constant in the mean where the weights are stationary. The converse is false:
    ``yes`` says that these stand still over the window, and no more. The balance of pull and
    push, see :mod:`~.identities`, is said with it: it is the drift of ||theta||^2 in another
    unit. Where the rate moves there is no ``yes``, as no law is left as it is by steps of two
    rates unless nothing moves; a drift that is seen is one at any rate.
    """
    series = {name: watched.of(name).values for name in ("weight_square", "update_square")}
    if not series["update_square"].any():
        raise UsageError("No step moves the weights in the window: they are frozen.")
    if watched.sketch is not None:
        series["sketch"] = watched.sketch
    changes = {n: drifts.change(values, len(series) * together) for n, values in series.items()}
    verdicts = {}
    for name, values in series.items():
        tolerance = STILL * float(np.sqrt(np.mean(values**2)))
        tolerance = max(np.nan_to_num(changes[name].spread), tolerance)
        verdicts[name] = within(changes[name].gain, tolerance)
    share, speed = (changes[n].gain / float(series[n].mean()) for n in list(series)[:2])
    why = f"‖θ‖² changes by {ends(share, percent)} over the window, the square of a step by"
    why += f" {ends(speed, percent)}. {_balances(watched, changes['weight_square'].gain)}"
    verdict = all_of(*verdicts.values())
    drifting = [WORDS[name] for name, one in verdicts.items() if one == NO]
    slow = [WORDS[name] for name, one in changes.items() if math.isnan(one.memory)]
    if drifting:
        why += f" What drifts: {', '.join(drifting)}."
    elif slow and verdict == OPEN:
        why += f" The memory of {' and of '.join(slow)} is not short against the window: a slow"
        why += " motion looks like a drift."
    advice = {
        YES: "Averages over time at this rate mean something: average the weights, or decay"
        " the rate.",
        NO: "What is measured now describes no lasting state: train longer at this rate before"
        " you call it one, or decay the rate without waiting for it.",
        OPEN: "Train several times longer at this rate to tell.",
    }
    if verdict != NO or watched.steady:
        return _at_a_constant_rate(watched, verdict, share, why, advice[verdict])
    why += f" In the window {watched.course}: that alone may move them."
    return NO, share, why, f"No state is to be seen while the rate moves. {HOLD}"


def _balances(watched: Watched, gain: Estimate) -> str:
    """Return the balances of :mod:`~.identities` that hold for the optimizer, in words."""
    update = watched.of("update_square").values
    about = float(update.mean()), len(update)
    balance = identities.pull_over_push(gain, *about)
    why = f"Pull inwards over push outwards: {ends(balance)}, 1 where ‖θ‖² stands still."
    with contextlib.suppress(UsageError):
        turned = drifts.change(watched.of("weight_buffer").values).gain.value
        ratio = identities.fluctuation_dissipation(gain, turned, *about, watched)
        why += f" Fluctuation-dissipation ratio: {ends(ratio)}."
    return why


def _at_a_constant_rate(watched: Watched, verdict, estimate, why: str, advice: str):
    """Return an answer's parts, without a verdict where the rate does not stand still."""
    if watched.steady:
        return verdict, estimate, why, advice
    why += f" But in the window {watched.course}: there is no stationary state to be in."
    return OPEN, estimate, why, HOLD


@asks(
    "Do the weights diffuse?",
    "exponent of the growth of the squared displacement with the lag",
    f"yes: its interval lies above {BOUNDED}; no: below. 1 is Brownian motion; above 1 the"
    " weights travel, as in a drift; 2 is a straight line",
)
def spread(watched: Watched, together: int = 1) -> Answer:
    """Judge the exponent c of ||theta_{t+k} - theta_t||^2 ~ k^c, from the sketch.

    Over lags from a 30th to a tenth of the window. ``no`` says that over these lags the
    distance no longer grows: the weights stay in a region that they have explored.
    """
    moved = diffusion.displacements(watched.sketch)
    exponent = moved.exponent(together)
    verdict = opposite(between(exponent, -math.inf, BOUNDED))
    longest = int(moved.lags[-1]) * watched.sketch_every
    kind = "as Brownian motion does, as far as it tells"
    if exponent.high < 1:
        kind = "slower than Brownian motion"
    elif exponent.low > 1:
        kind = "faster than Brownian motion"
    kind = {NO: "not any more", OPEN: "or not: it cannot be told"}.get(verdict, kind)
    why = f"Over {longest // 3} to {longest} steps the squared displacement grows {kind}:"
    why += f" its exponent is {ends(exponent)}. Longer lags are not seen."
    if exponent.low > 1:
        why += " The weights travel, as in a drift: this is more than diffusion."
    advice = {
        YES: "The weights go on although the loss may not: weights from now and from later are"
        " different nets. Average them only over steps within which the loss of the average"
        " is still low.",
        NO: "The weights stay in one region: their average over the window lies within it.",
        OPEN: "Train longer at this rate to tell.",
    }
    return _at_a_constant_rate(watched, verdict, exponent, why, advice[verdict])
