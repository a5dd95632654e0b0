"""A warning of nets that decay keeps from learning: their loss is that of guessing."""

import math
import warnings
from collections.abc import Iterable

EPOCHS, NEAR = 4, 0.01  # with a loss as near to that of guessing, after which it is told


def warn(state) -> None:
    """Warn where for epochs decay leaves the loss of a run at that of guessing."""
    settings, classes = state.settings, getattr(state.dataset, "classes", 0)
    latest = [row[-2] for row in state.rows if row[0] == "train_loss"][-EPOCHS:]
    if classes and settings.loss == "cross_entropy" and len(latest) == EPOCHS:
        tell(f"For {EPOCHS} epochs the loss", latest, classes, settings, state.step)


def tell(whose: str, losses: Iterable, classes: int, settings, steps: int, **own) -> None:
    """Warn where all nets guess after a memory of their weights; ``own`` are their settings."""
    names = ("learning_rate", "weight_decay", "momentum")
    rate, decay, momentum = (own.get(n, getattr(settings, n, 0.0)) for n in names)
    near = (abs(float(loss) / math.log(classes) - 1) < NEAR for loss in losses)
    if rate * decay * steps >= 1 - momentum and all(near):
        said = f"{whose} is within 1 % of that of guessing, ln {classes} = "
        said += f"{math.log(classes):.2f} nats: nothing is learned. A weight decay of {decay:g}"
        said += " may be too strong: lower weight_decay, or learning_rate."
        warnings.warn(said, stacklevel=2)
