"""The criteria: known answers, and their error rates by simulation."""
import numpy as np
import pytest
import stationarity
from stationarity import UsageError
from stationarity.runs import records
from stationarity.train.loop import levels

TIMES = np.arange(12.0)


def run_with(tmp_path, values, errors=0.01, **settings):
    """Return a run whose squared gradient norm is the given series."""
    info = {"settings": {"schedule": "constant", "drops": [], "epochs": 12} | settings}
    rows = [
        (i, float(i), "gradient_norm_squared", value, errors) for i, value in enumerate(values)
    ]
    return records.write(tmp_path, info, rows)


def test_a_line_without_scatter_is_known_exactly():
    found = levels.level(TIMES, 10 - 0.5 * TIMES)
    assert found.mean == 10 - 0.5 * 5.5
    assert np.isclose(found.change, -5.5) and found.trend == "falls"
    assert np.isclose(found.change_low, found.change_high)
    assert levels.level(TIMES, 10 + 0.5 * TIMES).trend == "rises"
    assert levels.level(TIMES, np.zeros(12) + 3).trend == "no trend"


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_the_intervals_cover_the_truth_at_their_nominal_rate(slope):
    generator, covered, trends = np.random.default_rng(0), [], []
    for _ in range(2000):
        values = 5 + slope * TIMES + generator.normal(size=12)
        found = levels.level(TIMES, values)
        covered.append(found.low <= 5 + slope * 5.5 <= found.high)
        trends.append(found.trend == "no trend")
    tolerance = 3 * (0.95 * 0.05 / 2000) ** 0.5
    assert abs(np.mean(covered) - 0.95) < tolerance
    if slope == 0:
        assert abs(np.mean(trends) - 0.95) < tolerance


def test_correlated_residuals_are_told():
    generator, lags = np.random.default_rng(0), {0.0: [], 0.8: []}
    for correlation, found in lags.items():
        for _ in range(200):
            noise = generator.normal(size=60)
            for i in range(1, 60):
                noise[i] += correlation * noise[i - 1]
            found.append(levels.level(np.arange(60.0), noise).lag)
    assert abs(np.mean(lags[0.0])) < 0.1 and np.mean(lags[0.8]) > 0.6


def test_descent_ends_where_the_gradient_balances_the_decay(tmp_path):
    info = {"settings": {"weight_decay": 0.1}}
    rows = [(0, 0.0, "gradient_norm_squared", 0.09, 0.0), (0, 0.0, "weight_norm", 3.0, np.nan)]
    run = records.write(tmp_path, info, rows)
    assert np.isclose(levels.decay_balance(run), 1)
    assert levels.last_percentage(run, "accuracy") == "not measured"


def test_known_errors_widen_an_interval_that_scatter_alone_makes_too_narrow():
    narrow = levels.level(TIMES, 5 + 0 * TIMES)
    wide = levels.level(TIMES, 5 + 0 * TIMES, np.ones(12))
    assert narrow.low == narrow.high == 5
    assert wide.low < 5 - 0.5 and wide.trend == "no trend"


def test_too_few_values_are_refused():
    with pytest.raises(UsageError, match="at least three measured values, not 2"):
        levels.level([0, 1], [1.0, 2.0])


@pytest.mark.parametrize(
    "values, verdict",
    [
        (np.exp(-2 * np.arange(13.0)), "vanishes"),
        (0.2 + np.exp(-2 * np.arange(13.0)), "does not vanish"),
        (np.concatenate([[1.0], np.tile([0.4, -0.4], 6)]), "undecided"),
    ],
)
def test_the_criterion_can_give_every_verdict(tmp_path, values, verdict):
    table = levels.stage_levels(run_with(tmp_path, values, 1e-9))
    assert table.verdict.tolist() == [verdict]


def test_stages_end_where_the_step_size_drops(tmp_path):
    run = run_with(tmp_path, np.ones(13), schedule="stages", drops=[4, 8, 40])
    assert levels.stages(run) == [(0, 4), (4, 8), (8, 12)]


@pytest.mark.parametrize("slope, stable", [(-0.001, True), (-0.04, False)])
def test_a_loss_is_stable_where_its_last_change_is_small(tmp_path, slope, stable):
    losses = np.concatenate([[2.0], 1 + slope * np.arange(12.0)])
    info = {"settings": {"schedule": "constant", "drops": [], "epochs": 12}}
    rows = [(i, float(i), "loss", value, 0.0) for i, value in enumerate(losses)]
    share, found = levels.loss_change(records.write(tmp_path, info, rows))
    window = losses[5:]
    assert np.isclose(share, 7 * slope / (2 - window.mean())) and found == stable


def test_one_criterion_tells_descent_from_noise(tmp_path, monkeypatch):
    """The control, a run of full-batch descent, must come out otherwise."""
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    run = stationarity.run("full_batch")
    quantity = "regularised_gradient_norm_squared"
    assert levels.stage_levels(run, quantity).verdict.tolist() == ["vanishes"]
