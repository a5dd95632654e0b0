"""Records: whole files, fingerprints, provenance, and the book's evidence."""
import dataclasses
import errno
import json
import os

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError, data, experiments
from stationarity.runs import records, results

ROWS = [(0, 0.0, "loss", 2.5, 0.1), (22, 1.0, "loss", 1 / 3, np.nan), (22, 1.0, "x", 1e-300, 0.0)]
SMALL = {"epochs": 3, "measure_every": 1, "hidden": "4"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(results, "root", lambda: tmp_path / "results")


def test_metrics_come_back_as_they_were_written(tmp_path):
    settings = experiments.get("full_batch")
    info = records.new_info("full_batch", "classroom", settings, "cpu")
    run = records.write(tmp_path, info, ROWS)
    again = records.read(tmp_path)
    pd.testing.assert_frame_equal(run.metrics, pd.DataFrame(ROWS, columns=records.COLUMNS))
    pd.testing.assert_frame_equal(again.metrics, run.metrics, check_exact=True)
    assert again.series("loss").value.tolist() == [2.5, 1 / 3]
    with pytest.raises(UsageError, match="has no 'sharpness'; it has loss, x"):
        again.series("sharpness")


def test_a_record_of_the_book_keeps_every_bit_and_names_no_path():
    run = stationarity.run("full_batch", settings=SMALL)
    target = results.record(run, note="digits, a test")
    (found,) = results.recorded("full_batch")
    assert found.folder == target and found.recorded and not run.recorded
    pd.testing.assert_frame_equal(found.metrics, run.metrics, check_exact=True)
    assert found.info["note"] == "digits, a test"
    short = run.info["fingerprint"][:4]
    assert run.label == "classroom" and found.label == f"classroom {short}, stale"  # overridden
    table = results.provenance([run, found])
    assert table.kind.tolist() == ["live", "recorded"]
    assert table.data.tolist() == ["digits", "digits, a test"]
    assert {"settings", "versions", "device", "commit", "code", "wall_seconds"} <= set(found.info)
    text = json.dumps(found.info)
    assert str(records.runs_root()) not in text and str(records.PROJECT) not in text
    assert sorted(p.name for p in target.iterdir()) == ["metrics.csv", "run.json"]
    assert results.beside(run) == [run]
    other = stationarity.run("full_batch", settings=SMALL | {"seed": 1})
    assert [r.settings["seed"] for r in results.beside(other)] == [1, 0]


def test_only_a_complete_run_is_recorded(tmp_path):
    info = {"status": "running", "experiment": "full_batch", "scale": "classroom"}
    run = records.write(tmp_path, info, ROWS)
    with pytest.raises(UsageError, match="is running, and only a complete run is recorded"):
        results.record(run)


def test_the_fingerprint_follows_the_settings_and_the_embedded_data(monkeypatch):
    settings = experiments.get("full_batch")
    changed = experiments.get("full_batch", overrides={"learning_rate": 0.1})
    first = records.fingerprint(settings)
    assert first == records.fingerprint(experiments.get("full_batch"))
    assert first != records.fingerprint(changed)
    monkeypatch.setattr(data, "embedded_hash", lambda name: "other digits")
    assert records.fingerprint(settings) != first


def test_a_later_setting_with_a_default_leaves_the_fingerprint_as_it_is():
    @dataclasses.dataclass(frozen=True)
    class Before:
        steps: int
        seed: int = 0

    @dataclasses.dataclass(frozen=True)
    class After(Before):
        later: float = 0.5

    After.__name__ = "Before"
    first = records.fingerprint(Before(3))
    assert records.fingerprint(After(3)) == first
    assert records.fingerprint(After(3, later=1.0)) != first


def test_the_record_of_the_book_has_the_name_of_its_settings():
    for path in results.root().glob("*/*/run.json"):
        info = json.loads(path.read_text())
        settings = experiments.get(info["experiment"], info["scale"], {"seed": info["seed"]})
        assert info["fingerprint"] == records.fingerprint(settings) == path.parent.name[-12:]


def test_the_code_hash_sees_code_and_not_comments(tmp_path, monkeypatch):
    source = 'def f():\n    """Doc."""\n    return 1\n'

    def hash_of(text):
        (tmp_path / "measure.py").write_text(text)
        monkeypatch.setattr(records, "__file__", str(tmp_path / "records.py"))
        records.code_hash.cache_clear()
        return records.code_hash()

    first = hash_of(source)
    assert hash_of(source.replace("Doc", "Other words") + "# a comment\n") == first
    assert hash_of(source.replace("return 1", "return 1  # one\n")) == first
    assert hash_of(source.replace("return 1", "return 2")) != first
    (tmp_path / "page.py").write_text("anything = 1")  # decides no result
    assert hash_of(source) == first
    (tmp_path / "new.py").write_text("anything = 1")
    assert hash_of(source) != first
    monkeypatch.undo()
    records.code_hash.cache_clear()


def test_the_modules_that_decide_nothing_exist():
    folder = os.path.dirname(records.__file__)
    found = {name.removesuffix(".py") for name in os.listdir(folder)}
    assert found.issuperset(records.NOT_DECIDING)


def test_a_checkpoint_is_whole_or_the_previous_one_stands(tmp_path, monkeypatch):
    records.write_checkpoint(tmp_path, {"step": 1})
    records.write_checkpoint(tmp_path, {"step": 2})
    assert records.read_checkpoint(tmp_path)["step"] == 2

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UsageError, match="No space left on device.*make room"):
        records.write_checkpoint(tmp_path, {"step": 3})
    assert records.read_checkpoint(tmp_path)["step"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoint.previous.pt", "checkpoint.pt"
    ]  # fmt: skip


def test_too_little_room_or_a_place_without_rights_is_told_before_the_run(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="GB are free, .* GB needed.*STATIONARITY_RUNS"):
        records.prepare(tmp_path / "run", checkpoint_bytes=10**18)
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
        records.read_checkpoint(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_a_damaged_run_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="run.json is damaged"):
        records.read(tmp_path)
    assert records.read(tmp_path / "nowhere") is None


RECORDS = sorted((records.PROJECT / "book" / "results").glob("*/*"))


@pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: folder.name)
def test_no_record_of_the_book_is_stale(folder):
    assert results.stale(records.read(folder)) == {}


@pytest.fixture
def tampered():
    """Make a record, changed in some entries of its run.json or of its settings."""
    run = stationarity.run("full_batch", settings=SMALL)
    settings = experiments.to_dict(experiments.get("full_batch"))

    def change(**entries):
        folder = results.record(run)
        info = json.loads((folder / "run.json").read_text()) | entries
        info["settings"] = settings | entries.get("settings", {})
        (folder / "run.json").write_text(json.dumps(info))
        return folder

    return change


def test_a_record_with_other_settings_is_flagged(tampered):
    same = records.read(tampered(settings={"seed": 7}))
    assert results.stale(same) == {} and results.stale_note(same) == ""
    assert not same.label.endswith("stale")
    found = records.read(tampered(settings={"epochs": 3, "drops": [1]}))
    now = experiments.get("full_batch").epochs
    assert results.stale(found) == {"epochs": (3, now), "drops": ([1], [])}
    assert f"no longer has (epochs: 3, now {now}; drops: [1], now [])" in results.stale_note(found)
    assert found.label.endswith(", stale")
    table = results.provenance([found])
    assert table.settings.tolist() == [results.stale_note(found)]
    live = stationarity.run("full_batch", settings=SMALL)
    assert results.stale_note(live) == "" and live.label == "classroom"


def test_a_setting_that_is_younger_than_a_record_has_its_default_there(tampered):
    settings = experiments.to_dict(experiments.get("full_batch"))
    del settings["clip"]
    folder = tampered()
    info = json.loads((folder / "run.json").read_text()) | {"settings": settings}
    (folder / "run.json").write_text(json.dumps(info))
    assert results.stale(records.read(folder)) == {}


def test_a_record_of_an_experiment_or_scale_that_is_no_more_is_stale(tampered):
    gone = records.read(tampered(scale="two-cores"))
    assert results.stale(gone) == {"scale": ("full_batch two-cores", None)}
    assert "now absent" in results.stale_note(gone)
    assert results.recorded("full_batch")[0].scale == "two-cores"
    tampered(scale="of a galaxy")
    assert [run.scale for run in results.recorded("full_batch")] == ["of a galaxy"]


def test_the_settings_of_regimes_do_not_change_on_disk(tmp_path):
    info = records.new_info("regimes", "classroom", experiments.get("regimes"), "cpu")
    run = records.write(tmp_path, info, ROWS)
    assert results.stale(run) == results.stale(records.read(run.folder)) == {}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "Anything"}, "the kind 'Anything'"),
        ({"temperature": 3}, "the fields temperature"),
    ],
)
def test_settings_of_another_version_are_told(tampered, settings, words):
    found = records.read(tampered(settings=settings))
    with pytest.raises(UsageError, match=f"another version .* {words}.*make the run again"):
        experiments.of_run(found.settings)
    assert results.stale(found) and "no longer has" in results.stale_note(found)
    assert len(found.series("loss"))  # what there is can be read


def test_a_setting_or_an_entry_that_a_record_lacks_is_told(tampered):
    found = records.read(tampered())
    with pytest.raises(UsageError, match="settings of .* lack warmth: another version"):
        found.settings["warmth"]
    assert found.settings.get("warmth") is None
    info = json.loads((found.folder / "run.json").read_text())
    del info["device"]
    (found.folder / "run.json").write_text(json.dumps(info))
    with pytest.raises(UsageError, match="another version of the library: it lacks device"):
        records.read(found.folder)
    with pytest.warns(UserWarning, match="A record is left out. .* lacks device"):
        assert results.recorded("full_batch") == []
    (found.folder / "run.json").write_text("[1, 2]")
    with pytest.raises(UsageError, match="another version"):
        records.read(found.folder)


def test_metrics_of_another_version_are_told(tampered):
    found = records.read(tampered())
    (found.folder / "metrics.csv").write_text("epoch,loss\n1,2\n")
    with pytest.raises(UsageError, match="metrics in .* are missing or damaged"):
        found.series("loss")


def test_the_papers_numbers_are_at_hand():
    curve = results.reference("zhang2022-figure1")
    assert len(curve) == 90 and curve.gradient_norm.between(0, 1).all()
