"""Vectors of any length by a short one: inner products and distances survive."""

from collections.abc import Iterable

import torch
from torch import Tensor


class Sketch:
    """A random linear map S from P entries to ``width``, with E <Sx, Sy> = <x, y>.

    Entries get signs and are added up: entry i to place i modulo width, with the sign
    a[i mod width] b[i // width], a and b random. These are independent for each pair of
    entries, so that ||Sx||^2 is unbiased; its relative standard error is about
    sqrt(2 / width) at most (more only where the mass of x sits at the corners of rectangles of
    places). Up to P = width nothing is added up: S turns signs, and all is exact. One pass
    over the entries, and memory for ``width`` of them.

    Source: count sketches (Charikar, Chen and Farach-Colton, 2002), with the signs of tensor
    sketches (Pham and Pagh, 2013).

    >>> sketch = Sketch([torch.zeros(2, 2)], width=8)
    >>> float(sketch([torch.full((2, 2), 3.0)]).square().sum())
    36.0
    """

    def __init__(self, like: list[Tensor], width: int, seed: int = 0):
        self.width, device = width, like[0].device
        self.dtype = torch.float64 if like[0].dtype == torch.float64 else torch.float32
        self.whole = [one.numel() // width for one in like]  # rows of each
        left = sum(one.numel() % width for one in like)
        generator = torch.Generator().manual_seed(seed)
        count = sum(self.whole) + -(-left // width)
        drawn = torch.randint(2, (count + width,), generator=generator, device="cpu") * 2 - 1
        self.places, signs = drawn.to(device, self.dtype).split([width, count])
        self.signs = signs.split([*self.whole, count - sum(self.whole)])

    def __call__(self, tensors: Iterable[Tensor]) -> Tensor:
        """Return the sketch (width,) of the tensors' entries, in float32 at least."""
        total, rest = torch.zeros_like(self.places), []
        for tensor, rows, signs in zip(tensors, self.whole, self.signs):
            entries = tensor.detach().reshape(-1).to(self.dtype)
            if rows:
                total += signs @ entries[: rows * self.width].view(rows, self.width)
            rest.append(entries[rows * self.width :])
        rows = len(self.signs[-1])
        left = torch.cat(rest)
        padded = torch.nn.functional.pad(left, (0, rows * self.width - len(left)))
        total += self.signs[-1] @ padded.view(rows, self.width)
        return total.mul_(self.places)
