"""The loop: schedules, measurement, checkpoints, resume, records of a run."""

import re
import warnings
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import stationarity
import torch
from stationarity import UsageError, launch, measure
from stationarity.chapters.ch04_wikitext_transformer_xl.reading import load_model
from stationarity.runs import checkpoints, records
from stationarity.runs.settings import get
from stationarity.train import loop, precision
from stationarity.train.settings import Path

TINY = {
    "measure_on": "draws", "crop_padding": 4,
    "examples": 160, "width": 4, "epochs": 4, "batch_size": 32, "drops": "2,3",
    "measure_every": 1, "measure_batches": 3, "sharpness_batches": 2, "sharpness_every": 1,
}  # fmt: skip
FULL = {"epochs": 6, "measure_every": 1, "hidden": "8"}


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


def tiny(**settings):
    return stationarity.run("imagenet_resnet", settings=TINY | settings)


def weights(run):
    model, _ = load_model(run)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_run_measures_what_it_says():
    run = tiny()
    expected = {
        "loss", "train_loss", "gradient_norm_squared", "gradient_norm_naive", "noise_norm",
        "regularised_gradient_norm_squared", "sharpness", "directional_sharpness",
        "update_norm", "loss_change", "weight_norm", "accuracy",
        "test_loss", "learning_rate",
    }  # fmt: skip
    assert expected <= set(run.metrics.quantity)
    assert run.series("loss").epoch.tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(run.metrics.value).all()
    rates = run.series("learning_rate").value
    assert np.allclose(rates, [0.2, 0.2, 0.02, 0.002])


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_sharpness_is_measured_as_often_as_the_settings_say(every):
    run = tiny(epochs=5, measure_every=2, sharpness_every=every)
    assert run.series("loss").epoch.tolist() == [0, 2, 4, 5]
    expected = [0, 2, 4, 5][::every]
    for quantity in ("sharpness", "directional_sharpness", "sharpness_products"):
        assert run.series(quantity).epoch.tolist() == expected
    often = tiny(epochs=5, measure_every=2, sharpness_every=1).series("sharpness")
    same = often[often.epoch.isin(expected)].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.series("sharpness"), same)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_measuring_changes_no_bit_of_the_trajectory(optimizer, precision):
    change = {"optimizer": optimizer, "precision": precision, "learning_rate": 0.01}
    measured, unmeasured = tiny(**change), tiny(**change, measure_every=0)
    assert torch.equal(weights(measured), weights(unmeasured))
    pd.testing.assert_frame_equal(
        measured.series("train_loss"), unmeasured.series("train_loss")
    )


def stop_at(monkeypatch, step):
    """Let the run write checkpoints at every step, and fail just before it takes that one."""
    monkeypatch.setattr(launch, "CHECKPOINT_SECONDS", 0)
    original = loop.State.take_step

    def take_step(state, batch):
        if state.step == step:
            raise KeyboardInterrupt
        return original(state, batch)

    monkeypatch.setattr(loop.State, "take_step", take_step)


@pytest.mark.parametrize("after", ["checkpoint", "metrics"])
def test_a_run_killed_while_it_is_completed_measures_once(after, monkeypatch, tmp_path):
    reference = tiny()
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "almost"))
    name = {"checkpoint": "write", "metrics": "write_info"}[after]
    original = getattr(records, name)

    def stop(folder, info, *rest):
        if info["status"] == "complete":
            raise KeyboardInterrupt
        return original(folder, info, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(records, name, stop)
        with pytest.raises(KeyboardInterrupt):
            tiny()
    pd.testing.assert_frame_equal(tiny().metrics, reference.metrics, check_exact=True)


def test_a_run_goes_on_with_the_data_it_was_begun_on(monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            tiny()
    folder = next(records.runs_root().glob("imagenet_resnet/classroom-*"))
    info = records.read(folder).info
    records.write_info(folder, info | {"data": {"source": "elsewhere"}})
    told = 'begun on other data: give the data root .* files were but mended, .* entry "data"'
    with pytest.raises(UsageError, match=told):
        tiny()
    del info["data"]  # as it is told
    records.write_info(folder, info)
    assert tiny().complete


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 truncated"])
def test_a_truncated_checkpoint_falls_back_to_the_previous(damage, monkeypatch, tmp_path):
    reference = tiny()
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "truncated"))
    with monkeypatch.context() as patch:
        stop_at(patch, 11)
        with pytest.raises(KeyboardInterrupt):
            tiny()
    checkpoint = next(tmp_path.glob("truncated/*/*/checkpoint.pt"))
    checkpoint.write_bytes(damage)
    assert checkpoints.read_checkpoint(checkpoint.parent)["state"]["step"] == 10
    pd.testing.assert_frame_equal(tiny().metrics, reference.metrics, check_exact=True)


def test_a_complete_run_is_loaded_and_not_repeated(monkeypatch):
    first = tiny()
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("trained again"))
    assert tiny().info == first.info


def test_a_classroom_run_of_other_code_is_repeated(monkeypatch):
    first = tiny()
    monkeypatch.setattr(records, "code_hash", lambda study: "othercode")
    second = tiny()
    assert first.info["code"] != "othercode" and second.info["code"] == "othercode"


def test_a_longer_run_of_other_code_is_kept_or_goes_on_when_told(monkeypatch):
    small = {"dataset": "digits", "flip": "false"} | TINY
    keywords = {"scale": "single-gpu", "settings": small}
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            stationarity.run("cifar10_resnet", **keywords)
    monkeypatch.setattr(records, "code_hash", lambda study: "othercode")
    with pytest.raises(UsageError, match="other_code=True"):
        stationarity.run("cifar10_resnet", **keywords)
    run = stationarity.run("cifar10_resnet", **keywords, other_code=True)
    assert run.complete and not run.made_by_this_code
    with pytest.warns(UserWarning, match="other library code"):
        assert stationarity.run("cifar10_resnet", **keywords).info == run.info


@pytest.mark.parametrize("measure_every", [0, 1])
def test_a_loss_that_turns_nan_stops_the_run_and_keeps_its_records(measure_every):
    change = {"learning_rate": 1e30, "measure_every": measure_every, "batch_size": 160}
    change["weight_decay"] = 0.0  # which would be refused
    with pytest.raises(UsageError, match=r"no longer finite at step \d+") as first:
        tiny(**change)
    folder = next(records.runs_root().glob("imagenet_resnet/classroom-*"))
    run = records.read(folder)
    assert run.info["status"] == "diverged" and (folder / "metrics.parquet").exists()
    with pytest.raises(UsageError) as second:
        tiny(**change)
    assert str(first.value) == str(second.value)


def test_the_step_at_which_the_loss_turned_nan_is_named(monkeypatch):
    original = loop.State.take_step

    def take_step(state, batch):
        loss = original(state, batch)
        return loss.mul_(float("nan")) if state.step >= 7 else loss

    monkeypatch.setattr(loop.State, "take_step", take_step)
    with pytest.raises(UsageError, match="at step 7 "):
        tiny(measure_every=0)


def test_a_net_that_its_decay_makes_collapse_is_told_of_once():
    plain = {"measure_every": 0, "batch_norm": False, "epochs": 16, "drops": "15"}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")  # Python's own
        run = tiny(weight_decay=0.3, **plain)
    (told,) = [str(one.message) for one in told if "guessing" in str(one.message)]
    assert re.search(r"guessing, ln 10 = 2.30 nats.*lower weight_decay", told)
    assert abs(run.series("train_loss").value.iloc[-4:] - np.log(10)).max() < 0.023
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny(weight_decay=0.0, **plain)  # nothing to lower


def test_full_batch_descent_measures_the_exact_gradient():
    """Without momentum the update is the learning rate times the gradient of f."""
    run = stationarity.run("full_batch", settings=FULL)
    norm = run.series("regularised_gradient_norm_squared")
    update = run.series("update_norm").value
    rate = run.series("learning_rate").value
    assert (norm.error == 0).all()
    assert np.allclose(update, rate * np.sqrt(norm.value[:-1]), rtol=1e-10)
    change = run.series("loss_change").value
    assert np.allclose(change, np.diff(run.series("loss").value), rtol=1e-8)
    assert np.allclose(run.series("train_loss").value, run.series("loss").value[:-1])


@pytest.mark.parametrize("momentum, most", [(0.0, 10.0), (0.9, 19.0)])
def test_a_decay_by_which_weights_grow_alone_is_refused(momentum, most):
    given = {"learning_rate": 0.2, "momentum": momentum, "weight_decay": 0.999 * most}
    settings = get("imagenet_resnet", overrides=given)
    theta, velocity = 1.0, 0.0
    for _ in range(2000):  # of the decay alone
        velocity = momentum * velocity + settings.weight_decay * theta
        theta -= settings.learning_rate * velocity
    assert abs(theta) < 1
    with pytest.raises(UsageError, match=f"makes weights larger: set it well below {most:g}"):
        get("imagenet_resnet", overrides=given | {"weight_decay": most})


def test_momentum_makes_the_update_other_than_the_gradient_says():
    run = stationarity.run("full_batch", settings=FULL | {"momentum": 0.9})
    norm = np.sqrt(run.series("regularised_gradient_norm_squared").value)
    ratio = run.series("update_norm").value / (0.5 * norm[:-1])
    assert np.isclose(ratio[0], 1) and ratio.iloc[-1] > 1.5


def test_schedules():
    settings = get("imagenet_resnet")
    rates = [loop.learning_rate(settings, s, 120 * 11, 11) for s in (0, 439, 440, 879, 880)]
    assert np.allclose(rates, [0.2, 0.2, 0.02, 0.02, 0.002])
    cosine = get("imagenet_resnet", overrides={"schedule": "cosine"})
    rates = [loop.learning_rate(cosine, s, 100, 10) for s in (0, 50, 100)]
    assert np.allclose(rates, [0.2, 0.1, 0.0])


def test_a_way_that_cannot_be_compiled_is_not_taken(monkeypatch):
    def fail(*_):
        raise RuntimeError("mixed APIs")

    monkeypatch.setattr(torch, "compile", fail)
    monkeypatch.setitem(precision.TIMED, "cpu", ("float32", "bfloat16 compiled"))
    assert tiny(precision="auto", measure_every=0).info["path"] == "float32"
    monkeypatch.setattr(precision, "_times", fail)  # any other failure is told
    with pytest.raises(RuntimeError, match="mixed APIs"):
        tiny(precision="auto", measure_every=0, seed=1)


def test_the_fastest_path_is_timed_once_and_kept(monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 5)
        patch.setattr(precision, "fastest", lambda *a: "float32 channels_last")
        with pytest.raises(KeyboardInterrupt):
            tiny(precision="auto")
    assert tiny(precision="auto").info["path"] == "float32 channels_last"
    assert tiny(precision="auto", seed=1).info["path"] in precision.PATHS


def test_every_path_can_be_set():
    assert get_args(Path) == ("auto", *precision.PATHS)


def test_a_seed_decides_a_run():
    first, again = tiny(), launch.run("imagenet_resnet", settings=TINY, seed=0)
    assert first.folder == again.folder
    assert not torch.equal(weights(first), weights(tiny(seed=1)))


def test_a_compiled_path_compiles_the_steps_and_not_the_measurements(monkeypatch):
    compiled, seen = [], []
    gradient_statistics = measure.gradient_statistics

    def compile_nothing(model):
        compiled.append(model)
        return model

    def measured(model, *rest, **keywords):
        seen.append(torch.backends.cuda.matmul.fp32_precision)
        return gradient_statistics(model, *rest, **keywords)

    monkeypatch.setattr(torch, "compile", compile_nothing)
    monkeypatch.setattr(measure, "gradient_statistics", measured)
    run = tiny(precision="tf32 compiled", epochs=1, drops="")
    assert run.info["path"] == "tf32 compiled" and len(compiled) == 1
    assert "tf32" in seen  # which measuring sets back for itself
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"


def test_deterministic_algorithms_are_used_while_a_run_asks_for_them(monkeypatch):
    asked, take_step = [], loop.State.take_step

    def take_and_note(*arguments):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return take_step(*arguments)

    monkeypatch.setattr(loop.State, "take_step", take_and_note)
    tiny(deterministic="true", epochs=1, drops="")
    assert asked and all(asked)
    assert not torch.are_deterministic_algorithms_enabled()
