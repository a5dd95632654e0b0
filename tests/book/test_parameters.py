"""The parameters of a page: checked before any work, and what papermill makes of them."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import papermill
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook
from papermill.exceptions import PapermillExecutionError
from stationarity import UsageError, launch
from stationarity.book import parameters
from stationarity.runs import progress, records
from stationarity.runs.settings import get

ROOT = Path(__file__).parents[2]
BOTH = ("imagenet_resnet", "full_batch")


def chosen(settings, *names, **others):
    """The settings of each experiment that a page with these parameters runs."""
    arguments = parameters.checked(*(names or BOTH), settings=settings, **others)
    return {name: one["settings"] for name, one in arguments.items()}


@pytest.mark.parametrize(
    "settings",
    [
        "epochs=3 drops=1,2 full_batch.epochs=9",
        " epochs=3   'drops=1, 2'  full*.epochs=9 ",
        {"epochs": 3, "drops": [1, 2], "full_batch": {"epochs": 9}},
        {"imagenet_resnet": {"epochs": 3, "drops": "1,2"}, "full_batch.epochs": "9"},
        {"*.epochs": 9, "epochs": 3, "drops": (1, 2)},
    ],
)
def test_one_parameter_reaches_the_settings_of_every_experiment(settings):
    found = chosen(settings)
    assert found["imagenet_resnet"] == get(
        "imagenet_resnet", overrides={"epochs": 3, "drops": (1, 2)}
    )
    assert found["full_batch"] == get("full_batch", overrides={"epochs": 9})


def test_settings_of_settings():
    regimes = [{"name": "slow", "learning_rate": "0.1", "hidden": [8]}]
    (regime,) = chosen({"regimes": regimes}, "regimes")["regimes"].regimes
    assert (regime.learning_rate, regime.hidden, regime.momentum) == (0.1, (8,), 0.0)


def test_the_seed_is_that_of_all_experiments_unless_one_has_its_own():
    found = chosen("full_batch.seed=5", seed=3)
    assert (found["imagenet_resnet"].seed, found["full_batch"].seed) == (3, 5)


def test_a_seed_may_have_an_exponent():
    """Of which papermill makes a number with a point."""
    found = chosen("full_batch.seed=5", seed=1e3)["imagenet_resnet"]
    assert found == chosen("full_batch.seed=5", seed=1000)["imagenet_resnet"]
    assert repr(found.seed) == "1000"


def test_the_scale_is_that_of_all_experiments_unless_one_has_its_own():
    two = {"scale": "two-cores", "scales": {"full_batch": "classroom"}}
    found = parameters.checked(*BOTH, **two)
    assert [one["scale"] for one in found.values()] == ["two-cores", "classroom"]
    found = parameters.checked(*BOTH, **two, settings="full_batch.scale=paper")
    assert [one["scale"] for one in found.values()] == ["two-cores", "paper"]
    assert found["full_batch"]["settings"] == get("full_batch", "paper")


def test_a_data_root_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("data", "~/data", tmp_path / "data"):
        found = parameters.checked("full_batch", data_root=root)["full_batch"]["data_root"]
        assert found == (tmp_path / "data").resolve()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"settings": "epoch=3"}, "Unknown setting of imagenet_resnet 'epoch'.*'epochs'"),
        ({"settings": "full_batch.epoch=3"}, "Unknown setting of full_batch 'epoch'"),
        ({"settings": "fullbatch.epochs=3"}, "Unknown experiment of this page.*'full_batch'"),
        ({"settings": {"fullbatch": {"epochs": 3}}}, "Unknown experiment of this page"),
        ({"settings": "x*.epochs=3"}, r"Unknown experiment of this page 'x\*'"),
        ({"settings": "epochs=many"}, "epochs takes a valid integer, and 'many' is not that"),
        ({"settings": "drops=1,b"}, r"drops\.1 takes a valid integer, and 'b' is not that"),
        ({"settings": "epochs"}, "KEY=VALUE pairs with spaces between them, not 'epochs'"),
        ({"settings": "'epochs=3"}, "KEY=VALUE pairs"),
        ({"settings": 3}, "takes a dictionary, or text such as 'epochs=3', and 3"),
        ({"scale": "papr"}, "Unknown scale 'papr'.*Did you mean 'paper'"),
        ({"scale": 1}, "Unknown scale 1"),
        ({"settings": "full_batch.scale=papr"}, "Unknown scale 'papr'"),
        ({"seed": 1.5}, "seed takes a valid integer, and 1.5 is not that"),
        ({"seed": "one"}, "seed takes a valid integer"),
        ({"seed": -1}, "seed must be greater than or equal to 0"),
        ({"seed": 2**64}, "seed must be less than 9223372036854775808"),
        ({"seed": 1e30}, r"seed is too large: it is 1e\+30"),
        ({"settings": "full_batch.hidden=-4"}, r"hidden\.0 must be greater than 0: it is '-4'"),
        (
            {"settings": {"full_batch": {"hidden": [8, -4]}}},
            r"hidden\.1 must be greater than 0",
        ),
        ({"devices": 1e1}, "devices takes a whole number from 1, and 10.0"),
        ({"devices": 0}, "devices takes a whole number from 1, and 0"),
        ({"devices": "many"}, "devices takes a whole number from 1, and 'many'"),
        ({"devices": True}, "devices takes a whole number"),
        ({"controls": 2.5}, "controls takes a whole number from 1, and 2.5"),
        ({"device": "gpu"}, "There is no device 'gpu' here"),
        ({"device": 1.5}, "There is no device 1.5 here"),
        ({"data_root": 2024}, "data_root takes the path of a folder, and 2024"),
        ({"data_root": "nowhere"}, "The data root nowhere is not a folder"),
    ],
)
def test_bad_parameters_get_one_sentence(given, message):
    with pytest.raises(UsageError, match=message) as caught:
        parameters.checked(*BOTH, **given)
    assert caught.value._render_traceback_() == [f"UsageError: {caught.value}"]


def test_a_scale_that_an_experiment_of_the_page_lacks_is_named():
    with pytest.raises(UsageError, match="no scale two-cores of averaging.*averaging.scale=cl"):
        parameters.checked("imagenet_resnet", "averaging", scale="two-cores")


@pytest.mark.parametrize(
    ("regimes", "message"),
    [
        (["a"], r"regimes\.0 takes .* Regime, and 'a' is not that"),
        ([{"name": "a"}], r"regimes\.0\.learning_rate is missing"),
        ([{"name": "a", "learning_rate": 1, "nam": "a"}], r"no setting regimes\.0\.nam"),
    ],
)
def test_ill_formed_regimes_are_refused(regimes, message):
    with pytest.raises(UsageError, match=message):
        parameters.checked("regimes", settings={"regimes": regimes})


# --- papermill -------------------------------------------------------------------


def test_an_unknown_parameter_stops_a_chapter_and_leaves_its_source(tmp_path):
    source = ROOT / "book" / "03-imagenet-resnet101.ipynb"
    before, out = source.read_bytes(), tmp_path / "out.ipynb"
    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(
            source, out, {"sclae": "paper"}, cwd=tmp_path, progress_bar=False
        )
    sentence = "UsageError: Unknown parameter 'sclae': the valid names are scale, seed, "
    assert caught.value.traceback[0].startswith(sentence) and len(caught.value.traceback) == 1
    executed = [cell.id for cell in nbformat.read(out, 4).cells if cell.get("outputs")]
    assert executed == ["setup"]
    assert source.read_bytes() == before


# With a checkpoint after every step. The first time it waits at step 20 to be killed.
PARAMETERS = 'settings = ""'
LONG = """\
import pathlib, time
import stationarity
from stationarity import launch
from stationarity.book import page
from stationarity.runs import checkpoints
launch.CHECKPOINT_SECONDS = 0
write, waiting = checkpoints.Keeper._write, pathlib.Path("waiting")
def write_and_wait(keeper, rows=None):
    write(keeper, rows)
    if keeper.bar.n == 20 and not waiting.exists():
        waiting.touch()
        time.sleep(3600)
checkpoints.Keeper._write = write_and_wait
arguments = page.begin("full_batch", settings=settings)
run = stationarity.run("full_batch", **arguments["full_batch"])"""
SETTINGS = "epochs=250 measure_every=10 hidden=16"


def start(folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "papermill", "long.ipynb", "out.ipynb"]
    outside = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    return subprocess.Popen(
        [*command, "-p", "settings", SETTINGS],
        cwd=folder,
        env=outside | {"STATIONARITY_RUNS": "runs"},
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_a_killed_papermill_goes_on_where_it_was(tmp_path):
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(LONG)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "long.ipynb")
    source = (tmp_path / "long.ipynb").read_bytes()
    folder = tmp_path / "runs" / "full_batch"
    first = start(tmp_path)
    wait_for((tmp_path / "waiting").exists, first)
    kernels = subprocess.run(
        ["pgrep", "-P", str(first.pid)], capture_output=True, text=True, check=True
    )
    for process in (first.pid, *map(int, kernels.stdout.split())):
        os.kill(process, signal.SIGKILL)
    first.communicate()
    (killed,) = [records.read(path) for path in folder.glob("classroom-*")]
    assert not killed.complete
    kept = torch.load(killed.folder / "checkpoint.pt", weights_only=True)
    assert kept["steps"] == 20
    assert nbformat.read(tmp_path / "out.ipynb", 4).cells

    second = start(tmp_path)
    _, log = second.communicate()
    assert second.returncode == 0, log
    (resumed,) = [records.read(path) for path in folder.glob("classroom-*")]
    overrides = dict(pair.split("=") for pair in SETTINGS.split())
    whole = launch.run("full_batch", settings=overrides)
    assert whole.folder.name == resumed.folder.name and whole.folder != resumed.folder
    assert resumed.complete and resumed.metrics.equals(whole.metrics)
    assert "full_batch classroom: 100%" in log and "/250 [" in log
    (shown,) = nbformat.read(tmp_path / "out.ipynb", 4).cells[-1].outputs
    assert shown.data["text/plain"].startswith("full_batch classroom: 100%")
    assert (tmp_path / "long.ipynb").read_bytes() == source


def test_the_progress_of_another_process_shows_as_ones_own(monkeypatch):
    other = (
        'echo "other: 5%" >> $STATIONARITY_PROGRESS; echo "other: 9%" >> $STATIONARITY_PROGRESS'
    )
    outlet = io.StringIO()
    monkeypatch.setattr(progress, "open_outlet", lambda: outlet)
    assert progress.follow(["sh", "-c", f"{other}; exit 3"], dict(os.environ)) == 3
    assert outlet.getvalue() == "other: 9%\n"


def test_what_another_process_prints_is_said_here_alone(capfd):
    assert progress.follow(["echo", "complete"], dict(os.environ)) == 0
    assert capfd.readouterr().out == ""
