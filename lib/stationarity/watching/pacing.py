"""When to measure: every so many steps, or so often that it takes a share of the time."""

import contextlib
import math
import time
from collections.abc import Iterator

from ..runs import distributed

SHARE = 0.04  # of all time that measurements take, where no interval is given
LOOK = 20  # steps after which the time of a step is known


class Pace:
    """Counts the time of steps and of measurements; says when the next one is due.

    Without ``every`` a measurement is due once all of them, with the next one taken to last as
    long as the last did, are at most ``SHARE`` of the time since the first step. The first one
    follows the first step, so that it tells at once what is wrong. Several processes look at
    the clock of the first, and only at steps that all agree on.
    """

    def __init__(self, every: int | None, device):
        self.every, self.device, self.since = every, device, None
        self.measured, self.next = 0, 1
        self.spent, self.latest, self.trained = 0.0, 0.0, 0.0  # seconds

    def step_begins(self) -> None:
        """Note that what came since the last step was the training."""
        if self.since is not None:
            self.trained += time.perf_counter() - self.since

    def step_ends(self) -> None:
        self.since = time.perf_counter()

    def is_due(self, taken: int) -> bool:
        """Return whether to measure after so many steps; all processes get the same answer."""
        if self.every:
            return taken == 1 or taken % self.every == 0
        if taken < self.next or not self.measured:
            return taken >= self.next
        whole = (self.spent + self.latest) / SHARE
        left = (whole - self.trained - self.spent) * (taken - 1) / max(self.trained, 1e-9)
        steps = distributed.of_first(min(max(math.ceil(left), 0), 2**40), self.device)
        if steps:
            self.next = taken + max(steps, LOOK)
        return not steps

    @contextlib.contextmanager
    def measuring(self, taken: int) -> Iterator[None]:
        """Count the time of a measurement."""
        began = time.perf_counter()
        yield
        self.latest = time.perf_counter() - began
        self.spent += self.latest
        self.measured, self.next = self.measured + 1, taken + LOOK

    def state_dict(self) -> dict:
        names = ("measured", "next", "spent", "latest", "trained")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, kept: dict) -> None:
        vars(self).update(kept, since=None)
