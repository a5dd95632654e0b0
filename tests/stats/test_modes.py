"""Motion along single modes: against simulated processes of known law."""

import numpy as np
import pytest
from stationarity import UsageError, theory
from stationarity.stats import modes
from stationarity.theory.discrete import predictions

CURVATURE = np.array([20.0, 5.0, 1.0, 0.5])
RATE, MOMENTUM = 0.01, 0.9


def stationary_series(members, steps, seed, noise=CURVATURE, rate=RATE, momentum=MOMENTUM):
    """Positions (members, T, k) of SGD on noisy quadratics, started stationary."""
    generator = np.random.default_rng(seed)
    law = theory.stationary_covariance(CURVATURE, rate, noise, momentum)
    factors = np.linalg.cholesky(law)
    state = np.einsum("kij,mkj->mki", factors, generator.standard_normal((members, 4, 2)))
    position, velocity = state[..., 0], state[..., 1]
    found = np.empty((members, steps, len(CURVATURE)))
    for step in range(steps):
        normals = generator.standard_normal(position.shape)
        velocity = momentum * velocity - CURVATURE * position - np.sqrt(noise) * normals
        position = position + rate * velocity
        found[:, step] = position
    return found


@pytest.mark.parametrize(("members", "steps"), [(16, 1000), (1, 16000)])
def test_statistics_cover_the_exact_theory(members, steps):
    expected = predictions(CURVATURE, CURVATURE, RATE, MOMENTUM, 0.0)
    scores = {name: [] for name in expected}
    for seed in range(25):
        found = modes.statistics(stationary_series(members, steps, seed) + 3.0, RATE)
        for name, truth in expected.items():
            value, error = found[name]
            scores[name].append((value - truth) / error)
    for name, values in scores.items():
        values = np.array(values)
        assert np.abs(values.mean()) < 0.4, name  # 100 scores: their mean errs by 0.1
        inside = np.mean(np.abs(values) < 2)
        assert 0.85 < inside <= 1.0, name


def test_predictions_solve_the_recursion():
    noise = np.array([3.0, 1.0])
    curvature, decay = np.array([2.0, 0.1]), 0.05
    found = predictions(curvature, noise, 0.1, MOMENTUM, decay)
    matrix = theory.transition(curvature + decay, 0.1, MOMENTUM)
    law = np.zeros((2, 2, 2))
    for _ in range(4000):
        law = matrix @ law @ matrix.swapaxes(1, 2) + np.multiply.outer(
            noise, np.outer([0.1, 1.0], [0.1, 1.0])
        )
    np.testing.assert_allclose(found["mode_variance"], law[:, 0, 0])
    np.testing.assert_allclose(found["mode_velocity_variance"], law[:, 1, 1])
    # digest: cos phi = (1 + beta - eta h) / (2 sqrt(beta)), decay half of ln(1 / beta)
    angle = np.arccos((1 + MOMENTUM - 0.1 * (curvature + decay)) / 2 / np.sqrt(MOMENTUM))
    np.testing.assert_allclose(found["mode_frequency"], angle)
    np.testing.assert_allclose(found["mode_decay"], -np.log(MOMENTUM) / 2)


def test_a_mode_without_oscillation_has_no_frequency():
    found = predictions([0.2], [1.0], 0.01, 0.5, 0.0)
    assert np.isnan(found["mode_frequency"]).all()
    slowest = np.abs(np.linalg.eigvals(theory.transition(0.2, 0.01, 0.5))).max()
    np.testing.assert_allclose(found["mode_decay"], -np.log(slowest))
    noise = np.random.default_rng(0).standard_normal((32, 4000, 1))
    walk = np.zeros_like(noise)
    for step in range(1, walk.shape[1]):
        walk[:, step] = 0.9 * walk[:, step - 1] + noise[:, step]
    measured = modes.statistics(walk, 1.0)
    decay, error = measured["mode_decay"]
    assert 0 < np.abs(decay + np.log(0.9)) < 3 * error < 0.1
    assert np.abs(measured["mode_variance"][0] * (1 - 0.81) - 1) < 0.1


def test_bad_input_is_told_in_one_sentence():
    with pytest.raises(UsageError, match="Mode 1 has curvature -0.5, with decay"):
        predictions([1.0, -0.6, -1.0], 1.0, RATE, MOMENTUM, 0.1)
    some = predictions([1.0, -0.6], [1.0, 1.0], RATE, MOMENTUM, 0.1, positive_only=True)
    assert np.isfinite(some["mode_variance"][0]) and np.isnan(some["mode_variance"][1])
    with pytest.raises(UsageError, match="too large"):
        predictions([1000.0], [1.0], RATE, MOMENTUM, 0.1)
    with pytest.raises(UsageError, match="too short for 1 members: follow them for at least"):
        modes.statistics(np.zeros((1, 900, 2)), RATE)
