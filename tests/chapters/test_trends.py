"""Level and trend: known answers, and their error rates by simulation."""

import numpy as np
import pytest
from stationarity.chapters.trends import level, slope_weights
from stationarity.errors import UsageError

TIMES = np.arange(12.0)


def test_a_line_without_scatter_is_known_exactly():
    found = level(TIMES, 10 - 0.5 * TIMES)
    assert found.mean.value == 10 - 0.5 * 5.5
    assert np.isclose(found.change.value, -5.5) and found.change.trend == "falls"
    assert np.isclose(found.change.low, found.change.high)
    assert level(TIMES, 10 + 0.5 * TIMES).change.trend == "rises"
    assert level(TIMES, np.zeros(12) + 3).change.trend == "no trend"


@pytest.mark.parametrize("steepness", [0.0, 0.1])
def test_the_intervals_cover_the_truth_at_their_nominal_rate(steepness):
    generator, covered, trends, slopes = np.random.default_rng(0), [], [], []
    for _ in range(2000):
        values = 5 + steepness * TIMES + generator.normal(size=12)
        found = level(TIMES, values)
        covered.append(found.mean.low <= 5 + steepness * 5.5 <= found.mean.high)
        trends.append(found.change.trend == "no trend")
        slopes.append(found.change.low <= 11 * steepness <= found.change.high)
    tolerance = 3 * (0.95 * 0.05 / 2000) ** 0.5
    assert abs(np.mean(covered) - 0.95) < tolerance
    assert abs(np.mean(slopes) - 0.95) < tolerance
    if steepness == 0:
        assert abs(np.mean(trends) - 0.95) < tolerance


def test_correlated_residuals_are_told():
    generator, lags = np.random.default_rng(0), {0.0: [], 0.8: []}
    for correlation, found in lags.items():
        for _ in range(200):
            noise = generator.normal(size=60)
            for i in range(1, 60):
                noise[i] += correlation * noise[i - 1]
            found.append(level(np.arange(60.0), noise).lag)
    assert abs(np.mean(lags[0.0])) < 0.1 and np.mean(lags[0.8]) > 0.6


def test_known_errors_widen_an_interval_that_scatter_alone_makes_too_narrow():
    narrow = level(TIMES, 5 + 0 * TIMES)
    wide = level(TIMES, 5 + 0 * TIMES, np.ones(12))
    assert narrow.mean.low == narrow.mean.high == 5
    assert wide.mean.low < 5 - 0.5 and wide.change.trend == "no trend"


def test_weights_give_the_slopes_of_all_columns():
    values = np.random.default_rng(1).standard_normal((12, 3))
    fitted = [np.polyfit(TIMES, column, 1)[0] for column in values.T]
    assert slope_weights(TIMES) @ values == pytest.approx(fitted)


def test_too_few_values_are_refused():
    with pytest.raises(UsageError, match="at least three measured values, not 2"):
        level([0, 1], [1.0, 2.0])
