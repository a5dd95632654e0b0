"""Regimes: trained as they say, judged by intervals over nets."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError, experiments, measure
from stationarity.chapters.ch05_how_far_does_it_reach import figures, reading
from stationarity.chapters.ch05_how_far_does_it_reach import study as reach
from stationarity.data import images as batches
from stationarity.experiments.settings import Regime, RegimeStudy
from stationarity.nets import mlp, resnets
from stationarity.runs.records import Run
from stationarity.train.loop import ensembles

TINY = {"steps": 20, "examples": 128, "members": 2}


def study(*chosen, **changes):
    common = {"dataset": "digits", "examples": 40, "members": 2, "steps": 12}
    return RegimeStudy(regimes=chosen, precision="float64", **(common | changes))


def value(rows, quantity, regime, member, step):
    name = reach.named(quantity, regime, member)
    return next(row[3] for row in rows if row[0] == step and row[2] == name)


def made(tables: dict, regime: Regime, steps) -> Run:
    """Return a run whose nets have given series: quantity -> values (steps, nets)."""
    rows = [
        (step, 0.0, reach.named(quantity, regime.name, net), values[i][net], np.nan)
        for quantity, values in tables.items()
        for i, step in enumerate(steps)
        for net in range(len(values[i]))
    ]
    frame = pd.DataFrame(rows, columns=["step", "epoch", "quantity", "value", "error"])
    run = Run(folder=Path("a-run"), info={"settings": {"regimes": [dataclasses.asdict(regime)]}})
    run.__dict__["metrics"] = frame  # the cached property
    return run


def power_law(exponent, steps, nets=5, spread=0.1, factor=1.0):
    """Return squared norms of nets that follow k^exponent, after a start of one."""
    scatter = np.exp(spread * np.random.default_rng(0).standard_normal((len(steps), nets)))
    squares = (factor * np.maximum(steps, 1)[:, None] ** exponent * scatter) ** 2
    squares[0] = 1.0
    return squares


def rows_of(exponent, factor=1.0, batch_size=16, noise=0.5):
    steps = np.array([0, *np.linspace(500, 1000, 20)])
    ones = np.ones((len(steps), 5))
    tables = {
        "gradient_norm_squared": power_law(exponent, steps, factor=factor),
        "noise_norm": noise * ones, "learning_rate": 0.1 * ones, "weight_norm": 2 * ones,
    }  # fmt: skip
    run = made(tables, Regime("one", 0.1, batch_size=batch_size, momentum=0.5), steps)
    return reading.table(run).iloc[0]


# --- training ------------------------------------------------------------------


@pytest.mark.parametrize(
    "regime",
    [
        Regime("a", 0.1, batch_size=8, schedule="cosine", momentum=0.5),
        Regime("a", 0.1, batch_size=0, wrong_labels=0.0),
        Regime("a", 0.01, batch_size=8, optimizer="adam", sampling="independent"),
        Regime("a", 0.05, batch_size=8, loss="squared", schedule="inverse", timescale=4),
    ],
)
def test_a_net_of_a_regime_is_trained_as_pytorch_trains_it(regime, monkeypatch):
    settings = study(regime)
    kept = {}
    original = reach._measured

    def keep(step, theta, widths, *rest):
        kept[step], kept["widths"] = theta.clone(), widths
        return original(step, theta, widths, *rest)

    monkeypatch.setattr(reach, "_measured", keep)
    rows = reach.regimes(settings)
    inputs, labels = reach._everything(settings, None, "cpu")
    seeds = [reach.seed_of(settings.seed, "net", 1)]
    labels = batches.with_wrong_labels(labels, regime.wrong_labels, 10, seeds[0], "wrong labels")
    model = mlp.mlp(kept["widths"]).double()
    torch.nn.utils.vector_to_parameters(kept[0][1].clone(), model.parameters())
    decay = {"lr": 1.0, "weight_decay": regime.weight_decay}
    if regime.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), **decay)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=regime.momentum, **decay)
    objective = measure.LOSSES[regime.loss]
    size = regime.batch_size
    drawn = ensembles.batches(40, size or 1, seeds, 12, sampling=regime.sampling)
    for rate, chosen in zip(reach.rates(regime, 12), drawn):
        chosen = chosen[0] if size else slice(None)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        objective(model, (inputs[chosen], labels[chosen])).backward()
        optimizer.step()
    vector = measure.parameter_vector(model)
    torch.testing.assert_close(kept[12][1], vector, rtol=0, atol=1e-11)
    decayed = measure.with_weight_decay(objective, regime.weight_decay)
    loss = decayed(model, (inputs, labels))
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    square = sum(g.square().sum().item() for g in gradient)
    assert value(rows, "gradient_norm_squared", "a", 1, 12) == pytest.approx(square, 1e-9)
    assert value(rows, "objective", "a", 1, 12) == pytest.approx(loss.item(), 1e-9)


def test_a_regime_does_not_depend_on_those_it_is_trained_with():
    one, two = Regime("a", 0.1, batch_size=8), Regime("b", 0.3, batch_size=8, momentum=0.9)
    alone, together = reach.regimes(study(one)), reach.regimes(study(two, one))
    name = reach.named("gradient_norm_squared", "a", 1)
    assert [r for r in alone if r[2] == name] == [r for r in together if r[2] == name]


def test_the_noise_is_that_of_a_batch():
    chosen = [
        Regime("one", 0.1, batch_size=1), Regime("eight", 0.1, batch_size=8),
        Regime("apart", 0.1, batch_size=8, sampling="independent"),
        Regime("all", 0.1, batch_size=0),
    ]  # fmt: skip
    rows = reach.regimes(study(*chosen, steps=1))
    noise = {r.name: value(rows, "noise_norm", r.name, 0, 0) ** 2 for r in chosen}
    assert noise["eight"] == pytest.approx(noise["one"] / 8)
    assert noise["apart"] == pytest.approx(noise["one"] / 8 * 32 / 39)
    assert noise["all"] == 0


def test_wrong_labels_are_wrong_and_as_many_as_said():
    labels = torch.arange(200) % 10
    changed = batches.with_wrong_labels(labels, 0.15, 10, "a key")
    assert int((changed != labels).sum()) == 30
    assert changed.min() >= 0 and changed.max() < 10


def test_diverging_weights_are_named():
    fine, wild = Regime("fine", 0.1, loss="squared"), Regime("wild", 1e6, loss="squared")
    with pytest.raises(UsageError, match="'wild' are no longer finite"):
        reach.regimes(study(fine, wild, steps=60))


@pytest.mark.parametrize(
    ("regime", "message"),
    [
        ({"schedule": "inverse"}, "timescale"),
        ({"schedule": "stairs"}, "schedule in 'a'"),
        ({"loss": "hinge"}, "loss in 'a'"),
        ({"learning_rate": 0.0}, "positive learning rate"),
    ],
)
def test_a_regime_that_cannot_be_trained_is_refused(regime, message):
    with pytest.raises(UsageError, match=message):
        experiments.check(study(Regime(**({"name": "a", "learning_rate": 0.1} | regime))))


def test_a_study_of_one_net_or_of_equal_names_is_refused():
    with pytest.raises(UsageError, match="error bars"):
        experiments.check(study(Regime("a", 0.1), members=1))
    with pytest.raises(UsageError, match="name of its own"):
        experiments.check(study(Regime("a", 0.1), Regime("a", 0.2)))


# --- judging -------------------------------------------------------------------


def test_a_level_below_the_threshold_vanishes_and_one_above_does_not():
    assert rows_of(0.0, factor=0.005).verdict == "vanishes"
    assert rows_of(0.0, factor=0.05).verdict == "does not vanish"
    assert rows_of(0.0, factor=0.01).verdict == "undecided"


def test_the_trend_is_the_exponent_of_a_power_law():
    row = rows_of(-0.5)
    assert row.exponent_low < -0.5 < row.exponent_high and row.trend == "falls"
    assert rows_of(0.5).trend == "rises" and rows_of(0.0, factor=0.3).trend == "no trend"


def test_drive_and_noise_are_of_the_settled_weights():
    row = rows_of(0.0, noise=0.5)
    assert row.drive == pytest.approx(0.1 * 0.25 / 0.5) and row.noise == pytest.approx(1)
    assert rows_of(0.0, batch_size=0, noise=0.0).noise == 0


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    held = [
        low < 1 < high
        for _, low, high in (
            reading.geometric_interval(np.exp(generator.standard_normal(5)))
            for _ in range(4000)
        )
    ]
    assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_one_net_has_no_interval():
    with pytest.raises(UsageError, match="members"):
        reading.interval([1.0])


def test_the_level_follows_the_drive():
    rows = pd.DataFrame(
        {"drive": [0.0, 1.0, 10.0, 100.0, np.nan], "square": [1, 2, 20, 200, 9.0]}
    )
    assert reading.level_against_drive(rows) == pytest.approx((1.0, 1.0, 1.0))
    with pytest.raises(UsageError, match="three regimes"):
        reading.level_against_drive(rows[:3])


# --- the run and its figures -----------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return stationarity.run("regimes", settings=TINY)


def test_a_run_is_judged_and_drawn(run):
    found = reading.table(run)
    names = [regime["name"] for regime in run.settings["regimes"]]
    assert found.regime.tolist() == names
    assert np.isfinite(found.drop(columns=["regime", "verdict", "trend", "drive"])).all().all()
    figure = figures.regime_map(found)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == names
    lines = figures.courses(run, {"one": names[:2], "two": names[-1:]}).axes[0].lines
    assert [line.get_label() for line in lines[:2]] == names[:2]
    drawn = figures.drive(found, 1.0).axes[0]
    assert len(drawn.texts) == (found.drive > 0).sum()


def test_an_unknown_regime_is_named(run):
    with pytest.raises(UsageError, match="constant 0.3"):
        reading.series(run, "noise_norm", "constant 7")


def test_the_settings_of_all_scales_are_valid_and_plain():
    for name in ("regimes", "resnet_without_batchnorm", "resnet_constant"):
        for scale in experiments.EXPERIMENTS[name]:
            json.dumps(experiments.to_dict(experiments.get(name, scale)))
    paper = [experiments.get(n, "paper") for n in ("resnet_constant", "resnet_constant_small")]
    assert [s.learning_rate for s in paper] == [0.01, 0.001]
    assert {s.schedule for s in paper} == {"constant"} and paper[0].model == "resnet101"


# --- nets and losses of the axes -------------------------------------------------


def test_without_batchnorm_examples_do_not_see_each_other():
    torch.manual_seed(0)
    images = torch.randn(6, 1, 8, 8)
    for batch_norm in (True, False):
        model = resnets.cifar_resnet(4, (1, 1, 1), 1, 10, batch_norm=batch_norm)
        if not batch_norm:
            assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
            for block in model.stages:
                assert not block[0].bn2.weight.any()
        for parameter in model.parameters():  # gains away from zero
            parameter.data += 0.1
        same = torch.allclose(model(images)[:3], model(images[:3]), atol=1e-5)
        assert same != batch_norm


def test_the_batchnorm_net_has_the_weights_it_always_had():
    torch.manual_seed(0)
    with_norm = resnets.cifar_resnet(4, (1, 1, 1), 1, 10)
    torch.manual_seed(0)
    without = resnets.cifar_resnet(4, (1, 1, 1), 1, 10, batch_norm=False)
    pairs = zip(with_norm.parameters(), without.parameters(), strict=True)
    assert all(a.shape == b.shape for a, b in pairs)
    assert torch.equal(with_norm.head.weight, without.head.weight)


@pytest.mark.parametrize("change", [{"batch_norm": False}, {"loss": "squared"}])
def test_the_axes_of_the_resnet_train(change):
    short = {"epochs": 3, "examples": 128, "measure_every": 1, "measure_batches": 3}
    run = stationarity.run("resnet_constant", settings=short | change)
    losses = run.series("train_loss").value
    assert np.isfinite(run.metrics.value).all() and losses.iloc[-1] < losses.iloc[0]


def test_no_batchnorm_is_for_the_small_resnet_only():
    with pytest.raises(UsageError, match="batch_norm=false"):
        experiments.get("resnet_constant", "paper", {"batch_norm": False})
