"""Training on a text: the loss that is measured, the validation text, the memory's age."""

import math

import numpy as np
import pyarrow
import pytest
import stationarity
import torch
from stationarity import UsageError, measure, nets
from stationarity.chapters.ch04_wikitext_transformer_xl.reading import load_model
from stationarity.data import text
from stationarity.runs.checkpoints import Keeper, Place
from stationarity.runs.settings import get
from stationarity.train import loop, validation
from torch import nn

TINY = {
    "tokens": 4000, "width": 8, "heads": 2, "head_width": 4, "inner_width": 8, "segment": 8,
    "memory": 8, "batch_size": 4, "steps_per_epoch": 9, "epochs": 3, "drops": "1,2",
    "measure_batches": 3, "measure_context": 2, "sharpness_batches": 2,
    "sharpness_products": 4,
}  # fmt: skip


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))


def settings(**overrides):
    return get("wikitext_transformer_xl", overrides=TINY | overrides)


def tiny(**overrides):
    return stationarity.run("wikitext_transformer_xl", settings=TINY | overrides)


def in_float64():
    chosen = settings(precision="float64")
    streams = loop.load_data(chosen, Place())
    model = nets.build(chosen, streams).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model, streams


def test_a_run_measures_what_it_says():
    run = tiny()
    expected = {
        "loss", "train_loss", "gradient_norm_squared", "noise_norm", "sharpness",
        "validation_loss", "perplexity", "memory_loss_gap", "memory_gradient_gap",
        "update_norm", "loss_change", "learning_rate",
    }  # fmt: skip
    assert expected <= set(run.metrics.quantity)
    assert run.series("loss").epoch.tolist() == [0, 1, 2, 3]
    loss, perplexity = run.series("validation_loss"), run.series("perplexity")
    assert np.allclose(perplexity.value, np.exp(loss.value))
    assert np.allclose(perplexity.error, perplexity.value * loss.error)
    assert np.allclose(run.series("learning_rate").value, [1e-2, 1e-3, 1e-4])
    assert abs(run.series("loss").value[0] - math.log(80)) < 0.5
    model, streams = load_model(run)
    assert model.width == 8 and streams.count == 4 * streams.steps_per_pass


def flat_weights(run):
    return measure.parameter_vector(load_model(run)[0])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_measuring_changes_no_bit_of_the_trajectory(dropout):
    measured, unmeasured = tiny(dropout=dropout), tiny(dropout=dropout, measure_every=0)
    assert torch.equal(flat_weights(measured), flat_weights(unmeasured))


def test_a_checkpoint_holds_the_memory():
    run = tiny()
    assert Keeper(run.folder, run.info).state["memory"].shape == (2, 4, 8, 8)


def test_a_memory_that_the_same_weights_made_leaves_no_gap():
    model, streams = in_float64()
    tokens, targets, _ = next(streams.training_batches(0, 1))
    _, memory = model(tokens, targets)
    gaps = validation.memory_gaps(model, streams, 1, memory)
    assert gaps["memory_gradient_gap"][0] < 1e-12 and abs(gaps["memory_loss_gap"][0]) < 1e-14
    with torch.no_grad():
        model.layers[0].output.weight.mul_(3.0)
    gaps = validation.memory_gaps(model, streams, 1, memory)
    assert gaps["memory_gradient_gap"][0] > 1e-3
    assert validation.memory_gaps(model, streams, streams.steps_per_pass, memory) == {}


def test_gradients_are_clipped():
    """Without momentum the update is the rate times a gradient of at most that norm."""
    run = tiny(optimizer="sgd", clip=0.01, schedule="constant", learning_rate=1.0)
    assert np.allclose(run.series("update_norm").value, 0.01, rtol=1e-3)


def test_the_validation_loss_is_that_of_reading_the_text():
    model, streams = in_float64()
    streams.validation = streams.validation[:2000]
    found = validation.on_validation_text(model, streams)
    segments = (len(streams.validation) - 1) // 8
    count = segments // text.VALIDATION_STEPS
    steps = segments // count
    begin = [i * steps * 8 for i in range(count)]
    losses = []
    for first in begin:
        memory = None
        for step in range(steps):
            rows = streams.validation[first + 8 * step : first + 8 * step + 9].long()[None]
            found_losses, memory = model.eval()(rows[:, :-1], rows[:, 1:], memory)
            losses.append(found_losses.mean().item())
    assert found["validation_loss"][0] == pytest.approx(np.mean(losses), rel=1e-10)


def test_the_paper_model_takes_a_step():
    """Built with the vocabulary of WikiText-103, on a text of numbers."""
    short = {"batch_size": 1, "segment": 6, "memory": 6, "measure_batches": 2}
    chosen = get("wikitext_transformer_xl", "paper", short)
    numbers = pyarrow.array([str(i) for i in range(267734)])
    streams = text.TokenStreams(
        "numbers", (numbers, numbers[:100]), {}, batch_size=1, segment=6, context=1
    )
    assert len(streams.vocabulary) == 267735
    state = loop.State(chosen, streams)
    state.path = "float32"
    assert sum(p.numel() for p in state.model.parameters()) == 140_840_938
    before = state.model.layers[11].output.weight.detach().clone()
    loss = state.take_step(next(streams.training_batches(0, 1)))
    assert torch.isfinite(loss) and state.loss.memory.shape == (12, 1, 6, 410)
    change = (state.model.layers[11].output.weight - before).abs().max().item()
    assert change == pytest.approx(0.00025, rel=0.01)  # Adam's first step


@pytest.mark.parametrize(("change", "message"), [
    ({"dropout": 1.0}, "dropout must be less than 1"),
    ({"dataset": "digits"}, "Unknown dataset 'digits': .* python-reference"),
    ({"layers": 0}, "layers must be greater than 0"), ({"clip": -1}, "clip must be greater"),
    ({"measure_batches": 1}, "greater than or equal to 2"),
    ({"optimizer": "adamw"}, "Did you mean 'adam'"),
])  # fmt: skip
def test_settings_that_no_run_could_start_with(change, message):
    with pytest.raises(UsageError, match=message):
        settings(**change)


def test_cutoffs_beyond_the_vocabulary_are_refused_before_the_run():
    with pytest.raises(UsageError, match="must rise within the vocabulary"):
        tiny(cutoffs=[50, 5000])


def test_images_know_no_text():
    with pytest.raises(UsageError, match="Unknown dataset"):
        get("imagenet_resnet", overrides={"dataset": "python-reference"})
