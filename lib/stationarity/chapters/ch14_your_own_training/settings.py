"""Your own training (chapter 14): a small GPT with AdamW, watched from its first step."""

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from ...errors import UsageError
from ...runs.settings import Count, NotNegative, Positive, Settings, register
from ...train.settings import AtLeastTwo
from .schedules import NAMES


class YourTraining(Settings):
    """Settings of a GPT that is trained by each of the :mod:`schedules`, and watched."""

    study: ClassVar[str] = "chapters.ch14_your_own_training.study:your_training"

    dataset: Literal["python-reference", "wikitext103"]
    layers: Count
    width: Count
    heads: Count
    context: Count  # tokens that are read
    batch_size: AtLeastTwo  # so many pieces of text
    learning_rate: Positive  # the highest
    weight_decay: NotNegative  # decoupled, of matrices
    warmup: Count  # steps in which the rate rises
    stages: tuple[
        Count, Count
    ]  # steps at the highest rate and at a tenth; of a cosine, their sum
    measure_every: Count  # steps
    measure_batches: AtLeastTwo = 16
    sharpness_batches: Count = 4

    @property
    def total_steps(self) -> int:
        return len(NAMES) * self.steps

    @property
    def steps(self) -> int:
        """Steps of each training."""
        return self.warmup + sum(self.stages)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.width % self.heads:
            raise UsageError(f"The setting width must be a multiple of heads, {self.heads}.")
        return self


register(
    "your_training",
    YourTraining(
        dataset="python-reference", layers=2, width=32, heads=4, context=24, batch_size=16,
        learning_rate=0.003, weight_decay=0.1, warmup=50, stages=(1500, 1500),
        measure_every=100, sharpness_batches=2, threads=1,
    ),
    single_gpu=dict(  # the size of nanoGPT's example on characters
        layers=6, width=384, heads=6, context=256, batch_size=64, learning_rate=0.001,
        warmup=100, stages=(5000, 5000), threads=0,
    ),
    paper=dict(  # there is none: the size of the smallest GPT-2
        dataset="wikitext103", layers=12, width=768, heads=12, context=512,
        learning_rate=0.0006, warmup=2000, stages=(100000, 100000), measure_every=2000,
        threads=0,
    ),
)  # fmt: skip
