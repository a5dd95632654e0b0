"""Noisy quadratics (chapter 1): ensembles of SGD, whose exact theory ``reading`` has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...runs import metrics
from ...stats.estimate import mean_and_error
from ...theory.simulation import simulate
from ...train.schedules import dropped

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import NoisyQuadratic


def schedule(settings: NoisyQuadratic, learning_rate: float) -> NDArray:
    """Return the learning rate of every step (steps,): divided by 10 at each drop."""
    steps = range(settings.steps)
    return np.array([dropped(learning_rate, step, settings.drops) for step in steps])


def recorded_steps(settings: NoisyQuadratic) -> NDArray:
    """Return the steps that an ensemble records: dense early, even in the last half."""
    last = settings.steps
    early = np.geomspace(1, last, 60).round().astype(int)
    late = np.linspace(last // 2, last, 100).astype(int)
    near = [drop + early[early <= last - drop] for drop in settings.drops]
    return np.unique(np.concatenate([[0], early, late, *near]))


def sample(settings: NoisyQuadratic, rate: float, recorded, trajectories=0) -> NDArray:
    """Return positions (len(recorded), R, D) at some steps; R: the settings' if not given."""
    how = settings.model_dump(include={"start", "momentum", "seed"})
    how |= {"trajectories": trajectories or settings.trajectories, "recorded": recorded}
    problem = settings.curvatures, schedule(settings, rate), settings.noise_variance
    return simulate(*problem, **how)


def named(learning_rate: float) -> str:
    """Return what the rows of metrics call the ensemble at a learning rate."""
    return f"learning rate {learning_rate:g}"


def ensemble(settings: NoisyQuadratic, place: Place) -> list[tuple]:
    """Simulate the settings' ensembles; return rows of metrics.

    ``of`` names the ensemble as :func:`named` does; values are means over trajectories
    with standard errors. At the recorded steps:

    - ``loss``, ``gradient_norm_squared``;
    - ``displacement_squared``: E‖θ_k − θ_half‖² since half of the steps;
    - at the last only, means over those of the last half: ``late_gradient_norm_squared``,
      and ``late_variance`` (of θ², for each curvature ``index``).
    """
    rows = []
    for rate in settings.learning_rates:
        rows += place.keeper.part(str(rate), lambda: _at_one_rate(settings, rate))
    return rows


def _at_one_rate(settings: NoisyQuadratic, rate: float) -> list[tuple]:
    curvature, steps = np.array(settings.curvatures), recorded_steps(settings)
    begun = np.searchsorted(steps, settings.steps // 2)  # the last half
    rows = []

    def note(quantity: str, values: NDArray, steps=steps, **index):
        """Note means over trajectories, the last axis of the values."""
        axes = {"of": named(rate), **index, "step": steps}
        rows.extend(metrics.rows(quantity, *mean_and_error(values, -1), **axes))

    positions = sample(settings, rate, steps)  # (recorded, trajectories, D)
    late = positions[begun:]
    note("displacement_squared", ((late - late[0]) ** 2).sum(-1), steps[begun:])
    note("loss", positions**2 @ curvature / 2)
    squares = positions**2 @ curvature**2
    note("gradient_norm_squared", squares)
    note("late_gradient_norm_squared", squares[begun:].mean(0), steps[-1])
    each = np.ascontiguousarray(np.moveaxis(late, 2, 0))  # (D, recorded, trajectories)
    note("late_variance", (each**2).mean(1), steps[-1], index=range(len(curvature)))
    return rows
