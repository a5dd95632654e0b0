"""Averages of the last weights, against averages that are formed one by one."""

import pytest
import stationarity
import torch
from stationarity.chapters.ch08_back_to_practice import study
from stationarity.errors import UsageError
from stationarity.runs import metrics
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.train import ensembles, small

SMALL = {
    "examples": 100, "hidden": [4], "learning_rates": [0.01, 0.1], "steps": 60,
    "annealed": 20, "windows": [1, 10, 40], "members": 2, "record_every": 5,
}  # fmt: skip


def rows_of(**changes):
    settings = get("averaging", overrides=SMALL | changes)
    table = metrics.frame(study.averaging(settings, Place()))
    return settings, table.set_index(["step", "quantity", "of"]).value


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
    gain = rows[40, "moment_loss", "learning_rate=0.1"] - rows[40, "loss", "learning_rate=0.1"]
    assert rows[40, "gain", "learning_rate=0.1"] == pytest.approx(gain, rel=1e-6)


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
