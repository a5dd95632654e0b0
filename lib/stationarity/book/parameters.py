"""The parameters of a chapter, such as papermill passes them.

``settings``, a text or a dictionary, overrides those of the chapter's experiments. A plain
name is a setting of the first one; ``experiment.name`` is one of any other, and ``*`` stands
for several. ``scale`` gives an experiment a scale of its own, and ``seed`` a seed::

    papermill CHAPTER OUT -p settings "epochs=30 drops=10,20 full_batch.epochs=100"
    papermill CHAPTER OUT -y "settings: {epochs: 30, full_batch: {epochs: 100}}"
"""

import ast
import fnmatch
import itertools
import numbers
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..data import root_of
from ..errors import UsageError, known_name
from ..runs.devices import usable_device
from ..runs.settings import EXPERIMENTS, SCALES, get

PARAMETERS = ("scale", "seed", "data_root", "device", "devices", "settings")


def checked(
    *names: str,
    scale="classroom",
    seed=0,
    data_root=None,
    device=None,
    devices=1,
    settings=None,
    scales: Mapping[str, str] | None = None,
    also: Mapping[str, object] | None = None,
    **counts: int,
) -> dict[str, dict]:
    """Return the keyword arguments of :func:`stationarity.run` for each experiment, by name.

    ``names`` are the experiments of the page, ``scales`` those of which do not follow the
    page's ``scale``; ``also`` further positive numbers, or others; ``counts`` further whole
    numbers from 1. Raises :class:`UsageError` for an unknown parameter, setting or scale, or
    a wrong type.
    """
    for name in _injected():
        known_name(name, (*PARAMETERS, *(also or {}), *counts), "parameter")
    for name, value in ({"devices": devices} | counts).items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            said = f"The parameter {name} takes a whole number from 1"
            raise UsageError(f"{said}, and {value!r} is not that.")
    for name, value in (also or {}).items():
        if isinstance(value, str) or (isinstance(value, numbers.Real) and not value > 0):
            said = f"The parameter {name} cannot be {value!r}"
            raise UsageError(f"{said}: give a positive number.")
    if not isinstance(data_root, str | Path | None):
        said = f"The parameter data_root takes the path of a folder, and {data_root!r} is not"
        raise UsageError(f"{said} that (papermill passes a number as text by -r).")
    usable_device(device, devices)
    where = {"data_root": root_of(data_root), "device": device, "devices": devices}
    changes = {n: {"scale": (scales or {}).get(n, scale), "seed": seed} for n in names}
    for name, setting, value in _overrides(names, settings):
        changes[name][setting] = value
    chosen = {name: change.pop("scale") for name, change in changes.items()}
    for name, own in chosen.items():
        known_name(name, EXPERIMENTS, "experiment")
        known_name(own, SCALES, "scale")
    if lacking := [name for name, own in chosen.items() if own not in EXPERIMENTS[name]]:
        said = f"There is no scale {chosen[lacking[0]]} of {', '.join(lacking)}: choose another"
        remedy = f"a scale of its own by settings, such as {lacking[0]}.scale=classroom"
        raise UsageError(f"{said}, or give each of them {remedy}.")
    return {
        name: where | {"scale": own, "settings": get(name, own, changes[name])}
        for name, own in chosen.items()
    }


def _injected() -> list[str]:
    """Return the names that papermill assigned, in the cell that it inserts."""
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()  # None outside a notebook
    cells = shell.user_ns.get("In", []) if shell else []
    inserted = (ast.parse(cell).body for cell in cells if cell.startswith("# Parameters"))
    statements = itertools.chain.from_iterable(inserted)
    return [one.targets[0].id for one in statements if isinstance(one, ast.Assign)]


def _overrides(names: tuple[str, ...], settings) -> Iterator[tuple[str, str, object]]:
    """Yield experiment, setting and value of each override."""
    for key, value in _pairs(settings):
        pattern, _, setting = key.rpartition(".")
        concerned = fnmatch.filter(names, pattern) if pattern else names[:1]
        for name in concerned or [known_name(pattern, names, "experiment of this page")]:
            yield name, setting, value


def _pairs(settings) -> Iterator[tuple[str, object]]:
    if isinstance(settings, str):
        try:
            pairs = [pair.partition("=") for pair in shlex.split(settings)]
        except ValueError:  # a quotation mark without its partner
            pairs = [(settings, "", "")]
        for key, equals, value in pairs:
            if not equals:
                said = "The parameter settings takes KEY=VALUE pairs with spaces between them"
                raise UsageError(f"{said}, not {key!r}.")
            yield key, value
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            if isinstance(value, Mapping):
                yield from ((f"{key}.{setting}", item) for setting, item in value.items())
            else:
                yield str(key), value
    elif settings is not None:
        said = "The parameter settings takes a dictionary, or text such as 'epochs=3'"
        raise UsageError(f"{said}, and {settings!r} is neither.")
