"""Two clocks (chapter 13): how long the weights of a normalised net take, and why."""

from typing import ClassVar, Self

from pydantic import model_validator

from ...errors import UsageError
from ...runs.settings import Count, Positive, Positives, Share, register
from ...train.settings import AtLeastTwo, SmallNets
from .arms import first_arms, interventions


class TwoClocks(SmallNets):
    """Settings of normalised nets in stages, each at a tenth of the step size before.

    ``learning_rates`` and ``decays`` go together, a pair a group of nets. The first pair is
    that of the interventions, which begin with the second stage.
    """

    study: ClassVar[str] = "chapters.ch13_two_clocks.study:two_clocks"

    learning_rates: Positives
    decays: Positives
    plain_decay: Positive  # of the nets without normalisation, at the first learning rate
    wrong: Share  # part of the draws whose label comes by lot, anew at each draw
    stages: tuple[Count, Count, Count]  # steps
    full_steps: Count  # of descent by the full gradient, from the end of the first stage
    members: AtLeastTwo  # seeds of every arm
    measure_every: Count  # steps

    @property
    def spans(self) -> list[tuple[float, int]]:
        """The step size of the first pair and the steps of each stage."""
        return [(self.learning_rates[0] / 10**k, steps) for k, steps in enumerate(self.stages)]

    @property
    def total_steps(self) -> int:
        first, second, third = self.stages
        arms, more = len(first_arms(self)), len(interventions(self))
        return self.members * (arms * first + (arms + more) * second + third)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(self.learning_rates) != len(self.decays) or not self.hidden:
            raise UsageError(
                "The settings learning_rates and decays must be equally many, and hidden "
                "must name a layer at least."
            )
        if self.measure_every * 8 > min(*self.stages, self.full_steps):
            raise UsageError(
                f"Measuring every {self.measure_every} steps leaves a stage without eight "
                "measurements: lower measure_every."
            )
        return self


CLASSROOM = TwoClocks(
    dataset="digits", examples=1408, hidden=(32,), batch_size=64, momentum=0.9,
    learning_rates=(0.1, 0.1, 0.1, 0.2), decays=(0.005, 0.0025, 0.01, 0.005),
    plain_decay=0.005, wrong=0.3, stages=(3000, 6000, 2000), full_steps=6000, members=5,
    measure_every=50, threads=1,
)  # fmt: skip
SCALES = dict(
    two_cores=dict(
        hidden=(64, 64), decays=(0.00125, 0.000625, 0.0025, 0.00125), plain_decay=0.00125,
        stages=(12000, 24000, 48000), full_steps=24000, members=7, measure_every=200,
    ),
    single_gpu=dict(
        dataset="cifar10", examples=5000, hidden=(128, 128), batch_size=100,
        decays=CLASSROOM.decays, stages=(3000, 6000, 3000), full_steps=3000, members=8,
        measure_every=100, threads=0,
    ),
    paper=dict(
        dataset="cifar10", examples=0, hidden=(1024, 1024, 1024), batch_size=125,
        decays=(0.0005, 0.00025, 0.001, 0.0005), plain_decay=0.0005,
        stages=(30000, 60000, 300000), full_steps=60000, members=8, measure_every=500,
        threads=0,
    ),
)  # fmt: skip


def _by_heart(decays: tuple) -> dict:
    """Return what differs where wrong labels can be learned: the first pair alone."""
    rates = CLASSROOM.learning_rates[:1]
    return dict(learning_rates=rates, decays=decays[:1], wrong=0.0, label_noise=0.15)


register("two_clocks", CLASSROOM, **SCALES)
register(
    "two_clocks_by_heart",
    CLASSROOM.but(
        **_by_heart(CLASSROOM.decays), stages=(3000, 6000, 400), full_steps=400, members=4
    ),
    **{scale: given | _by_heart(given["decays"]) for scale, given in SCALES.items()},
)
