"""What tests of watching share: a training, bounds that chance keeps, simulated runs."""

from collections import Counter

import numpy as np
import scipy.stats
import stationarity
from stationarity.runs import metrics, records
from stationarity.watching import simulated
from stationarity.watching.simulated import CURVATURE, RATE, THIN, facts, measured

STEPS, SEEDS = 4000, 200


def watched_training(model, objective, optimizer, draws, steps, *, go_on=None, **how):
    """Train on batches of ``draws``, watched; ``go_on`` is a scheduler's, before the noting."""
    with stationarity.watch(model, objective, optimizer, draws, **how) as watch:
        for batch in draws(0, steps):
            optimizer.zero_grad()
            loss = objective(model, batch)
            loss.backward()
            optimizer.step()
            if go_on:
                go_on()
            watch.step(batch, loss)
    return watch


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


def measurements(found: dict) -> list[tuple]:
    """Rows of what is measured of the first member of a simulated quadratic now and then."""
    series, generator = simulated.measurements(found), np.random.default_rng(0)
    top = CURVATURE.max() + 0.02 * generator.standard_normal(
        (2, len(series["mean_loss"].steps))
    )
    series |= {"sharpness": measured(top[0], 0.01), "fresh_curvature": measured(top[1], 0.02)}
    series["stable_sharpness"] = measured(np.full(top.shape[1], 2 / RATE))
    rows = ((n, one.values, one.errors, one.steps) for n, one in series.items())
    return [row for n, *found, at in rows for row in metrics.rows(n, *found, step=at)]
