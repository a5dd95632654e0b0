"""Kernels that have imported what every page imports: half of a short page's time.

A process imports it, does nothing else, and forks for each kernel, so that each begins in the
same state and knows nothing of another. A kernel in another environment is a process of its
own, as always, and so is each where systems do not fork safely.
"""

import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy
import psutil
from jupyter_client.provisioning import local_provisioner

IMPORTED = (
    "ipykernel.ipkernel",
    "sklearn.datasets",
    "stationarity.book.page",
    "stationarity.book.results",
    "stationarity.chapters.bootstrap",
    "stationarity.chapters.scales",
    "stationarity.chapters.training_plots",
    "stationarity.nets.resnets",
    "torch._dynamo",
)
COMMAND = ["-m", "ipykernel_launcher"]
READ_LATER = "STATIONARITY_", "JPY_", "PYTEST_"  # variables that no import looks at
INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as a kernel sets it
launch_plainly = local_provisioner.launch_kernel


class Kernel(psutil.Process):
    """A kernel's process as its manager looks at one, though it is another's child."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return None if self.is_running() else 0


class Parent:
    """The process that forks, until this one ends and those that it has forked."""

    def __init__(self):
        self.address = str(Path(tempfile.mkdtemp(prefix="kernels-")) / "socket")
        self.env = dict(os.environ)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            given = listener.fileno()
            line = [sys.executable, __file__, str(given), self.address]
            how = {"stdin": subprocess.PIPE, "pass_fds": [given], "env": self.env | INLINE}
            self.process = subprocess.Popen(line, **how)

    def launch(self, command: list[str], env=None, cwd=None, independent=False, **how):
        """Return a kernel's process, as jupyter_client's ``launch_kernel`` does."""
        env = dict(os.environ) if env is None else env
        same = not any(
            env.get(key) != self.env.get(key)
            for key in env.keys() | self.env.keys()
            if not key.startswith(READ_LATER)
        )
        with suppress(OSError, ValueError, psutil.Error):
            if same and command[1:3] == COMMAND and not independent:
                return Kernel(self._forked(command[3:], env, str(cwd or Path.cwd())))
        return launch_plainly(command, env=env, cwd=cwd, independent=independent, **how)

    def _forked(self, *asked) -> int:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.address)
            connection.sendall(json.dumps(asked).encode() + b"\n")
            return int(connection.makefile().readline())


def install() -> None:
    """Let the kernels be forked that this process launches, and the processes it forks."""
    if sys.platform == "linux" and local_provisioner.launch_kernel is launch_plainly:
        local_provisioner.launch_kernel = Parent().launch


def serve(given: int, address: str) -> None:
    """Fork a kernel for each line that comes to a socket, until standard input ends."""
    del sys.path[0]  # the folder of this file
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    with socket.socket(fileno=given) as listener:
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                asked = json.loads(connection.makefile().readline())
                if not os.fork():
                    os.setsid()  # before anyone asks for its group
                    connection.sendall(f"{os.getpid()}\n".encode())
                    break
        else:
            shutil.rmtree(Path(address).parent)
            return
    be_kernel(*asked)


def be_kernel(arguments: list[str], env: dict, cwd: str) -> None:
    """Be a kernel, as ``python -m ipykernel_launcher`` is one."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(env | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(cwd)
    numpy.random.seed()  # from entropy, as if it had just been imported
    sys.argv[1:] = arguments
    runpy.run_module(COMMAND[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
