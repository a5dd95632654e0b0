"""A text as tokens: its vocabulary, its streams, the loss of the next token.

A training batch is ``(tokens, targets, begins)``: int64 ``(N, T)`` twice, and
whether a pass over the text begins, where the memory is emptied. A measured
batch is ``(context, tokens, targets)``, ``context`` being int64 ``(N, C)``: it
holds all that its loss depends on besides the weights.

Source: our section "WikiText-103 + Transformer-XL".
"""
import math
from collections.abc import Iterator

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..measure._derivatives import flat, gradients, trainable, without_trace
from ..runs import distributed
from ..runs.seeds import seed_of
from ..train.settings import LanguageTraining
from .images import Batches, mean_and_error

END_OF_LINE, UNKNOWN = "<eos>", "<unk>"
VALIDATION_STEPS = 32  # segments that a validation stream reads, at least


def next_token_loss(model: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy (nats) of the next token, given the context.

    ``batch`` is ``(context, tokens, targets)``. The model reads the context,
    segment by segment, with its present weights and without a gradient; what it
    remembers is held fixed. So the derivatives are those in the weights that act
    on the segment, at a fixed memory: our equation eq-semi-gradient.
    """
    context, tokens, targets = batch
    losses, _ = model(tokens, targets, remember(model, context, tokens.shape[1]))
    return losses.mean()


@torch.no_grad()
def remember(model: nn.Module, context: Tensor, segment: int) -> Tensor | None:
    """Return the memory after reading ``context`` (N, C), None where C is 0."""
    memory = None
    for part in context.split(segment, dim=1) if context.shape[1] else ():
        _, memory = model.states(part, memory)
    return memory


def words(lines: pyarrow.ChunkedArray) -> pyarrow.Array:
    """Return the words of lines of text, with ``<eos>`` at the end of each line.

    >>> words(pyarrow.chunked_array([["to be\\n", "", "or  not"]])).to_pylist()
    ['to', 'be', '<eos>', '<eos>', 'or', 'not', '<eos>']
    """
    compute, kind = pyarrow.compute, pyarrow.large_string()
    end, space = (pyarrow.scalar(text, kind) for text in (END_OF_LINE, " "))
    ended = compute.binary_join_element_wise(lines.cast(kind), end, space)
    split = compute.utf8_split_whitespace(compute.utf8_trim_whitespace(ended))
    found = compute.list_flatten(split)
    return found.combine_chunks() if isinstance(found, pyarrow.ChunkedArray) else found


def encode(
    training: pyarrow.Array, validation: pyarrow.Array
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return both parts as int32 numbers of tokens, and the vocabulary.

    The vocabulary is that of the training part by falling frequency (ties: by
    first occurrence), and ``<unk>``, which stands for all others.

    >>> training, validation = (pyarrow.array(list(t)) for t in ("abbb", "cab"))
    >>> encode(training, validation)
    (array([1, 0, 0, 0], dtype=int32), array([2, 1, 0], dtype=int32), ['b', 'a', '<unk>'])
    """
    encoded = training.dictionary_encode()
    numbers = encoded.indices.to_numpy()
    order = np.argsort(-np.bincount(numbers), kind="stable")
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order))
    vocabulary = encoded.dictionary.take(pyarrow.array(order)).to_pylist()
    if UNKNOWN not in vocabulary:
        vocabulary.append(UNKNOWN)
    known = pyarrow.array(vocabulary, training.type)
    found = pyarrow.compute.index_in(validation, known)
    found = found.fill_null(vocabulary.index(UNKNOWN))
    return rank[numbers], found.to_numpy().astype(np.int32), vocabulary


class TokenStreams:
    """A text on the device, read as contiguous streams, a segment at a time.

    The training text is cut into ``batch_size`` streams of equal length; a step
    takes the next segment of each, and a pass ends with the streams. ``count`` is
    the number of segments, ``vocabulary`` the tokens, sorted by falling frequency.

    Raises :class:`UsageError` for a text that is too short or has one token only.
    """

    objective = staticmethod(next_token_loss)

    def __init__(self, settings: LanguageTraining, parts: tuple, provenance: dict, device):
        self.settings, self.provenance = settings, provenance
        self.device = torch.device(device)
        self.dtype = torch.float64 if settings.precision == "float64" else torch.float32
        training, validation = parts
        training, validation, self.vocabulary = encode(
            training[: settings.tokens or None], validation
        )
        self.steps_per_pass = _steps_per_pass(settings, training)
        self.steps_per_epoch = settings.steps_per_epoch or self.steps_per_pass
        self.count = settings.batch_size * self.steps_per_pass
        self.train, self.validation = (
            torch.from_numpy(part).to(self.device) for part in (training, validation)
        )

    def training_batches(self, first: int, last: int) -> Iterator:
        """Yield the training batches of the steps ``first`` to ``last - 1``."""
        length = self.settings.segment
        for step in range(first, last):
            place = step % self.steps_per_pass
            rows = self._rows(self._streams() + place * length, length + 1)
            yield rows[:, :-1], rows[:, 1:], place == 0

    def training_loss(self, model: nn.Module, batch, memory: Tensor | None):
        """Return the loss of a training batch and the memory for the next one."""
        tokens, targets, begins = batch
        losses, memory = model(tokens, targets, None if begins else memory)
        return losses.mean(), memory

    def draws(self, count: int, *key) -> Batches:
        """Return ``count`` independent measured batches, the same for a key.

        Each holds segments of the training streams, drawn without replacement
        within the batch, with the ``measure_context`` segments of text before them.
        """
        settings = self.settings
        length, before = settings.segment, settings.measure_context

        def make():
            for i in range(count):
                generator = np.random.default_rng(seed_of(settings.seed, "segments", *key, i))
                chosen = generator.choice(
                    self.count - before, settings.batch_size, replace=False
                )
                chosen = chosen[distributed.share(len(chosen))]
                begin = torch.from_numpy(chosen).to(self.device) * length
                rows = self._rows(begin, (before + 1) * length + 1)
                yield _with_context(rows, before * length)

        return Batches(count, make)

    def further_measurements(self, model: nn.Module, step: int, memory: Tensor | None):
        """Return validation loss and perplexity, and what an old memory changes."""
        return self._validation(model) + self._memory_gap(model, step, memory)

    @torch.no_grad()
    def _validation(self, model: nn.Module) -> list:
        """Read the validation text in streams, in evaluation mode.

        The errors hold the mean losses of segments for independent.
        """
        length, text = self.settings.segment, self.validation
        segments = (len(text) - 1) // length
        if not segments:
            return []
        streams = max(segments // VALIDATION_STEPS, 1)
        steps = segments // streams
        model.eval()
        losses, memory = [], None
        mine = torch.arange(streams, device=self.device)[distributed.share(streams)]
        begin = mine * steps * length
        for step in range(steps if len(mine) else 0):
            rows = _rows(text, begin + step * length, length + 1)
            found, memory = model(rows[:, :-1], rows[:, 1:], memory)
            losses.append(found.double().mean(dim=1)[None])
        model.train()
        [(mean, error)] = mean_and_error(losses, 1, self.device)
        perplexity = math.exp(min(mean, 700.0))
        return [
            ("validation_loss", mean, error),
            ("perplexity", perplexity, perplexity * error),
        ]

    def _memory_gap(self, model: nn.Module, step: int, memory: Tensor | None) -> list:
        """Compare the memory that training kept with one that the weights make now.

        On the training batch of the step: the difference of the loss (kept less
        made), and the distance of the gradients over the norm of the latter. Random
        layers draw the same numbers for both segments, and others for the contexts.
        """
        length, place = self.settings.segment, step % self.steps_per_pass
        if memory is None or place == 0:
            return []
        before = min(place, self.settings.measure_context)
        begin = self._streams() + (place - before) * length
        rows = self._rows(begin, (before + 1) * length + 1)
        context, tokens, targets = _with_context(rows, before * length)
        losses, found = [], []
        with without_trace(model) as as_it_was:
            for one in (memory, remember(model, context, length)):
                as_it_was.restore_random_state()
                loss = model(tokens, targets, one)[0].mean()
                losses.append(loss.detach())
                found.append(flat(gradients(loss, trainable(model))))
        for values in (*losses, *found):
            distributed.mean(values)
        distance = torch.linalg.vector_norm(found[0] - found[1])
        return [
            ("memory_loss_gap", (losses[0] - losses[1]).item(), math.nan),
            (
                "memory_gradient_gap",
                (distance / torch.linalg.vector_norm(found[1])).item(),
                math.nan,
            ),
        ]

    def _streams(self) -> Tensor:
        """The first tokens' places of this process's streams, int64 (N,)."""
        settings = self.settings
        mine = distributed.share(settings.batch_size)
        places = torch.arange(settings.batch_size, device=self.device)[mine]
        return places * self.steps_per_pass * settings.segment

    def _rows(self, begin: Tensor, length: int) -> Tensor:
        return _rows(self.train, begin, length)


def _rows(text: Tensor, begin: Tensor, length: int) -> Tensor:
    """Return ``length`` tokens from each beginning on, int64 (N, length)."""
    return text[begin[:, None] + torch.arange(length, device=text.device)].long()


def _with_context(rows: Tensor, before: int) -> tuple[Tensor, Tensor, Tensor]:
    return rows[:, :before], rows[:, before:-1], rows[:, before + 1 :]


def _steps_per_pass(settings: LanguageTraining, text: np.ndarray) -> int:
    """Return the number of segments in each stream of the training text."""
    if len(text) and text.max() == 0:
        raise UsageError(
            f"The training text of {settings.dataset} has a vocabulary of one token, "
            "and a loss of zero: take more of it (tokens=0), or another text."
        )
    steps = (len(text) - 1) // (settings.batch_size * settings.segment)
    needed = settings.measure_context + settings.batch_size
    if steps < 1 or steps * settings.batch_size < needed:
        raise UsageError(
            f"The training text has {len(text)} tokens here, and {settings.batch_size} "
            f"streams with measure_context={settings.measure_context} need at least "
            f"{needed} segments of {settings.segment}: lower segment, batch_size or "
            "measure_context, or take more text."
        )
    return steps
