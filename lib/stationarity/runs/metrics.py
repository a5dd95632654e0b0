"""The rows of a run's metrics: one value each, with what it is of and when.

A row is a tuple of :data:`COLUMNS`. ``of`` names the variation, ensemble or process,
``member`` numbers the seed or replica, ``index`` the mode, direction or reference
point; each is empty where there is none.
"""

import itertools
import math

import numpy as np
import pandas as pd

COLUMNS = ("quantity", "of", "member", "index", "step", "epoch", "value", "error")


def rows(quantity: str, values, errors=math.nan, *, epoch=math.nan, **axes) -> list[tuple]:
    """Return a row a value; ``ValueError`` for a wrong shape.

    ``axes`` are of, member, index and step: one value for all rows (by default none, and
    step 0), or a sequence. ``values`` and ``errors`` are numbers, or arrays or tensors with
    a dimension for each sequence, in their order. ``epoch`` may be a function of the step.

    >>> rows("loss", [0.5, 0.4], member=range(2), step=7)[1][:5]
    ('loss', '', 1, None, 7)
    """
    values, errors = (
        np.asarray(given.tolist() if hasattr(given, "tolist") else given, float)
        for given in (values, errors)
    )
    errors = np.broadcast_to(errors, values.shape)
    long = {name: list(at) for name, at in axes.items() if np.ndim(at)}
    if values.shape != tuple(map(len, long.values())):
        raise ValueError(f"{quantity} has shape {values.shape}, and its axes {list(long)} not.")
    made, common = [], {"of": "", "member": None, "index": None, "step": 0} | axes
    places = itertools.product(*long.values())
    for place, value, error in zip(places, values.flat, errors.flat, strict=True):
        at = common | dict(zip(long, place, strict=True))
        step = int(at["step"])
        when = float(epoch(step) if callable(epoch) else epoch)
        member, index = (None if at[k] is None else int(at[k]) for k in ("member", "index"))
        made.append((quantity, at["of"], member, index, step, when, float(value), float(error)))
    return made


def common_rows(values: dict, **axes) -> list[tuple]:
    """Return the :func:`rows` of several quantities, by name, that have the same axes."""
    return [row for name, each in values.items() for row in rows(name, each, **axes)]


def frame(metrics: list[tuple]) -> pd.DataFrame:
    """Return rows as a table of :data:`COLUMNS`; a missing number is ``<NA>``."""
    return typed(pd.DataFrame(metrics, columns=list(COLUMNS)))


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table, as it was read from a file, with the columns' own types."""
    kinds = {"member": "Int64", "index": "Int64", "value": float, "error": float}
    table = table[list(COLUMNS)].astype(kinds)
    return table.assign(of=table.of.astype(object).where(table.of.notna(), "").astype(str))
