"""The exact theory of SGD on a noisy quadratic, and its Langevin equation, against algebra."""

import numpy as np
import pytest
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov
from stationarity import UsageError, theory
from stationarity.theory.simulation import simulate

MOMENTA = [0.0, 0.5, 0.9, 0.99]


def drift(curvature, rate, momentum):
    """The matrix A of the Langevin equation: force and friction over the mass."""
    mass = rate * (1 + momentum) / 2
    return np.array([[0, -1], [curvature / mass, (1 - momentum) / mass]])


def diffusion(rate, noise, momentum):
    """The matrix D of the Langevin equation."""
    return np.diag([0, 2 * noise / (rate * (1 + momentum) ** 2)])


def noise_covariance(learning_rate, noise):
    """What one step's noise adds to the covariances of (position, velocity)."""
    return np.multiply.outer(noise, np.outer([learning_rate, 1.0], [learning_rate, 1.0]))


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("learning_rate", [0.01, 0.5, 1.3])
def test_stationary_covariance_solves_the_lyapunov_equation(learning_rate, momentum):
    curvature, noise = np.array([1.5, 0.2, 1e-3]), np.array([2.0, 0.1, 5.0])
    covariance = theory.stationary_covariance(curvature, learning_rate, noise, momentum)
    matrices = theory.transition(curvature, learning_rate, momentum)
    added = noise_covariance(learning_rate, noise)
    for mine, matrix, noise_of_one in zip(covariance, matrices, added, strict=True):
        theirs = solve_discrete_lyapunov(matrix, noise_of_one)
        np.testing.assert_allclose(mine, theirs, rtol=1e-8)


def test_without_momentum_the_variance_is_the_textbook_formula():
    h, rate, noise = 0.7, 0.4, 3.0
    variance = theory.stationary_covariance(h, rate, noise)[0, 0]
    assert variance == pytest.approx(rate * noise / (h * (2 - rate * h)), rel=1e-14)


def test_the_variance_scales_with_the_learning_rate():
    small, smaller = (
        theory.stationary_covariance(1.0, rate, 1.0, 0.9)[0, 0] for rate in (1e-6, 1e-7)
    )
    assert small / smaller == pytest.approx(10, rel=1e-5)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_stability_ends_exactly_at_the_threshold(momentum):
    curvature = 1.7
    limit = 2 * (1 + momentum) / curvature

    def radius(rate):
        return max(abs(np.linalg.eigvals(theory.transition(curvature, rate, momentum))))

    below, above = limit * (1 - 1e-9), limit * (1 + 1e-9)
    assert radius(below) < 1 < radius(above)
    theory.check_stable(curvature, below, momentum)
    for rate in (limit, above):
        with pytest.raises(UsageError, match="too large"):
            theory.check_stable(curvature, rate, momentum)


def test_exact_moments_end_in_the_stationary_state():
    for momentum in (0.0, 0.9):
        _, covariance = theory.moments(
            [1.0, 0.3], np.full(2000, 0.2), 2.0, start=5.0, momentum=momentum
        )
        settled = theory.stationary_covariance([1.0, 0.3], 0.2, 2.0, momentum)
        np.testing.assert_allclose(covariance[-1], settled, rtol=1e-10)


@pytest.mark.parametrize("momentum", MOMENTA)
def test_the_limiting_covariance_solves_the_continuous_lyapunov_equation(momentum):
    curvature, noise = np.array([2.0, 0.3]), np.array([1.0, 5.0])
    limiting = theory.limiting_covariance(curvature, 0.1, noise, momentum)
    for h, s, c in zip(curvature, noise, limiting, strict=True):
        a, d = drift(h, 0.1, momentum), diffusion(0.1, s, momentum)
        np.testing.assert_allclose(solve_continuous_lyapunov(a, 2 * d), c, atol=1e-12)


def test_the_exact_covariance_tends_to_the_limiting_one():
    for rate, off in ((1e-2, 1e-2), (1e-4, 1e-4)):
        exact = theory.stationary_covariance(1.0, rate, 2.0, 0.5)
        limiting = theory.limiting_covariance(1.0, rate, 2.0, 0.5)
        np.testing.assert_allclose(np.diag(exact), np.diag(limiting), rtol=off)


def displacement_by_powers(lags, curvature, learning_rate, noise, momentum):
    """The displacement by brute force: M^k, and P from SciPy."""
    matrix = theory.transition(curvature, learning_rate, momentum)
    settled = solve_discrete_lyapunov(matrix, noise_covariance(learning_rate, noise))
    lagged = [(np.linalg.matrix_power(matrix, k) @ settled)[0, 0] for k in lags]
    return 2 * (settled[0, 0] - np.array(lagged))


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("step", [1e-4, 0.01, 0.3, 1.0, 1.7])
def test_displacement_is_twice_the_lost_autocorrelation(step, momentum):
    curvature, rate, noise = 2.0, step / 2.0, 3.0
    lags = [0, 1, 2, 3, 10, 57, 400]
    mine = theory.displacement_squared(lags, curvature, rate, noise, momentum)
    theirs = displacement_by_powers(lags, curvature, rate, noise, momentum)
    np.testing.assert_allclose(mine, theirs, rtol=1e-7, atol=1e-12)


def test_displacement_begins_ballistic_and_ends_at_twice_the_variance():
    curvature, rate, noise, momentum = np.array([1e-9, 1e-3, 1.0]), 0.1, 2.0, 0.99
    one, three, late = theory.displacement_squared(
        [1, 3, 10**12], curvature, rate, noise, momentum
    )
    settled = theory.stationary_covariance(curvature, rate, noise, momentum)
    np.testing.assert_allclose(one, rate**2 * settled[:, 1, 1], rtol=1e-12)
    assert np.all((three > 8 * one) & (three < 9 * one))  # nearly k² at small k
    np.testing.assert_allclose(late, 2 * settled[:, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_oscillation_and_decay_are_the_argument_and_modulus_of_the_eigenvalues(momentum):
    curvature = np.linspace(0.01, 0.99, 57) * 2 * (1 + momentum)
    values = np.linalg.eigvals(theory.transition(curvature, 1.0, momentum))
    angle = theory.oscillation(curvature, 1.0, momentum)
    largest = np.take_along_axis(values, np.abs(values).argmax(-1)[:, None], -1)[:, 0]
    np.testing.assert_allclose(angle, np.abs(np.angle(largest)), atol=1e-7)
    decay = theory.decay(curvature, 1.0, momentum)
    np.testing.assert_allclose(np.exp(-decay), np.abs(largest), rtol=1e-7)
    turns = (angle > 0) & (angle < np.pi)
    low, high = (1 - np.sqrt(momentum)) ** 2, (1 + np.sqrt(momentum)) ** 2
    assert np.array_equal(turns, (low < curvature) & (curvature < high))
    np.testing.assert_allclose(np.exp(-2 * decay[turns]), momentum)


@pytest.mark.parametrize("lags", [[0.5], [-1], ["a"]])
def test_lags_that_are_no_numbers_of_steps_are_refused(lags):
    with pytest.raises(UsageError, match="whole numbers"):
        theory.displacement_squared(lags, 1.0, 0.1, 1.0)


# --- the continuous theory, in the three regimes of damping -------------------------

RATE, BETA = 0.1, 0.9
CRITICAL = (1 - BETA) ** 2 / (2 * (1 + BETA)) / RATE  # curvature at the border
REGIMES = np.array([1e-6, 1e-2, 1 - 1e-9, 1.0, 1 + 1e-9, 1.1, 100.0]) * CRITICAL


def test_the_regimes_are_told_apart():
    found = theory.damping(REGIMES, RATE, BETA)
    named = ["overdamped"] * 3 + ["critical"] + ["underdamped"] * 3
    assert list(found.regime) == named
    eigenvalues = np.linalg.eigvals([drift(h, RATE, BETA) for h in REGIMES[[1, 5]]])
    assert np.isreal(eigenvalues[0]).all()
    np.testing.assert_allclose(np.abs(eigenvalues[1].imag), found.frequency[5])
    np.testing.assert_allclose(eigenvalues[1].real, found.rate[5])


@pytest.mark.parametrize("curvature", REGIMES)
def test_the_propagator_is_the_exponential_of_the_drift(curvature):
    steps = np.array([0.0, 0.3, 1, 7, 60, 500])
    mine = theory.propagator(steps, curvature, RATE, BETA)
    for step, matrix in zip(steps, mine, strict=True):
        exponential = expm(-drift(curvature, RATE, BETA) * RATE * step)
        np.testing.assert_allclose(matrix, exponential, atol=1e-10)


def test_the_ratio_of_the_variances_is_known_exactly():
    exact = theory.stationary_covariance(REGIMES, RATE, 2.0, BETA)
    limit = theory.limiting_covariance(REGIMES, RATE, 2.0, BETA)
    ratio = 1 / (1 - (RATE * theory.damping(REGIMES, RATE, BETA)[1]) ** 2 / 4)
    for i in range(2):
        np.testing.assert_allclose(exact[:, i, i] / limit[:, i, i], ratio)


# --- bad input ------------------------------------------------------------------------

EVERY = [
    lambda *a: theory.damping(*a),
    lambda *a: theory.propagator([1], *a),
    lambda *a: theory.oscillation(*a),
    lambda *a: theory.decay(*a),
    lambda h, r, b: theory.displacement_squared([1], h, r, 1.0, b),
    lambda h, r, b: theory.limiting_covariance(h, r, 1.0, b),
    lambda h, r, b: theory.moments(h, [r], 1.0, momentum=b),
    lambda h, r, b: simulate(h, [r], 1.0, trajectories=1, recorded=[1], momentum=b),
]


@pytest.mark.parametrize("law", EVERY)
def test_bad_input_ends_in_one_clear_sentence(law):
    with pytest.raises(UsageError, match=r"only below .* = 1\.9"):
        law([2.0, 0.1], 1.95, 0.9)
    with pytest.raises(UsageError, match=r"momentum must lie in \[0, 1\), not 1"):
        law([2.0, 0.1], 0.1, 1.0)
    with pytest.raises(UsageError, match=r"curvature must be positive, not -0\.1"):
        law([2.0, -0.1], 0.1, 0.9)


def test_negative_times_are_refused():
    with pytest.raises(UsageError, match="not be negative"):
        theory.propagator([-1.0], 1.0, 0.1)
