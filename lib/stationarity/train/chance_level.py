"""A warning of nets that decay keeps from learning: their loss is that of guessing."""

import math
import warnings

EPOCHS, NEAR = 4, 0.01  # with a loss as near to that of guessing, after which it is told


def warn(state) -> None:
    """Warn, once, where decay leaves the loss at that of guessing among the classes.

    It has had the time for it: a memory of the weights, at the first rate.
    """
    settings, classes = state.settings, getattr(state.dataset, "classes", 0)
    forgotten = settings.learning_rate * settings.weight_decay * state.step
    if not classes or settings.loss != "cross_entropy" or forgotten < 1 - settings.momentum:
        return
    latest = [row for row in state.rows if row[0] == "train_loss"][-EPOCHS - 1 :]
    guesses = [abs(row[-2] / math.log(classes) - 1) < NEAR for row in latest]
    if guesses[-EPOCHS:] == [True] * EPOCHS and guesses[:-EPOCHS] != [True]:
        said = f"For {EPOCHS} epochs the loss has stayed within 1 % of that of guessing, ln "
        said += f"{classes} = {math.log(classes):.2f} nats: the net learns nothing. A weight "
        said += f"decay of {settings.weight_decay:g} may be too strong for it: lower "
        warnings.warn(f"{said}weight_decay, or learning_rate.", stacklevel=2)
