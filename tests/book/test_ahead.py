"""Runs that a page will ask for are made beside it, as far as cores are free."""

import contextlib
import json
import subprocess
import sys
import threading
import time

import filelock
import pytest
from stationarity import launch
from stationarity.book import ahead, page
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
    ahead.WAITING.clear()
    end()
    for lock in filter(None, ahead.HELD):
        lock.release()


@pytest.fixture
def taken():
    """The locks of both cores, which others have."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(filelock.FileLock(place)) for place in ahead._places()]


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
    running = threading.enumerate()
    return [one for one in running if getattr(one, "_target", None) is ahead._make]


def end():
    """Wait for what is made beside the page."""
    for helper in helpers():
        helper.join(PATIENCE)


def test_runs_are_made_beside_the_page_from_the_last_and_are_those_it_would_make(
    tmp_path, monkeypatch
):
    given = arguments()
    ahead.begin(given, {"imagenet_resnet": 3})
    runs = [made(given, seed) for seed in (2, 1)]
    assert runs[0].info["start"] <= runs[1].info["start"]
    end()
    assert filelock.FileLock(ahead._places()[1]).acquire(timeout=0)  # its core is free again
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "own"))
    own = launch.run("imagenet_resnet", **given["imagenet_resnet"], seed=2)
    assert runs[0].folder != own.folder and runs[0].metrics.equals(own.metrics)


def test_warnings_and_progress_of_a_run_come_to_the_page(monkeypatch):
    """Of a net that decay keeps from learning."""
    given, shown = arguments(weight_decay=0.9, epochs=40), []
    monkeypatch.setattr(ahead.warnings, "warn", lambda message, **_: shown.append(message))
    monkeypatch.setattr(ahead.progress, "open_outlet", lambda: Lines(shown))
    ahead.begin(given, {"imagenet_resnet": 2})
    assert made(given, 1)
    end()
    assert any("nothing is learned" in line for line in shown)
    assert any(line.startswith("imagenet_resnet classroom: ") for line in shown)


class Lines:
    def __init__(self, lines):
        self.write = lines.append


def test_what_waited_is_forgotten_where_a_page_begins_anew(taken):
    ahead.begin(arguments(learning_rate=0.5), {"imagenet_resnet": 3})
    ahead.begin(given := arguments(), {"imagenet_resnet": 2})
    rates = [one["settings"].learning_rate for one in ahead.WAITING]
    assert rates == [given["imagenet_resnet"]["settings"].learning_rate] * 2


def test_a_run_that_was_made_meanwhile_is_not_made_again(taken):
    given = arguments()
    ahead.begin(given, {"imagenet_resnet": 2})
    launch.run("imagenet_resnet", **given["imagenet_resnet"], seed=1)
    assert ahead._next()["settings"].seed == 0 and ahead._next() is None


def test_a_page_begins_its_runs(monkeypatch):
    begun = []
    monkeypatch.setattr(page.ahead, "begin", lambda *given: begun.append(given))
    arguments = page.begin("full_batch", "regimes", sown={"full_batch": 2})
    assert begun == [(arguments, {"full_batch": 2})] and list(arguments) == [
        "full_batch",
        "regimes",
    ]


def test_an_experiment_that_the_page_has_not_is_refused():
    with pytest.raises(UsageError, match="full_bach"):
        ahead.begin(arguments(), {"full_bach": 2})


def test_a_process_waits_until_a_core_stays_free(taken):
    given = arguments()
    ahead.begin(given, {"imagenet_resnet": 2})
    time.sleep(0.3)
    assert len(helpers()) == 1 and not list(records.runs_root().glob("*/*/run.json"))
    taken[0].release()
    assert made(given, 1)


def test_a_process_that_waits_ends_where_nothing_is_left_to_make(taken):
    ahead.begin(arguments(), {"imagenet_resnet": 2})
    (helper,) = helpers()
    ahead.WAITING.clear()
    helper.join(PATIENCE)
    assert not helper.is_alive()


@pytest.mark.parametrize(
    "changes, seeds, cores",
    [({}, 1, "2"), ({}, 3, "1"), ({"threads": 0}, 3, "2"), ({"devices": 2}, 3, "2")],
    ids=["one run", "one core", "runs on all cores", "several processes"],
)
def test_nothing_is_begun_beside(changes, seeds, cores, monkeypatch):
    monkeypatch.setenv("STATIONARITY_CORES", cores)
    devices = changes.pop("devices", 1)
    given = arguments(**changes)
    given["imagenet_resnet"]["devices"] = devices
    ahead.begin(given, {"imagenet_resnet": seeds})
    assert helpers() == []
    # A page with a run to make has a core.
    waits = devices == 1 and not changes
    assert [lock.is_locked for lock in ahead.HELD] == [True] * waits


def test_a_run_on_a_gpu_is_left_to_its_page(monkeypatch):
    monkeypatch.setattr(ahead, "usable_device", lambda device: "cuda")
    ahead.begin(arguments(), {"imagenet_resnet": 3})
    assert helpers() == [] and ahead.HELD == []


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
    """In the midst of a run."""
    command = [sys.executable, "-m", "stationarity.book.ahead"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    given = {"name": "imagenet_resnet", "scale": "classroom", "device": "cpu"}
    given["settings"] = SHORT | {"epochs": 100_000}
    with subprocess.Popen(command, **pipes) as process:
        try:
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == ""
            assert "imagenet_resnet classroom: " in process.stdout.readline()
            assert process.poll() is None
            process.stdin.close()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert not list(tmp_path.glob("*/*/metrics.parquet"))
