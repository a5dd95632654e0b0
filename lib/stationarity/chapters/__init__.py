"""A folder for each chapter of the book, under the chapter's name.

Importing this package registers the experiments of all chapters: what a chapter's
``settings`` registers is found by the command line, the pages and the cost of runs.
The quantities of the ledger register themselves where a chapter's ``reading`` defines
them::

    from .. import quantity

    @quantity
    def settled_loss_change(run: Run) -> Estimate: ...
"""

import importlib.util
import pkgutil
from collections.abc import Callable

_FOLDERS = [module.name for module in pkgutil.iter_modules(__path__) if module.ispkg]
_QUANTITIES: dict[str, Callable] = {}


def quantity(function: Callable) -> Callable:
    """Make a function ``(run) -> Estimate`` a quantity of the ledger, under its name.

    The first line of its docstring is what the ledger says of it.
    """
    known = _QUANTITIES.get(function.__name__, function)
    if known.__module__ != function.__module__:
        raise ValueError(f"There are two quantities {function.__name__}: rename one.")
    _QUANTITIES[function.__name__] = function
    return function


def quantities() -> dict[str, Callable]:
    """Return the quantities of the ledger, by name, from the readings of all chapters."""
    for folder in _FOLDERS:
        if importlib.util.find_spec(f"{__name__}.{folder}.reading"):
            importlib.import_module(f".{folder}.reading", __name__)
    return _QUANTITIES


for _folder in _FOLDERS:
    importlib.import_module(f".{_folder}.settings", __name__)
