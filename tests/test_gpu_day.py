"""The GPU day, dry: its steps on the CPU, shortened; how it stops, fails and goes on."""

import copy
import io
import itertools
import json
import sys
import tarfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stationarity import data, measure
from stationarity.book import results
from stationarity.nets import mlp
from stationarity.runs import provenance, records

ROOT = Path(__file__).parents[1]
TEXT = "wikitext_transformer_xl"
RECORDS = ("cifar10_resnet", TEXT, "imagenet_resnet", "two_clocks", "continued", "little_decay")


@pytest.fixture
def gpu(monkeypatch, one_thread):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


def options(gpu, **given):
    """Return what the command line gives to a step."""
    parsed = {"dry": True, "data_root": None, "note": None, "commit": "abc", "minutes": 5}
    return gpu.argparse.Namespace(**(parsed | {"only": list(gpu.STEPS)} | given))


def png(side: int, shade: int) -> dict:
    file = io.BytesIO()
    pixels = np.random.default_rng(shade).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(file, "png")
    return {"bytes": file.getvalue()}


@pytest.fixture
def root(tmp_path):
    """A data root with little of everything."""
    for folder, column, side, classes, rows, test in (
        ("cifar10", "img", 32, 10, 60, "test"),
        ("tiny-imagenet", "image", 64, 200, 2000, "valid"),
    ):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cells = [png(side, shade) for shade in range(7)]
        for split, count in (("train", rows), (test, 20)):
            columns = {column: [cells[i % 7] for i in range(count)]}
            frame = pd.DataFrame(columns | {"label": np.arange(count) % classes})
            frame.to_parquet(tmp_path / "data" / folder / f"{split}-00000-of-00001.parquet")
    (tmp_path / "data" / "wikitext-103").mkdir()
    for split, lines in (("train", 30), ("validation", 29)):
        path = tmp_path / "data" / "wikitext-103" / f"{split}-00000-of-00001.parquet"
        pd.DataFrame({"text": [" a b c \n", ""] * lines}).to_parquet(path)
    return tmp_path / "data"


def test_what_is_packed_is_what_the_runs_take(gpu, root, tmp_path, monkeypatch):
    import gpu_data
    import gpu_records

    few = {"tiny-imagenet": {"examples": 20, "classes": 4}, "cifar10": {"examples": 40}}

    def settings_of(step):
        chosen = full(step)
        return chosen.but(**few.get(chosen.dataset, {"tokens": 50}))

    full = gpu_records.settings_of
    monkeypatch.setattr(gpu_records, "settings_of", settings_of)
    line = ["pack", "--data-root", str(root), "--out", str(tmp_path / "part")]
    with pytest.raises(SystemExit, match="CIFAR-10's train part has 60 rows here, at the hub"):
        gpu.main(line)
    assert not (tmp_path / "part").exists()
    for step, note in (("two_clocks", "noise"), ("imagenet_resnet", "t"), (TEXT, "letters")):
        assert gpu.main([*line, "--only", step, "--note", note]) == 0
    for name, how in few.items():
        how = how | {"batch_size": 5}
        whole, part = (data.load(name, data_root=r, **how) for r in (root, tmp_path / "part"))
        assert part.count == how["examples"]
        images = [one.train.flatten(1).double().sum(1).sort().values for one in (whole, part)]
        assert torch.equal(*images)
    words = pd.read_parquet(next((tmp_path / "part" / "wikitext-103").glob("train*")))
    assert len(words) == 20  # four tokens, then one, again and again
    all_rows = [r / "wikitext-103" for r in (root, tmp_path / "part")]
    whole, part = (next(folder.glob("validation*")).read_bytes() for folder in all_rows)
    assert whole == part  # of a file that is taken whole the hash stays
    notes = json.loads((tmp_path / "part" / gpu_records.NOTE).read_text())
    assert notes["cifar10"] == "CIFAR-10, 40 of 60 train rows and 20 of 20 test rows; noise"
    assert notes["wikitext103"].endswith("; letters")
    monkeypatch.setattr(gpu_data, "LIMIT", 1000)
    assert gpu.main([*line, "--note", "small"]) == 1


def test_the_part_of_the_hubs_own_files_is_small_enough(gpu):
    import gpu_data
    import gpu_records

    each = {"cifar10": 2400, "tiny-imagenet": 1950}  # bytes of an image: PNG, and JPEG
    size = 5e6  # of the text
    for name, dataset in (("cifar10_resnet", "cifar10"), ("imagenet_resnet", "tiny-imagenet")):
        chosen, whole = gpu_records.settings_of(name), gpu_data.SOURCES[dataset]
        tests = 10_000 * (chosen.classes or whole.classes) // whole.classes
        size += each[dataset] * (chosen.examples + min(tests, gpu_data.TESTS))
    assert size < gpu_data.LIMIT


def test_a_dry_day_makes_records_and_goes_on_where_one_failed(gpu, root, tmp_path, capsys):
    out = tmp_path / "day"
    line = ["--dry", "--out", str(out), "--commit", "abc", "--only", "cifar10_resnet", "matrix"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert gpu.main([*line, "--data-root", str(empty)]) == 1
    said = capsys.readouterr().out
    assert "cifar10_resnet: failed" in said and "No CIFAR-10 in" in said
    assert "matrix: done" in said and "| matrix | bfloat16 |" in said
    before = (out / "home" / "steps" / "matrix.json").read_text()
    assert gpu.main([*line, "--data-root", str(root), "--note", "noise"]) == 0
    said = capsys.readouterr().out
    assert "cifar10_resnet: done" in said and "matrix: " not in said
    assert (out / "home" / "steps" / "matrix.json").read_text() == before
    (record,) = (out / "home" / "records").glob("cifar10_resnet/single-gpu-*")
    info = json.loads((record / "run.json").read_text())
    assert (info["commit"], info["note"], info["status"]) == ("abc", "noise", "complete")
    assert "To commit" not in said  # what is shortened
    with tarfile.open(out / "home.tar.gz") as archive:
        assert f"home/records/cifar10_resnet/{record.name}/metrics.parquet" in (
            archive.getnames()
        )
    summary = json.loads((out / "home" / "summary.json").read_text())
    assert summary["commit"] == "abc"
    assert summary["steps"]["cifar10_resnet"]["results"]["run seconds"] > 0


@pytest.mark.parametrize("step", RECORDS)
def test_a_record_of_the_day_is_one_of_the_book(gpu, root, tmp_path, monkeypatch, step):
    import gpu_records

    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    chosen = gpu_records.settings_of(step)
    run = records.write(tmp_path, records.new_info(step, "single-gpu", chosen, "0", "cpu"), [])
    assert results.stale(run) == {}  # so it can be committed as it comes
    given = options(gpu, out=tmp_path / "day", data_root=root, step=step)
    gpu_records.make(given, gpu.Results(tmp_path / "made.json"))
    (made,) = (tmp_path / "day" / "home" / "records" / step).iterdir()
    made = records.read(made)
    assert made.complete and set(results.stale(made)) <= set(gpu_records.shortened(step))


def test_every_record_is_a_step_that_has_all_the_time_there_is(gpu):
    import gpu_records

    made = [name for name, step in gpu.STEPS.items() if step.compute == "gpu_records:make"]
    assert tuple(made) == gpu_records.RECORDS == RECORDS
    assert {name for name, step in gpu.STEPS.items() if not step.seconds} == set(made)


def test_records_are_told_to_be_committed(gpu, tmp_path, capsys):
    (tmp_path / "home" / "records" / "continued" / "single-gpu-1").mkdir(parents=True)
    (tmp_path / "home" / "rates.md").write_text("")
    gpu.tell(options(gpu, out=tmp_path, dry=False, only=[]), {name: {} for name in gpu.STEPS})
    assert "continued/single-gpu-1 as book/results/continued/sing" in capsys.readouterr().out


PROGRAMS = {  # in the place of steps
    "good": "print('all is well')",
    "bad": "import sys; print('it is broken'); sys.exit(3)",
    "long": (
        "import pathlib, time\n"
        "path = pathlib.Path('{out}') / 'seen'\n"
        "if not path.exists(): path.touch(); time.sleep(60)"
    ),
}


def test_a_step_that_fails_or_is_stopped_does_not_stop_the_day(
    gpu, tmp_path, monkeypatch, capsys
):
    steps = {name: gpu.Step("", 1, ()) for name in PROGRAMS}
    steps["rich"] = gpu.Step("", 1, ("no_such_module",))
    monkeypatch.setattr(gpu, "STEPS", steps)
    monkeypatch.setattr(gpu, "device_here", lambda _: "a GPU")
    program = lambda name: PROGRAMS[name].replace("{out}", str(tmp_path))
    monkeypatch.setattr(gpu, "command", lambda name, _: [sys.executable, "-c", program(name)])
    chosen = options(gpu, dry=False, out=tmp_path, only=["long", "bad", "rich", "good"])
    assert gpu.day(chosen) == 1
    lines = [line.partition(", ")[0] for line in capsys.readouterr().out.splitlines()]
    told = ["long: stopped", "bad: failed", "rich: lacking", "good: done", "long: done"]
    assert [line for line in lines if line in told] == told
    state = json.loads((tmp_path / "home" / "steps" / "bad.json").read_text())
    assert (state["status"], state["said"]) == ("failed", "it is broken")
    assert gpu.day(options(gpu, out=tmp_path, only=["good"], minutes=0)) == 0


def test_a_later_call_begins_with_records_and_ends_with_what_was_stopped(gpu, tmp_path):
    limits = []

    def take(name, options, limit, before):
        limits.append((name, round(limit)))
        return {"status": "stopped", "seconds": 1.0, "said": ""}

    only = ["matrix", "cifar10_resnet", "resnet18"]
    with mock.patch.multiple(gpu, take=take, device_here=lambda _: "a GPU"):
        chosen = options(gpu, dry=False, out=tmp_path, only=only, minutes=9)
        gpu.day(chosen)
        first, limits[:] = limits[:3], []
        gpu.day(chosen)
    assert first == [("matrix", 40), ("cifar10_resnet", 520), ("resnet18", 40)]
    assert limits == [(name, 520) for name in ("cifar10_resnet", *only)]


def test_a_day_without_a_commit_does_not_begin(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "commit_here", lambda: None)
    with pytest.raises(SystemExit, match="name it by --commit HASH"):
        gpu.day(options(gpu, commit=None, out=tmp_path))
    assert not list(tmp_path.iterdir())


def test_the_commit_is_that_of_the_library(gpu, monkeypatch):
    assert gpu.commit_here() == provenance.commit()
    monkeypatch.setenv("STATIONARITY_COMMIT", "abc")
    assert gpu.commit_here() == "abc"


def test_what_was_made_is_kept_before_the_next_step_begins(gpu, tmp_path, monkeypatch):
    def take(name, *_):
        if name == "tests":
            raise KeyboardInterrupt  # as where the machine is taken away
        return {"status": "done", "seconds": 1.0, "said": ""}

    monkeypatch.setattr(gpu, "take", take)
    chosen = options(gpu, out=tmp_path, only=["agreement", "tests"])
    with pytest.raises(KeyboardInterrupt):
        gpu.day(chosen)
    with tarfile.open(tmp_path / "home.tar.gz") as archive:
        summary = json.load(archive.extractfile("home/summary.json"))
    assert summary["steps"]["agreement"]["status"] == "done"
    assert summary["steps"]["tests"] == {}


def test_a_missing_package_is_named_as_pip_takes_it(gpu, monkeypatch):
    found = gpu.importlib.util.find_spec
    gone = lambda name: None if name in ("pydantic", "PIL") else found(name)
    monkeypatch.setattr(gpu.importlib.util, "find_spec", gone)
    missing = gpu.lacking()
    assert set(missing) == {"pydantic", "PIL"}
    lock = (ROOT / "requirements.txt").read_text()
    assert all(f"\n{line} \\\n" in lock for found in missing.values() for line in found)
    assert missing["PIL"][0].startswith("pillow==")


def test_measurements_are_compared_and_differences_told(gpu, tmp_path, monkeypatch):
    import gpu_agreement

    cases = gpu_agreement.cases()
    monkeypatch.setattr(gpu_agreement, "cases", lambda: {"mlp": cases["squared loss"]})
    results = gpu.Results(tmp_path / "one.json")
    gpu_agreement.agreement(options(gpu), results)
    assert set(results) == {"mlp, float64", "mlp, float32"} and results.failed == []
    assert {"gradient: noise_norm", "sharpness", "mean loss"} <= set(results["mlp, float32"])
    monkeypatch.setitem(gpu_agreement.TOLERANCES, torch.float32, 1e-12)
    results = gpu.Results(tmp_path / "two.json")
    gpu_agreement.agreement(options(gpu), results)
    assert results.failed == ["mlp, float32"]


def test_measurements_are_compared_in_the_layout_of_runs_in_bfloat16(gpu):
    import gpu_agreement

    model, objective, batches = case = gpu_agreement.cases()["ResNet, channels last"]
    weights = next(p for p in model.parameters() if p.dim() == 4 and p.shape[2] > 1)
    layout = {"memory_format": torch.channels_last}
    assert weights.is_contiguous(**layout) and not weights.is_contiguous()
    exact = copy.deepcopy(model).double()
    assert all(p.is_contiguous(**layout) for p in exact.parameters() if p.dim() == 4)
    moved = gpu_agreement.moved(batches, "cpu", torch.float64)
    truth = lambda: gpu_agreement.measured(exact, objective, moved)
    assert gpu_agreement.compared(case, truth, "cpu", torch.float32)


def test_measurements_are_compared_without_pydantic(gpu, tmp_path):
    program = (
        "import sys; sys.modules['pydantic'] = None\n"
        f"sys.path[:0] = [{str(ROOT / 'benchmarks')!r}, {str(ROOT / 'lib')!r}]\n"
        "import gpu_agreement; gpu_agreement.bare_package()\n"
        "from stationarity import measure, nets; print(measure.sharpness)"
    )
    line = [sys.executable, "-c", program]
    said = gpu.subprocess.run(line, capture_output=True, text=True, check=True).stdout
    assert "function sharpness" in said


@pytest.mark.parametrize("step", ["resnet18", "resnet101", "transformer_xl", "products"])
def test_rates_say_what_bounds_them(gpu, tmp_path, step):
    import gpu_rates

    results = gpu.Results(tmp_path / "rates.json")
    getattr(gpu_rates, step)(options(gpu, out=tmp_path), results)
    assert results.failed == [] and len(results) == 2
    float32 = gpu_rates.matrix_rate(torch.float32, "cpu", True)  # bfloat16 may be slow here
    for row in results.values():
        peak = row.get("peak", float32)
        assert 0 < row["share of the peak"] * peak < float32  # of a thin net
        assert row["ms a step"] > 0
        assert 0.3 < row.get("in gradients", 1) < 30 and row.get("bound by", "products")
    table = gpu.rate_table("CPU", [(step, *item) for item in results.items()])
    assert len(table.splitlines()) == 6


def test_rates_are_those_of_the_nets_that_they_name(gpu, tmp_path, monkeypatch):
    import gpu_rates

    found = []
    for name in ("training", "product"):
        how = lambda *given, **_: found.append(next(g for g in given if hasattr(g, "model")))
        monkeypatch.setattr(gpu_rates, name, how)
    monkeypatch.setattr(gpu_rates, "matrix_rate", lambda *_: 1.0)
    monkeypatch.setattr(gpu_rates, "device_of", lambda _: "cpu")
    monkeypatch.setattr(gpu_rates.data, "load", mock.Mock())
    for step in (gpu_rates.resnet18, gpu_rates.products, gpu_rates.resnet101):
        step(options(gpu, dry=False), gpu.Results(tmp_path / "rates.json"))
    thin, deep = ("cifar_resnet", "cifar10"), ("resnet101", "tiny-imagenet")
    assert [(one.model, one.dataset) for one in found] == [
        thin, thin, thin, deep, ("resnet101", "imagenet")
    ]  # fmt: skip
    assert [one.batch_size for one in found[:2]] == [128, 1024]
    assert {one.width for one in found[:3]} == {64}


def test_a_loader_is_timed_once_what_it_had_ready_is_used_up(gpu, tmp_path, monkeypatch):
    import gpu_rates

    events, children = [], gpu_rates.multiprocessing
    state = mock.Mock(take_step=lambda batch: events.append(("step", batch)))
    batches = lambda *_: (events.append(("made", n)) or n for n in itertools.count())
    dataset = mock.Mock(training_batches=batches)
    monkeypatch.setattr(gpu_rates.loop, "State", lambda *_: state)
    monkeypatch.setattr(children, "active_children", lambda: [1, 2, 3])
    monkeypatch.setattr(gpu_rates, "DRY_PATHS", ["float32"])
    settings = gpu_rates.get("cifar10_resnet", "single-gpu", gpu_rates.THIN)
    made = gpu.Results(tmp_path / "rates.json")
    gpu_rates.training(options(gpu), made, settings, dataset, "images")
    assert made.failed == []
    since = events.index(("made", 2))
    assert events[since : since + 6] == [("made", n) for n in range(2, 8)]
    loaded = [(kind, n) for n in range(8, 14) for kind in ("made", "step")]
    assert events[since + 6 : since + 18] == loaded


def test_products_are_timed_with_graphs_kept_and_without(gpu, monkeypatch):
    import gpu_rates

    called = []

    def objective(model, batch):
        called.append(batch)
        return measure.cross_entropy(model, batch)

    def once(call, _):
        before = len(called)
        call()
        return len(called) - before

    monkeypatch.setattr(gpu_rates, "once", once)
    batches = [(torch.randn(8, 4), torch.arange(8) % 3) for _ in range(2)]
    found = gpu_rates.product_seconds(mlp((4, 5, 3)), objective, batches, "cpu")
    assert found == (2, 0, 2)


def test_stages_are_as_many_memories_long_as_the_papers(gpu):
    import gpu_data
    import gpu_records
    from stationarity.chapters import scales

    for step in gpu_records.RECORDS:
        assert gpu_records.settings_of(step).dataset in gpu_data.SOURCES
    for step in ("imagenet_resnet", "cifar10_resnet"):
        memories = scales.clocks(gpu_records.settings_of(step)).memories
        assert memories.tolist() == pytest.approx([15, 1.5, 0.15], rel=0.01)
    for step in ("imagenet_resnet", "cifar10_resnet", "little_decay"):  # three in each half
        chosen = gpu_records.settings_of(step)
        assert (chosen.drops[0] // 2) // chosen.measure_every >= 3
