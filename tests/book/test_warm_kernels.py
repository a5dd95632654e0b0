"""Kernels that are forked: as fresh as others, and ended as they are."""

import contextlib
import multiprocessing
import os
import signal
import socket
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
HERE = "import os; print(os.getppid(), os.getpgid(0) == os.getpid(), os.getcwd(), sys.path)"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux alone")


@pytest.fixture(scope="module")
def parent():
    one = warm_kernels.Parent()
    yield one
    one.requests.close()
    assert one.process.wait(60) == 0


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
    assert str(Path(warm_kernels.__file__).parent) not in rest


def test_each_begins_anew(forked):
    outputs("import os, stationarity; stationarity.mark = os.environ['MARK'] = '1'")
    ask = "import os, stationarity; print(hasattr(stationarity, 'mark'), 'MARK' in os.environ)"
    assert text(outputs(ask)[0]) == "False False"
    draw = "import random, numpy, torch; print(random.random(), numpy.random.random()); "
    draw += "print(torch.rand(1).item())"
    (first,), (second,) = outputs(draw), outputs(draw)
    assert not set(text(first).split()) & set(text(second).split())


def test_variables_of_the_library_and_figures_come_as_ever(forked, monkeypatch):
    monkeypatch.setenv("STATIONARITY_MARK", "here")
    ask = "import os; print(os.getenv('STATIONARITY_MARK'))"
    figure = "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()"
    loaded, mark, shown = outputs(LOADED, ask, figure)
    assert (text(loaded), text(mark)) == ("True", "here")
    assert any("image/png" in one.get("data", {}) for one in shown)
    monkeypatch.delenv("STATIONARITY_MARK")
    assert text(outputs(ask)[0]) == "None"


def test_another_environment_has_a_kernel_of_its_own(forked, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    assert text(outputs(LOADED)[0]) == "False"


def test_a_parent_that_died_or_sleeps_is_done_without(monkeypatch):
    parent = warm_kernels.Parent()
    monkeypatch.setattr(local_provisioner, "launch_kernel", parent.launch)
    monkeypatch.setattr(warm_kernels, "PATIENCE", 0.1)
    parent.process.send_signal(signal.SIGSTOP)
    assert text(outputs(LOADED)[0]) == "False"
    parent.process.kill()
    parent.process.wait()
    assert text(outputs(LOADED)[0]) == "False"


def test_a_request_that_nobody_waits_for_harms_no_other(forked):
    mine, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(forked.requests, [b"[[], {}, '']"], [theirs.fileno()])
    mine.close()
    assert text(outputs(LOADED)[0]) == "True"


def test_a_kernel_that_dies_is_noticed(forked):
    with pytest.raises(nbclient.exceptions.DeadKernelError):
        outputs("import os; os.kill(os.getpid(), 9)")
    manager, client = jupyter_client.manager.start_new_kernel()
    client.stop_channels()
    psutil.Process(manager.provisioner.pid).kill()
    manager.shutdown_kernel(now=True)
    assert not manager.is_alive()


def test_a_kernel_is_interrupted(forked):
    manager, client = jupyter_client.manager.start_new_kernel()
    number = client.execute("import time; print('begun'); time.sleep(100)")
    while client.get_iopub_msg(timeout=60)["content"].get("text") != "begun\n":
        continue
    manager.interrupt_kernel()
    while (reply := client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != number:
        continue
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def _begin_one(numbers) -> None:
    manager, _ = jupyter_client.manager.start_new_kernel()
    numbers.put(manager.provisioner.pid)
    time.sleep(600)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_kernel_ends_with_the_process_that_it_is_for(forked, number):
    context = multiprocessing.get_context("fork")  # as the build's
    numbers = context.Queue()
    process = context.Process(target=_begin_one, args=(numbers,), daemon=True)
    process.start()
    kernel = psutil.Process(numbers.get(timeout=60))
    assert kernel.ppid() == forked.process.pid
    os.kill(process.pid, number)
    process.join()
    with contextlib.suppress(psutil.NoSuchProcess):
        kernel.wait(10)
    assert not kernel.is_running()
