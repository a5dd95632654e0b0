"""A GPT that is watched: what it computes, its schedules, and what is read of its watches."""

import math

import numpy as np
import pytest
import stationarity
import torch
from stationarity import UsageError, data, measure
from stationarity.chapters.ch14_your_own_training import figures, gpt, reading, schedules, study
from stationarity.runs.records import Run
from stationarity.runs.settings import get
from stationarity.watching.watched import watched

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {
    "layers": 1, "width": 8, "heads": 2, "context": 8, "batch_size": 4, "warmup": 5,
    "stages": (60, 60), "measure_every": 5, "measure_batches": 3, "sharpness_batches": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STATIONARITY_RUNS", str(tmp_path_factory.mktemp("runs")))
        return stationarity.run("your_training", settings=SMALL)


def model(**changes):
    torch.manual_seed(0)
    sizes = {"context": 6, "layers": 2, "width": 8, "heads": 2} | changes
    return gpt.GPT(11, **sizes).double()


def test_a_token_sees_those_before_it_and_no_later_one():
    net, tokens = model(), torch.randint(11, (2, 6))
    changed = tokens.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 11
    moved = (net(tokens) - net(changed)).abs().amax((0, 2)) > 1e-9
    assert moved.tolist() == [False, False, False, True, True, True]


def test_attention_is_that_of_pytorch():
    block, states = model().blocks[0], torch.randn(3, 5, 8).double()
    parts = block.ask(states).view(3, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
    expected = torch.nn.functional.scaled_dot_product_attention(*parts, is_causal=True)
    expected = expected.transpose(1, 2).reshape(3, 5, 8)
    assert torch.allclose(block.attend(states), expected)


def test_a_new_model_knows_nothing_and_its_curvature_is_measured():
    net = model()
    batch = torch.randint(11, (4, 6)), torch.randint(11, (4, 6))
    assert gpt.objective(net, batch).item() == pytest.approx(math.log(11), abs=0.02)
    assert measure.sharpness(net, gpt.objective, [batch]).eigenvalues[0] > 0


def test_the_rates_of_both_schedules():
    settings = get("your_training", overrides=SMALL | {"learning_rate": 1.0})
    cosine, stages = (
        [schedules.rate(settings, name, step) for step in range(settings.steps)]
        for name in schedules.NAMES
    )
    warm = [0.2, 0.4, 0.6, 0.8, 1.0]
    assert np.allclose(cosine[:5], warm) and np.allclose(stages[:5], warm)
    assert np.allclose(stages[5:], [1.0] * 60 + [0.1] * 60)
    assert cosine[5] == 1.0 and cosine[65] == pytest.approx(0.5) and cosine[-1] < 1e-3


def test_a_width_that_heads_do_not_share_is_refused():
    with pytest.raises(UsageError, match="multiple of heads, 3"):
        get("your_training", overrides={"heads": 3})


@pytest.mark.filterwarnings("ignore:The training is no longer finite")
def test_a_training_that_diverges_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path))
    with pytest.raises(UsageError, match=r"diverged \(cosine\): lower the setting"):
        stationarity.run("your_training", settings=SMALL | {"learning_rate": 1e30})


def test_each_moment_is_the_training_up_to_its_end(run):
    found = reading.moments(run)
    lasts = {label: int(one.series("loss").step.max()) for label, one in found.items()}
    assert lasts == {"cosine": 125, "held": 65, "lower": 125}
    held, lower = (found[label].series("loss").value for label in ("held", "lower"))
    assert held.tolist() == lower[:65].tolist()
    steady = {label: watched(one).steady for label, one in found.items()}
    assert steady == {"cosine": False, "held": True, "lower": True}
    assert (watched(found["held"]).first, watched(found["lower"]).begin) == (26, 66)


def test_the_watches_ask_all_questions_and_leave_only_the_run(run):
    found = reading.reports(run)
    table = reading.verdicts(found)
    assert len(table) == 7 and table.notna().all(axis=None)
    for key in found["cosine"]:
        assert len(reading.answers(found, key)) == 3
    assert sorted(path.name for path in run.folder.iterdir()) == ["metrics.parquet", "run.json"]


def test_without_a_constant_rate_no_weights_are_called_stationary(run):
    cosine = reading.reports(run)["cosine"]
    assert cosine["spread"]["verdict"] == "cannot be judged"
    assert cosine["weights"]["verdict"] != "yes"


def test_a_report_is_a_page(run):
    text = reading.as_page(reading.moments(run)["held"])
    assert text.startswith("<!DOCTYPE html>") and "<title>held: what its" in text


def test_the_sharpness_is_told_over_the_stable_one(run):
    cosine = reading.moments(run)["cosine"]
    found = reading.over_stable(cosine)
    names = "sharpness", "fresh_curvature", "stable_sharpness"
    few, fresh, stable = (cosine.series(name).value[0] for name in names)
    assert len(found) == 26 and found.loc[1].tolist() == [few / stable, fresh / stable]
    rows = cosine.metrics
    without = Run(cosine.folder, cosine.info)
    vars(without)["metrics"] = rows[rows.quantity != "sharpness"]
    assert reading.over_stable(without).empty


def test_the_drop_is_seen_against_the_cosine(run):
    """The steps 60 to 65 and 72 to 77, of a stage of 60 steps that begins after the 65th."""
    found = reading.moments(run)
    above = found["lower"].series("loss").value - found["cosine"].series("loss").value
    before, after = reading.drop(run)
    assert before.value == pytest.approx(above[59:65].mean())
    assert after.value == pytest.approx(above[71:77].mean())
    assert before.low < before.value < before.high


def test_push_and_pulls_are_those_of_the_steps(run):
    """The decay's is that of AdamW's own decay: weights shrink by it."""
    table = reading.balance(run).set_index("stage")
    assert list(table.index) == ["held", "lower"]
    held = reading.moments(run)["held"]
    size = held.series("group_weight_square", index=0).set_index("step").value
    moved = held.series("group_update_square", index=0).set_index("step").value
    push = moved.loc[26:65].mean() / 2
    expected = 0.003 * 0.1 * size.loc[25:64].mean() / push
    assert table.decay["held"] == pytest.approx(expected)
    assert table.growth["held"] * push * 40 * 2 == pytest.approx(size[65] - size[25])
    assert 0.01 < table["size"]["held"] < 1
    others = held.series("group_weight_square", index=1).set_index("step").value
    found = reading.changes(held)
    assert found == pytest.approx([each[65] - each[25] for each in (size, others)])


def adaptive(optimizer, parameter):
    """Return what AdamW's last step took a parameter along, by its state, as in its paper."""
    state, group = optimizer.state[parameter], optimizer.param_groups[0]
    mean, square = (
        state[name].double() / (1 - beta ** state["step"].item())
        for name, beta in zip(("exp_avg", "exp_avg_sq"), group["betas"])
    )
    return mean / (square.sqrt() + group["eps"])


def test_what_is_left_to_the_gradients_is_what_they_do(run, tmp_path):
    """eta <theta, a> of the same steps, taken again, over the push of the held window."""
    text = data.load_text("python-reference", batch_size=4, segment=8, seed=0)
    settings = get("your_training", overrides=SMALL)
    training, done = study.Training(settings, text, "stages", tmp_path), []
    matrices = training.optimizer.param_groups[0]["params"]
    for step in range(65):
        before = [p.detach().double() for p in matrices]
        training.take_step(step)
        taken = (adaptive(training.optimizer, p) for p in matrices)
        pull = sum((w * a).sum().item() for w, a in zip(before, taken, strict=True))
        done.append(training.optimizer.param_groups[0]["lr"] * pull)
    held = reading.moments(run)["held"]
    moved = held.series("group_update_square", index=0).set_index("step").value
    found = reading.balance(run).set_index("stage").gradients["held"]
    expected = np.mean(done[25:]) / (moved.loc[26:65].mean() / 2)
    assert abs(found) > 0.1 and found == pytest.approx(expected, rel=0.01)


def test_there_is_no_balance_where_no_rate_stands_still(run):
    other, rows = Run(run.folder, run.info), run.metrics
    kept = rows.quantity != "learning_rate"
    vars(other)["metrics"] = rows.assign(value=rows.value.where(kept, rows.step))
    table = reading.balance(other)
    assert table.empty and "gradients" in table


def test_what_is_refused_is_told(run):
    said = reading.refusal(watched(reading.moments(run)["held"]))
    assert said == "Adam's step is no linear function of the gradients."


def test_the_costs_are_those_of_the_watches(run):
    table = reading.costs(run)
    assert table.training.tolist() == list(schedules.NAMES)
    assert (table.measurements == 26).all() and (table.taken == 125).all()
    assert (table[["steps", "noting", "measuring"]] > 0).all(axis=None)


def test_the_figures(run):
    assert len(figures.schedules(run).axes) == 2
    for one in reading.moments(run).values():
        assert len(figures.report(one).axes) == 6
