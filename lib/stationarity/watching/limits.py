"""Are the step and the batch of a watched training at their limits? A function a question."""

import math

import numpy as np

from ..chapters.numbers import NUMBERS
from ..errors import UsageError
from ..stats.estimate import Estimate
from . import drifts
from .answers import NO, OPEN, YES, Answer, asks, between, ends
from .settling import LOWER
from .watched import Watched

EDGE = (0.85, 1.15)  # of the sharpness over the stable one: it is at the edge
MOSTLY = 3.0  # noise over signal, in squares: above it, a step is mostly noise
FEWER = "None is larger; a smaller one costs less a step."
MOSTLY_ADAM = 10.0  # the same where the noise that counts is in another metric


@asks(
    "Is the step at the edge of stability?",
    "sharpness over the largest that is stable at this rate",
    f"yes: both ends of its bracket lie between {EDGE[0]} and {EDGE[1]}, with their intervals;"
    " no: both lie below, or both above",
)
def edge(watched: Watched, together: int = 1, rises: bool = False) -> Answer:
    r"""Judge the top curvature over the stable one, from the measurements in the window.

    ``rises`` says whether the loss was found to: then no larger rate is spoken of.

    On a quadratic of curvature h (decay included), SGD's x_{k+1} = (1 + beta - eta h) x_k -
    beta x_{k-1} is stable below h = 2 (1 + beta) / eta: at the edge a root of z^2 - (1 + beta -
    eta h) z + beta is -1. Nesterov's step, x_{k+1} = (1 + beta) (1 - eta h) x_k -
    beta (1 - eta h) x_{k-1}, is so below 2 (1 + beta) / ((1 + 2 beta) eta). Adam with a
    preconditioner P that changes slowly, m = beta m + (1 - beta) g, is SGD in the coordinates
    P^{1/2} theta with the rate (1 - beta) eta: the Hessian P^{-1/2} H P^{-1/2} has the edge
    2 (1 + beta) / ((1 - beta) eta), 38 / eta for beta = 0.9 (Cohen et al. 2022); decoupled
    decay takes lambda (1 + beta) / (1 - beta) off.

    The top curvature of all data is bracketed, see :mod:`~.curvature`: the sharpness is of few
    batches and in the mean no less, the curvature of fresh ones along its direction in the mean
    no more. Each has the interval of its mean over the window, the former widened by the mean
    error of Lanczos' method; the verdict is of the interval that holds both. Where that did not
    converge there is no upper end: a Ritz value is no more than the eigenvalue. Noise keeps the
    sharpness of minibatch SGD below the edge; ``no`` is then no flaw.
    """
    top, least = _ends(watched, together)
    ratio = top if least is None else _hull(least, top)
    verdict = between(ratio, *EDGE)
    where = "below the edge" if ratio.high < EDGE[0] else "above the edge"
    where = {YES: "at the edge", OPEN: "not told from it"}.get(verdict, where)
    examples = watched.facts.get("sharpness_examples")
    whose = f"{examples:,} examples" if examples else "a few batches"
    if least is None:
        why = f"The sharpness is {ends(top)} of the largest that is stable: {where}."
    else:
        why = f"The sharpness of {whose} is {ends(top)} of the largest that is stable; fresh"
        why += f" ones have {ends(least)} along its direction. That of all data lies between"
        why += f" the two in the mean: {where}."
    if len(watched.rates) and not watched.steady:
        why += f" In the window {watched.course}, and the share with it: this is its mean."
    if math.isinf(ratio.high):
        why += " Its upper end is not known: Lanczos' method did not always converge."
    if ratio.high >= EDGE[0]:
        why += " Where gradients are clipped, a step is shorter than the rate says."
    advice = {
        YES: "A larger step makes the loss unstable until the curvature gives way; a smaller"
        " one lets the sharpness grow. The rate decides the curvature here.",
        OPEN: "Measure the sharpness more often, and on more batches (sharpness_batches): its"
        " two ends then come nearer to each other.",
    }
    below = "The largest curvature does not limit the step: without noise a larger rate would"
    below += " be stable along it; noise may forbid it."
    if rises:
        below = f"The curvature does not say why: below its edge, too, noise can. {LOWER}"
    above = "A quadratic would diverge: lower the rate if the loss is not falling."
    advice[NO] = below if ratio.high < EDGE[0] else above
    return verdict, ratio, why, advice[verdict]


def _ends(watched: Watched, together: int) -> tuple[Estimate, Estimate | None]:
    """Return both ends of the bracket; of full batches the first alone, which is exact."""
    if "sharpness" not in watched.series and watched.facts.get("sharpness"):
        raise UsageError(f"The sharpness was {watched.facts['sharpness']}.")
    values, errors = _over_stable(watched, "sharpness")
    top, least = drifts.level(values, None, together), None
    wrong = float(np.nan_to_num(errors, posinf=math.inf).mean())
    low = top.low - (0.0 if math.isinf(wrong) else wrong)
    top = Estimate(top.value, low, top.high + wrong)
    if watched.facts["batches"] > 1:
        values, errors = _over_stable(watched, "fresh_curvature")
        errors = errors if np.isfinite(errors).all() else None
        least = drifts.level(values, errors, together)
    return top, least


def _over_stable(watched: Watched, quantity: str) -> tuple:
    """Return a curvature and its errors over the stable one, where both are measured."""
    curvature, stable = watched.of(quantity), watched.of("stable_sharpness")
    _, mine, theirs = np.intersect1d(curvature.steps, stable.steps, return_indices=True)
    limit = stable.values[theirs]
    return curvature.values[mine] / limit, curvature.errors[mine] / limit


def _hull(one: Estimate, other: Estimate) -> Estimate:
    """Return the interval that holds both, about the middle of the two values."""
    middle = (one.value + other.value) / 2
    return Estimate(middle, min(one.low, other.low), max(one.high, other.high))


@asks(
    "Would a larger batch help?",
    NUMBERS["noise_scale"],
    f"yes: its interval lies above {MOSTLY:g}; no: below 1/{MOSTLY:g} (Adam: {MOSTLY_ADAM:g}"
    f" and 1/{MOSTLY_ADAM:g})",
)
def batch(watched: Watched, together: int = 1) -> Answer:
    r"""Judge the noise of the minibatch gradient over its signal, r = sigma^2 / ||grad L||^2.

    A step -eta g of SGD changes a quadratic in the mean by -eta ||G||^2 + eta^2 / 2 (G' H G +
    tr H Sigma / B). With the best eta the gain is (||G||^4 / (2 G' H G)) / (1 + r_H), where
    r_H = tr(H Sigma) / (B G' H G): a batch twice as large gains (1 + r_H) / (1 + r_H / 2) times
    as much (McCandlish et al. 2018). Where H is a multiple of the identity r_H is r; else they
    differ by a factor that is not known, for which the criterion leaves 3 to either side.
    Adam's steps are those of SGD in the metric of its preconditioner, and r there is not
    measured: 10.

    Of the batch that a step is taken on, if another was measured with. The interval is made of
    those of sigma^2 and ||grad L||^2, each at 97.5 %; where the latter holds zero, it has no
    upper end.
    """
    noise = watched.of("noise_norm")
    if not noise.values.any():
        return NO, Estimate(0.0, 0.0, 0.0), "There is no noise: a batch is all the data.", FEWER
    strength = drifts.level(noise.values**2, None, 2 * together)
    signal = watched.mean("gradient_norm_squared", 2 * together)
    high = strength.high / signal.low if signal.low > 0 else math.inf
    value = strength.value / signal.value if signal.value > 0 else math.inf
    low = max(strength.low, 0) / signal.high if signal.high > 0 else math.inf
    size = watched.facts.get("batch_size")
    ratio = Estimate(value, low, high) / watched.batches_a_step
    limit = MOSTLY_ADAM if watched.adaptive else MOSTLY
    verdict = OPEN
    if ratio.low > limit:
        verdict = YES
    elif ratio.high < 1 / limit:
        verdict = NO
    scale = f", {ends(Estimate(*(size * end for end in ratio)))} examples" if size else ""
    why = f"The noise scale is {ends(ratio)} batches{scale}: at that size signal and noise"
    why += " are equal."
    if math.isinf(high):
        why += " The signal is not told from zero."
    advice = {
        YES: "A step is mostly noise. While the loss falls, a larger batch takes nearly as"
        " many fewer steps; where it has settled, a larger batch or a smaller rate lowers the"
        " noise.",
        NO: "A larger batch would hardly save steps: a smaller one costs less for the same.",
        OPEN: "Measure with more batches, or more often: the interval is too wide to tell.",
    }
    if 1 / limit <= ratio.low and ratio.high <= limit:
        advice[OPEN] = "The batch is so near the noise scale that the curvature decides: try."
    return verdict, ratio, why, advice[verdict]
