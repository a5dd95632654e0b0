"""A folder for each chapter of the book, under the chapter's name.

Importing this package registers the experiments of all chapters: what a chapter's
``settings`` registers is found by the command line, the pages and the cost of runs.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    if _module.ispkg:
        importlib.import_module(f".{_module.name}.settings", __name__)
