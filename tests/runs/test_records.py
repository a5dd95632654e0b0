"""Runs on disk: whole files, checkpoints, and what is told of damaged ones."""

import contextlib
import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError
from stationarity.runs import checkpoints, metrics, records
from stationarity.runs.settings import get

ROWS = [
    ("loss", "", None, None, 0, 0.0, 2.5, 0.1),
    ("loss", "", None, None, 22, 1.0, 1 / 3, np.nan),
    ("x", "a", 3, 0, 22, 1.0, 1e-300, 0.0),
    ("x", "b", 3, 1, 22, 1.0, 2.0, 0.0),
]
SMALL = {"epochs": 3, "measure_every": 1, "hidden": "4"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))


@pytest.fixture
def written(tmp_path):
    info = records.new_info("full_batch", "classroom", get("full_batch"), "0" * 12, "cpu")
    return records.write(tmp_path, info, ROWS)


def test_metrics_come_back_as_they_were_written(written):
    again = records.read(written.folder)
    assert list(written.metrics.itertuples(index=False, name=None))[2] == ROWS[2]
    pd.testing.assert_frame_equal(written.metrics, metrics.frame(ROWS), check_exact=True)
    pd.testing.assert_frame_equal(again.metrics, written.metrics, check_exact=True)
    assert again.settings == get("full_batch")
    assert again.series("loss").value.tolist() == [2.5, 1 / 3]
    with pytest.raises(UsageError, match="has no 'sharpness'; it has loss, x"):
        again.series("sharpness")


def test_rows_are_chosen_by_their_columns(written):
    assert written.series("x", of="b", member=3).value.tolist() == [2.0]
    assert written.series("x", index=0).value.tolist() == [1e-300]
    assert len(written.series("loss", member=None, of="")) == 2
    assert written.wide("x", "index").to_numpy().tolist() == [[1e-300, 2.0]]
    with pytest.raises(UsageError, match="has no 'x' with of 'c'; it has a, b"):
        written.series("x", of="c")
    with pytest.raises(UsageError, match="has no 'loss' with member 3; it has none"):
        written.series("loss", member=3)
    assert len(written.series("loss", of=None)) == 2
    with pytest.raises(UsageError, match="Unknown column 'members'.*Did you mean 'member'"):
        written.series("loss", members=3)


def test_a_checkpoint_is_whole_or_the_previous_one_stands(tmp_path, monkeypatch):
    keeper = checkpoints.Keeper(tmp_path, {"fingerprint": "a", "wall_seconds": 0.0})
    keeper.save(checkpoints.Kept(step=1))
    keeper.save(checkpoints.Kept(step=2))
    assert checkpoints.read_checkpoint(tmp_path)["state"]["step"] == 2

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UsageError, match="No space left on device.*make room"):
        keeper.save(checkpoints.Kept(step=3))
    assert checkpoints.read_checkpoint(tmp_path)["state"]["step"] == 2
    files = ["checkpoint.previous.pt", "checkpoint.pt", "run.json"]
    assert sorted(p.name for p in tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_checkpoint_that_memory_does_not_suffice_for_is_not_damaged(
    error, tmp_path, monkeypatch
):
    keeper = checkpoints.Keeper(tmp_path, {"fingerprint": "a", "wall_seconds": 0.0})
    keeper.save(checkpoints.Kept(step=1))
    keeper.save(checkpoints.Kept(step=2))

    def short(path, **_):
        raise error

    with monkeypatch.context() as patch, pytest.raises(type(error)):
        patch.setattr(torch, "load", short)
        checkpoints.read_checkpoint(tmp_path)
    assert checkpoints.read_checkpoint(tmp_path)["state"]["step"] == 2


def test_settings_of_another_experiment_are_refused():
    with pytest.raises(
        UsageError, match=r"NoisyQuadratic\w*, and those of full_batch of Train"
    ):
        stationarity.run("full_batch", settings=get("noisy_quadratic"))
    with pytest.raises(UsageError, match="nonsense"):
        stationarity.run("full_batch", "nonsense", settings=get("full_batch"))
    assert not records.runs_root().exists()


def test_too_little_room_or_a_place_without_rights_is_told_before_the_run(
    monkeypatch, tmp_path
):
    with pytest.raises(UsageError, match="GB are free, .* GB needed.*STATIONARITY_RUNS"):
        records.prepare(tmp_path / "run", needed=3 * 10**18)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="No run can be kept in .*Not a directory"):
        stationarity.run("full_batch", settings=SMALL)


def test_a_checkpoint_is_read_without_unpickling(tmp_path):
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"step": Payload()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UsageError, match="No checkpoint of .* can be read"):
        checkpoints.read_checkpoint(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_a_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="run.json is damaged"):
        records.read(tmp_path)
    assert records.read(tmp_path / "nowhere") is None


def test_what_a_run_lacks_is_told(written):
    info = json.loads((written.folder / "run.json").read_text())
    del info["device"]
    (written.folder / "run.json").write_text(json.dumps(info))
    with pytest.raises(UsageError, match="another version of the library: it lacks device"):
        records.read(written.folder)
    (written.folder / "run.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match="another version"):
        records.read(written.folder)


@pytest.mark.parametrize(
    "other", [torch.device("meta"), torch.autocast("cpu", torch.bfloat16), "float64"]
)
def test_no_run_is_made_where_pytorch_has_other_defaults(other):
    try:
        if other == "float64":
            torch.set_default_dtype(torch.float64)
            other = contextlib.nullcontext()
        with other, pytest.raises(UsageError, match="undo torch.set_default_dtype and such"):
            stationarity.run("full_batch", settings=SMALL, device="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
