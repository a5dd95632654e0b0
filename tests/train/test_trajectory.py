"""Weights that are followed, against all of them stored."""

import pytest
import torch
from stationarity.runs.checkpoints import Keeper
from stationarity.stats.displacement import spaced_lags
from stationarity.train import trajectory
from stationarity.train.trajectory import PER_OCTAVE, POINTS, SNAPSHOTS, Follower

DOUBLE = torch.float64
STEPS, SIZE, K = 75, 1000, 3


@pytest.fixture(params=[torch.float32, DOUBLE])
def path(request):
    """Weights theta_t (STEPS + 1, SIZE) that move by little."""
    generator = torch.Generator().manual_seed(0)
    steps = torch.randn(STEPS + 1, SIZE, generator=generator, dtype=DOUBLE)
    return (steps.cumsum(0) * 1e-3 + steps[:1]).to(request.param)


@pytest.fixture
def directions(path):
    square = torch.randn(SIZE, K, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    return torch.linalg.qr(square).Q.T.to(path)


def follow(path, directions, folder=None, stops=()):
    """Return the rows, with the follower made anew at each stop."""
    info = {"fingerprint": "", "wall_seconds": 0.0}
    axes = torch.cat([directions, path[:1]])
    follower = Follower(axes, STEPS, Keeper(folder, info), path[0])
    for step, theta in enumerate(path[1:], 1):
        follower.follow(theta)
        if step in stops:
            follower.write()
            if step in stops[::2]:  # lost: they are followed once more
                for later in path[step + 1 : step + 5]:
                    follower.follow(later)
            follower = Follower(axes, STEPS, Keeper(folder, info), theta, done=step)
    return follower.rows()


def test_rows_are_those_of_the_stored_weights(path, directions):
    rows, stored = follow(path, directions), path.double()
    moved = stored - stored[0]
    exact = (
        {"rtol": 1e-12, "atol": 1e-12} if path.dtype == DOUBLE else {"rtol": 1e-5, "atol": 1e-7}
    )
    torch.testing.assert_close(rows[:, :K], moved @ directions.double().T, **exact)
    torch.testing.assert_close(rows[:, K], stored.square().sum(1), rtol=1e-6, atol=0)
    assert rows[0, K + 1].isnan()
    torch.testing.assert_close(rows[1:, K + 1], stored.diff(dim=0).square().sum(1), **exact)
    for index in range(POINTS):
        start, column = STEPS * index // POINTS, rows[:, K + 2 + index]
        times = torch.tensor(
            [start + lag for lag in spaced_lags(STEPS, PER_OCTAVE) if start + lag <= STEPS]
        )
        assert column.isfinite().nonzero().flatten().tolist() == times.tolist()
        exactly = (stored[times] - stored[start]).square().sum(1)
        torch.testing.assert_close(column[times], exactly, **exact)


def test_the_norm_is_as_exact_as_the_motion_is(directions, path):
    """Of far larger weights, whose squares float32 could not tell apart."""
    far = (100 + path.double()).to(path)
    rows, stored = follow(far, directions), far.double()
    change = rows[:, K] - rows[0, K]
    exactly = stored.square().sum(1) - stored[0].square().sum()
    assert (change - exactly).abs().max() < 1e-5 * exactly.abs().max()


@pytest.mark.parametrize("stops", [(1,), (7, 20), (SNAPSHOTS - 1, SNAPSHOTS), (31, 32, 33, 74)])
def test_a_break_changes_no_bit(stops, path, directions, tmp_path):
    whole = follow(path, directions)
    broken = follow(path, directions, tmp_path, stops)
    assert torch.equal(whole.nan_to_num(-1.0), broken.nan_to_num(-1.0))


def test_lags_are_evenly_spaced_on_a_logarithmic_axis():
    lags = spaced_lags(20_000, PER_OCTAVE).tolist()
    assert lags[:4] == [1, 2, 3, 4] and lags[-1] == 20_000 and len(lags) < 120
    ratios = torch.tensor(lags).double().log2().diff()[20:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 1 / 8), atol=0.03, rtol=0)
    assert spaced_lags(1, PER_OCTAVE).tolist() == [1]


def test_slices_change_the_rounding_alone(path, directions, monkeypatch):
    whole = follow(path, directions)
    monkeypatch.setattr(trajectory, "SLICE", 64)
    tolerance = 1e-12 if path.dtype == DOUBLE else 1e-6
    torch.testing.assert_close(
        whole, follow(path, directions), rtol=10 * tolerance, atol=tolerance, equal_nan=True
    )
