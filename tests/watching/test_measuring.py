"""What is measured on known functions: curvature, its stable value, and its memory."""

import math

import numpy as np
import pytest
import stationarity
import torch
from stationarity.errors import UsageError
from stationarity.watching import curvature, optimizers
from torch import nn
from trainings import watched_training

pytestmark = pytest.mark.usefixtures("one_thread")
CURVATURES = torch.tensor([3.0, 1.0, 0.5])


class Quadratic(nn.Module):
    """sum h_i theta_i^2 / 2 + <noise, theta>, for batches of noise (B, 3)."""

    def __init__(self):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(3))

    def forward(self, noise):
        return (CURVATURES * self.theta**2).sum() / 2 + noise.mean(0) @ self.theta


def objective(model, batch):
    return model(batch)


def noises(step, count):
    return [torch.randn(8, 3) for _ in range(count)]


def trained(tmp_path, optimizer, model, steps=5, **how):
    how = {"root": tmp_path, "every": 1, "measure_batches": 8} | how
    return watched_training(model, objective, optimizer, noises, steps, **how).run


def largest_stable(make) -> float:
    """The curvature up to which a step of an optimizer, without noise, does not grow."""

    def grows(curvature: float) -> bool:
        theta = nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = make([theta])
        for _ in range(400):
            theta.grad = curvature * theta.detach()
            optimizer.step()
        return not theta.abs().item() < 1e3

    low, high = 0.0, 1e4
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if grows(middle) else (middle, high)
    return low


@pytest.mark.parametrize(
    "how",
    [
        {"momentum": 0.0},
        {"momentum": 0.9},
        {"momentum": 0.9, "weight_decay": 0.5},
        {"momentum": 0.7, "nesterov": True},
        {"momentum": 0.7, "nesterov": True, "weight_decay": 0.5},
        {"momentum": 0.6, "dampening": 0.3},
    ],
)
def test_the_stable_curvature_of_sgd_is_where_its_steps_begin_to_grow(how):
    make = lambda p: torch.optim.SGD(p, 0.05, **how)
    optimizer = make([nn.Parameter(torch.ones(1))])
    told = optimizers.stable_curvature(optimizer, optimizer.param_groups[0])
    assert told == pytest.approx(largest_stable(make), rel=0.01)


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_the_stable_curvature_of_adam_is_where_its_steps_begin_to_grow(decay):
    """With its second moment held fixed, as the stability of the linear step takes it."""

    def steps(curvature: float) -> bool:
        theta, first = 1.0, 0.0
        for _ in range(2000):
            first = 0.9 * first + 0.1 * curvature * theta
            theta = (1 - 0.01 * decay) * theta - 0.01 * first
        return not abs(theta) < 1e3

    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))], 0.01, weight_decay=decay)
    told = optimizers.stable_curvature(optimizer, optimizer.param_groups[0])
    assert not steps(0.99 * told) and steps(1.01 * told)
    if not decay:
        assert told == pytest.approx(38 / 0.01)


def test_sharpness_of_sgd_is_the_hessians(tmp_path):
    model = Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.5, weight_decay=0.01)
    run = trained(tmp_path, optimizer, model)
    assert run.series("sharpness").value.iloc[-1] == pytest.approx(3.0, rel=1e-3)
    assert run.info["watch"]["sharpness_examples"] == 4 * 8
    stable = 2 * 1.5 / 0.1 - 0.01
    assert run.series("stable_sharpness").value.iloc[-1] == pytest.approx(stable)
    assert run.series("memory").value.iloc[-1] == pytest.approx(5 * 0.1 * 0.01 / 0.5)


def test_the_top_curvature_is_bracketed_where_few_examples_have_more_of_it(tmp_path):
    """(x'theta)^2 / 2 of normal x in 40 dimensions: all data have the curvature 1."""
    torch.manual_seed(0)
    model = nn.Linear(40, 1, bias=False)
    fit = lambda model, x: model(x).square().mean() / 2
    some = lambda step, count: [torch.randn(20, 40) for _ in range(count)]
    optimizer = torch.optim.SGD(model.parameters(), 2 / 2.5)
    how = {"root": tmp_path, "every": 2, "measure_batches": 8}
    with stationarity.watch(model, fit, optimizer, some, **how) as watch:
        for batch in some(0, 48):
            optimizer.zero_grad()
            fit(model, batch).backward()
            optimizer.step()
            watch.step(batch)
    run = watch.run
    top, fresh = (run.series(name) for name in ("sharpness", "fresh_curvature"))
    assert (top.value > 2).all()
    assert abs(fresh.value.mean() - 1) < 3 * fresh.error.mean() / len(fresh) ** 0.5
    found = {one["key"]: one for one in watch.report()["answers"]}["edge"]
    assert found["verdict"] == "cannot be judged" and found["low"] < 1 / 2.5 < found["high"]
    assert "fresh ones have" in found["why"] and run.info["watch"]["sharpness_examples"] == 80


def test_lanczos_starts_elsewhere_each_time_and_says_where_it_did_not_end(
    tmp_path, monkeypatch
):
    starts, real = [], curvature.largest_eigenpairs

    def noted(*given, generator, **how):
        starts.append(generator.initial_seed())
        return real(*given, generator=generator, **how)

    monkeypatch.setattr(curvature, "largest_eigenpairs", noted)
    for products in (50, 2):
        monkeypatch.setattr(curvature, "PRODUCTS", products)
        optimizer = torch.optim.SGD((model := Quadratic()).parameters(), 0.1)
        run = trained(tmp_path, optimizer, model, steps=3, every=1)
        errors = run.series("sharpness").error
        assert np.isinf(errors).all() if products == 2 else (errors < 0.1).all()
    assert starts[:3] == starts[3:] and len({*starts}) == 3


def test_the_noise_and_the_gradient_are_those_of_the_quadratic(tmp_path):
    model = Quadratic()
    optimizer = torch.optim.SGD(model.parameters(), 1e-9)
    run = trained(tmp_path, optimizer, model, steps=2, every=1, measure_batches=2000)
    square = (CURVATURES**2).sum().item()
    last = lambda name: run.series(name, of="").iloc[-1]
    for name in ("gradient_norm_squared", "regularised_gradient_norm_squared"):
        row = last(name)
        assert abs(row.value - square) < 4 * row.error < 0.2 * square
    assert last("noise_norm").value ** 2 == pytest.approx(3 / 8, rel=0.1)
    row, high = last("noise_scale"), run.series("noise_scale", of="high").value.iloc[-1]
    assert abs(row.value - 3 / square) < 4 * row.error
    assert row.value < high < 1.2 * row.value
    assert run.info["watch"]["batch_size"] == 8


def test_sharpness_of_adam_is_that_of_the_preconditioned_hessian(tmp_path):
    model = Quadratic()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1)
    run = trained(tmp_path, optimizer, model)
    state = optimizer.state[model.theta]
    scale = (1 - 0.9**5) * ((state["exp_avg_sq"] / (1 - 0.999**5)).sqrt() + 1e-8)
    assert run.series("sharpness").value.iloc[-1] == pytest.approx(
        (CURVATURES / scale).max().item(), rel=1e-3
    )
    stable = (2 / 0.01 - 0.1) * 1.9 / 0.1
    assert run.series("stable_sharpness").value.iloc[-1] == pytest.approx(stable)


def test_adams_own_decay_is_part_of_the_curvature_and_has_no_memory(tmp_path):
    model = Quadratic()
    optimizer = torch.optim.Adam(model.parameters(), 0.01, weight_decay=0.5, amsgrad=True)
    run = trained(tmp_path, optimizer, model)
    state = optimizer.state[model.theta]
    scale = (1 - 0.9**5) * ((state["max_exp_avg_sq"] / (1 - 0.999**5)).sqrt() + 1e-8)
    assert run.series("sharpness").value.iloc[-1] == pytest.approx(
        ((CURVATURES + 0.5) / scale).max().item(), rel=1e-3
    )
    assert not run.has("memory")


def test_rates_of_groups_weigh_the_curvature(tmp_path):
    model = nn.ModuleDict({"one": Quadratic(), "two": Quadratic()})
    both = lambda model, batch: model["one"](batch) + model["two"](batch)
    groups = [{"params": model["one"].parameters(), "lr": 0.01}]
    groups += [{"params": model["two"].parameters(), "lr": 0.1}]
    model["two"].theta.requires_grad_(True)
    optimizer = torch.optim.SGD(groups, 0.1)
    with stationarity.watch(model, both, optimizer, noises, root=tmp_path) as watch:
        optimizer.step()
        watch.step()
    assert watch.run.series("sharpness").value.iloc[-1] == pytest.approx(3.0, rel=1e-3)
    groups[1]["params"] = model["two"].parameters()
    assert watch.run.series("stable_sharpness").value.iloc[-1] == pytest.approx(20.0)


def test_a_step_of_several_minibatches_has_the_batch_size_of_all(tmp_path):
    for batch in (None, torch.randn(8, 3)):
        model = Quadratic()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        how = {"root": tmp_path, "accumulate": 4, "measure_batches": 4}
        with stationarity.watch(model, objective, optimizer, noises, **how) as watch:
            optimizer.step()
            watch.step(batch)
        told = watch.run.info["watch"]
        assert told["batch_size"] == 32 and told["measured_batch_size"] == 8


def test_one_batch_that_is_the_training_set_has_no_noise(tmp_path):
    model, whole = Quadratic(), [torch.randn(16, 3)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    how = {"measure_batches": 1, "every": 1, "root": tmp_path}
    with stationarity.watch(model, objective, optimizer, whole, **how) as watch:
        for _ in range(3):
            optimizer.step()
            watch.step()
    run = watch.run
    assert (run.series("noise_norm").value == 0).all() and not run.has("noise_scale")
    assert (run.series("gradient_norm_squared").error == 0).all()
    assert run.has("sharpness") and not run.has("fresh_curvature")


def test_a_loader_of_full_batches_has_no_noise_and_one_batch_of_many_is_refused(tmp_path):
    whole = torch.utils.data.TensorDataset(torch.randn(40, 3))
    fit = lambda model, batch: objective(model, batch[0])
    for size in (40, 64):
        model = Quadratic()
        loader = torch.utils.data.DataLoader(whole, batch_size=size, shuffle=True)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        how = {"every": 1, "root": tmp_path}
        with stationarity.watch(model, fit, optimizer, loader, **how) as watch:
            for _ in range(3):
                optimizer.step()
                watch.step()
        assert (watch.run.series("noise_norm").value == 0).all()
        assert not watch.run.has("noise_scale")
    loader = torch.utils.data.DataLoader(whole, batch_size=8)
    with pytest.raises(UsageError, match="a part of it"):
        stationarity.watch(model, fit, optimizer, loader, measure_batches=1, root=tmp_path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_in_other_precisions_what_is_added_up_is_so_in_float32_at_least(tmp_path, kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).to(kind)
    fit = lambda model, x: model(x.to(kind)).float().square().mean()
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    before = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
    how = {"every": 2, "root": tmp_path}
    with stationarity.watch(model, fit, optimizer, noises, **how) as watch:
        for _ in range(2):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=kind != torch.bfloat16):
                fit(model, torch.randn(8, 3)).backward()
                optimizer.step()
                last = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
                watch.step()
                moved, before = (last - before).square().sum().item(), last
    run = watch.run
    assert run.series("update_square").value.item() == pytest.approx(moved, rel=1e-3)
    assert run.series("sharpness").value.map(math.isfinite).all()


def test_weights_in_another_order_of_memory_are_followed(tmp_path):
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    fit = lambda model, x: model(x).square().mean()
    images = lambda step, count: [torch.randn(4, 3, 5, 5) for _ in range(count)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    before, moved = model.weight.detach().clone(), []
    with stationarity.watch(model, fit, optimizer, images, root=tmp_path) as watch:
        for (batch,) in (images(0, 1) for _ in range(4)):
            optimizer.zero_grad()
            fit(model, batch).backward()
            optimizer.step()
            watch.step(batch)
            moved.append(model.weight.detach() - before)
            before = model.weight.detach().clone()
    buffers = optimizer.state
    along = sum((p.detach() * buffers[p]["momentum_buffer"]).sum() for p in model.parameters())
    assert watch.run.series("weight_buffer").value.iloc[-1] == pytest.approx(
        along.item(), rel=1e-4
    )
    assert len(watch.run.series("update_square")) == 3


def test_weights_of_a_size_that_is_cut_into_pieces(tmp_path):
    model = nn.Linear(500, 600)
    fit = lambda model, x: model(x).square().mean()
    some = lambda step, count: [torch.randn(2, 500) for _ in range(count)]
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    how = {"root": tmp_path, "every": 100, "sharpness": False}
    with stationarity.watch(model, fit, optimizer, some, **how) as watch:
        before = [p.detach().clone() for p in model.parameters()]
        for step in range(16):
            optimizer.zero_grad()
            fit(model, torch.randn(2, 500)).backward()
            last = [p.detach().clone() for p in model.parameters()]
            optimizer.step()
            watch.step()
            if step == 7:
                middle = [p.detach().clone() for p in model.parameters()]
    now = [p.detach() for p in model.parameters()]
    square = lambda ones, others: sum(
        (a - b).double().square().sum() for a, b in zip(ones, others)
    )
    run = watch.run
    final = run.series("update_square").value.iloc[-1]
    assert final == pytest.approx(square(now, last).item(), rel=1e-5)
    assert len(before) == 2
    far = run.series("displacement_square").value.iloc[-1]
    assert far == pytest.approx(square(now, middle).item(), rel=0.05)
    parts = run.wide("sketch", "index").diff().iloc[-1]
    assert (parts**2).sum() == pytest.approx(square(now, middle).item(), rel=0.7)
