"""The command line: what it prints, and one clear sentence for bad input."""

import re

import pytest
from stationarity.__main__ import main
from stationarity.book import results
from stationarity.runs import records
from stationarity.runs.settings import EXPERIMENTS, SCALES, get

SMALL = ["--set", "epochs=3", "--set", "measure_every=1", "--set", "hidden=4"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(results, "root", lambda: tmp_path / "results")


def test_run_list_and_record(capsys):
    assert main(["run", "full_batch", *SMALL]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in EXPERIMENTS)
    name = next(line for line in listed.splitlines() if line.endswith("complete")).split()[0]
    assert main(["record", name, "--note", "a test"]) == 0
    assert results.recorded("full_batch")[0].info["note"] == "a test"


def test_doctor(capsys, tmp_path):
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert "torch" in printed and "GB free" in printed
    assert main(["doctor", "--data-root", str(tmp_path / "nowhere")]) == 1


def test_doctor_says_which_data_are_found(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_never_to_be_seen")
    (tmp_path / "imagenet" / "train").mkdir(parents=True)
    (tmp_path / "cifar10").mkdir()
    (tmp_path / "cifar10" / "train-00000-of-00001.parquet").write_bytes(b"x" * 10**6)
    assert main(["doctor", "--data-root", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"ImageNet +folders of images in .*imagenet\n", printed)
    assert re.search(r"CIFAR-10 +1 parquet files in .*cifar10, 1 MB\n", printed)
    assert re.search(r"WikiText-103 +not found\n", printed)
    assert re.search(r"hub token +there\n", printed) and "never_to_be_seen" not in printed
    for name in ("HF_TOKEN", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    main(["doctor"])
    assert "hub token     missing: only a download of ImageNet" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "ful_batch"], "Unknown experiment 'ful_batch'.*Did you mean 'full_batch'"),
        (
            ["run", "full_batch", "--scale", "clasroom"],
            "Unknown scale.*classroom, .*single-gpu",
        ),
        (["run", "full_batch", "--set", "learningrate=1"], "Did you mean 'learning_rate'"),
        (
            ["run", "full_batch", "--set", "epochs=many"],
            "epochs takes a valid integer, and 'many'",
        ),
        (["run", "full_batch", "--set", "epochs=2.5"], "epochs takes a valid integer"),
        (["run", "full_batch", "--set", "epochs"], "--set takes KEY=VALUE"),
        (["run", "full_batch", "--set", "epochs=0"], "epochs must be greater than 0"),
        (["run", "full_batch", "--set", "momentum=1"], "momentum must be less than 1"),
        (
            ["run", "full_batch", "--set", "optimizer=sdg"],
            "Unknown optimizer 'sdg'.*Did you mean 'sgd'",
        ),
        (["run", "full_batch", "--set", "flip=true"], "without augmentation"),
        (["run", "full_batch", "--set", "batch_size=9999"], "larger than the data"),
        (["run", "full_batch", "--set", "batch_size=1000"], "batch size that divides the 1437"),
        (["run", "full_batch", "--set", "epochs=inf"], "epochs takes a valid integer"),
        (
            ["run", "full_batch", "--set", "weight_decay=nan"],
            "weight_decay takes a finite number",
        ),
        (
            ["run", "full_batch", "--set", "threads=-1"],
            "threads must be greater than or equal to 0",
        ),
        (["run", "full_batch", "--set", "drops=20,10"], "drops must be positive and rising"),
        (
            ["run", "full_batch", "--set", "model=resnt18"],
            "Unknown model 'resnt18'.*Did you mean 'resnet18'",
        ),
        (["run", "full_batch", "--set", "model=resnet18"], "images of three channels"),
        (["run", "full_batch", "--device", "gpu"], "There is no device 'gpu' here"),
        (["record", "nothing"], "No run at nothing"),
    ],
)
def test_bad_input_gets_one_sentence_and_no_traceback(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and "Traceback" not in error
    assert not list(records.runs_root().glob("*/*/run.json"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_exists_at_every_scale(name):
    scales = EXPERIMENTS[name]
    assert {"classroom", "single-gpu", "paper"} <= set(scales) <= set(SCALES)
    for scale in scales:
        get(name, scale)
