"""A Transformer-XL: relative attention, segment memory, tied adaptive softmax.

Source: Dai et al. 2019 (the model), Grave et al. 2017 (adaptive softmax), Baevski and
Auli 2019 (adaptive embedding); our section "WikiText-103 + Transformer-XL".
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import UsageError

INITIAL_DEVIATION = 0.02  # of all initial weights


class TransformerXL(nn.Module):
    """A language model that reads a text segment by segment.

    Each layer attends to the segment and, without a gradient, to the states that the layer
    below had on the ``memory`` tokens before it: ``(layers, N, up to memory, width)``.

    Parameters: ``vocabulary`` tokens, sorted by falling frequency; ``width`` of the states
    (even); ``heads`` of ``head_width``; ``inner_width`` of the feed-forward nets;
    ``cutoffs`` and ``divisor``: see :class:`AdaptiveVocabulary`; ``dropout``, but none of
    attention. Raises :class:`UsageError` for an odd width, or cutoffs that do not rise.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        layers: int,
        width: int,
        heads: int,
        head_width: int,
        inner_width: int,
        memory: int,
        cutoffs: tuple = (),
        divisor: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        if width % 2:
            raise UsageError(f"The width of a Transformer-XL must be even, not {width}.")
        self.width, self.memory = width, memory
        self.vocabulary = AdaptiveVocabulary(vocabulary, width, cutoffs, divisor)
        self.content_bias = nn.Parameter(torch.empty(heads, 1, 1, head_width))
        self.position_bias = nn.Parameter(torch.empty(heads, 1, 1, head_width))
        sizes = width, heads, head_width, inner_width, dropout
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            if name.endswith("bias") and parameter.dim() == 1:
                nn.init.zeros_(parameter)
            else:
                mean = 1.0 if name.endswith("norm.weight") else 0.0
                nn.init.normal_(parameter, mean, INITIAL_DEVIATION)

    def forward(self, tokens, targets, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return losses (nats) of int64 targets ``(N, T)``, and the memory, detached."""
        states, memory = self.read(tokens, memory)
        losses = self.vocabulary.losses(states.flatten(0, 1), targets.flatten())
        return losses.view_as(targets), memory.detach()

    def read(self, tokens: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the last layer's states ``(N, T, width)`` and the new, attached memory."""
        states = self.dropout(self.vocabulary.embed(tokens) * math.sqrt(self.width))
        if memory is None:
            memory = states.new_empty(len(self.layers), len(tokens), 0, self.width)
        keys = memory.shape[2] + tokens.shape[1]
        positions, kept = self.dropout(sinusoids(keys, self.width).to(states)), []
        for layer, past in zip(self.layers, memory, strict=True):
            context = torch.cat([past.to(states), states], dim=1)
            kept.append(context[:, max(keys - self.memory, 0) :])
            states = layer(states, context, positions, self.content_bias, self.position_bias)
        return self.dropout(states), torch.stack(kept)


class NextTokenLoss:
    """The mean cross-entropy (nats) of the next token, given what came before.

    A batch is one of :mod:`stationarity.data.text`. What the model remembers of its context
    is held fixed, see our equation eq-semi-gradient; where that is None, it is the memory
    that the last call left. So one that reads batches in order measures nothing between.
    """

    memory: Tensor | None = None

    def __call__(self, model: TransformerXL, batch: tuple) -> Tensor:
        return self.of_tokens(model, batch).mean()

    def of_tokens(self, model: TransformerXL, batch: tuple) -> Tensor:
        """Return the losses of all tokens ``(N, T)``."""
        tokens, targets, context = batch
        if context is not None:
            with torch.no_grad():
                self.memory = remember(model, context, tokens.shape[1])
        losses, self.memory = model(tokens, targets, self.memory)
        return losses


def remember(model: TransformerXL, context: Tensor, segment: int) -> Tensor | None:
    """Return the memory after reading ``context`` (N, C) by segments, None where C is 0."""
    memory = None
    for part in context.split(segment, dim=1) if context.shape[1] else ():
        _, memory = model.read(part, memory)
    return memory


class Layer(nn.Module):
    """Relative attention and a feed-forward net, each followed by a layer norm."""

    def __init__(self, width, heads, head_width, inner_width, dropout):
        super().__init__()
        self.heads, inside = heads, heads * head_width
        self.query = nn.Linear(width, inside, bias=False)
        self.key_value = nn.Linear(width, 2 * inside, bias=False)
        self.position = nn.Linear(width, inside, bias=False)
        self.output = nn.Linear(inside, width, bias=False)
        self.attention_norm = nn.LayerNorm(width)
        inner = nn.Linear(width, inner_width), nn.ReLU(), nn.Dropout(dropout)
        outer = nn.Linear(inner_width, width), nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(*inner, *outer)
        self.norm, self.dropout = nn.LayerNorm(width), nn.Dropout(dropout)

    def forward(self, states, context, positions, content_bias, position_bias) -> Tensor:
        """Map states ``(N, T, width)``; the ``context`` (N, S, width) ends with them."""
        query = self._split(self.query(states))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        position = self._split(self.position(positions)[None])
        mixed = relative_attention(query, key, value, position, content_bias, position_bias)
        mixed = mixed.permute(1, 2, 0, 3).flatten(2)
        states = self.attention_norm(states + self.dropout(self.output(mixed)))
        return self.norm(states + self.feed_forward(states))

    def _split(self, projected: Tensor) -> Tensor:
        """Map (N, S, heads * head_width) to (heads, N, S, head_width)."""
        return projected.unflatten(-1, (self.heads, -1)).permute(2, 0, 1, 3)


def relative_attention(query, key, value, position, content_bias, position_bias) -> Tensor:
    """Return causal attention whose scores know distances, ``(H, N, T, d)``.

    The score of query i for key j, K = S - T keys being older than the queries, is

        ((q_i + u) . k_j + (q_i + v) . r_{K+i-j}) / sqrt(d)   for j <= K + i,

    and minus infinity for later keys. ``query`` is ``(H, N, T, d)``, ``key`` and
    ``value`` ``(H, N, S, d)``, the biases u and v ``(H, 1, 1, d)``, and
    ``position`` ``(H, 1, S, d)`` holds r of the distances S-1 down to 0.
    """
    heads, batch, length, width = query.shape
    keys, scale = key.shape[2], 1 / math.sqrt(width)
    # One product for all queries and distances: a head's positions are shared.
    queries = (query + position_bias).reshape(heads, batch * length, width)
    by_distance = queries @ position[:, 0].transpose(1, 2)
    by_key = shifted(by_distance.view(heads, batch, length, keys)).flatten(0, 1)
    queries, keys = (query + content_bias).flatten(0, 1), key.flatten(0, 1).transpose(1, 2)
    scores = torch.baddbmm(by_key, queries, keys, beta=scale, alpha=scale)
    return (scores.softmax(dim=-1) @ value.flatten(0, 1)).view(heads, batch, length, width)


def shifted(by_distance: Tensor) -> Tensor:
    """Turn scores by distance, S - 1 down to 0, into scores by key, ``(..., T, S)`` both.

    Row i moves by T - 1 - i places to the left; what moves in from the right is minus
    infinity, and stands just where the causal mask does. One copy, the rest are views.

    >>> shifted(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]))
    tensor([[1., 0., -inf],
            [2., 1., 0.]])
    """
    length, keys = by_distance.shape[-2:]
    padded = functional.pad(by_distance, (0, length), value=-math.inf).flatten(-2)
    stride = keys + length - 1  # one less than a row: each row starts a place earlier
    rows = padded[..., length - 1 : length - 1 + length * stride]
    return rows.unflatten(-1, (length, stride))[..., :keys]


def sinusoids(count: int, width: int) -> Tensor:
    """Return sines, then cosines of the distances count-1 down to 0, ``(count, width)``."""
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(count - 1, -1, -1, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class AdaptiveVocabulary(nn.Module):
    """The embedding of tokens and the softmax over them, which share their weights.

    ``cutoffs`` cut the tokens, sorted by falling frequency, into clusters. The first ones
    have probabilities of their own; each further cluster has one, and its tokens share it
    by a softmax of their own. Cluster i has embeddings of ``width // divisor**i`` entries,
    mapped to the width where that is less.
    """

    def __init__(self, size: int, width: int, cutoffs: tuple = (), divisor: int = 1):
        super().__init__()
        self.clusters = list(itertools.pairwise((0, *cutoffs, size)))
        if any(last <= first for first, last in self.clusters):
            said = f"The cutoffs {tuple(cutoffs)} must rise within the vocabulary, which has"
            raise UsageError(f"{said} {size} tokens here: set others, or none.")
        self.width = width
        widths = [max(width // divisor**i, 1) for i in range(len(self.clusters))]
        self.tables = nn.ParameterList(
            torch.empty(last - first, w) for (first, last), w in zip(self.clusters, widths)
        )
        self.projections = nn.ParameterList(torch.empty(w, width) for w in widths if w < width)
        self.bias = nn.Parameter(torch.empty(size))
        self.cluster_weight = nn.Parameter(torch.empty(len(cutoffs), width))
        self.cluster_bias = nn.Parameter(torch.empty(len(cutoffs)))

    def embed(self, tokens: Tensor) -> Tensor:
        """Return embeddings, tokens' shape + ``(width,)``."""
        flat = tokens.flatten()
        embedded = self.bias.new_zeros(len(flat), self.width)
        for chosen, places, table, projection, _ in self._parts(flat):
            rows = table.index_select(0, places)
            if projection is not None:
                rows = rows @ projection
            embedded = embedded.index_copy(0, chosen, rows.to(embedded))
        return embedded.view(*tokens.shape, self.width)

    def _parts(self, tokens: Tensor, begin: int = 0) -> Iterator[tuple]:
        """Yield which tokens are in each cluster, their places in it, and its weights."""
        without = [None] * (len(self.tables) - len(self.projections))
        parts = zip(self.clusters, self.tables, [*without, *self.projections])
        for (first, last), table, projection in list(parts)[begin:]:
            chosen = ((tokens >= first) & (tokens < last)).nonzero().squeeze(1)
            yield chosen, tokens[chosen] - first, table, projection, self.bias[first:last]

    def losses(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return minus the log-probability of targets ``(K,)``, given states ``(K, width)``."""
        own, weight = len(self.tables[0]), torch.cat([self.tables[0], self.cluster_weight])
        bias = torch.cat([self.bias[:own], self.cluster_bias])
        head = functional.linear(states, weight, bias).log_softmax(dim=1)
        # The entries of the further clusters come after those of the first one's tokens.
        cluster_of = sum(targets >= first for first, _ in self.clusters[1:])
        entry = torch.where(targets < own, targets, own - 1 + cluster_of)
        losses = -head.gather(1, entry[:, None]).squeeze(1)
        for chosen, places, table, projection, bias in self._parts(targets, 1):
            inner = states[chosen]
            if projection is not None:
                inner = inner @ projection.T
            tail = functional.linear(inner, table, bias)
            part = tail.log_softmax(dim=1).gather(1, places[:, None]).squeeze(1)
            losses = losses.index_add(0, chosen, -part)
        return losses
