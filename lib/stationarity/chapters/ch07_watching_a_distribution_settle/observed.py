"""Where the observables of the runs of chapter 7 stand, and their stages.

Source: our section "Watching a distribution settle".
"""

import itertools
import math

import pandas as pd

from ...runs.records import Run
from .. import levels


def observables(run: Run, names, first: float = 0, last: float = math.inf) -> dict:
    """Return ``{name: (steps, values)}`` of the records with first <= step < last."""
    found = {}
    for name in names:
        rows = run.series(member=None, **columns(name))
        rows = rows[rows.step.between(first, last, inclusive="left")]
        found[name] = (rows.step.to_numpy(), rows.value.to_numpy())
    return found


def members(run: Run, name: str) -> pd.DataFrame:
    """Return an observable with a row a step, and a column for each member or replica."""
    return run.wide(**columns(name))


def columns(name: str) -> dict:
    """Return where an observable stands: ``random_2`` is ``random`` of index 1."""
    stem, _, number = name.rpartition("_")
    if number.isdigit():
        return {"quantity": stem, "index": int(number) - 1}
    return {"quantity": name}


def stages(run: Run) -> list[tuple[int, int]]:
    """Return the first step and the end of each stage of constant learning rate."""
    settings = run.settings
    if hasattr(settings, "epochs"):
        length = run.metrics.step.max() / run.metrics.epoch.max()
        return [
            tuple(round(length * epoch) for epoch in one) for one in levels.stages(run.settings)
        ]
    drops = [drop for drop in settings.drops if drop < settings.steps]
    return list(itertools.pairwise([0, *drops, settings.steps]))
