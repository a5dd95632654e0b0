"""Progress of a long computation, with the time that is left, for whoever waits.

It shows in the terminal. In a notebook it shows below the cell, as one line that
changes in place, and on the standard error of whoever executes the notebook: that
is the terminal where papermill was called, or the log of a batch job. Where the
environment variable ``STATIONARITY_PROGRESS`` names a file, lines are appended to it
instead.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time

from tqdm import tqdm

from . import distributed

SECONDS = 2.0  # between two lines
SECONDS_IN_LOG = 60.0  # of a batch job, that nobody watches


class Progress:
    """Count steps; show the loss and the time that is left."""

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "step"):
        self.outlets = _outlets() if distributed.rank() == 0 else []
        self.bar = tqdm(
            total=total, initial=done, desc=label, unit=unit, mininterval=0.5,
            file=io.StringIO() if self.outlets else sys.stderr,
            disable=distributed.rank() > 0,
        )  # fmt: skip
        self.next_line = time.monotonic() + SECONDS

    @property
    def count(self) -> int:
        """The number of steps so far."""
        return self.bar.n

    def advance(self, describe=None) -> None:
        """Count one step; call ``describe() -> str`` only when it will be seen."""
        self.bar.n += 1
        now = time.monotonic()
        if now < self.next_line:
            return
        self.next_line = now + SECONDS
        self.show(describe() if describe else "")

    def show(self, text: str) -> None:
        """Show what is being done, at once."""
        self.bar.set_postfix_str(text, refresh=False)
        self._refresh()

    def close(self) -> None:
        """Show the final count and release the bar."""
        self._refresh(last=True)
        self.bar.close()

    def _refresh(self, last: bool = False) -> None:
        if not self.outlets:
            self.bar.refresh()
        for outlet in self.outlets:
            state = self.bar.format_dict | {"ncols": outlet.columns, "ascii": True}
            outlet.write(tqdm.format_meter(**state), last)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def follow(command: list[str], environment: dict[str, str]) -> int:
    """Run a command and return its status; show its progress as that of this process.

    In a notebook the lines of its :class:`Progress` would else fill the page.
    """
    outlets, ended = _outlets(), False
    with tempfile.NamedTemporaryFile("r") as log:
        if outlets:
            environment = {"STATIONARITY_PROGRESS": log.name} | environment
        process = subprocess.Popen(command, env=environment)
        try:
            while not ended:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=SECONDS)
                    ended = True
                for line in log.read().splitlines()[-1:]:
                    for outlet in outlets:
                        outlet.write(line[: outlet.columns], ended)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    return process.returncode


def _outlets() -> list:
    """Return where progress shows; none: on the standard error of this process."""
    file = os.environ.get("STATIONARITY_PROGRESS")
    if file:
        return [_Log(file)]
    ipython = sys.modules.get("IPython")
    in_kernel = ipython is not None and hasattr(ipython.get_ipython(), "kernel")
    return [_LineOfPage(), _OutsideKernel()] if in_kernel else []


class _LineOfPage:
    """A line below the notebook's cell."""

    columns = 100

    def __init__(self):
        self.shown = None

    def write(self, line: str, last: bool) -> None:
        from IPython.display import display

        if self.shown is None:
            self.shown = display({"text/plain": line}, raw=True, display_id=True)
        else:
            self.shown.update({"text/plain": line}, raw=True)


class _Log:
    """A file to which every line is appended."""

    columns = 100

    def __init__(self, path: str):
        self.path = path

    def write(self, line: str, last: bool) -> None:
        with open(self.path, "a") as log:
            log.write(line + "\n")


class _OutsideKernel:
    """The standard error that a kernel inherited, which its own hides.

    A terminal's line changes in place; a log gets a line a minute. A kernel of
    Jupyter's own server stays silent: its page is being watched.
    """

    def __init__(self):
        self.number = None
        if "JPY_SESSION_NAME" not in os.environ:
            with contextlib.suppress(OSError):  # ipykernel answers with the inherited one
                self.number = sys.stderr.fileno()
        self.terminal = self.number is not None and os.isatty(self.number)
        width = os.get_terminal_size(self.number).columns if self.terminal else 0
        self.columns = width - 1 if width > 1 else 100  # a longer line would not be replaced
        self.next_line = 0.0

    def write(self, line: str, last: bool) -> None:
        if self.number is None:
            return
        now = time.monotonic()
        if not (self.terminal or last or now >= self.next_line):
            return
        self.next_line = now + SECONDS_IN_LOG
        begin, end = ("\r", "\x1b[K") if self.terminal else ("", "\n")
        if self.terminal and last:
            end += "\n"
        os.write(self.number, f"{begin}{line}{end}".encode())
