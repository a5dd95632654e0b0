"""Lags evenly spaced in their logarithm."""

import pytest
from stationarity.errors import UsageError
from stationarity.stats.displacement import spaced_lags


def test_too_little_is_refused_in_a_sentence():
    with pytest.raises(UsageError, match="must be at least 1"):
        spaced_lags(0)
