"""Modified loss and currents: identities of the theory, and measurement against it."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from stationarity import UsageError, theory
from stationarity.chapters.ch11_modified_loss import currents, study
from stationarity.theory.simulation import simulate

MODES = [  # curvature, learning rate, noise variance, momentum
    (2.0, 0.1, 3.0, 0.9),  # oscillates
    (0.01, 0.1, 0.5, 0.9),  # does not
    (0.1**2 / 3.8 / 0.1, 0.1, 1.0, 0.9),  # critical in continuous time
    (1.0, 0.3, 2.0, 0.0),  # no momentum
]
each_mode = pytest.mark.parametrize("mode", MODES)


def langevin_drift(h, rate, beta):
    """The matrix A of the Langevin equation: force and friction over the mass."""
    mass = rate * (1 + beta) / 2
    return np.array([[0, -1], [h / mass, (1 - beta) / mass]])


def langevin_diffusion(rate, s, beta):
    """The matrix D of the Langevin equation."""
    return np.diag([0, 2 * s / (rate * (1 + beta) ** 2)])


def density(state, *mode):
    """The stationary density of one mode, in continuous time."""
    return multivariate_normal(cov=theory.limiting_covariance(*mode)).pdf(state)


def current(state, *mode):
    """The page's stationary probability current: (v, −ω² θ) times the density."""
    natural = theory.damping(mode[0], mode[1], mode[3]).natural_frequency
    flow = np.stack([state[..., 1], -(natural**2) * state[..., 0]], -1)
    return flow * density(state, *mode)[..., None]


def scaled_points(mode, count=40):
    covariance = theory.limiting_covariance(*mode)
    points = np.random.default_rng(0).standard_normal((count, 2))
    return points * np.sqrt(np.diag(covariance))


def gradient(function, points, scale):
    """Central differences of a function (n, 2) -> (n, ...), the last axis the direction."""
    parts = []
    for axis, step in enumerate(1e-4 * scale):
        shift = np.eye(2)[axis] * step
        parts.append((function(points + shift) - function(points - shift)) / (2 * step))
    return np.stack(parts, -1)


@each_mode
def test_the_current_is_drift_less_diffusion_and_has_no_divergence(mode):
    h, rate, s, beta = mode
    scale = np.sqrt(np.diag(theory.limiting_covariance(*mode)))
    points = scaled_points(mode)
    p, slope = (density(points, *mode), gradient(lambda x: density(x, *mode), points, scale))
    drift = -points @ langevin_drift(h, rate, beta).T * p[:, None]
    expected = drift - slope @ langevin_diffusion(rate, s, beta).T
    found = current(points, *mode)
    size = np.abs(drift).max(0)
    assert np.all(np.abs(found - expected) / size < 1e-6)
    jacobian = gradient(lambda x: current(x, *mode), points, scale)
    terms = np.abs(np.diagonal(jacobian, axis1=1, axis2=2)).max()
    assert np.abs(np.trace(jacobian, axis1=1, axis2=2)).max() < 1e-6 * terms


@each_mode
def test_the_current_is_clockwise_and_keeps_the_modified_loss(mode):
    points = scaled_points(mode)
    found = current(points, *mode)
    inverse = np.linalg.inv(theory.limiting_covariance(*mode))
    slope = points @ inverse
    cosine = (found * slope).sum(1) / np.linalg.norm(found, axis=1)
    assert np.abs(cosine / np.linalg.norm(slope, axis=1)).max() < 1e-12
    assert np.all(points[:, 0] * found[:, 1] - points[:, 1] * found[:, 0] < 0)


@each_mode
def test_q_is_antisymmetric_and_drives_the_current(mode):
    h, rate, s, beta = mode
    covariance = theory.limiting_covariance(*mode)
    q = langevin_drift(h, rate, beta) @ covariance - langevin_diffusion(rate, s, beta)
    assert np.allclose(q, -q.T, rtol=1e-12, atol=1e-12 * np.abs(q).max())
    points = scaled_points(mode)
    slope = points @ np.linalg.inv(covariance) * density(points, *mode)[:, None]
    assert np.allclose(current(points, *mode), -slope @ q.T, rtol=1e-10)


def test_the_modified_loss_is_isotropic_where_noise_follows_the_hessian():
    rho, noise, rate, beta = np.array([3.0, 0.2]), 0.7, 0.05, 0.9
    for decay in (0.0, 0.1):
        covariance = theory.limiting_covariance(rho + decay, rate, noise * rho, beta)
        position, velocity = 1 / (2 * np.diagonal(covariance, axis1=1, axis2=2)).T
        # (θ − μ)ᵀ (1 + λ/ρ) (θ − μ) / (η (1 + β)), times κ = (1 − β²) / noise
        expected = (1 + decay / rho) / (rate * (1 + beta)) * (1 - beta**2) / noise
        assert np.allclose(position, expected, rtol=1e-12)
        assert np.allclose(velocity, (1 - beta**2) / (2 * noise * rho), rtol=1e-12)


def test_each_mode_has_one_temperature_also_in_discrete_time():
    h, rate, s, beta = np.array([5.0, 0.3]), 0.2, np.array([2.0, 1.0]), 0.8
    mass = rate * (1 + beta) / 2
    limit = theory.limiting_covariance(h, rate, s, beta)
    temperature = rate * s / (2 * (1 - beta))
    assert np.allclose(h * limit[:, 0, 0], temperature, rtol=1e-12)
    assert np.allclose(mass * limit[:, 1, 1], temperature, rtol=1e-12)
    exact = theory.stationary_covariance(h, rate, s, beta)
    assert np.allclose(h * exact[:, 0, 0], mass * exact[:, 1, 1], rtol=1e-12)


def test_rotation_in_discrete_time_has_the_closed_forms():
    h, rate, beta = np.array([3.0, 0.5, 0.004]), 0.1, 0.9
    step = rate * h
    found = currents.discrete_rotation([1, 7], h, rate, beta)
    first = np.sqrt(step * (2 * (1 + beta) - step)) / 2
    assert np.allclose(found[0], first, rtol=1e-10)
    phi = np.arccos((1 + beta - step + 0j) / (2 * np.sqrt(beta)))
    turned = beta**3 * np.sin(7 * phi) / np.sin(phi)
    assert np.allclose(found[1], first * turned.real, rtol=1e-10)


def test_continuous_and_discrete_differ_by_the_stated_orders():
    """At fixed h and γ: halving η, with 1 − β ∝ √η, the errors fall by a factor."""
    h, lags = 1.0, np.array([1])
    rotation, frequency = [], []
    for eps in (0.1, 0.05, 0.025):
        rate, beta = eps**2, 1 - 0.5 * eps  # both angles a step are of order eps
        exact = currents.discrete_rotation(lags, h, rate, beta)
        rotation.append(abs(currents.limiting_rotation(lags, h, rate, beta) / exact - 1).item())
        phi = np.arccos((1 + beta - rate * h) / (2 * np.sqrt(beta)))
        nu = rate * theory.damping(h, rate, beta).frequency
        frequency.append(abs(nu / phi - 1))
    for errors in (rotation, frequency):
        orders = np.log2(np.divide(errors[:-1], errors[1:]))
        assert np.all(orders > 1.8), (errors, orders)  # second order in eps


def test_the_spectrum_integrates_to_the_variance_and_peaks_where_it_says():
    h, rate, s, beta = np.array([4.0, 0.5, 0.01]), 0.1, np.array([1.0, 2.0, 3.0]), 0.9
    omega = np.linspace(-np.pi, np.pi, 40001)[:-1]
    spectrum = currents.power_spectrum(omega, h, rate, s, beta)
    variance = theory.stationary_covariance(h, rate, s, beta)[:, 0, 0]
    assert np.allclose(spectrum.mean(0), variance, rtol=1e-9)
    peak = currents.spectrum_peak(h, rate, beta)
    assert np.allclose(np.abs(omega[spectrum.argmax(0)]), peak, atol=2e-4)
    phi = np.arccos((1 + beta - rate * h[:2]) / (2 * np.sqrt(beta)))
    assert np.all(peak[:2] < phi) and peak[2] == 0
    assert np.allclose(currents.spectrum_peak([0.5, 1.5], 1.0), [0, np.pi])


def ensemble(h, rate, s, beta, members=200, steps=1500, seed=0):
    """Stationary positions (members, T + 1, k), and velocities at the last T steps."""
    burn = 600
    paths = simulate(
        h,
        [rate] * (burn + steps),
        s,
        trajectories=members,
        momentum=beta,
        recorded=range(burn, burn + steps + 1),
        seed=seed,
    ).swapaxes(0, 1)
    return paths[:, 1:], np.diff(paths, axis=1) / rate


def test_measured_rotation_is_the_exact_one_and_positions_do_not_rotate():
    h, rate, beta = np.array([8.0, 1.0, 0.03]), 0.1, 0.9
    position, velocity = ensemble(h, rate, 2 * h, beta)
    lags = [1, 4, 15]
    value, error = study.rotation(position, velocity, lags)
    exact = currents.discrete_rotation(lags, h, rate, beta)
    assert np.abs((value - exact) / error).max() < 3.5
    assert (error[0] / exact[0]).max() < 0.02
    still, still_error = study.rotation(position[..., :-1], position[..., 1:], lags)
    assert np.abs(still / still_error).max() < 3.5
    assert still_error.max() < 0.02
    limit = currents.limiting_rotation([1], h, rate, beta)[0]
    off = np.abs(value[0] - limit) / error[0]
    assert off[0] > 5  # the measurement tells discrete from continuous time at η h = .8


def test_errors_of_rotation_have_their_size():
    h, rate, beta = np.array([2.0, 0.1]), 0.1, 0.9
    exact = currents.discrete_rotation([1, 5], h, rate, beta)
    scores = []
    for seed in range(30):
        value, error = study.rotation(*ensemble(h, rate, h, beta, 20, 300, seed), [1, 5])
        scores.append((value - exact) / error)
    assert 0.7 < np.std(scores) < 1.4 and abs(np.mean(scores)) < 0.4


def test_the_exponent_of_the_temperature_tells_gibbs_from_the_modified_loss():
    h, rate, beta = np.array([1.0, 0.3, 0.05]), 0.05, 0.9
    for noise, expected in ((2 * h, 1.0), (np.full(3, 0.5), 0.0)):
        position, _ = ensemble(h, rate, noise, beta, steps=800)
        value, error = study.temperature_exponent(position, h)
        exact = theory.stationary_covariance(h, rate, noise, beta)[:, 0, 0]
        slope = np.polyfit(np.log(h), np.log(h * exact), 1)[0]
        assert abs(value - slope) < 3.5 * error < 0.1
        assert abs(slope - expected) < 0.02


def test_local_motion_is_the_current_over_the_density():
    h, rate, beta = np.array([1.0]), 0.1, 0.9
    position, velocity = ensemble(h, rate, h, beta, members=400)
    edges = np.linspace(-2, 2, 9)
    states = np.stack([position[..., 0], velocity[..., 0]])
    means, counts = study.local_motion(states, edges)
    covariance = theory.stationary_covariance(h, rate, h, beta)[0]
    deviations = np.sqrt(np.diag(covariance))
    moment = theory.transition(h, rate, beta)[0] @ covariance
    matrix = (moment - moment.T) / 2 @ np.linalg.inv(covariance)
    matrix = matrix / deviations[:, None] * deviations
    centres = (edges[1:] + edges[:-1]) / 2
    grid = np.stack(np.meshgrid(centres, centres, indexing="ij"), -1)
    means, many = means.T.reshape(8, 8, 2), counts.reshape(8, 8) > 2000
    assert many.sum() > 30
    assert np.abs(means - grid @ matrix.T)[many].max() < 0.06
    assert np.abs(grid @ matrix.T)[many].max() > 0.4


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: currents.limiting_rotation([1], 1.0, 3.0, 0.0), "too large"),
        (lambda: currents.discrete_rotation([1], 0.0, 0.1), "positive"),
        (lambda: currents.spectrum_peak(1.0, 0.1, 1.0), "momentum"),
    ],
)
def test_bad_input_is_one_sentence(call, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_positions_rotate_where_the_noise_has_axes_of_its_own():
    h, rate, beta = np.array([3.0, 0.5]), 0.1, 0.8
    noise = np.array([[2.0, 1.1], [1.1, 1.0]])
    expected = currents.pair_rotation(h, np.diag(noise), noise[0, 1], rate, beta)
    other = currents.pair_rotation(h[::-1], np.diag(noise)[::-1], noise[0, 1], rate, beta)
    assert expected == pytest.approx(-other, rel=1e-10)
    generator, members, steps = np.random.default_rng(1), 400, 800
    root, paths = np.linalg.cholesky(noise), np.empty((members, steps, 2))
    position, velocity = np.zeros((2, members, 2))
    for step in range(-200, steps):
        gradient = h * position + generator.standard_normal((members, 2)) @ root.T
        velocity = beta * velocity - gradient
        position = position + rate * velocity
        if step >= 0:
            paths[:, step] = position
    value, error = study.rotation(paths[..., :1], paths[..., 1:], [1])
    assert abs(value.item() - expected) < 3 * error.item()
    assert abs(expected) > 10 * error.item()
