"""Watching a distribution settle (chapter 7): small nets for long, and their replicas."""

import itertools
from typing import ClassVar

from ...runs.settings import Count, Drops, Whole, register
from ...train.settings import SmallNet, Training


class SettlingStudy(SmallNet):
    """Settings of a few small nets that are followed for very long."""

    study: ClassVar[str] = "chapters.ch07_watching_a_distribution_settle.study:settling"

    steps: Count
    drops: Drops = ()  # steps at which the learning rate is divided by 10
    members: Count = 1  # independent initial weights and minibatches
    record_every: Count = 20  # steps between records of the first member
    measure_every: Count = 250  # steps between measurements of all members
    total_steps = property(lambda self: self.members * self.steps)

    @property
    def spans(self) -> list[tuple[float, int]]:
        """The learning rate and the steps of each stage."""
        ends = [0, *(drop for drop in self.drops if drop < self.steps), self.steps]
        lengths = (end - begin for begin, end in itertools.pairwise(ends))
        return [(self.learning_rate / 10**k, steps) for k, steps in enumerate(lengths)]


class ReplicaStudy(SmallNet):
    """Settings of many replicas that branch from one net, and of its own trajectory."""

    study: ClassVar[str] = "chapters.ch07_watching_a_distribution_settle.study:replicas"

    burn_in: Whole  # steps before the replicas branch
    steps: Count  # of every replica
    trajectory: Whole  # steps of the single trajectory that goes on from the branch
    replicas: Count
    record_every: Count = 20  # steps between records of the trajectory
    measure_every: Count = 250  # steps between records of the replicas

    spans = property(lambda self: [(self.learning_rate, self.trajectory)])
    window = property(lambda self: 0.75 * self.trajectory / 4)  # the shorter of the last two

    @property
    def total_steps(self) -> int:
        return self.burn_in + self.trajectory + self.replicas * self.steps


register(
    "settling",
    SettlingStudy(
        dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05, steps=48000,
        label_noise=0.15, momentum=0.9, weight_decay=0.002, drops=(24000, 36000), members=4,
        record_every=30, measure_every=150, threads=1,
    ),
    two_cores=dict(
        steps=1200000, drops=(800000, 1000000), record_every=800, measure_every=4000,
    ),
    single_gpu=dict(
        dataset="cifar10", hidden=(64,), batch_size=128, learning_rate=0.02, steps=600000,
        examples=10000, drops=(300000, 450000), members=16, record_every=200,
        measure_every=2500, threads=0,
    ),
    paper=dict(
        dataset="cifar10", hidden=(512, 512), batch_size=128, learning_rate=0.02,
        steps=2000000, label_noise=0.0, weight_decay=0.0005, drops=(1000000, 1500000),
        members=16, record_every=2000, measure_every=10000, threads=0,
    ),
)  # fmt: skip
register(
    "replicas",
    ReplicaStudy(
        dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05, burn_in=10000,
        steps=5000, trajectory=40000, replicas=160, label_noise=0.15, momentum=0.9,
        weight_decay=0.01, record_every=50, measure_every=500, threads=1,
    ),
    two_cores=dict(
        burn_in=200000, steps=150000, trajectory=800000, replicas=32, weight_decay=0.002,
        record_every=500, measure_every=5000,
    ),
    single_gpu=dict(
        dataset="cifar10", hidden=(64,), batch_size=128, learning_rate=0.02, burn_in=200000,
        steps=50000, trajectory=400000, replicas=256, examples=10000, weight_decay=0.002,
        record_every=200, measure_every=2500, threads=0,
    ),
    paper=dict(
        dataset="cifar10", hidden=(512, 512), batch_size=128, learning_rate=0.02,
        burn_in=1000000, steps=200000, trajectory=1000000, replicas=256, label_noise=0.0,
        weight_decay=0.0005, record_every=2000, measure_every=10000, threads=0,
    ),
)  # fmt: skip
register(
    "settling_resnet",
    Training(
        dataset="digits", model="cifar_resnet", epochs=120, batch_size=64, learning_rate=0.2,
        width=6, blocks=(1, 1, 1), crop_padding=4, momentum=0.9, weight_decay=0.0005,
        precision="float32", threads=1, measure_every=0, observe_every=2,
    ),
    single_gpu=dict(
        dataset="cifar10", epochs=200, batch_size=128, learning_rate=0.1, width=64,
        blocks=(2, 2, 2, 2), flip=True, precision="auto", threads=0, observe_every=20,
    ),
    paper=dict(
        dataset="imagenet", model="resnet101", epochs=90, batch_size=256, learning_rate=0.01,
        width=64, blocks=(2, 2, 2, 2), crop_padding=0, flip=True, weight_decay=0.0001,
        precision="auto", threads=0, observe_every=100,
    ),
)  # fmt: skip
