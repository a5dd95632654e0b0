"""A text as tokens: its vocabulary and its streams.

A batch is ``(tokens, targets, context)``: int64 ``(N, T)`` twice, and the tokens ``(N, C)``
that come before. The context is None where a batch goes on where the last one ended, as in
training; where a pass over the text begins, C is 0. Source: our section "WikiText-103 +
Transformer-XL".
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, InitVar, dataclass

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from torch import Tensor

from ..errors import UsageError
from ..runs import distributed
from ..runs.seeds import seed_of
from .images import Batches

END_OF_LINE, UNKNOWN = "<eos>", "<unk>"
VALIDATION_STEPS = 32  # segments that a validation stream reads, at least


def words(lines: pyarrow.ChunkedArray) -> pyarrow.Array:
    """Return the words of lines of text, with ``<eos>`` at the end of each line."""
    compute, kind = pyarrow.compute, pyarrow.large_string()
    end, space = (pyarrow.scalar(text, kind) for text in (END_OF_LINE, " "))
    ended = compute.binary_join_element_wise(lines.cast(kind), end, space)
    split = compute.utf8_split_whitespace(compute.utf8_trim_whitespace(ended))
    return compute.list_flatten(split).combine_chunks()


def encode(training: pyarrow.Array, validation: pyarrow.Array) -> tuple:
    """Return both parts as int32 numbers of tokens, and the vocabulary.

    That is the training part's by falling frequency (ties: by first occurrence), and
    ``<unk>``, which stands for all others.
    """
    encoded = training.dictionary_encode()
    numbers = encoded.indices.to_numpy()
    order = np.argsort(-np.bincount(numbers), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    vocabulary = encoded.dictionary.take(pyarrow.array(order)).to_pylist()
    if UNKNOWN not in vocabulary:
        vocabulary.append(UNKNOWN)
    places = pyarrow.compute.index_in(validation, pyarrow.array(vocabulary, training.type))
    places = places.fill_null(vocabulary.index(UNKNOWN))
    return rank[numbers], places.to_numpy().astype(np.int32), vocabulary


@dataclass(eq=False)
class TokenStreams:
    """A text on the device, read as contiguous streams, a segment at a time.

    The training text is cut into streams of equal length; a pass ends with them.
    Raises :class:`UsageError` for a text that is too short or has one token only.
    """

    name: str
    parts: InitVar[tuple[pyarrow.Array, pyarrow.Array]]  # training and validation, as tokens
    provenance: dict
    _: KW_ONLY
    batch_size: int  # streams
    segment: int  # tokens of each stream that a step takes
    context: int = 0  # segments that a measured one is given before it
    tokens: InitVar[int] = 0  # of the training text that are used; 0: all
    steps_per_epoch: int = 0  # what counts as an epoch; 0: a pass
    seed: int = 0
    dtype: torch.dtype = torch.float32  # of the models
    device: str | torch.device = "cpu"

    def __post_init__(self, parts, tokens):
        self.device = torch.device(self.device)
        training, validation, self.vocabulary = encode(parts[0][: tokens or None], parts[1])
        if len(training) and training.max() == 0:
            said = f"The training text of {self.name} has a vocabulary of one token"
            raise UsageError(f"{said}: take more of it (tokens=0), or another text.")
        streams = self.batch_size
        self.steps_per_pass = (len(training) - 1) // (streams * self.segment)
        self.count, needed = streams * self.steps_per_pass, self.context + streams
        if self.count < needed:
            said = f"The training text has {len(training)} tokens here, and {streams} streams"
            said += f" with measure_context={self.context} need at least {needed} segments of"
            remedy = "lower segment, batch_size or measure_context, or take more text"
            raise UsageError(f"{said} {self.segment}: {remedy}.")
        self.steps_per_epoch = self.steps_per_epoch or self.steps_per_pass
        parts = (torch.from_numpy(part) for part in (training, validation))
        self.train, self.validation = (part.to(self.device) for part in parts)

    def training_batches(self, first: int, last: int) -> Iterator:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        for step in range(first, last):
            place = step % self.steps_per_pass
            begin = self._streams() + place * self.segment
            yield self._batch(self.train, begin, None if place else 0)

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent batches with context, the same for a key.

        Each holds segments of the training streams, drawn without replacement.
        """

        def make():
            possible, mine = self.count - self.context, distributed.share(self.batch_size)
            for i in range(count):
                generator = np.random.default_rng(seed_of(self.seed, "segments", *key, i))
                chosen = generator.choice(possible, self.batch_size, replace=False)[mine]
                begin = (torch.from_numpy(chosen).to(self.device) + self.context) * self.segment
                yield self._batch(self.train, begin, self.context)

        return Batches(count, make)

    def training_batch_with_context(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the training batch of a step with context, as far as the pass allows."""
        place = step % self.steps_per_pass
        begin = self._streams() + place * self.segment
        return self._batch(self.train, begin, min(place, self.context))

    def validation_batches(self) -> Iterator:
        """Yield the validation text in streams of 32 segments at least, as in training.

        Nothing where the text is shorter than a segment, or no stream is this process's.
        """
        segments = (len(self.validation) - 1) // self.segment
        streams = max(segments // VALIDATION_STEPS, 1)
        steps = segments // streams
        mine = torch.arange(streams, device=self.device)[distributed.share(streams)]
        for step in range(steps if len(mine) else 0):
            begin = (mine * steps + step) * self.segment
            yield self._batch(self.validation, begin, None if step else 0)

    def _streams(self) -> Tensor:
        """Return the first tokens' places of this process's streams, int64 (N,)."""
        streams = torch.arange(self.batch_size, device=self.device)
        return streams[distributed.share(self.batch_size)] * self.steps_per_pass * self.segment

    def _batch(self, text: Tensor, begin: Tensor, segments: int | None) -> tuple:
        """Return the segments from ``begin`` on, with so many before them for a context."""
        before = (segments or 0) * self.segment
        places = torch.arange(-before, self.segment + 1, device=text.device)
        rows = text[begin[:, None] + places].long()
        context = None if segments is None else rows[:, :before]
        return rows[:, before:-1], rows[:, before + 1 :], context
