"""Nets that are followed after they settled, against weights that are stored step by step."""

import math

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from matplotlib import pyplot
from stationarity import experiments
from stationarity.book import claims, quantities
from stationarity.chapters.ch07_watching_a_distribution_settle import study
from stationarity.chapters.ch09_anomalous_diffusion import figures, reading, study
from stationarity.errors import UsageError
from stationarity.runs import records
from stationarity.stats import displacement
from stationarity.train.loop import ensembles

SMALL = {
    "examples": 100, "hidden": [4], "settle": 40, "longest": 24, "members": 3, "burn_in": 5,
    "references": 2, "spacing": 10, "batch_size": 16, "learning_rates": [0.05],
    "batch_sizes": [8], "momenta": [0.5], "weight_decays": [0.0], "branches": 2,
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("one_thread")


def rows_of(**changes):
    settings = experiments.get("diffusion", overrides=SMALL | changes)
    return settings, {
        row[:1] + row[2:3]: row[3] for row in study.diffusion(settings)
    }


def walk(task, state, purpose, steps, **change):
    """The weights (steps + 1, K, P) and buffers of one variation, one step after another."""
    given = {name: getattr(task.settings, name) for name in study.VARIED} | change
    theta, buffer = (part.clone() for part in state)
    seeds = [
        study.seed_of(task.settings.seed, purpose, k) for k in range(len(theta))
    ]
    path, buffers = [theta.double()], [buffer.double()]
    sampling = given.pop("sampling", "replacement")
    for chosen in ensembles.batches(
        100, given["batch_size"], seeds, steps, sampling=sampling
    ):
        _, gradients = ensembles.losses_and_gradients(
            theta, task.widths, task.inputs[chosen], task.labels[chosen]
        )
        ensembles.sgd_step(
            theta, gradients, buffer, given["learning_rate"], given["momentum"],
            given["weight_decay"],
        )  # fmt: skip
        path.append(theta.double())
        buffers.append(buffer.double())
    return torch.stack(path), torch.stack(buffers), (theta, buffer)


@pytest.fixture(scope="module")
def settled():
    settings, rows = rows_of()
    task = study.load_task(settings)
    seeds = [study.seed_of(settings.seed, "member", k) for k in range(3)]
    theta = ensembles.initialise(task.widths, seeds)
    path, _, state = walk(task, (theta, torch.zeros_like(theta)), "settle", 40)
    return task, rows, path, state


CHANGES = {
    "base": {}, "learning_rate=0.05": {"learning_rate": 0.05}, "momentum=0.5": {"momentum": 0.5},
    "batch_size=8": {"batch_size": 8}, "weight_decay=0": {"weight_decay": 0.0},
    "sampling=reshuffled": {"sampling": "reshuffled"},
}  # fmt: skip


def test_every_variation_is_followed(settled):
    assert set(CHANGES) == set(study.variations(settled[0].settings))


@pytest.mark.parametrize("name", CHANGES)
def test_displacements_are_those_of_stored_weights(name, settled):
    task, rows, _, state = settled
    path, buffers, _ = walk(task, state, "follow", 5 + 10 + 24, **CHANGES[name])
    rate = CHANGES[name].get("learning_rate", task.settings.learning_rate)
    for lag in (1, 4, 24):
        near = []
        for r, begin in enumerate((5, 15)):
            gone = (path[begin + lag] - path[begin]).square().sum(1)
            for k in range(3):
                found = rows[lag, f"global_displacement_squared ({name})[{k},{r}]"]
                assert found == pytest.approx(gone[k].item(), rel=1e-3)
            near.append(rate**2 * buffers[begin + lag].square().sum(1))
        found = rows[lag, f"local_displacement_squared ({name})[1]"]
        assert found == pytest.approx(torch.stack(near).mean(0)[1].item(), rel=1e-3)
    # The step that the buffer makes is the one that the weights took.
    step = (path[10] - path[9]).square().sum(1)
    assert step.tolist() == pytest.approx(
        (rate**2 * buffers[10].square().sum(1)).tolist(), 1e-3
    )


def test_losses_are_exact_and_begin_after_the_burn_in(settled):
    task, rows, way, state = settled
    path, *_ = walk(task, state, "follow", 5 + 34)
    for step in (0, 2):
        losses = task.exact(path[5 + step].float())[0]
        found = [rows[step, f"loss (base)[{k}]"] for k in range(3)]
        assert found == pytest.approx(losses.tolist(), rel=1e-5)
    losses = task.exact(way[0].float())[0].tolist()
    assert [rows[0, f"settling_loss [{k}]"] for k in range(3)] == pytest.approx(
        losses, rel=1e-5
    )


def test_replicas_share_their_mean_displacement(settled):
    task, rows, _, state = settled
    wide = tuple(part.repeat_interleave(2, 0) for part in state)
    path, *_ = walk(task, wide, "replicas", 24)
    gone = (path[24] - path[0]).view(3, 2, -1).numpy()
    for k in range(3):
        product = gone[k, 0] @ gone[k, 1]  # of two replicas: their scalar product
        assert rows[24, f"shared_displacement_squared [{k}]"] == pytest.approx(
            product, rel=1e-3
        )
        whole = (gone[k] ** 2).sum(1).mean()
        assert rows[24, f"replica_displacement_squared [{k}]"] == pytest.approx(
            whole, rel=1e-3
        )


def test_a_variation_does_not_depend_on_the_others():
    _, alone = rows_of(
        learning_rates=[], momenta=[], weight_decays=[], reshuffled=False
    )
    _, rows = rows_of()
    place = (24, "global_displacement_squared (base)[2,1]")
    assert alone[place] == pytest.approx(rows[place], rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"longest": 8},
            "too short for an exponent: the setting longest must be at least 12",
        ),
        ({"members": 1}, "members must be at least 2"),
        ({"branches": 1}, "branches must be 0 or at least 2"),
        ({"settle": 0}, "settle must be at least 1"),
        ({"burn_in": -1}, "must not be negative"),
        ({"momenta": [1.0]}, "Every momentum must lie in"),
        ({"learning_rates": [0.0]}, "must be positive"),
        ({"weight_decays": [-1.0]}, "must be positive"),
        ({"batch_size": 101}, "batch size 101 is larger than the data"),
        ({"learning_rates": [1e9], "longest": 120}, "diverged with learning_rate"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        rows_of(**changes)


# --- reading runs ---------------------------------------------------------------


def made_up(squares: dict, **settings) -> records.Run:
    """A run whose metrics hold {quantity: {step: value}}."""
    rows = [
        (step, math.nan, quantity, value, math.nan)
        for quantity, series in squares.items()
        for step, value in series.items()
    ]
    info = {"experiment": "continued", "scale": "classroom", "settings": settings}
    run = records.Run(records.PROJECT / "nowhere", info)
    run.__dict__["metrics"] = pd.DataFrame(rows, columns=records.COLUMNS)
    return run


LAGS = displacement.spaced_lags(64)


def one_net(cuts=(64, 64, 64)):
    """A run that follows one net: what the training loop notes."""
    found = {
        f"global_displacement_squared[{r}]": {
            int(lag): (1 + 0.1 * r) * lag**1.3 for lag in [0, *LAGS] if lag <= cut
        }
        for r, cut in enumerate(cuts)
    }
    return made_up(found | {"local_displacement_squared": dict.fromkeys(range(9), 0.5)})


def test_one_followed_net_has_an_exponent_and_figures():
    run = one_net()
    lags, squares = reading.displacements(run)
    assert squares.shape == (1, 3, len(LAGS)) and lags.tolist() == LAGS.tolist()
    assert reading.exponent(run).value == pytest.approx(1.3)
    assert quantities.distance_from_brownian(run).value == pytest.approx(0.3)
    assert quantities.displacement_exponent(run).low == pytest.approx(1.3)
    assert quantities.exponent_change(run).value == pytest.approx(0, abs=1e-9)
    for draw in (figures.trajectory, figures.fitting_windows):
        (axes,) = draw(run).axes
        assert axes.get_xlabel() and axes.get_ylabel()
    pyplot.close("all")


def test_learning_rates_and_momenta_meet_at_the_same_effective_rate():
    powers = {
        "base": 0.5, "learning_rate=0.01": 0.7, "learning_rate=0.04": 0.3, "momentum=0.5": 0.9,
        "momentum=0.875": 0.45, "momentum=0.95": 0.35,
    }  # fmt: skip
    rows = {
        f"{kind} ({name}){place}": {
            int(lag): (2 + place[1:2].count("1")) * lag**power for lag in LAGS
        }
        for name, power in powers.items()
        for kind, places in (
            ("global_displacement_squared", ("[0,0]", "[1,0]")),
            ("local_displacement_squared", ("[0]", "[1]")),
        )
        for place in places
    }
    found = reading.effective_rates(made_up(rows, learning_rate=0.02, momentum=0.9))
    assert found.effective_rate.is_monotonic_increasing and len(found) == 6
    by_name = found.set_index("variation")
    assert by_name.effective_rate["momentum=0.875"] == pytest.approx(0.16)
    assert by_name.expected["momentum=0.95"] == pytest.approx(
        0.3
    )  # that of 0.04 and 0.9
    between = 0.7 - 0.2 * np.log(1.6) / np.log(2)
    assert by_name.expected["momentum=0.875"] == pytest.approx(between)
    assert math.isnan(by_name.expected["momentum=0.5"])


@pytest.mark.parametrize(
    ("points", "kept", "longest"), [(8, 4, 16), (6, 3, 19), (3, 3, 19)]
)
def test_reference_points_along_one_trajectory_do_not_overlap(points, kept, longest):
    run = one_net(tuple(64 - r * 64 / points for r in range(points)))
    lags, squares = reading.displacements(run)
    assert squares.shape == (1, kept, len(lags)) and lags[-1] == longest
    apart = -(-points // 4)
    first = [1 + 0.1 * apart * i for i in range(kept)]
    assert squares[0, :, 0] == pytest.approx(first)


def test_what_a_run_lacks_is_said():
    run = made_up({"loss": {0: 1.0}})
    for read in (reading.variations, reading.exponent, reading.shared_share):
        with pytest.raises(UsageError, match="holds no displacements|has no replicas"):
            read(run)
    with pytest.raises(UsageError, match="follows no variation 'other'"):
        reading.displacements(one_net(), "other")
    with pytest.raises(UsageError, match="notes no loss"):
        reading.losses(one_net())
    short = made_up(
        {f"global_displacement_squared[{r}]": {1: 1.0, 2: 2.0} for r in range(2)}
    )
    with pytest.raises(UsageError, match="too short for an exponent"):
        reading.exponent(short)


def test_brownian_motion_and_a_settled_process_fail_where_anomalous_motion_passes():
    by_quantity = {item.quantity: item for item in next(
        claim for claim in claims.read() if claim.name == "B1"
    ).evidence}  # fmt: skip

    def verdict(quantity, power, scatter=0.01):
        noise = np.random.default_rng(0).standard_normal((5, len(LAGS)))
        squares = LAGS**power * (1 + scatter * noise)
        run = made_up({
            f"global_displacement_squared (base)[{k},0]": dict(zip(LAGS.tolist(), row.tolist()))
            for k, row in enumerate(squares)
        })  # fmt: skip
        found = quantities.QUANTITIES[quantity](run)
        return by_quantity[quantity].criteria[-1].judge(found)

    assert verdict("displacement_exponent", 0.6) == "holds"
    assert verdict("displacement_exponent", 0.0) == "does not hold"
    assert verdict("distance_from_brownian", 0.6) == "holds"
    assert verdict("distance_from_brownian", 1.0) == "does not hold"
    assert verdict("distance_from_brownian", 1.0, scatter=0.5) == "undecided"
    assert verdict("exponent_change", 0.6) == "holds"
    bent = np.log(LAGS) / 8  # the exponent grows by a half over four octaves
    assert verdict("exponent_change", bent) == "does not hold"


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
    for figure in [getattr(figures, name)(run) for name in draws] + [
        figures.known(known)
    ]:
        first, *_, last = figure.axes * 2
        assert first.get_ylabel() and (last.get_xlabel() or last.get_xticklabels())
    pyplot.close("all")


def test_tables_hold_every_variation_once(live):
    run, known = live
    table = reading.exponents(run)
    assert sorted(table.variation) == sorted(CHANGES)
    assert table[table.setting == "batch_size"].number.tolist() == ["8"]
    assert (table.low < table.value).all() and (table.distance > 0).all()
    assert quantities.ornstein_uhlenbeck_change(known).value < 0
    assert reading.main(known) == "Brownian" and reading.main(run) == "base"
    low, high = (
        quantities.followed_loss_change(run).low,
        quantities.followed_loss_change(run).high,
    )
    assert low < reading.loss_change(run)[0] < high
