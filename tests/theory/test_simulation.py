"""The simulator of noisy quadratics against exact laws."""

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from stationarity import UsageError
from stationarity.theory import simulation

CURVATURE, VARIANCES = np.array([1.0, 0.3]), np.array([2.0, 0.5])


def stationary(rate, momentum):
    """The stationary covariance (4, 4) of positions and velocities, by SciPy."""
    one, hessian = np.eye(2), np.diag(CURVATURE)
    matrix = np.block(
        [[one - rate * hessian, rate * momentum * one], [-hessian, momentum * one]]
    )
    response = np.vstack([-rate * one, -one])
    return solve_discrete_lyapunov(matrix, response @ np.diag(VARIANCES) @ response.T)


def products(states):
    """The sums over a block (b, D, 2) of products of all positions and velocities."""
    flat = np.concatenate([states[0, ..., 0], states[0, ..., 1]], -1)
    pairs = flat[:, :, None] * flat[:, None, :]
    return pairs.sum(0), (pairs**2).sum(0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_ten_thousand_trajectories_have_the_stationary_covariance(momentum):
    """Positions, velocities and cross terms within three standard errors."""
    rate, steps, count = 0.3, 600, 10_000
    noise = simulation.gaussian(CURVATURE, np.sqrt(VARIANCES))
    blocks = simulation.follow(
        noise,
        np.full(steps, rate),
        trajectories=count,
        recorded=[steps],
        start=[3.0, -2.0],
        momentum=momentum,
        seed=1,
        summary=products,
    )
    mean, square = (sum(part) / count for part in zip(*blocks, strict=True))
    exact = stationary(rate, momentum)
    error = np.sqrt((square - mean**2) / count)
    assert (np.abs(mean - exact) < 3 * error).all()
    assert (error < 0.03 * np.sqrt(np.outer(np.diag(exact), np.diag(exact)))).all()


@pytest.mark.parametrize("noise", [-1.0, [1.0, -0.1]])
def test_a_negative_variance_is_refused(noise):
    with pytest.raises(UsageError, match="cannot be negative, and this one is -"):
        simulation.simulate([1.0, 0.5], [0.1], noise, trajectories=2, recorded=[1])


def test_the_number_of_threads_and_what_is_recorded_change_nothing():
    def run(recorded):
        return simulation.simulate(
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
        simulation.simulate([1.0], np.full(3, 0.1), 1.0, trajectories=2, recorded=[4])
