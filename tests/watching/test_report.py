"""The report of a run on disk: dictionary, text, page and command."""

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
from stationarity.__main__ import main
from stationarity.errors import UsageError
from stationarity.runs import records
from stationarity.watching import report, scales
from stationarity.watching.simulated import RATE, quadratic
from stationarity.watching.watched import stage, watched
from stationarity.watching.watcher import Watch
from torch import nn
from trainings import STEPS, measurements, written

KEYS = {
    "key", "question", "verdict", "number", "low", "high", "quantity", "criterion", "why",
    "advice", "found",
}  # fmt: skip
EMPTY = {"number", "low", "high", "found"}  # in some answers


@pytest.fixture(scope="module")
def found():
    return quadratic(1, start=3.0)


@pytest.fixture(scope="module")
def run(found, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "training" / "watched-1"
    return written(folder, found, more=measurements(found), weight_decay=0.01)


def test_a_report_answers_every_question(run):
    made = report.report(run)
    order = ["loss", "gradient", "weights", "spread", "edge", "batch", "regime"]
    assert [one["key"] for one in made["answers"]] == order
    for one in made["answers"]:
        assert set(one) == KEYS and all(one[key] for key in KEYS - EMPTY)
    said = {one["key"]: one["verdict"] for one in made["answers"]}
    assert said["loss"] == said["batch"] == said["regime"] == "yes"
    assert said["gradient"] == said["spread"] == said["edge"] == "no"
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    numbers = made["numbers"]
    assert numbers["memories"] == pytest.approx(0.001 * (STEPS - 1))
    assert numbers["angular_step"] == pytest.approx(0.002**0.5)
    assert numbers["curvature"] == pytest.approx(1.5 / 20, rel=0.05)
    assert numbers["noise_scale"] == pytest.approx(16 * numbers["noise_over_signal"])
    assert numbers["second_moment"] is None and 0 < numbers["loss_over_start"] < 0.05


def test_over_a_first_loss_of_zero_there_is_no_number(run):
    seen = watched(run)
    seen = dataclasses.replace(seen, start=seen.start | {"mean_loss": (0.0, 0.0)})
    assert np.isnan(scales.numbers(seen)["loss_over_start"])


def test_the_window_is_the_end_of_the_last_stage(found, tmp_path):
    rates = np.where(np.arange(STEPS) < 1000, RATE, RATE / 10)
    seen = watched(written(tmp_path, found, rates=rates))
    assert seen.steady and seen.begin == 1000 and seen.first == 2000 and seen.last == STEPS - 1
    assert stage(np.array([[1.0], [0.5], [0.0]])) == 2


def test_a_rate_that_never_stands_still_is_said(found, tmp_path):
    rates = RATE * np.cos(np.arange(STEPS) * np.pi / 2 / STEPS)
    run = written(tmp_path, found, rates=rates, more=measurements(found))
    made = report.report(run)
    assert not made["window"]["constant_rate"]
    said = {one["key"]: one for one in made["answers"]}
    for key in ("loss", "weights", "spread"):
        assert "went from" in said[key]["why"]
    assert said["loss"]["verdict"] == "yes" and said["spread"]["verdict"] == "cannot be judged"
    assert said["weights"]["verdict"] in ("no", "cannot be judged")
    assert said["gradient"]["verdict"] == "no"  # all that the regime rests on is there
    assert said["regime"]["verdict"] == "cannot be judged" and made["answers"][-1]["advice"]
    assert "a rate that is held" in said["regime"]["why"]
    assert "never stands still" in report.write(run, tmp_path / "page.html").read_text()


def test_without_an_optimizer_there_is_no_rate(found, tmp_path):
    run = written(tmp_path, found, optimizer="", groups=[])
    table = run.metrics
    run.__dict__["metrics"] = table[table.quantity != "learning_rate"]
    seen = watched(run)
    assert not seen.steady and seen.first == -(-2 * STEPS // 3)
    said = {one["key"]: one for one in report.report(run)["answers"]}
    assert "no learning rate was watched" in said["weights"]["why"]
    assert said["loss"]["verdict"] == "yes"


def test_the_page_needs_nothing_else_and_every_id_is_unique(run, tmp_path):
    page = report.write(run, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "@import" not in page
    for address in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert address.startswith("#")
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"]+", page)) <= spaces
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    for used in re.findall(r"(?:url\(#|href=\"#)([^\")]*)", page):
        assert used in ids
    assert page.count('role="img"') == page.count("aria-label=") == 6
    assert "prefers-color-scheme: dark" in page and "#010203" not in page


def test_what_comes_from_a_run_is_escaped(found, tmp_path):
    run = written(tmp_path / "<b>", found, optimizer='<script>"&')
    info = run.info | {"experiment": "<img src=x>"}
    page = report.write(records.Run(run.folder, info), tmp_path / "page.html").read_text()
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;" in page and "&lt;img src=x&gt;" in page


def test_the_note_tells_of_many_tests(run):
    assert "30 %" in report.report(run)["note"]
    joint = report.report(run, jointly=True)
    assert "all together" in joint["note"] and "5 %" in joint["note"]


def test_a_run_that_was_not_watched_is_refused(run, tmp_path):
    other = records.Run(tmp_path, {k: v for k, v in run.info.items() if k != "watch"})
    with pytest.raises(UsageError, match="no watched training"):
        report.report(other)


def test_the_command(run, tmp_path, capsys):
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    line = ["report", str(run.folder), "--html", str(page), "--csv", str(table)]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "Has the loss settled? yes" in said and str(page) in said
    with open(table, encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == len(run.metrics) + 1
    assert main(["report", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "watched-1"
    assert not (run.folder / "report.html").exists()
    assert main(["report", str(run.folder)]) == 0
    assert (run.folder / "report.html").exists()


def test_a_home_is_found_in_each_place_that_is_given(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(run.folder, tmp_path / "watched")
    line = ["report", "~/watched", "--html", "~/page.html", "--csv", "~/table.csv"]
    assert main(line) == 0
    assert {"page.html", "table.csv"} <= {path.name for path in tmp_path.iterdir()}
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watch = Watch(model, lambda model, batch: model(batch).mean(), optimizer, [], root="~/runs")
    assert watch.root == tmp_path / "runs"


def test_a_watched_run_is_listed_and_found_by_its_name(found, capsys):
    written(records.runs_root() / "training" / "watched-2", found)
    assert main(["list"]) == 0
    assert "training/watched-2  complete\n" in capsys.readouterr().out
    assert main(["report", "training/watched-2", "--json", "--jointly"]) == 0
    assert "all together" in capsys.readouterr().out


def test_bad_input_is_one_sentence(run, tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "No run at" in capsys.readouterr().err
    assert main(["report", str(run.folder), "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "another place" in capsys.readouterr().err
