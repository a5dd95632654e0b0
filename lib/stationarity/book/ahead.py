"""Runs that a page will ask for, made side by side on the cores that nobody uses.

A page asks for its runs one after another, from the first on. Processes beside it make them
from the last on: it finds them made, or waits for their end. A page has a core, if one is free
when it begins, and so has each of these processes; pages that are executed together share what
there is. How many cores that is ``STATIONARITY_CORES`` says, by default all. A run on a GPU, or
one that takes all cores by itself, is left to its page.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import filelock

from .. import launch
from ..errors import UsageError, known_name
from ..runs import distributed, progress, records
from ..runs.devices import usable_device

ANSWER = "made: "  # before the warnings of a run
LOOKS = 1.0  # seconds between two looks that must find a core free
WAITING: list[dict] = []  # runs that this page will ask for, as far as nobody began them
HELD: list = []  # the core of this page, until its process ends


def begin(arguments: Mapping[str, dict], sown: Mapping[str, int]) -> None:
    """Begin to make the runs of a page that are not there, beside it; return at once.

    ``arguments`` are those of :func:`stationarity.run` for each experiment, ``sown`` from how
    many seeds, where it is not one. What an earlier call left waiting is forgotten. Raises
    :class:`UsageError` for another number of cores than a whole one from 1 on, and for
    experiments in ``sown`` that the page has not.
    """
    places = _places()
    for name in sown:
        known_name(name, arguments, "experiment of this page")
    WAITING.clear()
    for name, given in arguments.items():
        for number in range(sown.get(name, 1)):
            settings = given["settings"].but(seed=given["settings"].seed + number)
            if not _is_made(one := given | {"name": name, "settings": settings}):
                WAITING.append(one)
    if WAITING and not any(HELD):
        HELD.append(_taken(places))
    for _ in range(min(len(places), len(WAITING)) - 1):
        threading.Thread(target=_make, args=(places,), daemon=True).start()


def _places() -> list[Path]:
    """Return a file for each core, which is locked while a page or a process has it."""
    given = os.environ.get("STATIONARITY_CORES") or str(distributed.cores())
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


def _is_made(one: dict) -> bool:
    """Return whether a run is there, or is to be left to its page."""
    settings = one["settings"]
    if one["devices"] > 1 or settings.threads != 1 or usable_device(one["device"]) != "cpu":
        return True
    try:
        run = records.read(launch.folder_of(one["name"], one["scale"], settings))
    except UsageError:  # which the page will say
        return True
    return run is not None and run.complete and run.made_by_this_code


def _next() -> dict | None:
    """Take the last run that waits and is not made meanwhile, if there is one."""
    with contextlib.suppress(IndexError):  # another process was faster
        while _is_made(one := WAITING.pop()):
            continue
        return one
    return None


def _make(places: list[Path]) -> None:
    """Make runs in a process, from the last on, once a core stays free."""
    free = None
    while not free:
        time.sleep(LOOKS)
        if not WAITING:
            return
        if free := _taken(places):
            free.release()
            time.sleep(LOOKS)
            free = _taken(places)
    with contextlib.ExitStack() as stack:
        stack.callback(free.release)
        if one := _next():
            command = [sys.executable, "-m", "stationarity.book.ahead"]
            how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            process = subprocess.Popen(command, **how, stderr=subprocess.DEVNULL)
            stack.enter_context(process)
        # Where the process was killed, its run is left to the page.
        with contextlib.suppress(OSError):
            while one and _answered(process, one):
                one = _next()


def _answered(process: subprocess.Popen, one: dict) -> bool:
    """Let a process make a run; show its progress, and say its warnings here."""
    said = one | {"settings": one["settings"].plain()}
    process.stdin.write(json.dumps(said, default=str) + "\n")
    process.stdin.flush()
    outlet = progress.open_outlet()
    for line in process.stdout:
        if line.startswith(ANSWER):
            for message in json.loads(line.removeprefix(ANSWER)):
                warnings.warn(message, stacklevel=2)
            return True
        if outlet and line.strip():
            outlet.write(line)
    return False


def main() -> None:
    """Make the runs that standard input names, a line each, until it ends; answer each.

    The answer is a list of the warnings. Where the page ends first, this process does, too:
    the run goes on from its checkpoint.
    """
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    os.environ.setdefault("STATIONARITY_PROGRESS", "/dev/stdout")

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            with contextlib.suppress(Exception):  # the page meets the same, and tells it
                launch.run(**json.loads(lines.get()))
        told = [str(one.message) for one in caught if one.category is UserWarning]
        print(f"\n{ANSWER}{json.dumps(told)}", flush=True)


if __name__ == "__main__":
    main()
