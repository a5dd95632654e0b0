"""Runs that a page will ask for, made side by side on the cores that nobody uses.

A page asks for its runs one after another, from the first on. Processes beside it make them
from the last on: it finds them made, or waits for their end. A page has a core, and so has
each of these processes; pages that are executed together share what there is. How many cores
that is ``STATIONARITY_CORES`` says, by default all. A run on a GPU, or one that takes all
cores by itself, is left to its page.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import filelock

from .. import launch
from ..errors import UsageError
from ..runs import records
from ..runs.devices import usable_device
from ..runs.settings import Settings

LOOKS = 1.0  # seconds between two looks that must find a core free: a page may be next
HELD = []  # the core of this page, until its process ends


def begin(arguments: Mapping[str, dict], sown: Mapping[str, int]) -> None:
    """Begin to make the runs of a page that are not there, beside it; return at once.

    ``arguments`` are those of :func:`stationarity.run` for each experiment, ``sown`` from how
    many seeds, where it is more than one. Raises :class:`UsageError` for another number of
    cores than a whole one from 1 on.
    """
    places, waiting = _places(), []
    if not HELD:
        HELD.append(_taken(places))
    for name, given in arguments.items():
        for number in range(sown.get(name, 1)):
            settings = given["settings"].but(seed=given["settings"].seed + number)
            if not _is_made(name, given, settings):
                waiting.append(given | {"name": name, "settings": settings.plain()})
    for _ in range(min(len(places), len(waiting)) - 1):
        threading.Thread(target=_make, args=(places, waiting), daemon=True).start()


def _places() -> list[Path]:
    """Return a file for each core, which is locked while a page or a process has it."""
    given = os.environ.get("STATIONARITY_CORES") or str(os.cpu_count() or 1)
    if not given.isdecimal() or int(given) < 1:
        said = f"STATIONARITY_CORES is a whole number from 1 on, and {given!r} is not"
        raise UsageError(f"{said}: set it to that of the cores that pages may use.")
    return [records.runs_root() / f".core-{number}.lock" for number in range(int(given))]


def _taken(places: list[Path]) -> filelock.FileLock | None:
    """Return the lock of a core that was free, or None."""
    for place in places:
        with contextlib.suppress(OSError, filelock.Timeout):
            place.parent.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(place, thread_local=False)
            lock.acquire(timeout=0)
            return lock
    return None


def _is_made(name: str, given: dict, settings: Settings) -> bool:
    """Return whether a run is there, or is to be left to its page."""
    if given["devices"] > 1 or settings.threads != 1 or usable_device(given["device"]) != "cpu":
        return True
    try:
        run = records.read(launch.folder_of(name, given["scale"], settings))
    except UsageError:  # which the page will say
        return True
    return run is not None and run.complete and run.made_by_this_code


def _make(places: list[Path], waiting: list[dict]) -> None:
    """Make runs in a process, from the last on, once a core stays free."""
    free = None
    while not free:
        time.sleep(LOOKS)
        if not waiting:
            return
        if free := _taken(places):
            free.release()
            time.sleep(LOOKS)
            free = _taken(places)
    command = [sys.executable, "-m", "stationarity.book.ahead"]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    # Where the process was killed, its run is left to the page.
    with free, contextlib.suppress(OSError), subprocess.Popen(command, **how, text=True) as own:
        while waiting:
            given = waiting.pop()
            own.stdin.write(json.dumps(given, default=str) + "\n")
            own.stdin.flush()
            if not own.stdout.readline():
                return


def main() -> None:
    """Make the runs that standard input names, a line each, until it ends; answer each.

    Where the page ends first, this process does, too: the run goes on from its checkpoint.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        with contextlib.suppress(Exception):  # the page meets the same, and tells it
            launch.run(**json.loads(lines.get()))
        print(flush=True)


if __name__ == "__main__":
    main()
