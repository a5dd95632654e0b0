"""Lags evenly spaced in their logarithm, and the exponent over them."""

import numpy as np
import pytest
from stationarity.errors import UsageError
from stationarity.stats.displacement import exponent_weights, spaced_lags

LAGS = spaced_lags(64)


def test_the_weights_fit_a_line_to_the_logarithms_within_the_window():
    squares = np.random.default_rng(0).exponential(size=len(LAGS)) * LAGS
    inside = (LAGS >= 64 / 3) & (LAGS <= 64)
    slope, _ = np.polyfit(np.log(LAGS[inside]), np.log(squares[inside]), 1)
    assert exponent_weights(LAGS, (64 / 3, 64)) @ np.log(squares) == pytest.approx(slope)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: exponent_weights([1, 2]), "too short for an exponent"),
        (lambda: exponent_weights([8, 9, 10]), "the last 1.5 times the first"),
        (lambda: spaced_lags(0), "must be at least 1"),
    ],
)
def test_too_little_is_refused_in_a_sentence(attempt, message):
    with pytest.raises(UsageError, match=message):
        attempt()
