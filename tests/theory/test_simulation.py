"""The simulator against exact laws: Gaussian noise of any covariance, and true minibatches."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from stationarity import UsageError
from stationarity import theory as langevin
from stationarity.theory import simulation

HESSIAN = np.array([[1.0, 0.4], [0.4, 0.5]])
COVARIANCE = np.array([[2.0, -0.6], [-0.6, 0.3]])  # does not commute with the Hessian


def stationary(hessian, covariance, rate, momentum):
    """The stationary covariance (4, 4) of positions and velocities, by SciPy."""
    one = np.eye(len(hessian))
    matrix = np.block(
        [[one - rate * hessian, rate * momentum * one], [-hessian, momentum * one]]
    )
    response = np.vstack([-rate * one, -one])
    return solve_discrete_lyapunov(matrix, response @ covariance @ response.T)


def products(states):
    """The sums over a block (b, D, 2) of products of all positions and velocities."""
    flat = np.concatenate([states[0, ..., 0], states[0, ..., 1]], -1)
    pairs = flat[:, :, None] * flat[:, None, :]
    return pairs.sum(0), (pairs**2).sum(0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ten_thousand_trajectories_have_the_stationary_covariance(momentum):
    """Positions, velocities and cross terms within three standard errors."""
    rate, steps, count = 0.3, 600, 10_000
    values, axes = np.linalg.eigh(HESSIAN)
    along = axes.T @ COVARIANCE @ axes
    noise = simulation.gaussian(values, np.linalg.cholesky(along))
    blocks = simulation.follow(
        noise, np.full(steps, rate), trajectories=count, recorded=[steps],
        start=[3.0, -2.0], momentum=momentum, seed=1, summary=products,
    )  # fmt: skip
    mean, square = (sum(part) / count for part in zip(*blocks, strict=True))
    exact = stationary(np.diag(values), along, rate, momentum)
    error = np.sqrt((square - mean**2) / count)
    assert (np.abs(mean - exact) < 3 * error).all()
    assert (error < 0.03 * np.sqrt(np.outer(np.diag(exact), np.diag(exact)))).all()


def test_a_whole_hessian_is_turned_back():
    positions = langevin.simulate(
        HESSIAN, np.full(300, 0.3), COVARIANCE, trajectories=10_000, recorded=[0, 1, 300],
        start=[3.0, -2.0], momentum=0.5,
    )  # fmt: skip
    assert np.allclose(positions[0], [3.0, -2.0])
    first = np.cov(positions[1].T) / 0.3**2
    last = np.cov(positions[2].T)
    exact = stationary(HESSIAN, COVARIANCE, 0.3, 0.5)[:2, :2]
    for found, theory in ((first, COVARIANCE), (last, exact)):
        spread = np.sqrt((theory**2 + np.outer(np.diag(theory), np.diag(theory))) / 10_000)
        assert (np.abs(found - theory) < 3 * spread).all()


@pytest.mark.parametrize(
    "noise", [0.0, [2.0, 0.0], np.zeros((2, 2)), np.outer([1, -2], [1, -2])]
)
def test_any_positive_semidefinite_covariance_is_taken(noise):
    positions = langevin.simulate(
        HESSIAN, [0.3], noise, trajectories=4000, recorded=[1], start=[3.0, -2.0]
    )[0]
    mean = np.array([3.0, -2.0]) @ (np.eye(2) - 0.3 * HESSIAN)
    covariance = 0.09 * (np.diag(np.zeros(2) + noise) if np.ndim(noise) < 2 else noise)
    spread = np.sqrt(np.diag(covariance) / 4000)
    assert (np.abs(positions.mean(0) - mean) <= 3 * spread + 1e-12).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(positions.T) - covariance) <= 0.1 * scale + 1e-12).all()


@pytest.mark.parametrize("noise", [-1.0, [1.0, -0.1], [[1.0, 2.0], [2.0, 1.0]]])
def test_a_covariance_with_a_negative_eigenvalue_is_refused(noise):
    with pytest.raises(UsageError, match="no negative eigenvalue .*, and this one has -"):
        langevin.simulate([1.0, 0.5], [0.1], noise, trajectories=2, recorded=[1])


def test_the_number_of_threads_and_what_is_recorded_change_nothing():
    def run(recorded):
        return langevin.simulate(
            np.ones(20), np.full(30, 0.1), 1.0, trajectories=1200, recorded=recorded
        )

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run([30])
        torch.set_num_threads(3)
        assert np.array_equal(run([0, 30, 7, 30])[[1, 3]], np.concatenate([alone, alone]))
    finally:
        torch.set_num_threads(before)


def test_steps_beyond_the_end_are_refused():
    with pytest.raises(UsageError, match="between 0 and 3"):
        langevin.simulate([1.0], np.full(3, 0.1), 1.0, trajectories=2, recorded=[4])


# --- true minibatches -----------------------------------------------------------------

RANDOM = np.random.default_rng(5)
INPUTS, ERRORS = (
    RANDOM.standard_normal((60, 3)) * [1.0, 0.5, 0.2],
    RANDOM.standard_normal(60),
)
PLACE, MIDDLE, DECAY = np.array([0.7, -1.0, 2.0]), np.array([1.0, 2.0, 3.0]), 0.3


def one_step(size, reshuffled, steps=1, rate=1e-9, count=20_000):
    """Minus the gradients of the first step at PLACE, and the change over all steps."""
    noise = simulation.minibatches(
        INPUTS, ERRORS, size, reshuffled=reshuffled, weight_decay=DECAY, centre=MIDDLE
    )
    blocks = simulation.follow(
        noise, np.full(steps, rate), trajectories=count, recorded=[1, steps], start=PLACE,
        summary=lambda states: states,
    )  # fmt: skip
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


@pytest.mark.parametrize("size", [0, 61])
def test_a_batch_size_beyond_the_examples_is_refused(size):
    with pytest.raises(UsageError, match="between 1 and all 60 examples"):
        simulation.minibatches(INPUTS, ERRORS, size)
