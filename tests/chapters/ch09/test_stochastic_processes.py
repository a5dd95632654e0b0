"""The known processes have the laws that are said of them."""

import numpy as np
import pytest
from stationarity.chapters.ch09_anomalous_diffusion import stochastic_processes
from stationarity.chapters.ch09_anomalous_diffusion.settings import WalkStudy
from stationarity.errors import UsageError
from stationarity.runs.settings import get
from stationarity.stats import displacement

LAGS = displacement.spaced_lags(64)
GENERATOR = np.random.default_rng


@pytest.mark.parametrize("hurst", [0.35, 0.5, 0.7])
def test_circulant_embedding_draws_the_covariance_of_fractional_motion(hurst):
    paths = stochastic_processes.fractional(GENERATOR(5), 4000, 9, 5, hurst)[:, 1:]
    found = np.einsum("mti,msi->ts", paths, paths) / 20000
    t = np.arange(1.0, 10)
    powers = t[:, None] ** (2 * hurst) + t ** (2 * hurst)
    exact = (powers - np.abs(t[:, None] - t) ** (2 * hurst)) / 2
    error = np.sqrt((np.outer(exact.diagonal(), exact.diagonal()) + exact**2) / 20000)
    assert (np.abs(found - exact) < 4.5 * error).all()


def test_known_processes_have_the_displacement_that_is_said_of_them():
    settings = WalkStudy(members=2000, dimensions=4, longest=64)
    for draw, argument, law in stochastic_processes.processes(settings).values():
        paths = draw(GENERATOR(6), 2000, 64, 4, argument)
        found = stochastic_processes.squared_displacements(paths, LAGS)[:, 0].mean(0) / 4
        assert found == pytest.approx(law(LAGS.astype(float)), rel=0.08)


def test_a_hurst_index_out_of_range_is_refused():
    with pytest.raises(UsageError, match="hurst.0 must be less than 1"):
        get("walks", overrides={"hurst": [1.0]})
