"""Time averages: held against an Ornstein-Uhlenbeck process with exact laws."""

import numpy as np
import pytest
import scipy.signal
from stationarity.errors import UsageError
from stationarity.stats import ergodic

TIME = 10.0  # the autocorrelation time of the process below


def ornstein_uhlenbeck(count, length, seed=0, time=TIME):
    """Sampled Ornstein-Uhlenbeck processes (count, length), of variance 1, stationary.

    An AR(1) sequence with correlation phi: its autocorrelation time is
    (1 + phi) / (1 - phi).
    """
    phi = (time - 1) / (time + 1)
    noise = np.random.default_rng(seed).standard_normal((count, length))
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return scipy.signal.lfilter([1], [1, -phi], noise, axis=1)


def test_the_process_has_its_exact_law():
    sample = ornstein_uhlenbeck(20000, 30)
    assert sample.var(0) == pytest.approx(np.ones(30), abs=5 * np.sqrt(2 / 20000))
    lag = (sample[:, 1:] * sample[:, :-1]).mean()
    assert lag == pytest.approx(9 / 11, abs=0.02)


@pytest.mark.parametrize("time", [1.0, 3.0, 30.0])
def test_autocorrelation_time_of_a_known_process(time):
    found = [
        ergodic.autocorrelation_time(chain)
        for chain in ornstein_uhlenbeck(20, 20000, time=time)
    ]
    assert np.mean(found) == pytest.approx(time, rel=0.05)


def test_effective_sample_size_is_that_of_the_mean():
    sample = ornstein_uhlenbeck(4000, 2000)
    variance_of_mean = sample.mean(1).var()
    size = ergodic.effective_sample_size(sample[:50])  # of 50 chains together
    assert size / 50 == pytest.approx(1 / variance_of_mean, rel=0.1)


def test_an_alternating_series_is_worth_more_than_its_length():
    noise = np.random.default_rng(0).standard_normal(20001)
    assert ergodic.autocorrelation_time(np.diff(noise)) < 0.5


def test_a_constant_series_has_no_memory_and_tiny_numbers_do():
    assert ergodic.autocorrelation_time(np.full(100, 3.0)) == 1.0
    chain = ornstein_uhlenbeck(1, 5000)[0]
    tiny = ergodic.autocorrelation_time(1e-20 * chain)
    assert tiny == pytest.approx(ergodic.autocorrelation_time(chain))


def test_a_drift_is_no_slow_fluctuation():
    chain = ornstein_uhlenbeck(1, 4000)[0]
    drifting = chain + np.linspace(0, 50, 4000)
    about_the_line = ergodic.fluctuation_time(drifting)
    assert about_the_line == pytest.approx(ergodic.fluctuation_time(chain), rel=0.1)


def test_blocks_are_long_and_the_newest_values_are_kept():
    chain = ornstein_uhlenbeck(1, 5000)[0]
    blocks = ergodic.blocks(chain)
    assert blocks.shape[1] == pytest.approx(ergodic.BLOCK * TIME, rel=0.3)
    np.testing.assert_array_equal(blocks.ravel(), chain[5000 - blocks.size :])


@pytest.mark.parametrize(("statistic", "exact"), [(np.mean, 1), (np.var, None)])
def test_block_bootstrap_has_the_spread_over_processes(statistic, exact):
    sample = ornstein_uhlenbeck(3000, 3000, seed=1)
    spread = statistic(sample, axis=1).std()
    if exact:  # of the mean: sqrt(tau / n)
        assert spread == pytest.approx(np.sqrt(TIME / 3000), rel=0.05)
    found = [ergodic.block_bootstrap(statistic, chain) for chain in sample[:40]]
    assert np.mean(found) == pytest.approx(spread, rel=0.12)


def test_intervals_of_time_averages_hold_the_mean_at_their_rate():
    chains = ornstein_uhlenbeck(600, 2000, seed=2)
    held = 0
    for chain in chains:
        found = ergodic.time_average(chain)
        held += found.low < 0 < found.high
    assert abs(held / 600 - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 600)


def test_replicas_are_batches():
    values = np.arange(12.0).reshape(4, 3)
    found = ergodic.time_average(values)
    means = values.mean(1)
    assert found.value == means.mean()
    assert found.error == pytest.approx(means.std(ddof=1) / 2)
    assert found.batches == 4


def test_a_ratio_has_the_error_of_its_spread():
    generator = np.random.default_rng(3)
    below = generator.uniform(1, 3, (4000, 20))
    above = 0.5 * below + 0.2 * generator.standard_normal((4000, 20))
    found = [ergodic.ratio_of_sums(*pair) for pair in zip(above, below, strict=True)]
    spread = np.std([one.value for one in found])
    assert np.mean([one.error for one in found]) == pytest.approx(spread, rel=0.05)
    held = np.mean([one.low < 0.5 < one.high for one in found])
    assert abs(held - 0.95) < 0.015


def test_changes_telescope():
    losses = np.random.default_rng(0).uniform(size=50)
    found = ergodic.time_averaged_change(losses)
    np.testing.assert_allclose(found[-1], np.diff(losses).mean())
    assert abs(found[-1]) <= np.ptp(losses) / 49


# --- the two identities, on SGD with momentum on a quadratic: f = sum h x^2 / 2 ------

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
                "product": before @ noisy, "full": before @ gradient,
                "square": buffer @ buffer, "gain": RATE * gradient @ buffer,
                "change": f[1] - f[0], "norm": before @ before, "old": before @ old,
            }
        )  # fmt: skip
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def test_both_identities_hold_on_a_stationary_trajectory():
    seen = {
        key: values[500:] for key, values in sgd(40000, start=1.0, center=0.7).items()
    }
    for product in ("product", "full"):
        found = ergodic.fluctuation_dissipation(
            seen[product], seen["square"], RATE, MOMENTUM
        )
        assert abs(found.value - 1) < 4 * found.error < 0.2
    budget = ergodic.descent_budget(seen["gain"], seen["change"])
    assert abs(budget.value - 1) < 4 * budget.error < 0.2


def test_both_identities_fail_on_a_descent():
    runs = [sgd(20, start=30.0, seed=seed) for seed in range(6)]
    stacked = {key: np.stack([run[key] for run in runs]) for key in runs[0]}
    ratio = ergodic.fluctuation_dissipation(
        stacked["product"], stacked["square"], RATE, MOMENTUM
    )
    budget = ergodic.descent_budget(stacked["gain"], stacked["change"])
    assert not ratio.low < 1 < ratio.high
    assert not budget.low < 1 < budget.high


def test_the_minibatch_ratio_is_the_drift_of_the_norm_exactly():
    seen = sgd(21, start=5.0)
    ratio = seen["product"][:-1].sum() / (
        RATE * (1 + MOMENTUM) / 2 * seen["square"][:-1].sum()
    )
    drift = ergodic.norm_drift(
        seen["norm"], seen["old"], seen["square"][:-1].sum(), RATE, MOMENTUM
    )
    assert ratio - 1 == pytest.approx(drift, rel=1e-9)


# --- what is refused ------------------------------------------------------------


def test_a_window_with_too_few_effective_samples_is_refused():
    chain = ornstein_uhlenbeck(1, 300)[0]  # 30 effective samples
    for refused in (
        ergodic.fluctuation_time,
        ergodic.blocks,
        ergodic.time_average,
        lambda window: ergodic.block_bootstrap(np.mean, window),
        lambda window: ergodic.fluctuation_dissipation(window, window**2 + 1, 0.1, 0.9),
        lambda window: ergodic.descent_budget(window, 1 + window**2),
    ):
        with pytest.raises(UsageError, match="effective samples, and 60 are needed"):
            refused(chain)


def test_bad_series_are_refused():
    with pytest.raises(UsageError, match="at least 8 values"):
        ergodic.autocorrelation_time([1.0, 2.0])
    with pytest.raises(UsageError, match="not finite"):
        ergodic.autocorrelation_time([1.0] * 20 + [np.nan])
    with pytest.raises(UsageError, match="two batches"):
        ergodic.ratio_of_sums([1.0], [1.0])
    with pytest.raises(UsageError, match="nothing moves"):
        ergodic.ratio_of_sums([1.0, 1.0], [0.0, 0.0])
