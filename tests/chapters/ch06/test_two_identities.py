"""Two identities on softmax regression, chapter 6: derivatives, bounds, samplings."""

import math

import pytest
import torch
from stationarity.chapters.ch06_invariant_measure import reading, two_identities
from stationarity.chapters.ch06_invariant_measure.two_identities import inner
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Keeper, Place
from stationarity.runs.settings import get

SMALL = {
    "examples": 48, "batch_size": 8, "weight_decay": 0.05, "edges": (60, 300, 1500),
    "stride": 5, "replicates": 16, "learning_rate": 0.05,
}  # fmt: skip
SOFTMAX = get("two_identities", overrides=SMALL)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def problem():
    return two_identities.load(SOFTMAX, Place())


@pytest.fixture(scope="module")
def kept(problem):
    return {
        sampling: two_identities.chain(problem, SOFTMAX, sampling, Keeper())
        for sampling in two_identities.SAMPLINGS
    }


def some_weights(problem, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (4, problem.inputs.shape[1], problem.targets.shape[1])
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def objective(problem, weights):
    decay = problem.weight_decay / 2 * inner(weights, weights)
    return problem.losses(weights) + decay


def test_gradients_are_those_of_the_objective(problem):
    weights = some_weights(problem).requires_grad_()
    (expected,) = torch.autograd.grad(objective(problem, weights).sum(), weights)
    torch.testing.assert_close(problem.gradient(weights), expected)
    parts = torch.arange(SOFTMAX.examples).split(SOFTMAX.batch_size)
    mean = sum(problem.gradient(weights, p.expand(4, -1)) for p in parts)
    torch.testing.assert_close(mean / len(parts), expected)


def test_the_integral_is_the_remainder_of_the_first_order(problem):
    weights, step = some_weights(problem), some_weights(problem, 0.005, seed=1)
    change = objective(problem, weights + step) - objective(problem, weights)
    first = inner(problem.gradient(weights), step)
    second = problem.second_order(weights, step)
    torch.testing.assert_close(first + second, change, rtol=1e-6, atol=0)
    assert (second / change).abs().max() > 1e-3


def test_epochs_see_every_example_once_and_independent_draws_do_not():
    for sampling in two_identities.SAMPLINGS:
        chosen = list(two_identities.batches(SOFTMAX, sampling, 12, "cpu"))
        epochs = torch.cat(chosen, 1).view(SOFTMAX.replicates, 2, -1)
        whole = (epochs.sort(-1).values == torch.arange(SOFTMAX.examples)).all()
        assert whole == (sampling == "reshuffled")
        assert not torch.equal(epochs[:, 0], epochs[:, 1])


@pytest.mark.parametrize("sampling", two_identities.SAMPLINGS)
def test_the_minibatch_form_is_an_identity_along_any_path(kept, sampling):
    for edges in (SOFTMAX.edges, (17, 305, 1500)):
        rows = two_identities.windows(kept[sampling], SOFTMAX.but(edges=edges), sampling)
        values = metrics.frame(rows).pivot(index="step", columns="quantity", values="value")
        off = (values.minibatch_ratio + values.drift - 1).dropna()
        assert len(off) == len(edges) and off.abs().max() < 1e-9


def test_only_the_form_with_the_full_gradient_tells_the_sampling(kept):
    last = {}
    for sampling, found in kept.items():
        for row in metrics.frame(two_identities.windows(found, SOFTMAX, sampling)).itertuples():
            if row.step == SOFTMAX.edges[-1]:
                last[sampling, row.quantity] = row.value, row.error
    for sampling in two_identities.SAMPLINGS:
        for name in ("minibatch_ratio", "minibatch_budget"):
            value, error = last[sampling, name]
            assert abs(value - 1) < 4 * error + 0.01
    for name in ("full_ratio", "full_budget"):
        value, error = last["replacement", name]
        assert abs(value - 1) < 4 * error and error < 0.1
        value, error = last["reshuffled", name]
        assert value < 1 - 8 * error


def test_bounds_of_the_problem_hold(problem, kept):
    norms = kept["replacement"]["weight_square"].sqrt()
    limit = (1 - math.sqrt(SOFTMAX.momentum)) ** 2
    assert SOFTMAX.learning_rate * SOFTMAX.weight_decay < limit
    size, smooth = problem.bounds()
    assert norms.max() <= size / SOFTMAX.weight_decay
    one, other = some_weights(problem, 2.0), some_weights(problem, 2.0, seed=3)
    chosen = torch.randint(SOFTMAX.examples, (4, 3))
    first, second = (problem.gradient(w, chosen) for w in (one, other))
    loss_part = first - problem.weight_decay * one
    assert inner(loss_part, loss_part).sqrt().max() <= size
    rise = inner(first - second, first - second).sqrt()
    apart = inner(one - other, one - other).sqrt()
    assert (rise <= smooth * apart).all()
    scores = problem.inputs.square().sum(1).max().sqrt() * math.sqrt(2)
    top = math.log(10) + scores * inner(one, one).sqrt()
    assert (problem.losses(one) <= top).all()


def test_one_example_attains_the_bounds_of_the_problem():
    inputs = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    one = two_identities.Problem(inputs, torch.tensor([[1.0, 0.0]]).double(), 0.1)
    away = torch.stack([-inputs[0], inputs[0]], 1)[None]  # from the right class
    rise = one.gradient(1e-4 * away) - one.gradient(0 * away)
    norm = inner(away, away).sqrt()
    found = inner(rise, rise).sqrt() / norm / 1e-4
    bound, smooth = one.bounds()
    assert found.item() == pytest.approx(smooth, rel=1e-6)
    steep = one.gradient(9 * away) - one.weight_decay * 9 * away
    found = inner(steep, steep).sqrt().item()
    assert found == pytest.approx(bound, rel=1e-6)


def test_chains_that_share_their_minibatches_meet(problem):
    settings = SOFTMAX.but(learning_rate=1 / problem.bounds()[1])
    distances = reading.coupled_distance(problem, settings, 400, spread=2.0)
    factor = 1 - settings.learning_rate * settings.weight_decay
    assert (distances[1:] <= factor * distances[:-1] * (1 + 1e-9)).all()
    assert (distances[-1] < 0.2 * distances[0]).all()
