"""Trainings with known answers, as a report sees them: many seeds at once."""

from collections import Counter

import numpy as np
import scipy.stats
from stationarity.runs import metrics, records
from stationarity.watching.watched import Series, Watched

RATE, STEPS, SEEDS, THIN = 0.1, 4000, 200, 4
CURVATURE = np.geomspace(0.3, 1.5, 20)
GROUP = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decoupled": False}


def at_most(share: float, count: int = SEEDS) -> int:
    """How many of so many a share may make up, but for chance once in a thousand."""
    return int(scipy.stats.binom.ppf(0.999, count, share))


def at_least(share: float, count: int = SEEDS) -> int:
    """How many of so many a share must make up, likewise."""
    return int(scipy.stats.binom.ppf(0.001, count, share))


def facts(**given) -> dict:
    """What run.json holds of the watching; ``given`` are changes, of the group too."""
    names = {"optimizer": "SGD", "parameters": 20, "every": 100, "batches": 16}
    group = GROUP | {name: given.pop(name) for name in GROUP if name in given}
    return names | {"batch_size": 32, "groups": [group]} | given


def quadratic(
    seeds=SEEDS, curvature=CURVATURE, *, noise=1.0, start=0.0, drift=0.0, momentum=0.0,
    steps=STEPS, seed=0,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Follow SGD on a quadratic around 3, (seeds, steps) of each quantity.

    And of every fourth step all weights, ``theta``. ``start`` is the distance from the minimum,
    or ``stationary`` (without momentum); the minimum moves by ``drift`` in each step. ``noise``
    is the variance of the gradient's noise along each direction, or a function of the distance
    (seeds, d).
    """
    generator, h = np.random.default_rng(seed), np.asarray(curvature, float)
    shape = seeds, len(h)
    if start == "stationary":
        away = generator.standard_normal(shape) * np.sqrt(RATE * noise / (h * (2 - RATE * h)))
    else:
        away = np.full(shape, float(start))
    middle, position, buffer, rows, kept = 3.0, 3.0 + away, np.zeros(shape), [], []
    for step in range(steps):
        away = position - middle
        strength = np.sqrt(noise(away) if callable(noise) else noise)
        buffer = momentum * buffer + h * away + strength * generator.standard_normal(shape)
        position = position - RATE * buffer
        middle += drift
        sums = (h * away**2).sum(1) / 2, RATE**2 * (buffer**2).sum(1), (position**2).sum(1)
        rows.append((*sums, (position * buffer).sum(1)))
        kept += [position] if step % THIN == 0 else []
    names = "loss", "update_square", "weight_square", "weight_buffer"
    found = dict(zip(names, np.moveaxis(rows, 0, 2)))
    return found | {"theta": np.stack(kept, 1)}


def later(found: dict, first: int) -> dict:
    """The same from a step on."""
    return {
        name: values[:, first // (THIN if name == "theta" else 1) :]
        for name, values in found.items()
    }


def measured(values, errors=np.nan, every=100) -> Series:
    """What was measured every so many steps."""
    values = np.asarray(values, float)
    errors = np.broadcast_to(errors, values.shape).astype(float)
    return Series(np.arange(len(values)) * every, values, errors)


def seen(found: dict | None = None, member=0, *, series=(), start=(), **given) -> Watched:
    """A member of :func:`quadratic` as a watched training whose window is all of it.

    ``series`` are those of more quantities, as :func:`measured`, and ``start`` more starts.
    """
    found, known = found or {}, {}
    for name in set(found) - {"theta"}:
        known[name] = measured(found[name][member], every=1)
    known |= dict(series)
    starts = {name: (one.values[0], one.errors[0]) for name, one in known.items()}
    if found:
        given = {"sketch": found["theta"][member], "sketch_every": THIN} | given
    made = dict(facts=facts(), begin=0, first=0, last=STEPS - 1, rates=np.array([RATE]))
    return Watched(**made | {"series": known, "start": starts | dict(start)} | given)


def counted(ask, trainings) -> tuple[Counter, list]:
    """How often each verdict is given on trainings, and the answers."""
    answers = [ask(one) for one in trainings]
    return Counter(one.verdict for one in answers), answers


def written(folder, found: dict, member=0, *, more=(), rates=RATE, **given):
    """Write a member of :func:`quadratic` as a watched run, with ``more`` rows."""
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
    """Rows of what is measured of a member of :func:`quadratic` every so many steps.

    The gradient's noise has variance 1 along each direction.
    """
    generator, steps = np.random.default_rng(seed), np.arange(0, found["loss"].shape[1], every)
    h = CURVATURE
    full = ((h * (found["theta"][member, steps // THIN] - 3)) ** 2).sum(1)
    error = np.sqrt(4 * full / batches + 2 * len(h) / batches**2)
    square = full + error * generator.standard_normal(len(steps))
    loss = found["loss"][member, steps]
    values = {
        "gradient_norm_squared": (square, error),
        "gradient_norm_naive": (np.sqrt(full + len(h) / batches), np.nan),
        "noise_norm": (np.full(len(steps), len(h) ** 0.5), np.nan),
        "mean_loss": (loss, 0.01),
        "sharpness": (h.max() + 0.02 * generator.standard_normal(len(steps)), 0.01),
        "stable_sharpness": (np.full(len(steps), 2 / RATE), np.nan),
    }
    pairs = ((name, *pair) for name, pair in values.items())
    return [row for n, value, e in pairs for row in metrics.rows(n, value, e, step=steps)]
