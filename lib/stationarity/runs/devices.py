"""The device of a run, and the threads of the CPU."""

import contextlib

import torch

from ..errors import UsageError
from . import distributed


def usable_device(device: str | None, devices: int = 1) -> str:
    """Return a device that is here: by default a GPU where there is one, else the CPU.

    Raises :class:`UsageError` where it is not here, or not as often as ``devices`` says.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if own := device == "cuda" and distributed.started() > 1:
        device = f"cuda:{distributed.number('LOCAL_RANK', 0)}"
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, TypeError, ImportError):
        said = f"There is no device {device!r} here that computes"
        raise UsageError(f"{said}: cpu does, and cuda where there is a GPU.") from None
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
