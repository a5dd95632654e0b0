"""Trainings with known answers, many at once, and how often the report errs on them."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from . import questions
from .answers import Answer
from .limits import EDGE, MOSTLY, batch, edge
from .settling import VANISHED, gradient, loss, spread, weights
from .watched import Series, Watched

RATE, THIN, EVERY = 0.1, 4, 100  # learning rate; steps of a sketch, and of a measurement
POINTS = 40  # measurements in a window
REGIMES = {  # what :func:`whole` is given, by what it is
    "noise at a settled loss": {"start": 3.0, "first": 500},
    "noise that ends at the minimum": {
        "start": 3.0,
        "first": 500,
        "noise": lambda away: 0.5 * away**2,
    },
    "no noise": {"start": "anywhere", "noise": 0.0, "curvature": np.array([0.002, 0.01])},
}
CURVATURE = np.geomspace(0.3, 1.5, 20)
SLOW, FREE = np.full(20, 0.005), np.full(20, 1e-9)
GROUP = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "decoupled": False}


def quadratic(
    seeds: int,
    curvature=CURVATURE,
    *,
    noise=1.0,
    start=0.0,
    drift=0.0,
    momentum=0.0,
    steps=4000,
    seed=0,
) -> dict[str, NDArray]:
    """Follow SGD on a quadratic around 3, (seeds, steps) of each quantity of a watch.

    And of every fourth step all weights, ``theta``. ``start`` is the distance from the minimum,
    or ``stationary`` (without momentum), or ``anywhere`` about 3 away; the minimum moves by
    ``drift`` in each step. ``noise`` is the variance of the gradient's noise along each
    direction, or a function of the distance (seeds, d).
    """
    generator, h = np.random.default_rng(seed), np.asarray(curvature, float)
    shape = seeds, len(h)
    if isinstance(start, str):
        away = generator.standard_normal(shape)
        away *= np.sqrt(RATE * noise / (h * (2 - RATE * h))) if start == "stationary" else 3
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
    return dict(zip(names, np.moveaxis(rows, 0, 2))) | {"theta": np.stack(kept, 1)}


def later(paths: dict, first: int) -> dict[str, NDArray]:
    """Return the same from a step on."""
    starts = {name: first // (THIN if name == "theta" else 1) for name in paths}
    return {name: values[:, starts[name] :] for name, values in paths.items()}


def facts(**given) -> dict:
    """Return what run.json holds of a watch of SGD; ``given`` are changes, of its group too."""
    group = GROUP | {name: given.pop(name) for name in GROUP if name in given}
    names = {"optimizer": "SGD", "parameters": 20, "every": EVERY, "batches": 16}
    return names | {"batch_size": 32, "groups": [group]} | given


def measured(values, errors=np.nan, every=EVERY) -> Series:
    """Return what is measured every so many steps."""
    values = np.asarray(values, float)
    errors = np.broadcast_to(errors, values.shape).astype(float)
    return Series(np.arange(len(values)) * every, values, errors)


def seen(paths: dict | None = None, member=0, *, series=(), start=(), **given) -> Watched:
    """Return a member of :func:`quadratic` as a watched training, all of it the window.

    ``series`` are those of more quantities, as of :func:`measured`, ``start`` more starts.
    """
    paths, known = paths or {}, {}
    for name in set(paths) - {"theta"}:
        known[name] = measured(paths[name][member], every=1)
    known |= dict(series)
    starts = {name: (one.values[0], one.errors[0]) for name, one in known.items()}
    last = max((one.steps[-1] for one in known.values()), default=0)
    if paths:
        given = {"sketch": paths["theta"][member], "sketch_every": THIN} | given
    made = dict(facts=facts(), begin=0, first=0, last=int(last), rates=np.array([RATE]))
    return Watched(**made | {"series": known, "start": starts | dict(start)} | given)


def measurements(
    paths: dict, member=0, *, curvature=CURVATURE, noise=1.0, batches=16, seed=0
) -> dict[str, Series]:
    """Return what so many minibatches show of a member of :func:`quadratic`, now and then.

    Its minimum stands still. Mean and variance of the gradients are drawn by their laws, of
    Gaussian noise: all follows from the weights.
    """
    generator, h = np.random.default_rng((seed, member)), np.asarray(curvature, float)
    away = paths["theta"][member, :: EVERY // THIN] - 3
    full, parts = h * away, noise(away) if callable(noise) else np.full(away.shape, noise)
    mean = full + np.sqrt(parts / batches) * generator.standard_normal(away.shape)
    shares = generator.chisquare(batches - 1, away.shape) / (batches - 1)
    naive, strength = (mean**2).sum(1), (parts * shares).sum(1)
    variance = 4 * (parts * full**2).sum(1) / batches + 2 * (parts**2).sum(1) / batches**2
    return {
        "gradient_norm_squared": measured(naive - strength / batches, np.sqrt(variance)),
        "gradient_norm_naive": measured(np.sqrt(naive)),
        "noise_norm": measured(np.sqrt(strength)),
        "mean_loss": measured((h * away**2).sum(1) / 2, 0.01),
    }


def whole(seeds: int, *, first=0, **given) -> Iterator[Watched]:
    """Yield trainings on a quadratic, of what is ``given``, with all that a regime rests on.

    They were watched from the start; the window begins at the step ``first``.
    """
    paths = quadratic(seeds, **given)
    how = {name: given[name] for name in ("curvature", "noise") if name in given}
    for member in range(seeds):
        series = measurements(paths, member, **how)
        start = {"loss": (paths["loss"][member, 0], np.nan)}
        for name, one in series.items():
            start[name] = one.values[0], one.errors[0]
            rest = slice(first // EVERY, None)
            series[name] = measured(one.values[rest], one.errors[rest])
        yield seen(later(paths, first), member, series=series, start=start)


def regime(one: Watched) -> Answer:
    """Say whether this is the regime of the papers, from the answers that it rests on."""
    return questions.regime(one, {ask.__name__: ask(one) for ask in (loss, gradient, spread)})


def _noisy(level: float, error: float, seeds: int, seed=0) -> NDArray:
    draw = np.random.default_rng(seed).standard_normal((seeds, POINTS))
    return level + error * draw


def gradients(square: float, error: float, seeds: int, begin=1.0) -> Iterator[Watched]:
    """Yield trainings whose squared gradient is measured with an error, about a level."""
    for values in _noisy(square, error, seeds):
        series = {"gradient_norm_squared": measured(values, error)}
        series["noise_norm"] = measured(np.ones(POINTS))
        yield seen(series=series, start={"gradient_norm_squared": (begin, 0.01)})


def edges(level: float, scatter: float, seeds: int, apart=0.0) -> Iterator[Watched]:
    """Yield trainings whose top curvature is at a level, in units of the stable one.

    That of a few batches scatters about a share more, ``apart``, and that of fresh ones along
    its direction about a share less.
    """
    above, below = (_noisy(level, scatter, seeds, seed) for seed in (0, 1))
    for high, low in zip(above * (1 + apart), below * (1 - apart)):
        series = {"sharpness": measured(20 * high, 0.01)}
        series["fresh_curvature"] = measured(20 * low, 20 * scatter)
        yield seen(series=series | {"stable_sharpness": measured(np.full(POINTS, 20.0))})


def batches(ratio: float, seeds: int, optimizer="SGD", error=0.02) -> Iterator[Watched]:
    """Yield trainings whose noise, 1, is so many times the signal, both measured."""
    signal, noise = _noisy(1 / ratio, error, seeds), _noisy(1.0, 0.05, seeds, seed=1)
    for values, strengths in zip(signal, noise):
        series = {"gradient_norm_squared": measured(values, error)}
        series["noise_norm"] = measured(np.sqrt(strengths))
        yield seen(series=series, facts=facts(optimizer=optimizer))


def cases(seeds: int) -> Iterator[tuple[Callable, str, str, Iterator[Watched]]]:
    """Yield questions with a process, its true answer, and trainings that follow it.

    The true answer is empty where the process lies at the criterion itself, or where what is
    asked has no answer of the two.
    """

    def followed(first=(), **given) -> Iterator[Watched]:
        paths = quadratic(seeds, **given)
        return (seen(paths, member, start=first) for member in range(seeds))

    fell = {"mean_loss": (60.0, 0.1)}
    for steps in (4000, 16000):
        still = {"start": "stationary", "steps": steps}
        yield loss, f"equilibrium, {steps} steps", "yes", followed(fell, **still)
        yield weights, f"equilibrium, {steps} steps", "yes", followed(**still)
        yield spread, f"equilibrium, {steps} steps", "no", followed(**still)
    falling = {"curvature": SLOW, "start": 5.0, "noise": 0.01}
    yield loss, "far from equilibrium", "no", followed(**falling)
    yield weights, "far from equilibrium", "no", followed(**falling)
    moving = {"start": "stationary", "drift": 4e-4}
    yield weights, "the minimum moves", "no", followed(**moving)
    slow = {"start": "stationary", "curvature": SLOW}
    yield weights, "equilibrium, memory of half the window", "yes", followed(**slow)
    yield weights, "free diffusion", "no", followed(curvature=FREE)
    yield spread, "free diffusion", "yes", followed(curvature=FREE)
    yield gradient, "a tenth of the start", "no", gradients(0.01, 0.005, seeds)
    yield gradient, "zero", "yes", gradients(0.0, 1e-4, seeds)
    yield gradient, "at the criterion", "", gradients(VANISHED**2, 1e-4, seeds)
    yield edge, "at the edge", "yes", edges(1.0, 0.1, seeds)
    yield edge, "half of it", "no", edges(0.5, 0.1, seeds)
    yield edge, "below it, few batches at it", "", edges(0.75, 0.1, seeds, apart=0.3)
    yield edge, "at the criterion", "", edges(EDGE[0], 0.1, seeds)
    yield batch, "noise 10 times the signal", "yes", batches(10.0, seeds)
    yield batch, "a fifth of the signal", "no", batches(0.2, seeds)
    yield batch, "at the criterion", "", batches(MOSTLY, seeds)
    for (process, given), truth in zip(REGIMES.items(), ("yes", "no", "no")):
        yield regime, process, truth, whole(seeds, **given)


def calibration(seeds: int) -> pd.DataFrame:
    """Return how often each verdict is given on processes with known answers, a row each."""
    rows = []
    for ask, process, truth, trainings in cases(seeds):
        said = [ask(one).verdict for one in trainings]
        shares = {one: said.count(one) / seeds for one in ("yes", "no", "cannot be judged")}
        rows.append({"question": ask.__name__, "process": process, "truth": truth} | shares)
    return pd.DataFrame(rows)
