"""The numbers without units of a watched training, by the names of the book's own runs.

Two trainings with the same numbers do alike, whatever their size: see
`stationarity.chapters.scales`, and our section "Numbers without units".
"""

import contextlib
import math
from collections.abc import Callable

import numpy as np

from ..chapters.numbers import NUMBERS
from ..errors import UsageError
from . import identities
from .watched import Watched

SAME = "memories", "angular_step", "curvature", "noise_over_signal", "noise_scale"
MEANINGS = {name: NUMBERS[name] for name in (*SAME, "second_moment")} | {
    "memories": f"{NUMBERS['memories']}, of decoupled decay ηλT",
    "curvature": "top curvature over the largest stable one",
    "loss_over_start": "loss over that at the start",
}


def numbers(watched: Watched) -> dict[str, float]:
    """Return the numbers of :data:`MEANINGS` over the window; NaN where one is not known.

    ``memories`` and ``second_moment`` are of the stage up to its end, and those of the decay
    need a constant rate. A signal that is not seen above zero has infinite noise over it.
    """
    steps, groups = watched.last - watched.begin, watched.facts["groups"]
    computed = {
        "memories": lambda: identities.memories(watched, steps),
        "angular_step": lambda: math.sqrt(2 * identities.memories(watched, 1)),
        "curvature": lambda: _mean(watched, "sharpness") / _mean(watched, "stable_sharpness"),
        "noise_over_signal": lambda: _noise(watched) / watched.facts["batches"],
        "noise_scale": lambda: _noise(watched) / watched.batches_a_step,
        "second_moment": lambda: (1 - groups[0]["momentum"][1]) * steps,
        "loss_over_start": lambda: _mean(watched, "loss") / watched.loss_at_the_start,
    }
    if not watched.steady:
        del computed["memories"], computed["angular_step"]
    if not watched.adaptive:
        del computed["second_moment"]
    return {name: _known(computed.get(name)) for name in MEANINGS}


def _known(compute: Callable | None) -> float:
    with contextlib.suppress(UsageError, ZeroDivisionError):  # as of a first loss of 0
        return float(compute()) if compute else math.nan
    return math.nan


def _mean(watched: Watched, quantity: str) -> float:
    return float(np.mean(watched.of(quantity).values))


def _noise(watched: Watched) -> float:
    """Return the noise of a measured minibatch over the signal, in squares."""
    signal = _mean(watched, "gradient_norm_squared")
    noise = float(np.mean(watched.of("noise_norm").values ** 2))
    return noise / signal if signal > 0 else math.inf
