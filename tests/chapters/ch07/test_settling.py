"""The studies of chapter 7, their tables and figures."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from processes import ornstein_uhlenbeck
from stationarity import measure
from stationarity.chapters import small
from stationarity.chapters.autocorrelation import autocorrelation_time
from stationarity.chapters.ch04_wikitext_transformer_xl.reading import load_model
from stationarity.chapters.ch07_watching_a_distribution_settle import (
    balancing,
    figures,
    reading,
    simulated,
    study,
)
from stationarity.errors import UsageError
from stationarity.nets import mlp, normalised_weights
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.records import Run
from stationarity.runs.settings import get
from torch import nn

SMALL = {
    "examples": 128, "hidden": (5,), "steps": 40, "drops": (20, 30), "members": 3,
    "batch_size": 16, "record_every": 5, "measure_every": 4, "label_noise": 0.25,
}  # fmt: skip
FEW = {
    "examples": 128, "hidden": (5,), "burn_in": 20, "steps": 12, "trajectory": 30,
    "replicas": 4, "batch_size": 16, "record_every": 3, "measure_every": 6,
}  # fmt: skip


def table(rows):
    """Values by step and quantity, with the number of the member where it is of one."""
    return {
        (
            row.step,
            row.quantity if row.member is pd.NA else f"{row.quantity}[{row.member}]",
        ): row.value
        for row in metrics.frame(rows).itertuples()
    }


@pytest.fixture(scope="module")
def followed():
    settings = get("settling", overrides=SMALL)
    return settings, study.settling(settings, Place())


def test_the_label_noise_is_the_part_that_was_asked_for():
    noisy, clean = (
        small.load(get("settling", overrides={"label_noise": share}), Place())
        for share in (0.15, 0.0)
    )
    changed = (noisy.labels != clean.labels).double().mean().item()
    assert changed == pytest.approx(0.15, abs=1 / len(noisy.labels))
    assert torch.equal(noisy.inputs, clean.inputs)


def test_a_step_is_that_of_pytorch_and_all_that_is_recorded_is_so(followed):
    """Member 1, by torch.optim.SGD on an ordinary net, with autograd."""
    settings, rows = followed
    found, task = table(rows), small.load(settings, Place())
    seeds = small.seeds(0, "member", 3)
    theta = task.start(seeds)[0][1]
    model, decay = mlp(task.widths), settings.weight_decay
    nn.utils.vector_to_parameters(theta, model.parameters())
    optimizer = torch.optim.SGD(
        model.parameters(), settings.learning_rate, settings.momentum, weight_decay=decay
    )

    def objective(model, batch):
        squares = sum(p.square().sum() for p in model.parameters())
        return measure.cross_entropy(model, batch) + decay / 2 * squares

    everything, products, squares = (task.inputs, task.labels), [], []

    def gradient(batch):
        optimizer.zero_grad()
        objective(model, batch).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    for step, (inputs, labels) in enumerate(task.batches(seeds, 0, 12)):
        before = measure.parameter_vector(model)
        full = gradient(everything)
        f = objective(model, everything).item()
        batch = inputs[1], labels[1]
        products.append((before @ gradient(batch)).item())
        optimizer.zero_grad()
        measure.cross_entropy(model, batch).backward()
        optimizer.step()
        delta = measure.parameter_vector(model) - before
        squares.append(delta.square().sum().item() / settings.learning_rate**2)
        if step % 4 == 0:
            exact = {
                "gradient_norm": full.norm(),
                "weight_norm_squared": before @ before,
                "full_product": before @ full,
                "gain": -(full @ delta),
                "loss": f - decay / 2 * (before @ before),
            }
            for name, value in exact.items():
                assert found[step, f"{name}[1]"] == pytest.approx(float(value), rel=1e-3)
            after = objective(model, everything).item()
            assert found[step, "change[1]"] == pytest.approx(after - f, rel=1e-2, abs=1e-6)
    for end in (4, 8, 12):
        mean = np.mean(products[end - 4 : end]), np.mean(squares[end - 4 : end])
        assert found[end, "product[1]"] == pytest.approx(mean[0], rel=1e-3)
        assert found[end, "square[1]"] == pytest.approx(mean[1], rel=1e-3)


def test_members_do_not_depend_on_each_other(followed):
    _, rows = followed
    alone = get("settling", overrides=SMALL | {"members": 1})
    one = table(study.settling(alone, Place()))
    found = table(rows)
    for name in ("loss[0]", "product[0]"):
        assert found[8, name] == pytest.approx(one[8, name], rel=1e-4)


def test_sums_cover_every_step(followed):
    _, rows = followed
    found = table(rows)
    assert {step for step, name in found if name == "product[2]"} == set(range(4, 41, 4))


def test_hessian_directions_are_eigenvectors():
    task = small.load(get("settling", overrides=SMALL), Place())
    theta = task.start([1])[0][0]
    found = study.directions(task, theta)
    assert found.shape == (4, len(theta))
    np.testing.assert_allclose(found.norm(dim=1), 1, rtol=1e-5)
    assert abs(found[2] @ found[3]) < 1e-4
    model = mlp(task.widths)
    nn.utils.vector_to_parameters(theta, model.parameters())
    batch = [(task.inputs, task.labels)]
    top = measure.sharpness(model, measure.cross_entropy, batch, tol=1e-4)
    along = measure.directional_sharpness(model, measure.cross_entropy, batch, found[2].float())
    assert along == pytest.approx(top.eigenvalues[0].item(), rel=0.02)


def test_replicas_start_at_the_branch_and_part():
    rows = metrics.frame(study.replicas(get("replicas", overrides=FEW), Place()))
    start = rows.value[(rows.quantity == "loss") & (rows.step == 0)]
    assert len(start) == 5 and start.max() - start.min() < 1e-6
    last = rows[(rows.quantity == "random") & (rows.step == 12) & (rows["index"] == 0)]
    assert last.member.dropna().tolist() == list(range(4))
    assert last.value.nunique() == 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"record_every": 0}, "record_every"),
        ({"members": 0}, "members"),
        ({"label_noise": 1.0}, "label_noise"),
        ({"learning_rate": 1e9, "steps": 200}, "no longer finite at step"),
    ],
)
def test_bad_settings_are_refused(override, message):
    with pytest.raises(UsageError, match=message):
        study.settling(get("settling", overrides=SMALL | override), Place())


# --- observing a training run ----------------------------------------------------

OBSERVED = {
    "epochs": 2, "examples": 128, "width": 4, "batch_size": 32, "observe_every": 1,
}  # fmt: skip


def test_observing_changes_no_bit_of_a_run():
    with_it = stationarity.run("settling_resnet", settings=OBSERVED)
    without = stationarity.run("settling_resnet", settings=OBSERVED | {"observe_every": 0})
    weights = [measure.parameter_vector(load_model(r)[0]) for r in (with_it, without)]
    assert torch.equal(*weights)
    np.testing.assert_array_equal(
        with_it.series("train_loss").value, without.series("train_loss").value
    )


def test_what_is_observed_is_so():
    run = stationarity.run("settling_resnet", settings=OBSERVED)
    losses = run.series("observed_minibatch_loss").value.to_numpy().reshape(2, -1)
    np.testing.assert_allclose(losses.mean(1), run.series("train_loss").value, rtol=1e-6)
    assert (run.series("observed_update_square").value > 0).all()
    model, _ = load_model(run)
    normalised = torch.cat([w.flatten() for w in normalised_weights(model)])
    step = math.sqrt(run.series("observed_update_square").value.iloc[-1])
    for name, final in (
        ("weight", measure.parameter_vector(model)),
        ("normalised", normalised),
    ):
        last = run.series(f"observed_{name}_norm").value.iloc[-1]
        assert abs(final.norm().item() - last) <= step


# --- tables and figures -----------------------------------------------------------


@pytest.fixture(scope="module")
def long_run():
    settings = SMALL | {"steps": 3000, "drops": (1500, 2500), "record_every": 2}
    return stationarity.run("settling", settings=settings | {"measure_every": 5})


def test_the_table_of_identities_agrees_with_the_drift_of_the_norm(long_run):
    """An exact identity, up to <theta, b>: where that is small."""
    row = balancing.balances(long_run).iloc[4]
    norms = reading.members(long_run, "weight_norm_squared").loc[row["first"] : row["last"]]
    squares = reading.members(long_run, "square").loc[row["first"] + 1 : row["last"]]
    drift = norms.iloc[-1] - norms.iloc[0]
    ratios = 1 - (1 - 0.9) / (0.05**2 * (1 + 0.9)) * drift / (5 * squares.sum())
    assert row.fluctuation_dissipation == pytest.approx(ratios.mean(), abs=0.03)


def series_run(**values):
    """A made-up run of one stage with members (K, n) or one series (n,) of each name."""
    rows = []
    for name, one in values.items():
        steps = range(one.shape[-1])
        if one.ndim == 2:
            rows += metrics.rows(name, one, member=range(len(one)), step=steps)
        else:
            rows += metrics.rows(name, one, step=steps)
    run = Run(Path("made up"), {"experiment": "settling", "settings": {}})
    run.__dict__["settings"] = get("settling", overrides={"steps": len(steps), "drops": ()})
    run.__dict__["metrics"] = metrics.frame(rows)
    return run


def test_a_drift_that_the_ratio_cannot_see_is_seen_against_its_spread():
    """Drift by 6 % of the level, eight of its standard deviations: R stays within .05."""
    still = 100 + 0.75 * simulated.two_scales(4, 4000, 1.0, 20.0)
    moving = still + np.linspace(0, 6, 4000)
    loss = 1 + np.exp(-np.arange(4000) / 50)
    for norms, drifts in ((still, False), (moving, True)):
        run = series_run(loss=loss, weight_norm_squared=norms)
        found = reading.norm_drift(run)
        assert (found.low > 2) == drifts
        if not drifts:
            assert -2 < found.low < found.high < 2
        control, known = (reading.norm_drift(run, case) for case in ("drift", "still"))
        assert control.low > 2
        assert -2 < known.low < known.high < 2
    # R by the proposition, with steps of ||delta||^2 = .05
    assert abs(0.1 / 1.9 * 6 / (0.05 * 4000)) < 0.05


def test_one_observable_without_enough_samples_does_not_hide_the_others():
    loss, walk = simulated.two_scales(2, 8000, 0.1, 20.0)
    slow = np.random.default_rng(1).standard_normal(8000).cumsum()
    falling = 20 * np.exp(-np.arange(8000) / 40)
    run = series_run(loss=loss + falling, gradient_norm=walk, buffer_norm=slow)
    found = reading.largest_shift(run)
    assert found.low <= found.value < found.high < 0.5
    control, known = (reading.largest_shift(run, case) for case in ("drift", "still"))
    assert control.low > 0.5
    assert known.high < 0.5
    with pytest.raises(UsageError, match="No observable can be compared: A window"):
        reading.weight_shift(series_run(loss=loss + falling, weight_norm=slow))


def test_the_stage_that_has_settled_is_judged_and_not_the_longest():
    steps = np.arange(4000)
    loss = (
        np.where(steps < 2400, 3 - steps / 1200, 0.5)
        + 0.01 * simulated.two_scales(1, 4000, 0.0, 1.0)[0]
    )
    run = series_run(loss=loss)
    assert reading.settled_stage(run, (0, 1)) == (0, 1)
    told = "In no stage of this run is the loss seen to become stable"
    with pytest.raises(UsageError, match=told):
        reading.norm_drift(run)
    run.__dict__["settings"] = get("settling", overrides={"steps": 4000, "drops": (2400, 3200)})
    assert reading.settled_stage(run) == (2400, 3200)


def test_the_fitted_scales_are_those_of_the_process():
    series = simulated.two_scales(4, 8000, 0.3, 60.0, seed=2)
    assert series.var() == pytest.approx(1, rel=0.05)
    share, time = simulated.fitted_scales(series)
    assert share == pytest.approx(0.3, abs=0.06)
    assert time == pytest.approx(60, rel=0.4)


def test_controls_have_two_time_scales():
    controls = simulated.controls(8000)
    steps, values = controls["stationary control"]
    assert simulated.fitted_scales(values)[0] == pytest.approx(0.1, abs=0.04)
    drift = controls["drifting control"][1] - values
    np.testing.assert_allclose(drift, 1.5 * steps / steps[-1])


def test_verdicts_of_every_stage_and_all_figures(long_run):
    found = reading.verdicts_by_stage(long_run)
    assert len(found) == 3 * 9
    assert set(found.verdict) <= {"settled", "drifts", "undecided"}
    assert (found.verdict == "undecided").equals(found.fault != "")
    seen = reading.observables(long_run, reading.LOSSES, 0, 1500)
    assert figures.windows(seen).axes
    assert figures.distances(seen | simulated.controls(400)).axes
    figures.balances(balancing.balances(long_run), [1500, 2500])
    counts = reading.across_starts(long_run)[["agree", "differ", "undecided"]]
    assert (counts.sum(axis=1) == 2).all()


def replica_run(shift=0.0, replicas=40):
    """A stub of a run, whose replicas are independent of its trajectory."""
    chain = ornstein_uhlenbeck(1, 4000)[0]
    rows = metrics.rows("loss", chain, step=range(4000))
    ensemble = ornstein_uhlenbeck(replicas, 3, seed=1) + shift
    rows += metrics.rows("loss", ensemble, member=range(replicas), step=range(3))
    settings = {"replicas": replicas, "trajectory": 4000}
    run = Run(Path("made up"), {"experiment": "replicas", "settings": settings})
    run.__dict__["settings"] = get("replicas", overrides=settings)
    run.__dict__["metrics"] = metrics.frame(rows)
    return run


def test_replicas_of_a_stationary_process_agree_and_others_differ():
    equal, shifted = (reading.relations(replica_run(shift)).loc["loss"] for shift in (0.0, 2.0))
    assert [equal.windows, equal.replicas] == ["settled", "agree"]
    assert [shifted.windows, shifted.replicas] == ["settled", "differ"]
    assert equal.replicas_shift < 1 < shifted.replicas_shift
    chain = ornstein_uhlenbeck(1, 4000)[0]
    assert equal.time == pytest.approx(autocorrelation_time(chain[1000:]))
    assert reading.replica_shift(replica_run(2.0)).value == pytest.approx(2, abs=0.5)
    assert figures.relations(replica_run(2.0)).axes


def test_few_replicas_cannot_be_judged_and_enough_can():
    """32 of identical law: the known case cannot fulfil the criterion of .5."""
    few, many = replica_run(replicas=32), replica_run(replicas=256)
    assert reading.replica_shift(few, "still").high > 0.5
    assert reading.replica_shift(many, "still").high < 0.5
    assert reading.replica_shift(many).high < 0.5
    assert reading.replica_shift(many, "drift").low > 0.5
    enough = reading.replicas_enough(many, (32, 256))
    assert enough[32] < 0.3
    assert enough[256] > 0.9
