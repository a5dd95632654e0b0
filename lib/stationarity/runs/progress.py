"""Progress of a long computation, with the time that is left.

It shows in the terminal; in a notebook below the cell, and on the standard error of whoever
executes it; where ``STATIONARITY_PROGRESS`` names a file, there.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial

from tqdm import tqdm

from ..errors import UsageError, from_home

SECONDS = 2.0  # between two lines
SECONDS_IN_LOG = 60.0  # of a batch job, that nobody watches


class Progress(tqdm):
    """Count steps; show the loss and the time that is left."""

    _lock, monitor_interval = threading.RLock(), 0  # tqdm's may be held by a dead fork

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "step"):
        from . import distributed  # as PyTorch, it takes seconds to import

        shown = {"desc": label, "unit": unit, "disable": distributed.rank() > 0}
        file = (None if shown["disable"] else open_outlet()) or Unfailing(sys.stderr)
        super().__init__(total=total, initial=done, file=file, **shown)
        self.next_line = time.monotonic() + SECONDS

    def advance(self, describe=None) -> None:
        """Count one step; call ``describe() -> str`` only when it will be seen."""
        self.n += 1
        if time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + SECONDS
            self.set_postfix_str(describe() if describe else "")


def follow(command: list[str], environment: dict[str, str]) -> int:
    """Run a command and return its status; show its progress as that of this process."""
    outlet = open_outlet()
    with tempfile.NamedTemporaryFile("r", encoding="ascii") as log:
        shown = {"STATIONARITY_PROGRESS": log.name} if outlet else {}
        environment = shown | environment | os.environ
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            while process.returncode is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=SECONDS)
                for line in log.read().splitlines()[-1:]:
                    outlet.write(line + "\n" * (process.returncode is not None))
        finally:  # after an interruption
            process.terminate()
            process.wait()
    return process.returncode


def open_outlet():
    """Return where progress shows, or None: then on standard error."""
    if path := os.environ.get("STATIONARITY_PROGRESS"):
        try:
            return Unfailing(open(from_home(path), "a", encoding="ascii"))
        except (OSError, UsageError) as error:
            del os.environ["STATIONARITY_PROGRESS"]  # so it is told once
            reason = getattr(error, "strerror", str(error).rstrip("."))
            said = f"Progress cannot be written to {path} of STATIONARITY_PROGRESS ({reason})"
            Unfailing(sys.stderr).write(f"{said}, and shows here: name a file that can be.\n")
    ipython = sys.modules.get("IPython")
    in_kernel = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return Unfailing(_Notebook()) if in_kernel else None


class Unfailing:
    """A stream that stops nothing: what it cannot write is lost, and the ``error`` kept."""

    def __init__(self, stream):
        self.stream, self.error = stream or io.StringIO(), None

    def __getattr__(self, name: str):
        part = getattr(self.stream, name)
        return partial(self._try, part) if name in ("write", "flush", "close") else part

    def _try(self, call: Callable, *given) -> None:
        try:
            call(*given)
        except OSError as error:
            self.error = error


class _Notebook(io.TextIOBase):
    """A line below the cell, and the standard error that a kernel inherited and hides."""

    def __init__(self):
        self.line, self.shown, self.inherited, self.next_line = "", None, None, 0.0
        if "JPY_SESSION_NAME" not in os.environ:  # else its page is being watched
            with contextlib.suppress(OSError):  # ipykernel answers with the inherited one
                self.inherited = sys.stderr.fileno()
        self.terminal = self.inherited is not None and os.isatty(self.inherited)

    def write(self, text: str) -> None:
        from IPython.display import display

        last, self.line = text.endswith("\n"), text.strip() or self.line
        if self.shown is None:
            self.shown = display({"text/plain": self.line}, raw=True, display_id=True)
        else:
            self.shown.update({"text/plain": self.line}, raw=True)
        now, line = time.monotonic(), self.line + "\n"
        if self.terminal:  # a line as wide as it would not be replaced
            width = os.get_terminal_size(self.inherited).columns or 100
            line = f"\r{self.line[: width - 1]}\x1b[K" + "\n" * last
        elif self.inherited is None or not (last or now >= self.next_line):
            return
        self.next_line = now + SECONDS_IN_LOG
        os.write(self.inherited, line.encode())
