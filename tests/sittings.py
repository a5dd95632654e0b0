"""Calls in processes of their own, which may be ended at any moment.

A moment is a function call: the n-th of all calls, or the n-th of the functions of
one name, Python's (``to_parquet``) or C's (``os.replace``). So it is the same on every
machine, and may lie anywhere: in a step, a measurement, between two writes to a file or
two renames. At the moment the process sends a signal to its group; SIGKILL leaves it no
time for anything.

The processes are forked from one that has imported the library and done nothing.
"""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from pathlib import Path

import pyarrow.parquet
import sklearn.datasets
import torch
import torch._dynamo
import tqdm
from stationarity import launch
from stationarity.__main__ import main
from stationarity.nets import resnets
from stationarity.runs import records
from stationarity.train import ensembles
from torch.optim.optimizer import register_optimizer_step_post_hook

# Imported and computed once, for all processes.
PRELOADED = (
    pyarrow.parquet,
    sklearn.datasets,
    torch._dynamo,
    resnets,
    records.code_hash("train.loop:train"),
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["sittings"])


def sitting(call, folder: Path, moment=None, number=signal.SIGKILL, **keywords) -> int:
    """Return the exit status of ``call(**keywords)``, with its runs in a folder.

    At the ``moment``, (name or None, n), the process gets the signal; minus the
    signal's number is the status of one that was killed by it. What it prints goes to
    the file ``printed`` in the folder, the number of its calls to ``calls``, and a
    line for every step of an optimiser or of an ensemble to ``steps``.
    """
    folder.mkdir(exist_ok=True)
    paths, before = (p for p in sys.path if p), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # of the process that forks
    process = CONTEXT.Process(target=_sit, args=(call, folder, moment, number, keywords))
    process.start()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before
    process.join()
    return process.exitcode


def run(**keywords) -> None:
    """Make a run, with a checkpoint after every step."""
    launch.CHECKPOINT_SECONDS = 0
    launch.run(**keywords)


def command(arguments: list) -> int:
    """Run the command line; return its exit status."""
    return main(arguments)


def printed(folder: Path) -> str:
    """Return what the latest call with this folder printed."""
    return (folder / "printed").read_text()


def steps_taken(folder: Path) -> int:
    """Return how many steps the calls with this folder took, all together."""
    return (folder / "steps").read_text().count("step")


def calls(folder: Path) -> int:
    """Return how many functions the latest call with this folder called."""
    return int((folder / "calls").read_text())


def _sit(call, folder, moment, number, keywords) -> None:
    os.setpgrp()  # as a shell does it: a signal to the group spares the tests
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    multiprocessing.set_start_method(None, force=True)  # of workers: the usual one
    torch.set_num_threads(1)
    tqdm.tqdm.set_lock(threading.RLock())  # its own is left behind by those killed
    os.environ["STATIONARITY_RUNS"] = str(folder)
    output = os.open(folder / "printed", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    _log_steps(folder / "steps")
    counted, (wanted, last) = 0, moment or (None, 0)

    def count(frame, event, argument):
        nonlocal counted
        if event not in ("call", "c_call"):
            return
        if wanted is None or wanted == _name(frame, event, argument):
            counted += 1
            if counted == last:
                sys.setprofile(None)
                os.killpg(0, number)

    sys.setprofile(count)
    try:
        status = call(**keywords) or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.setprofile(None)
    (folder / "calls").write_text(str(counted))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _name(frame, event: str, argument) -> str:
    """Return a function's name, with its module where this is os."""
    if event == "call":
        return frame.f_code.co_name
    name = argument.__name__
    return f"os.{name}" if argument is getattr(os, name, None) else name


def _log_steps(path: Path) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(*_):
        os.write(log, b"step\n")

    register_optimizer_step_post_hook(note)
    original = ensembles.sgd_step

    def sgd_step(*arguments):
        original(*arguments)
        note()

    ensembles.sgd_step = sgd_step
