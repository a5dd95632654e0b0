"""Ensembles of SGD on noisy quadratics against their exact theory."""

import math

import numpy as np
import pytest
from stationarity import UsageError, experiments
from stationarity.chapters.ch01_two_stories import study
from stationarity.experiments import NoisyQuadratic

SETTINGS = NoisyQuadratic(
    curvatures=(1.0, 0.3), noise_variance=2.0, learning_rates=(0.5, 0.1), steps=200,
    trajectories=2000, start=2.0, seed=2,
)  # fmt: skip


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"learning_rates": (0.1, 2.0)}, "only below"),
        ({"learning_rates": (0.0,)}, "learning rate must be positive"),
        ({"curvatures": (1.0, 0.0)}, "curvature must be positive"),
        ({"curvatures": (-1.0,)}, "curvature must be positive"),
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"momentum": -0.1}, "momentum must lie in"),
        ({"noise_variance": -1.0}, "noise variance must not be negative"),
        ({"trajectories": 1}, "at least 2"),
    ],
)
def test_bad_settings_raise_one_clear_sentence(values, sentence):
    settings = NoisyQuadratic(**{**SETTINGS.__dict__, **values})
    with pytest.raises(UsageError, match=sentence) as caught:
        study.ensemble(settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("momentum", [0.0, 0.8])
@pytest.mark.parametrize("drops", [(), (60, 120)])
def test_simulation_follows_the_exact_moments_from_a_cold_start(momentum, drops):
    settings = NoisyQuadratic(
        **{**SETTINGS.__dict__, "momentum": momentum, "drops": drops, "start": 3.0}
    )
    recorded = np.array([1, 2, 5, 10, 20, 50, 100, 200])
    count = settings.trajectories
    for rate in settings.learning_rates:
        theory = study.exact(settings, rate)
        positions = study.sample(settings, rate, recorded)
        mean, variance = (theory[name][recorded] for name in ("mean", "variance"))
        off = np.abs(positions.mean(1) - mean) / np.sqrt(variance / count)
        assert off.max() < 3
        off = np.abs(positions.var(1, ddof=1) / variance - 1) / math.sqrt(
            2 / (count - 1)
        )
        assert off.max() < 3


def test_the_floor_of_the_bound_holds_and_one_curvature_attains_it():
    rate, noise, steps = 0.3, 2.0, 400
    for curvatures in [(1.0,), (1.0, 0.2)]:
        settings = NoisyQuadratic(
            curvatures=curvatures, noise_variance=noise, learning_rates=(rate,),
            steps=steps, trajectories=2, start=3.0,
        )  # fmt: skip
        theory = study.exact(settings, rate)
        counts = np.arange(1, steps + 1)
        averages = np.cumsum(theory["gradient_norm_squared"][:-1]) / counts
        total = noise * len(curvatures)
        bound = study.descent_bound(theory["loss"][0], rate, 1.0, counts, total)
        assert (averages <= bound * (1 + 1e-12)).all()
        floor = study.descent_bound(0.0, rate, 1.0, 1, total)
        attained = study.stationary(settings, rate)["gradient_norm_squared"]
        assert attained <= floor * (1 + 1e-12)
        assert (len(curvatures) > 1) == (attained < 0.9 * floor)


def test_the_bound_is_infinite_from_twice_the_inverse_smoothness_on():
    assert np.isinf(study.descent_bound(1.0, 1.0, 2.0, [1, 2])).all()
    assert np.isfinite(study.descent_bound(1.0, 0.999, 2.0, [1, 2])).all()


def test_seeds_reproduce_and_differ():
    recorded = [0, 7, 200]
    first, again = (study.sample(SETTINGS, 0.1, recorded) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = NoisyQuadratic(**{**SETTINGS.__dict__, "seed": 1})
    assert (study.sample(other, 0.1, recorded)[1:] != first[1:]).all()
    assert first.dtype == np.float64 and first.shape == (3, 2000, 2)


def test_ensemble_rows_agree_with_theory():
    rows = study.ensemble(SETTINGS)
    assert rows == study.ensemble(SETTINGS)
    values = {}
    for step, _, name, value, error in rows:
        values[step, name] = value, error
    for rate in SETTINGS.learning_rates:
        theory = study.exact(SETTINGS, rate)
        settled = study.stationary(SETTINGS, rate)
        for quantity in ("loss", "gradient_norm_squared"):
            for step in study.recorded_steps(SETTINGS)[1:]:
                value, error = values[step, study.named(quantity, rate)]
                assert abs(value - theory[quantity][step]) < 4 * error
        for variance, curvature in zip(
            settled["variance"], SETTINGS.curvatures, strict=True
        ):
            name = study.named("late_variance", rate, curvature)
            late = theory["mean"] ** 2 + theory["variance"]
            index = SETTINGS.curvatures.index(curvature)
            value, error = values[SETTINGS.steps, name]
            assert abs(value - late[SETTINGS.steps // 2 :, index].mean()) < 3 * error
            assert value == pytest.approx(variance, rel=0.15)
        moved = values[SETTINGS.steps, study.named("displacement_squared", rate)]
        kept = (1 - rate * np.array(SETTINGS.curvatures)) ** (SETTINGS.steps // 2)
        expected = (2 * settled["variance"] * (1 - kept)).sum()
        assert moved[0] == pytest.approx(expected, abs=4 * moved[1])


def test_rates_are_divided_by_ten_at_each_drop():
    settings = NoisyQuadratic(**{**SETTINGS.__dict__, "steps": 6, "drops": (2, 4)})
    rates = study.schedule(settings, 1.0)
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("steps", [1, 2, 5, 30])
def test_few_steps_are_enough(steps):
    for name in ("noisy_quadratic", "noisy_quadratic_drops"):
        settings = experiments.get(name, overrides={"steps": steps, "trajectories": 2})
        assert all(math.isfinite(row[3]) for row in study.ensemble(settings))


def test_distance_to_normal_is_small_for_normal_and_one_for_far_samples():
    draws = 2 * np.random.default_rng(0).standard_normal(4000)
    assert study.distance_to_normal(draws, 4.0) < 1.6 / math.sqrt(4000)
    assert study.distance_to_normal(np.full(10, 9.0), 1.0) == pytest.approx(1)
