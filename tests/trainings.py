"""What tests of the report share: bounds that chance keeps, and simulated runs on disk."""

from collections import Counter

import numpy as np
import scipy.stats
from stationarity.runs import metrics, records
from stationarity.watching.simulated import CURVATURE, RATE, THIN, facts

STEPS, SEEDS = 4000, 200


def at_most(share: float, count: int = SEEDS) -> int:
    """How many of so many a share may make up, but for chance once in a thousand."""
    return int(scipy.stats.binom.ppf(0.999, count, share))


def at_least(share: float, count: int = SEEDS) -> int:
    """How many of so many a share must make up, likewise."""
    return int(scipy.stats.binom.ppf(0.001, count, share))


def counted(ask, trainings) -> tuple[Counter, list]:
    """How often each verdict is given on trainings, and the answers."""
    answers = [ask(one) for one in trainings]
    return Counter(one.verdict for one in answers), answers


def written(folder, found: dict, member=0, *, more=(), rates=RATE, **given):
    """Write a member of a simulated quadratic as a watched run, with ``more`` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    steps, rows = np.arange(found["loss"].shape[1]), [*more]
    for name in set(found) - {"theta"}:
        rows += metrics.rows(name, found[name][member], step=steps)
    rates = np.broadcast_to(rates, len(steps))
    rows += metrics.rows("learning_rate", rates[:, None], step=steps, index=[0])
    theta = found["theta"][member]
    rows += metrics.rows("sketch", theta, step=steps[::THIN], index=range(theta.shape[1]))
    info = dict.fromkeys(records.KEYS, "") | {"experiment": "training", "status": "complete"}
    info |= {"settings": {}, "wall_seconds": 1.0, "seed": 0, "watch": facts(**given)}
    return records.write(folder, info, rows)


def measurements(found: dict, member=0, batches=16, every=100, seed=0) -> list[tuple]:
    """Rows of what is measured of a member of a simulated quadratic every so many steps.

    The gradient's noise has variance 1 along each direction.
    """
    generator, steps = np.random.default_rng(seed), np.arange(0, found["loss"].shape[1], every)
    h = CURVATURE
    full = ((h * (found["theta"][member, steps // THIN] - 3)) ** 2).sum(1)
    error = np.sqrt(4 * full / batches + 2 * len(h) / batches**2)
    square = full + error * generator.standard_normal(len(steps))
    values = {
        "gradient_norm_squared": (square, error),
        "gradient_norm_naive": (np.sqrt(full + len(h) / batches), np.nan),
        "noise_norm": (np.full(len(steps), len(h) ** 0.5), np.nan),
        "mean_loss": (found["loss"][member, steps], 0.01),
        "sharpness": (h.max() + 0.02 * generator.standard_normal(len(steps)), 0.01),
        "fresh_curvature": (h.max() + 0.02 * generator.standard_normal(len(steps)), 0.02),
        "stable_sharpness": (np.full(len(steps), 2 / RATE), np.nan),
    }
    pairs = ((name, *pair) for name, pair in values.items())
    return [row for n, value, e in pairs for row in metrics.rows(n, value, e, step=steps)]
