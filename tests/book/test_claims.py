"""The ledger: verdicts follow the runs, and nothing else."""

import datetime
import math
import shutil
import subprocess

import pandas as pd
import pytest
import yaml
from stationarity.book import claims, results
from stationarity.book.claims import Criterion
from stationarity.chapters import levels
from stationarity.chapters.ch03_imagenet_resnet101 import reading
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.provenance import PROJECT
from stationarity.runs.settings import SCALES, get
from stationarity.stats.estimate import Estimate

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
LEDGER = PROJECT / "book" / "claims.yml"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.2, 0.3, "holds"), (-1, 0.0, "does not hold"), (0.5, 2, "undecided"),
     (0.0, 0.2, "undecided"), (1.1, 3.0, "does not hold"), (math.nan, 0.5, "undecided")],
)  # fmt: skip
def test_a_verdict_is_where_the_interval_lies(low, high, verdict):
    limits = Criterion(NOW, above=0.1, below=1.0)
    assert limits.judge(Estimate(0.15, low, high)) == verdict


def record_of(tmp_path, monkeypatch, change):
    """A copy of the book's CIFAR-10 record, with its metrics changed."""
    folder = tmp_path / "results"
    shutil.copytree(results.root(), folder)
    monkeypatch.setattr(results, "root", lambda: folder)
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    for path in folder.glob("*/*/metrics.csv"):
        change(pd.read_csv(path)).to_csv(path, index=False)


def verdict_of(claim):
    table = claims.verdicts(claims.read())
    chosen = (table.claim == claim) & (table.experiment == "imagenet_resnet")
    return table[chosen & (table.scale == "two-cores")].verdict.item()


def test_a_change_of_a_record_changes_the_verdict(tmp_path, monkeypatch):
    def vanishing(metrics):
        squared = (metrics.quantity == "gradient_norm_squared") & (metrics.epoch > 1)
        return metrics.assign(value=metrics.value.mask(squared, metrics.value * 1e-6),
                              error=metrics.error.mask(squared, metrics.error * 1e-6))  # fmt: skip

    assert verdict_of("A2") == "holds"
    record_of(tmp_path, monkeypatch, vanishing)
    assert verdict_of("A2") == "does not hold"


def test_a_loss_that_still_falls_is_not_stable(tmp_path, monkeypatch):
    def falling(metrics):
        return metrics.assign(
            value=metrics.value.mask(metrics.quantity == "loss", 3 - metrics.epoch / 30)
        )

    assert verdict_of("A3") == "holds"
    record_of(tmp_path, monkeypatch, falling)
    assert verdict_of("A3") == "does not hold"


def test_too_few_data_are_undecided_and_say_why(tmp_path, monkeypatch):
    record_of(tmp_path, monkeypatch, lambda metrics: metrics[metrics.epoch < 2])
    table = claims.verdicts(claims.read())
    row = table[(table.claim == "A2") & (table.experiment == "imagenet_resnet")].iloc[0]
    assert row.verdict == "undecided"
    assert "three measurements" in row.reason


def test_without_runs_nothing_is_decided():
    table = claims.verdicts(claims.read(), lambda name: [])
    assert set(table.verdict) == {"not run"}
    measured = [claim.name for claim in claims.read() if claim.kind == "measurement"]
    assert list(dict.fromkeys(table.claim)) == measured
    grid = claims.summary(table)
    assert set(grid.values.flat) == {"not run"}
    assert tuple(grid.columns) == SCALES


def test_the_weakest_evidence_of_a_scale_decides_there():
    rows = [("A2", "classroom", "holds"), ("A2", "classroom", "undecided"),
            ("A2", "paper", "holds"), ("A4", math.nan, "not run")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["claim", "scale", "verdict"])
    grid = claims.summary(table)
    assert grid.loc["A2", ["classroom", "paper"]].tolist() == ["undecided", "holds"]
    assert set(grid.loc["A4"]) == {"not run"}


def test_the_ledger_holds_every_claim_of_both_papers():
    names = [claim.name for claim in claims.read()]
    assert names == [f"A{i}" for i in range(1, 6)] + [f"B{i}" for i in range(1, 7)]


def test_no_verdict_is_written_in_the_ledger():
    text = LEDGER.read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert not any(verdict in body for verdict in ("holds", "does not hold", "undecided"))


def changed(tmp_path, old, new):
    path = tmp_path / "claims.yml"
    assert old in LEDGER.read_text()
    path.write_text(LEDGER.read_text().replace(old, new, 1))
    return path


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("quantity: smallest_gradient_ratio", "quantity: smallest_ratio",
         "Unknown quantity of claim A2 'smallest_ratio'.*Did you mean"),
        ("experiment: imagenet_resnet", "experiment: imagenet",
         "Unknown experiment of claim A2 'imagenet'.*Did you mean 'imagenet_resnet'"),
        ("kind: argument", "kind: opinion", "Unknown kind of claim A1 'opinion'"),
        ("  kind: argument\n", "", "Claim A1 of the ledger lacks its 'kind'"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_judged_is_refused(tmp_path, old, new, message):
    with pytest.raises(UsageError, match=message):
        claims.read(changed(tmp_path, old, new))


def test_a_changed_criterion_is_listed(tmp_path):
    old = "- {since: 2026-11-22T02:20:50+00:00, above: 0.01}\n"
    new = old + "        - {since: 2027-01-02T00:00:00+00:00, above: 0.02, why: Too weak.}\n"
    ledger = claims.read(changed(tmp_path, old, new))
    text = claims.report(ledger, claims.verdicts(ledger, results.recorded))
    assert "Changed on 2027-01-02: it was above 0.01. Too weak." in text
    assert "The criterion is younger than this run." in text


def test_criteria_are_only_ever_added():
    """In the history of the file, where there is one: none was changed or removed."""

    def git(*arguments):
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def criteria_of(text):
        return {
            (entry["claim"], item["experiment"], item["quantity"]): item["criteria"]
            for entry in yaml.safe_load(text)
            for item in entry.get("evidence", ())
        }

    log = ("log", "--first-parent", "--reverse", "--format=%H", "--", "book/claims.yml")
    commits = git(*log).split()  # of main: branches know nothing of each other
    versions = [git("show", f"{commit}:book/claims.yml") for commit in commits]
    before = {}
    for text in (*filter(None, versions), LEDGER.read_text()):
        now = criteria_of(text)
        for place, found in before.items():
            assert now[place][: len(found)] == found, place
        before = now
    for found in before.values():
        assert all("why" in later for later in found[1:])


def test_the_papers_figure_is_judged_by_the_same_functions():
    curve = records.reference("zhang2022-figure1")
    settled = [
        (curve.gradient_norm[begin + 10 : begin + 30] ** 2).mean() ** 0.5
        for begin in (0, 30, 60)
    ]
    found = reading.smallest_gradient_ratio(reading.figure_1())
    assert found.value == pytest.approx(min(settled) / curve.gradient_norm[0])
    assert found.low < found.value < found.high


def test_a_control_that_converges_fails_the_criterion(tmp_path):
    epochs = range(0, 61, 2)
    values = [10.0 ** (-epoch / 3) for epoch in epochs]
    rows = [
        row
        for quantity in ("gradient_norm_squared", "regularised_gradient_norm_squared")
        for row in metrics.rows(quantity, values, 0.0, step=epochs, epoch=float)
    ]
    settings = get("full_batch", overrides={"epochs": 60}).plain()
    info = {"experiment": "full_batch", "scale": "classroom", "settings": settings,
            "status": "complete", "start": "2027-01-01T00:00:00+00:00"}  # fmt: skip
    run = records.write(tmp_path, info, rows)
    criterion = claims.read()[1].evidence[0].criteria[-1]
    answer = claims.judge("smallest_regularised_ratio", criterion, run)
    assert answer["verdict"] == "does not hold"
    assert levels.stage_levels(run).verdict.item() == "vanishes"
