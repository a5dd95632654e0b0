"""A folder for each chapter of the book, under the chapter's name.

Importing this package registers the experiments of all chapters, from their ``settings``.
The quantities of the ledger register themselves where a chapter's ``reading`` defines them::

    from .. import quantity

    @quantity("of one number")
    def settled_loss_change(run: Run) -> Estimate: ...
"""

import contextlib
import importlib.util
import math
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runs.provenance import PROJECT

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd

SIZE, SHARE = (0.0, math.inf), (0.0, 1.0)  # where a size lies, and a share

_FOLDERS = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]


@dataclass(frozen=True)
class Quantity:
    """What a run says, as the ledger judges it.

    ``cases`` names what else of a run, or in its place, the same function judges, such as a
    control: ``{case: what it is}``.
    """

    compute: Callable  # (run) -> Estimate, and with cases (run, case)
    interval: str  # of what it holds: one number, or several, jointly or one at a time
    within: tuple[float, float]  # where its values lie
    cases: dict[str, str]

    @property
    def meaning(self) -> str:
        """The first line of the function's docstring."""
        return self.compute.__doc__.split("\n")[0].rstrip(".")

    def __call__(self, run, case: str = ""):
        """Return the estimate of a run, or of one of the ``cases``."""
        return self.compute(run, case) if case else self.compute(run)


_QUANTITIES: dict[str, Quantity] = {}


def quantity(interval: str, *, within=(-math.inf, math.inf), **cases: str) -> Callable:
    """Make a function ``(run) -> Estimate`` a quantity of the ledger, under its name.

    With ``cases`` it takes one of their names as its second argument, ``""`` by default.
    """

    def register(function: Callable) -> Callable:
        known = _QUANTITIES.get(function.__name__)
        if known and known.compute.__module__ != function.__module__:
            raise ValueError(f"There are two quantities {function.__name__}: rename one.")
        _QUANTITIES[function.__name__] = Quantity(function, interval, within, cases)
        return function

    return register


def quantities() -> dict[str, Quantity]:
    """Return the quantities of the ledger, by name, from the readings of all chapters."""
    for folder in _FOLDERS:
        if importlib.util.find_spec(f"{__name__}.{folder}.reading"):
            importlib.import_module(f".{folder}.reading", __name__)
    return _QUANTITIES


def reference(name: str) -> "pd.DataFrame":
    """Return a table of the papers' own numbers, from ``book/reference``."""
    import pandas as pd

    return pd.read_csv(PROJECT / "book" / "reference" / f"{name}.csv")


def _without_an_unknown_backend() -> None:
    """Forget an MPLBACKEND that matplotlib does not know, with which none can import it."""
    if "matplotlib" in sys.modules or not (backend := os.environ.pop("MPLBACKEND", "")):
        return
    import matplotlib

    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = backend
        os.environ["MPLBACKEND"] = backend  # of the processes that this one starts


_without_an_unknown_backend()
for _folder in _FOLDERS:
    importlib.import_module(f".{_folder}.settings", __name__)
