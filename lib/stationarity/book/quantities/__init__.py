"""What decides the claims of the ledger: numbers of a run, with their intervals.

Source: our section "The ledger of claims".
"""

import math
from collections.abc import Callable

import pandas as pd

from ...runs import records
from ...runs.records import Run
from ...stats.estimate import Estimate
from .motion import (
    displacement_exponent,
    displacement_ratio,
    distance_from_brownian,
    exact_error,
    exact_minibatch_error,
    exact_reshuffled_error,
    exponent_change,
    followed_loss_change,
    gibbs_variance_ratio,
    isotropic_exponent,
    langevin_error,
    langevin_error_largest_rate,
    late_displacement_ratio,
    late_exponent_difference,
    mode_frequency_ratio,
    mode_speed_ratio,
    mode_variance_ratio,
    ornstein_uhlenbeck_change,
    oscillation_ratio,
    position_rotation_ratio,
    rotation_ratio,
    speed_ratio,
    temperature_exponent,
    variance_ratio,
)
from .weights import (
    balance_ratio,
    largest_shift,
    replica_shift,
    settled_loss_change,
    smallest_gradient_ratio,
    smallest_regularised_ratio,
)

QUANTITIES: dict[str, Callable[[Run], Estimate]] = {
    quantity.__name__: quantity
    for quantity in (
        smallest_gradient_ratio,
        smallest_regularised_ratio,
        settled_loss_change,
        balance_ratio,
        largest_shift,
        replica_shift,
        displacement_exponent,
        distance_from_brownian,
        exponent_change,
        ornstein_uhlenbeck_change,
        followed_loss_change,
        langevin_error,
        langevin_error_largest_rate,
        exact_error,
        exact_minibatch_error,
        exact_reshuffled_error,
        rotation_ratio,
        position_rotation_ratio,
        oscillation_ratio,
        variance_ratio,
        gibbs_variance_ratio,
        temperature_exponent,
        isotropic_exponent,
        speed_ratio,
        displacement_ratio,
        late_displacement_ratio,
        late_exponent_difference,
        mode_variance_ratio,
        mode_speed_ratio,
        mode_frequency_ratio,
    )
}

# What the numbers of the paper's Figure 1 yield, too.
READ_OFF = ("smallest_gradient_ratio", "settled_loss_change")


def figure_1() -> Run:
    """Return the paper's Figure 1 as a run, for its values beside ours.

    Its gradient norm is the naive one, and its loss that of one minibatch.
    """
    curve = records.reference("zhang2022-figure1")
    series = {"loss": curve.train_loss, "gradient_norm_squared": curve.gradient_norm**2}
    # A point is the mean of its epoch: it lies in the middle of it.
    frames = [
        pd.DataFrame({"epoch": curve.epoch + 0.5, "quantity": name, "value": values})
        for name, values in series.items()
    ]
    settings = {"schedule": "stages", "drops": [30, 60], "epochs": len(curve)}
    info = {"experiment": "imagenet_resnet", "settings": settings}
    run = Run(records.PROJECT / "book" / "reference", info)
    run.__dict__["metrics"] = pd.concat(frames, ignore_index=True).assign(
        error=math.nan
    )
    return run
