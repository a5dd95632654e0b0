"""The book's extensions, for the tests that look at one: no package holds them."""

import importlib.util
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "book" / "_ext"


def extension(name: str) -> ModuleType:
    """Return an extension of the book, loaded anew."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
