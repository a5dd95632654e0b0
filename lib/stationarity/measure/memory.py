"""A device's memory: how much is free, and that a CPU's is not given back in vain."""

import contextlib
import ctypes
import platform
from pathlib import Path

import psutil
import torch

GROUP = "memory.max", "memory.current"  # of a control group, such as a container's
TRIM, MMAP = -1, -3  # glibc's numbers of M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
GLIBC = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
KEEPING = []  # an entry for each block that keeps memory


def spare_memory(device: torch.device) -> int:
    """Return the bytes that are free; what a CPU's process keeps for later is not."""
    if device.type == "cuda":
        used = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + used
    spare = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no control group, or one without a limit
        limit, used = (int(Path("/sys/fs/cgroup", name).read_text("utf-8")) for name in GROUP)
        spare = min(spare, limit - used)
    return spare


@contextlib.contextmanager
def kept_memory():
    """Keep what is freed inside for what comes next: a sixth of a ResNet-18's time on a CPU.

    A step or a product frees nearly all that it took, and glibc is given it anew, page by page.
    At the end what is free goes back, and glibc's limits are those to which it goes by itself.
    """
    if not GLIBC:
        yield
        return
    KEEPING.append(GLIBC.mallopt(MMAP, 2**30) or GLIBC.mallopt(MMAP, 2**25))  # older: no more
    GLIBC.mallopt(TRIM, -1)
    try:
        yield
    finally:
        KEEPING.pop()
        if not KEEPING:
            GLIBC.mallopt(MMAP, 2**25)
            GLIBC.mallopt(TRIM, 2**26)
            GLIBC.malloc_trim(0)
