"""The ledger: verdicts follow the runs, and nothing else."""

import datetime
import math
import re
import subprocess
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import yaml
from stationarity import chapters
from stationarity.__main__ import main
from stationarity.book import claims, results, verdicts
from stationarity.book.claims import Criterion
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


def synthetic(tmp_path, experiment="full_batch", scale="classroom", **values):
    """A complete run with a row for each value."""
    rows = [
        row for name, one in values.items() for row in metrics.rows(name, [one], 0.0, step=[0])
    ]
    info = {"experiment": experiment, "scale": scale, "status": "complete"}
    info |= {"settings": get(experiment).plain(), "start": "2027-01-01T00:00:00+00:00"}
    folder = tmp_path / f"{experiment}-{scale}"
    folder.mkdir(parents=True, exist_ok=True)
    return records.write(folder, info, rows)


@pytest.fixture
def piece(monkeypatch):
    """A piece of evidence whose quantity is a run's `level`, its control and known case."""

    def level(run, case=""):
        """The level."""
        row = run.series(f"level_{case}" if case else "level")
        if row.empty:
            raise UsageError("No level was measured.")
        return Estimate.of(row.value[0], 0.1)

    known = chapters.Quantity(
        level, "of one number", (0, 2.5), {"shrunk": "less", "raised": "more"}
    )
    monkeypatch.setitem(chapters.quantities(), "level", known)
    return claims.Evidence(
        experiment="full_batch",
        quantity="level",
        shown="fig",
        seen="It is.",
        otherwise="No.",
        criteria=[Criterion(NOW, above=0.5, reason="Half.")],
        controls=[claims.Case(case="shrunk")],
        known=[claims.Case(case="raised")],
    )


def judged(piece, run):
    claim = claims.Claim(claim="A9", paper="p", kind="measurement", text="t", evidence=[piece])
    return claim, verdicts.verdicts([claim], lambda name: [run] if name == run.name else [])


@pytest.mark.parametrize(
    ("levels", "verdict", "reason"),
    [
        ((1.0, 0.1, 2.0), "holds", ""),
        ((0.1, 0.1, 2.0), "does not hold", ""),
        ((0.5, 0.1, 2.0), "undecided", ""),
        ((1.0, 0.9, 2.0), "void", "The control, shrunk, has the verdict 'holds' here"),
        ((1.0, 0.5, 2.0), "void", "has the verdict 'undecided' here"),
        ((1.0, 0.1, 0.5), "cannot be judged here", "The case known to hold, raised, has"),
        ((0.1, 0.1, 0.1), "cannot be judged here", "The case known to hold"),
    ],
)
def test_a_control_and_a_known_case_stand_before_a_verdict(
    piece, tmp_path, levels, verdict, reason
):
    names = ("level", "level_shrunk", "level_raised")
    run = synthetic(tmp_path, **dict(zip(names, levels, strict=True)))
    row = judged(piece, run)[1].iloc[0]
    assert row.verdict == verdict
    assert reason in row.reason


def test_runs_that_differ_in_the_seed_alone_are_judged_once(piece, tmp_path):
    runs = []
    for seed, batch in ((1, 8), (0, 8), (0, 16)):
        run = synthetic(tmp_path / f"{seed} {batch}", level=1.0, level_shrunk=0.1)
        run.info["settings"] |= {"seed": seed, "batch_size": batch}
        runs.append(run)
    claim, _ = judged(piece, run)
    table = verdicts.verdicts([claim], {"full_batch": runs}.get)
    assert (table.role == "claim").sum() == 2  # of two settings
    assert [one.info["settings"]["seed"] for one in results.of_one_seed_each(runs)] == [0, 0]


def test_a_control_of_another_scale_is_none(piece, tmp_path):
    alone = piece.model_copy(update={"controls": (claims.Case(experiment="walks"),)})
    run = synthetic(tmp_path, level=1.0, level_raised=2.0)
    for scale, verdict in (("classroom", "holds"), ("paper", "cannot be judged here")):
        control = synthetic(tmp_path, "walks", scale, level=0.1)
        runs = {"full_batch": [run], "walks": [control]}
        claim, _ = judged(alone, run)
        row = verdicts.verdicts([claim], runs.get).iloc[0]
        assert row.verdict == verdict
    assert row.reason == "No control can be judged at this scale (walks)."


def test_what_no_value_could_fulfil_cannot_be_judged(piece, tmp_path):
    narrow = Criterion(NOW, above=0.9, below=1.1, reason="A tenth.")
    run = synthetic(tmp_path, level=1.0)
    row = verdicts.judge("level", narrow, run)
    assert row["verdict"] == "cannot be judged here"
    assert "no value that it can have would hold" in row["reason"]
    edge = Criterion(NOW, above=2.4, reason="Beyond what a level can be, with this interval.")
    row = verdicts.judge("level", edge, synthetic(tmp_path, level=2.5))
    assert row["verdict"] == "cannot be judged here"
    assert verdicts.judge("level", narrow, synthetic(tmp_path, level=2.0))["verdict"] == (
        "does not hold"
    )


def test_a_known_case_that_could_not_hold_bars_a_verdict(piece, tmp_path):
    edge = Criterion(NOW, above=2.45, reason="Beyond what a level can show.")
    alone = piece.model_copy(update={"criteria": (edge,)})
    values = dict(zip(("level", "level_shrunk", "level_raised"), (1.0, 0.1, 2.4), strict=True))
    row, _, known = judged(alone, synthetic(tmp_path, **values))[1].itertuples()
    assert known.verdict == row.verdict == "cannot be judged here"
    assert "The case known to hold" in row.reason


def test_a_report_says_what_was_seen_and_where_it_would_turn(piece, tmp_path):
    for value, said, turn in ((1.0, "It is.", "1.61 times as strict"), (0.2, "No.", "loose")):
        names = {"level_shrunk": 0.1, "level_raised": 2.0}
        claim, table = judged(piece, synthetic(tmp_path / said, level=value, **names))
        text = verdicts.report([claim], table)
        assert said in text
        assert turn in text
        assert "With an interval as wide, a value above 0.7 would hold." in text
        assert "Must fail: shrunk" in text
        assert "Half. The interval is of one number." in text
        assert "classroom (analogue): " in text
    figure = verdicts.figure(table)
    assert [one.get_text() for one in figure.axes[0].get_yticklabels()] == [
        "A9 level of full_batch"
    ]
    plt.close(figure)


def test_the_command_line_says_the_same(piece, tmp_path, monkeypatch, capsys):
    names = {"level_shrunk": 0.9, "level_raised": 2.0}
    claim, table = judged(piece, synthetic(tmp_path, level=1.0, **names))
    argument = claim.model_copy(update={"name": "A0", "kind": "argument", "evidence": ()})
    monkeypatch.setattr(claims, "read", lambda: [claim, argument])
    asked = []
    monkeypatch.setattr(verdicts, "verdicts", lambda ledger: asked.append(ledger) or table)
    assert main(["verify", "A0"]) == main(["verify"]) == 0
    assert asked == [[argument], [claim, argument]]
    said = capsys.readouterr().out
    assert "void  full_batch classroom (analogue): level 1 (0.804 to 1.2), above 0.5" in said
    assert "The control, shrunk, has the verdict 'holds' here" in said
    assert "an argument: no verdict" in said
    assert "void (1 of 1), analogue" in said
    assert main(["verify", "A0", "A7"]) == 2
    assert "claim 'A7': the valid names are A9, A0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limits", "found", "margin"),
    [
        ({"above": 0.1}, (0.4, 0.2, 0.8), (4, 2, 8)),
        ({"above": 0.1}, (-1, -2, 0.1), (0, 0, 1)),
        ({"below": 0.5}, (0.25, 0.0, 1.0), (2, 0.5, math.inf)),
        ({"below": -0.1}, (-0.2, -0.4, 0.1), (2, 0, 4)),
        ({"above": -0.1, "below": 0.1}, (0.05, -0.2, 0.1), (2, 0.5, math.inf)),
        ({"above": 0.5, "below": 2.0}, (4.0, 2.0, 8.0), (1 / 2, 1 / 3, 1)),
    ],
)
def test_a_margin_is_how_much_stricter_a_criterion_could_be(limits, found, margin):
    assert Criterion(NOW, **limits).margin(Estimate(*found)) == pytest.approx(margin)


# --- the rules that every entry keeps ----------------------------------------------------

PIECES = [(claim, piece) for claim in claims.read() for piece in claim.evidence]
each_piece = pytest.mark.parametrize(
    ("claim", "piece"),
    PIECES,
    ids=[f"{claim.name}-{p.experiment}-{p.quantity}" for claim, p in PIECES],
)


@each_piece
def test_a_piece_keeps_the_rules(claim, piece):
    own = claims.Case()
    for place in (*piece.controls, *piece.known):  # 1: something else, by the same quantity
        assert place not in (own, claims.Case(experiment=piece.experiment))
    assert any(not place.experiment for place in piece.controls)  # so it exists at each scale
    assert any(not place.experiment for place in piece.known)
    criterion = piece.criteria[-1]
    assert len(criterion.reason) > 30  # 3
    assert math.isfinite(criterion.above) or math.isfinite(criterion.below)
    if not (math.isfinite(criterion.above) and math.isfinite(criterion.below)):
        assert max(criterion.above, -criterion.below) > 0 or criterion.below < math.inf
    for sentence in (piece.seen, piece.otherwise):  # 4
        assert sentence.endswith(".")
        assert not re.search(r"\b(converges?|never|always|vanishes)\b", sentence)
    quantity = chapters.quantities()[piece.quantity]
    assert re.search("simultaneous|alone|one|jointly", quantity.interval)  # 6
    for place in (own, *piece.controls, *piece.known):
        assert not place.case or len(quantity.cases[place.case]) > 20


def test_a_piece_of_several_seeds_has_them_all_made(piece, monkeypatch):
    made = []

    def run(name, seed=0, **_):
        made.append((name, seed))
        return SimpleNamespace(settings=SimpleNamespace(seed=seed))

    monkeypatch.setattr(verdicts.launch, "run", run)
    monkeypatch.setattr(verdicts.results, "beside", lambda one: [one])
    sown = piece.model_copy(
        update={"seeds": 3, "controls": (*piece.controls, claims.Case(experiment="walks"))}
    )
    claim = claims.Claim(claim="A9", paper="p", kind="measurement", text="t", evidence=[sown])
    found = verdicts.live_runs([claim], {"full_batch": {}, "walks": {}})
    assert made == [(name, seed) for name in ("full_batch", "walks") for seed in range(3)]
    assert list(found) == ["full_batch", "walks"]


def test_no_piece_runs_for_a_whole_claim():
    rows = [("A2", 1, "classroom", "holds"), ("A2", 2, "classroom", "not run"),
            ("A2", 1, "paper", "holds"), ("A2", 2, "paper", "void"),
            ("A4", math.nan, math.nan, "not run")]  # fmt: skip
    rows[1] = ("A2", 2, math.nan, "not run")
    table = pd.DataFrame(rows, columns=["claim", "piece", "scale", "verdict"])
    table["kind"] = ["scale model", math.nan, "paper", "paper", math.nan]
    grid = verdicts.summary(table.assign(role="claim"))
    assert grid.loc["A2"].tolist() == [
        "1 of 2 pieces run, scale model",
        "not run",
        "not run",
        "void (2 of 2)",
    ]
    assert set(grid.loc["A4"]) == {"not run"}
    assert list(grid.columns) == list(SCALES)


def test_without_runs_nothing_is_decided():
    table = verdicts.verdicts(claims.read(), lambda name: [])
    assert set(table.verdict) == {"not run"}
    measured = [claim.name for claim in claims.read() if claim.kind == "measurement"]
    assert list(dict.fromkeys(table.claim)) == measured
    grid = verdicts.summary(table)
    assert set(grid.values.flat) == {"not run"}
    assert len(grid.columns) == len(SCALES)


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
        ("quantity: stationary_share", "quantity: stationary_part",
         "Unknown quantity of claim A2 'stationary_part'.*Did you mean"),
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
    old = "      controls: [{case: falling}, {case: weight_decay=0}]\n"
    new = "        - {since: 2027-01-02T00:00:00+00:00, above: 0.02, why: Too weak.}\n" + old
    ledger = [one for one in claims.read(changed(tmp_path, old, new)) if one.name == "B1"]
    text = verdicts.report(ledger, verdicts.verdicts(ledger, results.recorded))
    assert "Changed on 2027-01-02: it was between -0.05 and 0.05. Too weak." in text
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
            for item in (*entry.get("evidence", ()), *entry.get("withdrawn", ()))
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
    for name in reading.READ_OFF:
        found = chapters.quantities()[name](reading.figure_1())
        assert found.low < found.value < found.high
