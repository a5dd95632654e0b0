"""Chapter 6: every closed form against algebra or simulation, every bound against runs."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import stationarity
import torch
from scipy import sparse
from scipy.stats import arcsine, binom, ks_1samp
from stationarity import UsageError, experiments, theory
from stationarity.chapters.ch06_invariant_measure import chains, identities, plane
from stationarity.chapters.ch06_invariant_measure.settings import CHAINS
from stationarity.runs.checkpoints import Keeper
from stationarity.runs.progress import Progress

PLANE = experiments.get("noisy_plane", overrides={"trajectories": 3000, "steps": 120})
SOFTMAX = experiments.get(
    "two_identities",
    overrides={
        "examples": 48, "batch_size": 8, "weight_decay": 0.05, "edges": (60, 300, 1500),
        "stride": 5, "replicates": 16, "learning_rate": 0.05,
    },
)  # fmt: skip
MOMENTA = [0.0, 0.5, 0.9]

pytestmark = pytest.mark.usefixtures("one_thread")


def by_name(rows) -> dict:
    return {(step, name): (value, error) for step, _, name, value, error in rows}


# --- a map ------------------------------------------------------------------------


def test_a_step_on_the_cubic_is_the_logistic_map():
    theta = np.linspace(0, 1, 11)
    path = chains.orbits(theta, 2)
    np.testing.assert_allclose(
        path[1], theta - chains.cubic_gradient(theta), atol=1e-15
    )
    slope = (chains.cubic_gradient(theta + 1e-6) - chains.cubic_gradient(theta)) / 1e-6
    np.testing.assert_allclose(slope, 8 * theta - 3, atol=1e-5)


def test_the_arcsine_law_is_invariant_under_the_map():
    levels = np.linspace(0.01, 0.99, 50)
    # θ maps below y where 4 θ (1 − θ) <= y: below the lower root, above the upper one.
    root = np.sqrt(1 - levels) / 2
    pushed = arcsine.cdf(0.5 - root) + arcsine.sf(0.5 + root)
    np.testing.assert_allclose(pushed, arcsine.cdf(levels), atol=1e-12)


def test_histograms_of_the_map_approach_the_law_at_the_rate_of_chance():
    settings = experiments.get("descent_map", overrides={"times": (100, 10000)})
    rows = by_name(chains.descent_map(settings))
    for time in settings.times:
        value, error = rows[time, "distance"]
        assert abs(value * math.sqrt(time) - 0.87) < 0.25
        assert error < value / 5
        assert rows[time, "different"] == (1.0, 0.0)
    short, long = (rows[time, "loss_change"][0] for time in settings.times)
    assert short / long == pytest.approx(100, rel=0.5)


def test_the_map_obeys_both_identities():
    path = chains.orbits(np.random.default_rng(0).uniform(size=400), 4000)
    slope = chains.cubic_gradient(path)
    for one, other in (
        (path * slope, slope**2 / 2),
        (slope**2, (8 * path - 3) * slope**2 / 2 - 8 * slope**3 / 6),  # f‴ = 8
    ):
        value, error = chains.mean_and_error((one - other).mean(0))
        assert abs(value) < 4 * error + 1e-3
    assert (path * slope).mean() == pytest.approx(1 / 8, rel=0.02)  # of the arcsine law
    assert (slope**2).mean() == pytest.approx(1 / 4, rel=0.02)


# --- finitely many states -----------------------------------------------------------


def random_chain(states=7, seed=0):
    generator = np.random.default_rng(seed)
    matrix = generator.dirichlet(np.full(states, 0.3), size=states)
    return sparse.csr_array(matrix), generator.dirichlet(np.ones(states))


@pytest.mark.parametrize("seed", range(4))
def test_the_telescoping_identity_is_exact(seed):
    matrix, start = random_chain(seed=seed)
    times = (1, 2, 3, 10, 50)
    found = chains.telescoping(matrix, start, times)
    np.testing.assert_allclose(found["gap"], found["identity"], atol=1e-15)
    assert (found["gap"] <= (1 + 1e-12) / np.array(times)).all()
    assert (np.diff(found["one_step"]) <= 1e-15).all()  # a kernel contracts


def test_a_chain_whose_kernel_changes_escapes_the_identity():
    one, start = random_chain(seed=1)
    other, _ = random_chain(seed=2)
    kept = [start]
    for step in range(40):
        kept.append(kept[-1] @ (one if step < 20 else other))
    average = np.mean(kept[:40], axis=0)
    gap = chains.total_variation(average @ other, average)
    assert gap > 2 * chains.total_variation(kept[40], start) / 40


def test_kernels_are_stochastic_and_move_as_they_say():
    points = np.linspace(-4, 4, 81)
    for matrix in (
        chains.rounded_sgd(points, 0.1, 2.0), chains.rotation(5), chains.drifting_walk(9),
    ):  # fmt: skip
        np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-15)
        assert matrix.min() >= 0
    step = chains.rounded_sgd(points, 0.1, 2.0).toarray()[70]  # from θ = 3
    np.testing.assert_allclose(points[step > 0], [2.5, 2.7, 2.9], atol=1e-12)
    law = np.eye(1, 20)[0]
    for _ in range(12):
        law = law @ chains.drifting_walk(20)
    np.testing.assert_allclose(law, binom.pmf(np.arange(20), 12, 0.5), atol=1e-15)


def test_only_the_ageing_average_tells_the_drifting_walk():
    rows = by_name(chains.finite_chains(experiments.get("finite_chains")))
    for chain in ("rounded SGD", "rotation", "drifting walk"):
        assert rows[1000, f"gap ({chain})"][0] <= 1.0001e-3
    assert rows[1000, "one_step (rotation)"][0] == 1
    assert rows[1000, "ageing (rotation)"][0] < 0.05
    assert rows[1000, "ageing (drifting walk)"][0] > 0.4
    assert rows[1000, "ageing (rounded SGD)"][0] < 0.02


# --- the plane -------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_covariance_is_that_of_separate_directions_where_they_separate(momentum):
    curvatures, noises = np.array([1.0, 0.3]), np.array([2.0, 0.5])
    whole = plane.stationary_covariance(
        np.diag(curvatures), np.diag(noises), 0.2, momentum
    )
    alone = theory.stationary_covariance(curvatures, 0.2, noises, momentum)
    for i in range(2):
        block = whole[np.ix_([i, i + 2], [i, i + 2])] * np.outer(
            [1, -1], [1, -1]
        )  # b = −v
        np.testing.assert_allclose(block, alone[i], rtol=1e-10)
    np.testing.assert_allclose(whole[0, 1], 0, atol=1e-12)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_both_identities_hold_exactly_on_a_quadratic(momentum):
    hessian, noise = plane.plane_matrices(PLANE)
    rate = 0.3
    covariance = plane.stationary_covariance(hessian, noise, rate, momentum)
    weights, cross, buffer = covariance[:2, :2], covariance[:2, 2:], covariance[2:, 2:]
    product = weights @ hessian  # E[θ gᵀ]
    np.testing.assert_allclose(
        product + product.T, rate * (1 + momentum) * buffer, atol=1e-12
    )
    # b = β b⁻ + Hθ + ξ: the gain of the descent budget, and its second-order loss.
    gain = np.trace(hessian @ (momentum * cross + weights @ hessian))
    assert gain == pytest.approx(rate / 2 * np.trace(hessian @ buffer), rel=1e-10)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_noise_keeps_the_gradient_from_vanishing(momentum):
    hessian, noise = plane.plane_matrices(PLANE)
    for rate in (0.01, 0.3):
        covariance = plane.stationary_covariance(hessian, noise, rate, momentum)
        gradient = np.trace(hessian @ covariance[:2, :2] @ hessian)
        push = rate * (1 + momentum) / 2 * np.trace(covariance[2:, 2:])
        assert push**2 / np.trace(covariance[:2, :2]) <= gradient
        assert np.trace(covariance[2:, 2:]) >= np.trace(noise)
    alone = plane.stationary_covariance([[0.5]], [[1.0]], 0.2, momentum)
    push = 0.2 * (1 + momentum) / 2 * alone[1, 1]
    assert push**2 / alone[0, 0] == pytest.approx(0.25 * alone[0, 0])  # it is attained


def test_an_ensemble_follows_its_exact_law():
    means, covariances = plane.plane_moments(PLANE)
    times = [1, 10, 40, 120]
    for step, theta in zip(times, plane.plane_sample(PLANE, times), strict=True):
        errors = np.sqrt(np.diag(covariances[step])[:2] / PLANE.trajectories)
        assert (np.abs(theta.mean(0) - means[step, :2]) < 4 * errors).all()
        found, exact = np.cov(theta.T), covariances[step, :2, :2]
        spread = np.sqrt(exact**2 + np.outer(np.diag(exact), np.diag(exact)))
        assert (
            np.abs(found - exact) < 4 * spread / math.sqrt(PLANE.trajectories)
        ).all()
    rows = by_name(plane.noisy_plane(PLANE))
    assert rows[120, "distance"][0] < 1.63 / math.sqrt(PLANE.trajectories)
    assert rows[1, "distance"][0] > 0.9  # and far from its limit before


def test_exact_moments_end_in_the_lyapunov_solution():
    settled = plane.stationary_covariance(*plane.plane_matrices(PLANE), 0.1, 0.9)
    _, covariances = plane.plane_moments(dataclasses.replace(PLANE, steps=2000))
    np.testing.assert_allclose(covariances[-1], settled, rtol=1e-8)
    distances = plane.distances_to_stationary(PLANE)
    assert distances[-1] < 0.05 * distances[0]


def test_the_wasserstein_distance_of_normal_laws():
    one, other = np.diag([4.0, 1.0]), np.diag([1.0, 9.0])
    zero, mean = np.zeros(2), np.array([3.0, 4.0])
    expected = math.sqrt(25 + (2 - 1) ** 2 + (1 - 3) ** 2)  # commuting covariances
    assert plane.gaussian_distance(zero, one, mean, other) == pytest.approx(expected)
    turned = np.array([[2.0, 0.7], [0.7, 1.0]])
    assert plane.gaussian_distance(mean, turned, mean, turned) < 1e-6


@pytest.mark.parametrize(
    ("curvature", "momentum", "per_epoch"),
    [(0.2, 0.9, 8), (1.0, 0.0, 5), (3.0, 0.5, 2)],
)
def test_the_ratio_of_reshuffled_epochs(curvature, momentum, per_epoch):
    generator = np.random.default_rng(0)
    noises = generator.standard_normal(per_epoch)
    noises -= noises.mean()
    rate, replicates, epochs = 0.1, 4000, 2 * math.ceil(120 / per_epoch)
    theta, buffer = np.zeros((2, replicates))
    products, squares = np.zeros((2, replicates))
    for epoch in range(epochs):
        order = generator.random((replicates, per_epoch)).argsort(1)
        for noise in noises[order].T:
            buffer = momentum * buffer + curvature * theta + noise
            if epoch >= epochs // 2:
                products += curvature * theta**2
                squares += rate * (1 + momentum) / 2 * buffer**2
            theta = theta - rate * buffer
    exact = plane.reshuffled_ratio(curvature, rate, momentum, per_epoch)
    ratio = products.mean() / squares.mean()
    error = (products - ratio * squares).std() / squares.mean() / math.sqrt(replicates)
    assert abs(ratio - exact) < 4 * error
    assert exact < 1 - 10 * error


def test_long_epochs_are_as_good_as_independent_minibatches():
    ratios = [plane.reshuffled_ratio(1.0, 0.05, 0.9, n) for n in (2, 20, 200, 2000)]
    assert ratios == sorted(ratios) and ratios[-1] == pytest.approx(1, abs=0.01)


# --- two wells -------------------------------------------------------------------------


def test_bounded_noise_keeps_each_path_in_its_well():
    settings = experiments.get("double_well", overrides={"trajectories": 200})
    low, high = chains.well_interval(settings.learning_rate, 0.3)
    path = chains.well_paths(settings, 0.3, 1)
    assert low <= path.min() and path.max() <= high
    assert path.max() - path.min() > 0.8 * (high - low)  # and fills most of it
    wide = chains.well_paths(settings, 1.5, 1)
    assert wide.min() < -1 and np.abs(wide).max() <= chains.well_radius(0.3, 1.5)


def test_the_ends_of_a_well_map_into_it():
    for width, rate in itertools.product((0.05, 0.2, 0.38), (0.05, 0.3)):
        low, high = chains.well_interval(rate, width)
        theta = np.linspace(low, high, 1001)
        for noise in (-width, width):
            image = theta - rate * (theta**3 - theta + noise)
            assert low - 1e-9 <= image.min() and image.max() <= high + 1e-9


def test_averages_depend_on_the_start_only_between_two_wells():
    rows = by_name(chains.double_well(experiments.get("double_well")))
    for width, apart in ((0.3, True), (1.5, False)):
        (left, e), (right, d) = (
            rows[4000, f"average (width {width:g}, start {start})"] for start in (-1, 1)
        )
        assert (abs(right - left) > 100 * math.hypot(e, d)) == apart
        assert apart or abs(right - left) < 4 * math.hypot(e, d)


# --- norms ---------------------------------------------------------------------------


@pytest.mark.parametrize("momentum", MOMENTA)
def test_no_gradients_push_weights_over_the_bound_and_constant_ones_reach_it(momentum):
    rate, size, steps = 0.1, 2.0, 6000
    decay = 0.999 * chains.largest_decay_rate(momentum) / rate
    bound = chains.weight_bound(0.0, size, decay)
    generator = np.random.default_rng(0)
    random = generator.standard_normal((steps, 3))
    random *= size / np.linalg.norm(random, axis=1, keepdims=True)
    blocks = np.repeat(random[::20], 20, axis=0)
    for gradients in (random, blocks):
        norms = chains.decayed_norms(gradients, rate, momentum, decay)
        assert 0.1 * bound < norms.max() <= bound * (1 + 1e-12)
    constant = np.tile([size, 0.0], (steps, 1))
    norms = chains.decayed_norms(constant, rate, momentum, decay)
    assert norms[-1] == pytest.approx(bound, rel=1e-6) and norms.max() <= bound * (
        1 + 1e-12
    )


def test_beyond_the_limit_of_the_decay_the_bound_fails():
    rate, momentum, size = 0.1, 0.9, 1.0
    decay = 50 * chains.largest_decay_rate(momentum) / rate
    constant = np.full((200, 1), size)
    norms = chains.decayed_norms(constant, rate, momentum, decay)
    assert norms.max() > 1.5 * chains.weight_bound(0.0, size, decay)


def test_normalised_weights_find_their_balance():
    rate, decay, gradient = 0.5, 0.02, 3.0
    exact = chains.balanced_square(rate, decay, gradient)
    shrunk = (1 - rate * decay) ** 2
    assert shrunk * exact + (rate * gradient) ** 2 / exact == pytest.approx(exact)
    for start in (0.1, 10.0):
        weights = np.full(20, start)
        squares = chains.normalised_squares(weights, rate, decay, gradient, 1500)
        assert squares[-1] == pytest.approx(exact, rel=1e-6)
        lowest = min(squares)
        top = shrunk * lowest + (rate * gradient) ** 2 / lowest
        assert squares.max() <= max(squares[0], exact, top) * (1 + 1e-12)


# --- the learning problem ---------------------------------------------------------------


@pytest.fixture(scope="module")
def given():
    return identities.problem(SOFTMAX)


@pytest.fixture(scope="module")
def kept(given):
    with Progress("test", 1) as progress:
        return {
            sampling: identities.chain(given, SOFTMAX, sampling, progress, Keeper())
            for sampling in identities.SAMPLINGS
        }


def some_weights(given, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (4, given.inputs.shape[1], given.targets.shape[1])
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


def objective(given, weights):
    decay = given.weight_decay / 2 * identities.inner(weights, weights)
    return identities.losses(given, weights) + decay


def test_gradients_are_those_of_the_objective(given):
    weights = some_weights(given).requires_grad_()
    (expected,) = torch.autograd.grad(objective(given, weights).sum(), weights)
    torch.testing.assert_close(identities.full_gradient(given, weights), expected)
    parts = torch.arange(SOFTMAX.examples).split(SOFTMAX.batch_size)
    mean = sum(
        identities.minibatch_gradient(given, weights, p.expand(4, -1)) for p in parts
    )
    torch.testing.assert_close(mean / len(parts), expected)


def test_the_integral_is_the_remainder_of_the_first_order(given):
    weights, step = some_weights(given), some_weights(given, 0.005, seed=1)
    change = objective(given, weights + step) - objective(given, weights)
    first = identities.inner(identities.full_gradient(given, weights), step)
    second = identities.second_order(given, weights, step)
    torch.testing.assert_close(first + second, change, rtol=1e-6, atol=0)
    assert (second / change).abs().max() > 1e-3


def test_epochs_see_every_example_once_and_independent_draws_do_not():
    for sampling in identities.SAMPLINGS:
        chosen = list(identities.batches(SOFTMAX, sampling, 12, "cpu"))
        epochs = torch.cat(chosen, 1).view(SOFTMAX.replicates, 2, -1)
        whole = (epochs.sort(-1).values == torch.arange(SOFTMAX.examples)).all()
        assert whole == (sampling == "reshuffled")
        assert not torch.equal(epochs[:, 0], epochs[:, 1])


@pytest.mark.parametrize("sampling", identities.SAMPLINGS)
def test_the_minibatch_form_is_an_identity_along_any_path(kept, sampling):
    rate, beta, found = SOFTMAX.learning_rate, SOFTMAX.momentum, kept[sampling]
    for begin, end in ((0, 1), (0, 60), (17, 300), (300, 1500)):
        squares = rate * (1 + beta) / 2 * found["buffer_square"][begin:end].sum(0)
        ratio = found["minibatch_product"][begin:end].sum(0) / squares
        left = identities.drift(found, SOFTMAX, begin, end)
        torch.testing.assert_close(ratio, 1 - left, rtol=1e-9, atol=1e-9)


def test_only_the_form_with_the_full_gradient_tells_the_sampling(kept):
    last = {}
    for sampling, found in kept.items():
        for step, name, value, error in identities._windows(found, SOFTMAX):
            if step == SOFTMAX.edges[-1]:
                last[sampling, name] = value, error
    for sampling in identities.SAMPLINGS:
        for name in ("minibatch_ratio", "minibatch_budget"):
            value, error = last[sampling, name]
            assert abs(value - 1) < 4 * error + 0.01
    for name in ("full_ratio", "full_budget"):
        value, error = last["independent", name]
        assert abs(value - 1) < 4 * error and error < 0.1
        value, error = last["reshuffled", name]
        assert value < 1 - 8 * error


def test_bounds_of_the_problem_hold(given, kept):
    norms = kept["independent"]["weight_square"].sqrt()
    limit = chains.largest_decay_rate(SOFTMAX.momentum)
    assert SOFTMAX.learning_rate * SOFTMAX.weight_decay < limit
    size = identities.gradient_bound(given)
    assert norms.max() <= chains.weight_bound(0.0, size, SOFTMAX.weight_decay)
    one, other = some_weights(given, 2.0), some_weights(given, 2.0, seed=3)
    chosen = torch.randint(SOFTMAX.examples, (4, 3))
    first, second = (
        identities.minibatch_gradient(given, w, chosen) for w in (one, other)
    )
    loss_part = first - given.weight_decay * one
    assert identities.inner(loss_part, loss_part).sqrt().max() <= size
    rise = identities.inner(first - second, first - second).sqrt()
    apart = identities.inner(one - other, one - other).sqrt()
    assert (rise <= identities.smoothness(given) * apart).all()
    scores = given.inputs.square().sum(1).max().sqrt() * math.sqrt(2)
    top = math.log(10) + scores * identities.inner(one, one).sqrt()
    assert (identities.losses(given, one) <= top).all()


def test_one_example_attains_the_bounds_of_the_problem():
    inputs = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    one = identities.Problem(inputs, torch.tensor([[1.0, 0.0]]).double(), 0.1)
    away = torch.stack([-inputs[0], inputs[0]], 1)[None]  # from the right class
    rise = identities.full_gradient(one, 1e-4 * away) - identities.full_gradient(
        one, 0 * away
    )
    norm = identities.inner(away, away).sqrt()
    found = identities.inner(rise, rise).sqrt() / norm / 1e-4
    assert found.item() == pytest.approx(identities.smoothness(one), rel=1e-6)
    steep = identities.full_gradient(one, 9 * away) - one.weight_decay * 9 * away
    found = identities.inner(steep, steep).sqrt().item()
    assert found == pytest.approx(identities.gradient_bound(one), rel=1e-6)


def test_chains_that_share_their_minibatches_meet(given):
    settings = dataclasses.replace(
        SOFTMAX, learning_rate=1 / identities.smoothness(given)
    )
    distances = identities.coupled_distance(given, settings, 400, spread=2.0)
    factor = 1 - settings.learning_rate * settings.weight_decay
    assert (distances[1:] <= factor * distances[:-1] * (1 + 1e-9)).all()
    assert (distances[-1] < 0.2 * distances[0]).all()


# --- settings and runs --------------------------------------------------------------------

SHORT = {
    "descent_map": {"times": (5, 20), "trajectories": 3},
    "finite_chains": {"states": 11, "times": (1, 4)},
    "noisy_plane": {"steps": 20, "trajectories": 5},
    "double_well": {"steps": 10, "trajectories": 3},
    "two_identities": {
        "examples": 24, "batch_size": 4, "edges": (10, 20), "stride": 5, "replicates": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_every_experiment_runs_and_repeats(name):
    first = stationarity.run(name, settings=SHORT[name], device="cpu")
    assert first.complete and np.isfinite(first.metrics.value).all()
    chosen = experiments.get(name, overrides=SHORT[name])
    again = stationarity.launch.STUDIES[type(chosen)](chosen, None, "cpu")
    assert [row[3] for row in again] == first.metrics.value.tolist()


@pytest.mark.parametrize("name", CHAINS)
def test_every_scale_could_start(name):
    for scale, settings in CHAINS[name].items():
        assert experiments.get(name, scale) == settings
        if name == "two_identities":
            identities._check(settings)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("descent_map", {"trajectories": 1}, "at least 2"),
        ("finite_chains", {"states": 1}, "at least 2"),
        ("noisy_plane", {"learning_rate": 9.0}, "too large"),
        ("noisy_plane", {"curvatures": (1.0, -0.2)}, "must be positive"),
        ("noisy_plane", {"curvatures": (1.0,)}, "takes two numbers"),
        ("noisy_plane", {"noise_variances": (1.0, -1.0)}, "must not be negative"),
        ("noisy_plane", {"trajectories": 1}, "at least 2"),
        ("double_well", {"learning_rate": 2.0}, "leave for good"),
        ("double_well", {"widths": (-0.1,)}, "noise width"),
        ("double_well", {"trajectories": 1}, "at least 2"),
        ("two_identities", {"batch_size": 7}, "no multiple"),
        ("two_identities", {"stride": 5}, "share no factor"),
        ("two_identities", {"edges": (140, 141)}, "rise by at least the stride"),
        ("two_identities", {"label_noise": 1.5}, "share in"),
        ("two_identities", {"replicates": 1}, "positive|at least 2"),
        ("two_identities", {"momentum": 1.0}, "momentum must lie in"),
    ],
)
def test_bad_settings_raise_one_clear_sentence(name, values, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        stationarity.run(name, settings=values, device="cpu")
    assert "\n" not in str(caught.value)


def test_bad_arguments_raise_one_clear_sentence():
    with pytest.raises(UsageError, match="steepest slope"):
        chains.well_interval(0.3, 0.5)
    with pytest.raises(UsageError, match="too large for the proof"):
        chains.well_interval(0.6, 0.3)
    with pytest.raises(UsageError, match="two minibatches"):
        plane.reshuffled_ratio(1.0, 0.1, 0.9, 1)


def test_the_distance_to_a_wrong_law_is_seen():
    path = chains.orbits(np.array([0.123]), 5000)[:, 0]
    assert ks_1samp(path, arcsine.cdf).statistic < 0.03
    assert ks_1samp(path, lambda x: x).statistic > 0.1
