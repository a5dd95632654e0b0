"""The gradients of true minibatches: their mean, covariance and order."""

import numpy as np
import pytest
from stationarity.chapters.ch10_langevin import study
from stationarity.theory import simulation

RANDOM = np.random.default_rng(5)
INPUTS, ERRORS = (RANDOM.standard_normal((60, 3)) * [1.0, 0.5, 0.2], RANDOM.standard_normal(60))
PLACE, MIDDLE, DECAY = np.array([0.7, -1.0, 2.0]), np.array([1.0, 2.0, 3.0]), 0.3


def one_step(size, reshuffled, steps=1, rate=1e-9, count=20_000):
    """Minus the gradients of the first step at PLACE, and the change over all steps."""
    given = study.LeastSquares(INPUTS, ERRORS, MIDDLE, *3 * [None], DECAY)
    noise = study.gradients(given, size, reshuffled=reshuffled)
    blocks = simulation.follow(
        noise,
        np.full(steps, rate),
        trajectories=count,
        recorded=[1, steps],
        start=PLACE,
        summary=lambda states: states,
    )
    states = np.concatenate(blocks, 1)
    return -states[0, ..., 1], (states[1, ..., 0] - PLACE) / rate


@pytest.mark.parametrize("reshuffled", [False, True])
def test_minibatch_gradients_have_the_mean_and_covariance_of_their_sampling(reshuffled):
    each = INPUTS * (INPUTS @ PLACE - ERRORS)[:, None]  # gradients of the examples
    full = each.mean(0) + DECAY * (PLACE + MIDDLE)
    covariance = np.cov(each.T, ddof=0) / 12
    covariance *= (60 - 12) / (60 - 1) if reshuffled else 1
    found, _ = one_step(12, reshuffled)
    spread = np.sqrt(np.diag(covariance) / len(found))
    assert (np.abs(found.mean(0) - full) < 3 * spread).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(found.T) - covariance) < 0.04 * scale).all()


def test_a_reshuffled_epoch_sees_every_example_once():
    full = (INPUTS * (INPUTS @ PLACE - ERRORS)[:, None]).mean(0) + DECAY * (PLACE + MIDDLE)
    _, moved = one_step(12, reshuffled=True, steps=5, count=7)
    np.testing.assert_allclose(moved, np.tile(-5 * full, (7, 1)), rtol=1e-5)
    _, scattered = one_step(12, reshuffled=False, steps=5, count=7)
    assert np.std(scattered, 0).min() > 0.01
