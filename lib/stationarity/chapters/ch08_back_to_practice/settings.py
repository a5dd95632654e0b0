"""Back to practice (chapter 8): what the average of the weights knows."""

from typing import ClassVar

from ...runs.settings import Count, NotNegative, Settings, Share, Whole, register


class AveragingStudy(Settings):
    """Settings of nets at constant rates, and of averages over their last weights."""

    study: ClassVar[str] = "chapters.ch08_back_to_practice.study:averaging"

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlps
    batch_size: Count
    learning_rates: tuple[float, ...]
    steps: Count  # at the constant rate
    annealed: Count  # steps after them, at a tenth of the rate
    windows: tuple[int, ...]  # numbers of last weights that are averaged, rising
    members: Count  # seeds at every rate
    examples: Whole = 0  # training examples; 0: all
    label_noise: Share = 0.0  # part of the training examples that get a wrong label
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0
    record_every: Count = 100  # steps between the moments that are evaluated


register(
    "averaging",
    AveragingStudy(
        dataset="digits", hidden=(32,), batch_size=64, learning_rates=(0.01, 0.05, 0.2),
        steps=14000, annealed=2000, windows=(1, 10, 100, 1000, 10000), members=6,
        label_noise=0.15, momentum=0.9, weight_decay=0.002, threads=1,
    ),
    single_gpu=dict(
        dataset="cifar10", hidden=(256,), batch_size=128, learning_rates=(0.001, 0.005, 0.02),
        steps=140000, annealed=20000, windows=(1, 10, 100, 1000, 10000, 100000), members=16,
        label_noise=0.0, weight_decay=0.0005, record_every=1000, threads=0,
    ),
    paper=dict(
        dataset="cifar10", hidden=(1024, 1024), batch_size=128,
        learning_rates=(0.001, 0.005, 0.02), steps=1400000, annealed=100000,
        windows=(1, 10, 100, 1000, 10000, 100000, 1000000), members=16, label_noise=0.0,
        weight_decay=0.0005, record_every=10000, threads=0,
    ),
)  # fmt: skip
