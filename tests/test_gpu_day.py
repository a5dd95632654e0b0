"""The GPU day, dry: its steps on the CPU, shortened; how it stops, fails and goes on."""

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from stationarity import data

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gpu(monkeypatch, one_thread):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu

    return gpu


def options(gpu, **given):
    """Return what the command line gives to a step."""
    parsed = {"dry": True, "data_root": None, "note": None, "commit": None, "minutes": 5}
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
        ("tiny-imagenet", "image", 64, 200, 400, "valid"),
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

    few = {"tiny-imagenet": {"examples": 7, "classes": 4}, "cifar10": {"examples": 40}}

    def settings_of(step):
        chosen = full(step)
        return chosen.but(**few.get(chosen.dataset, {"tokens": 50}))

    full = gpu_records.settings_of
    monkeypatch.setattr(gpu_records, "settings_of", settings_of)
    assert gpu.main(["pack", "--data-root", str(root), "--out", str(tmp_path / "part")]) == 0
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
    assert notes["cifar10"] == "CIFAR-10, 40 of 60 train rows and 20 of 20 test rows"
    monkeypatch.setattr(gpu_data, "LIMIT", 1000)
    assert gpu.main(["pack", "--data-root", str(root), "--out", str(tmp_path / "part")]) == 1


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
    assert f"To commit: {record} as book/results/cifar10_resnet/{record.name}" in said
    assert "First give cifar10_resnet these settings at its scale: epochs=3" in said
    with tarfile.open(out / "home.tar.gz") as archive:
        assert f"home/records/cifar10_resnet/{record.name}/metrics.parquet" in (
            archive.getnames()
        )
    summary = json.loads((out / "home" / "summary.json").read_text())
    assert summary["commit"] == "abc"
    assert summary["steps"]["cifar10_resnet"]["results"]["run seconds"] > 0


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
    for row in results.values():
        assert row["share of the peak"] > 0 and row["ms a step"] > 0
        assert row.get("in gradients", 1) > 0 and row.get("bound by", "products")
    table = gpu.rate_table("CPU", [(step, *item) for item in results.items()])
    assert len(table.splitlines()) == 6


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
