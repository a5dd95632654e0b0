"""Back to practice (chapter 8): what the average of the weights knows."""
from dataclasses import dataclass


@dataclass(frozen=True)
class AveragingStudy:
    """Settings of nets at constant rates, and of averages over their last weights."""

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlps
    batch_size: int
    learning_rates: tuple[float, ...]
    steps: int  # at the constant rate
    annealed: int  # steps after them, at a tenth of the rate
    windows: tuple[int, ...]  # numbers of last weights that are averaged, rising
    members: int  # seeds at every rate
    examples: int = 0  # training examples; 0: all
    label_noise: float = 0.0  # part of the training examples that get a wrong label
    momentum: float = 0.0
    weight_decay: float = 0.0
    record_every: int = 100  # steps between the moments that are evaluated
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


PRACTICE = {
    "averaging": {
        "classroom": AveragingStudy(
            dataset="digits", hidden=(32,), batch_size=64,
            learning_rates=(0.01, 0.05, 0.2), steps=14000, annealed=2000,
            windows=(1, 10, 100, 1000, 10000), members=6, label_noise=0.15,
            momentum=0.9, weight_decay=2e-3, threads=1,
        ),
        "single-gpu": AveragingStudy(
            dataset="cifar10", hidden=(256,), batch_size=128,
            learning_rates=(0.001, 0.005, 0.02), steps=140000, annealed=20000,
            windows=(1, 10, 100, 1000, 10000, 100000), members=16,
            momentum=0.9, weight_decay=5e-4, record_every=1000,
        ),
        "paper": AveragingStudy(
            dataset="cifar10", hidden=(1024, 1024), batch_size=128,
            learning_rates=(0.001, 0.005, 0.02), steps=1400000, annealed=100000,
            windows=(1, 10, 100, 1000, 10000, 100000, 1000000), members=16,
            momentum=0.9, weight_decay=5e-4, record_every=10000,
        ),
    },
}  # fmt: skip
