"""A small GPT: a language model that attends to the tokens before each.

Source: Radford et al. 2019, in the form of Karpathy's nanoGPT, without dropout.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL_DEVIATION = 0.02  # of all matrices


class GPT(nn.Module):
    """Logits of the next token from up to ``context`` tokens.

    ``layers`` blocks of ``width``, each of attention with so many ``heads``, and of a
    feed-forward net four times as wide.

    >>> model = GPT(100, context=8, layers=1, width=16, heads=2)
    >>> model(torch.zeros(3, 8, dtype=torch.long)).shape
    torch.Size([3, 8, 100])
    """

    def __init__(self, vocabulary: int, *, context: int, layers: int, width: int, heads: int):
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.place = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, vocabulary, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=INITIAL_DEVIATION)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits (N, T, vocabulary) of the tokens after each of ``tokens`` (N, T)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return self.out(self.norm(self.blocks(self.token(tokens) + self.place(places))))


class Block(nn.Module):
    """Attention, then a feed-forward net, each added to what it reads."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.inner = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, states: Tensor) -> Tensor:
        states = states + self.mix(self.attend(self.first(states)))
        return states + self.inner(self.second(states))

    def attend(self, states: Tensor) -> Tensor:
        """Return for each token a mean of values, of it and those before it.

        Written out: PyTorch's fused attention has no second derivative.
        """
        size, length, width = states.shape
        parts = self.ask(states).view(size, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3) / math.sqrt(width // self.heads)
        later = torch.ones(length, length, device=states.device).triu(1).bool()
        weights = scores.masked_fill(later, -math.inf).softmax(3)
        return (weights @ value).transpose(1, 2).reshape(size, length, width)


def objective(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the mean cross-entropy (nats) of the ``(tokens, targets)`` of a batch."""
    tokens, targets = batch
    return functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
