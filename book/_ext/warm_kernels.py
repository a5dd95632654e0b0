"""Kernels that have imported what every page imports: most of a short page's time.

A process imports it, does nothing else, and forks for each kernel, so that each begins in the
same state and knows nothing of another. A kernel in another environment is a process of its
own, as always, and so is each where systems do not fork safely, or nobody answers. A forked
one ends with the process that it was made for.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
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
COMMAND = [sys.executable, "-m", "ipykernel_launcher"]
READ_LATER = "STATIONARITY_", "JPY_", "PYTEST_"  # variables that no import looks at
INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}  # as a kernel sets it
PATIENCE = 60.0  # seconds, of which the imports take some ten
LARGEST = 2**20  # bytes of what is asked
launch_plainly = local_provisioner.launch_kernel


class Kernel(psutil.Process):
    """A kernel's process as its manager looks at one, though it is another's child."""

    stdin = stdout = stderr = None

    def __init__(self, connection: socket.socket):
        connection.settimeout(PATIENCE)
        super().__init__(int(connection.recv(LARGEST)))
        self.connection = connection  # with which it ends

    def poll(self) -> int | None:
        return None if self.is_running() else 0

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            super().send_signal(number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Parent:
    """The process that forks, until this one ends and those that it has forked."""

    def __init__(self):
        self.env = dict(os.environ)
        self.requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            line = [sys.executable, __file__, str(theirs.fileno())]
            how = {"pass_fds": [theirs.fileno()], "env": self.env | INLINE}
            self.process = subprocess.Popen(line, **how)

    def launch(self, command: list[str], env=None, cwd=None, independent=False, **how):
        """Return a kernel's process, as jupyter_client's ``launch_kernel`` does."""
        env = dict(os.environ) if env is None else env
        same = not any(
            env.get(key) != self.env.get(key)
            for key in env.keys() | self.env.keys()
            if not key.startswith(READ_LATER)
        )
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            if same and command[:3] == COMMAND and not independent:
                mine, theirs = socket.socketpair()
                with theirs:
                    asked = json.dumps([command[3:], env, str(cwd or Path.cwd())]).encode()
                    socket.send_fds(self.requests, [asked], [theirs.fileno()])
                return Kernel(mine)
        return launch_plainly(command, env=env, cwd=cwd, independent=independent, **how)


def install() -> None:
    """Let the kernels be forked that this process launches, and the processes it forks."""
    if sys.platform == "linux" and local_provisioner.launch_kernel is launch_plainly:
        with contextlib.suppress(OSError):  # as where no more processes may be begun
            local_provisioner.launch_kernel = Parent().launch


def serve(requests: socket.socket) -> None:
    """Fork a kernel for each request, until nobody is left who could send one."""
    del sys.path[0]  # the folder of this file
    for name in IMPORTED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nor is this ended before who asks
    while (received := socket.recv_fds(requests, LARGEST, 1))[0]:
        with socket.socket(fileno=received[1][0]) as connection:
            if not os.fork():
                os.setsid()  # before anyone asks for its group
                connection.sendall(str(os.getpid()).encode())
                requests.close()
                be_kernel(*json.loads(received[0]), connection)
                return


def be_kernel(arguments: list[str], env: dict, cwd: str, connection: socket.socket) -> None:
    """Be a kernel, as ``python -m ipykernel_launcher`` is one, until a connection ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for key in [key for key in os.environ if key.startswith(READ_LATER)]:
        del os.environ[key]
    os.environ.update(env | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(cwd)
    numpy.random.seed()  # from entropy, as if they had just been imported
    sys.modules["torch"].seed()
    ended = threading.Thread(target=lambda: connection.recv(1) or os._exit(1), daemon=True)
    ended.start()
    sys.argv[1:] = arguments
    runpy.run_module(COMMAND[2], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
