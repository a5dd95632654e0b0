"""Ensembles of SGD on noisy quadratics against their exact theory."""

import math

import numpy as np
import pytest
from stationarity import UsageError
from stationarity.chapters.ch01_two_stories import reading, study
from stationarity.chapters.ch01_two_stories.settings import NoisyQuadratic
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get

SETTINGS = NoisyQuadratic(
    curvatures=(1.0, 0.3),
    noise_variance=2.0,
    learning_rates=(0.5, 0.1),
    steps=200,
    trajectories=2000,
    start=2.0,
    seed=2,
)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"learning_rates": (0.1, 2.0)}, "only below"),
        ({"learning_rates": (0.0,)}, "learning_rates.0 must be greater than 0"),
        ({"curvatures": (1.0, 0.0)}, "curvatures.1 must be greater than 0"),
        ({"curvatures": (-1.0,)}, "curvatures.0 must be greater than 0"),
        ({"momentum": 1.0}, "momentum must be less than 1"),
        ({"momentum": -0.1}, "momentum must be greater than or equal to 0"),
        ({"noise_variance": -1.0}, "noise_variance must be greater than or equal to 0"),
        ({"trajectories": 1}, "trajectories must be greater than or equal to 2"),
    ],
)
def test_bad_settings_raise_one_clear_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        SETTINGS.but(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("drops", [(), (60, 120)])
def test_simulation_follows_the_exact_moments_from_a_cold_start(momentum, drops):
    settings = SETTINGS.but(momentum=momentum, drops=drops, start=3.0)
    recorded = np.array([1, 2, 5, 10, 20, 50, 100, 200])
    count = settings.trajectories
    for rate in settings.learning_rates:
        theory = reading.exact(settings, rate)
        positions = study.sample(settings, rate, recorded)
        mean, variance = (theory[name][recorded] for name in ("mean", "variance"))
        off = np.abs(positions.mean(1) - mean) / np.sqrt(variance / count)
        assert off.max() < 3
        off = np.abs(positions.var(1, ddof=1) / variance - 1) / math.sqrt(2 / (count - 1))
        assert off.max() < 3


def test_the_floor_of_the_bound_holds_and_one_curvature_attains_it():
    rate, noise, steps = 0.3, 2.0, 400
    for curvatures in [(1.0,), (1.0, 0.2)]:
        given = {"curvatures": curvatures, "noise_variance": noise, "learning_rates": (rate,)}
        settings = NoisyQuadratic(**given, steps=steps, trajectories=2, start=3.0)
        theory = reading.exact(settings, rate)
        counts = np.arange(1, steps + 1)
        averages = np.cumsum(theory["gradient_norm_squared"][:-1]) / counts
        total = noise * len(curvatures)
        bound = reading.descent_bound(theory["loss"][0], rate, 1.0, counts, total)
        assert (averages <= bound * (1 + 1e-12)).all()
        floor = reading.descent_bound(0.0, rate, 1.0, 1, total)
        attained = reading.stationary(settings, rate)["gradient_norm_squared"]
        assert attained <= floor * (1 + 1e-12)
        assert (len(curvatures) > 1) == (attained < 0.9 * floor)


def test_the_bound_is_infinite_from_twice_the_inverse_smoothness_on():
    assert np.isinf(reading.descent_bound(1.0, 1.0, 2.0, [1, 2])).all()
    assert np.isfinite(reading.descent_bound(1.0, 0.999, 2.0, [1, 2])).all()


def test_seeds_reproduce_and_differ():
    recorded = [0, 7, 200]
    first, again = (study.sample(SETTINGS, 0.1, recorded) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = SETTINGS.but(seed=1)
    assert (study.sample(other, 0.1, recorded)[1:] != first[1:]).all()
    assert first.dtype == np.float64 and first.shape == (3, 2000, 2)
    assert study.sample(SETTINGS, 0.1, recorded, trajectories=1).shape == (3, 1, 2)


def test_ensemble_rows_agree_with_theory():
    rows = metrics.frame(study.ensemble(SETTINGS, Place()))
    assert rows.equals(metrics.frame(study.ensemble(SETTINGS, Place())))
    rows = rows.set_index(["of", "quantity", "index", "step"])[["value", "error"]]
    last = SETTINGS.steps
    for rate in SETTINGS.learning_rates:
        found = rows.loc[study.named(rate)]
        theory, settled = reading.exact(SETTINGS, rate), reading.stationary(SETTINGS, rate)
        for quantity in ("loss", "gradient_norm_squared"):
            one = found.loc[quantity].droplevel("index").loc[1:]
            assert list(one.index) == list(study.recorded_steps(SETTINGS)[1:])
            off = (one.value - theory[quantity][one.index]).abs()
            assert (off < 4 * one.error).all()
        late = theory["mean"] ** 2 + theory["variance"]
        for index, variance in enumerate(settled["variance"]):
            value, error = found.loc["late_variance", index, last]
            assert abs(value - late[last // 2 :, index].mean()) < 3 * error
            assert value == pytest.approx(variance, rel=0.15)
        moved = found.loc["displacement_squared"].iloc[-1]
        kept = (1 - rate * np.array(SETTINGS.curvatures)) ** (last // 2)
        expected = (2 * settled["variance"] * (1 - kept)).sum()
        assert moved.value == pytest.approx(expected, abs=4 * moved.error)


def test_rates_are_divided_by_ten_at_each_drop():
    rates = study.schedule(SETTINGS.but(steps=6, drops=(2, 4)), 1.0)
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_few_steps_are_enough(steps):
    for name in ("noisy_quadratic", "noisy_quadratic_drops"):
        settings = get(name, overrides={"steps": steps, "trajectories": 2})
        found = metrics.frame(study.ensemble(settings, Place()))
        assert np.isfinite(found.value).all()
