"""The criteria on runs: every verdict, and the control that must come out otherwise."""

import numpy as np
import pandas as pd
import pytest
import stationarity
from stationarity.chapters import levels
from stationarity.chapters.trends import level
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.settings import get
from stationarity.stats.estimate import Estimate


def run_with(tmp_path, quantity="gradient_norm_squared", values=(), errors=0.01, **settings):
    """Return a run of 12 epochs with a series of values, one an epoch."""
    given = get("imagenet_resnet").but(schedule="constant", drops=(), epochs=12)
    info = {"experiment": "imagenet_resnet", "settings": given.but(**settings).plain()}
    at = {"step": range(len(values)), "epoch": float}
    return records.write(tmp_path, info, metrics.rows(quantity, values, errors, **at))


def test_a_share_is_told_in_per_cent(tmp_path):
    run = run_with(tmp_path, "weight_norm", [1.0, 3.0])
    assert levels.last_percentage(run, "accuracy") == "not measured"
    assert levels.last_percentage(run, "weight_norm") == "300.0 %"


@pytest.mark.parametrize(
    "values, verdict",
    [
        (np.exp(-2 * np.arange(13.0)), "vanishes"),
        (0.2 + np.exp(-2 * np.arange(13.0)), "does not vanish"),
        (np.concatenate([[1.0], np.tile([0.4, -0.4], 6)]), "undecided"),
    ],
)
def test_the_criterion_can_give_every_verdict(tmp_path, values, verdict):
    table = levels.stage_levels(run_with(tmp_path, values=values, errors=1e-9))
    assert table.verdict.tolist() == [verdict]


def test_stages_end_where_the_step_size_drops(tmp_path):
    run = run_with(tmp_path, values=np.ones(13), schedule="stages", drops=[4, 8, 40])
    assert levels.stages(run.settings) == [(0, 4), (4, 8), (8, 12)]


def test_the_correlation_of_few_residuals_has_its_own_expectation():
    generator = np.random.default_rng(0)
    assert np.isclose(levels.white_lag(range(10)), -0.2, atol=0.005)
    times = np.array([0, 1, 2, 5, 7, 8.0])
    lags = [level(times, noise).lag for noise in generator.standard_normal((4000, 6))]
    assert np.isclose(levels.white_lag(times), np.mean(lags), atol=0.02)


def test_intervals_hold_jointly(tmp_path):
    """Of all stages at once: white noise leaves none of three intervals in 95 %."""
    generator, missed = np.random.default_rng(0), {True: 0, False: 0}
    run = run_with(tmp_path, values=np.ones(13), schedule="stages", drops=[4, 8])
    for _ in range(120):
        noise = generator.standard_normal(13)
        made = levels.made_up(
            run, "gradient_norm_squared", lambda window, *_, n=noise: n[window.index]
        )
        for jointly in missed:
            table = levels.stage_levels(made, jointly=jointly)
            missed[jointly] += not ((table.low < 0) & (table.high > 0)).all()
    assert missed[True] < 0.1 * 120 < missed[False]


def test_a_mean_over_stages_counts_the_best_known_most(tmp_path):
    table = pd.DataFrame({"value": [1.0, 3.0], "high": [1.3, 3.4], "weight": [0.5, 0.5]})
    assert np.allclose(levels.weighted(table), (2, 1.75, 2.25))


def test_too_little_is_refused(tmp_path):
    with pytest.raises(UsageError, match="has three measurements in its settled part"):
        levels.stage_levels(run_with(tmp_path, values=np.ones(3)))
    with pytest.raises(UsageError, match="measure it with more minibatches"):
        levels.ratio_to_start(Estimate.of(1.0, 0.1), -1.0)


def test_a_start_that_is_not_known_leaves_the_levels(tmp_path):
    values = np.r_[-5.0, np.ones(12)]
    table = levels.stage_levels(run_with(tmp_path, values=values))
    assert table["mean"].tolist() == [1] * len(table) and table.ratio.isna().all()
    assert set(table.verdict) == {"undecided"}


def test_one_criterion_tells_descent_from_noise(tmp_path, monkeypatch):
    """The control, a run of full-batch descent, must come out otherwise."""
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    run = stationarity.run("full_batch", settings={"epochs": 1500})
    quantity = "regularised_gradient_norm_squared"
    assert levels.stage_levels(run, quantity).verdict.tolist() == ["vanishes"]
