"""The exact theory of SGD on a noisy quadratic, and its Langevin equation, against algebra."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm, solve_continuous_lyapunov, solve_discrete_lyapunov
from stationarity import UsageError, theory

MOMENTA = [0.0, 0.5, 0.9, 0.99]


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("learning_rate", [0.01, 0.5, 1.3])
def test_stationary_covariance_solves_the_lyapunov_equation(learning_rate, momentum):
    curvature, noise = np.array([1.5, 0.2, 1e-3]), np.array([2.0, 0.1, 5.0])
    covariance = theory.stationary_covariance(curvature, learning_rate, noise, momentum)
    matrices = theory.transition(curvature, learning_rate, momentum)
    added = theory.noise_covariance(learning_rate, noise)
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
    limit = float(theory.largest_stable_learning_rate(curvature, momentum))

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
    drift = theory.drift(curvature, 0.1, momentum)
    diffusion = theory.diffusion(0.1, noise, momentum)
    limiting = theory.limiting_covariance(curvature, 0.1, noise, momentum)
    for a, d, c in zip(drift, diffusion, limiting, strict=True):
        np.testing.assert_allclose(solve_continuous_lyapunov(a, 2 * d), c, atol=1e-12)


def test_the_exact_covariance_tends_to_the_limiting_one():
    for rate, off in ((1e-2, 1e-2), (1e-4, 1e-4)):
        exact = theory.stationary_covariance(1.0, rate, 2.0, 0.5)
        limiting = theory.limiting_covariance(1.0, rate, 2.0, 0.5)
        np.testing.assert_allclose(np.diag(exact), np.diag(limiting), rtol=off)


def displacement_by_powers(lags, curvature, learning_rate, noise, momentum):
    """The displacement by brute force: M^k, and P from SciPy."""
    matrix = theory.transition(curvature, learning_rate, momentum)
    settled = solve_discrete_lyapunov(matrix, theory.noise_covariance(learning_rate, noise))
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
def test_oscillation_and_decay_are_the_argument_and_modulus_of_the_eigenvalues(
    momentum,
):
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


def test_moments_at_chosen_steps_are_those_of_every_step():
    curvature, start = np.array([1.0, 0.3]), 5.0
    mean, covariance = theory.moments(
        curvature, np.full(300, 0.2), 2.0, start=start, momentum=0.9
    )
    steps = [0, 1, 7, 128, 300]
    np.testing.assert_allclose(
        theory.discrete.mean_at(steps, curvature, 0.2, 0.9, start=[start, 0.0]),
        mean[steps], atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(
        theory.discrete.covariance_at(steps, curvature, 0.2, 2.0, 0.9),
        covariance[steps], atol=1e-12,
    )  # fmt: skip


@pytest.mark.parametrize("lags", [[0.5], [-1], ["a"]])
def test_lags_that_are_no_numbers_of_steps_are_refused(lags):
    with pytest.raises(UsageError, match="whole numbers"):
        theory.displacement_squared(lags, 1.0, 0.1, 1.0)


def test_displacement_from_the_stationary_moments_is_the_stationary_one():
    curvature, noise = np.array([1.0, 0.03]), np.array([2.0, 0.5])
    lags = [0, 1, 5, 40, 1000]
    settled = theory.stationary_covariance(curvature, 0.2, noise, 0.9)
    args = (lags, curvature, 0.2, noise, 0.9)
    from_moments = theory.displacement_squared(*args, start=settled)
    np.testing.assert_allclose(theory.displacement_squared(*args), from_moments, atol=1e-12)


def test_from_a_cold_start_the_plateau_is_half_as_high():
    cold = theory.displacement_squared(
        [0, 3, 10**4], [1.0, 0.3], 0.2, 2.0, 0.9, start=np.zeros((2, 2))
    )
    covariance = theory.discrete.covariance_at([0, 3, 10**4], [1.0, 0.3], 0.2, 2.0, 0.9)
    np.testing.assert_allclose(cold, covariance[..., 0, 0])
    late = theory.displacement_squared([10**4], [1.0, 0.3], 0.2, 2.0, 0.9)
    np.testing.assert_allclose(cold[2], late[0] / 2)


# --- the continuous theory, in the three regimes of damping -------------------------

RATE, BETA = 0.1, 0.9
CRITICAL = (1 - BETA) ** 2 / (2 * (1 + BETA)) / RATE  # curvature at the border
REGIMES = np.array([1e-6, 1e-2, 1 - 1e-9, 1.0, 1 + 1e-9, 1.1, 100.0]) * CRITICAL


def test_the_regimes_are_told_apart():
    found = theory.damping(REGIMES, RATE, BETA)
    named = ["overdamped"] * 3 + ["critical"] + ["underdamped"] * 3
    assert list(found.regime) == named
    eigenvalues = np.linalg.eigvals(theory.drift(REGIMES[[1, 5]], RATE, BETA))
    assert np.isreal(eigenvalues[0]).all()
    np.testing.assert_allclose(np.abs(eigenvalues[1].imag), found.frequency[5])
    np.testing.assert_allclose(eigenvalues[1].real, found.rate[5])


@pytest.mark.parametrize("curvature", REGIMES)
def test_the_propagator_is_the_exponential_of_the_drift(curvature):
    steps = np.array([0.0, 0.3, 1, 7, 60, 500])
    mine = theory.propagator(steps, curvature, RATE, BETA)
    drift = theory.drift(curvature, RATE, BETA)
    for step, matrix in zip(steps, mine, strict=True):
        np.testing.assert_allclose(matrix, expm(-drift * RATE * step), atol=1e-10)


@pytest.mark.parametrize("curvature", REGIMES)
def test_mean_and_covariance_follow_the_differential_equations(curvature):
    drift = theory.drift(curvature, RATE, BETA)
    twice = 2 * theory.diffusion(RATE, 3.0, BETA)
    mean, covariance = np.array([2.0, -1.0]), np.array([[0.5, 0.1], [0.1, 2.0]])

    def slope(_, state):
        c = state[2:].reshape(2, 2)
        return np.concatenate([-drift @ state[:2], (twice - drift @ c - c @ drift.T).ravel()])

    steps = np.array([1.0, 10, 100])
    solved = solve_ivp(
        slope, (0, RATE * 100), np.concatenate([mean, covariance.ravel()]),
        t_eval=RATE * steps, rtol=1e-10, atol=1e-12, method="DOP853",
    )  # fmt: skip
    continuous = theory.continuous
    np.testing.assert_allclose(
        continuous.mean_at(steps, curvature, RATE, BETA, start=mean), solved.y[:2].T,
        atol=1e-8,
    )  # fmt: skip
    mine = continuous.covariance_at(steps, curvature, RATE, 3.0, BETA, start=covariance)
    # Of the largest entry: a slow direction's variance is the difference of large numbers.
    scale = theory.limiting_covariance(curvature, RATE, 3.0, BETA).max()
    np.testing.assert_allclose(
        mine.reshape(3, 4), solved.y[2:].T, rtol=1e-7, atol=1e-9 + 1e-14 * scale
    )


@pytest.mark.parametrize("curvature", REGIMES)
def test_the_continuous_displacement_integrates_the_velocity_correlation(curvature):
    """E Δ² = 2 E v² ∫ (t − τ) C(τ) dτ, by quadrature."""
    drift = theory.drift(curvature, RATE, BETA)
    velocity = theory.limiting_covariance(curvature, RATE, 3.0, BETA)[1, 1]
    for lag in (0.5, 20, 300):
        end = RATE * lag

        def integrand(tau, end=end):
            return (end - tau) * expm(-drift * tau)[1, 1]

        integral, _ = quad(integrand, 0, end, epsabs=1e-12, epsrel=1e-9, limit=400)
        (mine,) = theory.continuous.displacement_squared([lag], curvature, RATE, 3.0, BETA)
        assert mine == pytest.approx(2 * velocity * integral, rel=1e-6)


def test_the_continuous_displacement_is_ballistic_then_levels_off():
    early, late = 1e-5, 1e12
    short, long = theory.continuous.displacement_squared(
        [early, late], REGIMES, RATE, 3.0, BETA
    )
    limit = theory.limiting_covariance(REGIMES, RATE, 3.0, BETA)
    np.testing.assert_allclose(short, limit[:, 1, 1] * (RATE * early) ** 2, rtol=1e-4)
    np.testing.assert_allclose(long, 2 * limit[:, 0, 0])


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_the_sum_over_velocities_has_a_spurious_slope(momentum):
    lags = np.array([0, 1, 2, 17, 6000, 8000])
    args = (1.0, 0.01, 2.0, momentum)
    summed = theory.continuous.velocity_sum_squared(lags, *args)
    correlation = theory.propagator(np.arange(1, 17), 1.0, 0.01, momentum)[:, 1, 1]
    by_hand = 17 + 2 * np.sum((17 - np.arange(1, 17)) * correlation)
    assert summed[3] / summed[1] == pytest.approx(by_hand)
    slope = (summed[5] - summed[4]) / (lags[5] - lags[4]) / summed[1]
    assert slope == pytest.approx((1 - momentum) / (3 * (1 + momentum)), rel=0.05)


def test_the_continuous_theory_is_of_second_order():
    """Where 1 − β and √(ηh) are both of order ε, the autocorrelations differ by ε²."""
    off = []
    for small in (0.02, 0.01):
        momentum, rate = 1 - 2 * small, small**2
        lags = np.linspace(0, 5 / small, 11).round().astype(int)
        exact = theory.displacement_squared(lags, 1.0, rate, 1.0, momentum)
        limit = theory.continuous.displacement_squared(lags, 1.0, rate, 1.0, momentum)
        off.append(np.abs(exact - limit).max() / exact.max())
    assert off[0] / off[1] == pytest.approx(4, rel=0.1)


def test_the_ratio_of_the_variances_is_known_exactly():
    exact = theory.stationary_covariance(REGIMES, RATE, 2.0, BETA)
    limit = theory.limiting_covariance(REGIMES, RATE, 2.0, BETA)
    ratio = 1 / (1 - (RATE * theory.damping(REGIMES, RATE, BETA)[1]) ** 2 / 4)
    for i in range(2):
        np.testing.assert_allclose(exact[:, i, i] / limit[:, i, i], ratio)


# --- bad input ------------------------------------------------------------------------

EVERY = [
    lambda *a: theory.damping(*a), lambda *a: theory.propagator([1], *a),
    lambda *a: theory.oscillation(*a), lambda *a: theory.decay(*a),
    lambda h, r, b: theory.displacement_squared([1], h, r, 1.0, b),
    lambda h, r, b: theory.continuous.displacement_squared([1], h, r, 1.0, b),
    lambda h, r, b: theory.continuous.velocity_sum_squared([1], h, r, 1.0, b),
    lambda h, r, b: theory.discrete.covariance_at([1], h, r, 1.0, b),
    lambda h, r, b: theory.simulate(h, [r], 1.0, trajectories=1, recorded=[1], momentum=b),
]  # fmt: skip


@pytest.mark.parametrize("law", EVERY)
def test_bad_input_ends_in_one_clear_sentence(law):
    with pytest.raises(UsageError, match=r"only below .* = 1\.9"):
        law([2.0, 0.1], 1.95, 0.9)
    with pytest.raises(UsageError, match=r"momentum must lie in \[0, 1\), not 1"):
        law([2.0, 0.1], 0.1, 1.0)
    with pytest.raises(UsageError, match="curvature must be positive, not -0.1"):
        law([2.0, -0.1], 0.1, 0.9)


def test_negative_times_are_refused():
    with pytest.raises(UsageError, match="not be negative"):
        theory.propagator([-1.0], 1.0, 0.1)
