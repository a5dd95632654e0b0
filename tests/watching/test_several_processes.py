"""Two processes that share a training are watched as one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from stationarity.runs import records

SCRIPT = """
import sys
import stationarity, torch
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

torch.distributed.init_process_group("gloo")
rank, (folder, watched) = torch.distributed.get_rank(), sys.argv[1:]
torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Linear(6, 2)))
optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
inputs = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
whole = torch.utils.data.TensorDataset(inputs, (inputs.sum(1) > 0).long())
sampler = torch.utils.data.distributed.DistributedSampler(whole, seed=2)
loader = torch.utils.data.DataLoader(whole, batch_size=8, sampler=sampler)
objective = lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1])
torch.manual_seed(rank)
if watched == "yes":
    how = {"root": folder, "every": 3, "measure_batches": 4}
    watch = stationarity.watch(model, objective, optimizer, loader, **how)
if watched == "again":
    watched, how = "yes", {"root": folder + "/again", "every": 3, "measure_batches": 4}
    kept = {}

    def begun():
        return stationarity.watch(model, objective, optimizer, loader, **how)

    def goes_on(own):  # a new watch: each from its own state, or all from the first's
        states = [None, None]
        torch.distributed.all_gather_object(states, watch.state_dict())
        torch.distributed.barrier()
        other = begun()
        other.load_state_dict(states[rank if own else 0])
        return other

    watch = begun()
else:
    goes_on = None
losses = []
for epoch in range(2):
    sampler.set_epoch(epoch)
    for batch in loader:
        optimizer.zero_grad()
        loss = objective(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if watched == "yes":
            watch.step(batch, loss)
            if goes_on and len(losses) in (2, 5):
                watch = goes_on(own=len(losses) == 2)
if watched == "yes":
    watch.close()
torch.save([torch.cat([p.detach().flatten() for p in model.parameters()]), losses],
           f"{folder}/{sys.argv[2]}-{rank}.pt")
"""


def trained(folder: Path, watched: str) -> list:
    (folder / "train.py").write_text(SCRIPT)
    start = "-m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node 2"
    line = [sys.executable, *start.split(), str(folder / "train.py"), str(folder), watched]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{watched}-{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_go_on_each_from_its_own_state_or_all_from_the_firsts(tmp_path):
    (_, mine), (_, theirs) = trained(tmp_path, "again")
    (folder,) = (tmp_path / "again" / "training").glob("watched-*")
    noted = records.read(folder).series("loss").value.to_numpy()
    means = np.mean([mine, theirs], axis=0)
    means[3:5] = mine[3:5]  # not yet written when the first's state alone was kept
    assert np.allclose(noted, means)


def test_a_training_of_two_processes_is_watched_and_stays_what_it_was(tmp_path):
    alone, watched = (trained(tmp_path, kind) for kind in ("no", "yes"))
    for one, other in zip(alone, watched):
        assert torch.equal(one[0], other[0]) and one[1] == other[1]
    (folder,) = (tmp_path / "training").glob("watched-*")
    run = records.read(folder)
    losses = np.mean([each[1] for each in watched], axis=0)
    assert np.allclose(run.series("loss").value, losses)
    assert run.info["device"].startswith("2 x ")
    assert run.info["watch"]["batch_size"] == 16  # of both
    assert run.series("sharpness").step.tolist() == [1, 3, 6]
