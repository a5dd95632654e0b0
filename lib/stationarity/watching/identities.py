r"""What must balance where the weights are stationary, and for which optimizer.

A step takes theta to theta - u, whatever the optimizer. By algebra alone

    ||theta_{k+1}||^2 - ||theta_k||^2 = -2 <theta_k, u_k> + ||u_k||^2.

**Any optimizer.** Where theta_{k+1} and theta_k have one law, with finite second moments, the
left side has mean zero, so that the pull inwards equals the push outwards:

    2 E <theta, u> = E ||u||^2,                                                     (1)

for SGD with or without momentum (Nesterov's too), Adam and AdamW, with any decay, coupled
or not, in each parameter group and over all of them. Over a window of n steps

    pull / push = sum 2 <theta, u> / sum ||u||^2
                = 1 - (||theta_n||^2 - ||theta_0||^2) / sum ||u||^2.               (2)

It differs from 1 by the drift of ||theta||^2 and by nothing else.

**SGD with momentum beta.** There u = eta b with b = beta b^- + g, and g holds the decay if it
is coupled. With <theta_{k+1}, b_k> = <theta_k, b_k> - eta ||b_k||^2 the same algebra gives
our theorem thm-fdr, E <theta, g> = (eta (1 + beta) / 2) E ||b||^2, and over a window

    ratio = 1 - (1 - beta) / (1 + beta) (||theta_n||^2 - ||theta_0||^2) / sum ||u||^2
           + 2 beta / (1 + beta) (<theta_n, b_{n-1}> - <theta_0, b_{-1}>) eta / sum ||u||^2, (3)

the fluctuation-dissipation ratio (Yaida 2019). For beta = 0 it is (2). With beta = 0.9 a drift
of ||theta||^2 moves it 19 times less than (2): it is the blunter test.

**SGD with dampening d.** The same, with (1 - d) g for g: (3) does not change.

**SGD with Nesterov's momentum; groups that differ.** (2) holds; (3) is not derived here, as g
is then another combination of the steps.

**Adam, AdamW.** (2) holds. Form (3) is refused: u is m / (sqrt(v) + epsilon), where v depends
on the gradients that m is made of, so that E <theta, u> is no multiple of E <theta, g>, and
no relation between the gradient and the size of the steps follows.

**AdamW's decoupled decay** in (1): with u = eta (a + lambda theta), a the adaptive part,
eta lambda E ||theta||^2 = E ||u||^2 / 2 - eta E <theta, a>: it sets a size of the weights,
where they have forgotten their start, after 1 / (eta lambda) steps or so. (SGD with coupled
decay: (1 - beta) / (eta lambda).)
"""

import math

import numpy as np

from ..errors import UsageError
from ..stats.estimate import Estimate
from .watched import Watched


def pull_over_push(gain: Estimate, update_square: float, steps: int) -> Estimate:
    """Return (2), from what ||theta||^2 gains over so many steps, with its interval.

    ``update_square`` is the mean of ||u||^2. Raises :class:`UsageError` where nothing moves.

    >>> pull_over_push(Estimate(1.0, 0.0, 2.0), 0.1, 100)
    Estimate(value=0.9, low=0.8, high=1.0)
    """
    pushed = update_square * steps
    if not pushed > 0:
        raise UsageError("No step moves the weights in the window: nothing is to balance.")
    return Estimate(1 - gain.value / pushed, 1 - gain.high / pushed, 1 - gain.low / pushed)


def fluctuation_dissipation(
    gain: Estimate, buffer_gain: float, update_square: float, steps: int, watched: Watched
) -> Estimate:
    """Return (3), with ``buffer_gain`` what <theta, b> gains; else as :func:`pull_over_push`.

    Raises :class:`UsageError` for an optimizer that it is not derived for.
    """
    groups, beta = watched.facts["groups"], watched.momentum
    if watched.adaptive:
        raise UsageError("Adam's step is no linear function of the gradients.")
    if not watched.steady:
        raise UsageError("It is derived for a rate, a momentum and a decay that are held.")
    different = math.isnan(beta) or len(set(watched.rates.tolist())) > 1
    if different or any(group["nesterov"] for group in groups):
        raise UsageError("It is derived for one momentum and one rate, without Nesterov's.")
    plain = pull_over_push(gain, update_square, steps)
    turned = 2 * beta / (1 + beta) * buffer_gain * watched.rates[0] / (update_square * steps)
    share = (1 - beta) / (1 + beta)
    return Estimate(*(1 + share * (end - 1) + float(turned) for end in plain))


def memories(watched: Watched, steps: int) -> float:
    """Return how often the decay has renewed the weights in so many steps.

    eta lambda n / (1 - beta) for SGD with coupled decay, with (1 - d) eta for eta where there
    is a dampening d, which the decay has too; eta lambda n for decoupled decay; of
    the parameter group that it renews most often. Raises :class:`UsageError` without decay,
    and for Adam's coupled one, which is divided by sqrt(v) like the gradient.
    """
    by_group = []
    for rate, group in zip(watched.rates, watched.facts["groups"]):
        if watched.adaptive and group["weight_decay"] and not group["decoupled"]:
            raise UsageError("Adam divides its decay like the gradient: no memory is known.")
        beta = 0.0 if group["decoupled"] else float(np.ravel(group["momentum"])[0])
        rate = rate * (1 - group.get("dampening", 0.0))
        by_group.append(float(rate * group["weight_decay"] * steps / (1 - beta)))
    if not any(by_group):
        raise UsageError("There is no weight decay, and so no memory of the weights.")
    return max(by_group)
