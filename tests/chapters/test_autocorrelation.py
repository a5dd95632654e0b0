"""Memory and time averages: held against an Ornstein-Uhlenbeck process with exact laws."""

import numpy as np
import pytest
from processes import ornstein_uhlenbeck
from stationarity.chapters import autocorrelation
from stationarity.errors import UsageError


def test_the_process_has_its_exact_law():
    sample = ornstein_uhlenbeck(20000, 30)
    assert sample.var(0) == pytest.approx(np.ones(30), abs=5 * np.sqrt(2 / 20000))
    lag = (sample[:, 1:] * sample[:, :-1]).mean()
    assert lag == pytest.approx(9 / 11, abs=0.02)


@pytest.mark.parametrize("time", [1.0, 3.0, 30.0])
def test_autocorrelation_time_of_a_known_process(time):
    found = [
        autocorrelation.autocorrelation_time(chain)
        for chain in ornstein_uhlenbeck(20, 20000, time=time)
    ]
    assert np.mean(found) == pytest.approx(time, rel=0.05)


def test_effective_samples_are_those_of_the_mean():
    sample = ornstein_uhlenbeck(4000, 2000)
    variance_of_mean = sample.mean(1).var()
    time = autocorrelation.autocorrelation_time(sample[:50])  # of 50 chains together
    assert 2000 / time == pytest.approx(1 / variance_of_mean, rel=0.1)


def test_an_alternating_series_is_worth_more_than_its_length():
    noise = np.random.default_rng(0).standard_normal(20001)
    assert autocorrelation.autocorrelation_time(np.diff(noise)) < 0.5


def test_a_constant_series_has_no_memory_and_tiny_numbers_do():
    assert autocorrelation.autocorrelation_time(np.full(100, 3.0)) == 1.0
    chain = ornstein_uhlenbeck(1, 5000)[0]
    tiny = autocorrelation.autocorrelation_time(1e-20 * chain)
    assert tiny == pytest.approx(autocorrelation.autocorrelation_time(chain))


def test_a_drift_is_no_slow_fluctuation():
    chain = ornstein_uhlenbeck(1, 4000)[0]
    drifting = chain + np.linspace(0, 50, 4000)
    about_the_line = autocorrelation.fluctuation_time(drifting)
    assert about_the_line == pytest.approx(autocorrelation.fluctuation_time(chain), rel=0.1)


# --- what is refused ------------------------------------------------------------


def test_a_window_with_too_few_effective_samples_is_refused():
    chain = ornstein_uhlenbeck(1, 300)[0]  # 30 effective samples
    with pytest.raises(UsageError, match="effective samples, and 60 are needed"):
        autocorrelation.fluctuation_time(chain)
    fast = np.diff(np.random.default_rng(0).standard_normal(41))  # a time below 1
    with pytest.raises(UsageError, match="40 effective samples"):
        autocorrelation.fluctuation_time(fast)


def test_bad_series_are_refused():
    with pytest.raises(UsageError, match="at least 8 values"):
        autocorrelation.autocorrelation_time([1.0, 2.0])
    with pytest.raises(UsageError, match="not finite"):
        autocorrelation.autocorrelation_time([1.0] * 20 + [np.nan])
