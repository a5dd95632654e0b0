"""A text: vocabulary, streams, files and bad input."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from stationarity import UsageError, data
from stationarity.data import embedded, parquet, text


def tiny(**how):
    small = {"batch_size": 4, "segment": 8, "context": 2, "tokens": 4000, "steps_per_epoch": 9}
    return data.load_text("python-reference", **(small | how))


# --- tokens --------------------------------------------------------------------


def test_the_vocabulary_is_sorted_by_frequency_and_decodes_to_the_text():
    reference = embedded.python_reference()
    streams = tiny(tokens=0)
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
    streams = tiny()
    passes = list(streams.training_batches(0, streams.steps_per_pass))
    read = torch.cat([tokens for tokens, _, _ in passes], dim=1)
    assert torch.equal(read.flatten(), streams.train[: read.numel()].long())
    after = torch.cat([targets for _, targets, _ in passes], dim=1)
    assert torch.equal(after.flatten(), streams.train[1 : read.numel() + 1].long())
    assert passes[0][2].shape == (4, 0) and all(c is None for _, _, c in passes[1:])
    again = next(streams.training_batches(streams.steps_per_pass, streams.steps_per_pass + 1))
    assert again[2].shape == (4, 0) and torch.equal(again[0], passes[0][0])


def test_any_batch_can_be_had_without_those_before_it():
    streams = tiny()
    late = list(streams.training_batches(0, 200))[150:]
    for one, other in zip(late, streams.training_batches(150, 200), strict=True):
        assert torch.equal(one[0], other[0]) and (one[2] is None) == (other[2] is None)


def test_a_measured_batch_holds_segments_of_training_with_what_precedes_them():
    streams = tiny()
    segments = {
        tuple(row)
        for tokens, _, _ in streams.training_batches(0, streams.steps_per_pass)
        for row in tokens.tolist()
    }
    whole = streams.train.tolist()
    for tokens, targets, context in streams.draws(20, "measure", 3):
        assert context.shape == (4, 16) and tokens.shape == targets.shape == (4, 8)
        for row in torch.cat([context, tokens, targets[:, -1:]], dim=1).tolist():
            assert tuple(row[16:24]) in segments
            assert any(whole[i : i + 25] == row for i in range(0, len(whole), 8))
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
    first, again = (list(streams.draws(2, "measure", 3)) for _ in range(2))
    other = next(iter(streams.draws(1, "measure", 4)))
    assert torch.equal(first[0][0], again[0][0]) and not torch.equal(first[0][0], other[0])


def test_draws_reach_every_segment_that_has_its_context():
    streams = tiny(tokens=400)
    drawn = torch.cat([context[:, :1] for _, _, context in streams.draws(200, "all")])
    possible = streams.train[: (streams.count - 2) * 8 : 8].unique()
    assert torch.equal(drawn.unique(), possible.long())


def test_the_validation_text_is_read_in_streams_of_so_many_segments():
    streams = tiny()
    batches = list(streams.validation_batches())
    steps, count = len(batches), len(batches[0][0])
    assert steps >= text.VALIDATION_STEPS > (len(streams.validation) - 1) // 8 // (count + 1)
    assert [context is None for _, _, context in batches] == [False] + [True] * (steps - 1)
    read = torch.cat([tokens for tokens, _, _ in batches], dim=1).flatten()
    after = torch.cat([targets for _, targets, _ in batches], dim=1).flatten()
    assert torch.equal(read, streams.validation[: len(read)].long())
    assert torch.equal(after, streams.validation[1 : len(read) + 1].long())
    streams.validation = streams.validation[:8]
    assert list(streams.validation_batches()) == []


@pytest.mark.parametrize(("step", "segments"), [(0, 0), (1, 1), (7, 2)])
def test_a_training_batch_is_had_with_the_text_before_it(step, segments):
    streams = tiny()
    [(tokens, targets, _)] = streams.training_batches(step, step + 1)
    *segment, context = streams.training_batch_with_context(step)
    assert torch.equal(segment[0], tokens) and torch.equal(segment[1], targets)
    earlier = [t for t, _, _ in streams.training_batches(step - segments, step)]
    assert torch.equal(context, torch.cat([tokens[:, :0], *earlier], dim=1))


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


def wikitext(root=None):
    return data.load_text("wikitext103", batch_size=4, segment=4, context=2, data_root=root)


def test_wikitext_from_parquet_equals_wikitext_from_the_hub(root, serve, monkeypatch):
    local = wikitext(root)
    assert local.vocabulary[:2] == ["<eos>", "="] and len(local.train) == 40 * 13
    files = {"train-00000-of-00001.parquet", "validation-00000-of-00001.parquet"}
    assert local.provenance["sha256"].keys() == files
    small = dataclasses.replace(parquet.WIKITEXT, rows={s: len(LINES[s]) for s in LINES})
    monkeypatch.setattr(parquet, "WIKITEXT", small)
    files = root.glob("wikitext-103/*")
    served = {f"wikitext-103-v1/{file.name}": file.read_bytes() for file in files}
    hub = serve("Salesforce/wikitext", served | {"wikitext-2-v1/train-0.parquet": b""})
    loaded = wikitext()
    assert sorted(hub.sent) == sorted(served)
    assert torch.equal(loaded.train, local.train) and loaded.vocabulary == local.vocabulary


def test_missing_files_are_named_with_their_source(tmp_path):
    with pytest.raises(UsageError, match=r"train-\*.parquet \(columns text, from https://"):
        wikitext(tmp_path)


def test_a_text_shorter_than_a_segment_of_each_stream_is_refused():
    with pytest.raises(UsageError, match="has 30 tokens here, and 4 streams"):
        tiny(tokens=30)
    with pytest.raises(UsageError, match="need at least 6 segments of 8"):
        tiny(tokens=33)


def test_a_vocabulary_of_one_token_is_refused(monkeypatch):
    monkeypatch.setattr(embedded, "python_reference", lambda: "a" * 9000)
    with pytest.raises(UsageError, match="vocabulary of one token"):
        tiny()
