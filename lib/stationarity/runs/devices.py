"""The device of a run, the threads of the CPU, and the processes of several devices."""

import contextlib
import sys

import torch

from ..errors import UsageError
from . import distributed, progress


def usable_device(device: str | None, devices: int = 1) -> str:
    """Return a device that is here: by default a GPU where there is one, else the CPU.

    Raises :class:`UsageError` where it is not here, or not as often as ``devices`` says, and
    where PyTorch's defaults would give a run other numbers.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if own := device == "cuda" and distributed.started() > 1:
        device = f"cuda:{distributed.number('LOCAL_RANK', 0)}"
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError, ImportError):
        said = f"There is no device {device!r} here that computes"
        raise UsageError(f"{said}: cpu does, and cuda where there is a GPU.") from None
    usual = torch.get_default_dtype() == torch.float32 and torch.empty(()).device.type == "cpu"
    if not usual or torch.is_autocast_enabled(torch.device(device).type):
        said = "PyTorch's default dtype or device is another here, or autocast is on"
        raise UsageError(f"{said}: undo torch.set_default_dtype and such before a run.")
    if own:
        torch.cuda.set_device(device)
    there = torch.cuda.device_count() if device == "cuda" else devices
    several = device in ("cpu", "cuda") and distributed.started() == 1
    if not 1 <= devices <= there or (devices > 1 and not several):
        said = f"devices={devices} cannot be with device={device!r}: it is a number from 1 on"
        gpus = torch.cuda.device_count()
        raise UsageError(f"{said}, without torchrun, of cpu or cuda, of which {gpus} are here.")
    return device


@contextlib.contextmanager
def threads(count: int):
    """Compute with so many CPU threads; 0 leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def start_processes(devices, name, scale, settings, data_root, device, other_code) -> None:
    """Make the run by ``torchrun`` on so many processes; :class:`UsageError` if they fail."""
    start = "-m torch.distributed.run --standalone --local-addr 127.0.0.1 --nproc-per-node"
    command = [sys.executable, *start.split(), str(devices), "-m", "stationarity", "run", name]
    command += ["--scale", scale, "--device", device]
    command += [f"--set={key}={value}" for key, value in settings]
    command += ["--data-root", str(data_root)] if data_root else []
    command += ["--other-code"] if other_code else []
    each = str(max(distributed.cores() // devices, 1))
    if status := progress.follow(command, {"OMP_NUM_THREADS": each}):
        said = f"The run of {name} on {devices} processes stopped (status {status}), see above"
        raise UsageError(f"{said}: the same call goes on from its last checkpoint.")
