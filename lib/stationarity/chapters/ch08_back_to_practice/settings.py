"""Back to practice (chapter 8): what the average of the weights knows."""

from typing import ClassVar, Self

from pydantic import model_validator

from ...errors import UsageError
from ...runs.settings import Count, Positives, register
from ...train.settings import AtLeastTwo, SmallNets


class AveragingStudy(SmallNets):
    """Settings of nets at constant rates, and of averages over their last weights."""

    study: ClassVar[str] = "chapters.ch08_back_to_practice.study:averaging"

    learning_rates: Positives
    steps: Count  # at the constant rate
    annealed: Count  # steps after them, at a tenth of the rate
    windows: tuple[Count, ...]  # numbers of last weights that are averaged, rising
    members: AtLeastTwo  # seeds at every rate
    record_every: Count = 100  # steps between the moments that are evaluated
    total_steps = property(lambda self: self.members * (self.steps + self.annealed))

    @model_validator(mode="after")
    def _moments_in_windows(self) -> Self:
        windows, every = self.windows, self.record_every
        if len(windows) < 2 or sorted(set(windows)) != list(windows):
            raise UsageError(f"The setting windows must be two or more, rising, not {windows}.")
        if windows[-1] > self.steps or every > min(windows[-1] / 4, windows[-2]):
            said = f"The longest window, {windows[-1]}, must fit into the {self.steps} steps"
            said += f" and hold four moments, {every} steps apart, and the last window but one"
            raise UsageError(
                f"{said}, {windows[-2]}, must hold one: lower it, or record_every."
            )
        return self


CIFAR = dict(
    dataset="cifar10", batch_size=128, learning_rates=(0.001, 0.005, 0.02), members=16,
    label_noise=0.0, weight_decay=0.0005, threads=0,
)  # fmt: skip
register(
    "averaging",
    AveragingStudy(
        dataset="digits", hidden=(32,), batch_size=64, learning_rates=(0.01, 0.05, 0.2),
        steps=14000, annealed=2000, windows=(1, 10, 100, 1000, 10000), members=6,
        label_noise=0.15, momentum=0.9, weight_decay=0.002, threads=1,
    ),
    single_gpu=CIFAR | dict(
        hidden=(256,), steps=140000, annealed=20000, record_every=1000,
        windows=(1, 10, 100, 1000, 10000, 100000),
    ),
    paper=CIFAR | dict(
        hidden=(1024, 1024), steps=1400000, annealed=100000, record_every=10000,
        windows=(1, 10, 100, 1000, 10000, 100000, 1000000),
    ),
)  # fmt: skip
