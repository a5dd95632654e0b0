"""An orthonormal basis beside its images under a symmetric operator, and its Ritz pairs."""

from collections.abc import Callable

import torch
from torch import Tensor

from .derivatives import ELEMENTARY, inner, norms


def check_symmetric(product: Callable, rows: Tensor, images: Tensor, precision=0.0) -> None:
    """Raise ``ValueError`` where rows' images (k, P) are not symmetric, up to rounding.

    ``precision`` is that of the products, where it is less than that of the rows.
    """
    matrix = inner(rows, images)
    apart, top = (matrix - matrix.T).abs().max(), matrix.abs().max()
    coarse = max(precision, torch.finfo(rows.dtype).eps)
    if apart <= min(100 * coarse, coarse**0.5 / 6) * top:
        return
    ends = (rows[0], images[0]), (rows[-1], images[-1])
    rounding = torch.stack([norms(product(3 * row) / 3 - image) for row, image in ends]).max()
    if apart > (10 if coarse < 1e-3 else 3) * rounding or product(0 * rows[0]).any():
        said = "a second derivative is wrong, as the Hessian's products are not symmetric"
        raise ValueError(f"{said}: {ELEMENTARY}")


class Ritz:
    """Ritz pairs of a basis, values descending (float64, on the CPU).

    The vectors and the residuals are those of the basis as it is: before it changes.
    """

    def __init__(self, space: "Subspace"):
        self.rows, self.images, self.k = space.rows, space.images, space.k
        self.precision = space.precision
        matrix = inner(self.rows, self.images).cpu()
        values, coefficients = torch.linalg.eigh((matrix + matrix.T) / 2)
        self.values, self.coefficients = values.flip(0), coefficients.flip(1)
        self.scale, count = self.values.abs().max().item(), min(self.k + 1, len(values))
        found = [
            norms(self.residuals(begin, min(begin + 8, count)))
            for begin in range(0, count, 8)  # few at a time: they are long
        ]
        self.norms = torch.cat(found).cpu()

    def vectors(self, begin: int, end: int) -> Tensor:
        return self.coefficients[:, begin:end].T.to(self.rows) @ self.rows

    def residuals(self, begin: int, end: int) -> Tensor:
        images = self.coefficients[:, begin:end].T.to(self.rows) @ self.images
        values = self.values[begin:end, None].to(self.rows)
        return images.sub_(values * self.vectors(begin, end))

    def errors(self) -> Tensor:
        """Return estimated errors of the k leading values, min(r, r^2 / gap).

        The gap is that to the values after them: two of the wanted pairs may mix.
        """
        norms = self.norms[: self.k]
        if len(self.values) <= self.k:
            return norms  # the gap is unknown
        gaps = self.values[: self.k] - self.values[self.k]
        return torch.where(norms < gaps, norms**2 / gaps, norms)

    def tolerances(self, tol: float) -> Tensor:
        """Return allowed errors of the k leading values.

        Relative to the value; for one near zero, to a thousandth of the largest
        in magnitude; never below rounding, and positive.
        """
        relative = tol * self.values[: self.k].abs().clamp(min=1e-3 * self.scale)
        rounding = max(10 * self.precision * self.scale, torch.finfo(torch.float64).tiny)
        return relative.clamp(min=rounding)


class Subspace:
    """Orthonormal rows and their images under the operator, at most 3k + 10."""

    def __init__(self, matvec: Callable, like: Tensor, k: int, generator):
        self.matvec, self.k, self.generator = matvec, k, generator
        self.size = len(like)
        self.capacity, self.precision = min(3 * k + 10, self.size), torch.finfo(like.dtype).eps
        self._rows = like.new_empty(self.capacity, self.size)
        self._images = like.new_empty(self.capacity, self.size)
        self.count = self.products = 0

    rows = property(lambda self: self._rows[: self.count])
    images = property(lambda self: self._images[: self.count])

    def random(self) -> Tensor:
        return torch.DoubleTensor(self.size).normal_(generator=self.generator).to(self._rows)

    def outside(self, direction: Tensor, scale: float) -> tuple[Tensor, float]:
        """Return the unit part of a direction outside the basis, and its norm.

        A norm of 0 reports a breakdown: up to rounding at ``scale`` the basis
        holds the direction already, and the unit part is a random one.
        """
        for _ in range(2):  # twice is enough
            direction = direction - self.rows.T @ (self.rows @ direction)
        norm = norms(direction).item()
        if norm <= 10 * self.precision * scale:
            return self.outside(self.random(), 0.0)[0], 0.0
        return direction / norm, norm

    def append(self, unit: Tensor) -> None:
        """Add a unit direction outside the basis, and its image."""
        image = self.matvec(unit)
        if self.count == self.capacity:  # keep leading Ritz vectors, and the last row's span
            leading = Ritz(self).coefficients[:, : self.k + 4]
            last = torch.zeros(self.count, 1, dtype=torch.float64, device="cpu")
            last[-1] = 1.0
            self._select(torch.linalg.qr(torch.cat([leading, last], dim=1)).Q)
        self._rows[self.count], self._images[self.count] = unit, image
        self.count += 1
        self.products += 1

    def keep(self, count: int) -> None:
        """Keep so many Ritz vectors: the wanted, then those of the largest magnitudes."""
        ritz = Ritz(self)
        others = ritz.values[self.k :].abs().argsort(descending=True, stable=True)
        chosen = [*range(self.k), *(self.k + others[: count - self.k]).tolist()]
        self._select(ritz.coefficients[:, sorted(chosen)])

    def _select(self, coefficients: Tensor) -> None:
        change = coefficients.T.to(self._rows)
        rows, images = change @ self.rows, change @ self.images
        self.count = len(change)
        self._rows[: self.count], self._images[: self.count] = rows, images
