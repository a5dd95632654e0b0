"""A watched training is the training it was, and what is noted of it is right."""

import copy
import math

import numpy as np
import pytest
import stationarity
import torch
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.provenance import closure
from stationarity.watching import tables
from stationarity.watching.pacing import Pace
from torch import nn
from torch.nn import functional

pytestmark = pytest.mark.usefixtures("one_thread")


def net() -> nn.Module:
    torch.manual_seed(0)
    norm, dropout = nn.BatchNorm1d(16), nn.Dropout(0.2)
    return nn.Sequential(nn.Linear(8, 16), norm, nn.ReLU(), dropout, nn.Linear(16, 3))


def objective(model, batch):
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels)


DATA = torch.utils.data.TensorDataset(
    torch.randn(256, 8, generator=torch.Generator().manual_seed(1)),
    torch.randint(3, (256,), generator=torch.Generator().manual_seed(2)),
)


def loader(generator=None):
    return torch.utils.data.DataLoader(DATA, batch_size=16, shuffle=True, generator=generator)


def optimizer_of(name: str, model: nn.Module):
    if name == "sgd":
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)
    if name == "nesterov":
        how = {"momentum": 0.8, "nesterov": True}
        return torch.optim.SGD(model.parameters(), 0.05, **how)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "lr": 3e-3}]
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(groups, 1e-2, weight_decay=0.0)


class Training:
    """Three epochs of a small net, with a scheduler."""

    def __init__(self, name: str):
        self.model, self.generator = net(), torch.Generator().manual_seed(3)
        self.optimizer = optimizer_of(name, self.model)
        self.loader = loader(self.generator)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, 48)
        self.weights = [self.flat()]

    def flat(self):
        return torch.cat([p.detach().reshape(-1) for p in self.model.parameters()]).double()

    def steps(self, epochs=3, watch=None):
        for _ in range(epochs):
            for batch in self.loader:
                self.optimizer.zero_grad()
                loss = objective(self.model, batch)
                loss.backward()
                self.optimizer.step()
                self.schedule.step()
                if watch:
                    watch.step(batch, loss)
                self.weights.append(self.flat())
        return self

    def state(self):
        parts = (self.model.state_dict(), self.optimizer.state_dict()["state"])
        return [*parts, torch.get_rng_state(), self.generator.get_state()]


def same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def watched(training, tmp_path, **how):
    how = {"every": 10, "measure_batches": 4, "root": tmp_path} | how
    of = training.model, objective, training.optimizer, how.pop("batches", training.loader)
    return stationarity.watch(*of, **how)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("every", [10, None])
def test_a_watched_training_is_the_unwatched_one_bit_for_bit(tmp_path, name, every):
    torch.manual_seed(5)
    alone = Training(name).steps().state()
    torch.manual_seed(5)
    training = Training(name)
    with watched(training, tmp_path, every=every) as watch:
        assert same(training.steps(watch=watch).state(), alone)
    assert watch.run.complete and watch.run.has("sharpness")


def test_the_report_of_a_process_that_writes_no_run_is_empty(tmp_path):
    training = Training("sgd")
    with watched(training, tmp_path) as watch:
        training.steps(watch=watch)
        assert watch.report()["answers"]
        watch.table.folder = None
        assert watch.report() == {}


def test_a_state_from_a_machine_that_rounds_otherwise_is_gone_on_with(tmp_path):
    training = Training("sgd")
    watch = watched(training, tmp_path)
    training.steps(1, watch)
    kept = watch.state_dict()
    place = kept["displacements"]["now"]
    kept["displacements"]["now"] = place * (1 + 1e-6)
    watched(training, tmp_path).load_state_dict(kept)
    kept["displacements"]["now"] = place * 1.01
    with pytest.raises(UsageError, match="not those"):
        watched(training, tmp_path).load_state_dict(kept)


def test_what_is_noted_of_each_step_is_what_the_weights_say(tmp_path):
    training = Training("sgd")
    with watched(training, tmp_path) as watch:
        training.steps(watch=watch)
    run, weights = watch.run, torch.stack(training.weights)
    noted = run.series("weight_square")
    assert noted.step.tolist() == [*range(1, 49)]
    assert np.allclose(noted.value, weights[1:].square().sum(1), rtol=1e-6)
    moved = run.series("update_square")
    assert moved.step.tolist() == [*range(2, 49)]
    assert np.allclose(moved.value, weights.diff(dim=0)[1:].square().sum(1), rtol=1e-4)
    rates = run.series("learning_rate", index=0).value.to_numpy()
    along = -(weights[1:] * weights.diff(dim=0)).sum(1).numpy() / rates
    assert np.allclose(run.series("weight_buffer").value, along, rtol=1e-2, atol=1e-3)
    assert rates[0] == 0.1 and rates[-1] < 0.001 and len(run.series("loss")) == 48


def test_distances_of_a_small_net_are_exact_and_sketches_are_evenly_spaced(tmp_path):
    training = Training("sgd")
    with watched(training, tmp_path) as watch:
        training.steps(epochs=6, watch=watch)
    weights = torch.stack(training.weights)
    rows = watch.run.series("displacement_square")
    for row in rows.itertuples():
        expected = (weights[row.step] - weights[int(row.of)]).square().sum().item()
        assert row.value == pytest.approx(expected, rel=1e-4)
    assert len(rows) > 10
    sketch = watch.run.wide("sketch", "index")
    assert set(np.diff(sketch.index)) == {8} and sketch.shape == (12, 64)


def test_groups_are_noted_apart_too(tmp_path):
    training = Training("adamw")
    with watched(training, tmp_path) as watch:
        training.steps(epochs=1, watch=watch)
    run = watch.run
    parts = [run.series("group_weight_square", index=n).value for n in range(2)]
    assert np.allclose(parts[0] + parts[1], run.series("weight_square").value)
    assert [group["weight_decay"] for group in run.info["watch"]["groups"]] == [0.1, 0.0]
    assert run.info["watch"]["optimizer"] == "AdamW"
    assert run.info["watch"]["batch_size"] == 16


@pytest.mark.parametrize("most", [50, tables.MOST])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_killed_watch_goes_on_with_its_training(tmp_path, monkeypatch, name, most):
    monkeypatch.setattr(tables, "MOST", most)  # of which rows wait in files

    def whole(place, killed: bool):
        torch.manual_seed(7)
        training = Training(name)
        watch = watched(training, place)
        training.steps(watch=watch, epochs=1)
        if killed:
            parts = (training.model, training.optimizer, training.schedule, watch)
            kept = copy.deepcopy([part.state_dict() for part in parts])
            random = torch.get_rng_state(), training.generator.get_state()
            training.steps(watch=watch, epochs=1)  # these are lost
            watch.table.write()
            watch.flush()
            training.steps(watch=watch, epochs=1)  # and these, which wait
            watch.flush()
            assert bool(list(watch.table.folder.glob("waiting*"))) == (most == 50)
            training = Training(name)
            watch = watched(training, place)
            parts = (training.model, training.optimizer, training.schedule, watch)
            for part, state in zip(parts, kept):
                part.load_state_dict(state)
            torch.set_rng_state(random[0])
            training.generator.set_state(random[1])
        training.steps(watch=watch, epochs=3)
        return watch.close().metrics.sort_values(["quantity", "of", "index", "step"])

    one, other = (whole(tmp_path / str(killed), killed) for killed in (False, True))
    one, other = (table.reset_index(drop=True) for table in (one, other))
    assert one.equals(other)
    assert not list(tmp_path.glob("*/*/*/waiting*"))


def test_a_watch_that_goes_on_keeps_its_own_facts(tmp_path):
    def parts(training, **how):
        return training.model, training.optimizer, watched(training, tmp_path, **how)

    def went_on(states):
        training = Training("sgd")
        three = parts(training, every=5, measure_batches=8)
        for part, state in zip(three, states):
            part.load_state_dict(state)
        training.steps(1, three[-1])
        return three[-1].close().info

    training = Training("sgd")
    three, kept = parts(training), []
    for momentum in (0.9, 0.5):
        training.optimizer.param_groups[0]["momentum"] = momentum
        training.steps(1, three[-1])
        three[-1].flush()
        kept.append(copy.deepcopy([part.state_dict() for part in three]))
    infos = [three[-1].run.info, *map(went_on, kept)]
    assert len({info["start"] for info in infos}) == 1
    facts = [info["watch"] for info in infos]
    assert [one.get("groups_since") for one in facts] == [17, None, 17]
    assert [one["groups"][0]["momentum"] for one in facts] == [0.5, 0.9, 0.5]
    assert [one["batches"] for one in facts] == [4, 8, 8] and facts[1]["every"] == 5
    assert [one["batch_size"] for one in facts] == [16] * 3


def test_the_rows_of_a_long_training_are_on_disk_alone_and_all_there(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST", 1000)
    table = tables.Table(tmp_path, dict.fromkeys(records.KEYS, 0) | {"experiment": "long"})
    draw = np.random.default_rng(0).standard_normal((40, 2, 128))
    for number, both in enumerate(draw):
        steps = np.arange(128) + 128 * number
        table.add("loss", steps, both[0])
        table.add("learning_rate", steps, both[1], 0.1, index=1)
        assert table.held < 1000 and len(table.pieces) < 8
        table.series = {step: torch.full((3,), step / 2) for step in range(0, number, 2)}
        if number % 13 == 12:
            table.write(force=True)
            assert not list(tmp_path.glob("waiting*"))
    table.write()
    run = records.read(tmp_path)
    assert np.array_equal(run.series("loss").value, draw[:, 0].ravel())
    rates = run.series("learning_rate", index=1)
    assert np.array_equal(rates.value, draw[:, 1].ravel()) and (rates.error == 0.1).all()
    assert rates.step.tolist() == [*range(40 * 128)]
    sketch = run.wide("sketch", "index")
    assert sketch.shape == (20, 3) and (sketch[2] == sketch.index / 2).all()
    assert run.metrics.dtypes.equals(metrics.frame([tables.ROW]).dtypes)


def test_damaged_rows_are_told_when_a_watch_goes_on(tmp_path):
    training = Training("sgd")
    watch = watched(training, tmp_path)
    training.steps(1, watch)
    kept = watch.state_dict()
    (watch.table.folder / records.METRICS).write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="missing or damaged"):
        watched(training, tmp_path).load_state_dict(kept)


def test_a_state_is_not_loaded_before_the_models(tmp_path):
    training = Training("sgd")
    watch = watched(training, tmp_path)
    state = watch.state_dict()
    training.steps(epochs=1)
    with pytest.raises(UsageError, match="load the model's state first"):
        watch.load_state_dict(state)


def test_without_an_interval_measuring_takes_its_share_of_the_time(monkeypatch):
    """On a clock on which a step takes a second, and a measurement a hundred."""
    now, measured, pace = [0.0], [], Pace(None, "cpu")
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    for taken in range(1, 25001):
        now[0] += 1.0
        pace.step_begins()
        if pace.is_due(taken):
            with pace.measuring(taken):
                now[0] += 100.0
            measured.append(taken)
            assert taken == 1 or 100 * len(measured) <= 0.041 * now[0]
        pace.step_ends()
    assert measured[0] == 1 and len(measured) == 10
    assert max(np.diff(measured)) < 5000


def test_how_long_a_training_is_for_five_measurements_in_what_a_report_judges(monkeypatch):
    """A measurement takes the time of t steps, and 190 t steps are long enough, as is said."""
    for cost in (15, 200):
        now, measured, pace = [0.0], [], Pace(None, "cpu")
        monkeypatch.setattr("time.perf_counter", lambda now=now: now[0])
        for taken in range(1, 190 * cost + 1):
            now[0] += 1.0
            pace.step_begins()
            if pace.is_due(taken):
                with pace.measuring(taken):
                    now[0] += cost
                measured.append(taken)
            pace.step_ends()
        inside = [sum(end / 3 < at <= end for at in measured) for end in (taken, taken // 2)]
        assert inside[0] >= 5 > inside[1]


def test_a_run_is_found_by_the_library(tmp_path):
    training = Training("sgd")
    with watched(training, tmp_path, name="mine") as watch:
        training.steps(epochs=1, watch=watch)
    folder = watch.run.folder
    assert folder.parent == tmp_path / "mine" and folder.name.startswith("watched-")
    run = records.read(folder)
    assert run.scale == "watched" and not run.made_by_this_code
    assert math.isfinite(run.series("memory").value.iloc[-1])


def test_a_watchs_code_is_all_that_decides_its_rows_and_not_what_a_report_says():
    for module in ("watching.watcher", "chapters.ch14_your_own_training.study"):
        files = {path.stem for path in closure(module) if path.parent.name == "watching"}
        assert {"watcher", "tables", "pacing", "measuring", "curvature", "steps"} <= files
        assert not files & {"report", "questions", "page", "answers"}
