"""What every test has in common."""

import collections
import contextlib
import os

import matplotlib
import pytest
import torch
from hub import Hub
from threadpoolctl import threadpool_limits

matplotlib.use("Agg")  # no window; not MPLBACKEND, which kernels would inherit


def pytest_addoption(parser):
    told = "fail where a test is skipped, but for those with this in their names"
    parser.addoption("--no-skip-but", metavar="NAME", help=told)
    told = "execute the class copies of all chapters, not of two"
    parser.addoption("--every-copy", action="store_true", help=told)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Let a test fail that may not be skipped here."""
    report = yield
    allowed = item.config.getoption("no_skip_but")
    if allowed and report.skipped and allowed not in item.name:
        report.outcome, report.longrepr = "failed", f"It was skipped: {report.longrepr[-1]}"
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give a worker whole files, whose fixtures are made once; but pages one by one."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if "::test_execution[" in nodeid else super()._split_scope(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Begin with the pages, then with the largest files: at the end no worker waits long."""
    files = collections.Counter(item.path for item in items)
    items.sort(key=lambda item: ("::test_execution[" not in item.nodeid, -files[item.path]))


@pytest.fixture(scope="session", autouse=True)
def apart_from_the_reader(tmp_path_factory):
    """Keep the tests off the reader's own runs, data and settings, and workers off others'."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("STATIONARITY_")]:
            patch.delenv(name)
        for name in ("MPLBACKEND", "PYTHONDONTWRITEBYTECODE"):  # each process would compile
            patch.delenv(name, raising=False)
        patch.setenv("STATIONARITY_RUNS", str(tmp_path_factory.mktemp("runs")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("STATIONARITY_CORES", "1")  # a worker executes a page on its own
        patch.setattr(os, "fsync", lambda file: None)  # no test cuts the machine's power
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
        threads = max(torch.get_num_threads() // workers, 1)
        torch.set_num_threads(threads)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # of processes it starts
            patch.setenv(name, str(threads))
        with threadpool_limits(threads, user_api="blas"):  # NumPy's, which spin while they wait
            yield


@pytest.fixture(scope="module")
def one_thread():
    """Nets this small only wait for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Return a function that begins to serve a dataset, as the hub does."""
    from huggingface_hub import constants

    with contextlib.ExitStack() as stack:

        def begin(repository: str, files: dict[str, bytes]) -> Hub:
            hub = Hub(repository, files)
            address = stack.enter_context(hub.serving())
            monkeypatch.setattr(constants, "ENDPOINT", address)
            url = address + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
            return hub

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "STATIONARITY_DATA"):
            monkeypatch.delenv(name, raising=False)
        yield begin
