"""An orthonormal basis beside its images under a symmetric operator, and its Ritz pairs."""

from collections.abc import Callable

import torch
from torch import Tensor


class Ritz:
    """Ritz pairs of a basis, values descending (float64, on the CPU).

    The vectors and the residuals are those of the basis as it is: before it changes.
    """

    def __init__(self, rows: Tensor, images: Tensor, k: int):
        matrix = (rows @ images.T).double().cpu()
        values, coefficients = torch.linalg.eigh((matrix + matrix.T) / 2)
        self.rows, self.images, self.k = rows, images, k
        self.values = values.flip(0)
        self.coefficients = coefficients.flip(1)
        count = min(k + 1, len(values))
        norms = [
            torch.linalg.vector_norm(self.residuals(begin, min(begin + 8, count)), dim=1)
            for begin in range(0, count, 8)  # few at a time: they are long
        ]
        self.norms = torch.cat(norms).double().cpu()

    def vectors(self, begin: int, end: int) -> Tensor:
        """The Ritz vectors of some of the leading values."""
        return self.coefficients[:, begin:end].T.to(self.rows) @ self.rows

    def residuals(self, begin: int, end: int) -> Tensor:
        """The residuals of some of the leading pairs."""
        images = self.coefficients[:, begin:end].T.to(self.rows) @ self.images
        values = self.values[begin:end, None].to(self.rows)
        return images.sub_(values * self.vectors(begin, end))

    def errors(self) -> Tensor:
        """Estimated errors of the k leading values: min(r, r^2 / gap).

        The gap is that to the values after them: two of the wanted pairs may mix.
        """
        norms = self.norms[: self.k]
        if len(self.values) <= self.k:
            return norms  # the gap is unknown
        gaps = self.values[: self.k] - self.values[self.k]
        return torch.where(norms < gaps, norms**2 / gaps, norms)

    def tolerances(self, tol: float, precision: float) -> Tensor:
        """Allowed errors of the k leading values.

        Relative to the value; for one near zero, to a thousandth of the largest
        in magnitude; never below rounding, and positive.
        """
        largest = self.values.abs().max()
        relative = tol * self.values[: self.k].abs().clamp(min=1e-3 * largest)
        rounding = 10 * precision * largest
        return relative.clamp(min=rounding.clamp(min=torch.finfo(torch.float64).tiny))


class Subspace:
    """Orthonormal rows and their images under the operator, at most 3k + 10."""

    def __init__(self, matvec: Callable, like: Tensor, k: int, generator):
        self.matvec, self.k, self.generator = matvec, k, generator
        self.size = len(like)
        self.capacity = min(3 * k + 10, self.size)
        self.precision = torch.finfo(like.dtype).eps
        self._rows = like.new_empty(self.capacity, self.size)
        self._images = like.new_empty(self.capacity, self.size)
        self.count = self.products = 0

    @property
    def rows(self) -> Tensor:
        return self._rows[: self.count]

    @property
    def images(self) -> Tensor:
        return self._images[: self.count]

    @property
    def complete(self) -> bool:
        return self.count == self.size

    def ritz(self) -> Ritz:
        return Ritz(self.rows, self.images, self.k)

    def random(self) -> Tensor:
        return gaussian(self._rows[0], self.generator)

    def outside(self, direction: Tensor, scale: float) -> tuple[Tensor, float]:
        """The unit part of a direction outside the basis, and its norm.

        A norm of 0 reports a breakdown: up to rounding at ``scale`` the basis
        holds the direction already, and the unit part is a random one.
        """
        for _ in range(2):  # twice is enough
            direction = direction - self.rows.T @ (self.rows @ direction)
        norm = torch.linalg.vector_norm(direction).item()
        if norm <= 10 * self.precision * scale:
            return self.outside(self.random(), 0.0)[0], 0.0
        return direction / norm, norm

    def append(self, unit: Tensor) -> None:
        """Add a unit direction outside the basis, and its image."""
        image = self.matvec(unit)
        if not torch.isfinite(image).all():
            raise FloatingPointError("the operator's product is not finite")
        if self.count == self.capacity:
            self._restart()
        self._rows[self.count], self._images[self.count] = unit, image
        self.count += 1
        self.products += 1

    def _restart(self) -> None:
        """Keep the leading Ritz vectors and the span of the last row."""
        leading = self.ritz().coefficients[:, : self.k + 4]
        last = torch.zeros(self.count, 1, dtype=torch.float64)
        last[-1] = 1.0
        self._select(torch.linalg.qr(torch.cat([leading, last], dim=1)).Q)

    def keep(self, count: int) -> None:
        """Keep the wanted Ritz vectors, and others up to that count, alone.

        Of the others those whose values are the largest in magnitude.
        """
        ritz = self.ritz()
        others = ritz.values[self.k :].abs().argsort(descending=True, stable=True)
        chosen = [*range(self.k), *(self.k + others[: count - self.k]).tolist()]
        self._select(ritz.coefficients[:, sorted(chosen)])

    def _select(self, coefficients: Tensor) -> None:
        change = coefficients.T.to(self._rows)
        rows, images = change @ self.rows, change @ self.images
        self.count = len(change)
        self._rows[: self.count], self._images[: self.count] = rows, images


def gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers shaped as ``like``: the same on every device."""
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
