"""The rows of a run's metrics: one value each, with what it is of and when.

A row is a tuple of :data:`COLUMNS`. ``of`` names the variation, ensemble or process,
``member`` numbers the seed or replica, ``index`` the mode, direction or reference
point; each is empty where there is none.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pandas as pd

COLUMNS = ("quantity", "of", "member", "index", "step", "epoch", "value", "error")
AXES = ("of", "member", "index", "step")


def rows(
    quantity: str, values, errors=math.nan, *, epoch: float | Callable = math.nan, **axes
) -> list[tuple]:
    """Return a row for each of the values.

    Parameters
    ----------
    values, errors : a number, or an array or tensor whose dimensions are those of
        ``axes`` that are sequences, in the order in which they are passed.
    epoch : the epoch, or a function of the step.
    axes : ``of``, ``member``, ``index``, ``step``: one value for all rows (by default
        none, and step 0), or a sequence, one a row of that dimension.

    >>> rows("loss", [0.5, 0.4], member=range(2), step=7)[1][:5]
    ('loss', '', 1, None, 7)
    """
    values, errors = (_array(given) for given in (values, errors))
    errors = np.broadcast_to(errors, values.shape)
    long = {
        name: list(given)
        for name, given in axes.items()
        if hasattr(given, "__len__") and not isinstance(given, str)
    }
    if values.shape != tuple(map(len, long.values())):
        raise ValueError(f"{quantity} has shape {values.shape}, and its axes {list(long)} not.")
    found, common = [], {"of": "", "member": None, "index": None, "step": 0} | axes
    for place, value, error in zip(
        itertools.product(*long.values()), values.flat, errors.flat, strict=True
    ):
        at = common | dict(zip(long, place, strict=True))
        step = int(at["step"])
        when = float(epoch(step) if callable(epoch) else epoch)
        member, index = (None if at[k] is None else int(at[k]) for k in ("member", "index"))
        found.append(
            (quantity, at["of"], member, index, step, when, float(value), float(error))
        )
    return found


def common_rows(values: dict, **axes) -> list[tuple]:
    """Return the :func:`rows` of several quantities, by name, that have the same axes."""
    return [row for name, each in values.items() for row in rows(name, each, **axes)]


def _array(given) -> np.ndarray:
    return np.asarray(given.tolist() if hasattr(given, "tolist") else given, float)


def frame(found: list[tuple]) -> pd.DataFrame:
    """Return rows as a table of :data:`COLUMNS`; a missing number is ``<NA>``."""
    return typed(pd.DataFrame(found, columns=list(COLUMNS)))


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table, as it was read from a file, with the columns' own types."""
    kinds = {"member": "Int64", "index": "Int64", "value": float, "error": float}
    table = table[list(COLUMNS)].astype(kinds)
    return table.assign(of=table.of.astype(object).where(table.of.notna(), "").astype(str))
