"""Watching a distribution settle (chapter 7): small nets for long, and their replicas."""
from dataclasses import dataclass

from .settings import Training


@dataclass(frozen=True)
class SettlingStudy:
    """Settings of a few small nets that are followed for very long."""

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlps
    batch_size: int
    learning_rate: float
    steps: int
    examples: int = 0  # training examples; 0: all
    label_noise: float = 0.0  # part of the training examples that get a wrong label
    momentum: float = 0.0
    weight_decay: float = 0.0
    drops: tuple[int, ...] = ()  # steps at which the learning rate is divided by 10
    members: int = 1  # independent initial weights and minibatches
    record_every: int = 20  # steps between records of the first member
    measure_every: int = 250  # steps between measurements of all members
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


@dataclass(frozen=True)
class ReplicaStudy:
    """Settings of many replicas that branch from one net, and of its own trajectory."""

    dataset: str
    hidden: tuple[int, ...]  # hidden widths of the mlp
    batch_size: int
    learning_rate: float
    burn_in: int  # steps before the replicas branch
    steps: int  # of every replica
    trajectory: int  # steps of the single trajectory that goes on from the branch
    replicas: int
    examples: int = 0  # training examples; 0: all
    label_noise: float = 0.0  # part of the training examples that get a wrong label
    momentum: float = 0.0
    weight_decay: float = 0.0
    record_every: int = 20  # steps between records of the trajectory
    measure_every: int = 250  # steps between records of the replicas
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


SETTLING = {
    "settling": {
        "classroom": SettlingStudy(
            dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05,
            steps=48000, label_noise=0.15, momentum=0.9, weight_decay=2e-3,
            drops=(24000, 36000), members=4, record_every=30, measure_every=150,
            threads=1,
        ),
        "two-cores": SettlingStudy(
            dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05,
            steps=1200000, label_noise=0.15, momentum=0.9, weight_decay=2e-3,
            drops=(800000, 1000000), members=4, record_every=800, measure_every=4000,
            threads=1,
        ),
        "single-gpu": SettlingStudy(
            dataset="cifar10", examples=10000, hidden=(64,), batch_size=128,
            learning_rate=0.02, steps=600000, label_noise=0.15, momentum=0.9,
            weight_decay=2e-3, drops=(300000, 450000), members=16,
            record_every=200, measure_every=2500,
        ),
        "paper": SettlingStudy(
            dataset="cifar10", hidden=(512, 512), batch_size=128, learning_rate=0.02,
            steps=2000000, momentum=0.9, weight_decay=5e-4,
            drops=(1000000, 1500000), members=16, record_every=2000,
            measure_every=10000,
        ),
    },
    "replicas": {
        "classroom": ReplicaStudy(
            dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05,
            burn_in=10000, steps=10000, trajectory=40000, replicas=32,
            label_noise=0.15, momentum=0.9, weight_decay=1e-2, record_every=50,
            measure_every=1000, threads=1,
        ),
        "two-cores": ReplicaStudy(
            dataset="digits", hidden=(32,), batch_size=64, learning_rate=0.05,
            burn_in=200000, steps=150000, trajectory=800000, replicas=32,
            label_noise=0.15, momentum=0.9, weight_decay=2e-3, record_every=500,
            measure_every=5000, threads=1,
        ),
        "single-gpu": ReplicaStudy(
            dataset="cifar10", examples=10000, hidden=(64,), batch_size=128,
            learning_rate=0.02, burn_in=200000, steps=50000, trajectory=400000,
            replicas=256, label_noise=0.15, momentum=0.9, weight_decay=2e-3,
            record_every=200, measure_every=2500,
        ),
        "paper": ReplicaStudy(
            dataset="cifar10", hidden=(512, 512), batch_size=128, learning_rate=0.02,
            burn_in=1000000, steps=200000, trajectory=1000000, replicas=64,
            momentum=0.9, weight_decay=5e-4, record_every=2000,
            measure_every=10000,
        ),
    },
    "settling_resnet": {
        "classroom": Training(
            dataset="digits", model="cifar_resnet", width=6, blocks=(1, 1, 1),
            crop_padding=4, epochs=120, batch_size=64, learning_rate=0.2,
            momentum=0.9, weight_decay=5e-4, precision="float32", measure_every=0,
            observe_every=2, threads=1,
        ),
        "single-gpu": Training(
            dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True,
            epochs=200, batch_size=128, learning_rate=0.1, momentum=0.9,
            weight_decay=5e-4, measure_every=0, observe_every=20,
        ),
        "paper": Training(
            dataset="imagenet", model="resnet101", flip=True, epochs=90,
            batch_size=256, learning_rate=0.01, momentum=0.9, weight_decay=1e-4,
            measure_every=0, observe_every=100,
        ),
    },
}  # fmt: skip
