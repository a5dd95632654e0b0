"""Batches for measurements: drawn anew each time, with the training's generators put back."""

import functools
import random

import numpy as np
import pytest
import stationarity
import torch
from stationarity.errors import UsageError
from stationarity.watching import fresh_batches
from stationarity.watching.fresh_batches import Draws
from torch import nn


def test_half_a_batch_is_repeated_in_any_nesting():
    batch = {
        "ids": torch.arange(6).view(3, 2),
        "more": [torch.arange(3), "text", torch.ones(2)],
    }
    twice = fresh_batches.repeated(batch, 2)
    assert twice["ids"].tolist() == [[0, 1]] * 2 and twice["more"][0].tolist() == [0, 0]
    assert twice["more"][1:] == batch["more"][1:] and fresh_batches.size_of(batch) == 3
    assert fresh_batches.repeated(torch.ones(1), 2) is None


@pytest.mark.filterwarnings("ignore:The loader for measurements has")
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


class Alike(torch.utils.data.BatchSampler):
    """Draws even numbers, or odd ones: no batch has both."""

    def __iter__(self):
        return ([one - one % 2 + batch[0] % 2 for one in batch] for batch in super().__iter__())


class Few(torch.utils.data.RandomSampler):
    def __iter__(self):
        return (one for one in super().__iter__() if one < 40)


NUMBERS = torch.utils.data.TensorDataset(torch.arange(64))


def test_the_measured_batches_are_drawn_as_those_of_the_training():
    loaders = [
        {"batch_sampler": Alike(torch.utils.data.RandomSampler(NUMBERS), 8, True)},
        {"batch_size": 8, "sampler": Few(NUMBERS)},
    ]
    for how, same in zip(loaders, (lambda one: one % 2, lambda one: one < 40)):
        draws = Draws(torch.utils.data.DataLoader(NUMBERS, **how))
        for (batch,) in draws.of(1, 5):
            assert len({*same(batch).tolist()}) == 1
        assert not draws.own


@pytest.mark.parametrize("kind", [torch.utils.data.BatchSampler, Alike])
def test_samplers_of_accelerate_draw_as_those_that_they_stand_for(kind):
    class Seedable(torch.utils.data.RandomSampler):
        __module__ = fresh_batches.ACCELERATE

    class Shard(torch.utils.data.BatchSampler):
        __module__ = fresh_batches.ACCELERATE

        def __init__(self, batch_sampler):
            self.batch_sampler, self.batch_size = batch_sampler, batch_sampler.batch_size

    shard = Shard(kind(Seedable(NUMBERS), 8, True))
    draws = Draws(torch.utils.data.DataLoader(NUMBERS, batch_sampler=shard))
    assert draws.own == (kind is not Alike)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_batches_of_sparse_and_empty_tensors_are_told_apart():
    one, other = torch.eye(4), torch.eye(4).flip(0)
    for turned in (torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr):
        some = [(turned(x), torch.ones(0, 3)) for x in (one, one, other)]
        marks = [*map(fresh_batches.mark_of, some)]
        assert marks[0] == marks[1] != marks[2]
    twice = fresh_batches.repeated(one.to_sparse(), 2)
    assert twice.to_dense().tolist() == one[:2].tolist() * 2


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("turned", [torch.Tensor.to_sparse, torch.Tensor.to_sparse_csr])
def test_sparse_batches_are_measured(one_thread, turned, tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    some = lambda step, count: [turned(torch.randn(8, 3)) for _ in range(count)]
    fit = lambda model, x: model(x.to_dense()).square().mean()
    with stationarity.watch(model, fit, optimizer, some, root=tmp_path) as watch:
        optimizer.step()
        watch.step(*some(0, 1))
    assert watch.run.has("sharpness")


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


class Jitter:
    """A transform with a generator of its own, as those of images have."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, x):
        return x + torch.tensor(self.rng.normal(), dtype=torch.float32)


class Compose:
    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, x):
        for transform in self.transforms:
            x = transform(x)
        return x


class Transformed(torch.utils.data.Dataset):
    def __init__(self):
        self.transform = Compose([Compose([Jitter()])])

    def __len__(self):
        return 32

    def __getitem__(self, index):
        return self.transform(torch.full((3,), float(index)))


def trained(whole, watched, tmp_path):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    loader = torch.utils.data.DataLoader(whole, batch_size=4)
    fit = lambda model, x: model(x).square().mean()
    how = {"root": tmp_path, "every": 2, "measure_batches": 4}
    watch = stationarity.watch(model, fit, optimizer, loader, **how) if watched else None
    for batch in loader:
        optimizer.zero_grad()
        fit(model, batch).backward()
        optimizer.step()
        if watch:
            watch.step(batch)
    return model.weight.detach()


@pytest.mark.parametrize("cuts", range(4))
def test_what_a_transform_deep_in_a_data_set_draws_with_is_put_back(one_thread, cuts, tmp_path):
    def made():
        whole = Transformed()
        for _ in range(cuts):
            whole = torch.utils.data.ConcatDataset([torch.utils.data.Subset(whole, range(32))])
        return whole

    alone, watched = (trained(made(), watched, tmp_path) for watched in (False, True))
    assert torch.equal(alone, watched)


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, again):
        self.again, self.rows = again, self.draw()

    def draw(self):
        return iter(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))

    def __iter__(self):
        return self.draw() if self.again else self.rows


def test_a_stream_that_the_training_draws_from_is_refused():
    stream = Stream(False)
    for source in (torch.utils.data.DataLoader(stream, batch_size=4), stream):
        with pytest.raises(UsageError, match=r"one stream.*give the watch a stream of its own"):
            [*Draws(source).of(1, 4)]
    assert len([*stream]) == 64  # none was taken
    again = torch.utils.data.DataLoader(Stream(True), batch_size=4)
    assert len([*Draws(again).of(1, 4)]) == 4


def test_a_stream_that_begins_anew_in_a_random_order_is_left_as_it_was(one_thread, tmp_path):
    class Shuffled(Stream):
        def draw(self):
            return iter(torch.arange(192.0).view(64, 3)[torch.randperm(64)])

    alone, watched = (trained(Shuffled(True), one, tmp_path) for one in (False, True))
    assert torch.equal(alone, watched)
