"""What the executions of pages share, and their findings, listed with their outcomes."""

import os

import pytest
import warm_kernels
from nbclient import NotebookClient

# A kernel holds nothing to be saved, and its orderly end takes seconds.
NotebookClient.shutdown_kernel.default_value = "immediate"


@pytest.fixture(scope="session", autouse=True)
def forked_kernels():
    """Kernels begin as they do in a build."""
    warm_kernels.install()


@pytest.fixture
def runs_of_pages(tmp_path_factory, monkeypatch):
    """A run that pages share is made once: for all workers, as for all kernels of a build."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    monkeypatch.setenv("STATIONARITY_RUNS", str(place / "runs-of-pages"))


def pytest_terminal_summary(terminalreporter):
    passed = terminalreporter.getreports("passed")
    found = [
        pair for report in passed for pair in report.user_properties if pair[0] == "finding"
    ]
    if found:
        terminalreporter.section("findings of the pages, at the tests' small settings")
    for _, line in found:
        terminalreporter.line(line)
