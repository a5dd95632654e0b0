"""Kernels that are forked: as fresh as others, and ended as they are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jupyter_client
import nbclient
import psutil
import pytest
import warm_kernels
from jupyter_client.provisioning import local_provisioner
from nbformat.v4 import new_code_cell, new_notebook

LOADED = "import sys; print({'torch', 'seaborn', 'stationarity.launch'} <= sys.modules.keys())"
HERE = "import os; print(os.getppid(), os.getpgid(0) == os.getpid(), os.getcwd(), sys.path[:2])"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@pytest.fixture(scope="module")
def parent():
    one = warm_kernels.Parent()
    yield one
    one.process.stdin.close()
    assert one.process.wait(60) == 0
    assert not Path(one.address).parent.exists()


@pytest.fixture
def forked(parent, monkeypatch):
    monkeypatch.setattr(local_provisioner, "launch_kernel", parent.launch)
    return parent


def outputs(*cells: str, cwd: Path | None = None) -> list[list]:
    """Execute cells in a kernel of their own; return the outputs of each."""
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    nbclient.execute(notebook, cwd=cwd and str(cwd))
    return [cell.outputs for cell in notebook.cells]


def text(output: list) -> str:
    return "".join(one.get("text", "") for one in output).strip()


def test_a_forked_kernel_has_imported_what_pages_import(forked, tmp_path):
    loaded, here = map(text, outputs(LOADED, HERE, cwd=tmp_path))
    number, own_group, rest = here.split(maxsplit=2)
    assert loaded == "True"
    assert (int(number), own_group) == (forked.process.pid, "True")
    assert rest.startswith(str(tmp_path))
    assert "_ext" not in rest


def test_each_begins_anew(forked):
    outputs("import os, stationarity; stationarity.mark = os.environ['MARK'] = '1'")
    ask = "import os, stationarity; print(hasattr(stationarity, 'mark'), 'MARK' in os.environ)"
    assert text(outputs(ask)[0]) == "False False"
    draw = "import random, numpy; print(random.random(), numpy.random.random())"
    (first,), (second,) = outputs(draw), outputs(draw)
    assert not set(text(first).split()) & set(text(second).split())


def test_variables_of_the_library_and_figures_come_as_ever(forked, monkeypatch):
    monkeypatch.setenv("STATIONARITY_MARK", "here")
    figure = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
    loaded, mark, shown = outputs(
        LOADED, "import os; print(os.getenv('STATIONARITY_MARK'))", figure
    )
    assert (text(loaded), text(mark)) == ("True", "here")
    assert any("image/png" in one.get("data", {}) for one in shown)


def test_another_environment_has_a_kernel_of_its_own(forked, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert text(outputs(LOADED)[0]) == "False"


def test_a_parent_that_died_is_done_without(monkeypatch):
    parent = warm_kernels.Parent()
    parent.process.kill()
    parent.process.wait()
    monkeypatch.setattr(local_provisioner, "launch_kernel", parent.launch)
    assert text(outputs(LOADED)[0]) == "False"


def test_a_kernel_that_dies_is_noticed(forked):
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        outputs("import os; os.kill(os.getpid(), 9)")


def test_a_kernel_ends_with_its_manager_and_with_its_parent(forked):
    manager, client = jupyter_client.manager.start_new_kernel()
    kernel = psutil.Process(manager.provisioner.pid)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    kernel.wait(10)
    program = (
        "import os, sys, time, jupyter_client, warm_kernels; warm_kernels.install()\n"
        "manager, _ = jupyter_client.manager.start_new_kernel()\n"
        "print(manager.provisioner.pid, flush=True); time.sleep(600)"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    how = {"stdout": subprocess.PIPE, "text": True, "env": env}
    with subprocess.Popen([sys.executable, "-c", program], **how) as process:
        kernel = psutil.Process(int(process.stdout.readline()))
        assert kernel.is_running()
        process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    kernel.wait(30)
    assert time.monotonic() - began < 30
