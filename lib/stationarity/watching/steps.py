"""What is noted of every step: numbers of the weights, computed on their device.

Nothing waits for the device: the numbers lie in a ring until it is full. On a CPU weights are
read in pieces that its cache holds, once for all that is noted.
"""

import math

import torch
from torch import Tensor

from ..errors import UsageError
from ..runs import distributed
from .sketch import Sketch

RING = 256  # steps that are written together
PIECE = {"cpu": 2**17}  # entries that are read at once; elsewhere a tensor, at most
LARGE = 2**24
ROUNDING = 1e-4  # by which a sketch of the same weights may differ on another machine
NUMBERS = ("update_square", "weight_square", "weight_buffer")


class Steps:
    """||theta_t - theta_{t-1}||^2, ||theta_t||^2 and <theta_t, b_t>, by parameter group.

    ``parameters`` are followed, of the groups ``of`` (one number each, below ``groups``);
    ``buffer(p)`` returns the optimizer's b of one, or None. Memory: one copy of the weights.
    Errors: sums are in the weights' dtype (float32 at least) within a piece, then in float64:
    about 1e-6 of each value.
    """

    def __init__(self, parameters: list[Tensor], of: list[int], groups: int, buffer):
        self.parameters, self.of, self.groups, self.buffer = parameters, of, groups, buffer
        kinds = [p.dtype for p in parameters] + [torch.float32]
        self.kind = torch.float64 if torch.float64 in kinds else torch.float32
        self.device = parameters[0].device
        self.piece = PIECE.get(self.device.type, LARGE)
        self.before, self.known, self.pieces = None, None, []
        self.ring = torch.zeros(RING, 1 + 3 * groups, dtype=torch.float64, device=self.device)

    def begin(self) -> None:
        """Take the weights as they are for those before the next step."""
        self.before = [torch.empty_like(p).copy_(p) for p in self.tensors()]
        self.known = None

    def tensors(self) -> list[Tensor]:
        return [p.detach() for p in self.parameters]

    def moved_otherwise(self) -> bool:
        """Return whether the weights differ from those of the last look, which they become."""
        before = self.before or self.tensors()
        moved = not all(p.equal(b) for p, b in zip(self.tensors(), before))
        if moved or self.before is None:
            self.begin()
        return moved

    def forget(self) -> None:
        """Give the memory of the earlier weights back; :meth:`begin` takes these again."""
        self.before, self.pieces, self.known = None, [], None

    @torch.no_grad()
    def take(self, row: int, loss) -> None:
        """Write the numbers of the step that was taken into a row of the ring."""
        buffers = [self.buffer(p) for p in self.parameters]
        known = [p.data_ptr() for p in self.parameters]
        known += [0 if b is None else b.data_ptr() for b in buffers]
        if known != self.known:
            self.known = known if self._divide(buffers) else None
        for now, before, buffer, scratch, (moved, size, along) in self.pieces:
            if now.dtype != self.kind:
                wide = now.to(self.kind)
                torch.sub(wide, before, out=scratch)
                before.copy_(now)
                now = wide
            else:
                torch.sub(now, before, out=scratch)
                before.copy_(now)
            torch.dot(scratch, scratch, out=moved)
            torch.dot(now, now, out=size)
            if buffer is not None:
                other = buffer.dtype != self.kind
                torch.dot(now, buffer.to(self.kind) if other else buffer, out=along)
        torch.mm(self.by_group, self.sums.double(), out=self.ring[row, 1:].view(self.groups, 3))
        if isinstance(loss, Tensor):
            loss = loss.detach().reshape(())
        self.ring[row, 0] = math.nan if loss is None else loss

    def _divide(self, buffers: list) -> bool:
        """Cut weights, earlier weights and buffers into pieces; return if all are views."""
        self.pieces, at = [], []
        longest = min(self.piece, max(p.numel() for p in self.parameters))
        scratch = torch.empty(longest, dtype=self.kind, device=self.device)
        parts, views = [], True
        for number, (p, b, group) in enumerate(zip(self.tensors(), buffers, self.of)):
            before = self.before[number]
            if p.shape != before.shape or p.device != before.device:
                said = "A parameter has another shape or device than when the watch began"
                raise UsageError(f"{said}: begin a new watch once the model is changed.")
            if before.stride() != p.stride():
                before = self.before[number] = torch.empty_like(p).copy_(before)
            views = views and (b is None or b.stride() == p.stride())
            rows = [in_line(p), in_line(before)]
            rows.append(None if b is None else in_line(b.detach(), p))
            cut = [[None] * len(rows[0]) if r is None else r.split(self.piece) for r in rows]
            parts += zip(*cut)
            at += [group] * len(cut[0])
        self.sums = torch.zeros(len(parts), 3, dtype=self.kind, device=self.device)
        numbers = torch.arange(self.groups, device=self.device)[:, None]
        self.by_group = (numbers == torch.tensor(at, device=self.device)).double()
        for part, out in zip(parts, self.sums):
            self.pieces.append((*part, scratch[: len(part[0])], out.unbind()))
        return views


def mean_of_known(values: Tensor) -> Tensor:
    """Return the mean over the processes, of those whose value is not NaN."""
    if distributed.size() == 1:
        return values
    known = ~values.isnan()
    sums = distributed.total(torch.stack([values.nan_to_num(0.0, math.inf, -math.inf), known]))
    return sums[0] / sums[1]


def in_line(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """Return a tensor's entries as a view (n,), in the order of memory of ``like``.

    A copy where a tensor lies otherwise than ``like``; :class:`UsageError` for one that has
    gaps or repeats.
    """
    like = tensor if like is None else like
    order = sorted(range(like.dim()), key=like.stride, reverse=True)
    view = tensor.permute(order)
    if view.is_contiguous():
        return view.view(-1)
    if tensor is like:
        said = f"A parameter of shape {tuple(tensor.shape)} has gaps or repeats in memory"
        raise UsageError(f"{said}: make it contiguous.")
    return view.reshape(-1)


class Displacements:
    """A sketch of the weights every few steps, and distances from earlier ones.

    The sketch's ``WIDTH`` numbers give distances within 2 % (standard error; exact up to so
    many parameters); ``KEPT`` sums of them are kept as a series: squared distances between any
    two of its rows are unbiased, with an error of 18 % (constants: 29 %) that all have nearly
    in common. After ``MOST`` rows every second one is dropped, so that the rest are as far
    apart as before.
    """

    WIDTH, KEPT, MOST, STRIDE = 2**14, 64, 2048, 8
    POINTS, APART, FINER = 8, 2**0.25, 2**0.125

    def __init__(self, parameters: list[Tensor]):
        self.parameters = parameters
        fewest = -(-sum(p.numel() for p in parameters) // self.KEPT) * self.KEPT
        self.sketch = Sketch([p.detach() for p in parameters], min(self.WIDTH, fewest))
        self.stride, self.next_point = self.STRIDE, 0
        self.points, self.places = [], []  # [step, next lag]; sketches
        self.series: dict[int, Tensor] = {}  # by step
        self.distances: list[tuple[int, int, Tensor]] = []  # step, since when, squared distance

    def take(self, step: int) -> None:
        """Note the weights after a step, if it is one of those that are noted."""
        if step % self.stride:
            return
        now = self.sketch([p.detach() for p in self.parameters])
        for point, place in zip(self.points, self.places):
            if step - point[0] >= point[1]:
                self.distances.append((step, point[0], (now - place).double().square().sum()))
                point[1] = max((step - point[0]) * self.FINER, step - point[0] + 1)
        if step >= self.next_point:
            self.points = [*self.points, [step, self.stride]][-self.POINTS :]
            self.places = [*self.places, now][-self.POINTS :]
            self.next_point = max(step * self.APART, step + self.stride)
        self.series[step] = now.view(self.KEPT, -1).sum(1)
        if len(self.series) > self.MOST:
            self.stride *= 2
            self.series = {t: one for t, one in self.series.items() if t % self.stride == 0}

    def state_dict(self) -> dict:
        places = torch.stack(self.places) if self.places else torch.zeros(0)
        now = self.sketch([p.detach() for p in self.parameters])
        return {
            "stride": self.stride,
            "next_point": self.next_point,
            "now": now,
            "points": [[*point] for point in self.points],
            "places": places,
        }

    def load_state_dict(self, kept: dict, series: dict) -> None:
        """Go on from a state, with the series as written; the weights must be its own."""
        now = self.sketch([p.detach() for p in self.parameters])
        then = kept["now"].to(now)
        if not (now - then).norm() <= ROUNDING * then.norm():
            said = "The weights are not those that this state of the watch was saved with"
            raise UsageError(f"{said}: load the model's state first, of the same checkpoint.")
        self.stride, self.next_point = kept["stride"], kept["next_point"]
        self.points = [[*point] for point in kept["points"]]
        self.places = [*kept["places"].to(now)]
        self.series, self.distances = series, []
