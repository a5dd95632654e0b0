"""The arms of chapter 13: groups of nets, and what is done with each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .settings import TwoClocks

DROP = 10  # by which a stage divides the step size
# Arms that readings and figures name.
FULL, PLAIN = "full gradient", "no normalisation"
NO_DECAY, HELD, RATE_HELD = "no decay", "norm held", "effective rate held"


class Arm(NamedTuple):
    """A group of nets, one a member, and what is done with them."""

    name: str
    rate: float
    decay: float
    weights: bool = True  # decay of the normalised weights
    others: bool = True  # decay of all others
    normal: bool = True  # normalised by the minibatch
    hold: bool = False  # normalised weights keep the norm that they begin with
    effective: bool = False  # their gradient is that at this norm: rate / norm^2 is held


def first_arms(settings: TwoClocks) -> list[Arm]:
    """Return the arms of the first stage: a pair of rate and decay each, and plain nets."""
    pairs = zip(settings.learning_rates, settings.decays)
    arms = [Arm(f"rate={rate:g}, decay={decay:g}", rate, decay) for rate, decay in pairs]
    rate, decay = settings.learning_rates[0], settings.plain_decay
    return [*arms, Arm(PLAIN, rate, decay, normal=False)]


def interventions(settings: TwoClocks) -> list[Arm]:
    """Return what is done in the second stage to copies of the first arm."""
    pair = settings.learning_rates[0], settings.decays[0]
    return [
        Arm(NO_DECAY, *pair, weights=False, others=False),
        Arm(HELD, *pair, hold=True),
        Arm("decay of normalised alone", *pair, others=False),
        Arm("decay of others alone", *pair, weights=False),
        Arm(RATE_HELD, *pair, effective=True),
    ]


def slower(arms: list[Arm]) -> list[Arm]:
    """Return the arms in the next stage."""
    return [arm._replace(rate=arm.rate / DROP) for arm in arms]
