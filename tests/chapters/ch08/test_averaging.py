"""Averages of the last weights, against averages that are formed one by one."""

import numpy as np
import pytest
import stationarity
import torch
from stationarity.chapters import small
from stationarity.chapters.ch08_back_to_practice import reading, study
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.stats.estimate import Estimate
from stationarity.train import ensembles

SMALL = {
    "examples": 100, "hidden": [4], "learning_rates": [0.01, 0.1], "steps": 60,
    "annealed": 20, "windows": [1, 10, 40], "members": 2, "record_every": 5,
}  # fmt: skip


def rows_of(**changes):
    settings = get("averaging", overrides=SMALL | changes)
    table = metrics.frame(study.averaging(settings, Place()))
    means = table.groupby(["step", "quantity", "of"]).value
    return settings, means.mean()


def test_averages_are_those_of_the_weights_stored_one_by_one():
    settings, rows = rows_of()
    task = small.load(settings, Place())
    seeds = small.seeds(settings.seed, "member", 2) * 2
    theta = ensembles.initialise(task.widths, seeds)
    buffer, stored = torch.zeros_like(theta), []
    rates = torch.tensor([0.01, 0.01, 0.1, 0.1])[:, None]
    for batch in task.batches(seeds, 0, 60):
        stored.append(theta.double().clone())
        _, gradients = ensembles.losses_and_gradients(theta, task.widths, *batch)
        gradients += settings.weight_decay * theta
        ensembles.sgd_step(theta, gradients, buffer, rates, settings.momentum)
    for window in settings.windows:
        mean = torch.stack(stored[-window:]).mean(0)
        losses = task.exact(mean.float()).losses.view(2, 2).mean(1)
        for rate, loss in zip((0.01, 0.1), losses):
            assert rows[window, "loss", f"learning_rate={rate:g}"] == pytest.approx(
                loss.item(), rel=1e-5
            )
    moments = torch.stack([task.exact(w.float()).losses for w in stored[20::5]])
    expected = moments.mean(0).view(2, 2).mean(1)[1].item()
    assert rows[40, "moment_loss", "learning_rate=0.1"] == pytest.approx(expected, rel=1e-6)


def test_a_window_of_one_is_the_last_moment_and_annealing_follows_it():
    _, rows = rows_of(record_every=1)
    assert (
        rows[0, "annealed_loss", "learning_rate=0.1"] != rows[1, "loss", "learning_rate=0.1"]
    )  # one step later
    assert (19, "annealed_loss", "learning_rate=0.1") in rows
    assert (20, "annealed_loss", "learning_rate=0.1") not in rows


def test_accuracy_is_the_share_of_right_answers():
    task = small.load(get("averaging", overrides=SMALL), Place())
    theta = ensembles.initialise(task.widths, [1])
    net = stationarity.nets.mlp(task.widths)
    torch.nn.utils.vector_to_parameters(theta[0], net.parameters())
    right = (net(task.test[0]).argmax(1) == task.test[1]).double().mean()
    assert study._evaluate(task, theta)[1].item() == pytest.approx(right.item())


WINDOWS, MEMBERS = (1, 10, 100), 6


def synthetic(tmp_path, losses, moments, annealed=0.1):
    """A run at one rate whose averages have these losses, (windows, members)."""
    more = {"windows": WINDOWS, "steps": 200, "members": MEMBERS, "learning_rates": [0.1]}
    settings = get("averaging", overrides=SMALL | more)
    at = {"of": "learning_rate=0.1", "member": range(MEMBERS)}
    rows = metrics.rows("loss", losses, step=WINDOWS, of=at["of"], member=at["member"])
    rows += metrics.rows("moment_loss", moments, step=WINDOWS, of=at["of"], member=at["member"])
    rows += metrics.rows("annealed_loss", [annealed] * MEMBERS, step=20, **at)
    right = np.outer([0.7, 0.8, 0.9], np.ones(MEMBERS))
    rows += metrics.rows("accuracy", right, step=WINDOWS, of=at["of"], member=at["member"])
    rows += metrics.rows("annealed_accuracy", [0.85] * MEMBERS, step=20, **at)
    rows += metrics.rows("late_accuracy", 0.9 + 0.01 * np.arange(MEMBERS), step=50, **at)
    rows += metrics.rows("spread_in_time", [0.02] * MEMBERS, step=50, **at)
    tmp_path.mkdir(exist_ok=True)
    info = records.new_info("averaging", "classroom", settings, "", "cpu")
    return records.write(tmp_path, info | {"status": "complete"}, rows)


def test_averages_are_compared_with_one_another(tmp_path):
    """A loss that falls through the longest window: its own moments would flatter it."""
    level = np.random.default_rng(0).normal(1.0, 0.3, MEMBERS)  # members differ widely
    jitter = np.linspace(-0.001, 0.001, MEMBERS)
    losses = np.stack([level, level - 0.05 + jitter, level + 0.02 - jitter])
    moments = [level + jitter, level + jitter, level + 0.1]
    (found,) = reading.averaging(synthetic(tmp_path, losses, moments))
    assert found.best == 10
    assert found.best_over_last.high < -0.04
    assert found.longest_over_best.low > 0.06
    assert found.longest_over_last.low > 0.01
    assert found.earlier_over_later.low > 0.09
    assert found.last == pytest.approx(level.mean())
    assert found.right_longest_over_best.value == pytest.approx(0.1)  # best by the loss
    assert found.right_annealed_over_longest.value == pytest.approx(-0.05)


def test_where_the_last_moment_is_best_averaging_gains_nothing(tmp_path):
    level = np.random.default_rng(0).normal(1.0, 0.3, MEMBERS)
    losses = np.stack([level, level + 0.1, level + 0.2])
    (found,) = reading.averaging(synthetic(tmp_path, losses, losses + 0.3))
    assert found.best == 1
    assert found.best_over_last == (0, 0, 0)


def test_the_best_window_of_equal_ones_gains_nothing(tmp_path):
    """Picked for each member on the others: noise alone has no gain, on the average."""
    generator, gains = np.random.default_rng(1), []
    for number in range(40):
        losses = generator.normal(1.0, 0.1, (3, MEMBERS))
        run = synthetic(tmp_path / str(number), losses, np.ones((3, MEMBERS)))
        gains.append(reading.averaging(run)[0].best_over_last.value)
    assert abs(np.mean(gains)) < 3 * np.std(gains) / np.sqrt(40)
    assert (losses.min(0) - 1.0).mean() < -0.05  # what picking each member's own would give


def test_intervals_are_by_students_t_and_hold_jointly(tmp_path):
    losses = np.ones((3, MEMBERS)) + np.random.default_rng(2).normal(0, 0.1, (3, MEMBERS))
    losses[0] = 1
    run = synthetic(tmp_path, losses, np.ones((3, MEMBERS)))
    found = reading.averaging(run)[0].longest_over_last
    error = losses[-1].std(ddof=1) / np.sqrt(MEMBERS)
    assert (found.high - found.value) / error == pytest.approx(2.571, abs=0.001)
    of_three = Estimate.mean(losses[-1], 3)
    assert (of_three.high - of_three.value) / error == pytest.approx(3.534, abs=0.001)
    row = reading.spreads(run).iloc[0]
    assert row["in time"] == pytest.approx(2)
    assert row["low"] < row["over seeds"] == pytest.approx(1.871, abs=0.001)
    assert row["high"] / row["over seeds"] == pytest.approx(2.453, abs=0.001)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": [10, 5]}, "windows must be two or more, rising"),
        ({"windows": [0, 40]}, "windows.0 must be greater than 0"),
        ({"windows": [10, 100]}, "must fit into the 60 steps"),
        (
            {"windows": [1, 40]},
            "the last window but one, 1, must hold one: lower it, or record_every",
        ),
        ({"members": 1}, "members must be greater than or equal to 2"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        rows_of(**changes)
