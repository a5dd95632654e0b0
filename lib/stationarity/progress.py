"""Progress of a long computation: a bar on stderr, and lines in a log."""
import os
import time

from tqdm import tqdm


class Progress:
    """Count steps; show the loss and the time that is left.

    The bar goes to stderr. Where the environment variable
    ``STATIONARITY_PROGRESS`` names a file, a line is appended to it every few
    seconds: so whoever executes a notebook sees how far its runs are.
    """

    def __init__(self, label: str, total: int, done: int = 0, unit: str = "step"):
        self.bar = tqdm(
            total=total, initial=done, desc=label, unit=unit, mininterval=0.5
        )
        self.log = os.environ.get("STATIONARITY_PROGRESS")
        self.next_line = time.monotonic() + 2.0

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
        self.next_line = now + 2.0
        self.show(describe() if describe else "")

    def show(self, text: str) -> None:
        """Show what is being done, at once."""
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.refresh()
        self._write_line()

    def close(self) -> None:
        """Show the final count and release the bar."""
        self.bar.refresh()
        self._write_line()
        self.bar.close()

    def _write_line(self) -> None:
        if self.log:
            line = tqdm.format_meter(**(self.bar.format_dict | {"ncols": 100, "ascii": True}))
            with open(self.log, "a") as log:
                log.write(line + "\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
