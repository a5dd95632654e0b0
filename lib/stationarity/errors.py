"""The one error that is the user's to mend, not the library's."""

import difflib
import os
import re
from pathlib import Path


class UsageError(ValueError):
    """Bad input: its message names the thing and the remedy in one sentence.

    The command line and notebooks print the message without a traceback.
    """

    def _render_traceback_(self) -> list[str]:  # so IPython calls it
        return [f"{type(self).__name__}: {self}"]


def readable(path, read):
    """Return ``read(path)``; :class:`UsageError` for what cannot be read, with its name."""
    try:
        return read(path)
    except OSError as error:
        said = f"{os.fsdecode(path)} cannot be read ({error.strerror or error})"
        raise UsageError(f"{said}: make it readable, fetch it again or remove it.") from None


def from_home(given: str | os.PathLike) -> Path:
    """Return a path without ``~``; :class:`UsageError` where nobody knows that home."""
    if (path := os.path.expanduser(given)).startswith("~"):
        raise UsageError(f"The home of {path} is not known here: write it out, or set HOME.")
    return Path(path)


def whole_path(given: str | os.PathLike) -> Path:
    """Return a path without ``~`` and links; :class:`UsageError` if closed or not UTF-8."""
    path = os.path.realpath(from_home(given))
    there = next(one for one in (Path(path), *Path(path).parents) if one.is_dir())
    readable(there, lambda folder: os.scandir(folder).close())
    if re.search(r"[\ud800-\udfff]", path):  # Arrow and PyTorch take none else
        said = f"The folder {os.fsencode(path)} has no name in UTF-8 here"
        raise UsageError(f"{said}: set PYTHONUTF8=1, or choose another folder.")
    return Path(path)


def known_name(name: str, valid, what: str) -> str:
    """Return a name that is valid; else raise :class:`UsageError` with the nearest."""
    if name in valid:
        return name
    near = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(f"Unknown {what} {name!r}: the valid names are {', '.join(valid)}.{hint}")
