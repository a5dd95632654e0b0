"""Have loss, gradient and weights of a watched training settled? A function a question."""

import contextlib
import math

import numpy as np

from ..chapters.levels import STABLE, VANISHED
from ..errors import UsageError
from ..stats.estimate import Estimate
from . import diffusion, drifts, identities
from .answers import (
    NO,
    OPEN,
    YES,
    Answer,
    all_of,
    asks,
    between,
    ends,
    opposite,
    percent,
    within,
)
from .watched import Watched

STILL = 1e-6  # of ||theta||^2: a change that float32 does not tell from none
BOUNDED = 0.25  # an exponent below it, and the weights stay where they are


@asks(
    "Has the loss settled?",
    "change of the loss over the window, as a share of what it lost before",
    f"yes: its interval lies within ±{percent(STABLE)}; no: else, if it does not hold zero",
)
def loss(watched: Watched, together: int = 1) -> Answer:
    """Judge the change of the minibatch loss over the window: :func:`~.drifts.change`.

    What was lost is from the first measured loss, taken as exact, to the window's mean.
    """
    values = watched.of("loss").values
    found = drifts.change(values, together)
    start = watched.start.get("mean_loss", watched.start["loss"])[0]
    lost = start - float(values.mean())
    if not lost > 0:
        said = (
            f"The loss was {start:.3g} when the watching began and is {values.mean():.3g} now"
        )
        raise UsageError(f"{said}: it lost nothing that a change could be a share of.")
    share = found.gain / lost
    verdict = within(share, STABLE)
    why = f"The loss {share.trend if share.trend != 'no trend' else 'shows no trend'} over the"
    why += f" window: {ends(share, percent)} of the {lost:.3g} that it lost before."
    if not watched.steady:
        why += f" Meanwhile {watched.course}: a shrinking rate alone can settle a loss."
    longer = max(math.ceil(((share.high - share.low) / 2 / STABLE) ** 2), 2)
    settled = "More steps at this rate will not change the loss much: decay the rate or"
    settled += " average the weights, or stop."
    if not watched.steady:
        settled = "Nothing: the schedule has ended where the loss stands still."
    advice = {
        YES: settled,
        NO: "Train longer at this rate: the loss still falls."
        if share.high < 0
        else "Lower the rate, or go back to earlier weights: the loss rises.",
        OPEN: f"Train about {longer:,} times as long at this rate to tell.",
    }
    return verdict, share, why, advice[verdict]


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
    why = f"The norm is {ends(ratio, percent)} of that at the start."
    with contextlib.suppress(UsageError):
        noise = float(np.mean(watched.of("noise_norm").values ** 2))
        if noise > 0:
            why += f" Its square is {square.value / noise:.2g} of a minibatch's noise."
        else:
            why += " There is no noise."
    advice = {
        YES: "The weights have come to a stationary point: more steps change little.",
        NO: "The weights are at no stationary point. At a constant rate with noise that is as"
        " it must be: to come nearer, decay the rate.",
        OPEN: "Measure with more batches: the error falls as one over their number.",
    }
    return verdict, ratio, why, advice[verdict]


@asks(
    "Are the weights stationary?",
    "change of ‖θ‖² over the window, as a share of ‖θ‖²",
    "yes: ‖θ‖² and the size of the steps both drift by less than one standard deviation of their"
    " own scatter, by their joint intervals; no: one drifts by more than nothing, beyond that",
)
def weights(watched: Watched, together: int = 1) -> Answer:
    """Judge the drifts of ||theta||^2 and of ||u||^2, each as one of two (Bonferroni).

    Both are constant in the mean where the weights are stationary. The converse is false:
    weights can wander at a constant norm; ``yes`` says that these two numbers stand still, and
    :func:`spread` asks about wandering. The balance of pull and push, see
    :mod:`~.identities`, is said with it: it is the drift of ||theta||^2 in another unit.
    """
    watched.needs_a_steady_rate()
    found, verdicts = {}, {}
    for name in ("weight_square", "update_square"):
        values = watched.of(name).values
        found[name] = drifts.change(values, 2 * together)
        spread = np.nan_to_num(found[name].spread)
        tolerance = max(spread, STILL * float(np.abs(values).mean()))
        verdicts[name] = within(found[name].gain, tolerance)
    if not watched.of("update_square").values.any():
        raise UsageError("No step moves the weights in the window: they are frozen.")
    square, steps = watched.of("weight_square").values, len(watched.of("weight_square").values)
    share = found["weight_square"].gain / float(square.mean())
    speed = found["update_square"].gain / float(watched.of("update_square").values.mean())
    why = f"‖θ‖² changes by {ends(share, percent)} over the window, the square of a step by"
    why += f" {ends(speed, percent)}."
    update = float(watched.of("update_square").values.mean())
    balance = identities.pull_over_push(found["weight_square"].gain, update, steps)
    why += f" Pull inwards over push outwards: {ends(balance)}, 1 where ‖θ‖² stands still."
    with contextlib.suppress(UsageError):
        turned = float(np.diff(watched.of("weight_buffer").values[[0, -1]])[0])
        ratio = identities.fluctuation_dissipation(
            found["weight_square"].gain, turned, update, steps, watched
        )
        why += f" Fluctuation-dissipation ratio: {ends(ratio)}."
    verdict = all_of(*verdicts.values())
    slow = [name for name, one in found.items() if math.isnan(one.memory)]
    if slow and verdict == OPEN:
        words = {"weight_square": "‖θ‖²", "update_square": "the size of the steps"}
        why += f" The memory of {' and of '.join(words[one] for one in slow)} is not short"
        why += " against the window: a slow motion looks like a drift."
    advice = {
        YES: "Averages over time at this rate mean something: average the weights, or decay"
        " the rate.",
        NO: "What is measured now describes no lasting state: train longer at this rate before"
        " you call it one, or decay the rate without waiting for it.",
        OPEN: "Train several times longer at this rate to tell.",
    }
    return verdict, share, why, advice[verdict]


@asks(
    "Do the weights diffuse?",
    "exponent of the growth of the squared displacement with the lag",
    f"yes: its interval lies above {BOUNDED}; no: below. 1 is Brownian motion, 2 a straight line",
)
def spread(watched: Watched, together: int = 1) -> Answer:
    """Judge the exponent c of ||theta_{t+k} - theta_t||^2 ~ k^c, from the sketch.

    Over lags from a 30th to a tenth of the window. ``no`` says that over these lags the
    distance no longer grows: the weights stay in a region that they have explored.
    """
    watched.needs_a_steady_rate()
    found = diffusion.displacements(watched.sketch)
    exponent = found.exponent()
    verdict = opposite(between(exponent, -math.inf, BOUNDED))
    longest = int(found.lags[-1]) * watched.sketch_every
    kind = "as Brownian motion does, as far as it tells"
    if exponent.high < 1:
        kind = "slower than Brownian motion"
    elif exponent.low > 1:
        kind = "faster than Brownian motion"
    kind = {NO: "not any more", OPEN: "or not: it cannot be told"}.get(verdict, kind)
    why = f"Over {longest // 3} to {longest} steps the squared displacement grows {kind}:"
    why += f" its exponent is {ends(exponent)}."
    advice = {
        YES: "The weights go on although the loss may not: weights from now and from later are"
        " different nets. Average them only over steps within which the loss of the average"
        " is still low.",
        NO: "The weights stay in one region: their average over the window lies within it.",
        OPEN: "Train longer at this rate to tell.",
    }
    return verdict, exponent, why, advice[verdict]
