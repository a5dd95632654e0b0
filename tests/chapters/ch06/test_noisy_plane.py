"""SGD in the plane, chapter 6: against separate directions, algebra and simulation."""

import math

import numpy as np
import pytest
from stationarity import UsageError, theory
from stationarity.chapters.ch06_invariant_measure import chains, reading
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get

PLANE = get("noisy_plane", overrides={"trajectories": 3000, "steps": 120})
MOMENTA = [0.0, 0.5, 0.9]


@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_covariance_is_that_of_separate_directions_where_they_separate(momentum):
    curvatures, noises = np.array([1.0, 0.3]), np.array([2.0, 0.5])
    whole = chains.stationary_covariance(np.diag(curvatures), np.diag(noises), 0.2, momentum)
    alone = theory.stationary_covariance(curvatures, 0.2, noises, momentum)
    for i in range(2):
        block = whole[np.ix_([i, i + 2], [i, i + 2])] * np.outer([1, -1], [1, -1])  # b = −v
        np.testing.assert_allclose(block, alone[i], rtol=1e-10)
    np.testing.assert_allclose(whole[0, 1], 0, atol=1e-12)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_both_identities_hold_exactly_on_a_quadratic(momentum):
    hessian, noise = chains.plane_matrices(PLANE)
    rate = 0.3
    covariance = chains.stationary_covariance(hessian, noise, rate, momentum)
    weights, cross, buffer = covariance[:2, :2], covariance[:2, 2:], covariance[2:, 2:]
    product = weights @ hessian  # E[θ gᵀ]
    np.testing.assert_allclose(product + product.T, rate * (1 + momentum) * buffer, atol=1e-12)
    # b = β b⁻ + Hθ + ξ: the gain of the descent budget, and its second-order loss.
    gain = np.trace(hessian @ (momentum * cross + weights @ hessian))
    assert gain == pytest.approx(rate / 2 * np.trace(hessian @ buffer), rel=1e-10)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_noise_keeps_the_gradient_from_vanishing(momentum):
    hessian, noise = chains.plane_matrices(PLANE)
    for rate in (0.01, 0.3):
        covariance = chains.stationary_covariance(hessian, noise, rate, momentum)
        gradient = np.trace(hessian @ covariance[:2, :2] @ hessian)
        push = rate * (1 + momentum) / 2 * np.trace(covariance[2:, 2:])
        assert push**2 / np.trace(covariance[:2, :2]) <= gradient
        assert np.trace(covariance[2:, 2:]) >= np.trace(noise)
    alone = chains.stationary_covariance([[0.5]], [[1.0]], 0.2, momentum)
    push = 0.2 * (1 + momentum) / 2 * alone[1, 1]
    assert push**2 / alone[0, 0] == pytest.approx(0.25 * alone[0, 0])  # it is attained


def test_an_ensemble_follows_its_exact_law():
    means, covariances = reading.plane_moments(PLANE)
    times = [1, 10, 40, 120]
    for step, theta in zip(times, chains.plane_sample(PLANE, times), strict=True):
        errors = np.sqrt(np.diag(covariances[step])[:2] / PLANE.trajectories)
        assert (np.abs(theta.mean(0) - means[step, :2]) < 4 * errors).all()
        found, exact = np.cov(theta.T), covariances[step, :2, :2]
        spread = np.sqrt(exact**2 + np.outer(np.diag(exact), np.diag(exact)))
        assert (np.abs(found - exact) < 4 * spread / math.sqrt(PLANE.trajectories)).all()
    rows = metrics.frame(chains.noisy_plane(PLANE, Place()))
    distance = rows[rows.quantity == "distance"].set_index("step").value
    assert distance[120] < 1.63 / math.sqrt(PLANE.trajectories)
    assert distance[1] > 0.9  # and far from its limit before


def test_exact_moments_end_in_the_lyapunov_solution():
    settled = chains.stationary_covariance(*chains.plane_matrices(PLANE), 0.1, 0.9)
    _, covariances = reading.plane_moments(PLANE.but(steps=2000))
    np.testing.assert_allclose(covariances[-1], settled, rtol=1e-8)
    means, covariances = reading.plane_moments(PLANE)
    laws = means[:, :2], covariances[:, :2, :2]
    distances = reading.gaussian_distance(*laws, settled[:2, :2])
    assert distances[-1] < 0.05 * distances[0]


def test_the_wasserstein_distance_of_normal_laws():
    one, other = np.diag([4.0, 1.0]), np.diag([1.0, 9.0])
    mean = np.array([3.0, 4.0])
    expected = math.sqrt(25 + (2 - 1) ** 2 + (1 - 3) ** 2)  # commuting covariances
    assert reading.gaussian_distance(mean, one, other) == pytest.approx(expected)
    turned = np.array([[2.0, 0.7], [0.7, 1.0]])
    several = reading.gaussian_distance(np.stack([0 * mean, mean]), turned, turned)
    assert several[0] < 1e-6 and several[1] == pytest.approx(5)


@pytest.mark.parametrize(
    ("curvature", "momentum", "per_epoch"), [(0.2, 0.9, 8), (1.0, 0.0, 5), (3.0, 0.5, 2)]
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
    exact, _ = reading.reshuffled(curvature, rate, momentum, per_epoch)
    ratio = products.mean() / squares.mean()
    error = (products - ratio * squares).std() / squares.mean() / math.sqrt(replicates)
    assert abs(ratio - exact) < 4 * error
    assert exact < 1 - 10 * error


def test_long_epochs_are_as_good_as_independent_minibatches():
    ratios = [reading.reshuffled(1.0, 0.05, 0.9, n)[0] for n in (2, 20, 200, 2000)]
    assert ratios == sorted(ratios) and ratios[-1] == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_reshuffled_weights_scatter_as_simulated_at_each_place_of_an_epoch(momentum):
    curvature, rate, per_epoch, replicates = 1.0, 0.3, 5, 20_000
    random = np.random.default_rng(0)
    noise = random.standard_normal(per_epoch)
    noise -= noise.mean()
    theta, buffer, seen = np.zeros(replicates), np.zeros(replicates), np.zeros(per_epoch)
    for _ in range(20):
        order = random.permuted(np.tile(noise, (replicates, 1)), axis=1)
        for place in range(per_epoch):
            seen[place] = theta.var()
            buffer = momentum * buffer + curvature * theta + order[:, place]
            theta = theta - rate * buffer
    alone = theory.stationary_covariance(curvature, rate, (noise**2).mean(), momentum)[0, 0]
    _, exact = reading.reshuffled(curvature, rate, momentum, per_epoch)
    np.testing.assert_allclose(seen / alone, exact, rtol=0.04)
    assert exact.argmin() == 0


def test_reshuffling_needs_two_minibatches():
    with pytest.raises(UsageError, match="two minibatches"):
        reading.reshuffled(1.0, 0.1, 0.9, 1)
