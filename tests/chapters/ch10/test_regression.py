"""Linear regression on true minibatches: exact moments by enumeration, and the study."""

import dataclasses
import itertools

import numpy as np
import pytest
from stationarity import UsageError, theory
from stationarity.chapters.ch10_langevin import reading, study
from stationarity.runs import records
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get

RANDOM = np.random.default_rng(1)
SMALL = get(
    "linear_regression",
    overrides={
        "examples": 64,
        "dimensions": 3,
        "batch_sizes": (8, 4),
        "learning_rates": (0.05, 0.3),
        "momenta": (0.8, 0.5),
        "steps": 150,
        "lags": 60,
        "trajectories": 8000,
        "minibatch_trajectories": 8000,
        "directions": 2,
        "threads": 1,
    },
)


def states_of_all_paths(given, rate, momentum, size, start, steps):
    """Positions and velocities after all sequences of minibatches, equally likely."""
    paths = []
    draws = list(itertools.product(range(len(given.inputs)), repeat=size))
    for path in itertools.product(draws, repeat=steps):
        place, pace = start, np.zeros_like(start)
        for batch in path:
            x, e = given.inputs[list(batch)], given.errors[list(batch)]
            gradient = x.T @ (x @ place - e) / size
            gradient = gradient + given.weight_decay * (place + given.minimum)
            pace = momentum * pace - gradient
            place = place + rate * pace
        paths.append(np.stack([place, pace], -1))
    return np.array(paths)


@pytest.mark.parametrize("decay", [0.0, 0.4])
@pytest.mark.parametrize(("size", "steps"), [(1, 1), (1, 4), (2, 2)])
def test_moments_of_minibatches_are_those_of_all_sequences(size, steps, decay):
    given = study.least_squares(
        RANDOM.standard_normal((5, 2)), RANDOM.standard_normal(5), decay
    )
    start = np.array([1.5, -0.7])
    paths = states_of_all_paths(given, 0.3, 0.6, size, start, steps)
    mean, covariance = study.exact_moments(
        given, 0.3, 0.6, size, start=start, recorded=[0, steps]
    )
    np.testing.assert_allclose(mean[0], np.stack([start, 0 * start], -1))
    np.testing.assert_allclose(covariance[0], 0, atol=1e-15)
    np.testing.assert_allclose(mean[1], paths.mean(0), atol=1e-13)
    centred = paths - paths.mean(0)
    by_paths = np.einsum("pdi,pdj->dij", centred, centred) / len(paths)
    np.testing.assert_allclose(covariance[1], by_paths, atol=1e-13)


def test_noise_of_an_example_is_the_covariance_at_the_minimum():
    given = study.least_squares(
        RANDOM.standard_normal((40, 3)), RANDOM.standard_normal(40), 0.1
    )
    gradients = given.inputs * -given.errors[:, None] + 0.1 * given.minimum
    np.testing.assert_allclose(gradients.mean(0), 0, atol=1e-14)
    np.testing.assert_allclose(given.noise_of_example, gradients.var(0), rtol=1e-12)


def test_the_synthetic_problem_has_its_spectrum():
    given, start = study.problem(SMALL, Place())
    np.testing.assert_allclose(given.hessian, np.arange(1.0, 4) ** -1.5)
    np.testing.assert_allclose(
        given.inputs.T @ given.inputs / 64, np.diag(given.hessian), atol=1e-12
    )
    np.testing.assert_allclose(given.inputs.T @ given.errors, 0, atol=1e-12)
    np.testing.assert_allclose(np.abs(start), SMALL.distance)


def test_images_make_a_problem_from_the_weight_zero():
    settings = SMALL.but(images="digits", examples=300, weight_decay=0.01)
    given, start = study.problem(settings, Place())
    assert given.inputs.shape == (300, 64)
    np.testing.assert_allclose(start, -given.minimum)
    slope = given.inputs.T @ given.errors / 300 - 0.01 * given.minimum
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    assert study.problem(settings.but(side=4), Place())[0].inputs.shape == (300, 16)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The study of SMALL, as a run on disk."""
    folder = tmp_path_factory.mktemp("run")
    return made(SMALL, folder)


def made(settings, folder):
    info = records.new_info("linear_regression", "classroom", settings, "", "cpu")
    rows = study.linear_regression(settings, Place())
    return records.write(folder, info | {"status": "complete"}, rows)


@pytest.mark.parametrize("triple", SMALL.triples)
@pytest.mark.parametrize(
    ("noise", "theory"),
    [("gaussian", "exact, constant noise"), ("replacement", study.STATE_DEPENDENT)],
)
def test_each_exact_theory_is_that_of_its_noise(run, triple, noise, theory):
    """Deviations in standard errors scatter as they should, in each direction and in all."""
    each = reading.compared(run, triple, noise, theory, study.MOMENTS)
    whole = reading.compared(run, triple, noise, theory)
    # A first step is certain but for its noise: where nothing scatters, nothing is judged.
    for table in (each, whole):
        sigmas = table.sigmas[table.error > 1e-12 * table.value.abs()]
        assert len(sigmas) > 0.8 * len(table)
        assert sigmas.abs().max() < 4.5
        assert np.sqrt((sigmas**2).mean()) < 1.5


def test_reshuffled_epochs_move_less_than_any_of_the_theories(run):
    triple = SMALL.triples[0]
    table = reading.compared(run, triple, "reshuffled", study.STATE_DEPENDENT)
    last = table[table.quantity == "displacement_squared"].iloc[-1]
    assert last.sigmas < -20


def test_the_equation_fails_where_its_rate_is_too_large_and_holds_of_itself(run):
    """The control and the known case are judged by the claim's own function."""
    small = reading.langevin_error(run)
    large, coarse, own = (
        reading.langevin_error(run, case)
        for case in ("largest_rate", "coarse_steps", "its_own")
    )
    assert 0 <= small.low <= small.value <= small.high < large.low
    assert own.low == 0
    assert own.high < 0.1 < coarse.low
    assert coarse.value == pytest.approx(reading.COARSE, abs=0.06)


def test_a_coarse_rate_misses_the_share_of_the_velocity_that_it_should(run):
    rate = reading.coarse_rate(run, 0.8)
    given = (reading.vector(run, "curvature"), rate, reading.vector(run, "noise_of_example"))
    exact, limit = (
        law(*given, 0.8)[:, 1, 1].sum()
        for law in (theory.stationary_covariance, theory.limiting_covariance)
    )
    assert 1 - limit / exact == pytest.approx(reading.COARSE)


def test_few_trajectories_make_a_wider_interval(run):
    """Student's t: eight trajectories with the same errors decide less than thousands."""
    few = changed(run, minibatch_trajectories=8)
    many, wide = reading.langevin_error(run), reading.langevin_error(few)
    assert wide.value == many.value
    assert wide.high > many.high
    assert wide.low <= many.low


def test_of_one_learning_rate_none_is_the_largest(run):
    with pytest.raises(UsageError, match="one learning rate only"):
        reading.langevin_error(changed(run, learning_rates=(0.05, 0.05)), "largest_rate")


def test_exact_theories_hold_of_their_noise_and_not_of_reshuffled_epochs(run):
    assert reading.worst(run, "gaussian", reading.CONSTANT).high < 0.1
    assert reading.worst(run, "replacement", study.STATE_DEPENDENT).high < 0.1
    assert reading.worst(run, "reshuffled", study.STATE_DEPENDENT).low > 0.2


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"momenta": (0.9,)}, "equally many of each, not 2, 1, 2"),
        ({"learning_rates": (0.05, 3.5)}, "only below .* = 3"),
        ({"momenta": (0.9, 1.0)}, "momenta.1 must be less than 1"),
        ({"trajectories": 1}, "trajectories must be greater than or equal to 2"),
        ({"dimensions": 64}, "must exceed dimensions"),
        ({"batch_sizes": (8, 65)}, "between 1 and all 64 examples"),
        ({"batch_sizes": (8, 0)}, "batch_sizes.1 must be greater than 0"),
        ({"images": "digits", "examples": 300}, "smallest eigenvalue"),
    ],
)
def test_bad_settings_end_in_one_clear_sentence(changed, sentence):
    with pytest.raises(UsageError, match=sentence):
        study.linear_regression(SMALL.but(**changed), Place())


def test_moments_of_minibatches_settle_after_many_steps():
    """The second moments solve the discrete Lyapunov equation with their own noise."""
    given, start = study.problem(get("linear_regression"), Place())
    triple = (0.5, 0.9, 32)
    mean, covariance = study.exact_moments(given, *triple, start=start, recorded=[1500, 1600])
    assert np.abs(mean).max() < 1e-9
    np.testing.assert_allclose(covariance[0], covariance[1], rtol=1e-3)
    # The constant noise of the minimum, and what the weights' own spread adds to it.
    variance = covariance[1, :, 0, 0]
    added = ((given.inputs**2 @ variance)[:, None] * given.inputs**2).mean(0)
    least = given.noise_of_example / 32
    noise = least + (added - given.hessian**2 * variance) / 32
    settled = theory.stationary_covariance(given.curvature, 0.5, noise, 0.9)
    np.testing.assert_allclose(covariance[1], settled, rtol=0.02, atol=1e-9)
    assert (noise > 1.1 * least).all()


def changed(run, **settings):
    """The run, as if its settings had been other ones."""
    info = run.info | {"settings": run.info["settings"] | settings}
    return dataclasses.replace(run, info=info)


def test_a_run_without_exact_moments_says_so_and_has_the_next_best_theory(run):
    lacking = changed(run, state_dependent=False)
    assert reading.sharpest(lacking) == "exact, constant noise"
    with pytest.raises(UsageError, match="state_dependent=true"):
        reading.worst(lacking, "replacement", study.STATE_DEPENDENT)


def test_a_run_shorter_than_the_memory_of_its_momentum_decides_nothing(tmp_path):
    settings = SMALL.but(
        momenta=(0.99, 0.5), steps=30, lags=20, trajectories=10, minibatch_trajectories=10
    )
    short = made(settings, tmp_path)
    with pytest.raises(UsageError, match="shorter than the time"):
        reading.langevin_error(short)
