"""Averages of the last weights, against averages that are formed one by one."""
import pytest
import stationarity
import torch
from stationarity import experiments
from stationarity.chapters.ch07_watching_a_distribution_settle import study
from stationarity.chapters.ch08_back_to_practice import study
from stationarity.errors import UsageError
from stationarity.runs.seeds import seed_of
from stationarity.train.loop import ensembles

SMALL = {
    "examples": 100, "hidden": [4], "learning_rates": [0.01, 0.1], "steps": 60,
    "annealed": 20, "windows": [1, 10, 40], "members": 2, "record_every": 5,
}  # fmt: skip


def rows_of(**changes):
    settings = experiments.get("averaging", overrides=SMALL | changes)
    return settings, {row[:1] + row[2:3]: row[3] for row in study.averaging(settings)}


def test_averages_are_those_of_the_weights_stored_one_by_one():
    settings, rows = rows_of()
    task = study.load_task(settings)
    seeds = [seed_of(settings.seed, "member", k) for k in range(2)] * 2
    theta = ensembles.initialise(task.widths, seeds)
    buffer, stored = torch.zeros_like(theta), []
    rates = torch.tensor([0.01, 0.01, 0.1, 0.1])[:, None]
    for chosen in task.batches(seeds, 0, 60):
        stored.append(theta.double().clone())
        _, gradients = task.gradients(theta, chosen)
        ensembles.sgd_step(theta, gradients, buffer, rates, settings.momentum)
    for window in settings.windows:
        mean = torch.stack(stored[-window:]).mean(0)
        losses = task.exact(mean.float())[0].view(2, 2).mean(1)
        for rate, loss in zip((0.01, 0.1), losses):
            assert rows[window, f"loss ({rate:g})"] == pytest.approx(loss.item(), rel=1e-5)
    moments = torch.stack([task.exact(w.float())[0] for w in stored[20::5]])
    expected = moments.mean(0).view(2, 2).mean(1)[1].item()
    assert rows[40, "moment_loss (0.1)"] == pytest.approx(expected, rel=1e-6)
    gain = rows[40, "moment_loss (0.1)"] - rows[40, "loss (0.1)"]
    assert rows[40, "gain (0.1)"] == pytest.approx(gain, rel=1e-6)


def test_a_window_of_one_is_the_last_moment_and_annealing_follows_it():
    _, rows = rows_of(record_every=1)
    assert rows[0, "annealed_loss (0.1)"] != rows[1, "loss (0.1)"]  # one step later
    assert (19, "annealed_loss (0.1)") in rows
    assert (20, "annealed_loss (0.1)") not in rows


def test_accuracy_is_the_share_of_right_answers():
    settings = experiments.get("averaging", overrides=SMALL)
    task = study.load_task(settings)
    theta = ensembles.initialise(task.widths, [1])
    net = stationarity.nets.mlp.mlp(task.widths)
    torch.nn.utils.vector_to_parameters(theta[0], net.parameters())
    right = (net(task.test_inputs).argmax(1) == task.test_labels).double().mean()
    assert task.accuracy(theta).item() == pytest.approx(right.item())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": [10, 5]}, "windows must be positive and rising"),
        ({"windows": [10, 100]}, "must fit into the 60 steps"),
        ({"windows": [1, 40]}, "must hold a moment: lower record_every, which is 5"),
        ({"members": 1}, "members must be at least 2"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        rows_of(**changes)
