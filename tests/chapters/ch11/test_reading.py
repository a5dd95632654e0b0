"""What a run of currents says for the ledger."""

import numpy as np
import pytest
from stationarity.chapters.ch11_modified_loss import reading


@pytest.mark.parametrize(
    ("ratios", "low", "high"),
    [([1.05, 1.0], 1.04, 1.06), ([0.5, 1.0], 0.49, 0.51), ([1.0, 1.0], 0.99, 1.0)],
)
def test_the_ratio_furthest_from_one_fails_alone(ratios, low, high):
    found = reading._furthest(np.array(ratios), np.full(2, 0.01 / 1.96))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
