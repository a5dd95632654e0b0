"""What every test has in common."""
import os

import matplotlib
import pytest
import torch

matplotlib.use("Agg")  # no window; not MPLBACKEND, which kernels would inherit


@pytest.fixture(scope="session", autouse=True)
def apart_from_the_reader(tmp_path_factory):
    """Keep the tests off the reader's own runs, data and settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("STATIONARITY_")]:
            patch.delenv(name)
        patch.delenv("MPLBACKEND", raising=False)
        patch.setenv("STATIONARITY_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def one_thread():
    """Nets this small only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
