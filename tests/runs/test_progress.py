"""The progress of a run beside other processes."""

import multiprocessing
import os
import signal

from stationarity.runs.progress import Progress


def _die_with_the_lock():
    Progress.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_forked_process_that_dies_does_not_stop_the_progress():
    """As those that load images do, when they are killed while they clear a bar away."""
    with Progress("outside", 2):
        child = multiprocessing.get_context("fork").Process(target=_die_with_the_lock)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert Progress.get_lock().acquire(timeout=10) is True  # or it would wait for good
        Progress.get_lock().release()
        assert Progress.monitor is None  # a thread, which might hold it at a fork
