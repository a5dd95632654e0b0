"""Rates, momenta and decays that change: each step counts with those that it was taken with."""

import numpy as np
import pytest
import torch
from torch import nn
from trainings import watched_training

pytestmark = pytest.mark.usefixtures("one_thread")


def objective(model, x):
    return (model(x) - x.sum(1, keepdim=True).sign()).square().mean()


def draws(step, count):
    return [torch.randn(8, 3) for _ in range(count)]


def trained(tmp_path, make, schedule, steps, **how):
    """Train with a scheduler that goes on before the step is noted, as most loops do."""
    model = nn.Linear(3, 1)
    optimizer = make(model.parameters())
    how = {"root": tmp_path, "measure_batches": 4} | how
    how |= {"go_on": schedule(optimizer)}
    return watched_training(model, objective, optimizer, draws, steps, **how)


def test_the_stable_curvature_is_that_of_the_step_that_was_taken(tmp_path):
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    make = lambda p: torch.optim.SGD(p, 0.1)
    run = trained(tmp_path, make, lambda o: cosine(o, 40).step, 40, every=10).run
    stable = run.series("stable_sharpness").set_index("step").value
    rates = run.series("learning_rate").set_index("step").value
    assert stable.index.tolist() == [1, 10, 20, 30, 40] and np.isfinite(stable).all()
    assert stable.to_numpy() == pytest.approx(2 / rates[stable.index].to_numpy())


def test_the_edge_is_judged_where_a_schedule_ends_at_zero(tmp_path):
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    make = lambda p: torch.optim.AdamW(p, 0.1)
    watch = trained(tmp_path, make, lambda o: cosine(o, 120).step, 120, every=5)
    (edge,) = [one for one in watch.report()["answers"] if one["key"] == "edge"]
    assert edge["number"] is not None and "not finite" not in edge["why"]
    assert "the learning rate went from" in edge["why"] and "its mean" in edge["why"]


def test_momentum_and_decay_that_change_begin_a_stage(tmp_path):
    make = lambda p: torch.optim.SGD(p, 0.05, momentum=0.5, weight_decay=0.0)

    def changed(optimizer):
        taken = [0]

        def go_on():
            taken[0] += 1
            if taken[0] == 100:
                optimizer.param_groups[0].update(momentum=0.9, weight_decay=1e-2)

        return go_on

    watch = trained(tmp_path, make, changed, 600, every=20, sharpness=False)
    found, run = watch.report(), watch.run
    exact = 0.05 * 1e-2 * 500 / 0.1
    assert run.series("memory").value.iloc[-1] == pytest.approx(exact)
    assert run.info["watch"]["groups"][0]["momentum"] == 0.9
    assert found["window"]["stage_begins"] == 101 and found["window"]["constant_rate"]
    assert found["numbers"]["memories"] == pytest.approx(exact * 499 / 500)


def test_a_momentum_that_never_stands_still_leaves_no_stationary_state(tmp_path):
    cycle = torch.optim.lr_scheduler.CyclicLR
    how = {"base_lr": 0.01, "max_lr": 0.01, "base_momentum": 0.8, "max_momentum": 0.9}
    make = lambda p: torch.optim.SGD(p, 0.01, momentum=0.9)
    begin = lambda o: cycle(o, step_size_up=900, **how).step
    watch = trained(tmp_path, make, begin, 800, every=20, sharpness=False)
    found = watch.report()
    assert not found["window"]["constant_rate"]
    weights = found["answers"][2]
    assert "momentum or weight decay changed" in weights["why"]
    assert "Fluctuation-dissipation" not in weights["why"]
