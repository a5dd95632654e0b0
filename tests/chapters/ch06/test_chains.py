"""Chains of chapter 6: closed forms against algebra or simulation, bounds against runs."""

import itertools
import math

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import arcsine, binom, ks_1samp
from stationarity import UsageError
from stationarity.chapters.ch06_invariant_measure import chains, reading
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.stats.estimate import mean_and_error


def test_a_step_on_the_cubic_is_the_logistic_map():
    theta = np.linspace(0, 1, 11)
    path = chains.orbits(theta, 2)
    slope = 4 * theta**2 - 3 * theta  # of 4 θ³ / 3 − 3 θ² / 2
    np.testing.assert_allclose(path[1], theta - slope, atol=1e-15)


def test_the_arcsine_law_is_invariant_under_the_map():
    levels = np.linspace(0.01, 0.99, 50)
    # θ maps below y where 4 θ (1 − θ) <= y: below the lower root, above the upper one.
    root = np.sqrt(1 - levels) / 2
    pushed = arcsine.cdf(0.5 - root) + arcsine.sf(0.5 + root)
    np.testing.assert_allclose(pushed, arcsine.cdf(levels), atol=1e-12)


def test_histograms_of_the_map_approach_the_law_at_the_rate_of_chance():
    settings = get("descent_map", overrides={"times": (100, 10000)})
    rows = metrics.frame(chains.descent_map(settings, Place()))
    rows = rows.set_index(["quantity", "step"])[["value", "error"]]
    for time in settings.times:
        value, error = rows.loc["distance", time]
        assert abs(value * math.sqrt(time) - 0.87) < 0.25
        assert error < value / 5
        assert tuple(rows.loc["different", time]) == (1.0, 0.0)
    short, long = rows.value["loss_change"]
    assert short / long == pytest.approx(100, rel=0.5)


def test_the_map_obeys_both_identities():
    path = chains.orbits(np.random.default_rng(0).uniform(size=400), 4000)
    slope = 4 * path**2 - 3 * path
    for one, other in (
        (path * slope, slope**2 / 2),
        (slope**2, (8 * path - 3) * slope**2 / 2 - 8 * slope**3 / 6),  # f‴ = 8
    ):
        value, error = mean_and_error((one - other).mean(0))
        assert abs(value) < 4 * error + 1e-3
    assert (path * slope).mean() == pytest.approx(1 / 8, rel=0.02)  # of the arcsine law
    assert (slope**2).mean() == pytest.approx(1 / 4, rel=0.02)


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


def test_rounded_sgd_is_stochastic_and_moves_as_it_says():
    points = np.linspace(-4, 4, 81)
    matrix = chains.rounded_sgd(points, 0.1, 2.0).toarray()
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-15)
    assert matrix.min() >= 0
    step = matrix[70]  # from θ = 3
    np.testing.assert_allclose(points[step > 0], [2.5, 2.7, 2.9], atol=1e-12)


def test_only_the_ageing_average_tells_the_drifting_walk():
    rows = metrics.frame(chains.finite_chains(get("finite_chains"), Place()))
    last = rows[rows.step == 1000].set_index(["quantity", "of"]).value
    assert (last["gap"] <= 1.0001e-3).all() and len(last["gap"]) == 3
    assert last["one_step", "rotation"] == 1
    assert last["ageing", "rotation"] < 0.05
    assert last["ageing", "drifting walk"] > 0.4
    laws = (binom.pmf(np.arange(1002), steps, 0.5) for steps in (1000, 1001))
    walk = chains.total_variation(*laws)
    assert last["one_step", "drifting walk"] == pytest.approx(walk, rel=1e-9)
    assert last["ageing", "rounded SGD"] < 0.02


def test_bounded_noise_keeps_each_path_in_its_well():
    settings = get("double_well", overrides={"trajectories": 200})
    low, high = chains.well_interval(settings.learning_rate, 0.3)
    path = chains.well_paths(settings, 0.3, 1)
    assert low <= path.min() and path.max() <= high
    assert path.max() - path.min() > 0.8 * (high - low)  # and fills most of it
    wide = chains.well_paths(settings, 1.5, 1)
    assert wide.min() < -1 and np.abs(wide).max() <= 1.492  # see the settings


def test_the_ends_of_a_well_map_into_it():
    for width, rate in itertools.product((0.05, 0.2, 0.38), (0.05, 0.3)):
        low, high = chains.well_interval(rate, width)
        theta = np.linspace(low, high, 1001)
        for noise in (-width, width):
            image = theta - rate * (theta**3 - theta + noise)
            assert low - 1e-9 <= image.min() and image.max() <= high + 1e-9


def test_averages_depend_on_the_start_only_between_two_wells():
    rows = metrics.frame(chains.double_well(get("double_well"), Place()))
    for width, apart in ((0.3, True), (1.5, False)):
        left, right = rows[rows.of == f"width {width:g}"].itertuples()
        assert (left.index, right.index) == (0, 1)
        off, error = abs(right.value - left.value), math.hypot(left.error, right.error)
        assert (off > 100 * error) == apart
        assert apart or off < 4 * error


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_no_gradients_push_weights_over_the_bound_and_constant_ones_reach_it(momentum):
    rate, size, steps = 0.1, 2.0, 6000
    decay = 0.999 * (1 - math.sqrt(momentum)) ** 2 / rate
    bound = size / decay
    generator = np.random.default_rng(0)
    random = generator.standard_normal((steps, 3))
    random *= size / np.linalg.norm(random, axis=1, keepdims=True)
    blocks = np.repeat(random[::20], 20, axis=0)
    for gradients in (random, blocks):
        norms = reading.decayed_norms(gradients, rate, momentum, decay)
        assert 0.1 * bound < norms.max() <= bound * (1 + 1e-12)
    constant = np.tile([size, 0.0], (steps, 1))
    norms = reading.decayed_norms(constant, rate, momentum, decay)
    assert norms[-1] == pytest.approx(bound, rel=1e-6) and norms.max() <= bound * (1 + 1e-12)


def test_beyond_the_limit_of_the_decay_the_bound_fails():
    rate, momentum, size = 0.1, 0.9, 1.0
    decay = 50 * (1 - math.sqrt(momentum)) ** 2 / rate
    constant = np.full((200, 1), size)
    norms = reading.decayed_norms(constant, rate, momentum, decay)
    assert norms.max() > 1.5 * size / decay


def test_normalised_weights_find_their_balance():
    rate, decay, gradient = 0.5, 0.02, 3.0
    shrunk = (1 - rate * decay) ** 2
    exact = rate * gradient / math.sqrt(1 - shrunk)
    assert shrunk * exact + (rate * gradient) ** 2 / exact == pytest.approx(exact)
    for start in (0.1, 10.0):
        weights = np.full(20, start)
        squares = exact * reading.normalised_squares(weights, rate, decay, gradient, 1500)
        assert squares[-1] == pytest.approx(exact, rel=1e-6)
        lowest = min(squares)
        top = shrunk * lowest + (rate * gradient) ** 2 / lowest
        assert squares.max() <= max(squares[0], exact, top) * (1 + 1e-12)


def test_bad_arguments_raise_one_clear_sentence():
    with pytest.raises(UsageError, match="steepest slope"):
        chains.well_interval(0.3, 0.5)
    with pytest.raises(UsageError, match="too large for the proof"):
        chains.well_interval(0.6, 0.3)


def test_the_distance_to_a_wrong_law_is_seen():
    path = chains.orbits(np.array([0.123]), 5000)[:, 0]
    assert ks_1samp(path, arcsine.cdf).statistic < 0.03
    assert ks_1samp(path, lambda x: x).statistic > 0.1
