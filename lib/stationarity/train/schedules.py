"""The learning rate of each step."""

import math


def learning_rate(settings, step: int, total: int, per_epoch: int) -> float:
    """Return the learning rate of a step (0 is the first) by the settings of a training run."""
    trained = total - settings.followed_epochs * per_epoch
    if settings.followed_epochs and step >= trained:
        return settings.followed_rate
    if settings.schedule == "cosine":
        return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / trained))
    if settings.schedule == "stages":
        return dropped(settings.learning_rate, step // per_epoch, settings.drops)
    return settings.learning_rate


def dropped(rate: float, now: int, drops: tuple) -> float:
    """Return a rate divided by 10 at each of the drops (steps or epochs) up to now.

    >>> dropped(0.1, now=30, drops=(30, 60))
    0.01
    """
    return rate / 10 ** sum(now >= drop for drop in drops)
