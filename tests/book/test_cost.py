"""What a run costs: counted by hand, and against what real runs do."""

import math

import pytest
import stationarity
import torch
from stationarity import measure
from stationarity.book import cost, results, verdicts
from stationarity.chapters import sizes
from stationarity.nets import mlp
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import EXPERIMENTS, get
from stationarity.train import loop
from stationarity.train.settings import AnyTraining, Training
from torch.utils.flop_counter import FlopCounterMode

IMAGES = {
    "measure_on": "draws", "crop_padding": 4,
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
    found = cost.count(model, lambda net, x: net(x).square().sum(), torch.ones(batch, n), batch)
    assert found.forward == 2 * n * m
    assert found.gradient == 4 * n * m  # the inputs need no gradient
    # J'J v: forward, W's gradient; then, of that product, the gradients of both factors that
    # need one (the slope of the outputs alone), and with it W's gradient once more.
    assert found.product == 8 * n * m


def test_a_layer_between_others_has_three_times_and_nine_times_its_forward_pass():
    def middle(width):
        net = mlp((2, 1, width, 1))
        return cost.count(net, lambda net, x: net(x).square().sum(), torch.ones(1, 2), 1)

    def more(name):  # what a wider layer adds: the same for each of two layers, which it joins
        return getattr(middle(12), name) - getattr(middle(4), name)

    assert more("gradient") == 3 * more("forward")
    assert more("product") == 9 * more("forward")


def test_the_counter_agrees_with_pytorchs_own_on_a_resnet():
    settings = get("imagenet_resnet", overrides=IMAGES)
    counts = cost.counted(settings)[0]
    model = sizes.net(settings)
    images = torch.empty(6, 1, 8, 8, device="meta")
    labels = torch.empty(6, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        measure.cross_entropy(model, (images, labels)).backward()
    assert counter.get_total_flops() == 6 * counts.gradient


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("imagenet_resnet", IMAGES),
        ("imagenet_resnet", IMAGES | {"sharpness_every": 1}),
        ("imagenet_resnet", IMAGES | {"measure_every": 0}),
        ("full_batch", {"epochs": 3, "measure_every": 2, "hidden": "4"}),
        ("wikitext_transformer_xl", TEXT),
    ],
)
def test_a_real_run_does_what_was_counted(name, overrides, monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    settings = get(name, overrides=overrides)
    with cost.Operations() as done:
        run = stationarity.run(name, settings=overrides, device="cpu")
    if settings.measure_every:
        products = run.series("sharpness_products").value.mean()
    else:
        products = 0
    words = len(run_vocabulary(run)) if name.startswith("wikitext") else 0
    task = cost.work(settings, products, cost.counted(settings, words))
    assert task.steps == run.metrics.step.max()
    # Not counted: inner products of whole gradients. A text's validation part and its
    # first segments are a little shorter than counted.
    assert task.total == pytest.approx(done.total, rel=0.05 if words else 0.01)


FOLLOWED = {
    "epochs": 3, "followed_epochs": 2, "examples": 96, "batch_size": 32, "width": 4,
    "directions": 2, "direction_batches": 2, "noise_batches": 3, "measure_every": 0,
}  # fmt: skip


def test_a_run_that_is_followed_does_what_was_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    settings = get("continued", overrides=FOLLOWED)
    with cost.Operations() as done:
        run = stationarity.run("continued", settings=FOLLOWED, device="cpu")
    products = run.series("direction_products").value[0]
    monkeypatch.setattr(cost, "EACH", products / settings.directions)
    task = cost.work(settings)
    # Not counted: the inner products of the basis, a thousandth of a larger net's products.
    assert task.total == pytest.approx(done.total, rel=0.04)
    plain = get("continued", overrides=FOLLOWED | {"followed_epochs": 0})
    assert cost.work(plain).measuring == 0 < cost.work(settings).measuring
    (disk, memory), (plain_disk, plain_memory) = cost.room(settings), cost.room(plain)
    assert memory > plain_memory
    size = len(measure.parameter_vector(sizes.net(settings)))
    assert disk - plain_disk == 4 * size * (2 + 8 + 1)


def run_vocabulary(run):
    return loop.load_data(run.settings, Place()).vocabulary


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_its_costs_at_every_scale(name):
    works = []
    for settings in EXPERIMENTS[name].values():
        assert min(cost.room(settings)) >= 0
        if not isinstance(settings, AnyTraining):
            works.append(settings.total_steps)
            continue
        task = cost.work(settings)
        assert task.steps > 0 and task.training > 0 and math.isfinite(task.measuring)
        works.append(task.total)
    assert 0 < works[0] <= works[-1]  # the paper's scale is the largest


def test_more_devices_share_the_work_but_a_step_stays_a_step():
    machine = cost.Machine(1e12, 1e11, step_seconds=0.01, images=100)
    task = cost.Work(steps=100, training=8e12, measuring=8e11, images=800)
    assert cost.seconds(task, machine) == 16
    assert cost.seconds(task, machine, 8) == pytest.approx(1 + 1)
    assert cost.seconds(cost.Work(100, 0.0, 0.0, 8000), machine, 8) == 10


def test_memory_and_disk_by_hand():
    settings = Training(
        dataset="digits", model="mlp", epochs=1, batch_size=10, learning_rate=0.1, momentum=0.9
    )
    size = 65 * 10  # softmax regression
    kept = cost.counted(settings)[0].kept_by_product
    assert cost.room(settings) == (3 * 4 * size * 2, 4 * size * 28 + 10 * kept)
    assert kept >= 4 * 10  # the probabilities, at least
    assert cost.room(settings, 2)[1] == 4 * size * 28 + 5 * kept


def test_passes_are_timed_and_a_run_is_predicted(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    for name, overrides, patience in (
        ("imagenet_resnet", IMAGES, 0.01),
        ("wikitext_transformer_xl", TEXT, 0.0),  # by two examples alone
    ):
        monkeypatch.setattr(cost, "PATIENCE", patience)
        settings = get(name, overrides=overrides)
        training, measuring = cost.timed(settings)
        assert 0 < measuring.forward < measuring.gradient < measuring.product
        assert training.gradient > 0
        found = cost.checked(stationarity.run(name, settings=overrides, device="cpu"))
        assert found["predicted (s)"] > 0 and found["took (s)"] > 0


def test_measured_times_stand_beside_estimates(monkeypatch, tmp_path):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    machine = cost.Machine(1e10, 1e10, 1e-4, dollars=2.0)
    table = cost.table("two-cores", machine)
    assert table["from"]["cifar10_resnet"].startswith("run, CPU")
    (run,) = (r for r in results.recorded("cifar10_resnet") if r.scale == "two-cores")
    took = run.info["wall_seconds"]
    assert table["time"]["cifar10_resnet"] == cost.spoken(took)
    # A net of the same kind: by the operations, at the rate of that run.
    assert table["from"]["resnet_constant"] == "rate of cifar10_resnet"
    one, other = (cost.work(get(n, "two-cores")) for n in ("resnet_constant", run.name))
    assert table["time"]["resnet_constant"] == cost.spoken(took * one.total / other.total)
    # Not of one whose weights are followed, which takes time that is not counted.
    (followed,) = results.recorded("continued")
    monkeypatch.setitem(followed.info, "wall_seconds", 1e9)
    there = verdicts.existing_runs
    one = lambda name: [followed] if name == followed.name else there(name)
    with monkeypatch.context() as patch:
        patch.setattr(verdicts, "existing_runs", one)
        again = cost.table("two-cores", machine)
    assert again["time"]["continued"] == cost.spoken(1e9)
    assert again["from"]["resnet_constant"] == "rate of cifar10_resnet"
    paper = cost.table("paper", machine, 8)
    assert list(paper.index) == list(EXPERIMENTS)
    trained = [n for n, s in EXPERIMENTS.items() if isinstance(s["paper"], AnyTraining)]
    assert set(paper["from"][trained]) == {"assumed rate"}
    # A study: by the steps of its run at another scale. It uses one device, and pays for one.
    (settling,) = results.recorded("settling")
    assert paper["from"]["settling"] == "steps of the two-cores run"
    ratio = (2_000_000 * 16) / (1_200_000 * 4)
    hours = settling.info["wall_seconds"] * ratio / 3600
    assert paper["time"]["settling"] == cost.spoken(3600 * hours)
    assert float(paper["price ($)"]["settling"]) == pytest.approx(2 * hours, rel=0.05)
    assert paper["from"]["averaging"] == "no run yet" and paper["time"]["averaging"] == "?"
