"""What a watched training says at its end: series over the window that is judged.

The window is the last ``SETTLED_PART`` of the last stage of constant learning rates, momenta
and weight decays. Where these never stand still, it is the last third of all steps, and what
needs a constant rate is not judged.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..chapters.levels import SETTLED_PART
from ..errors import UsageError
from ..runs.records import Run
from ..stats.estimate import Estimate
from . import drifts

SAME = 0.01  # by which a constant rate may differ from its last value
STAGE = 0.1  # of all steps, that a stage has at least
FEWEST = 32  # steps of a stage
MULTIPLE = 1.4  # of the measured loss, that the noted one never is by chance
MEASUREMENTS = 5  # in the window, that a verdict needs
EVERY_STEP = ("loss", "update_square", "weight_square", "weight_buffer")
MEASURED = (
    "gradient_norm_squared", "regularised_gradient_norm_squared", "gradient_norm_naive",
    "noise_norm", "mean_loss", "sharpness", "fresh_curvature", "stable_sharpness",
    "noise_scale", "memory",
)  # fmt: skip


class Series(NamedTuple):
    """Values (n,) with their steps and standard errors, NaN where none is known."""

    steps: NDArray
    values: NDArray
    errors: NDArray


@dataclass(frozen=True)
class Watched:
    """A watched training: what it is, and its series over the window.

    ``facts`` is what run.json holds of the watching. The window has the steps ``first`` to
    ``last`` of a stage that began at ``begin``; ``steady`` where the ``rates`` (G,), of the
    parameter groups at the end, stand still in it; ``rate_before`` is the first one's at the
    window's begin. ``series`` holds the window by quantity, ``start`` a quantity's first value
    of the run with its error, ``sketch`` (n, K) K sums of the weights with random signs,
    each weight in one of them, and ``sketch_every`` the steps between two of its rows.
    """

    facts: dict
    begin: int
    first: int
    last: int
    rates: NDArray
    series: dict[str, Series]
    start: dict[str, tuple[float, float]]
    steady: bool = True
    rate_before: float = np.nan
    sketch: NDArray | None = None
    sketch_every: int = 1

    @property
    def adaptive(self) -> bool:
        """Whether the optimizer is one of Adam's kind."""
        return self.facts["optimizer"].startswith("Adam")

    @property
    def momentum(self) -> float:
        """The momentum, Adam's first one, if all parameter groups have the same: else NaN."""
        given = {float(np.ravel(group["momentum"])[0]) for group in self.facts["groups"]}
        return given.pop() if len(given) == 1 else np.nan

    @property
    def decays(self) -> bool:
        """Whether weight decay is part of the gradient of some parameters."""
        return any(g["weight_decay"] and not g["decoupled"] for g in self.facts["groups"])

    @property
    def batches_a_step(self) -> float:
        """How many of the measured minibatches make up the batch of a step.

        Raises :class:`UsageError` where more were perhaps added up than the watch was told of.
        """
        if passes := self.facts.get("passes"):
            said = f"A step added up {passes} backward passes, and nobody said why"
            remedy = f"accumulate={passes} if they are of as many minibatches, else batch_size"
            raise UsageError(f"{said}: watch with {remedy}.")
        size = self.facts.get("batch_size")
        return size / (self.facts.get("measured_batch_size") or size) if size else 1.0

    @property
    def loss_at_the_start(self) -> float:
        """The first loss that was measured, or else that of the first minibatch.

        Raises :class:`UsageError` where the loss that was noted of the steps is another
        multiple of the measured one, both at the start and in the window, of positive losses.
        """
        names = "loss", "mean_loss"
        held = [self.series[name].values for name in names if name in self.series]
        if len(held) == 2 and all(len(one) and (one > 0).all() for one in held):
            first = [self.start[name][0] for name in names]
            last = [float(self.series[name].values.mean()) for name in names]
            ratios = [noted / mean if mean else 1.0 for noted, mean in (first, last)]
            above = all(ratio > MULTIPLE for ratio in ratios)
            if above or all(ratio < 1 / MULTIPLE for ratio in ratios):
                said = f"The loss of the steps is {ratios[1]:.2g} times the measured one"
                remedy = "give watch.step the mean loss, not divided by accumulation steps"
                raise UsageError(f"{said}: {remedy}.")
        return self.start.get("mean_loss", self.start.get("loss", (np.nan,)))[0]

    def of(self, quantity: str) -> Series:
        """Return a quantity over the window; :class:`UsageError` where it was not watched."""
        if quantity not in self.series or not len(self.series[quantity].values):
            said = f"{quantity} was not watched in the steps {self.first} to {self.last}"
            every = max((self.last - self.first) // MEASUREMENTS, 1)
            often = f"measure more often, with every={every} or less"
            raise UsageError(f"{said}: {often if quantity in self.start else 'watch with it'}.")
        series = self.series[quantity]
        if not np.isfinite(series.values).all():
            said = f"{quantity} is not finite there"
            raise UsageError(f"{said}: the training diverged, or its learning rate was 0.")
        return series

    @property
    def course(self) -> str:
        """What the first group's learning rate did in the window, as part of a sentence."""
        if not len(self.rates):
            return "no learning rate was watched"
        went = f"the learning rate went from {self.rate_before:.3g} to {self.rates[0]:.3g}"
        changed = self.facts.get("groups_since", 0) > self.first
        return f"{went}, and momentum or weight decay changed" if changed else went

    def mean(self, quantity: str, together: int = 1) -> Estimate:
        """Return the mean of a measured quantity over the window: :func:`~.drifts.level`."""
        series = self.of(quantity)
        errors = series.errors if np.isfinite(series.errors).all() else None
        return drifts.level(series.values, errors, together)


def stage(rates: NDArray) -> int:
    """Return at which row of the rates (T, G) their last constant stage begins.

    >>> stage(np.array([[0.1], [0.1], [0.01], [0.01]]))
    2
    """
    scale = np.maximum(np.abs(rates[-1]), np.finfo(float).tiny)
    other = np.flatnonzero((np.abs(rates - rates[-1]) > SAME * scale).any(1))
    return int(other[-1]) + 1 if len(other) else 0


def watched(run: Run) -> Watched:
    """Return what a run says over the window that is judged.

    Raises :class:`UsageError` for a run that was not watched, for too few steps, or for weights
    that are not finite at the end.
    """
    if "watch" not in run.info:
        said = f"{run.folder.name} is no watched training"
        raise UsageError(
            f"{said}: stationarity.watch makes one, and `verify` judges the book's."
        )
    table = run.metrics.assign(index=run.metrics["index"].fillna(0).astype(int))
    steps = np.sort(table[table.quantity == "weight_square"].step.to_numpy())
    last = int(steps[-1]) if len(steps) else 0
    if last < min(run.info["watch"].get("taken", 0), table.step.max()):  # as of a part of a run
        said = f"The training diverged at about step {last + 1}"
        remedy = "lower the learning rate, or find what was not a number there"
        raise UsageError(f"{said}, and its weights are no longer finite: {remedy}.")
    if len(steps) < FEWEST:
        raise UsageError(f"{run.folder.name} has {len(steps)} steps: watch at least {FEWEST}.")
    rates = table[table.quantity == "learning_rate"]
    rates = rates.pivot(index="step", columns="index", values="value").reindex(steps)
    rates = rates.ffill().to_numpy()
    since = run.info["watch"].get("groups_since", 0)  # with other momenta or decays before
    at = max(stage(rates), int(np.searchsorted(steps, since)))
    steady = rates.shape[1] > 0 and len(steps) - at >= max(STAGE * len(steps), FEWEST)
    begin = at if steady else 0
    part = SETTLED_PART if steady else 1 / 3
    inside = int(np.ceil(len(steps) - part * (len(steps) - begin)))
    first = int(steps[inside])
    series, start = {}, {}
    for name in (*EVERY_STEP, *MEASURED):
        rows = table[(table.quantity == name) & (table.of == "")]
        if rows.value.isna().all():
            continue
        rows = rows.sort_values("step")
        start[name] = float(rows.value.iloc[0]), float(rows.error.iloc[0])
        rows = rows[rows.step.between(first, last)]
        columns = (rows[one].to_numpy() for one in ("step", "value", "error"))
        series[name] = Series(*columns)
    sketch = table[(table.quantity == "sketch") & table.step.between(first, last)]
    sketch = sketch.pivot(index="step", columns="index", values="value")
    return Watched(
        facts=run.info["watch"],
        begin=int(steps[begin]),
        first=first,
        last=last,
        rates=rates[-1],
        series=series,
        start=start,
        steady=steady,
        rate_before=float(rates[inside, 0]) if rates.size else np.nan,
        sketch=sketch.to_numpy() if len(sketch) else None,
        sketch_every=int(np.diff(sketch.index[:2])[0]) if len(sketch) > 1 else 1,
    )
