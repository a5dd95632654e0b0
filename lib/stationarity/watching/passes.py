"""How many backward passes a step adds up: gradients may be accumulated, and nobody say so."""

import warnings

from torch import Tensor

LOOKS = 3  # steps that are looked at


class Passes:
    """Counts the backward passes of the first steps; then it leaves the model alone.

    A hook on the parameter sees each pass, and changes nothing. Where the gradient was dropped
    meanwhile, the count begins anew. ``told`` is the number of minibatches that a step is said
    to add up, None where the examples of a step are known.
    """

    def __init__(self, parameter: Tensor, told: int | None):
        self.parameter, self.told, self.count, self.counts = parameter, told, 0, []
        self.hook = None if told is None else parameter.register_hook(self._see)

    def _see(self, gradient: Tensor) -> None:
        self.count = 1 + (0 if self.parameter.grad is None else self.count)

    def step_taken(self) -> int | None:
        """Note a step; return the passes of the last that is looked at, if too many."""
        if self.hook is None:
            return None
        self.counts.append(self.count)
        self.count, least = 0, min(self.counts)
        if len(self.counts) < LOOKS:
            return None
        self.close()
        if least <= self.told:
            return None
        said = f"Each step adds up the gradients of {least} backward passes, and"
        said += f" accumulate={self.told}"
        remedy = f"give accumulate={least} if they are of as many minibatches, else batch_size"
        warnings.warn(f"{said}: {remedy}.", stacklevel=3)
        return least

    def close(self) -> None:
        if self.hook is not None:
            self.hook.remove()
        self.hook = None
