"""Noisy quadratics (chapter 1): ensembles of SGD, whose exact theory ``reading`` has."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...runs import metrics
from ...theory.simulation import simulate

if TYPE_CHECKING:
    from ...runs.checkpoints import Place
    from .settings import NoisyQuadratic

RECORDED_EARLY, RECORDED_LATE = 60, 100  # steps that an ensemble records


def schedule(settings: NoisyQuadratic, learning_rate: float) -> NDArray:
    """Return the learning rate of every step (steps,): divided by 10 at each drop."""
    steps = np.arange(settings.steps)
    passed = sum((steps >= drop).astype(int) for drop in settings.drops)
    return learning_rate / 10.0 ** (passed + np.zeros(settings.steps))


def recorded_steps(settings: NoisyQuadratic) -> NDArray:
    """Return the steps that an ensemble records: dense early, even in the last half."""
    last = settings.steps
    early = np.unique(np.geomspace(1, last, RECORDED_EARLY).round().astype(int))
    late = np.linspace(last // 2, last, RECORDED_LATE).astype(int)
    near = [drop + early[early <= last - drop] for drop in settings.drops]
    return np.unique(np.concatenate([[0], early, late, *near]))


def sample(
    settings: NoisyQuadratic, rate: float, recorded: ArrayLike, trajectories: int | None = None
) -> NDArray:
    """Return positions (len(recorded), R, D) of the settings' ensemble at some steps.

    R is the settings' number of ``trajectories`` if not given.
    """
    return simulate(
        settings.curvatures, schedule(settings, rate), settings.noise_variance,
        trajectories=trajectories or settings.trajectories, recorded=recorded,
        start=settings.start, momentum=settings.momentum, seed=settings.seed,
    )  # fmt: skip


def named(learning_rate: float) -> str:
    """Return what the rows of metrics call the ensemble at a learning rate."""
    return f"learning rate {learning_rate:g}"


def ensemble(settings: NoisyQuadratic, place: Place) -> list[tuple]:
    """Simulate the settings' ensembles; return rows of metrics.

    ``of`` names the ensemble as :func:`named` does, ``index`` is the number of the
    curvature, errors are standard errors over trajectories. At the recorded steps:

    - ``loss``, ``gradient_norm_squared``: means over trajectories;
    - ``mean``, ``variance`` of the position, for each curvature;
    - ``displacement_squared``: E‖θ_k − θ_half‖² since half of the steps;
    - at the last step only, means over the recorded steps of the last half too:
      ``late_variance`` (of θ² for each curvature), ``late_loss`` and
      ``late_gradient_norm_squared``. Their errors come from the time averages
      of independent trajectories.
    """
    rows = []
    for rate in settings.learning_rates:
        rows += place.keeper.part(str(rate), lambda: _at_one_rate(settings, rate))
    return rows


def _at_one_rate(settings: NoisyQuadratic, rate: float) -> list[tuple]:
    curvature, steps = np.array(settings.curvatures), recorded_steps(settings)
    positions = sample(settings, rate, steps)  # (recorded, trajectories, D)
    squares, late = positions**2, steps >= settings.steps // 2
    rows = []

    def note(quantity: str, steps: NDArray, values: NDArray, index=None, lost: int = 0):
        """Note means over trajectories, of values (steps, trajectories).

        ``lost`` is the number of degrees of freedom that the values have lost.
        """
        count = values.shape[1]
        means = values.sum(1) / (count - lost)
        errors = values.std(1, ddof=1) / math.sqrt(count)
        axes = {"of": named(rate), "index": index, "step": steps}
        rows.extend(metrics.rows(quantity, means, errors, **axes))

    def note_late(quantity: str, values: NDArray, index=None):
        note(f"late_{quantity}", steps[-1:], values[late].mean(0, keepdims=True), index)

    displaced = ((positions[late] - positions[late][0]) ** 2).sum(-1)
    note("displacement_squared", steps[late], displaced)
    for quantity, values in (
        ("loss", squares @ curvature / 2),
        ("gradient_norm_squared", squares @ curvature**2),
    ):
        note(quantity, steps, values)
        note_late(quantity, values)
    for d in range(len(curvature)):
        one = positions[..., d]
        note("mean", steps, one, d)
        note("variance", steps, (one - one.mean(1, keepdims=True)) ** 2, d, lost=1)
        note_late("variance", squares[..., d], d)
    return rows
