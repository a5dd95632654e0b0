"""Levels and drifts: how often their intervals err on processes with a known memory."""

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from stationarity.errors import UsageError
from stationarity.watching import drifts
from trainings import at_least, at_most

COUNT, LENGTH = 400, 2048


def relaxing(time: float, seed=0) -> np.ndarray:
    """Stationary series (COUNT, LENGTH) of this autocorrelation time and variance 1."""
    kept, generator = (time - 1) / (time + 1), np.random.default_rng(seed)
    noise = generator.standard_normal((COUNT, LENGTH))
    noise[:, 1:] *= np.sqrt(1 - kept**2)
    return scipy.signal.lfilter([1], [1, -kept], noise)


def alarms(series) -> int:
    """How many series are said to drift."""
    found = [drifts.change(one).gain for one in series]
    return sum(not one.low <= 0 <= one.high for one in found)


@pytest.mark.parametrize("time", [1, 8, 20, 100, 500, 2000])
def test_a_stationary_series_drifts_as_often_as_is_said_whatever_its_memory(time):
    assert alarms(relaxing(time)) <= at_most(0.07, COUNT)


def test_white_noise_drifts_exactly_as_often_as_is_said():
    assert at_least(0.05, COUNT) <= alarms(relaxing(1, seed=1)) <= at_most(0.05, COUNT)


def test_a_random_walk_has_a_drift_as_often_as_is_said():
    walks = np.random.default_rng(0).standard_normal((COUNT, LENGTH)).cumsum(1)
    found = [drifts.gain_at_any_memory(one) for one in walks]
    said = sum(not one.low <= 0 <= one.high for one in found)
    assert at_least(0.05, COUNT) <= said <= at_most(0.05, COUNT)


@pytest.mark.parametrize(
    "share, per, errs", [(0.05, 20, 0.07), (0.1, 20, 0.075), (0.1, 10, 0.12)]
)
def test_a_slow_part_below_fast_noise_does_the_harm_that_is_said(share, per, errs):
    slow = np.sqrt(share) * relaxing(LENGTH / per, seed=2)
    series = np.sqrt(1 - share) * relaxing(1, seed=3) + slow
    assert alarms(series) <= at_most(errs, COUNT)


@pytest.mark.parametrize("time, drift", [(1, 0.5), (8, 1.0), (20, 1.5)])
def test_a_drift_is_seen_and_its_interval_holds_it(time, drift):
    series = relaxing(time) + np.linspace(0, drift, LENGTH)
    found = [drifts.change(one).gain for one in series]
    held = sum(one.low <= drift <= one.high for one in found)
    assert at_least(0.93, COUNT) <= held
    assert sum(one.low > 0 for one in found) > 0.8 * COUNT


def test_a_smooth_relaxation_is_seen_though_it_looks_like_a_memory():
    fall = np.exp(-2 * np.arange(LENGTH) / LENGTH)
    for size in (1e-8, 1e-3):
        found = drifts.change(fall + size * relaxing(1)[0])
        assert found.gain.high < 0
        assert found.gain.low < fall[-1] - fall[0] < found.gain.high or size == 1e-3


@pytest.mark.parametrize("count", [5, 12, 40])
def test_the_interval_of_a_level_holds_it(count):
    values = 2 + np.random.default_rng(0).standard_normal((COUNT, count))
    found = [drifts.level(one) for one in values]
    held = sum(one.low <= 2 <= one.high for one in found)
    assert at_least(0.95, COUNT) <= held <= at_most(0.95, COUNT)


def test_a_level_is_as_uncertain_as_the_errors_of_its_values():
    found = drifts.level(np.ones(16), np.full(16, 0.4))
    assert found.high - 1 == pytest.approx(0.1 * scipy.stats.t.isf(0.025, 8))


def test_together_makes_intervals_hold_jointly():
    series = relaxing(1)[0]
    one, six = (drifts.change(series, n).gain for n in (1, 6))
    ratio = scipy.stats.t.isf(0.025 / 6, 8) / scipy.stats.t.isf(0.025, 8)
    assert (six.high - six.value) / (one.high - one.value) == pytest.approx(ratio)


@pytest.mark.parametrize("alone", [0.0, 0.9, 0.999])
def test_many_series_drift_together_as_often_as_is_said_whatever_they_have_in_common(alone):
    generator = np.random.default_rng(0)
    common, own = generator.standard_normal((2, COUNT // 2, 512, 8))
    series = np.sqrt(alone) * common[..., :1] + np.sqrt(1 - alone) * own
    found = [drifts.change(one).gain for one in series]
    assert sum(one.low > 0 for one in found) <= at_most(0.05, COUNT // 2)
    walks = [drifts.gain_at_any_memory(one) for one in series.cumsum(1)]
    assert sum(one.low > 0 for one in walks) <= at_most(0.05, COUNT // 2)
    lines = np.linspace(0, 1, 512)[:, None] * np.ones(8)
    moved = [drifts.change(one + lines).gain for one in series]
    assert sum(one.low > 0 for one in moved) > 0.95 * len(moved)
    assert sum(one.low <= 1 <= one.high for one in moved) >= at_least(0.95, len(moved))


def test_a_constant_does_not_drift():
    assert drifts.change(np.full(100, 0.3)).gain == (0, 0, 0)


def test_a_short_series_is_refused():
    with pytest.raises(UsageError, match="at least five"):
        drifts.level([1.0, 2.0])
    with pytest.raises(UsageError, match="watch for longer"):
        drifts.change(np.arange(10.0))
