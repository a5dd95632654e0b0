"""Nets that are followed after they settled, against weights that are stored step by step."""

import math

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from matplotlib import pyplot
from stationarity.chapters import authors_sweep, small
from stationarity.chapters.ch09_anomalous_diffusion import figures, reading, study
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.stats import displacement
from stationarity.train import ensembles

SMALL = {
    "examples": 100, "hidden": [4], "settle": 40, "longest": 24, "members": 3, "burn_in": 5,
    "references": 2, "spacing": 10, "batch_size": 16, "learning_rates": [0.05],
    "batch_sizes": [8], "momenta": [0.5], "weight_decays": [0.0], "branches": 2,
    "crossed": True,
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


def rows_of(**changes):
    settings = get("diffusion", overrides=SMALL | changes)
    table = metrics.frame(study.diffusion(settings, Place()))
    places = ["quantity", "of", "step", "member", "index"]
    return settings, table.set_index(places).value.unstack("index").sort_index()


def values(table, quantity, of, step):
    """The values of all members (K,), or of all reference points, too (K, R)."""
    return table.loc[(quantity, of, step)].dropna(axis=1).to_numpy().squeeze()


def walk(task, state, purpose, steps, **change):
    """The weights (steps + 1, K, P) and buffers of one variation, one step after another."""
    given = {name: getattr(task.settings, name) for name in study.VARIED} | change
    theta, buffer = (part.clone() for part in state)
    seeds = small.seeds(task.settings.seed, purpose, len(theta))
    path, buffers = [theta.double()], [buffer.double()]
    sampling = given.pop("sampling", "replacement")
    for chosen in ensembles.batches(100, given["batch_size"], seeds, steps, sampling=sampling):
        _, gradients = ensembles.losses_and_gradients(
            theta, task.widths, task.inputs[chosen], task.labels[chosen]
        )
        ensembles.sgd_step(
            theta,
            gradients,
            buffer,
            given["learning_rate"],
            given["momentum"],
            given["weight_decay"],
        )
        path.append(theta.double())
        buffers.append(buffer.double())
    return torch.stack(path), torch.stack(buffers), (theta, buffer)


@pytest.fixture(scope="module")
def settled():
    settings, rows = rows_of()
    task = small.load(settings, Place())
    start = task.start(small.seeds(settings.seed, "member", 3))
    path, _, state = walk(task, start, "settle", 40)
    return task, rows, path, state


CHANGES = {
    "base": {}, "learning_rate=0.05": {"learning_rate": 0.05},
    "momentum=0.5": {"momentum": 0.5},
    "batch_size=8": {"batch_size": 8}, "weight_decay=0": {"weight_decay": 0.0},
    "sampling=reshuffled": {"sampling": "reshuffled"},
    "learning_rate=0.05 momentum=0.5": {"learning_rate": 0.05, "momentum": 0.5},
}  # fmt: skip


def test_every_variation_is_followed(settled):
    assert set(CHANGES) == set(study.variations(settled[0].settings))


@pytest.mark.parametrize("name", CHANGES)
def test_displacements_are_those_of_stored_weights(name, settled):
    task, rows, _, state = settled
    path, buffers, _ = walk(task, state, "follow", 5 + 10 + 24, **CHANGES[name])
    rate = CHANGES[name].get("learning_rate", task.settings.learning_rate)
    steps = rate**2 * buffers.square().sum(2).numpy()
    for lag in (1, 4, 24):
        gone = np.stack([path[t + lag] - path[t] for t in (5, 15)], 1)
        found = values(rows, "global_displacement_squared", name, lag)
        assert found == pytest.approx((gone**2).sum(2), rel=1e-3)
        found = rows.loc[("local_displacement_squared", name, lag)].to_numpy()
        near = (steps[5 + lag] + steps[15 + lag]) / 2
        assert found[~np.isnan(found)] == pytest.approx(near, rel=1e-3)
    # The step that the buffer makes is the one that the weights took.
    step = (path[10] - path[9]).square().sum(1).numpy()
    assert step == pytest.approx(steps[10], 1e-3)


def test_losses_are_exact_and_begin_after_the_burn_in(settled):
    task, rows, way, state = settled
    path, *_ = walk(task, state, "follow", 5 + 34)
    for of, step, theta in (("base", 0, path[5]), ("base", 2, path[7]), ("", 0, way[0])):
        quantity = "loss" if of else "settling_loss"
        found = rows.loc[(quantity, of, step)].to_numpy()
        losses = task.exact(theta.float()).losses.tolist()
        assert found[~np.isnan(found)] == pytest.approx(losses, rel=1e-5)


def test_replicas_share_their_mean_displacement(settled):
    task, rows, _, state = settled
    wide = tuple(part.repeat_interleave(2, 0) for part in state)
    path, *_ = walk(task, wide, "replicas", 24)
    gone = (path[24] - path[0]).view(3, 2, -1).numpy()
    shared = (gone[:, 0] * gone[:, 1]).sum(1)  # of two replicas: their scalar product
    whole = (gone**2).sum(2).mean(1)
    for quantity, expected in (("shared", shared), ("replica", whole)):
        found = rows.loc[(f"{quantity}_displacement_squared", "", 24)].to_numpy()
        assert found[~np.isnan(found)] == pytest.approx(expected, rel=1e-3)


def test_a_variation_does_not_depend_on_the_others(settled):
    _, alone = rows_of(learning_rates=(), momenta=(), weight_decays=(), reshuffled=False)
    place = ("global_displacement_squared", "base", 24)
    assert values(alone, *place) == pytest.approx(values(settled[1], *place), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"longest": 8}, "longest must be greater than or equal to 12"),
        ({"members": 1}, "members must be greater than or equal to 2"),
        ({"branches": 1}, "branches must be 0 or at least 2"),
        ({"settle": 0}, "settle must be greater than 0"),
        ({"burn_in": -1}, "burn_in must be greater than or equal to 0"),
        ({"momenta": [1.0]}, "momenta.0 must be less than 1"),
        ({"learning_rates": [0.0]}, "learning_rates.0 must be greater than 0"),
        ({"weight_decays": [-1.0]}, "weight_decays.0 must be greater than or equal to 0"),
        ({"batch_size": 101}, "batch size 101 is larger than the data"),
        (
            {"learning_rates": [1e9], "longest": 120, "crossed": False},
            "weights of 'learning_rate=1e.09' are no",
        ),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        rows_of(**changes)


# --- reading runs ---------------------------------------------------------------


def made_up(rows: list, experiment="continued", **changes) -> records.Run:
    """A run of given rows."""
    settings = get(experiment, overrides=changes).plain()
    run = records.Run(
        records.PROJECT / "nowhere",
        {"experiment": experiment, "scale": "classroom", "settings": settings},
    )
    run.__dict__["metrics"] = metrics.frame(rows)
    return run


LAGS = displacement.spaced_lags(64)


def one_net(cuts=(64, 64, 64)):
    """A run that follows one net: what the training loop notes."""
    found = metrics.rows("local_displacement_squared", [0.5] * 9, step=range(9))
    for r, cut in enumerate(cuts):
        lags = np.array([0, *LAGS[cut >= LAGS]])
        far = (1 + 0.1 * r) * lags**1.3
        found += metrics.rows("global_displacement_squared", far, index=r, step=lags)
    return made_up(found)


def test_one_followed_net_has_an_exponent_and_figures():
    run = one_net()
    lags, squares = reading.displacements(run)
    assert squares.shape == (1, 3, len(LAGS)) and lags.tolist() == LAGS.tolist()
    assert reading.distance_from_brownian(run).value == pytest.approx(0.3)
    assert reading.displacement_exponent(run) == pytest.approx((1.3,) * 3)
    assert reading.exponent_change(run).value == pytest.approx(0, abs=1e-9)
    for draw in (figures.trajectory, figures.fitting_windows):
        (axes,) = draw(run).axes
        assert axes.get_xlabel() and axes.get_ylabel()
    pyplot.close("all")


def test_learning_rates_and_momenta_meet_at_the_same_effective_rate():
    powers = {
        "base": 0.5, "learning_rate=0.01": 0.7, "learning_rate=0.04": 0.3, "momentum=0.5": 0.9,
        "momentum=0.875": 0.45, "momentum=0.95": 0.35,
    }  # fmt: skip
    rows = []
    for name, power in powers.items():
        squares = np.outer([2, 3], LAGS**power)
        where = dict(of=name, member=range(2))
        rows += metrics.rows("local_displacement_squared", squares, **where, step=LAGS)
        where |= dict(index=[0], step=LAGS)
        rows += metrics.rows("global_displacement_squared", squares[:, None], **where)
    own = dict(learning_rate=0.02, momentum=0.9)
    varied = dict(learning_rates=[0.01, 0.04], momenta=[0.5, 0.875, 0.95])
    found = reading.effective_rates(made_up(rows, "diffusion", **own, **varied))
    assert found.effective_rate.is_monotonic_increasing and len(found) == 6
    by_name = found.set_index("variation")
    assert by_name.effective_rate["momentum=0.875"] == pytest.approx(0.16)
    assert by_name.expected["momentum=0.95"] == pytest.approx(0.3)  # that of 0.04 and 0.9
    between = 0.7 - 0.2 * np.log(1.6) / np.log(2)
    assert by_name.expected["momentum=0.875"] == pytest.approx(between)
    assert math.isnan(by_name.expected["momentum=0.5"])


def nets_with(exponents, sizes):
    """A run of nets with these exponents, and these squares at the longest lag."""
    squares = sizes[:, None] * (LAGS / LAGS[-1]) ** exponents[:, None]
    axes = {"of": "base", "member": range(len(sizes)), "index": [0], "step": LAGS}
    rows = metrics.rows("global_displacement_squared", squares[:, None], **axes)
    return made_up(rows, "diffusion", members=len(sizes))


def test_few_nets_are_a_sample_of_nets_alike_and_a_poor_one_of_two_kinds():
    scatter = 0.05 * np.random.default_rng(0).standard_normal(60)
    run = nets_with(0.5 + scatter, np.ones(60))
    alike = reading.unlike(run, 6)
    assert alike["whole"] == pytest.approx(reading.displacement_exponent(run).value)
    assert alike["covered"] > 0.92
    far = np.arange(60) % 4 == 0
    unlike = reading.unlike(nets_with(0.1 + 0.7 * far + scatter, 1 + 9.0 * far), 6)
    assert unlike["covered"] < 0.85
    assert unlike["mean"] == pytest.approx(0.1 + 0.7 / 4, abs=0.02)
    assert unlike["least"] < 0.1 and unlike["most"] > 0.8


def test_a_varied_setting_has_all_its_digits():
    run = made_up([], "quenched", learning_rates=[0.012345678], momenta=[0.5])
    rate, memories = reading.rates(run, "learning_rate=0.0123457 momentum=0.5")
    assert rate == 0.012345678 / 0.5
    assert memories == 2 * rate * run.settings.weight_decay * run.settings.longest


def test_memories_are_those_of_the_square_of_a_weight(live):
    """The pairs of the authors' sweep with one number, and this page's settings by hand."""
    theirs = authors_sweep.exponents()
    assert np.allclose(theirs.memories, [5e-4, 1e-3, 5e-3, 0.01, 0.01, 0.05, 0.1, 0.1, 1])
    run = live[0]
    mine = reading.by_memories(run).set_index("variation")
    given = run.settings
    base = 2 * given.learning_rate * given.weight_decay * 64 / (1 - given.momentum)
    assert mine.memories["base"] == pytest.approx(base)
    for rate in given.learning_rates:
        at = mine.memories[f"learning_rate={rate:g}"]
        assert at == pytest.approx(base * rate / given.learning_rate)
    assert "weight_decay=0" not in mine.index


def quench(power, decay=0.002):
    """A run of nine settings, one of each power of the effective rate, with a known curve."""
    names = ["base", "learning_rate=0.002", "learning_rate=0.0002", "momentum=0.8"]
    pairs = [f"learning_rate={rate} momentum=0.8" for rate in ("0.002", "0.0002")]
    rows = []
    for name in names + pairs:
        rate = 0.02 if "=0.00" not in name else float(name.split()[0].split("=")[1])
        effective = rate / (0.2 if "momentum" in name else 0.1)
        squares = [a * LAGS ** power(effective, decay) for a in (2, 3)]
        where = dict(of=name, member=range(2), index=[0], step=LAGS)
        rows += metrics.rows("global_displacement_squared", np.array(squares)[:, None], **where)
    return made_up(rows, "quenched", longest=int(LAGS[-1]), weight_decay=decay)


def test_a_slope_is_that_of_the_exponent_against_the_decades_of_the_effective_rate():
    run = quench(lambda rate, decay: 0.6 - 0.2 * np.log10(rate))
    effective, found = reading.of_members(run)
    assert effective == pytest.approx([0.001, 0.002, 0.01, 0.02, 0.1, 0.2])
    assert found[0] == pytest.approx([1.2, 1.2])
    assert reading.exponent_slope(run).value == pytest.approx(-0.2)
    assert reading.exponent_slope(run, "brownian").value == pytest.approx(0)
    theirs = np.polyfit(*np.log10([grid().memories, 10 ** grid().exponent]), 1)[0]
    assert reading.exponent_slope(run, "authors").value == pytest.approx(theirs)
    assert reading.rates(run, "learning_rate=0.002 momentum=0.8")[1] == pytest.approx(
        2 * 0.01 * 0.002 * LAGS[-1]
    )


def test_the_ends_are_of_smaller_rates_and_hold_for_all_of_these_together():
    rows, powers = [], {"base": 0.1, "learning_rate=0.002": 1.2, "learning_rate=0.0002": 0.6}
    powers |= {"momentum=0.8": 1.9}  # at the rate at which they settled
    moved = np.array([-0.1, 0.0, 0.1])  # of the exponent, by member
    for name, power in powers.items():
        squares = LAGS ** (power + moved[:, None])
        where = dict(of=name, member=range(3), index=[0], step=LAGS)
        rows += metrics.rows("global_displacement_squared", squares[:, None], **where)
    rates = dict(learning_rates=[0.002, 0.0002], momenta=[0.8], crossed=False)
    largest, smallest = reading.quenched_ends(made_up(rows, "quenched", **rates))
    margin = 6.205 * 0.1 / 3**0.5  # Student's t, 2 degrees of freedom, of two jointly
    assert largest == pytest.approx((1.2, 1.2 - margin, 1.2 + margin), rel=1e-3)
    assert smallest == pytest.approx((0.6, 0.6 - margin, 0.6 + margin), rel=1e-3)


@pytest.mark.parametrize("axis", ["effective rate", "memories"])
def test_two_decays_lie_on_one_curve_on_the_axis_that_decides(axis):
    def power(rate, decay):
        at = rate if axis == "effective rate" else rate * decay
        return 0.6 - 0.2 * np.log10(at)

    apart = reading.axes_apart(*(quench(power, decay) for decay in (0.002, 0.008)))
    assert apart[axis].value == pytest.approx(0, abs=1e-6)
    (other,) = set(apart) - {axis}
    sign = 1 if other == "memories" else -1
    assert apart[other].value == pytest.approx(sign * 0.2 * np.log10(4))


def grid():
    return authors_sweep.exponents()


def test_settings_lie_off_a_curve_by_intervals_that_hold_jointly():
    grid = pd.DataFrame({"memories": [0.01, 0.01, 1.0], "exponent": [1.0, 1.2, 0.5]})
    mine = pd.DataFrame({"memories": [0.001, 0.1, 0.1, 1.0], "value": [0, 0.9, 1.0, 0.5]})
    mine = mine.assign(low=mine.value - 0.08, high=mine.value + 0.08)
    # The curve is at 0.8 in the middle. Alone the first of the two there would be off it.
    assert authors_sweep.off_the_curve(grid, mine, seeds=6) == (3, 1)
    pairs = authors_sweep.equal_memories(grid)
    assert pairs.gap.tolist() == [pytest.approx(0.2)]
    assert pairs.change.tolist() == [0]  # beyond its ends the curve is not known


@pytest.mark.parametrize(("points", "kept", "longest"), [(8, 4, 16), (6, 3, 19), (3, 3, 19)])
def test_reference_points_along_one_trajectory_do_not_overlap(points, kept, longest):
    run = one_net(tuple(64 - r * 64 / points for r in range(points)))
    lags, squares = reading.displacements(run)
    assert squares.shape == (1, kept, len(lags)) and lags[-1] == longest
    apart = -(-points // 4)
    first = [1 + 0.1 * apart * i for i in range(kept)]
    assert squares[0, :, 0] == pytest.approx(first)


def test_what_a_run_lacks_is_said():
    run = made_up(metrics.rows("accuracy", 1.0))
    for read in (reading.variations, reading.displacement_exponent, reading.shared_parts):
        with pytest.raises(UsageError, match="has no '(global|replica)_displacement_squared"):
            read(run)
    with pytest.raises(UsageError, match="with of 'other'"):
        reading.displacements(one_net(), "other")
    with pytest.raises(UsageError, match="has no 'loss'"):
        reading.followed_loss_change(one_net())
    where = dict(index=range(2), step=[1, 2])
    short = made_up(metrics.rows("global_displacement_squared", [[1, 2], [1, 2]], **where))
    with pytest.raises(UsageError, match="too short for an exponent"):
        reading.displacement_exponent(short)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATIONARITY_RUNS", str(tmp_path_factory.mktemp("runs")))
        small = SMALL | {"longest": 64}
        yield (
            stationarity.run("diffusion", settings=small),
            stationarity.run("walks", settings={"replicates": 20, "longest": 64}),
        )


def test_every_figure_of_a_run_is_labelled(live):
    run, known = live
    draws = ("settled_loss", "sweeps", "clock", "replicas", "sampling", "trajectory")
    for figure in [getattr(figures, name)(run) for name in draws] + [figures.known(known)]:
        first, *_, last = figure.axes * 2
        assert first.get_ylabel() and (last.get_xlabel() or last.get_xticklabels())
    pyplot.close("all")


def test_tables_hold_every_variation_once(live):
    run, known = live
    table = reading.exponents(run)
    assert sorted(table.variation) == sorted(CHANGES)
    assert table[table.setting == "batch_size"].batch_size.tolist() == [8]
    expected = table.set_index("variation").local_expected / table.local[0]
    assert expected["learning_rate=0.05"] == pytest.approx((0.05 / 0.02) ** 2)
    assert expected["batch_size=8"] == pytest.approx(16 / 8)
    assert expected["momentum=0.5"] == pytest.approx((1 - 0.9**2) / (1 - 0.5**2))
    assert expected["weight_decay=0"] == pytest.approx(1)
    assert (table.low < table.value).all() and (table.distance_low < table.distance).all()
    assert reading.exponent_change(known, "Ornstein-Uhlenbeck").value < 0
    assert reading.main(known) == "Brownian" and reading.main(run) == "base"
    assert reading.followed_loss_change(run) == reading.followed_loss_change(run, "base")


def bars(axes):
    """The ends of the vertical bars that axes show, by their place."""
    lines = [path for one in axes.collections for path in one.get_segments()]
    return {round(float(ends[0][0]), 9): sorted(ends[:, 1]) for ends in lines}


def test_every_bar_is_an_interval_by_students_t(live):
    run = live[0]
    way, table = run.wide("settling_loss"), reading.exponents(run)
    slow = table[table.setting == "learning_rate"]
    lags, parts = reading.shared_parts(run)
    for draw, panel, place, values in (
        ("settled_loss", 0, 0, way.loc[0]),
        ("sweeps", 4, 0.05, reading.local(run, "learning_rate=0.05")),
        ("clock", 1, 0.5, reading.displacements(run, slow.variation.item())[1].mean(1)[:, -1]),
        ("replicas", 1, 64, None),
        ("sampling", 1, 64, None),
    ):
        shown = bars(getattr(figures, draw)(run).axes[panel])[place]
        if draw == "sampling":
            drawn, shuffled = (
                reading.displacements(run, of)[1].mean(1)[:, -1]
                for of in ("base", "sampling=reshuffled")
            )
            values = shuffled / drawn
        if draw == "replicas":
            assert lags[-1] == 64
            shared, total = (
                run.wide(f"{name}_displacement_squared").loc[64]
                for name in ("shared", "replica")
            )
            values = shared / total
            assert reading.shared_share(run).low == pytest.approx(parts["share"].low[-1])
        margin = 4.302653 * np.std(values, ddof=1) / np.sqrt(3)  # Student's t, 2 degrees
        assert shown == pytest.approx([np.mean(values) - margin, np.mean(values) + margin])
    pyplot.close("all")


def test_what_replicas_share_is_unbiased():
    generator, mean = np.random.default_rng(10), np.array([0.3, -0.2, 0.0])
    gone = mean + generator.standard_normal((20000, 4, 3))
    total, shared = study.shared_part(gone)
    assert total.mean() == pytest.approx(mean @ mean + 3, rel=0.01)
    assert shared.mean() == pytest.approx(mean @ mean, abs=4 * shared.std() / np.sqrt(20000))


def test_octaves_reach_back_from_the_longest_lag():
    lags = displacement.spaced_lags(64)
    found = reading.octave_exponents(lags, np.outer([1.0, 3.0], lags**1.5))
    assert [(first, last) for first, last, _ in found][:2] == [(32, 64), (16, 32)]
    assert all(fit.value == pytest.approx(1.5) for *_, fit in found)
