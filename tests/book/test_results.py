"""The book's results: records keep every bit, and say where their settings are old."""

import errno
import json
import os
import re

import pandas as pd
import pytest
import stationarity
from stationarity import UsageError, launch
from stationarity.book import results
from stationarity.chapters import reference
from stationarity.runs import records
from stationarity.runs.provenance import PROJECT
from stationarity.runs.settings import get

SMALL = {"epochs": 3, "measure_every": 1, "hidden": "4"}


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(results, "root", lambda: tmp_path / "results")


def test_a_record_of_the_book_keeps_every_bit_and_names_no_path():
    run = stationarity.run("full_batch", settings=SMALL)
    target = results.record(run, note="digits, a test")
    (found,) = results.recorded("full_batch")
    assert found.folder == target and isinstance(found, results.Record)
    pd.testing.assert_frame_equal(found.metrics, run.metrics, check_exact=True)
    assert found.info["note"] == "digits, a test"
    short = run.info["fingerprint"][:4]
    assert run.label == "classroom" and found.label == f"classroom {short}, stale"  # overridden
    table = results.provenance([run, found])
    assert table.kind.tolist() == ["live", "recorded"]
    assert table.data.tolist() == ["digits", "digits, a test"]
    assert {"settings", "versions", "device", "commit", "code", "wall_seconds"} <= set(
        found.info
    )
    text = json.dumps(found.info)
    assert str(records.runs_root()) not in text and str(PROJECT) not in text
    assert sorted(p.name for p in target.iterdir()) == ["metrics.parquet", "run.json"]
    assert results.beside(run) == [run]
    other = stationarity.run("full_batch", settings=SMALL | {"seed": 1})
    assert [r.settings.seed for r in results.beside(other)] == [1, 0]
    results.record(other)
    wider = stationarity.run("full_batch", settings=SMALL | {"hidden": "5"})
    beside = results.beside(wider)  # of records that differ in the seed, the first
    assert [(r.settings.hidden, r.settings.seed) for r in beside] == [((5,), 0), ((4,), 0)]


def test_the_runs_of_the_book_are_its_own_live_ones_and_all_records():
    run = stationarity.run("full_batch", settings=SMALL)
    other = stationarity.run("full_batch", settings=SMALL | {"seed": 1})
    results.record(other)
    for folder, edit in (("old", {"code": "0"}), ("begun", {"status": "running"})):
        made = run.folder.with_name(f"classroom-{folder}")
        made.mkdir()
        records.write(made, run.info | edit, [])
    found = results.behind_the_book()
    assert [one.folder.parent.parent.name for one in found] == ["runs", "runs", "results"]
    lines = results.with_anchors(found).splitlines()
    assert lines[0].startswith("| experiment | run | kind | data |")
    assert lines[0].endswith("| settings | pages with a figure of it |")
    assert lines[2].startswith("| [full_batch]{#run-full_batch} | [classroom, seed ")
    assert lines[4].startswith("| full_batch | [classroom ")
    targets = re.findall(r"\{#([\w-]+)\}", "".join(lines))  # one each, and the experiment's
    assert len(set(targets)) == len(targets) == 4
    assert targets[1:] == [results.anchor(one) for one in found]
    assert len({line.count(" | ") for line in lines}) == 1


def test_only_a_complete_run_is_recorded(tmp_path):
    info = {"status": "running", "experiment": "full_batch", "scale": "classroom"}
    run = records.write(tmp_path, info, [])
    with pytest.raises(UsageError, match="is running, and only a complete run is recorded"):
        results.record(run)


RECORDS = sorted((PROJECT / "book" / "results").glob("*/*"))
each_record = pytest.mark.parametrize("folder", RECORDS, ids=lambda folder: folder.name)


@each_record
def test_no_record_of_the_book_is_large(folder):
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000


@each_record
def test_no_record_of_the_book_is_stale(folder):
    run = records.read(folder)
    assert results.stale(run) == {}
    assert run.settings == get(run.name, run.scale, {"seed": run.info["seed"]})
    fingerprint = launch.fingerprint(run.settings)
    assert run.info["fingerprint"] == fingerprint == folder.name[-12:]
    members = getattr(run.settings, "members", 32)
    assert set(run.metrics.member.dropna()) <= set(range(members))


@pytest.fixture
def tampered():
    """Make a record, changed in some entries of its run.json or of its settings."""
    run = stationarity.run("full_batch", settings=SMALL)

    def change(without=(), settings=None, **entries):
        folder = results.record(run)
        info = json.loads((folder / "run.json").read_text()) | entries
        info["settings"] = get("full_batch").plain() | (settings or {})
        for name in without:
            del info["settings"][name]
        (folder / "run.json").write_text(json.dumps(info))
        return results.recorded("full_batch")[0]

    return change


def test_a_record_with_other_settings_is_flagged(tampered):
    same = tampered(settings={"seed": 7})
    assert results.stale(same) == {} and results.stale_note(same) == ""
    assert not same.label.endswith("stale")
    old = tampered(settings={"epochs": 3, "drops": [1]})
    now = get("full_batch").epochs
    assert results.stale(old) == {"epochs": (3, now), "drops": ([1], [])}
    assert f"no longer has (epochs: 3, now {now}; drops: [1], now [])" in results.stale_note(
        old
    )
    assert old.label.endswith(", stale")
    table = results.provenance([old])
    assert table.settings.tolist() == [results.stale_note(old)]
    live = stationarity.run("full_batch", settings=SMALL)
    assert results.stale_note(live) == "" and live.label == "classroom"


def test_a_setting_that_is_younger_than_a_record_has_its_default_there(tampered):
    record = tampered(without=["clip"])
    assert results.stale(record) == {} and record.settings.clip == 0.0


def test_a_record_of_an_experiment_or_scale_that_is_no_more_is_stale(tampered):
    gone = tampered(scale="three-cores")
    assert results.stale(gone) == {"scale": ("full_batch three-cores", None)}
    assert "now absent" in results.stale_note(gone)
    assert tampered(scale="of a galaxy").scale == "of a galaxy"
    stranger = records.Run(gone.folder, gone.info | {"experiment": "a dream"})
    assert not stranger.made_by_this_code and results.origin(stranger)


def test_the_settings_of_regimes_do_not_change_on_disk(tmp_path):
    info = records.new_info("regimes", "classroom", get("regimes"), "0" * 12, "cpu")
    run = records.write(tmp_path, info, [])
    assert results.stale(run) == results.stale(records.read(run.folder)) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"temperature": 3}}, "Unknown setting 'temperature'"),
        ({"without": ["epochs"]}, "setting epochs is missing"),
        ({"settings": {"epochs": "many"}}, "epochs"),
    ],
)
def test_settings_of_another_version_are_told(tampered, change, words):
    old = tampered(**change)
    with pytest.raises(UsageError, match=f"another version .*make the run again.*{words}"):
        old.settings  # noqa: B018
    assert results.stale(old) and "no longer has" in results.stale_note(old)
    assert len(old.series("loss"))  # what there is can be read


def test_a_record_that_cannot_be_read_is_left_out(tampered):
    path = tampered().folder / "run.json"
    info = json.loads(path.read_text())
    del info["device"]
    path.write_text(json.dumps(info))
    with pytest.warns(UserWarning, match="A record is left out. .* lacks device"):
        assert results.recorded("full_batch") == []


def test_metrics_of_another_version_are_told(tampered):
    record = tampered()
    pd.DataFrame({"epoch": [1], "loss": [2]}).to_parquet(record.folder / records.METRICS)
    with pytest.raises(UsageError, match="metrics in .* are missing or damaged"):
        record.series("loss")


def test_the_papers_numbers_are_at_hand():
    curve = reference("zhang2022-figure1")
    assert len(curve) == 90 and curve.gradient_norm.between(0, 1).all()


@pytest.mark.parametrize("name", ["mkdir", "fsync"])
def test_a_place_where_no_record_can_be_written_is_told(name, monkeypatch):
    run = stationarity.run("full_batch", settings=SMALL)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, refuse)
        message = r"could not be written to .*results.*\(Permission denied\): make that folder"
        with pytest.raises(UsageError, match=message) as error:
            results.record(run)
    assert "STATIONARITY_RUNS" not in str(error.value) and not results.recorded("full_batch")
    target = results.record(
        run, note="f\u00fcr \udcc3\udcbc"
    )  # the latter as LC_ALL=C reads it
    assert records.read(target).info["note"] == "f\u00fcr \u00fc"
