"""Gradient statistics are unbiased, their errors calibrated, and leave no trace."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from stationarity import measure
from stationarity.measure import cross_entropy, derivatives, gradient_statistics, mean_loss
from torch import nn

DOUBLE = torch.float64


class Point(nn.Module):
    """A model whose only parameter is a vector."""

    def __init__(self, *entries: float):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(entries, dtype=DOUBLE))


def linear(model: Point, batch: torch.Tensor) -> torch.Tensor:
    """An objective whose gradient is the batch."""
    return model.theta @ batch


def squares(model: nn.Module, batch: tuple) -> torch.Tensor:
    inputs, targets = batch
    return (model(inputs).squeeze(1) - targets).square().mean() / 2


def labelled(count: int, size: int = 8, dtype=DOUBLE) -> list:
    return [
        (torch.randn(size, 1, 4, 4, dtype=dtype), torch.randint(0, 3, (size,)))
        for _ in range(count)
    ]


class Trace(nn.Module):
    """Batch normalisation, dropout, a frozen layer, one submodule in eval."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(16, 8),
            nn.BatchNorm1d(8),
            nn.Linear(8, 3),
        )
        self.net[5].weight.requires_grad_(False)
        self.net[6].eval()

    def forward(self, inputs):
        return self.net(inputs)


def state_of(model: nn.Module) -> dict:
    gradients = {
        name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
    }
    modes = [module.training for module in model.modules()]
    return {
        "values": copy.deepcopy(model.state_dict()),
        "gradients": gradients,
        "modes": modes,
        "random": torch.get_rng_state(),
    }


def same(first, second) -> bool:
    if isinstance(first, dict):
        return all(same(first[key], second[key]) for key in first)
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first == second


MEASUREMENTS = {
    "gradient": lambda m, f, b: gradient_statistics(m, f, b),
    "sharpness": lambda m, f, b: measure.sharpness(m, f, b, max_products=3),
    "directional": lambda m, f, b: measure.directional_sharpness(
        m, f, b, torch.ones_like(measure.parameter_vector(m))
    ),
    "loss": mean_loss,
}


@pytest.mark.parametrize("name", MEASUREMENTS)
@pytest.mark.parametrize("fails", [False, True])
def test_measuring_leaves_no_trace(name, fails):
    torch.manual_seed(0)
    model, batches = Trace().double(), labelled(3)
    model.net[0].weight.grad = torch.randn_like(model.net[0].weight)
    calls = 0

    def objective(model, batch):
        nonlocal calls
        calls += 1
        loss = cross_entropy(model, batch)
        model.net[3].eval()
        if fails and calls == 2:
            raise RuntimeError("the objective failed")
        return loss

    before = state_of(model)
    if fails:
        with pytest.raises(RuntimeError, match="the objective failed"):
            MEASUREMENTS[name](model, objective, batches)
    else:
        MEASUREMENTS[name](model, objective, batches)
    assert calls and same(before, state_of(model))


def test_training_is_bit_for_bit_the_same_when_measured():
    def trajectory(measured: bool) -> torch.Tensor:
        torch.manual_seed(1)
        model, batches = Trace().double(), labelled(6)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for batch in batches:
            optimiser.zero_grad()
            cross_entropy(model, batch).backward()
            if measured:
                for function in MEASUREMENTS.values():
                    function(model, cross_entropy, batches[:2])
            optimiser.step()
        return torch.cat([value.flatten() for value in model.state_dict().values()])

    assert torch.equal(trajectory(False), trajectory(True))


def test_every_batch_sees_the_same_buffers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 1)).double()
    seen = []

    def objective(model, batch):
        seen.append(model[0].running_mean.clone())
        return model(batch).sum()

    gradient_statistics(model, objective, torch.randn(3, 4, 2, dtype=DOUBLE))
    assert all(torch.equal(value, torch.zeros(2, dtype=DOUBLE)) for value in seen)


def test_gradient_of_linear_regression_in_closed_form():
    torch.manual_seed(0)
    model = nn.Linear(3, 1, bias=False).double()
    batches = [
        (torch.randn(5, 3, dtype=DOUBLE), torch.randn(5, dtype=DOUBLE)) for _ in range(7)
    ]
    weight = model.weight.detach().squeeze(0)
    gradients = torch.stack([x.T @ (x @ weight - y) / 5 for x, y in batches])
    mean, spread = gradients.mean(0), gradients.var(0).sum()
    found = gradient_statistics(model, squares, iter(batches))
    torch.testing.assert_close(found.mean_gradient, mean)
    assert found.gradient_norm_naive == pytest.approx(mean.norm().item())
    unbiased = (mean @ mean - spread / 7).item()
    assert found.gradient_norm_squared == pytest.approx(unbiased)
    assert found.noise_norm == pytest.approx(spread.sqrt().item())
    losses = torch.tensor([squares(model, batch).item() for batch in batches])
    assert found.loss == pytest.approx(losses.mean().item())
    assert found.loss_standard_error == pytest.approx(losses.std().item() / 7**0.5)
    assert found.batches == 7


def test_gradient_of_softmax_regression_in_closed_form():
    torch.manual_seed(0)
    model = nn.Linear(4, 3, bias=False).double()
    inputs, labels = torch.randn(9, 4, dtype=DOUBLE), torch.randint(0, 3, (9,))
    residual = (inputs @ model.weight.T).softmax(1) - nn.functional.one_hot(labels, 3)
    expected = (residual.T @ inputs / 9).detach().flatten()
    found = gradient_statistics(model, cross_entropy, [(inputs, labels)] * 2)
    torch.testing.assert_close(found.mean_gradient, expected)
    assert found.noise_norm == pytest.approx(0.0, abs=1e-7)


def test_regularised_fields_are_those_of_the_regularised_objective():
    torch.manual_seed(0)
    model, batches = Point(3.0, -2.0), list(torch.randn(37, 2, dtype=DOUBLE))

    def objective(model, batch):
        return linear(model, batch) + 0.3 / 2 * model.theta.square().sum()

    together = gradient_statistics(model, linear, batches, weight_decay=0.3, population=50)
    apart = gradient_statistics(model, objective, batches, population=50)
    plain = gradient_statistics(model, linear, batches, population=50)
    assert together.regularised_gradient_norm_squared == pytest.approx(
        apart.gradient_norm_squared
    )
    assert together.regularised_standard_error == pytest.approx(apart.standard_error)
    assert together.gradient_norm_squared == plain.gradient_norm_squared
    assert plain.regularised_gradient_norm_squared == plain.gradient_norm_squared
    assert plain.regularised_standard_error == plain.standard_error


def deviations(values: list[float], truth: float) -> float:
    """How many standard errors the mean of independent values is off."""
    values = torch.tensor(values, dtype=DOUBLE)
    standard_error = values.std().item() / len(values) ** 0.5
    return abs(values.mean().item() - truth) / standard_error


def draws(repetitions: int, count: int, population: torch.Tensor, replace: bool):
    """Measured statistics of repeated samples from a finite population."""
    generator = torch.Generator().manual_seed(3)
    model = Point(*([0.0] * population.shape[1]))
    for _ in range(repetitions):
        if replace:
            index = torch.randint(len(population), (count,), generator=generator)
        else:
            index = torch.randperm(len(population), generator=generator)[:count]
        size = None if replace else len(population)
        yield gradient_statistics(model, linear, population[index], population=size)


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("count", [2, 7, 21])
def test_norms_are_unbiased(replace, count):
    """Within 4 standard errors over 600 fixed repetitions."""
    torch.manual_seed(0)
    population = torch.randn(30, 5, dtype=DOUBLE) + 0.3
    truth = population.mean(0).square().sum().item()
    noise = (population - population.mean(0)).square().sum(1).mean().item()
    found = list(draws(600, count, population, replace))
    assert deviations([f.gradient_norm_squared for f in found], truth) < 4
    assert deviations([f.noise_norm**2 for f in found], noise) < 4
    if replace:  # the naive norm is too large by exactly sigma^2 / M
        naive = [f.gradient_norm_naive**2 for f in found]
        assert deviations(naive, truth + noise / count) < 4
        assert deviations(naive, truth) > 4


def test_bias_of_the_naive_norm_in_closed_form():
    """Over all pairs drawn from {a, b} with replacement it is sigma^2 / 2."""
    model, points = Point(0.0), torch.tensor([[1.0], [4.0]], dtype=DOUBLE)
    pairs = [points[[i, j]] for i in (0, 1) for j in (0, 1)]
    found = [gradient_statistics(model, linear, pair) for pair in pairs]
    naive = sum(f.gradient_norm_naive**2 for f in found) / 4
    unbiased = sum(f.gradient_norm_squared for f in found) / 4
    assert naive == pytest.approx(2.5**2 + 1.5**2 / 2)
    assert unbiased == pytest.approx(2.5**2)


@pytest.mark.parametrize("replace, count", [(True, 12), (True, 40), (False, 40)])
def test_standard_error_matches_the_spread(replace, count):
    """Within a quarter of the empirical spread, where the gradient dominates."""
    torch.manual_seed(0)
    population = torch.randn(60, 5, dtype=DOUBLE) + 1.0
    found = list(draws(500, count, population, replace))
    values = torch.tensor([f.gradient_norm_squared for f in found])
    claimed = torch.tensor([f.standard_error for f in found]).square().mean().sqrt()
    assert 0.8 < (claimed / values.std()).item() < 1.25
    truth = population.mean(0).square().sum().item()
    errors = [abs(f.gradient_norm_squared - truth) / f.standard_error for f in found]
    assert sum(error < 2 for error in errors) / len(errors) > 0.88


def test_standard_error_is_conservative_at_a_stationary_point():
    torch.manual_seed(0)
    population = torch.randn(200, 20, dtype=DOUBLE)
    population -= population.mean(0)
    found = list(draws(300, 20, population, True))
    spread = torch.tensor([f.gradient_norm_squared for f in found]).std()
    claimed = torch.tensor([f.standard_error for f in found]).square().mean().sqrt()
    assert claimed > spread


def test_the_whole_partition_is_known_exactly():
    torch.manual_seed(0)
    points = torch.randn(20, 3, dtype=DOUBLE)
    for count in (1, 2, 20):
        found = gradient_statistics(
            Point(0.0, 0.0, 0.0), linear, points[:count], population=count
        )
        mean = points[:count].mean(0)
        assert found.gradient_norm_squared == pytest.approx(mean.square().sum().item())
        assert found.gradient_norm_squared == pytest.approx(found.gradient_norm_naive**2)
        assert found.standard_error == found.loss_standard_error == 0.0
        spread = (points[:count] - mean).square().sum(1).mean().item()
        assert found.noise_norm == pytest.approx(spread**0.5, abs=1e-12)


def test_two_partitions_are_unbiased_where_a_minibatch_couples_its_examples():
    torch.manual_seed(0)
    points = torch.randn(4, 3, dtype=DOUBLE)
    model, decay = Point(0.3, -0.2, 0.1), 0.5

    def coupled(model, batch):  # the gradient depends on which examples meet
        return linear(model, batch.prod(0))

    splits = [[(0, 1), (2, 3)], [(0, 2), (1, 3)], [(0, 3), (1, 2)]]
    partitions = [[points[list(part)] for part in split] for split in splits]
    means = torch.stack([torch.stack([b.prod(0) for b in p]).mean(0) for p in partitions])
    found = [
        measure.partition_statistics(model, coupled, pair, weight_decay=decay)
        for pair in itertools.product(partitions, repeat=2)
    ]
    truth = means.mean(0)
    regularised = truth + decay * measure.parameter_vector(model)
    for name, expected in (("", truth), ("regularised_", regularised)):
        squares = [getattr(one, f"{name}gradient_norm_squared") for one in found]
        assert np.mean(squares) == pytest.approx(expected.square().sum().item())
    one = found[1]  # of the first partition and the second
    torch.testing.assert_close(one.mean_gradient, means[:2].mean(0))
    assert one.gradient_norm_naive == pytest.approx(means[:2].mean(0).norm().item())
    assert one.gradient_norm_squared == pytest.approx((means[0] @ means[1]).item())
    assert (one.batches, found[0].standard_error) == (4, 0)
    single = measure.partition_statistics(model, coupled, partitions[:1])
    assert single.standard_error == 0 and single.batches == 2


def test_the_error_of_two_partitions_is_that_of_their_composition():
    generator = torch.Generator().manual_seed(0)
    draws = 0.7 + torch.randn(2000, 2, 1, 5, dtype=DOUBLE, generator=generator)
    model = Point(*[0.0] * 5)
    found = [measure.partition_statistics(model, linear, list(pair)) for pair in draws]
    squares = np.array([one.gradient_norm_squared for one in found])
    errors = np.array([one.standard_error for one in found])
    assert abs(squares.mean() - 5 * 0.7**2) < 4 * squares.std() / 2000**0.5
    assert (errors**2).mean() / squares.var() == pytest.approx(1, abs=0.15)


def test_batches_of_unequal_size_count_equally():
    model = nn.Linear(1, 1, bias=False).double()
    batches = [
        (torch.ones(4, 1, dtype=DOUBLE), torch.zeros(4, dtype=DOUBLE)),
        (torch.ones(1, 1, dtype=DOUBLE), torch.ones(1, dtype=DOUBLE)),
    ]
    found = gradient_statistics(model, squares, batches)
    expected = model.weight.detach().flatten() - 0.5
    torch.testing.assert_close(found.mean_gradient, expected)
    assert math.isinf(found.standard_error) and math.isfinite(found.loss_standard_error)


class Reusing(torch.autograd.Function):
    """A product whose gradient lies in memory that the next one is written into."""

    space = torch.empty(3)

    @staticmethod
    def forward(ctx, weight, inputs):
        ctx.save_for_backward(inputs)
        return weight @ inputs

    @staticmethod
    def backward(ctx, slope):
        return torch.mul(slope, ctx.saved_tensors[0], out=Reusing.space), None


@pytest.mark.parametrize("count", [7, 90])
def test_gradients_that_share_their_memory_are_each_counted(count):
    model = nn.Linear(3, 1, bias=False)
    batches = list(torch.randn(count, 3))
    found, plain = (
        gradient_statistics(model, lambda model, batch: f(model.weight[0], batch), batches)
        for f in (Reusing.apply, torch.dot)
    )
    assert torch.equal(found.mean_gradient, plain.mean_gradient)
    assert found.noise_norm == plain.noise_norm
    assert found.gradient_norm_squared == plain.gradient_norm_squared


class Marked(torch.Tensor):
    """A tensor whose operations a library may override."""


@pytest.mark.parametrize("kind", [torch.Tensor, Marked])
def test_the_engine_is_asked_itself_unless_a_tensor_overrides_what_is_done(kind, monkeypatch):
    asked, grad = [], torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: asked.append(a) or grad(*a, **k)
    )
    weight = torch.tensor([1.0, 2.0], dtype=DOUBLE).as_subclass(kind).requires_grad_()
    unused = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    found = derivatives.gradients((weight**3).sum(), [weight, unused])
    assert [one.tolist() for one in found] == [[3.0, 12.0], [0.0] * 3]
    assert weight.grad is None and bool(asked) == (kind is Marked)


def test_too_few_batches():
    model, one = Point(1.0), [torch.ones(1, dtype=DOUBLE)]
    with pytest.raises(ValueError, match="at least two"):
        gradient_statistics(model, linear, one)
    with pytest.raises(ValueError, match="at least two"):
        gradient_statistics(model, linear, one, population=5)
    with pytest.raises(ValueError, match="less than the 2 batches"):
        gradient_statistics(model, linear, one * 2, population=1)
    for function in MEASUREMENTS.values():
        with pytest.raises(ValueError, match="no batch"):
            function(model, linear, [])


def test_a_model_without_trainable_parameters():
    frozen = Point(1.0).requires_grad_(False)
    for model in (nn.ReLU(), frozen):
        with pytest.raises(ValueError, match="no trainable parameters"):
            gradient_statistics(model, linear, [torch.ones(1)] * 2)


def test_frozen_are_left_out_and_unused_are_zeros():
    model = nn.ParameterDict(
        {name: nn.Parameter(torch.ones(2, dtype=DOUBLE)) for name in "abc"}
    )
    model["b"].requires_grad_(False)

    def objective(model, batch):
        return batch * (model["a"] * model["b"]).sum()

    found = gradient_statistics(model, objective, [1.0, 1.0, 1.0])
    assert found.mean_gradient.tolist() == [1.0, 1.0, 0.0, 0.0]

    def constant(model, batch):
        return 2.0 + 0.0 * model["a"].sum()

    found = gradient_statistics(model, constant, [1.0, 1.0, 1.0])
    assert found.gradient_norm_naive == found.noise_norm == found.standard_error == 0.0


def test_float32_norms_of_many_parameters_are_exact():
    """Summing 4 million squares in float32 would lose four digits."""
    model = nn.Linear(2000, 2000, bias=False)
    torch.manual_seed(0)
    gradient = torch.randn(2000, 2000)

    def objective(model, batch):
        return (model.weight * gradient).sum() * batch

    found = gradient_statistics(model, objective, [1.0, -1.0])
    exact = gradient.double().square().sum().item()
    assert found.mean_gradient.dtype == torch.float32
    assert found.noise_norm**2 == pytest.approx(2 * exact, rel=1e-6)
    assert found.gradient_norm_squared == pytest.approx(-exact, rel=1e-6)


def test_distances_and_losses():
    model = Point(3.0, 4.0)
    origin = measure.parameter_vector(model)
    with torch.no_grad():
        model.theta += torch.tensor([0.0, 2.0])
    assert measure.displacement(model, origin) == 2.0
    assert origin.tolist() == [3.0, 4.0]
    ones = torch.ones(2, dtype=DOUBLE)
    assert mean_loss(model, linear, iter([ones, 3 * ones])) == 18.0
