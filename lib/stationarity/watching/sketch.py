"""Vectors of any length by a short one: inner products and distances survive."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

PIECE = 2**19  # entries that are turned at once


class Sketch:
    """A random linear map S from P entries to ``width``, with E <Sx, Sy> = <x, y>.

    Entries get signs and are added up: entry i to place i modulo width, with the sign
    a[(i + o) mod Q] b[i // width], a and b random, Q a prime above 2 width, and o an offset of
    each tensor. These are independent for each pair of entries of a place, so that ||Sx||^2 is
    unbiased; its relative standard error is about sqrt(4 / width) at most, also for tensors of
    low rank: no two rows of places have the same pattern a. Up to P = width nothing is added
    up: S turns signs, and all is exact. One pass over the entries, and memory for a few
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
        self.whole = [one.numel() // width for one in like]  # rows of each
        left = sum(one.numel() % width for one in like)
        rows = [*self.whole, -(-left // width)]
        self.together = max(PIECE // width, 1)  # rows that are read at once
        period = prime_above(2 * width)
        generator = torch.Generator().manual_seed(seed)

        def drawn(count: int) -> Tensor:
            signs = torch.randint(2, (count,), generator=generator, device="cpu") * 2 - 1
            return signs.to(device, self.dtype)

        self.signs, again = drawn(sum(rows)).split(rows), drawn(period)
        longest = min(self.together, max(rows)) * width
        self.pattern = again.repeat(-(-longest // period) + 1)[: period + longest]
        self.period = period
        offsets = torch.randint(period, (len(rows),), generator=generator, device="cpu")
        self.offsets = offsets.tolist()

    def __call__(self, tensors: Iterable[Tensor]) -> Tensor:
        """Return the sketch (width,) of the tensors' entries, added up in float32 at least."""
        total, rest = torch.zeros_like(self.pattern[: self.width]), []
        for tensor, rows, signs, at in zip(tensors, self.whole, self.signs, self.offsets):
            entries = tensor.detach().reshape(-1)
            self._add(total, entries[: rows * self.width], signs, at)
            rest.append(entries[rows * self.width :].to(self.dtype))
        left = torch.cat(rest)
        padding = len(self.signs[-1]) * self.width - len(left)
        left = torch.nn.functional.pad(left, (0, padding))
        self._add(total, left, self.signs[-1], self.offsets[-1])
        return total

    def _add(self, total: Tensor, entries: Tensor, signs: Tensor, at: int) -> None:
        """Add entries (R width,) with the signs (R,) of their rows to the total (width,)."""
        length = self.together * self.width
        for piece, some in zip(entries.split(length), signs.split(self.together)):
            if len(some):
                turned = piece.to(self.dtype) * self.pattern[at : at + len(piece)]
                total += some @ turned.view(len(some), self.width)
                at = (at + len(piece)) % self.period


def prime_above(number: int) -> int:
    """Return the smallest prime above a number.

    >>> prime_above(8), prime_above(13)
    (11, 17)
    """
    while True:
        number += 1
        if all(number % factor for factor in range(2, math.isqrt(number) + 1)):
            return number
