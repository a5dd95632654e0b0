"""What is told of nets that their decay keeps from learning."""

import warnings

import numpy as np
import pytest
from stationarity import launch
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.train import chance_level

FEW = {"examples": 96, "hidden": [4], "batch_size": 16, "label_noise": 0.0}
LAG = {"longest": 12, "members": 2, "spacing": 12, "burn_in": 4, "references": 1, "branches": 0}
LAG |= {key: [] for key in ("learning_rates", "batch_sizes", "momenta")}
STUDIES = {
    "diffusion": FEW | LAG | {"settle": 100, "weight_decays": [1.0, 0.0]},
    "deep_modes": FEW | {
        "burn_in": 100, "averaged": 20, "steps": 300, "discarded": 100, "replicas": 8,
        "modes": 3, "random_directions": 2, "points": 1, "draws": 2, "nodes": 3,
    },
    "settling": FEW | {
        "steps": 100, "drops": [], "members": 2, "measure_every": 20, "record_every": 20,
    },
    "replicas": FEW | {
        "burn_in": 100, "steps": 20, "trajectory": 40, "replicas": 3, "measure_every": 20,
        "record_every": 20,
    },
}  # fmt: skip


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", STUDIES)
def test_small_nets_that_decay_keeps_from_learning_are_told_of(name):
    changes = STUDIES[name] | {"weight_decay": 2.0, "learning_rate": 0.05}
    settings = get(name, overrides=changes)
    with pytest.warns(UserWarning, match="ln 10 = 2.30 .* lower") as told:
        launch.study_of(settings)(settings, Place())
    told = [str(one.message) for one in told if "nothing is learned" in str(one.message)]
    assert len(told) == (2 if name == "diffusion" else 1), told
    assert all("weight_decay=1 is" in one for one in told[1:])  # the variation is named


@pytest.mark.parametrize(
    ("losses", "steps", "own"),
    [
        ([np.log(10), 2.2], 1000, {}),  # one has learned
        ([np.log(10)] * 2, 10, {}),  # before a memory has passed
        ([np.log(10)] * 2, 1000, {"weight_decay": 0.0}),
    ],
)
def test_nets_that_learn_or_have_no_reason_yet_are_not_told_of(losses, steps, own):
    settings = get("settling", overrides={"weight_decay": 0.1})
    told = "The loss", losses, 10, settings, steps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chance_level.tell(*told, **own)
    with pytest.warns(UserWarning, match="nothing is learned"):
        chance_level.tell("The loss", [np.log(10)] * 2, 10, settings, 1000)
