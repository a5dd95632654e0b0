"""What a training run says to the ledger, and the paper's figure beside it."""

import numpy as np
import pytest
from stationarity import theory
from stationarity.book import claims, results
from stationarity.chapters import levels, reference, scales
from stationarity.chapters.ch03_imagenet_resnet101 import figures, reading
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.settings import get

EPOCHS = 60
SQUARE = reading.SQUARE


def made(tmp_path, losses, squares=None, name="imagenet_resnet", **settings):
    """A run of three stages, measured at every epoch with small errors."""
    given = get(name).but(epochs=EPOCHS, drops=(20, 40), **settings)
    info = {"experiment": name, "settings": given.plain()}
    at, ones = {"step": range(EPOCHS + 1), "epoch": float}, np.ones(EPOCHS + 1)
    squares = ones if squares is None else np.asarray(squares)
    scatter = 1 + 0.02 * np.random.default_rng(0).standard_normal(EPOCHS + 1)
    values = {"loss": (losses, 1e-3), "learning_rate": (given.learning_rate * ones, np.nan)}
    both = squares * scatter, 1e-3 * squares
    values |= {SQUARE: both, "gradient_norm_squared": both}
    values |= dict.fromkeys(("noise_norm", "sharpness"), (ones, np.nan))
    rows = [row for name, pair in values.items() for row in metrics.rows(name, *pair, **at)]
    tmp_path.mkdir(exist_ok=True)
    return records.write(tmp_path, info, rows)


def noise(size=EPOCHS + 1):
    return 1e-3 * np.random.default_rng(1).standard_normal(size)


def test_a_step_size_cut_in_mid_descent_does_not_make_a_loss_settled(tmp_path):
    """The last stage alone is flat: by it, the loss had settled."""
    epochs = np.arange(EPOCHS + 1)
    cut = np.interp(epochs, [0, 20, EPOCHS], [2.0, 1.0, 1.0]) + noise()
    run = made(tmp_path / "cut", cut)
    assert abs(levels.loss_change(run).value.iloc[-1]) < levels.STABLE
    assert reading.settled_loss_change(run).low > levels.STABLE
    settled = np.interp(epochs, [0, 2, EPOCHS], [2.0, 1.0, 1.0]) + noise()
    assert reading.settled_loss_change(made(tmp_path / "flat", settled)).high < levels.STABLE


@pytest.mark.parametrize("curvature, momentum", [(1.0, 0.0), (0.5, 0.9)])
def test_the_share_of_a_quadratic_does_not_depend_on_where_it_began(
    tmp_path, curvature, momentum
):
    """In closed form: SGD on h theta^2 / 2, whose ratio to the start does depend on it."""
    rate, shares, ratios = 0.1, [], []
    for start in (3.0, 30.0, 100.0):
        mean, covariance = theory.moments(
            curvature, np.full(100 * EPOCHS, rate), 1.0, start=start, momentum=momentum
        )
        second = (mean[..., 0] ** 2 + covariance[..., 0, 0])[::100].squeeze()
        run = made(
            tmp_path / str(start), np.ones(EPOCHS + 1), learning_rate=rate, momentum=momentum
        )
        table = run.metrics.assign(error=0.0)
        for name, values in ((SQUARE, curvature**2 * second), ("sharpness", curvature)):
            table.loc[table.quantity == name, "value"] = values
        run.__dict__["metrics"] = table
        shares.append(reading.stationary_share(run).value)
        ratios.append(levels.stage_levels(run, SQUARE).ratio.iloc[-1])
    expected = 1 / (1 - rate * curvature / (2 * (1 + momentum)))
    assert shares == pytest.approx([expected] * 3)
    assert np.allclose(ratios[0] / np.array(ratios[1:]), [10, 100 / 3], rtol=1e-3)


def test_a_change_of_a_record_changes_its_verdict():
    """The gradient of the first stage, of the last one, and the loss of another run."""
    (run,), (text,) = map(results.recorded, ("cifar10_resnet", "wikitext_transformer_xl"))
    assert reading.stationary_share(run).low > levels.HELD
    assert reading.gradient_left(run).low > levels.LEFT
    assert reading.settled_loss_change(text).low > levels.STABLE

    def edit(window, number, passed):
        return 0.01 * window.value if number == 1 else window.value

    less = reading.stationary_share(levels.made_up(run, SQUARE, edit))
    assert less.value < levels.HELD < reading.stationary_share(run).value
    gone = levels.made_up(run, SQUARE, lambda window, number, passed: (1 - passed) ** 2)
    assert reading.gradient_left(gone).high < levels.LEFT
    flat = levels.made_up(text, "loss", lambda window, number, passed: window.value.mean())
    assert reading.settled_loss_change(flat).high < levels.STABLE


@pytest.mark.parametrize(
    "name, quantity, fails, holds, limit",
    [
        ("cifar10_resnet", reading.gradient_left, "falling", "steady", levels.LEFT),
        ("wikitext_transformer_xl", reading.gradient_left, "falling", "steady", levels.LEFT),
        (
            "wikitext_transformer_xl", reading.settled_loss_change, "flat", "cut_early",
            levels.STABLE,
        ),
    ],
)  # fmt: skip
def test_the_records_could_have_come_out_otherwise(name, quantity, fails, holds, limit):
    run = next(one for one in results.recorded(name))
    assert quantity(run, fails).high < limit < quantity(run, holds).low


def test_the_share_can_fail_and_hold(tmp_path):
    """As can that of a run with many measurements; of a text it is not defined."""
    run = made(tmp_path, np.linspace(2, 1, EPOCHS + 1))
    zero, tenth = (reading.stationary_share(run, case) for case in ("zero", "tenth"))
    assert zero.high < levels.HELD < tenth.low
    with pytest.raises(UsageError, match="no multiples of a gradient"):
        reading.stationary_share(results.recorded("wikitext_transformer_xl")[0])


def test_made_up_losses_scatter_as_the_run_does(tmp_path):
    """Its reported errors are far smaller: by them alone a flat loss would be known exactly."""
    epochs = np.arange(EPOCHS + 1)
    falling = np.interp(epochs, [0, 2, EPOCHS], [2.0, 1.0, 0.9])
    run = made(tmp_path, falling + 30 * noise())
    own = levels.loss_change(run)
    for case in ("flat", "cut_early"):
        found = reading.settled_loss_change(run, case)
        assert found.high - found.value > 0.9 * (own.high - own.value).min() > 0.02
    assert reading.settled_loss_change(run, "cut_early").low > levels.STABLE


def test_the_curve_of_a_descent_is_no_scatter(tmp_path):
    """A parabola's residuals about a line are no noise; noise keeps its size on average."""
    epochs = np.arange(EPOCHS + 1.0)
    run = made(tmp_path / "curve", 2 - epochs / 50 + (epochs / EPOCHS) ** 2 / 2)
    for window in levels.windows(run, "loss").values():
        assert np.ptp(levels.steady(window)) > 1e-3
        assert np.ptp(levels.steady(window, 2)) < 1e-9
    window = levels.windows(made(tmp_path / "noise", noise()), "loss")[1]
    draws = np.random.default_rng(2).standard_normal((2000, len(window)))
    spread = [levels.steady(window.assign(value=draw), 2).var() for draw in draws]
    size = len(window)
    assert np.mean(spread) * (size - 1) / (size - 2) == pytest.approx(1, abs=0.05)
    assert np.ptp(levels.steady(window[:3], 2)) > 0  # a parabola leaves nothing of three


def test_a_tenth_of_the_level_scatters_as_the_run_does_and_zero_does_not():
    run = results.recorded("cifar10_resnet")[0]
    tenth, zero = (reading.stationary_share(run, case) for case in ("tenth", "zero"))
    assert tenth.high - tenth.low > 1.3 * (zero.high - zero.low)  # as wide without scatter


def test_a_run_without_noise_has_no_scale_and_no_interval(tmp_path):
    run = made(tmp_path, np.linspace(2, 1, EPOCHS + 1), np.geomspace(1, 1e-6, EPOCHS + 1))
    table = run.metrics.copy()
    table.loc[table.quantity == "noise_norm", "value"] = 0.0
    run.__dict__["metrics"] = table
    with pytest.raises(UsageError, match="without noise, or"):
        reading.stationary_share(run)
    left = reading.gradient_left(run)
    assert left.low == left.value == left.high < levels.LEFT


def test_a_loss_that_fell_nowhere_is_refused(tmp_path):
    with pytest.raises(UsageError, match="fell nowhere"):
        reading.settled_loss_change(made(tmp_path, 1 + np.arange(EPOCHS + 1.0)))


def test_the_papers_figure_is_a_run_in_three_stages():
    run = reading.figure_1()
    assert levels.stages(run.settings) == [(0, 30), (30, 60), (60, 90)]
    assert len(levels.stage_levels(run)) == 3
    assert 0 < reading.settled_loss_change(run).value < 0.2
    assert reading.gradient_left(run).low > 1  # it rises


def test_the_papers_figure_is_drawn():
    curve = reference("zhang2022-figure1")
    validation = reference("zhang2022-figure1-validation")
    figure = figures.paper_figure(curve, validation)
    assert len(figure.axes) == 3 and all(axis.get_ylabel() for axis in figure.axes)


def test_the_seeds_of_a_run_are_found_beside_it(tmp_path):
    def written(name, **changes):
        settings = get("full_batch").but(**changes)
        info = records.new_info("full_batch", "classroom", settings, "0" * 12, "cpu")
        (tmp_path / name).mkdir()
        return records.write(
            tmp_path / name,
            info | {"status": "complete"},
            metrics.rows("loss", [1.0], step=[0]),
        )

    first, third = written("a", seed=1), written("b", seed=7)
    written("c", seed=2, epochs=3)
    records.write_info(written("d", seed=3).folder, third.info | {"code": "other"})
    (tmp_path / ".lock").touch()
    for one in (first, third):
        assert [run.folder.name for run in reading.of_all_seeds(one)] == ["a", "b"]


def risen(folder, seed, factors, left=0.5):
    """A run of a seed whose naive norm grows within each stage, from a quarter to a quarter.

    Of its loss, over that of guessing among ten classes, so much is ``left``.
    """
    given = get("imagenet_resnet").but(epochs=60, drops=(20, 40), seed=seed)
    epochs = np.arange(1, 61)
    stage, passed = np.divmod(epochs - 1, 20)
    norms = np.where(passed >= 15, np.array(factors)[stage], 1.0)
    rows = metrics.rows("gradient_norm_naive", norms, step=epochs, epoch=float)
    losses = np.full(len(epochs), left * np.log(10))
    rows += metrics.rows("loss", losses, step=epochs, epoch=float)
    info = records.new_info("imagenet_resnet", "classroom", given, "0" * 12, "cpu")
    info |= {"status": "complete"}
    (folder / str(seed)).mkdir(parents=True)
    return records.write(folder / str(seed), info, rows)


def test_a_rise_is_that_of_all_seeds_and_the_first_stage_does_not_count(tmp_path):
    factors = [(0.1, 2.0, 1.5), (9.0, 2.2, 1.4), (1.0, 2.4, 1.6)]
    runs = [risen(tmp_path, seed, one) for seed, one in enumerate(factors)]
    for run in runs:
        table = reading.rises(run)
        assert table.stage.tolist() == [2, 3]
        assert np.allclose(table.value, np.prod(factors, axis=0)[1:] ** (1 / 3))
        found = reading.norm_rise(run)
        logarithms = np.log([one[2] for one in factors])
        margin = 4.303 * logarithms.std(ddof=1) / 3**0.5  # Student's t, 2 degrees of freedom
        assert np.isclose(found.low, np.exp(logarithms.mean() - margin), rtol=1e-3)
        assert found.low > 1
        assert np.isclose(reading.norm_rise(run, "halving").value, 0.5)
        assert np.isclose(reading.norm_rise(run, "doubling").value, 2)


def written_stages(folder, seed, norms, losses, signal=None):
    """A run of a seed with one norm in each stage, and a loss that moves along each stage.

    The unbiased square is ``signal``, or that of the norm.
    """
    given = get("imagenet_resnet").but(epochs=60, drops=(20, 40), seed=seed)
    epochs = np.arange(1, 61)
    stage, passed = np.divmod(epochs - 1, 20)
    loss = np.log(10) * (1 - 0.5 * (epochs > 1)) + np.array(losses)[stage] * passed / 19
    naive = np.array(norms)[stage]
    square = naive**2 if signal is None else np.full(len(epochs), signal)
    values = {"gradient_norm_naive": naive, "gradient_norm_squared": square, "loss": loss}
    rows = metrics.common_rows(values, step=epochs, epoch=float)
    info = records.new_info("imagenet_resnet", "classroom", given, "0" * 12, "cpu")
    (folder / str(seed)).mkdir(parents=True)
    return records.write(folder / str(seed), info | {"status": "complete"}, rows)


def test_a_level_is_over_that_of_the_first_stage_of_each_seed(tmp_path):
    norms = [(2.0, 3.0, 1.8), (1.0, 1.6, 0.8), (1.0, 1.5, 0.9)]
    runs = [written_stages(tmp_path, k, one, (0, 0, 0)) for k, one in enumerate(norms)]
    table, found = reading.level_ratios(runs[0]), reading.norm_level(runs[0])
    last = np.log([0.9, 0.8, 0.9])
    assert table.stage.tolist() == [2, 3]
    assert np.allclose(table.value, [(1.5 * 1.6 * 1.5) ** (1 / 3), np.exp(last.mean())])
    error = last.std(ddof=1) / 3**0.5
    assert np.isclose(found.value, np.exp(last.mean()))
    # Student's t with 2 degrees of freedom: of one stage below, of two jointly above.
    assert np.isclose(found.low, np.exp(last.mean() - 4.303 * error), rtol=1e-3)
    assert np.isclose(found.high, np.exp(last.mean() + 6.205 * error), rtol=1e-3)
    assert np.isclose(reading.norm_level(runs[0], "even").value, 1)


def test_a_quadratic_keeps_its_level_as_far_as_noise_inflates_the_naive_norm(tmp_path):
    clean = written_stages(tmp_path / "clean", 0, (2.0, 2.0, 2.0), (0, 0, 0))
    noisy = written_stages(tmp_path / "noisy", 0, (2.0, 2.0, 2.0), (0, 0, 0), signal=1.0)
    assert np.isclose(reading.norm_level(clean, "as_on_a_quadratic").value, 0.1)
    expected = ((0.01 + 3) / (1 + 3)) ** 0.5  # of the square of 2 noise has made 3
    assert np.isclose(reading.norm_level(noisy, "as_on_a_quadratic").value, expected)
    unseen = written_stages(tmp_path / "unseen", 0, (2.0, 2.0, 2.0), (0, 0, 0), signal=-0.1)
    assert np.isclose(reading.norm_level(unseen, "as_on_a_quadratic").value, 1)


def test_a_quarter_without_a_measurement_has_no_level(tmp_path):
    run = written_stages(tmp_path, 0, (1.0, 1.0, 1.0), (0, 0, 0))
    run.__dict__["metrics"] = run.metrics[~run.metrics.epoch.between(36, 40)]
    with pytest.raises(UsageError, match="quarter of stage 2: lower measure_every"):
        reading.norm_level(run)
    assert reading.shape(run)["level"].isna().all(axis=None)


def test_the_level_of_one_seed_has_the_scatter_of_its_quarters(tmp_path):
    run = risen(tmp_path, 0, (1.0, 1.0, 3.0))  # in its last stage quarters of 1, 1, 1 and 3
    found = reading.level_ratios(run).iloc[-1]
    error = (1 / 2) / 1.5  # their standard deviation is 1
    assert np.isclose(found.value, 1.5)
    assert np.isclose(np.log(found.high / 1.5), 3.182 * error, rtol=1e-3)  # 3 degrees


def test_a_loss_that_rises_in_a_later_stage_is_told_from_one_that_falls(tmp_path):
    losses = [(0, 0.1, -0.1), (0, 0.11, -0.1), (0, 0.09, -0.1)]
    runs = [written_stages(tmp_path, k, (1, 1, 1), one) for k, one in enumerate(losses)]
    each = [levels.loss_change(one).value[1] for one in runs]
    found, error = reading.loss_rise(runs[0]), np.std(each, ddof=1) / 3**0.5
    assert np.isclose(found.value, np.mean(each)) and found.value > 0.05
    # Student's t with 2 degrees of freedom: of two stages jointly below, of one above.
    assert np.isclose(found.low, np.mean(each) - 6.205 * error, rtol=1e-3)
    assert np.isclose(found.high, np.mean(each) + 4.303 * error, rtol=1e-3)
    assert np.isclose(reading.loss_rise(runs[0], "flat").value, 0)
    assert np.isclose(reading.loss_rise(runs[0], "rising").value, 2 * reading.ROSE)
    alone = written_stages(tmp_path / "alone", 0, (1, 1, 1), (0, -0.1, 0.1))
    assert np.isclose(reading.loss_rise(alone).value, levels.loss_change(alone).value[2])


def test_a_rise_of_the_loss_is_judged_by_the_constant_of_its_made_up_case():
    (piece,) = (
        one for claim in claims.read() for one in claim.evidence if one.quantity == "loss_rise"
    )
    assert piece.criteria[-1].below == reading.ROSE


def test_the_shape_has_all_parts_of_the_later_stages(tmp_path):
    table = reading.shape(reading.figure_1())
    assert table.index.tolist() == [2, 3]
    assert set(table.columns.get_level_values(0)) == {"rise", "level", "loss change"}
    least = table.xs("value", axis=1, level=1).min()
    assert np.isclose(least.rise, reading.norm_rise(reading.figure_1()).value)
    assert np.isclose(least.level, reading.norm_level(reading.figure_1()).value)


def test_a_seed_that_learns_nothing_is_told_and_can_be_left_out(tmp_path):
    factors = [(1.0, 2.0, 1.5), (1.0, 0.5, 0.4), (1.0, 2.2, 1.7)]
    runs = [
        risen(tmp_path, seed, one, left)
        for seed, (one, left) in enumerate(zip(factors, (0.5, 0.995, 0.98), strict=True))
    ]
    assert [scales.guesses(one) for one in runs] == [False, True, False]
    alive = reading.rises(runs[0], [runs[0], runs[2]])
    assert np.isclose(reading.smallest(alive).value, (1.5 * 1.7) ** 0.5)
    assert reading.smallest(reading.rises(runs[0])) == reading.norm_rise(runs[0])
    assert reading.norm_rise(runs[0]).value < 1.1


def test_the_interval_of_one_seed_is_that_of_its_scatter(tmp_path):
    run = risen(tmp_path, 0, (1.0, 2.0, 1.5))
    assert reading.norm_rise(run) == (1.5, 1.5, 1.5)  # it has none
    few = get("imagenet_resnet").but(epochs=60, drops=(20, 40)).plain()
    rows = metrics.rows("gradient_norm_naive", [1.0, 1.0], step=[30, 60], epoch=float)
    with pytest.raises(UsageError, match="first quarter of stage 1: lower measure_every"):
        reading.norm_rise(records.write(run.folder, run.info | {"settings": few}, rows))
