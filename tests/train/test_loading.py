"""Data of a run: each study notes them, and goes on with no others."""

import ast
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stationarity
from PIL import Image
from stationarity import UsageError, launch
from stationarity.runs import checkpoints, records
from stationarity.runs.settings import EXPERIMENTS, get

DATA = [name for name in EXPERIMENTS if {"dataset", "images"} & set(dict(get(name)))]
NONE = {"images": "digits"}  # of a study that makes its data unless it is told others


@pytest.mark.parametrize("name", DATA)
def test_every_study_is_held_to_the_data_that_it_was_begun_on(name):
    settings = get(name, overrides=NONE if "images" in dict(get(name)) else {})
    info = {"experiment": name, "scale": "", "wall_seconds": 0.0}
    keeper = checkpoints.Keeper(info=info | {"data": {"source": "elsewhere"}})
    with pytest.raises(UsageError, match="was begun on other data: give the data root"):
        launch.study_of(settings)(settings, checkpoints.Place(keeper=keeper))


def test_no_study_loads_data_without_its_place():
    package = Path(stationarity.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert ast.unparse(node.func) not in ("data.load", "data.load_text"), path


def cifar(root, seed):
    """Lay twenty images a part below a data root."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    for split in ("train", "test"):
        rows = []
        for i in range(20):
            file = io.BytesIO()
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(file, "PNG")
            rows.append({"img": {"bytes": file.getvalue(), "path": None}, "label": i % 10})
        pd.DataFrame(rows).to_parquet(root / f"{split}-00000-of-00001.parquet")
    return root


def test_a_study_that_was_interrupted_goes_on_with_its_own_data_only(tmp_path, monkeypatch):
    settings = {
        "dataset": "cifar10", "examples": 10, "hidden": (5,), "steps": 30, "drops": (12, 20),
        "members": 2, "batch_size": 5, "record_every": 4, "measure_every": 3,
    }  # fmt: skip
    first, second = (cifar(tmp_path / f"root{seed}", seed) for seed in (0, 1))
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(launch, "CHECKPOINT_SECONDS", 0)
    write, written = checkpoints.Keeper._write, []

    def interrupted(keeper, *rows):
        write(keeper, *rows)
        written.append(1)
        if len(written) == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Keeper, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stationarity.run("settling", settings=settings, data_root=first)
    (folder,) = records.runs_root().glob("settling/classroom-*")
    known = records.read(folder).info["data"]["sha256"]
    assert set(known) == {"train-00000-of-00001.parquet", "test-00000-of-00001.parquet"}
    with pytest.raises(UsageError, match="was begun on other data.*, or delete its folder"):
        stationarity.run("settling", settings=settings, data_root=second)
    run = stationarity.run("settling", settings=settings, data_root=first)
    assert run.complete and run.info["data"]["sha256"] == known
