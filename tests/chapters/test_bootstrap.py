"""Displacements and the intervals of their exponents, where both are known."""

import numpy as np
import pytest
from stationarity.chapters import bootstrap
from stationarity.chapters.ch09_anomalous_diffusion.stochastic_processes import (
    squared_displacements,
)
from stationarity.errors import UsageError
from stationarity.stats import displacement
from stationarity.theory import stationary_covariance
from stationarity.theory.simulation import simulate

LAGS = displacement.spaced_lags(64)
WITHIN = (64 / 3, 64)
GENERATOR = np.random.default_rng


def slope(means) -> float:
    """The exponent of exact means, by NumPy's polynomial fit."""
    used = (WITHIN[0] <= LAGS) & (WITHIN[1] >= LAGS)
    return np.polyfit(np.log(LAGS[used]), np.log(np.asarray(means)[used]), 1)[0]


def test_the_weights_fit_a_line_to_the_logarithms_within_the_window():
    squares = GENERATOR(0).exponential(size=len(LAGS)) * LAGS
    weights = bootstrap.exponent_weights(LAGS, WITHIN)
    assert weights @ np.log(squares) == pytest.approx(slope(squares))


def by_cholesky(generator, members, steps, dimensions, hurst):
    """Paths of fractional Brownian motion from the root of their covariance matrix."""
    t = np.arange(1.0, steps + 1)
    powers = t[:, None] ** (2 * hurst) + t ** (2 * hurst)
    covariance = (powers - np.abs(t[:, None] - t) ** (2 * hurst)) / 2
    noise = generator.standard_normal((members, dimensions, steps))
    paths = noise @ np.linalg.cholesky(covariance).T
    return np.pad(paths.swapaxes(1, 2), ((0, 0), (1, 0), (0, 0)))


def uhlenbeck(generator, members, steps, dimensions, time):
    """Stationary paths of variance 1, one step after another."""
    kept = np.exp(-1 / time)
    now, path = generator.standard_normal((members, dimensions)), []
    for _ in range(steps + 1):
        path.append(now)
        now = kept * now + np.sqrt(1 - kept**2) * generator.standard_normal(now.shape)
    return np.stack(path, 1)


PROCESSES = {
    "Brownian": (by_cholesky, 0.5, LAGS),
    "subdiffusive": (by_cholesky, 0.3, LAGS**0.6),
    "superdiffusive": (by_cholesky, 0.8, LAGS**1.6),
    "saturating": (uhlenbeck, 15.0, 1 - np.exp(-LAGS / 15)),
}


@pytest.mark.parametrize("name", PROCESSES)
def test_the_interval_has_its_nominal_coverage(name):
    draw, argument, means = PROCESSES[name]
    replicates, generator = 400, GENERATOR(1)
    paths = draw(generator, 6 * replicates, 64, 5, argument)
    squares = squared_displacements(paths, LAGS).reshape(replicates, 6, 1, -1)
    fits = [bootstrap.exponent(LAGS, one, WITHIN) for one in squares]
    held = np.mean([fit.low <= slope(means) <= fit.high for fit in fits])
    # 3.5 standard deviations of a binomial share: 95 % give 91.2 to 98.8 %.
    assert held == pytest.approx(0.95, abs=3.5 * np.sqrt(0.95 * 0.05 / replicates))
    values = np.array([fit.value for fit in fits])
    # Fitted values scatter about the exact one; their bias is a fraction of their error.
    assert values.mean() == pytest.approx(slope(means), abs=0.25 * values.std() + 0.01)


def test_one_trajectory_is_resampled_over_its_reference_points():
    replicates = 300
    paths = by_cholesky(GENERATOR(2), 1, 64, 5 * 8 * replicates, 0.5)
    squares = squared_displacements(paths, LAGS)[0, 0]  # of all coordinates
    parts = (paths[0, LAGS] ** 2).T.reshape(replicates, 1, 8, 5, -1).sum(3)
    assert parts.sum((0, 1, 2)) == pytest.approx(squares)
    fits = [bootstrap.exponent(LAGS, one, WITHIN) for one in parts]
    held = np.mean([fit.low <= 1 <= fit.high for fit in fits])
    assert held == pytest.approx(0.95, abs=3.5 * np.sqrt(0.95 * 0.05 / replicates))


def test_reference_points_that_a_seed_shares_do_not_narrow_its_interval():
    squares = GENERATOR(3).exponential(size=(5, 1, len(LAGS))) * LAGS
    once = bootstrap.exponent(LAGS, squares, WITHIN)
    again = bootstrap.exponent(LAGS, np.repeat(squares, 4, axis=1), WITHIN)
    assert (again.low, again.high) == pytest.approx((once.low, once.high))


def test_the_standard_error_is_that_of_the_linearised_statistic(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 20000)
    units = LAGS * (1 + 0.1 * GENERATOR(4).standard_normal((40, len(LAGS))))
    fit = bootstrap.exponent(LAGS, units)
    influence = (units / units.mean(0) - 1) @ bootstrap.exponent_weights(LAGS)
    error = np.sqrt((influence**2).sum() / 40 / 39)
    assert (fit.high - fit.low) / 2 / 2.0227 == pytest.approx(error, rel=0.03)


def test_displacements_are_those_of_two_loops():
    paths = GENERATOR(7).standard_normal((3, 11, 2))
    found = squared_displacements(paths, [1, 4])
    for k in range(3):
        for r, begin in enumerate([0, 4]):
            for i, lag in enumerate([1, 4]):
                gone = paths[k, begin + lag] - paths[k, begin]
                assert found[k, r, i] == pytest.approx(gone @ gone)
    assert squared_displacements(paths, [1, 4]).shape == (3, 2, 2)


def test_a_settled_quadratic_follows_its_exact_displacement():
    curvature, rate, noise = np.array([1.0, 0.2]), 0.1, 0.5
    variance = stationary_covariance(curvature, rate, noise)[..., 0, 0]
    paths = simulate(
        curvature,
        np.full(400, rate),
        noise,
        trajectories=3000,
        recorded=range(300, 365),
        seed=8,
    ).swapaxes(0, 1)
    exact = (2 * variance * (1 - (1 - rate * curvature) ** LAGS[:, None])).sum(1)
    squares = squared_displacements(paths, LAGS)
    assert squares.mean((0, 1)) == pytest.approx(exact, rel=0.06)
    fit = bootstrap.exponent(LAGS, squares, WITHIN)
    assert fit.low < slope(exact) < fit.high < 1


def test_a_power_law_has_the_same_exponent_in_both_halves():
    early, late = (bootstrap.exponent_weights(LAGS, ends) for ends in ((4, 16), (16, 64)))
    squares = np.outer([1.0, 2.0, 4.0], LAGS**0.7)
    found = bootstrap.weighted(LAGS, squares, late - early)
    assert [found.value, found.low, found.high] == pytest.approx([0, 0, 0], abs=1e-12)
    bent = np.where(LAGS <= 16, LAGS**1.2, 16**0.9 * LAGS**0.3)
    found = bootstrap.weighted(LAGS, np.outer([1.0, 2.0], bent), late - early)
    assert found.value == pytest.approx(0.3 - 1.2)


def test_an_octave_tells_how_successive_displacements_are_correlated():
    steps = GENERATOR(9).standard_normal((4000, 8, 1)) + 0.4
    paths = np.pad(steps.cumsum(1), ((0, 0), (1, 0), (0, 0)))
    first, second = paths[:, 4] - paths[:, 0], paths[:, 8] - paths[:, 4]
    whole = ((first + second) ** 2).mean()
    each = ((first**2).mean() + (second**2).mean()) / 2
    assert whole / each / 2 - 1 == pytest.approx((first * second).mean() / each)


GOOD = np.outer([1.0, 2.0], LAGS)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: bootstrap.exponent(LAGS, GOOD, (50, 64)), "too short for an exponent"),
        (lambda: bootstrap.exponent([8, 9, 10], GOOD[:, :3]), "the last 1.5 times the first"),
        (lambda: bootstrap.exponent(LAGS, GOOD[:1]), "at least two seeds"),
        (lambda: bootstrap.exponent(LAGS, 0 * GOOD), "stood still or diverged"),
        (lambda: bootstrap.exponent(LAGS, np.nan * GOOD), "stood still or diverged"),
    ],
)
def test_too_little_is_refused_in_a_sentence(attempt, message):
    with pytest.raises(UsageError, match=message):
        attempt()
