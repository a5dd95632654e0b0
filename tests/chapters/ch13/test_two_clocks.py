"""Two clocks: the nets against PyTorch's, the arms against what they are to do, the fits."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from stationarity.chapters.ch13_two_clocks import figure_1, nets, reading, relaxation, study
from stationarity.chapters.ch13_two_clocks.arms import FULL, first_arms, interventions
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")
WIDTHS = (6, 5, 4, 3)
SMALL = {
    "examples": 96, "hidden": [5, 4], "batch_size": 16, "stages": [16, 16, 16], "members": 2,
    "full_steps": 8, "measure_every": 1, "learning_rates": [0.1, 0.2], "decays": [0.02, 0.01],
}  # fmt: skip


def module(theta):
    """The net of a row of theta, in PyTorch's own layers."""
    parts, layers = nets.views(theta[None], WIDTHS), []
    for number, (inputs, units) in enumerate(itertools.pairwise(WIDTHS[:-1])):
        layer = nn.Linear(inputs, units, bias=False)
        gain, bias = parts[2 + 2 * number : 4 + 2 * number]
        batch = nn.BatchNorm1d(units)
        layer.weight.data, batch.weight.data = parts[number][0].T, gain[0, 0]
        batch.bias.data = bias[0, 0]
        layers += [layer, batch, nn.ReLU()]
    last = nn.Linear(*WIDTHS[-2:])
    last.weight.data, last.bias.data = parts[-2][0].T, parts[-1][0, 0]
    return nn.Sequential(*layers, last).double()


def losses(theta, widths, inputs, targets, norm):
    """The losses of nets, with a graph."""
    parts, hidden = nets.views(theta, widths), len(widths) - 2
    for layer in range(hidden):
        raw = inputs @ parts[layer]
        gain, bias = parts[hidden + 2 * layer : hidden + 2 * layer + 2]
        variance, mean = torch.var_mean(raw, 1, correction=0, keepdim=True)
        value = torch.where(norm, (raw - mean) / (variance + nets.EPSILON).sqrt(), raw)
        inputs = torch.relu(value * gain + bias)
    logits = inputs @ parts[-2] + parts[-1]
    return -(logits.log_softmax(2) * targets).sum(2).mean(1)


def a_batch(count=3):
    draw = torch.Generator().manual_seed(0)
    theta = nets.initialise(WIDTHS, range(count)).double()
    theta += 0.3 * torch.randn(theta.shape, generator=draw, dtype=torch.float64)
    inputs = torch.randn(count, 8, WIDTHS[0], generator=draw, dtype=torch.float64)
    targets = torch.rand(count, 8, WIDTHS[-1], generator=draw, dtype=torch.float64)
    return theta, inputs, targets / targets.sum(2, keepdim=True)


def test_a_net_is_that_of_pytorchs_layers():
    theta, inputs, targets = a_batch()
    norm = torch.ones(3, 1, 1, dtype=torch.bool)
    found, gradients = nets.losses_and_gradients(theta, WIDTHS, inputs, targets, norm)
    for number, row in enumerate(theta):
        net = module(row)
        loss = nn.functional.cross_entropy(net(inputs[number]), targets[number])
        loss.backward()
        assert found[number].item() == pytest.approx(loss.item(), rel=1e-12)
        *parts, weight, bias = nets.views(gradients[number : number + 1], WIDTHS)
        for layer, (part, own) in enumerate(zip(parts, (net[0], net[3]))):
            torch.testing.assert_close(part[0].T, own.weight.grad)
            batch = net[3 * layer + 1]
            torch.testing.assert_close(parts[2 + 2 * layer][0, 0], batch.weight.grad)
            torch.testing.assert_close(parts[3 + 2 * layer][0, 0], batch.bias.grad)
        torch.testing.assert_close(weight[0].T, net[6].weight.grad)
        torch.testing.assert_close(bias[0, 0], net[6].bias.grad)


def test_a_net_without_normalisation_is_affine_in_its_units():
    theta, inputs, targets = a_batch()
    norm = torch.tensor([True, False, True])[:, None, None]
    found, gradients = nets.losses_and_gradients(theta, WIDTHS, inputs, targets, norm)
    parts = [part[1] for part in nets.views(theta, WIDTHS)]
    value = torch.relu(inputs[1] @ parts[0] * parts[2] + parts[3])
    value = torch.relu(value @ parts[1] * parts[4] + parts[5])
    logits = value @ parts[-2] + parts[-1]
    expected = nn.functional.cross_entropy(logits, targets[1])
    assert found[1].item() == pytest.approx(expected.item(), rel=1e-12)
    own = losses(theta.requires_grad_(), WIDTHS, inputs, targets, norm)
    torch.testing.assert_close(found, own.detach())
    torch.testing.assert_close(gradients, torch.autograd.grad(own.sum(), theta)[0])


def test_the_gradient_is_at_right_angles_to_each_units_weights():
    theta, inputs, targets = a_batch()
    count = nets.normalised(WIDTHS)
    theta[:, :count] *= 30  # so that epsilon is small beside the variances
    norm = torch.ones(3, 1, 1, dtype=torch.bool)
    _, gradients = nets.losses_and_gradients(theta, WIDTHS, inputs, targets, norm)
    for part, own in zip(nets.views(theta, WIDTHS)[:2], nets.views(gradients, WIDTHS)[:2]):
        cosine = (part * own).sum(1) / part.norm(dim=1) / own.norm(dim=1)
        assert cosine.nan_to_num().abs().max() < 1e-4
    units = nets.unit_norms(theta, WIDTHS)
    spread = nets.by_unit(units, WIDTHS)
    shrunk = theta.clone()
    shrunk[:, :count] /= spread
    torch.testing.assert_close(nets.unit_norms(shrunk, WIDTHS), torch.ones_like(units))


def test_exact_statistics_are_the_means_over_the_minibatches():
    theta, _, _ = a_batch(2)
    inputs, targets = (torch.cat([part, part.flip(1) * 0.5]) for part in a_batch(3)[1:])
    norm = torch.ones(2, 1, 1, dtype=torch.bool)
    found = nets.exact(theta, WIDTHS, inputs, targets, norm)
    each = [
        nets.losses_and_gradients(theta, WIDTHS, x.expand(2, -1, -1), y.expand(2, -1, -1), norm)
        for x, y in zip(inputs, targets)
    ]
    gradients = torch.stack([gradient for _, gradient in each])
    torch.testing.assert_close(found.losses, torch.stack([loss for loss, _ in each]).mean(0))
    torch.testing.assert_close(found.gradients, gradients.mean(0))
    torch.testing.assert_close(found.noise, gradients.var(0).sum(1))


@pytest.fixture(scope="module")
def small():
    settings = get("two_clocks", overrides=SMALL)
    return settings, metrics.frame(study.two_clocks(settings, Place()))


def series(table, quantity, arm, stage=2, member=0):
    rows = table[(table.quantity == quantity) & (table.of == arm) & (table["index"] == stage)]
    return rows[rows.member == member].value.to_numpy()


def test_labels_of_all_draws_are_wrong_as_often_as_is_set():
    task = study.Task(get("two_clocks", overrides=SMALL), Place())
    right = task.draws.mean(1).max(1).values
    torch.testing.assert_close(right, torch.full_like(right, 0.73))
    torch.testing.assert_close(task.draws.sum(2), torch.ones(96, study.COPIES))


def test_stages_are_those_of_the_optimiser_of_pytorch(small):
    """The first arm through both drops, by autograd and torch.optim.SGD."""
    settings, table = small
    task, (arm, *_) = study.Task(settings, Place()), first_arms(settings)
    seeds = study.small.seeds(settings.seed, "member", 2)
    theta = nets.initialise(task.widths, seeds)[:1].requires_grad_()
    task.norm = norm = torch.ones(1, 1, 1, dtype=torch.bool)
    sgd = torch.optim.SGD([theta], arm.rate, momentum=0.9, weight_decay=arm.decay)
    seen = []
    for step, (inputs, targets) in enumerate(task.batches(seeds[:1], 0, 48, 1)):
        sgd.param_groups[0]["lr"] = arm.rate / 10 ** (step // 16)
        seen.append(task.exact(theta.detach()).losses.item())
        sgd.zero_grad()
        losses(theta, task.widths, inputs, targets, norm).sum().backward()
        sgd.step()
    for stage in (1, 2, 3):
        expected = seen[16 * stage - 16 : 16 * stage]
        found = series(table, "loss", arm.name, stage)[:-1]
        assert found == pytest.approx(expected, rel=1e-4)


def test_branches_share_their_beginning_and_do_what_they_are_called(small):
    settings, table = small
    base, names = first_arms(settings)[0].name, [a.name for a in interventions(settings)]
    for name in (*names, FULL):
        for quantity in ("loss", "gradient_norm", "weight_norm"):
            first = series(table, quantity, name)[0]
            assert first == pytest.approx(series(table, quantity, base)[0], rel=1e-6)
    norms = {name: series(table, "weight_norm", name) for name in (base, *names)}
    assert norms["norm held"] == pytest.approx(norms["norm held"][0], rel=1e-5)
    apart = norms["decay of others alone"] - norms["decay of normalised alone"]
    assert apart[-1] > 0.001
    assert norms["no decay"][-1] > norms[base][-1]
    whole, parts = (series(table, q, base) for q in ("gradient_norm", "normalised_norm"))
    assert np.hypot(parts, series(table, "others_norm", base)) == pytest.approx(whole)


@pytest.fixture
def task():
    found = study.Task(get("two_clocks", overrides=SMALL), Place())
    found.keeper.bar = SimpleNamespace(advance=lambda: None)
    return found


def test_a_held_effective_rate_scales_the_gradient_by_the_square_of_the_norm(task):
    """Weights that are half as long move half as far: by the same angle."""
    arm = next(a for a in interventions(task.settings) if a.effective)._replace(decay=0.0)
    theta = nets.initialise(task.widths, [0]).repeat(2, 1)
    count = nets.normalised(task.widths)
    theta[1, :count] *= 0.5
    begun = nets.unit_norms(theta[:1], task.widths).repeat(2, 1)
    given = task.keeper.begin
    task.keeper.begin = lambda **state: given(**state | {"begun": begun})
    state = theta, torch.zeros_like(theta)
    after, *_ = study._stage(task, [arm, arm], state, [0], 0, 1, False)
    moved = (after - theta)[:, :count]
    torch.testing.assert_close(moved[1], moved[0] / 2, rtol=2e-2, atol=1e-6)


def test_the_full_gradient_is_that_of_pytorch_over_all_minibatches(task, small):
    arm = first_arms(task.settings)[0]
    theta = nets.initialise(task.widths, [0])
    state, norm = (theta, torch.zeros_like(theta)), torch.ones(1, 1, 1, dtype=torch.bool)
    after, *_ = study._stage(task, [arm], state, [0], 0, 5, True)
    theta = theta.clone().requires_grad_()
    sgd = torch.optim.SGD([theta], arm.rate, momentum=0.9, weight_decay=arm.decay)
    for _ in range(5):
        sgd.zero_grad()
        each = [
            losses(theta, task.widths, x[None], y[None], norm)
            for x, y in zip(task.partition, task.targets)
        ]
        torch.cat(each).mean().backward()
        sgd.step()
    torch.testing.assert_close(after, theta.detach(), rtol=1e-4, atol=1e-5)
    assert len(series(small[1], "loss", FULL)) == task.settings.full_steps + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decays": [0.01]}, "must be equally many"),
        ({"hidden": []}, "must name a layer"),
        ({"measure_every": 5}, "lower measure_every"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        study.two_clocks(get("two_clocks", overrides=SMALL | changes), Place())


# --- relaxations -------------------------------------------------------------------------


def test_a_fit_finds_the_rate_of_a_made_up_curve():
    times = np.linspace(0, 30, 60)
    curves = [2 - rise * np.exp(-rate * times) for rise, rate in ((1, 0.1), (-1, 0.5))]
    found = relaxation.fit(times, curves)
    assert found.rate == pytest.approx([0.1, 0.5], rel=1e-3)
    assert found.level == pytest.approx([2, 2], rel=1e-3)
    assert found.rise == pytest.approx([1, -1], rel=1e-3)
    with pytest.raises(UsageError, match="five points"):
        relaxation.fit(times[:4], [times[:4]])


def test_the_interval_of_a_curves_rate_covers_it():
    """Of the size and scatter of stage 2 of the paper's figure."""
    epochs, norms = figure_1.points(2)
    fitted = relaxation.fit_one(epochs, norms)
    assert figure_1.coverage(fitted, epochs, 0.0) >= 0.9
    assert 0.7 < figure_1.coverage(fitted, epochs, 0.6) < 0.97


def test_a_factor_is_that_of_a_made_up_curve():
    epochs = np.arange(30) + 0.5
    noise = np.random.default_rng(0).normal(0, 0.01, 30)
    curve = 3 - 2 * np.exp(-0.1 * epochs)
    assert relaxation.factor(epochs, curve, 0.1) == pytest.approx((3, 3, 3))
    found = relaxation.factor(epochs, curve + noise, 0.1)
    assert found.low < 3 < found.high < 3.2


def test_the_norm_on_the_sphere_is_that_of_a_simulation():
    """Noise at right angles to w, of length q / ||w||, and decay; the step size drops."""
    rng, rate, decay, q = np.random.default_rng(0), 0.01, 0.05, 1.0
    balance = (rate * q**2 / (2 * decay)) ** 0.25
    w = np.zeros((50, 40))
    w[:, 0] = balance * 10**0.25
    for _ in range(2000):  # one memory
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        noise = rng.standard_normal(w.shape)
        noise -= w * (noise * w).sum(1, keepdims=True) / norm**2
        w = w - rate * (q / np.sqrt(39) / norm * noise + decay * w)
    found = np.linalg.norm(w, axis=1).mean() / balance
    assert found == pytest.approx(relaxation.sphere([1.0])[0], rel=0.02)


# --- what a run says -----------------------------------------------------------------------


@pytest.fixture
def made_up(tmp_path):
    """A run whose nets settle at 1.2 times the predicted rate, but for those without decay."""
    settings = get("two_clocks")
    steps, rng = (
        np.arange(0, settings.stages[1] + 1, settings.measure_every),
        (np.random.default_rng(0)),
    )
    base, *others = first_arms(settings)[:-1]
    arms, rows = [(base, 0.1), *((arm, 0.1) for arm in others)], []
    more = {"no decay": 0.0, "norm held": 0.05}
    more |= {f"decay of {which} alone": 0.1 for which in ("normalised", "others")}
    more |= {"no normalisation": 0.1, "full gradient": 0.0}
    arms += [(base._replace(name=name), rise) for name, rise in more.items()]
    for one, rise in arms:
        arm, rate = one.name, 1.2 * 2 * one.rate / 10 * one.decay / 0.1
        curve = 0.1 + rise * (1 - np.exp(-rate * steps))
        for member in range(settings.members):
            values = curve + rng.normal(0, 0.005, len(steps))
            at = {"of": arm, "member": member, "index": 2, "step": steps}
            for name in ("gradient_norm", "normalised_norm", "weight_norm"):
                rows += metrics.rows(name, values, **at)
            rows += metrics.rows("gradient_norm", values[::-1], **at | {"index": 3})
            rows += metrics.rows("angular_norm", values * 2, **at)
    info = records.new_info("two_clocks", "classroom", settings, "", "cpu")
    return records.write(tmp_path, info | {"status": "complete"}, rows)


def test_the_ratio_is_that_of_the_rates_and_its_cases_are_apart(made_up):
    found = reading.settling_ratio(made_up)
    assert found.low < 1.2 < found.high
    assert found.value == pytest.approx(1.2, abs=0.15)
    for case, speed in (("quarter", 0.25), ("fourfold", 4)):
        assert reading.settling_ratio(made_up, case).value == pytest.approx(speed, rel=0.3)
    known = reading.settling_ratio(made_up, "predicted")
    assert known.low < 1 < known.high
    assert known.high - known.low > 0.4 * (found.high - found.low)  # as uncertain as the run


def test_the_decays_clock_explains_a_rise_at_its_rate_and_nothing_without_decay(made_up):
    known = reading.settling_share(made_up, "predicted")
    assert 0.85 < reading.settling_share(made_up).low < known.high <= 1
    assert reading.settling_share(made_up, "fourfold").high < known.low - 0.2
    bare = reading.settling_share(made_up, "no_decay")
    assert abs(bare.value) < 0.1
    slow = reading.settling_share(made_up, "quarter")
    assert reading.settling_share(made_up, "fourfold").value < slow.value < known.value


def test_a_fall_at_the_decays_rate_is_no_rise():
    times = np.arange(40.0)
    curves = np.stack([1 - np.exp(-0.1 * times), np.exp(-0.1 * times), times])
    curves += np.random.default_rng(0).normal(0, 1e-6, curves.shape)
    found = relaxation.explained(times, curves, 0.1)
    correlation = np.corrcoef(times, np.exp(-0.1 * times))[0, 1]
    assert found == pytest.approx([1, -1, correlation**2], abs=1e-4)


def test_the_share_of_the_papers_curve_is_that_of_its_points():
    found = figure_1.shares()["stage 2, batches of 256"]
    epochs, norms = figure_1.points(2)
    shape = np.exp(-figure_1.predicted_rates()[2, 256] * epochs)
    assert found.value == pytest.approx(np.corrcoef(norms, shape)[0, 1] ** 2)
    assert found.low < found.value < found.high


def test_the_shares_of_a_rise_add_up_and_rates_that_follow_decay_have_the_power_one(made_up):
    assert sum(share.value for share in reading.shares(made_up).values()) == pytest.approx(1)
    assert reading.power_of_decay(made_up).value == pytest.approx(1, abs=0.2)


def test_a_run_in_short_is_its_rises_shares_and_rates(made_up):
    told, (base, *_) = reading.in_short(made_up), reading.second_stage(made_up)
    assert told["fitted over predicted rate"] == reading.settling_ratio(made_up)
    assert told["rise"] == reading.rise(made_up, ("gradient_norm",), base)
    assert told["rise, stage 3"].value == pytest.approx(1 / told["rise"].value, rel=0.1)
    assert told["rise, full gradient"].value == pytest.approx(1, abs=0.05)
    held = np.log(told["rise, norm held"].value) / np.log(told["rise"].value)
    assert told["share of it with the norm held"].value == pytest.approx(held, abs=0.02)
    bare = told["the same, no decay"]  # a flat curve has any rate
    assert bare.high - bare.low > 2


def test_the_power_on_the_sphere_is_one_where_its_curves_show_the_predicted_rate():
    table = pd.DataFrame({"predicted": [0.1, 0.2, 0.4], "sphere": 1.0})
    assert reading.power_on_sphere(table) == pytest.approx(1)
    assert reading.power_on_sphere(table.assign(sphere=table.predicted)) == pytest.approx(2)


def test_arms_that_decay_keeps_from_learning_are_told_of_by_name():
    changes = {"learning_rates": [0.1, 0.1], "decays": [0.001, 5.0], "plain_decay": 0.001}
    settings = get("two_clocks", overrides=SMALL | changes | {"stages": [200, 40, 40]})
    with pytest.warns(UserWarning, match="lower weight_decay") as told:
        study.two_clocks(settings, Place())
    told = [str(one.message) for one in told if "nothing is learned" in str(one.message)]
    assert len(told) == 1 and "decay=5" in told[0], told


def test_a_rise_is_that_of_the_means_over_quarters(made_up):
    (arm, *_), (steps, values) = (
        reading.second_stage(made_up),
        reading.curves(made_up, "gradient_norm", reading.second_stage(made_up)[0]),
    )
    passed = steps / steps[-1]
    first = values[:, (passed > 0) & (passed <= 0.25)].mean(1)
    expected = np.log(values[:, passed > 0.75].mean(1) / first).mean()
    found = reading.rise(made_up, ("gradient_norm",), arm)
    assert np.log(found.value) == pytest.approx(expected)
    flat = reading.rise(made_up, ("normalised_norm", "angular_norm"), arm)
    assert flat == pytest.approx((1, 1, 1))


def test_the_papers_stages_are_thirty_epochs_each():
    epochs, norms = figure_1.points(2)
    assert list(epochs[[0, -1]]) == [0.5, 29.5]
    assert norms[0] == pytest.approx(0.2168)


def test_a_curve_is_half_way_when_its_rate_says_so(made_up):
    arm = reading.rate_arms(made_up)[0]
    found = reading.half_way(made_up, arm)
    assert found == pytest.approx(np.log(2) / 2.4, abs=0.05)


def test_arms_lie_together_on_the_clock_that_they_keep(made_up):
    found = reading.apart(made_up, "weight_norm")
    assert found["weights"] < 0.3 * found["loss"]
    arm = reading.rate_arms(made_up)[0]
    assert reading.to_last(made_up, "weight_norm", arm)[1][:, -1] == pytest.approx(1, abs=0.2)


def test_the_papers_rates_are_over_what_is_predicted():
    fitted = {2: relaxation.fit_one(*figure_1.points(2))}
    table = figure_1.rates(fitted, {(2, 256): 0.1, (2, 128): 0.2})
    assert table.ratio.tolist() == pytest.approx([fitted[2].rate.value / r for r in (0.1, 0.2)])
    assert table.memories.tolist() == pytest.approx([1.5, 3])
    assert figure_1.predicted_rates()[2, 256] == pytest.approx(2 * 0.01 * 1e-4 / 0.1 * 5004)
    found = figure_1.ratios()["stage 2, batches of 256"]
    assert found == pytest.approx(fitted[2].rate / figure_1.predicted_rates()[2, 256])
    scatter = figure_1.one_number(fitted, {2: 0.1})["stage 2"]
    assert scatter.min() == scatter["exponential, three numbers"]
