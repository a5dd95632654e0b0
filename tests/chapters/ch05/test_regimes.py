"""Regimes: trained as they say, judged by intervals over nets."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError, data, measure
from stationarity.chapters import small
from stationarity.chapters.ch05_how_far_does_it_reach import figures, reading, study
from stationarity.chapters.ch05_how_far_does_it_reach.settings import Regime
from stationarity.nets import mlp, resnets
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.records import Run
from stationarity.runs.settings import get
from stationarity.train import ensembles

TINY = {"steps": 20, "examples": 128, "members": 2}


def named(name="a", learning_rate=0.1, **settings) -> Regime:
    return Regime(name=name, learning_rate=learning_rate, **settings)


def settings_of(*chosen, **changes):
    common = {"examples": 40, "members": 2, "steps": 12, "precision": "float64"}
    return get("regimes", overrides=common | {"regimes": chosen} | changes)


def rows_of(*chosen, **changes):
    return metrics.frame(study.regimes(settings_of(*chosen, **changes), Place()))


def value(rows, quantity, of, member, step):
    places = rows.set_index(["quantity", "of", "member", "step"]).value
    return places[quantity, of, member, step]


def made(tables: dict, regime: Regime, steps) -> Run:
    """Return a run whose nets have given series: quantity -> values (steps, nets)."""
    run = Run(Path("a-run"), {"experiment": "regimes"})
    run.__dict__["settings"] = settings_of(regime)  # the cached properties
    run.__dict__["metrics"] = metrics.frame(
        [
            row
            for quantity, values in tables.items()
            for row in metrics.rows(
                quantity, values.T, of=regime.name, member=range(values.shape[1]), step=steps
            )
        ]
    )
    return run


def power_law(exponent, steps, nets=5, spread=0.1, factor=1.0):
    """Return squared norms of nets that follow k^exponent, after a start of one."""
    scatter = np.exp(spread * np.random.default_rng(0).standard_normal((len(steps), nets)))
    squares = (factor * np.maximum(steps, 1)[:, None] ** exponent * scatter) ** 2
    squares[0] = 1.0
    return squares


def row_of(exponent, factor=1.0, batch_size=16, noise=0.5):
    steps = np.array([0, *np.linspace(500, 1000, 20)])
    ones = np.ones((len(steps), 5))
    tables = {
        "gradient_norm_squared": power_law(exponent, steps, factor=factor),
        "noise_norm": noise * ones,
        "learning_rate": 0.1 * ones,
        "weight_norm": 2 * ones,
    }
    run = made(tables, named(batch_size=batch_size, momentum=0.5), steps)
    return reading.table(run).iloc[0]


# --- training ------------------------------------------------------------------


@pytest.mark.parametrize(
    "regime",
    [
        named(batch_size=8, schedule="cosine", momentum=0.5),
        named(batch_size=0, wrong_labels=0.0),
        named(learning_rate=0.01, batch_size=8, optimizer="adam", sampling="reshuffled"),
        named(
            learning_rate=0.05, batch_size=8, loss="squared", schedule="inverse", timescale=4
        ),
    ],
)
def test_a_net_of_a_regime_is_trained_as_pytorch_trains_it(regime, monkeypatch):
    settings, kept = settings_of(regime), {}
    original = study._measured

    def keep(nets, group, step, rate):
        kept[step], kept["widths"] = nets.theta.clone(), nets.task.widths
        return original(nets, group, step, rate)

    monkeypatch.setattr(study, "_measured", keep)
    rows = metrics.frame(study.regimes(settings, Place()))
    dataset = data.load("digits", batch_size=8, examples=settings.examples)
    inputs, labels = data.whole(dataset.partition())
    inputs = inputs.double()
    seeds = small.seeds(settings.seed, "net", 2)[1:]
    labels = data.with_wrong_labels(labels, regime.wrong_labels, 10, seeds[0], "wrong labels")
    model = mlp(kept["widths"]).double()
    torch.nn.utils.vector_to_parameters(kept[0][1].clone(), model.parameters())
    decay = {"lr": 1.0, "weight_decay": regime.weight_decay}
    if regime.optimizer == "adam":
        optimizer = torch.optim.Adam(model.parameters(), **decay)
    else:
        optimizer = torch.optim.SGD(model.parameters(), momentum=regime.momentum, **decay)
    objective = measure.LOSSES[regime.loss]
    size = regime.batch_size
    drawn = ensembles.batches(40, size or 1, seeds, 12, sampling=regime.sampling)
    for rate, chosen in zip(study.rates(regime, 12), drawn, strict=True):
        chosen = chosen[0] if size else slice(None)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        objective(model, (inputs[chosen], labels[chosen])).backward()
        optimizer.step()
    vector = measure.parameter_vector(model)
    torch.testing.assert_close(kept[12][1], vector, rtol=0, atol=1e-11)
    squared = sum(p.square().sum() for p in model.parameters())
    loss = objective(model, (inputs, labels)) + regime.weight_decay / 2 * squared
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    square = sum(g.square().sum().item() for g in gradient)
    assert value(rows, "gradient_norm_squared", "a", 1, 12) == pytest.approx(square, 1e-9)


def test_a_regime_does_not_depend_on_those_it_is_trained_with():
    one, two = named(batch_size=8), named("b", 0.3, batch_size=8, momentum=0.9)
    together = rows_of(two, one)
    pd.testing.assert_frame_equal(
        rows_of(one), together[together.of == "a"].reset_index(drop=True)
    )


def test_the_noise_is_that_of_a_batch():
    chosen = [
        named("one", batch_size=1),
        named("eight", batch_size=8),
        named("apart", batch_size=8, sampling="reshuffled"),
        named("all", batch_size=0),
    ]
    rows = rows_of(*chosen, steps=1)
    noise = {r.name: value(rows, "noise_norm", r.name, 0, 0) ** 2 for r in chosen}
    assert noise["eight"] == pytest.approx(noise["one"] / 8)
    assert noise["apart"] == pytest.approx(noise["one"] / 8 * 32 / 39)
    assert noise["all"] == 0


def test_wrong_labels_are_wrong_and_as_many_as_said():
    labels = torch.arange(200) % 10
    changed = data.with_wrong_labels(labels, 0.15, 10, "a key")
    assert int((changed != labels).sum()) == 30
    assert changed.min() >= 0 and changed.max() < 10


def test_diverging_weights_are_named():
    fine, wild = named("fine", loss="squared"), named("wild", 1e6, loss="squared")
    with pytest.raises(UsageError, match="of 'wild' are no longer finite"):
        rows_of(fine, wild, steps=60)


@pytest.mark.parametrize(
    ("regime", "message"),
    [
        ({"schedule": "inverse"}, "schedule of 'a' is inverse: set its timescale"),
        ({"schedule": "stairs"}, "regimes.0.schedule cannot be 'stairs'"),
        ({"loss": "hinge"}, "regimes.0.loss cannot be 'hinge'"),
        ({"learning_rate": 0.0}, "regimes.0.learning_rate must be greater than 0"),
        ({"rate": 0.1}, "no setting regimes.0.rate"),
    ],
)
def test_a_regime_that_cannot_be_trained_is_refused(regime, message):
    with pytest.raises(UsageError, match=message):
        settings_of({"name": "a", "learning_rate": 0.1} | regime)


def test_a_study_of_one_net_or_of_equal_names_is_refused():
    with pytest.raises(UsageError, match="members must be greater than or equal to 2"):
        settings_of(named(), members=1)
    with pytest.raises(UsageError, match="name of its own"):
        settings_of(named(), named(learning_rate=0.2))


# --- judging -------------------------------------------------------------------


def test_a_level_below_the_threshold_vanishes_and_one_above_does_not():
    assert row_of(0.0, factor=0.005).verdict == "vanishes"
    assert row_of(0.0, factor=0.05).verdict == "does not vanish"
    assert row_of(0.0, factor=0.01).verdict == "undecided"


def test_the_trend_is_the_exponent_of_a_power_law():
    row = row_of(-0.5)
    assert row.exponent_low < -0.5 < row.exponent_high and row.trend == "falls"
    assert row_of(0.5).trend == "rises" and row_of(0.0, factor=0.3).trend == "no trend"


def test_drive_and_noise_are_of_the_settled_weights():
    row = row_of(0.0, noise=0.5)
    assert row.drive == pytest.approx(0.1 * 0.25 / 0.5) and row.noise == pytest.approx(1)
    assert row_of(0.0, batch_size=0, noise=0.0).noise == 0


def test_the_level_follows_the_drive():
    rows = pd.DataFrame(
        {"drive": [0.0, 1.0, 10.0, 100.0, np.nan], "square": [1, 2, 20, 200, 9.0]}
    )
    slope, scatter = reading.level_against_drive(rows)
    assert slope == pytest.approx((1.0, 1.0, 1.0)) and scatter == pytest.approx(1.0)
    with pytest.raises(UsageError, match="three regimes"):
        reading.level_against_drive(rows[:3])


def test_the_scatter_about_the_drive_is_a_factor():
    drive = np.geomspace(1, 1e6, 400)
    factors = np.exp(np.log(3.8) * np.random.default_rng(0).standard_normal(400))
    _, scatter = reading.level_against_drive(
        pd.DataFrame({"drive": drive, "square": drive * factors})
    )
    assert scatter == pytest.approx(3.8, rel=0.1)


def test_agreement_depends_on_the_threshold_and_leaves_out_what_has_not_settled():
    rows = pd.DataFrame(
        [
            ("way out", 0.004, 0.006, "falls"),
            ("slow way out", 0.03, 0.04, "falls"),
            ("constant", 0.015, 0.016, "no trend"),
            ("slow", 0.2, 0.3, "falls"),
        ],
        columns=["regime", "ratio_low", "ratio_high", "trend"],
    )
    found = reading.verdict_counts(rows, ["way out", "slow way out"], [0.005, 0.01, 0.02, 0.5])
    assert found.agree.tolist() == [1, 2, 1, 2]
    assert found.differ.tolist() == [0, 0, 1, 2]
    assert found.undecided.tolist() == [1, 0, 0, 0]
    assert found.unsettled.tolist() == [2, 2, 2, 0]
    assert found.standing.tolist() == [2, 3, 2, 2]
    assert found.differing.tolist() == ["", "", "constant", "constant; slow"]


# --- the run and its figures -----------------------------------------------------


@pytest.fixture(scope="module")
def run():
    return stationarity.run("regimes", settings=TINY)


def test_a_run_is_judged_and_drawn(run):
    found = reading.table(run)
    names = [regime.name for regime in run.settings.regimes]
    assert found.regime.tolist() == names
    assert np.isfinite(found.drop(columns=["regime", "verdict", "trend", "drive"])).all().all()
    figure = figures.regime_map(found)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == names
    marks = figures.verdicts(found.set_index("regime")).axes[0].lines
    assert sum(len(mark.get_xdata()) for mark in marks if mark.get_marker() == "o") == len(
        names
    )
    lines = figures.courses(run, {"one": names[:2], "two": names[-1:]}).axes[0].lines
    assert [line.get_label() for line in lines[:2]] == names[:2]
    drawn = figures.drive(found, 1.0).axes[0]
    assert len(drawn.texts) == (found.drive > 0).sum()


def test_an_unknown_regime_is_named(run):
    with pytest.raises(UsageError, match="constant 0.3"):
        run.wide("noise_norm", of="constant 7")


def test_the_axes_at_full_size_are_constant_rates_on_imagenet():
    paper = [get(n, "paper") for n in ("resnet_constant", "resnet_constant_small")]
    assert [s.learning_rate for s in paper] == [0.01, 0.001]
    assert {s.schedule for s in paper} == {"constant"} and paper[0].model == "resnet101"


# --- nets and losses of the axes -------------------------------------------------


def test_without_batchnorm_examples_do_not_see_each_other():
    torch.manual_seed(0)
    images = torch.randn(6, 1, 8, 8)
    for batch_norm in (True, False):
        model = resnets.CifarResNet(4, (1, 1, 1), 1, 10, batch_norm=batch_norm)
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
    with_norm = resnets.CifarResNet(4, (1, 1, 1), 1, 10)
    torch.manual_seed(0)
    without = resnets.CifarResNet(4, (1, 1, 1), 1, 10, batch_norm=False)
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
        get("resnet_constant", "paper", {"batch_norm": False})
