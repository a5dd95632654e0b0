"""Moments and displacements from any start by both theories, against algebra and integrals."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import expm, solve_sylvester
from stationarity import UsageError, theory
from stationarity.chapters.ch10_langevin import reading, study

RATE, BETA = 0.1, 0.9
CRITICAL = (1 - BETA) ** 2 / (2 * (1 + BETA)) / RATE  # curvature at the border
REGIMES = np.array([1e-6, 1e-2, 1 - 1e-9, 1.0, 1 + 1e-9, 1.1, 100.0]) * CRITICAL


def langevin_drift(curvature):
    """The matrix A of the Langevin equation: force and friction over the mass."""
    mass = RATE * (1 + BETA) / 2
    return np.array([[0, -1], [curvature / mass, (1 - BETA) / mass]])


def test_directions_that_share_noise_have_the_stationary_covariance_of_the_page():
    """The closed form of prop-ou for two directions, against SciPy's Lyapunov solver."""
    (one, other), shared = (langevin_drift(h) for h in (1.0, 0.3)), 0.7
    frequencies, friction = (one[1, 0], other[1, 0]), one[1, 1] / 2  # ω², γ
    total, apart = sum(frequencies), frequencies[0] - frequencies[1]
    push = 4 * shared / (RATE * (1 + BETA) ** 2)
    a = push / (2 * friction * total + apart**2 / (4 * friction))
    turn = apart / (4 * friction)
    mine = a * np.array([[1, turn], [-turn, total / 2]])
    solved = solve_sylvester(one, other.T, np.diag([0, push]))
    np.testing.assert_allclose(mine, solved, rtol=1e-10)
    alike = push / (4 * friction * frequencies[0]) * np.diag([1, frequencies[0]])
    np.testing.assert_allclose(
        alike, theory.limiting_covariance(1.0, RATE, shared, BETA), rtol=1e-12
    )


def test_moments_at_chosen_steps_are_those_of_every_step():
    curvature, start = np.array([1.0, 0.3]), 5.0
    mean, covariance = theory.moments(
        curvature, np.full(300, 0.2), 2.0, start=start, momentum=0.9
    )
    steps = [0, 1, 7, 128, 300]
    np.testing.assert_allclose(
        reading.EXACT.mean_at(steps, curvature, 0.2, 0.9, start=[start, 0.0]),
        mean[steps],
        atol=1e-12,
    )
    np.testing.assert_allclose(
        reading.EXACT.covariance_at(steps, curvature, 0.2, 2.0, 0.9),
        covariance[steps],
        atol=1e-12,
    )


def displacement(law, lags, curvature, rate, noise, momentum, start):
    """E Δ² after the lags, from the second moments ``start`` of states of mean zero."""
    covariance = law.covariance_at([0, *lags], curvature, rate, noise, momentum, start=start)

    def moved(state):
        return law.mean_at(lags, curvature, rate, momentum, start=state)

    mean = np.zeros(covariance.shape[:-1])
    return study.by_name(mean, covariance, lags, moved)["displacement_squared"]


def test_displacement_from_the_stationary_moments_is_the_stationary_one():
    curvature, noise = np.array([1.0, 0.03]), np.array([2.0, 0.5])
    args = ([0, 1, 5, 40, 1000], curvature, 0.2, noise, 0.9)
    settled = theory.stationary_covariance(*args[1:])
    from_moments = displacement(reading.EXACT, *args, settled)
    np.testing.assert_allclose(theory.displacement_squared(*args), from_moments, atol=1e-12)
    limit = theory.limiting_covariance(*args[1:])
    from_moments = displacement(reading.LANGEVIN, *args, limit)
    np.testing.assert_allclose(reading.limiting_displacement(*args), from_moments, atol=1e-12)


def test_displacement_from_any_moments_is_that_of_the_powers():
    h, noise, rate, momentum = np.array([1.0, 0.2]), np.array([0.5, 2.0]), 0.2, 0.7
    start = np.array([[[1.0, 0.2], [0.2, 3.0]], [[0.1, 0.0], [0.0, 0.4]]])
    lags, expected = [0, 1, 2, 9, 60], []
    for k in lags:
        rows = [
            np.linalg.matrix_power(m, k)[0] - [1, 0]
            for m in theory.transition(h, rate, momentum)
        ]
        added = reading.EXACT.covariance_at([k], h, rate, noise, momentum)[0, :, 0, 0]
        expected.append([r @ c @ r for r, c in zip(rows, start, strict=True)] + added)
    mine = displacement(reading.EXACT, lags, h, rate, noise, momentum, start)
    np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_from_a_cold_start_the_plateau_is_half_as_high():
    args = ([0, 3, 10**4], [1.0, 0.3], 0.2, 2.0, 0.9)
    cold = displacement(reading.EXACT, *args, np.zeros((2, 2, 2)))
    np.testing.assert_allclose(cold, reading.EXACT.covariance_at(*args)[..., 0, 0])
    late = theory.displacement_squared([10**4], *args[1:])
    np.testing.assert_allclose(cold[2], late[0] / 2)


@pytest.mark.parametrize("curvature", REGIMES)
def test_mean_and_covariance_follow_the_differential_equations(curvature):
    drift, twice = (
        langevin_drift(curvature),
        2 * np.diag([0, 2 * 3.0 / (RATE * (1 + BETA) ** 2)]),
    )
    mean, covariance = np.array([2.0, -1.0]), np.array([[0.5, 0.1], [0.1, 2.0]])

    def slope(_, state):
        c = state[2:].reshape(2, 2)
        return np.concatenate([-drift @ state[:2], (twice - drift @ c - c @ drift.T).ravel()])

    steps = np.array([1.0, 10, 100])
    solved = solve_ivp(
        slope,
        (0, RATE * 100),
        np.concatenate([mean, covariance.ravel()]),
        t_eval=RATE * steps,
        rtol=1e-10,
        atol=1e-12,
        method="DOP853",
    )
    np.testing.assert_allclose(
        reading.LANGEVIN.mean_at(steps, curvature, RATE, BETA, start=mean),
        solved.y[:2].T,
        atol=1e-8,
    )
    mine = reading.LANGEVIN.covariance_at(steps, curvature, RATE, 3.0, BETA, start=covariance)
    # Of the largest entry: a slow direction's variance is the difference of large numbers.
    scale = theory.limiting_covariance(curvature, RATE, 3.0, BETA).max()
    np.testing.assert_allclose(
        mine.reshape(3, 4), solved.y[2:].T, rtol=1e-7, atol=1e-9 + 1e-14 * scale
    )


@pytest.mark.parametrize("curvature", REGIMES)
def test_the_continuous_displacement_integrates_the_velocity_correlation(curvature):
    """E Δ² = 2 E v² ∫ (t − τ) C(τ) dτ, by quadrature."""
    drift = langevin_drift(curvature)
    velocity = theory.limiting_covariance(curvature, RATE, 3.0, BETA)[1, 1]
    for lag in (0.5, 20, 300):
        end = RATE * lag

        def integrand(tau, end=end):
            return (end - tau) * expm(-drift * tau)[1, 1]

        integral, _ = quad(integrand, 0, end, epsabs=1e-12, epsrel=1e-9, limit=400)
        (mine,) = reading.limiting_displacement([lag], curvature, RATE, 3.0, BETA)
        assert mine == pytest.approx(2 * velocity * integral, rel=1e-6)


def test_the_continuous_displacement_is_ballistic_then_levels_off():
    early, late = 1e-5, 1e12
    short, long = reading.limiting_displacement([early, late], REGIMES, RATE, 3.0, BETA)
    limit = theory.limiting_covariance(REGIMES, RATE, 3.0, BETA)
    np.testing.assert_allclose(short, limit[:, 1, 1] * (RATE * early) ** 2, rtol=1e-4)
    np.testing.assert_allclose(long, 2 * limit[:, 0, 0])


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.99])
def test_the_sum_over_velocities_has_a_spurious_slope(momentum):
    lags = np.array([0, 1, 2, 17, 6000, 8000])
    args = (1.0, 0.01, 2.0, momentum)
    summed = reading.velocity_sum_squared(lags, *args)
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
        limit = reading.limiting_displacement(lags, 1.0, rate, 1.0, momentum)
        off.append(np.abs(exact - limit).max() / exact.max())
    assert off[0] / off[1] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    "displacement", [reading.limiting_displacement, reading.velocity_sum_squared]
)
def test_what_does_not_settle_is_refused(displacement):
    with pytest.raises(UsageError, match=r"only below .* = 1\.9"):
        displacement([1], [2.0, 0.1], 1.95, 1.0, 0.9)
    with pytest.raises(UsageError, match="only below"):
        reading.EXACT.covariance_at([1], [2.0, 0.1], 1.95, 1.0, 0.9)
