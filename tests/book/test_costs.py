"""What a run costs: counted by hand, and against what real runs do."""
import math

import pytest
import stationarity
import torch
from stationarity import experiments, measure
from stationarity.book import budget, costs, work
from stationarity.experiments import Training
from stationarity.nets import mlp
from stationarity.runs import results
from torch.utils.flop_counter import FlopCounterMode

IMAGES = {
    "epochs": 3, "examples": 96, "batch_size": 32, "width": 4, "measure_every": 2,
    "measure_batches": 3, "sharpness_batches": 2, "sharpness_products": 2, "drops": [],
}  # fmt: skip
TEXT = {
    "tokens": 9000, "width": 8, "heads": 2, "head_width": 4, "inner_width": 8, "segment": 8,
    "memory": 8, "batch_size": 4, "epochs": 3, "steps_per_epoch": 4, "drops": [],
    "measure_batches": 3, "sharpness_batches": 2, "sharpness_products": 2, "measure_every": 2,
}  # fmt: skip


def test_a_linear_layer_by_hand():
    n, m, batch = 3, 5, 4
    model = torch.nn.Linear(n, m, bias=False)
    found = costs.count(model, lambda net, x: net(x).square().sum(), torch.ones(batch, n), batch)
    assert found.forward == 2 * n * m
    assert found.gradient == 4 * n * m  # the inputs need no gradient
    # J'J v: forward, W's gradient; then, of that product, the gradients of both factors that
    # need one (the slope of the outputs alone), and with it W's gradient once more.
    assert found.product == 8 * n * m


def test_a_layer_between_others_has_three_times_and_nine_times_its_forward_pass():
    def middle(width):
        net = mlp.mlp((2, 1, width, 1))
        return costs.count(net, lambda net, x: net(x).square().sum(), torch.ones(1, 2), 1)

    def more(name):  # what a wider layer adds: the same for each of two layers, which it joins
        return getattr(middle(12), name) - getattr(middle(4), name)

    assert more("gradient") == 3 * more("forward")
    assert more("product") == 9 * more("forward")


def test_the_counter_agrees_with_pytorchs_own_on_a_resnet():
    settings = experiments.get("imagenet_resnet", overrides=IMAGES)
    counts = costs.image_counts(settings)
    model = costs.net(settings)
    images = torch.empty(6, 1, 8, 8, device="meta")
    labels = torch.empty(6, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        measure.cross_entropy(model, (images, labels)).backward()
    assert counter.get_total_flops() == 6 * counts.gradient


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("imagenet_resnet", IMAGES),
        ("imagenet_resnet", IMAGES | {"measure_every": 0}),
        ("full_batch", {"epochs": 3, "measure_every": 2, "hidden": "4"}),
        ("wikitext_transformer_xl", TEXT),
    ],
)
def test_a_real_run_does_what_was_counted(name, overrides, monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    settings = experiments.get(name, overrides=overrides)
    with costs.Operations() as done:
        run = stationarity.run(name, settings=overrides, device="cpu")
    if settings.measure_every:
        assert work.measurements(settings, run.metrics.step.max()) == len(run.series("loss"))
        products = run.series("sharpness_products").value.mean()
    else:
        products = 0
    words = len(run_vocabulary(run)) if name.startswith("wikitext") else 0
    task = work.of_training(settings, products, costs.counted(settings, words))
    assert task.steps == run.metrics.step.max()
    counted = task.training + task.measuring
    # Not counted: inner products of whole gradients. A text's validation part and its
    # first segments are a little shorter than counted.
    assert counted == pytest.approx(done.total, rel=0.05 if words else 0.01)


FOLLOWED = {
    "epochs": 3, "followed_epochs": 2, "examples": 96, "batch_size": 32, "width": 4,
    "directions": 2, "direction_batches": 2, "noise_batches": 3, "measure_every": 0,
}  # fmt: skip


def test_a_run_that_is_followed_does_what_was_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    settings = experiments.get("continued", overrides=FOLLOWED)
    with costs.Operations() as done:
        run = stationarity.run("continued", settings=FOLLOWED, device="cpu")
    found = run.series("direction_products").value[0]
    task = work.of_training(settings, found=found)
    assert task.training + task.measuring == pytest.approx(done.total, rel=0.02)
    plain = experiments.get("continued", overrides=FOLLOWED | {"followed_epochs": 0})
    assert work.of(plain).measuring == 0 < work.of(settings).measuring
    assert budget.memory(settings) > budget.memory(plain)
    size = len(measure.parameter_vector(costs.net(settings)))
    assert budget.disk(settings) - budget.disk(plain) == 4 * size * (2 + 8 + 1)


def run_vocabulary(run):
    from stationarity import data

    return data.load(experiments.of_run(run.settings)).vocabulary


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
def test_every_experiment_has_its_costs_at_every_scale(name):
    works = []
    for settings in experiments.EXPERIMENTS[name].values():
        task = work.of(settings)
        assert task.steps > 0 and task.training > 0 and math.isfinite(task.measuring)
        assert budget.disk(settings) >= 0
        works.append(task.training + task.measuring)
    assert works[0] <= works[-1]  # the paper's scale is the largest


def test_more_devices_share_the_work_but_a_step_stays_a_step():
    machine = budget.Machine(1e12, 1e11, step_seconds=0.01, images=100)
    task = work.Work(steps=100, training=8e12, measuring=8e11, images=800)
    assert budget.seconds(task, machine) == 16
    assert budget.seconds(task, machine, 8) == pytest.approx(1 + 1)
    assert budget.seconds(work.Work(100, 0.0, 0.0, 8000), machine, 8) == 10


def test_memory_and_disk_by_hand():
    settings = Training(
        dataset="digits", model="mlp", epochs=1, batch_size=10, learning_rate=0.1, momentum=0.9
    )
    size = 65 * 10  # softmax regression
    assert budget.disk(settings) == 3 * 4 * size * 2
    kept = costs.image_counts(settings).kept_by_product
    assert budget.memory(settings) == 4 * size * 28 + 10 * kept
    assert kept >= 4 * 10  # the probabilities, at least
    assert budget.memory(settings, 2) == 4 * size * 28 + 5 * kept


def test_passes_are_timed_and_a_run_is_predicted(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    monkeypatch.setattr(budget, "PATIENCE", 0.0)
    for name, overrides in (("imagenet_resnet", IMAGES), ("wikitext_transformer_xl", TEXT)):
        settings = experiments.get(name, overrides=overrides)
        training, measuring = budget.timed(settings)
        assert 0 < measuring.forward < measuring.gradient < measuring.product
        assert training.gradient > 0
        found = budget.checked(stationarity.run(name, settings=overrides, device="cpu"))
        assert found["predicted (s)"] > 0 and found["took (s)"] > 0


def test_measured_times_stand_beside_estimates(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    machine = budget.Machine(1e10, 1e10, 1e-4, dollars=2.0)
    table = budget.table("two-cores", machine)
    assert table["from"]["imagenet_resnet"].startswith("run, CPU")
    (run,) = (r for r in results.recorded("imagenet_resnet") if r.scale == "two-cores")
    took = run.info["wall_seconds"]
    assert table["time"]["imagenet_resnet"] == budget.spoken(took)
    # A net of the same kind: by the operations, at the rate of that run.
    assert table["from"]["resnet_constant"] == "rate of imagenet_resnet"
    one, other = (work.of(experiments.get(n, "two-cores")) for n in ("resnet_constant", run.name))
    share = (one.training + one.measuring) / (other.training + other.measuring)
    assert table["time"]["resnet_constant"] == budget.spoken(took * share)
    paper = budget.table("paper", machine, 8)
    assert set(paper.index) == set(experiments.EXPERIMENTS)
    assert set(paper["from"]) == {"assumed rate"}
    # A study uses one device, and pays for one.
    task = work.of(experiments.get("averaging", "paper"))
    assert paper.time["averaging"] == budget.spoken(budget.seconds(task, machine))
