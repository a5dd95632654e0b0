"""The experiments of chapter 6: they run, repeat, and refuse bad settings in a sentence."""

import numpy as np
import pytest
import stationarity
from stationarity import UsageError
from stationarity.launch import study_of
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = {
    "descent_map": {"times": (5, 20), "trajectories": 3},
    "finite_chains": {"states": 11, "times": (1, 4)},
    "noisy_plane": {"steps": 20, "trajectories": 5},
    "double_well": {"steps": 10, "trajectories": 3},
    "two_identities": {
        "examples": 24, "batch_size": 4, "edges": (10, 20), "stride": 5, "replicates": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SHORT)
def test_every_experiment_runs_and_repeats(name):
    first = stationarity.run(name, settings=SHORT[name], device="cpu")
    assert first.complete and np.isfinite(first.metrics.value).all()
    again = metrics.frame(study_of(first.settings)(first.settings, Place()))
    assert again.value.equals(first.metrics.value)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("descent_map", {"trajectories": 1}, "trajectories must be greater than or equal to 2"),
        ("finite_chains", {"states": 1}, "states must be greater than or equal to 2"),
        ("noisy_plane", {"learning_rate": 9.0}, "too large"),
        ("noisy_plane", {"curvatures": (1.0, -0.2)}, "must be positive"),
        ("noisy_plane", {"curvatures": (1.0,)}, "curvatures.1 is missing"),
        (
            "noisy_plane",
            {"noise_variances": (1.0, -1.0)},
            "noise_variances.1 must be greater than or equal to 0",
        ),
        ("noisy_plane", {"trajectories": 1}, "trajectories must be greater than or equal to 2"),
        ("double_well", {"learning_rate": 2.0}, "leave for good"),
        ("double_well", {"widths": (-0.1,)}, "widths.0 must be greater than or equal to 0"),
        ("double_well", {"trajectories": 1}, "trajectories must be greater than or equal to 2"),
        ("two_identities", {"batch_size": 7}, "no multiple"),
        ("two_identities", {"stride": 5}, "share no factor"),
        ("two_identities", {"edges": (140, 141)}, "rise by at least the stride"),
        ("two_identities", {"label_noise": 1.5}, "label_noise must be less than 1"),
        ("two_identities", {"replicates": 1}, "replicates must be greater than or equal to 2"),
        ("two_identities", {"momentum": 1.0}, "momentum must be less than 1"),
    ],
)
def test_bad_settings_raise_one_clear_sentence(name, values, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        stationarity.run(name, settings=values, device="cpu")
    assert "\n" not in str(caught.value)
