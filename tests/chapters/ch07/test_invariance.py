"""Tests of invariance: their false alarms and their power, by simulation."""

import itertools

import numpy as np
import pytest
import scipy.stats
from processes import TIME, ornstein_uhlenbeck
from stationarity.chapters import autocorrelation
from stationarity.chapters.ch07_watching_a_distribution_settle import invariance
from stationarity.errors import UsageError

RUNS = 400


def rate(p_values):
    """How often each distance is rejected at the level."""
    return np.mean(np.array(p_values) <= invariance.LEVEL, axis=0)


def p_values(*windows, **keywords):
    found = invariance.compare(*windows, replicates=399, **keywords)
    return [found[name].p_value for name in ("wasserstein", "energy")]


def nominal(found, count=RUNS):
    """Within 3.3 binomial standard deviations of 5 % (about one in 1000 by chance)."""
    return abs(found - 0.05) < 3.3 * np.sqrt(0.05 * 0.95 / count)


# --- distances ------------------------------------------------------------------


def test_distances_are_scipys():
    first, second = np.random.default_rng(0).standard_normal((2, 200))
    second = second[:150] + 0.3
    found = invariance.compare(first, second, independent=(True, True))
    exact = {
        "wasserstein": scipy.stats.wasserstein_distance(first, second),
        "energy": scipy.stats.energy_distance(first, second),
    }
    for name, value in exact.items():
        assert found[name].value == pytest.approx(value, rel=1e-12)


def test_the_wasserstein_distance_of_shifted_gaussians_is_the_shift():
    first, second = np.random.default_rng(1).standard_normal((2, 2000))
    found = invariance.compare(first, second + 0.5, independent=(True, True), replicates=40)
    distance = found["wasserstein"]
    assert distance.value == pytest.approx(0.5, abs=3 * np.sqrt(2 / 2000))


def test_the_error_of_a_distance_is_its_spread():
    """The mean shift of correlated windows: sqrt(2 tau / n)."""
    chains = ornstein_uhlenbeck(120, 6000, seed=4)
    found = [
        invariance.compare(chain[:3000], chain[3000:] + 2, replicates=400)["wasserstein"]
        for chain in chains
    ]
    exact = np.sqrt(2 * TIME / 3000)
    assert np.std([d.value for d in found]) == pytest.approx(exact, rel=0.25)
    assert np.mean([d.error for d in found]) == pytest.approx(exact, rel=0.1)


# --- calibration: processes whose law is exactly stationary ------------------------------


@pytest.mark.parametrize("effective", [80, 150])
@pytest.mark.parametrize("shape", [lambda x: x, np.exp], ids=["gaussian", "lognormal"])
def test_false_alarms_come_at_the_nominal_rate(effective, shape):
    length = int(effective * TIME)
    chains = shape(ornstein_uhlenbeck(RUNS, 2 * length, seed=effective))
    found = []
    for chain in chains:
        try:
            found.append(p_values(chain[:length], chain[length:]))
        except UsageError:  # the estimate of a window may fall short of 60
            continue
    assert len(found) > 0.75 * RUNS
    calm = nominal(rate(found), len(found))
    if shape is np.exp:  # a heavy tail makes the Wasserstein distance careful
        calm |= rate(found) < 0.05
    assert calm.all(), rate(found)


def test_two_time_scales_raise_no_false_alarms():
    """White noise with a slow part, whose memory is a twentieth of the shorter window."""
    generator, found = np.random.default_rng(0), []
    for share in (0.02, 0.05, 0.1):
        slow = ornstein_uhlenbeck(RUNS, 1500, seed=int(100 * share), time=25.0)
        fast = generator.standard_normal((RUNS, 1500))
        series = np.sqrt(share) * slow + np.sqrt(1 - share) * fast
        found += [p_values(one[:500], one[500:]) for one in series]
    assert (rate(found) < 0.07 + 2 * np.sqrt(0.07 * 0.93 / len(found))).all(), rate(found)


def test_without_regard_to_autocorrelation_false_alarms_abound():
    """The test above can fail: samples taken for independent are rejected often."""
    chains = ornstein_uhlenbeck(40, 1500, seed=5)
    found = [p_values(c[:750], c[750:], independent=(True, True)) for c in chains]
    assert (rate(found) > 0.4).all()


def test_replicas_against_time_at_the_nominal_rate():
    chains = ornstein_uhlenbeck(RUNS, 1200, seed=6)
    replicas = np.random.default_rng(7).standard_normal((RUNS, 48))
    found = [
        p_values(first, second, independent=(True, False))
        for first, second in zip(replicas, chains, strict=True)
    ]
    assert nominal(rate(found)).all(), rate(found)
    shifted = [
        p_values(first + 1.0, second, independent=(True, False))
        for first, second in zip(replicas[:100], chains, strict=False)
    ]
    assert (rate(shifted) > 0.9).all()
    narrow = [
        p_values(0.3 * first, second, independent=(True, False))
        for first, second in zip(replicas[:100], chains, strict=False)
    ]
    assert (rate(narrow) > 0.5).all()  # equal means, another spread


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_power_against_a_drift(shift):
    """Means of the windows (1200 and 2400 long) differ by ``shift``."""
    chains = ornstein_uhlenbeck(100, 3600, seed=8) + np.linspace(0, 2 * shift, 3600)
    found = rate([p_values(chain[:1200], chain[1200:]) for chain in chains])
    assert (found > (0.5 if shift < 1 else 0.95)).all(), found


# --- windows and verdicts ---------------------------------------------------------


def test_windows_double_and_end_with_the_series():
    windows = invariance.growing_windows(1000)
    lengths = [window.stop - window.start for window in windows]
    assert lengths == [63, 125, 250, 500]
    assert windows[-1] == slice(500, 1000)
    assert all(a.stop == b.start for a, b in itertools.pairwise(windows))
    assert invariance.growing_windows(50) == []


def verdict_of(values):
    return invariance.verdict(invariance.along(np.arange(len(values)), values))


def test_a_stationary_control_is_said_to_drift_at_the_nominal_rate():
    chains = ornstein_uhlenbeck(RUNS // 2, 4800, seed=9)
    found = [verdict_of(chain)["verdict"] for chain in chains]
    assert "undecided" not in found
    assert nominal(np.mean([v == "drifts" for v in found]), RUNS // 2)


def test_a_drifting_control_is_told_apart():
    drift = np.linspace(0, 3, 4800)
    found = [verdict_of(chain + drift)["verdict"] for chain in ornstein_uhlenbeck(40, 4800)]
    assert found == ["drifts"] * 40


def test_the_beginning_of_the_settled_part_is_found():
    chain = ornstein_uhlenbeck(1, 16000, seed=3)[0]
    chain += 40 * np.exp(-np.arange(16000) / 300)
    found = verdict_of(chain)
    assert found["verdict"] == "settled"
    assert 1000 <= found["since"] <= 4000
    assert found["shift"] < found["resolution"] < 0.5


def test_a_random_walk_cannot_be_judged():
    walk = np.random.default_rng(0).standard_normal(3000).cumsum()
    found = verdict_of(walk)
    assert found["verdict"] == "undecided"
    assert "effective samples" in found["fault"]
    assert np.isnan(found["shift"])


def test_a_series_too_short_is_undecided_and_a_constant_one_settled():
    assert verdict_of(np.zeros(20))["fault"] == "the series is too short"
    found = verdict_of(np.full(1000, 2.0))
    assert (found["verdict"], found["p_value"]) == ("settled", 1.0)
    assert found["since"] < 100


def test_too_few_effective_samples_are_refused():
    with pytest.raises(UsageError, match="effective samples"):
        invariance.compare(*ornstein_uhlenbeck(2, autocorrelation.FEWEST))
    with pytest.raises(UsageError, match="at least four independent"):
        invariance.compare([1.0, 2.0], np.arange(9.0), independent=(True, True))
