"""What a run of currents says for the ledger."""

import numpy as np
import pytest
import stationarity
from scipy import stats
from stationarity.chapters.ch11_modified_loss import reading, study
from stationarity.theory.simulation import simulate

SHORT = {"trajectories": 24, "steps": 1200, "burn_in": 300, "lags": 20, "segment": 128}


@pytest.fixture(scope="module")
def run():
    return stationarity.run("minibatch_currents", settings=SHORT)


@pytest.mark.parametrize(
    ("ratios", "low", "high"),
    [([1.05, 1.0], 1.04, 1.06), ([0.5, 1.0], 0.49, 0.51), ([1.0, 1.0], 0.99, 1.0)],
)
def test_the_ratio_furthest_from_one_fails_alone(ratios, low, high):
    errors = np.full(2, 0.01 / stats.t.ppf(1 - 0.0125, 23))
    found = reading._furthest(np.array(ratios), errors, 23)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_interval_of_many_modes_is_simultaneous():
    """Sixteen ratios that are 1, each with its error: in 95 % none is seen to differ."""
    generator, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        found = reading._furthest(
            1 + 0.01 * generator.standard_normal(16), np.full(16, 0.01), 99
        )
        wrong += found.low > 1 or found.high < 1
    assert wrong < 0.08 * 400  # one at a time it would be over half


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("temperature_exponent", "gibbs"), ("variance_ratio", "gibbs"),
     ("rotation_ratio", "reversible_pair"), ("oscillation_ratio", "natural_frequency")],
)  # fmt: skip
def test_a_surrogate_of_the_own_law_is_as_predicted_and_the_control_is_not(run, name, wrong):
    ask = getattr(reading, name)
    value, low, high = ask(run, "own_law")
    assert 0.8 < value < 1.2
    assert low < 1.1 and high > 0.9
    control = ask(run, wrong)
    assert control.low > 1.1 or control.high < 0.9


def test_a_mode_that_was_not_seen_to_oscillate_fails(run):
    """Where the theory says that it oscillates clearly."""
    rows = run.metrics
    frequency = (rows.quantity == "mode_frequency") & (rows["index"] == 0)
    kept = rows.value.copy()
    rows.loc[frequency, "value"] = np.nan
    try:
        assert reading.oscillation_ratio(run).value == 0
    finally:
        rows["value"] = kept


def test_a_correlated_pair_that_is_reversible_does_not_rotate():
    curvature, members = np.array([4.0, 1.0, 0.3]), 60
    how = {"trajectories": members, "momentum": 0.9, "recorded": range(400, 2400), "seed": 1}
    positions = simulate(curvature, [0.05] * 2400, 1.0, **how).swapaxes(0, 1)
    one, other = reading.reversible_pairs(positions)
    crossed = (one * other).mean((0, 1)) / np.sqrt(
        (one**2).mean((0, 1)) * (other**2).mean((0, 1))
    )
    assert np.all(np.abs(crossed) > 0.3)
    turned, errors = study.rotation(one, other, [1])
    assert np.all(np.abs(turned[0]) < 4 * errors[0])
    assert np.all(errors[0] < 0.02)
    # A mode with its own velocity, of the same series, rotates clearly.
    velocity = np.diff(positions, axis=1) / 0.05
    turned, errors = study.rotation(positions[:, 1:], velocity, [1])
    assert np.all(turned[0] > 4 * errors[0])
