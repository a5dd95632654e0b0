"""Can this training be watched, and is it still the one that was? Else a sentence says why."""

from numbers import Integral
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from ..errors import UsageError


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the network within what wraps it for several processes or compiles it."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def most_for_sharpness(measure_batches: int) -> int:
    """Return of how many batches the curvature can be: as many others check it."""
    return max(measure_batches // 2, 1)


def check(name: str, every, measure_batches: int, sharpness_batches: int | None) -> None:
    """Raise :class:`UsageError` for what a watch cannot be made with."""
    if name in ("", "..") or Path(name).name != name:
        raise UsageError(f"The name {name!r} cannot be a folder's: give one without slashes.")
    if every is not None and (not isinstance(every, int) or every < 1):
        raise UsageError(f"every must be a positive number of steps, not {every!r}.")
    if measure_batches < 3 and measure_batches != 1:
        said = f"measure_batches={measure_batches} tell no noise with an error"
        raise UsageError(f"{said}: give at least 3, or 1 where it is the whole training set.")
    half = most_for_sharpness(measure_batches)
    if sharpness_batches is not None and not 1 <= sharpness_batches <= half:
        said = f"sharpness_batches={sharpness_batches} must be from 1 to {half}"
        half_of = f"half of measure_batches={measure_batches}, as many others check them"
        raise UsageError(f"{said}, {half_of}: give fewer, or raise measure_batches.")


def check_sizes(batch_size: int | None, measured_batch_size: int | None, accumulate) -> None:
    """Raise :class:`UsageError` for numbers of examples, or minibatches, that cannot be."""
    given = {"batch_size": batch_size, "measured_batch_size": measured_batch_size}
    for name, size in given.items():
        if size is not None and not size >= 1:
            raise UsageError(f"{name}={size} must be a number of examples, at least 1.")
    if not isinstance(accumulate, Integral) or accumulate < 1:
        said = f"accumulate={accumulate!r} must be a whole number of minibatches"
        raise UsageError(f"{said}, at least 1.")


def same_size(given: int, found: int) -> None:
    """Raise :class:`UsageError` where a step's batch has other rows than it has examples."""
    if given != found:
        said = f"batch_size={given}, and the first dimension of the training's own batch makes"
        remedy = "give measured_batch_size, the examples of a batch that is measured"
        raise UsageError(f"{said} a step of {found}: {remedy}.")


def one_number(loss) -> None:
    """Raise :class:`UsageError` for a loss that is not one number."""
    count = loss.numel() if isinstance(loss, Tensor) else np.size(loss)
    if count != 1:
        said = f"The loss that watch.step was given has {count} numbers"
        raise UsageError(f"{said}: give the mean loss of the step, one number.")


def check_device(device) -> None:
    """Raise :class:`UsageError` for one without numbers of 64 bits."""
    if device.type == "mps":
        said = "The model is on mps, which has no float64, in which sums over weights are kept"
        raise UsageError(f"{said}: train on a CPU or on CUDA to watch it.")


def same_model(watch) -> None:
    """Raise :class:`UsageError` where the model has other parameters than at the begin."""
    now = [p for p in watch.model.parameters() if p.requires_grad]
    if len(now) != len(watch.parameters) or any(
        one is not other for one, other in zip(now, watch.parameters)
    ):
        said = f"The model's trainable parameters changed: {len(watch.parameters)} tensors"
        told = f"when the watch began, {len(now)} now, not the same ones"
        raise UsageError(f"{said} {told}. Begin a new watch after such a change.")
    if watch.optimizer and len(watch.optimizer.param_groups) != watch.steps.groups:
        raise UsageError("The optimizer has got parameter groups: begin a new watch then.")
