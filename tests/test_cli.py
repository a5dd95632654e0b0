"""The command line: what it prints, and one clear sentence for bad input."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stationarity import UsageError
from stationarity.__main__ import main
from stationarity.book import results
from stationarity.data import parquet, root_of
from stationarity.runs import progress, records, settings
from stationarity.runs.settings import EXPERIMENTS, SCALES, get

SMALL = ["--set", "epochs=3", "--set", "measure_every=1", "--set", "hidden=4"]


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(results, "root", lambda: tmp_path / "results")


@pytest.mark.parametrize("command", ["", "--help", "list"])
def test_what_takes_seconds_to_import_is_imported_where_it_is_needed(command):
    ends = (
        "import atexit, sys; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules)))"
    )
    then = f"from stationarity.__main__ import main; main(['{command}'])" if command else ""
    line = [sys.executable, "-c", f"{ends}; import stationarity; {then}"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0 and "stationarity" in done.stderr, done.stderr
    slow = {"torch", "pandas", "scipy.stats", "sklearn", "matplotlib", "datasets", "pyarrow"}
    slow |= set() if command else {"numpy", "pydantic", "scipy"}
    assert slow & set(done.stderr.split()) == set()


def test_the_register_of_experiments_fills_itself():
    code = "from stationarity.runs.settings import get; print(get('full_batch').epochs)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert int(done.stdout) > 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        settings.nothing  # noqa: B018


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
    (tmp_path / "cifar10" / "train-00000-of-00001 (1).parquet").write_bytes(b"x")
    assert main(["doctor", "--data-root", str(tmp_path)]) == 1
    assert re.search(r"WRONG: .* \(1\).parquet is by its name no part", capsys.readouterr().out)
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
        (["run", "full_batch", "--set", "hidden=-4"], "hidden.0 must be greater than 0"),
        (["run", "full_batch", "--set", "seed=-1"], "seed must be greater than or equal to 0"),
        (["run", "full_batch", "--set", f"seed={2**63}"], f"seed must be less than {2**63}"),
        (["run", "noisy_quadratic", "--set", f"seed={10**80}"], "seed must be less than"),
        (["run", "noisy_quadratic", "--set", f"seed={'9' * 5000}"], "seed is too large"),
        (["run", "full_batch", "--set", f"hidden=8,{10**20}"], "hidden.1 must be less than"),
        (["run", "full_batch", "--set", "threads=3000000000"], "threads must be less than or"),
        (["run", "full_batch", "--set", f"hidden={10**18}"], "memory of cpu does not suffice"),
        (["run", "noisy_plane", "--set", f"trajectories={10**18}"], "memory of cpu does not"),
        (["run", "walks", "--set", f"references={10**18}"], "memory of cpu does not suffice"),
        (["run", "full_batch", "--device", "gpu"], "There is no device 'gpu' here"),
        (["run", "full_batch", "--device", "meta"], "no device 'meta' here .*: cpu does, and"),
        (["run", "full_batch", "--device", "hpu"], "There is no device 'hpu' here"),
        (["record", "nothing"], "No run at nothing"),
    ],
)
def test_bad_input_gets_one_sentence_and_no_traceback(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and "Traceback" not in error
    assert not list(records.runs_root().glob("*/*/run.json"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_setting_takes_a_number_beyond_64_bits(name):
    for key, value in get(name):
        numbers = value if isinstance(value, tuple) else (value,)
        if numbers and all(type(number) is int for number in numbers):
            large = [*numbers, 10**20] if isinstance(value, tuple) else 10**20
            with pytest.raises(UsageError, match=rf"{key}.* (must|cannot|takes)"):
                get(name, overrides={key: large})


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_exists_at_every_scale(name):
    scales = EXPERIMENTS[name]
    assert {"classroom", "single-gpu", "paper"} <= set(scales) <= set(SCALES)
    for scale in scales:
        get(name, scale)


def process(command, **environment):
    """Return what the command line in a process of its own ends with."""
    line = f"{sys.executable} -m stationarity {command}"
    kinds = {"capture_output": True, "encoding": "utf-8", "env": os.environ | environment}
    return subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], **kinds)


@pytest.mark.parametrize("command", ["list | true", "doctor | true"])
def test_output_that_is_read_no_longer_is_no_error(command):
    done = process(command)
    assert done.returncode == 141 and done.stderr == ""  # as of any other program


def test_no_output_at_all_is_no_error():
    done = process("list >&-")
    assert done.returncode == 0 and done.stderr == ""
    done = process("run noisy_quadratic --set steps=5 2>&-")
    assert done.returncode == 0 and "complete" in done.stdout


def the_only_run():
    (path,) = records.runs_root().glob("*/*/run.json")
    return records.read(path.parent)


@pytest.mark.parametrize("pipe", ["| true", "2>&1 | head -c 20"])
def test_a_run_that_is_heard_no_longer_goes_on_to_its_end(pipe):
    done = process(f"run full_batch {' '.join(SMALL)} {pipe}")
    assert done.returncode == 141 and "Traceback" not in done.stderr + done.stdout
    assert the_only_run().complete


needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")


@needs_full
@pytest.mark.parametrize(
    "command, unbuffered",
    [("list", ""), ("list", "1"), ("--help", ""), ("run noisy_quadratic --set steps=5", "")],
)
def test_output_that_cannot_be_written_is_told(command, unbuffered):
    done = process(f"{command} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert said.startswith("stationarity: What is printed here cannot be written (No space")
    if command.startswith("run"):
        assert the_only_run().complete


@needs_full
def test_what_cannot_be_told_changes_no_status():
    line = "run noisy_quadratic --set steps=5 2>/dev/full"
    assert process(line, PYTHONUNBUFFERED="").returncode == 0
    assert process("run nothing 2>/dev/full", PYTHONUNBUFFERED="").returncode == 2


@needs_full
def test_progress_that_cannot_be_written_stops_no_run(monkeypatch):
    monkeypatch.setenv("STATIONARITY_PROGRESS", "/dev/full")
    assert main(["run", "full_batch", *SMALL]) == 0


@pytest.mark.parametrize(
    "place, reason",
    [
        (".", "Is a directory"),
        ("no/such/folder", "No such file"),
        ("~nobody9/x", "The home of"),
    ],
)
def test_progress_whose_file_cannot_be_opened_is_told_and_stops_no_run(
    place, reason, tmp_path, monkeypatch, capsys
):
    place = place if place[0] == "~" else str(tmp_path / place)
    monkeypatch.setenv("STATIONARITY_PROGRESS", place)
    assert main(["run", "full_batch", *SMALL]) == 0
    printed, error = capsys.readouterr()
    told = f"Progress cannot be written to {place} of STATIONARITY_PROGRESS ({reason}"
    assert "complete" in printed
    assert error.count(told) == 1 and "full_batch classroom: 100%" in error


def test_processes_do_not_repeat_that_progress_cannot_be_written(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("STATIONARITY_PROGRESS", str(tmp_path))
    telling = [
        sys.executable,
        "-c",
        "from stationarity.runs import progress; progress.open_outlet()",
    ]
    assert progress.follow(telling, {}) == 0
    assert capfd.readouterr().err.count("Progress cannot be written to") == 1


@pytest.mark.parametrize("backend, heeded", [("nonsense", None), ("svg", "svg")])
def test_an_mplbackend_that_matplotlib_does_not_know_is_set_aside(backend, heeded):
    shown = "print(os.environ.get('MPLBACKEND'), matplotlib.get_backend())"
    code = f"import os, stationarity.chapters, matplotlib; {shown}"
    environment = os.environ | {"MPLBACKEND": backend}
    done = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert done.split()[0] == str(heeded) and (heeded or "agg") in done.lower()


def test_a_rank_without_other_processes_does_not_silence_a_run(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "3")
    assert main(["run", "full_batch", *SMALL]) == 0
    assert "complete" in capsys.readouterr().out


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def test_a_locale_without_utf8_does(tmp_path):
    here = ASCII | {"STATIONARITY_RUNS": str(tmp_path)}
    made = process("run noisy_quadratic --set steps=5", **here)
    assert made.returncode == 0 and "complete" in made.stdout, made.stderr
    assert records.read(next(tmp_path.glob("*/classroom-*"))).made_by_this_code
    listed = process("list", **here)
    assert listed.returncode == 0 and "1 runs in" in listed.stdout, listed.stderr
    assert "other code" not in listed.stdout.partition("1 runs in")[2]
    verified = process("verify A3 B4", **here)
    assert verified.returncode == 0 and verified.stdout.isascii(), verified.stderr


@pytest.mark.skipif(sys.platform == "darwin", reason="its names are UTF-8 in every locale")
@pytest.mark.parametrize("name", ["STATIONARITY_RUNS", "STATIONARITY_DATA"])
def test_a_folder_whose_name_is_not_utf8_is_told(tmp_path, name):
    (tmp_path / "r\u00fcns").mkdir()
    here = ASCII | {"STATIONARITY_RUNS": str(tmp_path), name: str(tmp_path / "r\u00fcns")}
    made = process("run full_batch --set dataset=cifar10 --set classes=3", **here)
    assert made.returncode == 2 and len(made.stderr.splitlines()) == 1, made.stderr
    assert re.search(r"r\\xc3\\xbcns' has no name in UTF-8 here: set PYTHONUTF8=1", made.stderr)


def test_a_home_is_found_and_a_loop_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, find in (
        ("STATIONARITY_RUNS", records.runs_root),
        ("STATIONARITY_DATA", find_data),
    ):
        monkeypatch.setenv(name, "~")
        assert find() == tmp_path.resolve()
    monkeypatch.setenv("STATIONARITY_RUNS", "~/runs")
    assert records.runs_root() == tmp_path.resolve() / "runs"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="is not a folder"):
        root_of("~/loop")
    monkeypatch.setenv("STATIONARITY_RUNS", "~/loop")
    assert records.runs_root().name == "loop"


@pytest.mark.parametrize("home", ["~nobody9", "~nobody9/x", "~"])
def test_a_home_that_nobody_knows_is_told(home, monkeypatch, capsys):
    if home == "~":  # as in a container, of a user without a name
        monkeypatch.setattr(os.path, "expanduser", os.fspath)
    unknown = re.escape(f"The home of {home} is not known here: write it out, or set HOME.")
    for find in (records.runs_root, find_data, lambda: parquet.sha256([])):
        for name in ("STATIONARITY_RUNS", "STATIONARITY_DATA", "XDG_CACHE_HOME"):
            monkeypatch.setenv(name, home)
        with pytest.raises(UsageError, match=unknown):
            find()
    for command in ("list", "doctor", "run noisy_quadratic"):
        assert main(command.split()) == 2
        error = capsys.readouterr().err
        assert re.search(unknown, error) and error.count("\n") == 1


@pytest.mark.parametrize("name", ["data", "data/cifar10", "data/imagenet"])
def test_a_folder_that_is_closed_is_told(name, tmp_path, monkeypatch, capsys):
    closed, scandir = tmp_path / name, os.scandir
    closed.mkdir(parents=True)

    def refusing(path):
        if closed in (path := Path(path), *path.parents):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setenv("STATIONARITY_DATA", str(tmp_path / "data"))
    told = f"{closed} cannot be read (Permission denied): make it readable, fetch it again"
    assert main(["doctor"]) == 1 and told in capsys.readouterr().out
    if name != "data/imagenet":
        assert main(["run", "full_batch", "--set", "dataset=cifar10"]) == 2
        assert told in capsys.readouterr().err
    monkeypatch.setenv("STATIONARITY_RUNS", str(closed / "runs"))
    for command in ("list", "doctor", "run noisy_quadratic"):
        assert main(command.split()) == 2
        assert f"{closed} cannot be read" in capsys.readouterr().err


def test_a_file_for_a_folder_of_runs_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert "file cannot be written: set STATIONARITY_RUNS" in capsys.readouterr().out


def find_data():
    return root_of(None)


MEETING = {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
INCONSISTENT = [
    ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 cannot be with RANK=, LOCAL_RANK=, MASTER_ADDR=, MAS"),
    (
        {"WORLD_SIZE": "8", "RANK": "0", "LOCAL_RANK": "0"},
        "WORLD_SIZE=8 cannot .* MASTER_ADDR=,",
    ),
    ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE=two is no number"),
    ({"WORLD_SIZE": "²"} | MEETING, "WORLD_SIZE=² is no number: start"),
    ({"WORLD_SIZE": "9" * 5000} | MEETING, "WORLD_SIZE=9{5000} is no number"),
    ({"WORLD_SIZE": "-1"} | MEETING, "WORLD_SIZE=-1 is no number"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0 cannot be with RANK=, LOCAL_RANK="),
    (
        {"WORLD_SIZE": "0", "RANK": "0"} | MEETING,
        "WORLD_SIZE=0 cannot be with RANK=0, LOCAL_RA",
    ),
    ({"WORLD_SIZE": "1", "RANK": "3"}, "WORLD_SIZE=1 cannot be with RANK=3, .*: start the run"),
    ({"WORLD_SIZE": "1", "LOCAL_RANK": "1"}, "WORLD_SIZE=1 cannot be with RANK=, LOCAL_RANK=1"),
    (
        {"WORLD_SIZE": "2", "RANK": "2"} | MEETING,
        "WORLD_SIZE=2 cannot be with RANK=2, LOCAL_RA",
    ),
    ({"WORLD_SIZE": "2", "RANK": "¹"} | MEETING, "RANK=¹ is no number"),
    ({"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "0"}, "WORLD_SIZE=1 cannot .* LOCAL_WORLD_SIZE=0"),
    ({"WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "two"}, "LOCAL_WORLD_SIZE=two is no number"),
]


@pytest.mark.parametrize("environment, message", INCONSISTENT)
def test_an_inconsistent_part_of_what_torchrun_sets_is_told(
    environment, message, monkeypatch, capsys
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for name in ("full_batch", "noisy_quadratic"):
        assert main(["run", name]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error) and "torchrun" in error and error.count("\n") == 1
    monkeypatch.setenv("WORLD_SIZE", "")
    assert main(["run", "noisy_quadratic", "--set", "steps=5"]) == 0
    assert "complete" in capsys.readouterr().out


@pytest.mark.parametrize("port", ["x", "99999999"])
def test_processes_that_cannot_meet_are_told(port, monkeypatch, capsys):
    told = MEETING | {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_PORT": port}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "full_batch", "--device", "cpu"]) == 2
    assert re.search(
        r"cannot meet at MASTER_ADDR and .* \(.*\): start", capsys.readouterr().err
    )
    if not torch.cuda.is_available():
        assert main(["run", "full_batch", "--device", "cuda"]) == 2
        assert "There is no device 'cuda:1' here that computes" in capsys.readouterr().err
    assert main(["run", "full_batch", "--device", "cpu", "--devices", "2"]) == 2
    assert "devices=2 cannot be" in capsys.readouterr().err
