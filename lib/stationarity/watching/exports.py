"""Writers that a watch gives its numbers to, as it finds them.

    watch(..., also=[TensorBoard("logs"), WeightsAndBiases(project="mine")])

A writer has ``write(quantity, steps, values)``, called with a few steps at a time, and
``close()``. Of what is noted each step it gets every eighth, as writing takes time. Each
package is imported only where its writer is made. The run's own table is always there, whole:
``metrics.parquet``, and as CSV by ``stationarity report RUN --csv``.
"""

import importlib
import math

from ..errors import UsageError

PREFIX = "stationarity/"  # of names in what others show


def needed(module: str, package: str):
    """Import a module; :class:`UsageError` that names the package where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UsageError(f"{package} is not installed: pip install {package}.") from None


class TensorBoard:
    """Writes scalars into a folder that TensorBoard shows, or with a writer of yours."""

    def __init__(self, folder=None, writer=None):
        self.begun = writer is None
        if self.begun:
            needed("tensorboard", "tensorboard")
            writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(folder)
        self.writer = writer

    def write(self, quantity: str, steps, values) -> None:
        for step, value in zip(steps, values):
            if math.isfinite(value):
                self.writer.add_scalar(PREFIX + quantity, float(value), int(step))

    def close(self) -> None:
        if self.begun:
            self.writer.close()
        else:
            self.writer.flush()


class WeightsAndBiases:
    """Logs to a run of Weights & Biases: one that is given or active, else one it begins.

    The numbers have an axis of their own, ``stationarity/step``: they come later than yours
    of the same step. Into a run that is not begun here they go with your next row, the latest
    of each: rows of their own would count as steps, and W&B drops what is logged with the
    number of an earlier one.
    """

    def __init__(self, run=None, **settings):
        wandb = needed("wandb", "wandb")
        self.begun = run is None and wandb.run is None
        self.run = run or wandb.run or wandb.init(**settings)
        self.run.define_metric(f"{PREFIX}*", step_metric=f"{PREFIX}step")

    def write(self, quantity: str, steps, values) -> None:
        pairs = [(step, value) for step, value in zip(steps, values) if math.isfinite(value)]
        for step, value in pairs if self.begun else pairs[-1:]:
            row = {PREFIX + quantity: float(value), f"{PREFIX}step": int(step)}
            self.run.log(row, commit=self.begun)

    def close(self) -> None:
        if self.begun:
            self.run.finish()
