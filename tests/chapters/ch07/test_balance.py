"""What must balance, on SGD with momentum on a quadratic: f = sum h x^2 / 2."""

import numpy as np
import pytest
from stationarity.chapters.ch07_watching_a_distribution_settle import balancing
from stationarity.errors import UsageError

RATE, MOMENTUM, CURVATURES = 0.1, 0.9, np.array([2.0, 0.5, 1.0])


def sgd(steps, start, center=0.0, seed=0, drift=0.0):
    """What a trajectory shows before, in and after each step, and grad f and f."""
    generator = np.random.default_rng(seed)
    theta, buffer = np.full(3, start, float), np.zeros(3)
    rows = []
    for _ in range(steps):
        gradient = CURVATURES * (theta - center) - drift
        noisy = gradient + generator.standard_normal(3)
        before, old = theta, buffer
        buffer = MOMENTUM * buffer + noisy
        theta = theta - RATE * buffer
        f = [(CURVATURES * (x - center) ** 2).sum() / 2 for x in (before, theta)]
        rows.append(
            {
                "product": before @ noisy,
                "full_product": before @ gradient,
                "square": buffer @ buffer,
                "gain": RATE * gradient @ buffer,
                "change": f[1] - f[0],
                "norm": before @ before,
                "old": before @ old,
            }
        )
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def test_both_identities_hold_on_a_stationary_trajectory():
    seen = {
        key: values[500:].reshape(20, -1).mean(1)  # parts much longer than its memory
        for key, values in sgd(40500, start=1.0, center=0.7).items()
    }
    for found in balancing.ratios(seen, RATE, MOMENTUM).values():
        assert abs(found.value - 1) < found.high - found.low < 0.1


def test_both_identities_fail_on_a_descent():
    runs = [sgd(20, start=30.0, seed=seed) for seed in range(6)]
    stacked = {key: np.stack([run[key].mean() for run in runs]) for key in runs[0]}
    for found in balancing.ratios(stacked, RATE, MOMENTUM).values():
        assert not found.low < 1 < found.high


def test_the_minibatch_ratio_is_the_drift_of_the_norm_exactly():
    seen = sgd(21, start=5.0)
    means = {name: np.full(2, values[:-1].mean()) for name, values in seen.items()}
    ratio = balancing.ratios(means, RATE, MOMENTUM)["fluctuation_dissipation"]
    norm, old = (seen[name][-1] - seen[name][0] for name in ("norm", "old"))
    drift = MOMENTUM * old - (1 - MOMENTUM) / (2 * RATE) * norm
    exact = 1 + drift / (RATE * (1 + MOMENTUM) / 2 * seen["square"][:-1].sum())
    assert ratio.value == pytest.approx(exact, rel=1e-9)


def test_a_ratio_has_the_error_of_its_spread():
    generator = np.random.default_rng(3)
    below = generator.uniform(1, 3, (4000, 20))
    above = 0.5 * below + 0.2 * generator.standard_normal((4000, 20))
    found = [balancing.ratio_of_sums(*pair) for pair in zip(above, below, strict=True)]
    spread = np.std([one.value for one in found])
    margins = np.array([one.high - one.value for one in found])
    assert np.mean(margins) / 2.093 == pytest.approx(spread, rel=0.05)  # t of 19 degrees
    assert abs(np.mean([one.low < 0.5 < one.high for one in found]) - 0.95) < 0.015


def test_a_ratio_without_an_error_is_refused():
    with pytest.raises(UsageError, match="two independent parts"):
        balancing.ratio_of_sums([1.0], [1.0])
    with pytest.raises(UsageError, match="nothing moves"):
        balancing.ratio_of_sums([1.0, 1.0], [0.0, 0.0])
