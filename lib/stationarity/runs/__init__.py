"""A run on disk. Installed without its project, the library has what it needs of that within."""

import os

from . import provenance

if (_within := provenance.PACKAGE / "project").exists():  # as setup.py puts it there
    provenance.PROJECT = _within
    os.environ.setdefault("STATIONARITY_RUNS", os.path.abspath("runs"))
    os.environ.setdefault("STATIONARITY_COMMIT", (_within / "commit").read_text("utf-8"))
