"""Two processes that share a training are watched as one."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from stationarity.runs import records

SCRIPT = """
import sys
import stationarity, torch
from stationarity.chapters.ch02_what_to_measure.models import Square
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

torch.distributed.init_process_group("gloo")
rank, folder = torch.distributed.get_rank(), sys.argv[1]

class Once(nn.Module):
    def forward(self, x):
        return Square.apply(x)

def train(place):
    torch.manual_seed(0)
    layers = nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 2)
    layers += (Once(),) * (place == "without curvature")
    model = DistributedDataParallel(nn.Sequential(*layers))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
    whole = torch.utils.data.TensorDataset(inputs, (inputs.sum(1) > 0).long())
    sampler = torch.utils.data.distributed.DistributedSampler(whole, seed=2)
    loader = torch.utils.data.DataLoader(whole, batch_size=8, sampler=sampler)
    objective = lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1])
    torch.manual_seed(rank)

    def begun():
        how = {"root": f"{folder}/{place}", "every": 3, "measure_batches": 4}
        return stationarity.watch(model, objective, optimizer, loader, **how)

    def goes_on(own):  # a new watch: each from its own state, or all from the first's
        states = [None, None]
        torch.distributed.all_gather_object(states, watch.state_dict())
        torch.distributed.barrier()
        other = begun()
        other.load_state_dict(states[rank if own else 0])
        return other

    watch = begun() if place else None
    losses = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            loss = objective(model, batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if watch:
                watch.step(batch, loss)
            if place == "again" and len(losses) in (2, 5):
                watch = goes_on(own=len(losses) == 2)
    if watch:
        watch.close()
    return torch.cat([p.detach().flatten() for p in model.parameters()]), losses

torch.save([train(place) for place in (None, "once", "again")], f"{folder}/{rank}.pt")
train("without curvature")
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple:
    """A folder of runs, and what both processes trained alone, watched, and resuming."""
    folder = tmp_path_factory.mktemp("two processes")
    (folder / "train.py").write_text(SCRIPT)
    start = "-m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2"
    line = [sys.executable, *start.split(), str(folder / "train.py"), str(folder)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    both = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return folder, *zip(*both)


def test_two_processes_go_on_each_from_its_own_state_or_all_from_the_firsts(trained):
    place, _, _, ((_, mine), (_, theirs)) = trained
    (folder,) = (place / "again" / "training").glob("watched-*")
    noted = records.read(folder).series("loss").value.to_numpy()
    means = np.mean([mine, theirs], axis=0)
    means[3:5] = mine[3:5]  # not yet written when the first's state alone was kept
    assert np.allclose(noted, means)


def test_a_training_of_two_processes_is_watched_and_stays_what_it_was(trained):
    place, alone, watched, _ = trained
    for one, other in zip(alone, watched):
        assert torch.equal(one[0], other[0]) and one[1] == other[1]
    (folder,) = (place / "once" / "training").glob("watched-*")
    run = records.read(folder)
    losses = np.mean([each[1] for each in watched], axis=0)
    assert np.allclose(run.series("loss").value, losses)
    assert run.info["device"].startswith("2 x ")
    assert run.info["watch"]["batch_size"] == 16  # of both
    assert run.series("sharpness").step.tolist() == [1, 3, 6]


def test_a_curvature_that_no_process_can_compute_is_left_out_by_all(trained):
    (folder,) = (trained[0] / "without curvature" / "training").glob("watched-*")
    run = records.read(folder)
    assert run.complete and len(run.series("loss")) == 8 and not run.has("sharpness")
    assert "lacks a derivative" in run.info["watch"]["sharpness"]
    assert run.series("noise_norm").step.tolist() == [1, 3, 6]
