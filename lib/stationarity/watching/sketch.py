"""Vectors of any length by a short one: inner products and distances survive."""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

PIECE = 2**18  # entries that are turned at once


class Sketch:
    """A random linear map S from P entries to ``width``, with E <Sx, Sy> = <x, y>.

    Entries get signs and are added up: entry i, counted through all tensors, to place i modulo
    width, with the sign a[i mod Q] b[i // width], a and b random and Q a prime above 2 width.
    These are independent for each pair of entries of a place, so that ||Sx||^2 is unbiased; its
    relative standard error is about sqrt(4 / width) at most, also for tensors of low rank: of
    2 width rows of places in turn no two have the same pattern a. Up to P = width nothing is
    added up: S turns signs, and all is exact. One pass over the entries, and memory for a few
    ``width``, or ``PIECE``, of them.

    Source: count sketches (Charikar, Chen and Farach-Colton, 2002), with signs that are
    products, as tensor sketches have them (Pham and Pagh, 2013).

    >>> sketch = Sketch([torch.zeros(2, 2)], width=8)
    >>> float(sketch([torch.full((2, 2), 3.0)]).square().sum())
    36.0
    """

    def __init__(self, like: list[Tensor], width: int, seed: int = 0):
        self.width, device = width, like[0].device
        self.dtype = torch.float64 if like[0].dtype == torch.float64 else torch.float32
        ends = list(itertools.accumulate(one.numel() for one in like))
        self.starts = [0, *ends[:-1]]  # where each tensor begins
        self.together = max(PIECE // width, 1)  # rows that are read at once
        self.period = prime_above(2 * width)
        generator = torch.Generator().manual_seed(seed)

        def drawn(count: int) -> Tensor:
            signs = torch.randint(2, (count,), generator=generator, device="cpu") * 2 - 1
            return signs.to(device, self.dtype)

        rows = -(-ends[-1] // width)
        self.signs, again = drawn(rows), drawn(self.period)
        longest = min(self.together, rows) * width
        self.pattern = again.repeat(-(-longest // self.period) + 1)[: self.period + longest]

    def __call__(self, tensors: Iterable[Tensor]) -> Tensor:
        """Return the sketch (width,) of the tensors' entries, added up in float32 at least."""
        total, small, held = self.nothing(), [], 0
        for start, tensor in zip(self.starts, tensors):
            entries = tensor.detach().reshape(-1)
            if small and held + len(entries) > self.width:
                self.add(total, start - held, joined(small))
                small, held = [], 0
            small, held = [*small, entries], held + len(entries)
        self.add(total, start + len(entries) - held, joined(small))
        return total

    def nothing(self, *count: int) -> Tensor:
        """Return sketches (..., width) of zeros, to add entries to."""
        return torch.zeros(*count, self.width, dtype=self.dtype, device=self.pattern.device)

    def add(self, total: Tensor, at: int, entries: Tensor) -> None:
        """Add the sketch of entries (n,), of which the first is number ``at`` of all."""
        while len(entries):
            row, place = divmod(at, self.width)
            rows = 0 if place else min(self.together, len(entries) // self.width)
            size = rows * self.width or min(self.width - place, len(entries))
            piece, entries = entries[:size].to(self.dtype), entries[size:]
            turned = piece * self.pattern[at % self.period :][:size]
            signs = self.signs[row : row + max(rows, 1)]
            turned = turned.view(len(signs), -1)
            total[place : place + turned.shape[1]] += signs @ turned
            at += size


def joined(tensors: list[Tensor]) -> Tensor:
    """Return flat tensors as one; a single one as it is."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def prime_above(number: int) -> int:
    """Return the smallest prime above a number.

    >>> prime_above(8), prime_above(13)
    (11, 17)
    """
    while True:
        number += 1
        if all(number % factor for factor in range(2, math.isqrt(number) + 1)):
            return number
