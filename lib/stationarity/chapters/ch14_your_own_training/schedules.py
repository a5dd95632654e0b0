"""The learning rates of the trainings: with a cosine, and with stages that stand still."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .settings import YourTraining

NAMES = "cosine", "stages"  # of the trainings, which take as many steps
LOWER = 0.1  # the rate of the last stage over the highest


def rate(settings: YourTraining, name: str, step: int) -> float:
    """Return the learning rate of a step, counted from 0, after a warm-up along a line."""
    highest, since = settings.learning_rate, step - settings.warmup
    if since < 0:
        return highest * (step + 1) / settings.warmup
    if name == "cosine":
        return highest * (1 + math.cos(math.pi * since / sum(settings.stages))) / 2
    return highest if since < settings.stages[0] else LOWER * highest
