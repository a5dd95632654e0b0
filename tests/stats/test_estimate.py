"""Estimates: their coverage by simulation, and what makes them."""

import numpy as np
import pytest
from stationarity.errors import UsageError
from stationarity.stats.estimate import Estimate, jackknife, mean_and_error


def held(estimates, truth) -> float:
    return np.mean([one.low < truth < one.high for one in estimates])


def test_the_mean_has_students_interval():
    values = np.random.default_rng(0).normal(3, 2, (4000, 5))
    found = [Estimate.mean(row) for row in values]
    assert held(found, 3) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))
    together = Estimate.mean(values.T)
    assert np.array(found) == pytest.approx(np.transpose(together))


def test_a_geometric_mean_is_that_of_the_logarithms():
    values = np.random.default_rng(1).lognormal(1, 0.5, (4000, 6))
    found = [Estimate.geometric_mean(row) for row in values]
    assert held(found, np.e) == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 4000))
    assert Estimate.geometric_mean([0.0, 1.0]).low > 0


def test_an_estimate_is_scaled_and_rooted_with_its_interval():
    assert Estimate(4.0, -2.0, 16.0) / 4 == (1.0, -0.5, 4.0)
    assert Estimate(4.0, -2.0, 16.0).root() == (2.0, 0.0, 4.0)
    trends = [Estimate(1, *ends).trend for ends in ((-1, 1), (0.5, 2), (-2, -0.5))]
    assert trends == ["no trend", "rises", "falls"]


def test_means_and_errors_are_over_one_axis():
    values = np.arange(12.0).reshape(4, 3)
    mean, error = mean_and_error(values, axis=1)
    assert mean == pytest.approx([1, 4, 7, 10]) and error == pytest.approx(3**-0.5)
    mean, error = mean_and_error([7.0])
    assert mean == 7 and np.isnan(error)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(4).standard_normal((3, 9))
    found = jackknife(lambda mean: mean, values, axis=1)
    assert np.array(found) == pytest.approx(np.array(mean_and_error(values, axis=1)))


def test_the_jackknife_takes_off_the_bias_of_a_square():
    values = np.random.default_rng(5).standard_normal((20000, 8)) + 1
    plain, error = jackknife(np.square, values, axis=1)
    unbiased, _ = jackknife(np.square, values, axis=1, unbiased=True)
    assert plain.mean() == pytest.approx(1 + 1 / 8, abs=0.02)
    assert unbiased.mean() == pytest.approx(1, abs=0.02)
    assert np.sqrt((error**2).mean()) == pytest.approx(unbiased.std(), rel=0.1)


def test_what_has_no_error_is_refused():
    with pytest.raises(UsageError, match="no error bar"):
        Estimate.mean([1.0])
