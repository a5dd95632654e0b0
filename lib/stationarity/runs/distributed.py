"""One run on several processes: each computes its share of every batch.

``torchrun`` starts them; alone, everything here does nothing. PyTorch's
DistributedDataParallel averages the gradients of a step; what is measured, this module.
Source: our section "Running at full size".
"""

import contextlib
import os
import re
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import UsageError


def number(name: str, usual: int) -> int:
    """Return a number that ``torchrun`` sets; :class:`UsageError` where it is none."""
    if re.fullmatch("[0-9]{1,9}", value := os.environ.get(name) or str(usual)):
        return int(value)
    raise UsageError(f"{name}={value} is no number: start the run by torchrun, or unset it.")


def started() -> int:
    """Return how many processes ``torchrun`` has started; :class:`UsageError` if in part."""
    if not os.environ.get("WORLD_SIZE"):
        return 1
    count, rank, local = (number(name, 0) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    names = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "LOCAL_WORLD_SIZE")
    whole = count == 1 or all(map(os.environ.get, names[:-1]))
    if not (whole and rank < count and local < number(names[-1], count) <= count):
        said = ", ".join(f"{name}={os.environ.get(name, '')}" for name in names)
        said = f"WORLD_SIZE={count} cannot be with {said}"
        raise UsageError(f"{said}: start the run by torchrun, or unset WORLD_SIZE.")
    return count


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Join what ``torchrun`` started, and part at the end; UsageError where none can meet."""
    joins = started() > 1 and not dist.is_initialized()
    if joins:
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            dist.init_process_group(backend)
        except (RuntimeError, ValueError) as error:
            said = "The processes of this run cannot meet at MASTER_ADDR and MASTER_PORT"
            reason = str(error).splitlines()[0]
            raise UsageError(f"{said} ({reason}): start the run by torchrun.") from None
    try:
        yield
    finally:
        if joins:
            dist.destroy_process_group()


def cores() -> int:
    """Return how many CPU cores this process may use; macOS tells of all."""
    return len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0))


def rank() -> int:
    """Return the number of this process, 0 for the first, which writes the files."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Return the number W of processes that have joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def key() -> tuple:
    """Return what makes a random seed this process's own; nothing for the first."""
    return (rank(),) if rank() else ()


def share(count: int) -> slice:
    """Return which of ``count`` items are this process's: of all as many, give or take one."""
    return slice(count * rank() // size(), count * (rank() + 1) // size())


def mean(values: Tensor) -> Tensor:
    """Average a tensor over the processes, in place; return it."""
    return total(values).div_(size()) if size() > 1 else values


def total(values: Tensor) -> Tensor:
    """Add a tensor up over the processes, in place; return it."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def joined_up(values: Tensor, dim: int) -> Tensor:
    """Return the shares of all processes, in their order along a dimension."""
    if size() == 1:
        return values
    shares = [torch.empty_like(values) for _ in range(size())]
    dist.all_gather(shares, values.contiguous())
    return torch.cat(shares, dim)


def of_first(number: int, device="cpu") -> int:
    """Return the number that the first process gave."""
    alone = size() == 1
    return number if alone else joined_up(torch.tensor([number], device=device), 0)[0].item()


def equal_buffers(model: torch.nn.Module) -> None:
    """Give the model's buffers the values they have in the first process."""
    if size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def wait() -> None:
    """Wait for the other processes."""
    if size() > 1:
        dist.barrier()
