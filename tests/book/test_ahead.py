"""Runs that a page will ask for are made beside it, as far as cores are free."""

import json
import subprocess
import sys
import threading
import time

import filelock
import pytest
from stationarity import launch
from stationarity.book import ahead
from stationarity.errors import UsageError
from stationarity.runs import records
from stationarity.runs.settings import get

SHORT = {"epochs": 2, "examples": 96, "batch_size": 32, "drops": [1], "hidden": [4]}
SHORT |= {"model": "mlp", "sharpness_products": 2, "threads": 1}
PATIENCE = 60.0  # seconds: importing the library takes a few


@pytest.fixture(autouse=True)
def two_cores(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    monkeypatch.setenv("STATIONARITY_CORES", "2")
    monkeypatch.setattr(ahead, "LOOKS", 0.01)
    monkeypatch.setattr(ahead, "HELD", [])
    yield
    for helper in helpers():
        helper.join(PATIENCE)
    for lock in filter(None, ahead.HELD):
        lock.release()


def arguments(**changes):
    settings = get("imagenet_resnet", "classroom", SHORT | changes)
    given = {"scale": "classroom", "settings": settings, "data_root": None}
    return {"imagenet_resnet": given | {"device": "cpu", "devices": 1}}


def made(given, seed):
    """The run with this seed, once it is complete, or None."""
    settings = given["imagenet_resnet"]["settings"].but(seed=seed)
    folder = launch.folder_of("imagenet_resnet", "classroom", settings)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        run = records.read(folder) if folder.exists() else None
        if run and run.complete:
            return run
        time.sleep(0.05)
    return None


def helpers():
    return [one for one in threading.enumerate() if one._target is ahead._make]


def test_the_last_run_is_made_beside_the_page_and_is_the_one_it_would_make(
    tmp_path, monkeypatch
):
    given = arguments()
    ahead.begin(given, {"imagenet_resnet": 2})
    beside = made(given, 1)
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "own"))
    own = launch.run("imagenet_resnet", **given["imagenet_resnet"], seed=1)
    assert beside.folder != own.folder and beside.metrics.equals(own.metrics)


def test_a_process_waits_until_a_core_stays_free():
    places, given = ahead._places(), arguments()
    locks = [filelock.FileLock(place) for place in places]
    for lock in locks:
        lock.acquire()
    ahead.begin(given, {"imagenet_resnet": 2})
    time.sleep(0.3)
    assert len(helpers()) == 1 and not list(records.runs_root().glob("*/*/run.json"))
    locks[0].release()
    assert made(given, 1)
    locks[1].release()


def test_a_process_that_waits_ends_where_nothing_is_left_to_make():
    locks = [filelock.FileLock(place) for place in ahead._places()]
    for lock in locks:
        lock.acquire()
    waiting = [{"name": "a"}]
    helper = threading.Thread(target=ahead._make, args=(ahead._places(), waiting))
    helper.start()
    waiting.clear()
    helper.join(PATIENCE)
    assert not helper.is_alive()


@pytest.mark.parametrize(
    "changes, seeds, cores",
    [({}, 1, "2"), ({}, 3, "1"), ({"threads": 0}, 3, "2")],
    ids=["one run", "one core", "runs on all cores"],
)
def test_nothing_is_begun_beside(changes, seeds, cores, monkeypatch):
    monkeypatch.setenv("STATIONARITY_CORES", cores)
    ahead.begin(arguments(**changes), {"imagenet_resnet": seeds})
    assert helpers() == [] and ahead.HELD[0].is_locked


def test_runs_that_are_there_are_not_made_again():
    given = arguments()
    for seed in (0, 1):
        launch.run("imagenet_resnet", **given["imagenet_resnet"], seed=seed)
    ahead.begin(given, {"imagenet_resnet": 2})
    assert helpers() == []


@pytest.mark.parametrize("cores", ["0", "two", "-1"])
def test_another_number_of_cores_is_refused(cores, monkeypatch):
    monkeypatch.setenv("STATIONARITY_CORES", cores)
    with pytest.raises(UsageError, match="STATIONARITY_CORES is a whole number from 1 on"):
        ahead.begin(arguments(), {})


def test_a_process_ends_with_its_page(tmp_path):
    """In the midst of a run, of which its checkpoint is kept."""
    command = [sys.executable, "-m", "stationarity.book.ahead"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    given = {"name": "imagenet_resnet", "scale": "classroom", "device": "cpu"}
    given["settings"] = SHORT | {"epochs": 100_000}
    with subprocess.Popen(command, **pipes) as process:
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        end = time.monotonic() + PATIENCE
        while not list(tmp_path.glob("*/*")) and time.monotonic() < end:
            time.sleep(0.05)
        assert list(tmp_path.glob("*/*")) and process.poll() is None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
