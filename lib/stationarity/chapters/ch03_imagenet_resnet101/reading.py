"""What a training run says of its gradient and its loss, for the ledger."""

import math

from ...errors import UsageError
from ...runs import metrics, records
from ...runs.records import Run
from ...runs.settings import get
from ...stats.estimate import Estimate
from .. import levels, quantity

# What the numbers of the paper's Figure 1 yield, too.
READ_OFF = ("smallest_gradient_ratio", "settled_loss_change")


@quantity("TODO")
def smallest_gradient_ratio(run: Run) -> Estimate:
    """The settled gradient norm over the initial one, in the stage where it is least.

    Of the unbiased norm without decay; the stage with the smallest lower end counts.
    """
    return _smallest_ratio(run, "gradient_norm_squared")


@quantity("TODO")
def smallest_regularised_ratio(run: Run) -> Estimate:
    """The same of the gradient with the decay term."""
    return _smallest_ratio(run, "regularised_gradient_norm_squared")


def _smallest_ratio(run: Run, name: str) -> Estimate:
    table = levels.stage_levels(run, name)
    smallest = table.loc[table.ratio_low.idxmin()]
    return Estimate(*smallest[["ratio", "ratio_low", "ratio_high"]])


@quantity("TODO")
def settled_loss_change(run: Run) -> Estimate:
    """The last change of the loss, as a share of what it lost before.

    The change is that of a line through the settled part of the last stage.
    """
    change = levels.loss_change(run)
    if math.isnan(change.value):
        raise UsageError(f"The loss of {run.name} fell nowhere: there is no share to give.")
    return change


def figure_1() -> Run:
    """Return the paper's Figure 1 as a run, for its values beside ours.

    Its gradient norm is the naive one, and its loss that of one minibatch.
    """
    curve = records.reference("zhang2022-figure1")
    settings = get("imagenet_resnet", "paper").plain()  # with the stages of the figure
    info = {"experiment": "imagenet_resnet", "settings": settings}
    run = Run(records.PROJECT / "book" / "reference", info)
    # A point is the mean of its epoch: it lies in the middle of it.
    series = {"loss": curve.train_loss, "gradient_norm_squared": curve.gradient_norm**2}
    rows = [
        row
        for name, values in series.items()
        for row in metrics.rows(name, values, step=curve.epoch, epoch=lambda step: step + 0.5)
    ]
    run.__dict__["metrics"] = metrics.frame(rows)
    return run
