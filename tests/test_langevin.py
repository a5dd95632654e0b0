"""The exact theory of SGD on a noisy quadratic, and its Langevin equation, against algebra."""

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov, solve_discrete_lyapunov
from stationarity import UsageError, langevin

MOMENTA = [0.0, 0.5, 0.9, 0.99]


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("learning_rate", [0.01, 0.5, 1.3])
def test_stationary_covariance_solves_the_lyapunov_equation(learning_rate, momentum):
    curvature, noise = np.array([1.5, 0.2, 1e-3]), np.array([2.0, 0.1, 5.0])
    covariance = langevin.stationary_covariance(
        curvature, learning_rate, noise, momentum
    )
    matrices = langevin.transition(curvature, learning_rate, momentum)
    added = langevin.noise_covariance(learning_rate, noise)
    for mine, matrix, noise_of_one in zip(covariance, matrices, added, strict=True):
        theirs = solve_discrete_lyapunov(matrix, noise_of_one)
        np.testing.assert_allclose(mine, theirs, rtol=1e-8)


def test_without_momentum_the_variance_is_the_textbook_formula():
    h, rate, noise = 0.7, 0.4, 3.0
    variance = langevin.stationary_covariance(h, rate, noise)[0, 0]
    assert variance == pytest.approx(rate * noise / (h * (2 - rate * h)), rel=1e-14)


def test_the_variance_scales_with_the_learning_rate():
    small, smaller = (
        langevin.stationary_covariance(1.0, rate, 1.0, 0.9)[0, 0]
        for rate in (1e-6, 1e-7)
    )
    assert small / smaller == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_stability_ends_exactly_at_the_threshold(momentum):
    curvature = 1.7
    limit = float(langevin.largest_stable_learning_rate(curvature, momentum))

    def radius(rate):
        return max(
            abs(np.linalg.eigvals(langevin.transition(curvature, rate, momentum)))
        )

    below, above = limit * (1 - 1e-9), limit * (1 + 1e-9)
    assert radius(below) < 1 < radius(above)
    langevin.check_stable(curvature, below, momentum)
    for rate in (limit, above):
        with pytest.raises(UsageError, match="too large"):
            langevin.check_stable(curvature, rate, momentum)


def test_exact_moments_end_in_the_stationary_state():
    for momentum in (0.0, 0.9):
        _, covariance = langevin.moments(
            [1.0, 0.3], np.full(2000, 0.2), 2.0, start=5.0, momentum=momentum
        )
        settled = langevin.stationary_covariance([1.0, 0.3], 0.2, 2.0, momentum)
        np.testing.assert_allclose(covariance[-1], settled, rtol=1e-10)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_limiting_covariance_solves_the_continuous_lyapunov_equation(momentum):
    curvature, noise = np.array([2.0, 0.3]), np.array([1.0, 5.0])
    drift = langevin.drift(curvature, 0.1, momentum)
    diffusion = langevin.diffusion(0.1, noise, momentum)
    limiting = langevin.limiting_covariance(curvature, 0.1, noise, momentum)
    for a, d, c in zip(drift, diffusion, limiting, strict=True):
        np.testing.assert_allclose(solve_continuous_lyapunov(a, 2 * d), c, atol=1e-12)


def test_the_exact_covariance_tends_to_the_limiting_one():
    for rate, off in ((1e-2, 1e-2), (1e-4, 1e-4)):
        exact = langevin.stationary_covariance(1.0, rate, 2.0, 0.5)
        limiting = langevin.limiting_covariance(1.0, rate, 2.0, 0.5)
        np.testing.assert_allclose(np.diag(exact), np.diag(limiting), rtol=off)


def paths_of_the_covariance(lags, curvature, learning_rate, noise, momentum):
    """The displacement by brute force: M^k, and P from SciPy."""
    matrix = langevin.transition(curvature, learning_rate, momentum)
    settled = solve_discrete_lyapunov(
        matrix, langevin.noise_covariance(learning_rate, noise)
    )
    lagged = [(np.linalg.matrix_power(matrix, k) @ settled)[0, 0] for k in lags]
    return 2 * (settled[0, 0] - np.array(lagged))


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("step", [1e-4, 0.01, 0.3, 1.0, 1.7])
def test_displacement_is_twice_the_lost_autocorrelation(step, momentum):
    curvature, rate, noise = 2.0, step / 2.0, 3.0
    lags = [0, 1, 2, 3, 10, 57, 400]
    mine = langevin.displacement_squared(lags, curvature, rate, noise, momentum)
    theirs = paths_of_the_covariance(lags, curvature, rate, noise, momentum)
    np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-12)


def test_displacement_begins_ballistic_and_ends_at_twice_the_variance():
    curvature, rate, noise, momentum = np.array([1e-9, 1e-3, 1.0]), 0.1, 2.0, 0.99
    one, three, late = langevin.displacement_squared(
        [1, 3, 10**12], curvature, rate, noise, momentum
    )
    settled = langevin.stationary_covariance(curvature, rate, noise, momentum)
    np.testing.assert_allclose(one, rate**2 * settled[:, 1, 1], rtol=1e-12)
    assert np.all((three > 8 * one) & (three < 9 * one))  # nearly k² at small k
    np.testing.assert_allclose(late, 2 * settled[:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_oscillation_and_decay_are_the_argument_and_modulus_of_the_eigenvalues(
    momentum,
):
    curvature = np.linspace(0.01, 0.99, 57) * 2 * (1 + momentum)
    values = np.linalg.eigvals(langevin.transition(curvature, 1.0, momentum))
    angle = langevin.oscillation(curvature, 1.0, momentum)
    largest = np.take_along_axis(values, np.abs(values).argmax(-1)[:, None], -1)[:, 0]
    np.testing.assert_allclose(angle, np.abs(np.angle(largest)), atol=1e-7)
    decay = langevin.decay(curvature, 1.0, momentum)
    np.testing.assert_allclose(np.exp(-decay), np.abs(largest), rtol=1e-7)
    turns = (angle > 0) & (angle < np.pi)
    low, high = (1 - np.sqrt(momentum)) ** 2, (1 + np.sqrt(momentum)) ** 2
    assert np.array_equal(turns, (low < curvature) & (curvature < high))
    np.testing.assert_allclose(np.exp(-2 * decay[turns]), momentum)


def test_moments_at_chosen_steps_are_those_of_every_step():
    curvature, start = np.array([1.0, 0.3]), 5.0
    mean, covariance = langevin.moments(
        curvature, np.full(300, 0.2), 2.0, start=start, momentum=0.9
    )
    steps = [0, 1, 7, 128, 300]
    np.testing.assert_allclose(
        langevin.discrete.mean_at(steps, curvature, 0.2, 0.9, start=[start, 0.0]),
        mean[steps], atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(
        langevin.discrete.covariance_at(steps, curvature, 0.2, 2.0, 0.9),
        covariance[steps], atol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("lags", [[0.5], [-1], ["a"]])
def test_lags_that_are_no_numbers_of_steps_are_refused(lags):
    with pytest.raises(UsageError, match="whole numbers"):
        langevin.displacement_squared(lags, 1.0, 0.1, 1.0)
