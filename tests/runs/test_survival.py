"""Runs that survive: killed or interrupted at any moment, they end as if they were not."""

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import stationarity
import torch
from PIL import Image
from sittings import calls, command, printed, run, sitting, steps_taken
from stationarity import UsageError, launch
from stationarity.__main__ import main
from stationarity.runs import checkpoints, records
from stationarity.runs.settings import EXPERIMENTS, get
from stationarity.train import ensembles
from stationarity.train.settings import LanguageTraining, Training
from torch.optim.optimizer import register_optimizer_step_post_hook

IMAGES = {
    "measure_on": "draws", "crop_padding": 4,
    "examples": 96, "width": 4, "blocks": (1,), "epochs": 4, "batch_size": 32,
    "drops": (2, 3), "measure_every": 2, "measure_batches": 3, "sharpness_batches": 1,
    "sharpness_products": 4, "observe_every": 2,
}  # fmt: skip
TEXT = {
    "tokens": 2000, "layers": 1, "width": 8, "heads": 2, "head_width": 4,
    "inner_width": 8, "segment": 8, "memory": 8, "batch_size": 4, "steps_per_epoch": 4,
    "epochs": 3, "drops": (1, 2), "measure_batches": 3, "measure_context": 2,
    "sharpness_batches": 1, "sharpness_products": 4,
}  # fmt: skip
SETTLING = {
    "examples": 64, "hidden": (5,), "steps": 30, "drops": (12, 20), "members": 2,
    "batch_size": 16, "record_every": 4, "measure_every": 3,
}  # fmt: skip
FOLLOWED = {
    "examples": 96, "width": 4, "blocks": (1,), "epochs": 6, "followed_epochs": 4,
    "batch_size": 16, "directions": 2, "direction_batches": 1, "noise_batches": 4,
    "measure_every": 3, "measure_batches": 3, "sharpness_batches": 1,
    "sharpness_products": 4,
}  # fmt: skip
KILLED = {  # experiment, settings, steps
    "images": ("imagenet_resnet", IMAGES, 12),
    "images, Adam": ("imagenet_resnet", IMAGES | {"optimizer": "adam"}, 12),
    "images, bfloat16": ("imagenet_resnet", IMAGES | {"precision": "bfloat16"}, 12),
    "images, independent": ("imagenet_resnet", IMAGES | {"sampling": "independent"}, 12),
    "followed": ("continued", FOLLOWED, 36),
    "text": ("wikitext_transformer_xl", TEXT, 12),
    "text, dropout": ("wikitext_transformer_xl", TEXT | {"dropout": 0.2}, 12),
    "study": ("settling", SETTLING, 30),
}
KILLS = dict.fromkeys(KILLED, 1) | dict.fromkeys(("images", "followed", "text", "study"), 3)
LONG = {"epochs": 1000000, "measure_every": 0}


def the_run(folder):
    (found,) = folder.glob("*/*/run.json")
    return records.read(found.parent)


def assert_equal(one, other):
    """Two complete runs have equal metrics and, where both left any, equal weights.

    A study leaves its checkpoint where it is killed as it removes it.
    """
    assert one.complete and other.complete
    pd.testing.assert_frame_equal(one.metrics, other.metrics, check_exact=True)
    weights = [checkpoints.read_checkpoint(run.folder) for run in (one, other)]
    if all(weights):
        (these, those) = (checkpoint["state"]["model"] for checkpoint in weights)
        assert all(torch.equal(these[name], those[name]) for name in these)


@pytest.mark.parametrize("case", KILLED)
def test_a_run_killed_at_random_moments_ends_as_if_it_was_not(case, tmp_path):
    name, settings, steps = KILLED[case]
    whole = tmp_path / "whole"
    assert sitting(run, whole, name=name, settings=settings) == 0, printed(whole)
    assert steps_taken(whole) == steps
    chance, killed = random.Random(case), 0
    while killed < KILLS[case]:
        folder, before = tmp_path / str(killed), killed
        moment = (None, chance.randrange(calls(whole)))
        while (status := sitting(run, folder, moment, name=name, settings=settings)) != 0:
            assert status == -signal.SIGKILL, printed(folder)
            killed += 1
            moment = (None, chance.randrange(calls(whole)))
        assert_equal(the_run(folder), the_run(whole))
        assert steps_taken(folder) <= steps + killed - before  # one a kill is repeated


POINTS = {  # function, its n-th call, what is there then
    "in a checkpoint": ("write_record", 40, {"checkpoint.pt.partial"}),
    "after a checkpoint": ("to_parquet", 1, {"checkpoint.pt"}),
    "between two renames": (
        "os.replace",
        6,
        {"checkpoint.pt.partial", "checkpoint.previous.pt"},
    ),
    "after the metrics": ("os.replace", 8, {"metrics.parquet", "run.json.partial"}),
    "in a measurement": ("largest_eigenpairs", 2, {"checkpoint.pt", "metrics.parquet"}),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert sitting(run, folder, name="imagenet_resnet", settings=IMAGES) == 0
    return the_run(folder)


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_a_bad_moment_ends_as_if_it_was_not(point, whole, tmp_path):
    name, number, there = POINTS[point]
    given = {"name": "imagenet_resnet", "settings": IMAGES}
    assert sitting(run, tmp_path, (name, number), **given) == -signal.SIGKILL
    found = {path.name for path in tmp_path.glob("*/*/*")}
    assert there <= found
    assert sitting(run, tmp_path, **given) == 0, printed(tmp_path)
    assert_equal(the_run(tmp_path), whole)
    assert steps_taken(tmp_path) <= 13


def test_a_followed_run_killed_after_its_last_checkpoint_says_what_it_saw(tmp_path):
    given = {"name": "continued", "settings": FOLLOWED}
    assert sitting(run, tmp_path / "whole", **given) == 0
    moment = ("rows_of_motion", 1)
    assert sitting(run, tmp_path / "killed", moment, **given) == -signal.SIGKILL
    assert sitting(run, tmp_path / "killed", **given) == 0
    assert_equal(the_run(tmp_path / "killed"), the_run(tmp_path / "whole"))


STUDIES = {
    "settling": SETTLING,
    "replicas": {
        "examples": 64, "hidden": (5,), "burn_in": 8, "steps": 6, "trajectory": 10,
        "replicas": 3, "batch_size": 16, "record_every": 3, "measure_every": 2,
    },
    "deep_modes": {
        "examples": 64, "hidden": (4,), "batch_size": 16, "burn_in": 6, "averaged": 4,
        "steps": 96, "discarded": 4, "replicas": 8, "modes": 2, "random_directions": 2,
        "points": 2, "draws": 2, "nodes": 3, "measure_every": 20,
    },
    "regimes": {"steps": 5, "members": 2, "examples": 128},
    "averaging": {
        "examples": 100, "hidden": (4,), "learning_rates": (0.01, 0.1), "steps": 24,
        "annealed": 8, "windows": (1, 4, 16), "members": 2, "record_every": 3,
    },
    "two_clocks": {
        "examples": 64, "hidden": (3,), "batch_size": 16, "stages": (16, 16, 16),
        "full_steps": 16, "members": 2, "measure_every": 2, "learning_rates": (0.1, 0.2),
        "decays": (0.01, 0.02),
    },
    "your_training": {
        "layers": 1, "width": 4, "heads": 2, "context": 4, "batch_size": 4, "warmup": 3,
        "stages": (8, 8), "measure_every": 5, "measure_batches": 3, "sharpness_batches": 1,
    },
    "diffusion": {
        "examples": 64, "hidden": (4,), "settle": 8, "longest": 12, "members": 2,
        "burn_in": 3, "spacing": 5, "batch_size": 8, "learning_rates": (0.05,),
        "batch_sizes": (4,), "momenta": (), "weight_decays": (), "branches": 2,
    },
    "linear_regression": {
        "examples": 32, "dimensions": 2, "directions": 2, "steps": 8, "lags": 4,
        "trajectories": 8, "minibatch_trajectories": 4,
    },
    "phase_space": {"trajectories": 8, "steps": 200, "burn_in": 10, "lags": 5, "segment": 64},
    "minibatch_currents": {
        "trajectories": 4, "steps": 200, "burn_in": 10, "lags": 5, "segment": 64,
    },
    "two_identities": {
        "examples": 64, "batch_size": 8, "edges": (9, 21), "replicates": 3,
    },
    "gradient_estimators": {
        "examples": 32, "batch_size": 8, "hidden": (4,), "training_steps": 12,
        "sizes": (3, 4), "drawn": (2, 4), "replicates": 4,
    },
    "normalised_loss": {
        "examples": 256, "width": 4, "blocks": (1,), "training_steps": 8,
        "batch_sizes": (2, 64), "measured_examples": 64, "scales": (0.3, 1.0),
    },
    "sharpness_estimators": {
        "hidden": (4,), "training_steps": 8, "max_products": 2, "batches": 2,
    },
    "noisy_quadratic": {"steps": 20, "trajectories": 5},
}  # fmt: skip


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_interrupted_after_any_step_ends_as_if_it_was_not(name, monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "whole"))
    expected = stationarity.run(name, settings=STUDIES[name]).metrics
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "interrupted"))
    original, written = checkpoints.Keeper._write, []
    monkeypatch.setattr(launch, "CHECKPOINT_SECONDS", 0)

    def write(keeper, *rows):
        original(keeper, *rows)
        written.append(keeper.steps)
        if len(written) % 7 == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Keeper, "_write", write)
    interrupted = 0
    while True:
        try:
            found = stationarity.run(name, settings=STUDIES[name])
            break
        except KeyboardInterrupt:
            interrupted += 1
    pd.testing.assert_frame_equal(found.metrics, expected, check_exact=True)
    assert interrupted >= 1 and found.complete
    assert sorted(p.name for p in found.folder.iterdir()) == ["metrics.parquet", "run.json"]
    # Nothing was done twice: as many checkpoints as a run in one sitting writes.
    count = len(written)
    written.clear()
    monkeypatch.setattr(checkpoints.Keeper, "_write", lambda *_: written.append(0))
    stationarity.run(name, settings=STUDIES[name], seed=1)
    assert len(written) == count


def test_only_studies_that_take_seconds_at_every_scale_keep_nothing():
    short = {"descent_map", "finite_chains", "noisy_plane", "double_well", "walks"}
    kinds = {type(get(name)) for name in (*short, *STUDIES)}
    all_of_them = {type(scales["classroom"]) for scales in EXPERIMENTS.values()}
    trained = Training, LanguageTraining
    assert kinds == {kind for kind in all_of_them if not issubclass(kind, trained)}


PHOTOGRAPHS = {
    "dataset": "imagenet", "width": 4, "blocks": (1,), "image_size": 32,
    "measure_on": "draws", "label_noise": 0.0, "epochs": 2, "batch_size": 4, "examples": 0,
    "measure_every": 0, "drops": (1,),
}  # fmt: skip
INTERRUPTED = [  # where, by what; experiment, settings; function, its n-th call
    ("training", signal.SIGINT, "imagenet_resnet", IMAGES, ("run_backward", 30)),
    ("measuring", signal.SIGTERM, "imagenet_resnet", IMAGES, ("largest_eigenpairs", 2)),
    ("study", signal.SIGTERM, "settling", SETTLING, ("losses_and_gradients", 20)),
    ("writing", signal.SIGINT, "imagenet_resnet", IMAGES, ("to_parquet", 2)),
    ("loading", signal.SIGINT, "imagenet_resnet", PHOTOGRAPHS, ("_next_data", 6)),
    ("loading", signal.SIGTERM, "imagenet_resnet", PHOTOGRAPHS, ("_next_data", 6)),
]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for index in range(16):
        folder = root / "imagenet" / "train" / f"class{index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (16 * index, 0, 0)).save(folder / f"{index}.png")
    return root


def line(name, settings, root):
    """Return the arguments of the command line that makes the run."""
    pairs = {key: str(value).strip("()") for key, value in settings.items()}
    chosen = [f"--set={key}={value}" for key, value in pairs.items()]
    return ["run", name, "--data-root", str(root), *chosen]


@pytest.mark.parametrize("case", INTERRUPTED, ids=lambda case: f"{case[0]} {case[1].name}")
def test_an_interrupted_command_says_how_the_run_goes_on(case, photographs, tmp_path):
    """The run gets its first checkpoints, and is then interrupted."""
    _, number, name, settings, moment = case
    given = {"arguments": line(name, settings, photographs)}
    status = {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    begun = {"name": name, "settings": settings, "data_root": photographs}
    assert sitting(run, tmp_path, moment, **begun) == -signal.SIGKILL
    first = (moment[0], 1)
    assert sitting(command, tmp_path, first, number, **given) == status, printed(tmp_path)
    said = printed(tmp_path)
    assert "The same call goes on with" in said and "Traceback" not in said
    assert not the_run(tmp_path).complete
    assert sitting(command, tmp_path, **given) == 0, printed(tmp_path)
    assert the_run(tmp_path).complete


def command_interrupted_again(arguments, again):
    """Run the command line, which hears another signal while it says how to go on."""
    way_on = launch._way_on

    def say(folder):
        os.kill(os.getpid(), again)
        return way_on(folder)

    launch._way_on = say
    return main(arguments)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("again", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_cut_the_end(first, again, tmp_path):
    """As torchrun sends it to processes that have heard a terminal's Ctrl-C."""
    given = {"arguments": line("settling", SETTLING, tmp_path), "again": again}
    moment = ("losses_and_gradients", 5)
    status = sitting(command_interrupted_again, tmp_path, moment, first, **given)
    said = printed(tmp_path)
    assert status == 128 + first and "Traceback" not in said
    assert "the same call starts anew" in said


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_signals_until_the_end_of_the_process_change_no_status(first, tmp_path):
    command = [sys.executable, "-m", "stationarity", *line("full_batch", LONG, tmp_path)]
    environment = os.environ | {"STATIONARITY_RUNS": str(tmp_path)}
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job ignores it
    kinds = {"env": environment, "stderr": subprocess.PIPE, "preexec_fn": heard}
    process = subprocess.Popen(command, **kinds)
    for number, word in ((first, b"0/1000000"), (signal.SIGINT, b"Interrupted")):
        said = b""
        while word not in said:
            said += process.stderr.read1()
            assert process.poll() is None, said
        process.send_signal(number)
    while process.poll() is None:
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
            time.sleep(0.005)
    said += process.stderr.read()
    assert process.returncode == 128 + first and b"Traceback" not in said
    assert b"the same call starts anew" in said


HEARING = """
import os, runpy, signal, sys

class Finder:
    def find_spec(name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {number})

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
sys.meta_path.insert(0, Finder)
runpy.run_module("stationarity", run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "module, command",
    [
        ("tqdm", "list"), ("numpy", "list"), ("pydantic", "record x"), ("pandas", "verify"),
        ("torch", "run full_batch"), ("torch._C", "run full_batch"), ("torch._C", "doctor"),
        ("stationarity.launch", "run full_batch"),
    ],
)  # fmt: skip
def test_a_signal_while_modules_are_imported_ends_the_command_quietly(module, command, number):
    program = HEARING.format(module=module, number=int(number))
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_an_interruption_before_the_first_checkpoint_is_told(tmp_path):
    given = {"arguments": line("settling", SETTLING, tmp_path)}
    moment = ("losses_and_gradients", 5)
    assert sitting(command, tmp_path, moment, signal.SIGINT, **given) == 130
    assert "No checkpoint of classroom-" in printed(tmp_path)
    assert "the same call starts anew" in printed(tmp_path)


# --- errors: one sentence, and nothing lost ------------------------------------------


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """The folder of a run of images that was interrupted after seven steps."""
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    monkeypatch.setattr(launch, "CHECKPOINT_SECONDS", 0)
    hook = register_optimizer_step_post_hook(stop_after(7))
    with pytest.raises(KeyboardInterrupt):
        images()
    hook.remove()
    return next(tmp_path.glob("*/classroom-*"))


def images(**changes):
    return stationarity.run("imagenet_resnet", settings=IMAGES | changes)


def stop_after(steps, error=KeyboardInterrupt):
    left = iter(range(steps))

    def stop(*_):
        if next(left, None) is None:
            raise error

    return stop


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_refused(folder, message):
    """The call says this in one sentence, and leaves all files as they are."""
    before = contents(folder)
    with pytest.raises(UsageError, match=message) as refused:
        images()
    assert "\n" not in str(refused.value) and str(folder) in str(refused.value)
    assert contents(folder) == before


def change_checkpoint(folder, change):
    checkpoint = checkpoints.read_checkpoint(folder)
    change(checkpoint)
    torch.save(checkpoint, folder / "checkpoint.pt")


def test_a_checkpoint_of_another_model_is_refused(interrupted):
    checkpoint = checkpoints.read_checkpoint(interrupted)
    wider = {name: torch.zeros(7) for name in checkpoint["state"]["model"]}
    for model in (wider, {"weight": torch.zeros(2)}):
        change_checkpoint(interrupted, lambda kept: kept["state"].update(model=model))
        assert_refused(interrupted, "is of another run, or of another version")
    torch.save({"epoch": 3, "state_dict": wider}, interrupted / "checkpoint.pt")
    assert_refused(interrupted, "is of another run, or of another version")
    torch.save([1, 2], interrupted / "checkpoint.pt")
    assert_refused(interrupted, "is of another run, or of another version")


def test_a_checkpoint_of_the_same_model_with_another_seed_is_refused(interrupted):
    change_checkpoint(interrupted, lambda kept: kept.update(fingerprint="0123456789ab"))
    assert_refused(interrupted, "is of another run")


def test_a_checkpoint_of_a_training_run_is_none_of_a_study(interrupted, monkeypatch):
    settings = get("settling", overrides=SETTLING)
    folder = launch.folder_of("settling", "classroom", settings)
    folder.mkdir(parents=True)
    (interrupted / "checkpoint.pt").rename(folder / "checkpoint.pt")
    with pytest.raises(UsageError, match="is of another run"):
        stationarity.run("settling", settings=SETTLING)
    torch.save({"parts": {}, "steps": 1, "state": {"step": 1}}, folder / "checkpoint.pt")
    with pytest.raises(UsageError, match="is of another run"):
        stationarity.run("settling", settings=SETTLING)


def test_a_study_without_its_table_is_not_gone_on_with(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(launch, "CHECKPOINT_SECONDS", 0)
        patch.setattr(ensembles, "sgd_step", stop_after(9))
        with pytest.raises(KeyboardInterrupt):
            stationarity.run("settling", settings=SETTLING)
    next(tmp_path.glob("*/*/table.bin")).write_bytes(b"")
    with pytest.raises(UsageError, match="is of another run"):
        stationarity.run("settling", settings=SETTLING)


def test_when_both_checkpoints_are_damaged_nothing_is_deleted(interrupted):
    for name in checkpoints.CHECKPOINTS:
        whole = (interrupted / name).read_bytes()
        (interrupted / name).write_bytes(whole[: len(whole) // 2])
    before = contents(interrupted)
    with pytest.raises(UsageError, match="No checkpoint of .* can be read: delete its folder"):
        images()
    assert contents(interrupted) == before


@pytest.mark.parametrize("text", ["", "{", "\0\0\0", '{"status": "running"', "\u00e9"])
def test_a_damaged_run_json_is_named_and_the_run_goes_on_without_it(text, interrupted):
    (interrupted / "run.json").write_text(text, encoding="latin-1")
    assert_refused(interrupted, "run.json is damaged: delete this file")
    (interrupted / "run.json").unlink()
    assert images().complete


@pytest.mark.parametrize("text", ["[]", '{"status": "complete", "experiment": "x"}'])
def test_a_run_json_of_another_version_is_named(text, interrupted):
    (interrupted / "run.json").write_text(text)
    assert_refused(interrupted, "another version of the library: it lacks .*fingerprint")


def test_damaged_metrics_are_made_again_from_the_checkpoint(interrupted):
    run, path = images(), interrupted / "metrics.parquet"
    whole = path.read_bytes()
    for damaged in (whole[:100], b""):
        path.write_bytes(damaged)
        with pytest.raises(
            UsageError, match="metrics in .* are missing or damaged: delete run"
        ):
            images().series("loss")
    path.unlink()
    with pytest.raises(UsageError, match="are missing or damaged"):
        images().series("loss")
    (interrupted / "run.json").unlink()
    again = images()
    pd.testing.assert_frame_equal(again.metrics, run.metrics, check_exact=True)


def on_a_full_disk(allowed, **keywords):
    """Run the command line where no file may grow beyond so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, allowed))
    return command(**keywords)


@pytest.mark.parametrize("case", ["images", "study"])
def test_a_run_on_a_full_disk_goes_on_when_there_is_room(case, tmp_path):
    name, settings, _ = KILLED[case]
    given = {"arguments": line(name, settings, tmp_path)}
    assert sitting(run, tmp_path, ("os.fsync", 20), name=name, settings=settings) < 0
    status = sitting(on_a_full_disk, tmp_path, allowed=2000, **given)
    said = printed(tmp_path)
    assert status == 2 and "could not be written to" in said and "make room" in said
    assert "Traceback" not in said and not the_run(tmp_path).complete
    assert sitting(command, tmp_path, **given) == 0, printed(tmp_path)
    whole = tmp_path / "whole"
    assert sitting(run, whole, name=name, settings=settings) == 0
    assert_equal(the_run(tmp_path), the_run(whole))


def test_a_folder_of_runs_is_made_with_its_parents(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "not" / "there"))
    assert stationarity.run("noisy_quadratic", settings=STUDIES["noisy_quadratic"]).complete
    monkeypatch.setenv("STATIONARITY_RUNS", "/proc/nowhere/runs")
    with pytest.raises(UsageError, match="No run can be kept in /proc/nowhere"):
        stationarity.run("noisy_quadratic", settings=STUDIES["noisy_quadratic"])


def test_a_file_system_that_became_read_only_is_told(interrupted, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", read_only)
        patch.setattr(type(interrupted), "unlink", read_only)
        assert_refused(interrupted, r"could not be written to .*\(Read-only file system\)")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert_refused(interrupted, "cannot be written.*STATIONARITY_RUNS")
    assert images().complete


def allocate(*_):
    torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), None])
def test_without_memory_the_run_says_what_helps_and_goes_on(error, interrupted, whole):
    hook = register_optimizer_step_post_hook(stop_after(2, error) if error else allocate)
    with pytest.raises(UsageError, match="memory of cpu does not suffice: lower batch_size"):
        images()
    hook.remove()
    assert_equal(images(), whole)


def test_other_errors_stay_as_they_are(interrupted):
    hook = register_optimizer_step_post_hook(stop_after(0, RuntimeError("a mistake")))
    with pytest.raises(RuntimeError, match="a mistake"):
        images()
    hook.remove()


def test_writing_takes_at_most_a_hundredth_of_the_time(monkeypatch, tmp_path):
    now = took = 0.0

    def write(path, *_):
        nonlocal now
        now += took if path.name == "checkpoint.pt" else 0.0

    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    monkeypatch.setattr(checkpoints.time, "process_time", lambda: 7 + 2 * now)
    monkeypatch.setattr(records, "write_whole", write)
    info = {"fingerprint": "0" * 12, "wall_seconds": 5.0}
    clock = checkpoints.Keeper(tmp_path, info, seconds=30)
    assert not clock.due()
    now = 30.0
    assert clock.due()
    for seconds, pause in ((0.1, 30.0), (2.0, 200.0)):
        took = seconds
        clock.save(checkpoints.Kept())
        now += pause - 0.01
        assert not clock.due()
        now += 0.02
        assert clock.due()
    clock.save(checkpoints.Kept())
    assert info["wall_seconds"] == pytest.approx(5 + now - took)
    assert info["cpu_seconds"] == pytest.approx(2 * (now - took))
    always = checkpoints.Keeper(tmp_path, info, seconds=0)
    always.save(checkpoints.Kept())
    assert always.due()
