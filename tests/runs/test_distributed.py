"""One run on several processes."""

import datetime
import multiprocessing
import os
import signal
import socket
import sys

import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError, launch
from stationarity.measure import cross_entropy, curvature, sharpness
from stationarity.runs import distributed
from stationarity.runs.settings import get
from stationarity.train import loop
from torch import nn

IMAGES = {
    "measure_on": "draws", "crop_padding": 4,
    "model": "mlp", "hidden": "8", "epochs": 3, "drops": "2", "precision": "float64",
    "momentum": 0.9, "measure_batches": 18, "measure_every": 1, "sharpness_batches": 2,
    "observe_every": 5,
}  # fmt: skip
TEXT = {
    "epochs": 2, "steps_per_epoch": 12, "drops": "1", "tokens": 30000, "layers": 1,
    "precision": "float64", "width": 8, "head_width": 4, "inner_width": 8, "segment": 8,
    "memory": 8, "measure_batches": 3, "sharpness_products": 4, "cutoffs": "20",
}  # fmt: skip


def process(rank, count, port, runs_root, name, settings, sender, killed_at):
    """What one of several forked processes does."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(count),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        STATIONARITY_RUNS=str(runs_root),
    )
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if killed_at is not None:
        launch.CHECKPOINT_SECONDS = 0.0
    if killed_at is not None and rank == count - 1:
        take_step = loop.State.take_step

        def take_or_die(state, batch):
            if state.step == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return take_step(state, batch)

        loop.State.take_step = take_or_die
    try:
        stationarity.run(name, settings=settings, device="cpu")
        sender.send("done")
    except UsageError as error:
        sender.send(str(error))


def run_on(count, runs_root, name, settings, killed_at=None):
    """Run an experiment on forked processes; return what each said, None if killed."""
    context = multiprocessing.get_context("fork")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    members = []
    for rank in range(count):
        receiver, sender = context.Pipe(duplex=False)
        arguments = (rank, count, port, runs_root, name, settings, sender, killed_at)
        member = context.Process(target=process, args=arguments)
        member.start()
        sender.close()
        members.append((member, receiver))
    if killed_at is not None:  # as torchrun does with the others
        members[-1][0].join(60)
        for member, _ in members:
            member.kill()
    said = []
    for member, receiver in members:
        member.join(60)
        assert not member.is_alive()
        try:
            said.append(receiver.recv())
        except EOFError:
            said.append(None)
    return said


def metrics(runs_root) -> pd.DataFrame:
    [path] = runs_root.glob("*/*/metrics.parquet")
    return pd.read_parquet(path)


@pytest.fixture(autouse=True)
def one_of_few(one_thread):
    """Children are forked, and a pool of threads does not survive that."""


FOLLOWED = IMAGES | {
    "drops": "", "epochs": 4, "followed_epochs": 2, "directions": 2, "noise_batches": 3,
    "direction_batches": 2, "measure_every": 2, "observe_every": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "name, settings",
    [
        ("imagenet_resnet", IMAGES), ("wikitext_transformer_xl", TEXT),
        ("continued", FOLLOWED),
    ],
)  # fmt: skip
def test_processes_together_do_what_one_does(tmp_path, name, settings):
    assert run_on(1, tmp_path / "one", name, settings) == ["done"]
    assert run_on(2, tmp_path / "two", name, settings) == ["done", "done"]
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert one[["step", "quantity"]].equals(two[["step", "quantity"]])
    assert {"sharpness", "gradient_norm_squared", "train_loss"} <= set(one.quantity)
    torch.testing.assert_close(
        torch.tensor(one[["value", "error"]].to_numpy()),
        torch.tensor(two[["value", "error"]].to_numpy()),
        rtol=1e-9,
        atol=1e-9,
        equal_nan=True,
    )


def test_processes_are_killed_again_and_again_and_go_on_to_the_same_end(tmp_path):
    settings = TEXT | {"precision": "float32", "batch_size": 15, "epochs": 3}
    name = "wikitext_transformer_xl"
    run_on(3, tmp_path / "whole", name, settings)
    # Losses are read, and checkpoints written, at the end of an epoch of 12 steps.
    for moment in (5, 31):
        said = run_on(3, tmp_path / "killed", name, settings, killed_at=moment)
        assert said == [None] * 3
        reached = metrics(tmp_path / "killed").step.max() if moment > 12 else 0
        assert reached == moment // 12 * 12
    said = run_on(3, tmp_path / "killed", name, settings)
    assert said == ["done"] * 3
    pd.testing.assert_frame_equal(
        metrics(tmp_path / "whole"), metrics(tmp_path / "killed"), check_exact=True
    )
    other = run_on(1, tmp_path / "killed", name, settings)
    assert other == ["done"]  # it is complete: there is nothing to share


def test_a_run_goes_on_with_as_many_processes_as_it_was_begun_on(tmp_path):
    settings = IMAGES | {"measure_every": 0}
    run_on(2, tmp_path, "imagenet_resnet", settings, killed_at=30)
    [said] = run_on(1, tmp_path, "imagenet_resnet", settings)
    assert "begun on 2 processes" in said and "--devices" in said


def test_a_batch_that_has_no_equal_shares_is_refused(tmp_path):
    said = run_on(2, tmp_path, "imagenet_resnet", IMAGES | {"batch_size": 63})
    assert all("63 cannot be divided among 2 processes" in one for one in said)
    assert not list(tmp_path.glob("*/*/run.json"))


def test_what_does_not_train_is_no_matter_for_several_processes(tmp_path):
    said = run_on(2, tmp_path, "noisy_quadratic", {"steps": 5})
    assert all("without torchrun" in one for one in said)


def test_torchrun_is_started_for_several_devices(tmp_path, monkeypatch):
    """They meet where the name of the host leads nowhere, as it does in some containers."""
    (tmp_path / "sitecustomize.py").write_text(
        "import socket\nsocket.gethostname = lambda: 'leads.nowhere.invalid'\n"
    )
    monkeypatch.setenv(
        "PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    )
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    settings = IMAGES | {"epochs": 1, "measure_every": 0, "observe_every": 0, "drops": ""}
    run = stationarity.run("imagenet_resnet", settings=settings, device="cpu", devices=2)
    assert run.complete
    assert run.info["processes"] == 2
    assert run.info["device"].startswith("2 x CPU")


@pytest.mark.parametrize("devices, device", [(0, "cpu"), (-1, "cpu"), (2, "cpu:0")])
def test_devices_that_cannot_be(devices, device):
    with pytest.raises(UsageError, match="devices="):
        stationarity.run("imagenet_resnet", device=device, devices=devices)


def test_alone_nothing_is_shared():
    values = torch.tensor([1.0, 2.0])
    assert distributed.size() == 1
    assert distributed.share(7) == slice(0, 7)
    assert distributed.mean(values) is values
    assert distributed.joined_up(values, 0) is values
    assert distributed.of_first(3) == 3


def test_a_second_process_waits_for_the_first(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    chosen = get("noisy_quadratic", overrides={"steps": 5})
    folder = launch.folder_of("noisy_quadratic", "classroom", chosen)
    context = multiprocessing.get_context("fork")
    locked, release = context.Event(), context.Event()

    def hold():
        with launch._alone(folder):
            locked.set()
            release.wait(60)

    holder = context.Process(target=hold)
    holder.start()
    assert locked.wait(60)
    monkeypatch.setattr(sys.stderr, "write", lambda text: release.set(), raising=False)
    run = stationarity.run("noisy_quadratic", settings={"steps": 5})
    assert release.is_set() and run.complete
    holder.join(60)


# --- measuring what processes train together ------------------------------------------


def batches_of(rank: int) -> list:
    generator = torch.Generator().manual_seed(rank)
    inputs = torch.randn(4, 8, 3, dtype=torch.float64, generator=generator)
    return [(one, torch.arange(8) % 2) for one in inputs]


def measuring(rank: int, store: str, full: bool, sender) -> None:
    """What one of two processes does: the second has less memory, or the first once."""
    torch.set_num_threads(1)
    how = {"init_method": f"file://{store}", "timeout": datetime.timedelta(seconds=20)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **how)
    free = iter([100] * (2 if rank and not full else 9))
    curvature.spare_memory = lambda device: next(free, 0)
    product, calls = curvature.hessian_product, iter(range(999))

    def failing(*arguments, **how):
        if full and rank == 0 and next(calls) == 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return product(*arguments, **how)

    curvature.hessian_product = failing
    model = nn.parallel.DistributedDataParallel(normalised())
    sender.send(sharpness(model, cross_entropy, batches_of(rank)).eigenvalues.item())


def normalised() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)
    return nn.Sequential(*layers).double()


@pytest.mark.parametrize("full", [False, True])
def test_processes_of_unequal_memory_make_as_many_forward_passes(full, tmp_path):
    """Each waits for those of the other, as the first process gives its buffers in them."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    given = [(rank, str(tmp_path / "store"), full, sender) for rank in range(2)]
    members = [context.Process(target=measuring, args=arguments) for arguments in given]
    for one in members:
        one.start()
    for one in members:
        one.join(60)
    assert [one.exitcode for one in members] == [0, 0]
    alone = sharpness(normalised(), cross_entropy, batches_of(0) + batches_of(1)).eigenvalues
    assert [receiver.recv(), receiver.recv()] == pytest.approx([alone.item()] * 2, rel=1e-9)
