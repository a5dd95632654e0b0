"""Batches for measurements: drawn anew each time, with the training's generators put back."""

import functools
import random

import numpy as np
import pytest
import torch
from stationarity.watching import fresh_batches
from stationarity.watching.fresh_batches import Draws


def test_half_a_batch_is_repeated_in_any_nesting():
    batch = {
        "ids": torch.arange(6).view(3, 2),
        "more": [torch.arange(3), "text", torch.ones(2)],
    }
    twice = fresh_batches.repeated(batch, 2)
    assert twice["ids"].tolist() == [[0, 1]] * 2 and twice["more"][0].tolist() == [0, 0]
    assert twice["more"][1:] == batch["more"][1:] and fresh_batches.size_of(batch) == 3
    assert fresh_batches.repeated(torch.ones(1), 2) is None


def test_a_loader_is_drawn_from_as_it_collates(tmp_path):
    whole = torch.utils.data.TensorDataset(torch.arange(10))
    how = {
        "batch_size": 4,
        "shuffle": False,
        "collate_fn": lambda rows: torch.stack([r[0] for r in rows]),
    }
    draws = Draws(torch.utils.data.DataLoader(whole, **how))
    with draws.seeded(1):
        first = [batch.tolist() for batch in draws.of(1, 3)]
    with draws.seeded(1):
        assert [batch.tolist() for batch in Draws(draws.source).of(1, 3)] == first
    assert all(len({*batch}) == 4 for batch in first) and first[0] != first[1]


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState, random.Random])
def test_a_source_with_a_generator_of_its_own_draws_anew_in_each_measurement(kind):
    class Source:
        def __init__(self):
            self.generator = kind(0)

        def __iter__(self):
            draw = getattr(self.generator, "gauss", None) or self.generator.normal
            return (torch.tensor([draw(0, 1)]) for _ in range(4))

    draws, found = Draws(Source()), []
    for step in (1, 2, 1):
        with draws.seeded(step):
            found.append([float(one) for one in draws.of(step, 4)])
    assert found[0] == found[2] and not {*found[0]} & {*found[1]}


def test_what_a_function_of_batches_draws_with_is_put_back():
    class Source:
        def __init__(self):
            self.generator = np.random.default_rng(0)

        def draw(self, step, count):
            return [torch.tensor(self.generator.random()) for _ in range(count)]

    def drawn(generator, step, count):
        return [torch.tensor(generator.random()) for _ in range(count)]

    source, own = Source(), np.random.default_rng(0)
    closure = lambda step, count: drawn(own, step, count)
    for make in (source.draw, functools.partial(drawn, own), closure):
        generator = source.generator if make == source.draw else own
        before, draws = generator.bit_generator.state, Draws(make)
        with draws.seeded(3):
            assert len([*draws.of(3, 4)]) == 4
        assert generator.bit_generator.state == before


def test_what_a_data_set_draws_with_is_put_back():
    class Augmented(torch.utils.data.Dataset):
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __len__(self):
            return 8

        def __getitem__(self, index):
            return torch.tensor(index + self.rng.random())

    whole = Augmented()
    before = whole.rng.bit_generator.state
    draws = Draws(torch.utils.data.DataLoader(whole, batch_size=2))
    with draws.seeded(3):
        assert len([*draws.of(3, 4)]) == 4
        assert whole.rng.bit_generator.state != before
    assert whole.rng.bit_generator.state == before
