"""Numbers without units: by hand, and what makes a scale model."""

import numpy as np
import pandas as pd
import pytest
from stationarity import UsageError
from stationarity.book.results import recorded
from stationarity.chapters import levels, scales, sizes
from stationarity.runs import metrics, records
from stationarity.runs.settings import get


def test_the_numbers_of_the_papers_settings_by_hand():
    found = scales.of_settings(get("imagenet_resnet", "paper"))
    steps = 30 * (1_281_167 // 256)
    assert np.allclose(found.memories, steps * np.array([1e-4, 1e-5, 1e-6]))
    assert np.allclose(found.angular_step, np.sqrt(2 * np.array([1e-4, 1e-5, 1e-6])))
    assert np.allclose(found.order, 0.1 * (1_281_167 // 256))
    assert np.allclose(found.examples, 1_281_167 / 44_549_160)  # torchvision's ResNet-101


def test_without_decay_and_for_adam_there_is_no_memory():
    for settings in (
        get("imagenet_resnet").but(weight_decay=0.0),
        get("wikitext_transformer_xl").but(weight_decay=0.1),
        get("imagenet_resnet").but(schedule="cosine", drops=()),
    ):
        assert scales.of_settings(settings).memories.isna().all()


def run_of(tmp_path, experiment="imagenet_resnet", scale="classroom", **changes):
    settings = get(experiment).but(**changes)
    info = {"experiment": experiment, "scale": scale, "settings": settings.plain()}
    at = {"step": range(settings.epochs + 1), "epoch": float}
    ones = np.ones(settings.epochs + 1)
    values = {"loss": np.log(10) / 2 * ones, "gradient_norm_squared": 0.5 * ones}
    values |= {"noise_norm": 3 * ones, "sharpness": 4 * ones, "gradient_norm_naive": ones}
    return records.write(tmp_path, info, metrics.common_rows(values, **at))


def test_the_numbers_of_a_run_by_hand(tmp_path):
    run = run_of(tmp_path)
    given, found = run.settings, scales.of_run(run)
    assert np.allclose(found.noise_scale, 18)
    assert np.allclose(found.noise_over_signal, 1)
    assert np.allclose(found.loss_left, 0.5)
    rates = given.learning_rate * np.array([1, 0.1, 0.01])
    assert np.allclose(found.curvature, 4 * rates / (2 * (1 + given.momentum)))


@pytest.mark.parametrize(
    ("factor", "said"), [(1.0, "scale model"), (1.9, "scale model"), (0.4, "analogue")]
)
def test_a_scale_model_has_the_memories_of_the_paper(tmp_path, factor, said):
    settings = get("imagenet_resnet")
    decay = settings.weight_decay * 15.012 / scales.of_settings(settings).memories[0]
    assert scales.kind(run_of(tmp_path, weight_decay=factor * decay)) == said
    assert scales.kind(run_of(tmp_path, scale="paper")) == "paper"
    assert scales.kind(run_of(tmp_path, "little_decay")) == "analogue"


def test_small_nets_have_the_numbers_of_the_part_in_which_they_are_followed(tmp_path):
    settings = get("deep_modes", "two-cores").but(learning_rate=0.03, steps=11000)
    (row,) = scales.of_settings(settings).itertuples()
    assert row.memories == pytest.approx(0.03 * 0.002 * (11000 - settings.discarded) / 0.1)
    assert row.examples == pytest.approx(1408 / ((48 + 1) * 32 + (32 + 1) * 10))
    assert np.isnan(row.order)  # its minibatches are independent
    (row,) = scales.of_settings(settings.but(reshuffled=True)).itertuples()
    assert row.order == pytest.approx(0.1 * (1408 // 128))

    info = {"experiment": "deep_modes", "scale": "paper", "settings": settings.plain()}
    found = metrics.rows("eigenvalue", [7, 3], index=[0, 1])
    found += metrics.rows("replica_loss", np.log(10) * np.array([0.4, 0.6]), member=[0, 1])
    run = records.write(tmp_path, info, found)
    (row,) = scales.of_run(run).itertuples()
    assert row.curvature == pytest.approx(7 * 0.03 / (2 * 1.9))
    assert row.loss_left == pytest.approx(0.5)


def test_of_what_small_nets_follow_the_first_variation_counts(tmp_path):
    info = {"experiment": "diffusion", "scale": "classroom"}
    info["settings"] = get("diffusion").plain()
    found = metrics.rows("loss", [np.log(10)] * 2, of="base", member=[0, 1])
    found += metrics.rows("loss", [9.0] * 2, of="another", member=[0, 1])
    assert scales.of_run(records.write(tmp_path, info, found)).loss_left[0] == pytest.approx(1)


@pytest.mark.parametrize(("factor", "said"), [(1.9, "scale model"), (2.1, "analogue")])
def test_small_nets_are_held_against_the_run_that_their_settings_name(tmp_path, factor, said):
    settings, theirs = get("diffusion"), scales.clocks(get("continued", "paper")).memories
    assert scales.of_paper("diffusion").memories.equals(theirs)
    decay = settings.weight_decay * theirs[0] / scales.clocks(settings).memories[0]
    changed = settings.but(weight_decay=factor * decay).plain()
    info = {"experiment": "diffusion", "scale": "paper", "settings": changed}
    found = metrics.rows("loss", [1.0], of="base", member=[0])
    assert scales.kind(records.write(tmp_path, info, found)) == said


def test_a_run_with_adam_has_the_clock_of_its_second_moment(tmp_path):
    settings = get("wikitext_transformer_xl", "paper")
    found = scales.of_settings(settings)
    assert np.allclose(found.second_moment, 0.001 * 200_000)
    assert found.order.isna().all()  # a text is not shuffled
    run = run_of(tmp_path, "wikitext_transformer_xl")
    mine = scales.of_run(run)
    assert np.allclose(mine["clip"], run.settings.clip / (9 + 0.5) ** 0.5)
    assert mine.curvature.isna().all()
    table = scales.table(found, {"ours": mine})
    assert scales.NUMBERS["memories"] not in table.index  # nobody has them


def test_a_record_of_a_part_of_a_text_has_the_numbers_of_that_part():
    (record,) = (one for one in recorded("wikitext_transformer_xl") if one.scale == "two-cores")
    found, whole = scales.of_run(record), scales.of_settings(record.settings)
    small = sizes.net(record.settings, words=19_767).parameters()
    assert np.allclose(found.examples, 255_710 / sizes.count_entries(small))
    assert (whole.examples > 10 * found.examples).all()
    losses = [part.value.mean() for part in levels.windows(record, "loss").values()]
    assert np.allclose(found.loss_left, np.array(losses) / np.log(19_767))


def test_a_number_that_is_not_known_does_not_match():
    one, none = pd.Series([1.0, 2.0]), pd.Series([1.0, np.nan])
    assert scales.matches(one, none) is None and scales.matches(none, one) is None
    assert scales.matches(pd.Series([1.0]), one) is None
    assert scales.matches(one, pd.Series([1.4])) is True  # a paper's run of one stage
    assert scales.matches(one, pd.Series([1.0])) is False
    assert scales.matches(one, 1.9 * one) and not scales.matches(one, 2.1 * one)


def test_the_table_marks_what_matches(tmp_path):
    paper = scales.of_settings(get("imagenet_resnet", "paper"))
    table = scales.table(paper, {"ours": scales.of_run(run_of(tmp_path))})
    assert table.paper.iloc[0] == "15 | 1.5 | 0.15"
    assert table.ours.loc[scales.NUMBERS["order"]].startswith("≠ ")
    assert table.ours.loc[scales.NUMBERS["loss_left"]] == "0.5"
    assert "?" in table.paper.loc[scales.NUMBERS["curvature"]]


def test_of_a_run_whose_weights_are_followed_that_part_counts(tmp_path):
    settings = get("continued")
    forgetting = settings.followed_rate * settings.weight_decay / (1 - settings.momentum)
    steps = settings.followed_epochs * (1437 // settings.batch_size)
    (row,) = scales.of_settings(settings).itertuples()
    assert row.memories == pytest.approx(forgetting * steps)
    info = {"experiment": "continued", "scale": "classroom", "settings": settings.plain()}
    at = {"step": [40, 75, 85], "epoch": float}
    values = {"loss": np.log(10) * np.array([0.9, 0.5, 0.5])}
    found = metrics.common_rows(values, **at) + metrics.rows("eigenvalue", [7, 3], index=[0, 1])
    (row,) = scales.of_run(records.write(tmp_path, info, found)).itertuples()
    assert row.curvature == pytest.approx(7 * 0.01 / 3.8)
    assert np.isnan(row.noise_scale) and np.isnan(row.loss_left)  # too few were measured


def test_numbers_that_are_not_known_of_a_study_are_refused():
    for name in ("averaging", "regimes", "minibatch_currents", "your_training"):
        with pytest.raises(UsageError, match="No numbers .* known of a "):
            scales.of_settings(get(name))


def test_small_nets_in_stages_have_the_numbers_of_each(tmp_path):
    settings = get("two_clocks")  # 3000, 6000 and 2000 steps
    table = scales.of_settings(settings)
    assert table.memories.tolist() == pytest.approx([15, 3, 0.1])
    assert scales.clocks(settings).rate.tolist() == pytest.approx([0.1, 0.01, 0.001])
    info = {"experiment": "two_clocks", "scale": "two-cores", "settings": settings.plain()}
    found = []
    for stage, steps in enumerate(settings.stages, start=1):
        at = {"index": stage, "step": [0, steps], "member": 0}
        for name, early, late in (
            ("loss", 9, 1),
            ("gradient_norm", 9, 2),
            ("noise_norm", 0, 6),
        ):
            found += metrics.rows(name, [early, late * stage], of="rate=0.1", **at)
        found += metrics.rows("loss", [7.0, 7.0], of="another", **at)
    run = records.write(tmp_path, info, found)
    seen = scales.of_run(run)  # of the later half, and of the first arm
    assert seen.loss_left.tolist() == pytest.approx(np.arange(1, 4) / np.log(10))
    assert seen.noise_scale.tolist() == pytest.approx([9, 9, 9])
    assert scales.kind(run) == "analogue"  # of no run of the paper
    assert scales.clocks(get("settling")).memories.tolist() == pytest.approx([24, 1.2, 0.12])
