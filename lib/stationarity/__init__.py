"""Do the weights ever settle? Training and measurement code of the book.

One verb runs, continues or loads any experiment of the book; ``watch`` follows yours::

    import stationarity

    run = stationarity.run("full_batch", scale="classroom", settings={"epochs": 200})
    run.series("gradient_norm_squared")
"""

import importlib

from .errors import UsageError

__all__ = ["Run", "UsageError", "recorded", "run", "watch"]

_HOMES = dict(Run=".runs.records", recorded=".book.results", run=".launch", watch=".watching")


def __getattr__(name: str):
    """Import what takes seconds, PyTorch with it, when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)
