"""Follow weights by what figures need of them, and not by storing them.

The weights of every step are kept in a ring of m snapshots, and projected together: so the
directions are read once in m steps. All is relative to the weights at the beginning: in
float32 a projection of the weights themselves would drown their motion. Memory: k + 1
directions, m + 1 snapshots and R reference points, of P weights each. Source: our section
"Does a deep network obey?".
"""

import torch
from torch import Tensor

from ..measure import float32_products
from ..stats.displacement import spaced_lags

SNAPSHOTS = 16  # m, of the ring
POINTS = 8  # R, reference points
PER_OCTAVE = 8  # lags at which distances from them are taken
SLICE = 2**18  # entries that are summed up in the weights' dtype, before float64


class Follower:
    """Follows weights theta_t, t = 0, 1, ..., T: a row of numbers for each of them.

    A row, in float64, holds for t the projections u_i'(theta_t - theta_0), i = 1..k;
    ||theta_t||^2; ||theta_t - theta_{t-1}||^2 (NaN for t = 0); and the squared distance
    from each of ``POINTS`` reference points, theta at t = r T / POINTS, where the lag is
    among :func:`stationarity.stats.displacement.spaced_lags`, else NaN.

    ``axes`` (k + 1, P) are k orthonormal directions, then theta_0, like the weights;
    ``last`` is T; ``theta`` are the weights now, after ``done`` steps up to a :meth:`write`:
    what follows is the same, bit for bit, as without a break. Raises :class:`UsageError`
    where the keeper's tables lack what was followed.
    """

    def __init__(self, axes: Tensor, last: int, keeper, theta: Tensor, done: int = 0):
        # With theta_0 among them, ||theta_t||^2 is as exact as the motion is.
        self.directions, self.origin = axes, axes[-1]
        self.starts = [last * r // POINTS for r in range(POINTS)]
        self.lags = set(spaced_lags(last, PER_OCTAVE).tolist())
        known = sum(start <= done for start in self.starts) if done else 0
        self.next, self.written = done, done + 1 if done else 0
        width = len(axes) + 1 + POINTS
        self.numbers = keeper.table(width, self.written, "followed", torch.float64)
        self.points = keeper.table(len(self.origin), known, "points", self.origin.dtype)
        self.origin_square = _squares(axes[-1:]).item()
        self.places = axes.new_zeros(POINTS, len(self.origin))  # of the reference points
        self.places[:known] = self.points.read(known).to(axes)
        # Row 1 + t % m holds theta_t, and row 0 what was in the last one before.
        self.ring = axes.new_zeros(SNAPSHOTS + 1, len(self.origin))
        self.follow(theta)

    def follow(self, theta: Tensor) -> None:
        """Take the weights ``(P,)`` of the next step."""
        place = self.next % SNAPSHOTS
        torch.sub(theta, self.origin, out=self.ring[1 + place])
        self.next += 1
        if place == SNAPSHOTS - 1:
            self.write()
            self.ring[0] = self.ring[-1]

    def rows(self) -> Tensor:
        """Return all rows ``(t + 1, k + 2 + POINTS)``, float64, on the CPU."""
        self.write()
        return self.numbers.read(self.next)

    def write(self) -> None:
        """Write the rows of the ring that are not yet written."""
        first, new = (self.next - 1) // SNAPSHOTS * SNAPSHOTS, range(self.written, self.next)
        if not new:
            return
        # All are computed, whatever is new: no number depends on when it is asked for.
        numbers = self._numbers()[new[0] - first : new[-1] + 1 - first]
        if new[0] == 0:
            numbers[0, -1] = torch.nan  # nothing was before
        distances = numbers.new_tensor([self._distances(t) for t in new])
        self.numbers.write(new[0], torch.cat([numbers, distances], 1))
        self.written = self.next

    def _numbers(self) -> Tensor:
        """Return the first numbers of all snapshots in the ring (m, k + 2)."""
        k = len(self.directions) - 1
        sums = self.origin.new_zeros(SNAPSHOTS, k + 3, dtype=torch.float64)
        with float32_products("ieee"):
            for begin in range(0, len(self.origin), SLICE):
                part = slice(begin, begin + SLICE)
                ring = self.ring[:, part]
                sums[:, : k + 1] += (ring[1:] @ self.directions[:, part].T).double()
                sums[:, k + 1] += _squares(ring[1:])
                sums[:, k + 2] += _squares(ring[1:] - ring[:-1])
        weights = self.origin_square + 2 * sums[:, k] + sums[:, k + 1]
        return torch.column_stack([sums[:, :k], weights, sums[:, k + 2]])

    def _distances(self, t: int) -> list[float]:
        distances, now = [torch.nan] * POINTS, self.ring[1 + t % SNAPSHOTS]
        for index, start in enumerate(self.starts):
            if start == t:
                self.places[index] = now
                self.points.write(index, now)
            if t - start in self.lags:
                distances[index] = _squares((now - self.places[index])[None]).item()
        return distances


def _squares(rows: Tensor) -> Tensor:
    """Return the squared norms of rows (n, P), in float64 from slice to slice."""
    parts = rows.split(SLICE, dim=1)
    return sum(torch.linalg.vector_norm(part, dim=1).double().square() for part in parts)
