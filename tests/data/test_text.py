"""A text: vocabulary, streams, the objective that is measured, training on it."""
import dataclasses
import math

import numpy as np
import pandas as pd
import pyarrow
import pytest
import stationarity
import torch
from stationarity import UsageError, data, experiments, measure
from stationarity.data import sources, text
from stationarity.runs import records
from stationarity.train.loop import loop
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
    return experiments.get("wikitext_transformer_xl", overrides=TINY | overrides)


def tiny(**overrides):
    return stationarity.run("wikitext_transformer_xl", settings=TINY | overrides)


# --- tokens --------------------------------------------------------------------


def test_the_vocabulary_is_sorted_by_frequency_and_decodes_to_the_text():
    reference = data.python_reference()
    streams = data.load(settings(tokens=0))
    training = "".join(streams.vocabulary[i] for i in streams.train.tolist())
    assert training == reference[: len(training)] and len(training) == len(reference) * 9 // 10
    counts = np.bincount(streams.train.numpy(), minlength=len(streams.vocabulary))
    assert (np.diff(counts) <= 0).all() and counts[-1] == 0
    assert streams.vocabulary[-1] == text.UNKNOWN
    known = [streams.vocabulary[i] for i in streams.validation.tolist()]
    assert all(a in (b, text.UNKNOWN) for a, b in zip(known, reference[len(training) :]))


def test_words_are_those_of_a_loop_over_lines():
    lines = [" = Title = \n", "", "a  b\t<unk> c", " \n", "b"]
    expected = [word for line in lines for word in [*line.split(), "<eos>"]]
    chunks = pyarrow.chunked_array([lines[:2], lines[2:]])
    assert text.words(chunks).to_pylist() == expected


def test_words_that_the_training_text_lacks_are_unknown():
    training, validation = (pyarrow.array(t.split()) for t in ("<unk> b b a", "b z a"))
    first, second, vocabulary = text.encode(training, validation)
    assert vocabulary == ["b", "<unk>", "a"]
    assert first.tolist() == [1, 0, 0, 2] and second.tolist() == [0, 1, 2]


# --- streams -------------------------------------------------------------------


def test_the_streams_are_the_text_in_order():
    streams = data.load(settings())
    passes = list(streams.training_batches(0, streams.steps_per_pass))
    read = torch.cat([tokens for tokens, _, _ in passes], dim=1)
    assert torch.equal(read.flatten(), streams.train[: read.numel()].long())
    after = torch.cat([targets for _, targets, _ in passes], dim=1)
    assert torch.equal(after.flatten(), streams.train[1 : read.numel() + 1].long())
    assert [begins for _, _, begins in passes] == [True] + [False] * (len(passes) - 1)
    again = next(streams.training_batches(streams.steps_per_pass, streams.steps_per_pass + 1))
    assert again[2] and torch.equal(again[0], passes[0][0])


def test_any_batch_can_be_had_without_those_before_it():
    streams = data.load(settings())
    late = list(streams.training_batches(0, 200))[150:]
    for one, other in zip(late, streams.training_batches(150, 200), strict=True):
        assert torch.equal(one[0], other[0]) and one[2] == other[2]


def test_a_measured_batch_holds_segments_of_training_with_what_precedes_them():
    streams = data.load(settings())
    segments = {
        tuple(row)
        for tokens, _, _ in streams.training_batches(0, streams.steps_per_pass)
        for row in tokens.tolist()
    }
    whole = streams.train.tolist()
    for context, tokens, targets in streams.draws(20, "measure", 3):
        assert context.shape == (4, 16) and tokens.shape == targets.shape == (4, 8)
        for row in torch.cat([context, tokens, targets[:, -1:]], dim=1).tolist():
            assert tuple(row[16:24]) in segments
            assert any(whole[i : i + 25] == row for i in range(0, len(whole), 8))
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
    first, again = (list(streams.draws(2, "measure", 3)) for _ in range(2))
    other = next(iter(streams.draws(1, "measure", 4)))
    assert torch.equal(first[0][0], again[0][0]) and not torch.equal(first[0][0], other[0])


def test_draws_reach_every_segment_that_has_its_context():
    streams = data.load(settings(tokens=400))
    drawn = torch.cat([context[:, :1] for context, _, _ in streams.draws(200, "all")])
    possible = streams.train[: (streams.count - 2) * 8 : 8].unique()
    assert torch.equal(drawn.unique(), possible.long())


# --- the objective -------------------------------------------------------------


def in_float64(**overrides):
    chosen = settings(precision="float64", **overrides)
    streams = data.load(chosen)
    model = loop.build_model(chosen, streams).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model, streams


def test_enough_context_makes_the_memory_of_the_whole_stream():
    """With as many segments of context as layers nothing older is left in the memory."""
    model, streams = in_float64()
    memory = None
    for tokens, _, _ in streams.training_batches(0, 7):
        memory = text.remember(model, tokens, 8) if memory is None else (
            model.states(tokens, memory)[1].detach()
        )  # fmt: skip
    rows = torch.cat([t for t, _, _ in streams.training_batches(5, 7)], dim=1)
    assert torch.allclose(text.remember(model, rows, 8), memory, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(text.remember(model, rows[:, 8:], 8), memory, rtol=1e-6)


def test_the_measured_gradient_is_the_one_at_a_fixed_memory():
    """It is no gradient of the loss as a function of all that the weights decide."""
    model, streams = in_float64()
    batch = next(iter(streams.draws(1, "gradient")))
    context, tokens, targets = batch
    memory = text.remember(model, context, 8)
    parameters = list(model.parameters())
    fixed = torch.autograd.grad(model(tokens, targets, memory)[0].mean(), parameters)
    found = torch.autograd.grad(streams.objective(model, batch), parameters)
    assert all(torch.equal(a, b) for a, b in zip(fixed, found, strict=True))
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(found, direction, strict=True)).item()

    def along(memory):
        values = []
        for sign in (1, -2, 1):
            with torch.no_grad():
                for p, d in zip(parameters, direction, strict=True):
                    p.add_(d, alpha=sign * 1e-6)
                kept = text.remember(model, context, 8) if memory is None else memory
                values.append(model(tokens, targets, kept)[0].mean().item())
        return (values[0] - values[1]) / 2e-6

    assert along(memory) == pytest.approx(slope, rel=1e-6)
    assert along(None) != pytest.approx(slope, rel=1e-3)


def test_the_gradient_over_an_epoch_of_segments_is_what_draws_estimate():
    model, streams = in_float64(tokens=400)
    starts = torch.arange(2, streams.count) * 8
    rows = text._rows(streams.train, starts - 16, 25)
    whole = (rows[:, :16], rows[:, 16:24], rows[:, 17:])
    truth = torch.autograd.grad(streams.objective(model, whole), list(model.parameters()))
    square = sum(g.square().sum() for g in truth).item()
    batches = streams.draws(400, "many")
    found = measure.gradient_statistics(model, streams.objective, batches)
    assert abs(found.gradient_norm_squared - square) < 4 * found.standard_error
    assert found.standard_error < 0.1 * square


# --- training ------------------------------------------------------------------


def test_a_run_measures_what_it_says():
    run = tiny()
    assert {
        "loss", "train_loss", "gradient_norm_squared", "noise_norm", "sharpness",
        "validation_loss", "perplexity", "memory_loss_gap", "memory_gradient_gap",
        "update_norm", "loss_change", "learning_rate",
    } <= set(run.metrics.quantity)  # fmt: skip
    assert run.series("loss").epoch.tolist() == [0, 1, 2, 3]
    loss, perplexity = run.series("validation_loss"), run.series("perplexity")
    assert np.allclose(perplexity.value, np.exp(loss.value))
    assert np.allclose(perplexity.error, perplexity.value * loss.error)
    assert np.allclose(run.series("learning_rate").value, [1e-2, 1e-3, 1e-4])
    assert abs(run.series("loss").value[0] - math.log(80)) < 0.5
    model, streams = loop.load_model(run)
    assert model.width == 8 and streams.count == 4 * streams.steps_per_pass


def flat_weights(run):
    return measure.parameter_vector(loop.load_model(run)[0])


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_measuring_changes_no_bit_of_the_trajectory(dropout):
    measured, unmeasured = tiny(dropout=dropout), tiny(dropout=dropout, measure_every=0)
    assert torch.equal(flat_weights(measured), flat_weights(unmeasured))


def test_a_checkpoint_holds_the_memory():
    checkpoint = records.read_checkpoint(tiny().folder)
    assert checkpoint["memory"].shape == (2, 4, 8, 8)


def test_a_memory_that_the_same_weights_made_leaves_no_gap():
    model, streams = in_float64()
    _, memory = streams.training_loss(model, next(streams.training_batches(0, 1)), None)
    gaps = {name: value for name, value, _ in streams._memory_gap(model, 1, memory)}
    assert gaps["memory_gradient_gap"] < 1e-12 and abs(gaps["memory_loss_gap"]) < 1e-14
    with torch.no_grad():
        model.layers[0].output.weight.mul_(3.0)
    gaps = {name: value for name, value, _ in streams._memory_gap(model, 1, memory)}
    assert gaps["memory_gradient_gap"] > 1e-3
    assert streams._memory_gap(model, streams.steps_per_pass, memory) == []


def test_gradients_are_clipped():
    """Without momentum the update is the rate times a gradient of at most that norm."""
    run = tiny(optimizer="sgd", clip=0.01, schedule="constant", learning_rate=1.0)
    assert np.allclose(run.series("update_norm").value, 0.01, rtol=1e-3)


def test_the_validation_loss_is_that_of_reading_the_text():
    model, streams = in_float64()
    streams.validation = streams.validation[:2000]
    found = {name: value for name, value, _ in streams.further_measurements(model, 0, None)}
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
    assert found["validation_loss"] == pytest.approx(np.mean(losses), rel=1e-10)


def test_the_paper_model_takes_a_step(monkeypatch):
    """Built with the vocabulary of WikiText-103, on a text of numbers."""
    chosen = experiments.get(
        "wikitext_transformer_xl", "paper",
        {"batch_size": 1, "segment": 6, "memory": 6, "measure_batches": 2},
    )  # fmt: skip
    numbers = pyarrow.array([str(i) for i in range(267734)])
    streams = text.TokenStreams(chosen, (numbers, numbers[:100]), {}, "cpu")
    assert len(streams.vocabulary) == 267735
    state = loop._begin(chosen, streams, "cpu")
    state.path = "float32"
    assert sum(p.numel() for p in state.model.parameters()) == 140_840_938
    before = state.model.layers[11].output.weight.detach().clone()
    batch = next(streams.training_batches(0, 1))
    loss = loop._take_step(state, chosen, streams, batch, 10)
    assert torch.isfinite(loss) and state.memory.shape == (12, 1, 6, 410)
    change = (state.model.layers[11].output.weight - before).abs().max().item()
    assert change == pytest.approx(0.00025, rel=0.01)  # Adam's first step


# --- files and bad input -------------------------------------------------------

LINES = {
    "train": [" = Title = \n", "the cat sat on the mat .\n", ""] * 40,
    "validation": ["the dog sat .\n"] * 20,
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "wikitext-103").mkdir()
    for split, lines in LINES.items():
        file = tmp_path / "wikitext-103" / f"{split}-00000-of-00001.parquet"
        pd.DataFrame({"text": lines}).to_parquet(file)
    return tmp_path


def wikitext(**overrides):
    small = TINY | {"tokens": 0, "segment": 4, "memory": 4, "cutoffs": "3,6"} | overrides
    return experiments.get("wikitext_transformer_xl", "two-cores", small)


def test_wikitext_from_parquet_equals_wikitext_from_the_hub(root, serve, monkeypatch):
    local = data.load(wikitext(), root)
    assert local.vocabulary[:2] == ["<eos>", "="] and len(local.train) == 40 * 13
    assert local.provenance["sha256"].keys() == {
        "train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"
    }  # fmt: skip
    small = dataclasses.replace(sources.WIKITEXT, rows={s: len(LINES[s]) for s in LINES})
    monkeypatch.setattr(sources, "WIKITEXT", small)
    files = root.glob("wikitext-103/*")
    served = {f"wikitext-103-v1/{file.name}": file.read_bytes() for file in files}
    hub = serve("Salesforce/wikitext", served | {"wikitext-2-v1/train-0.parquet": b""})
    loaded = data.load(wikitext())
    assert sorted(hub.sent) == sorted(served)
    assert torch.equal(loaded.train, local.train) and loaded.vocabulary == local.vocabulary


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(UsageError, match=r"train-\*.parquet \(columns text, from https://"):
        data.load(wikitext(), tmp_path)


def test_a_text_shorter_than_a_segment_of_each_stream_is_refused():
    with pytest.raises(UsageError, match="has 30 tokens here, and 4 streams"):
        data.load(settings(tokens=30))
    with pytest.raises(UsageError, match="need at least 6 segments of 8"):
        data.load(settings(tokens=33))


def test_a_vocabulary_of_one_token_is_refused(monkeypatch):
    monkeypatch.setattr(data, "python_reference", lambda: "a" * 9000)
    with pytest.raises(UsageError, match="vocabulary of one token"):
        data.load(settings())


@pytest.mark.parametrize(("change", "message"), [
    ({"dropout": 1.0}, "dropout must lie"), ({"dataset": "digits"}, "python-reference"),
    ({"layers": 0}, "layers must be positive"), ({"clip": -1}, "clip must not be negative"),
    ({"measure_batches": 1}, "at least 2"), ({"optimizer": "adamw"}, "Did you mean 'adam'"),
])  # fmt: skip
def test_settings_that_no_run_could_start_with(change, message):
    with pytest.raises(UsageError, match=message):
        settings(**change)


def test_cutoffs_beyond_the_vocabulary_are_refused_before_the_run():
    with pytest.raises(UsageError, match="must rise within the vocabulary"):
        tiny(cutoffs=[50, 5000])


def test_images_know_no_text():
    with pytest.raises(UsageError, match="value of dataset"):
        experiments.get("imagenet_resnet", overrides={"dataset": "python-reference"})
