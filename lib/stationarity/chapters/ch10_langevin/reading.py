"""Runs of linear regression (chapter 10) beside the theories that should describe them."""

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs.records import Run
from ...theory import continuous, discrete
from .study import EXACT, TOTALS, moments_by_name, named, recorded_steps

THEORIES = {"Langevin equation": continuous, "exact, constant noise": discrete}


def run_triples(run: Run) -> list[tuple[float, float, int]]:
    """Return the learning rates, momenta and batch sizes of a run, as :func:`triples`."""
    keys = ("learning_rates", "momenta", "batch_sizes")
    return list(zip(*(run.settings[key] for key in keys), strict=True))


def sharpest(run: Run) -> str:
    """Return the best theory of minibatches with replacement that a run allows."""
    return EXACT if run.settings["state_dependent"] else "exact, constant noise"


def vector(run: Run, name: str) -> NDArray:
    """Return ``curvature``, ``noise_of_example`` or ``start`` (D,) of a run."""
    return run.series(name).value.to_numpy()


def predictions(run: Run, triple: tuple, theory: str) -> dict[str, NDArray]:
    """Return what one of :data:`THEORIES` says at the run's steps and lags, (K, D) each.

    From the start on, with noise of the covariance that it has at the minimum.
    """
    module, (rate, momentum, size) = THEORIES[theory], triple
    curvature, noise = vector(run, "curvature"), vector(run, "noise_of_example") / size
    start = vector(run, "start")
    still = np.stack([start, np.zeros_like(start)], -1)
    steps, lags = (recorded_steps(run.settings[key]) for key in ("steps", "lags"))
    mean = module.mean_at(steps, curvature, rate, momentum, start=still)
    covariance = module.covariance_at(steps, curvature, rate, noise, momentum)
    second = covariance[-1] + mean[-1, :, :, None] * mean[-1, :, None, :]
    return moments_by_name(mean, covariance) | {
        "displacement_squared": module.displacement_squared(
            lags, curvature, rate, noise, momentum, start=second
        )
    }


def compared(
    run: Run,
    triple: tuple,
    noise: str,
    theory: str,
    quantities=TOTALS,
    directions=(None,),
) -> pd.DataFrame:
    """Return a theory beside a simulation: a row for each step, quantity and direction.

    ``theory`` is one of :data:`THEORIES`, or :data:`EXACT`. Columns: quantity,
    direction, step (a lag, of displacements), value and error of the simulation,
    predicted, relative (predicted over the value, less 1), relative_error (the standard
    error of it), and sigmas (value less predicted, in standard errors).
    """
    table = _rows_of(run, triple, noise, quantities, directions)
    if theory == EXACT:
        if not run.settings["state_dependent"]:
            raise UsageError(
                "This run holds no exact moments of minibatches: they come with the setting "
                "state_dependent=true, at N D² operations a step."
            )
        predicted = _rows_of(run, triple, EXACT, quantities, directions).value
    else:
        found = predictions(run, triple, theory)
        predicted = np.concatenate(
            [
                found[quantity].sum(-1) if direction is None else found[quantity][:, direction]
                for quantity in quantities
                for direction in directions
            ]
        )
    table = table.assign(predicted=predicted)
    return table.assign(
        relative=table.predicted / table.value - 1,
        relative_error=table.error * table.predicted.abs() / table.value**2,
        sigmas=(table.value - table.predicted) / table.error,
    )


def _rows_of(run: Run, triple: tuple, noise: str, quantities, directions) -> pd.DataFrame:
    """Return a run's rows of some quantities and directions, in their order."""
    places = {
        named(quantity, noise, triple, direction): (quantity, direction)
        for quantity in quantities
        for direction in directions
    }
    rows = run.metrics[run.metrics.quantity.isin(list(places))]
    parts = dict(list(rows.groupby("quantity", observed=True)))
    for name in places.keys() - parts.keys():
        run.series(name)  # says what the run has instead
    tables = [
        parts[name].assign(quantity=quantity, direction=direction)
        for name, (quantity, direction) in places.items()
    ]
    columns = ["quantity", "direction", "step", "value", "error"]
    return pd.concat(tables, ignore_index=True)[columns]


def largest_error(table: pd.DataFrame) -> tuple[float, float, float]:
    """Return the largest relative deviation of :func:`compared`, with an interval at 95 %.

    Its upper end is the largest upper end of all rows; the lower one the largest lower
    end of intervals that hold jointly (Bonferroni).
    """
    off, error = table.relative.abs(), table.relative_error
    joint = scipy.stats.norm.isf(0.025 / len(table))
    return (
        float(off.max()), float((off - joint * error).max().clip(0)),
        float((off + 1.96 * error).max()),
    )  # fmt: skip


def worst(run: Run, noise: str, theory: str) -> tuple[float, float, float]:
    """Return :func:`largest_error` over all the settings of the optimiser of a run."""
    tables = [compared(run, triple, noise, theory) for triple in run_triples(run)]
    return largest_error(pd.concat(tables, ignore_index=True))
