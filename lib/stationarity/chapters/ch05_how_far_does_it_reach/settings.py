"""How far does it reach? (chapter 5): regimes of training, axis by axis."""

from typing import ClassVar

from pydantic import BaseModel

from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register
from ...train.settings import Training


class Regime(BaseModel):
    """One way to train the small nets of a :class:`RegimeStudy`."""

    name: str
    learning_rate: Positive
    batch_size: Whole = 16  # 0: the whole training set
    sampling: str = "replacement"  # replacement, independent or reshuffled, see ensembles
    loss: str = "cross_entropy"  # or squared
    optimizer: str = "sgd"  # sgd or adam
    momentum: Share = 0.0  # of sgd
    weight_decay: NotNegative = 2e-3
    schedule: str = "constant"  # constant, stages, cosine or inverse
    timescale: int = 0  # inverse: learning_rate / (1 + step / timescale)
    wrong_labels: Share = 0.15  # share of the labels that are replaced by others
    hidden: tuple[int, ...] = (32,)  # hidden widths of the mlp
    examples: Whole = 0  # the first so many of the study's; 0: all of them
    length: float = 1.0  # its steps over those of the study


class RegimeStudy(Settings):
    """Settings of the study where weights converge and where not (chapter 5)."""

    study: ClassVar[str] = "chapters.ch05_how_far_does_it_reach.study:regimes"

    dataset: str
    examples: Whole  # training examples; 0: all
    regimes: tuple[Regime, ...]
    members: Count  # seeds of each regime
    steps: Count
    precision: str = "float32"


LONG, SHORT = 3.2, 0.4  # times the study's steps: a rate that decays; the whole set
NO_NOISE = {"weight_decay": 0.0, "wrong_labels": 0.0}

REGIMES = (
    Regime(name="constant 0.3", learning_rate=0.3),
    Regime(name="constant 0.1", learning_rate=0.1),
    Regime(name="constant 0.03", learning_rate=0.03),
    Regime(name="constant 0.01", learning_rate=0.01),
    Regime(name="stages from 0.3", learning_rate=0.3, schedule="stages"),
    Regime(name="cosine from 0.3", learning_rate=0.3, schedule="cosine"),
    Regime(name="reshuffled epochs", learning_rate=0.1, sampling="reshuffled"),
    Regime(name="batch of 4", learning_rate=0.1, batch_size=4),
    Regime(name="batch of 128", learning_rate=0.1, batch_size=128),
    Regime(name="momentum 0.9", learning_rate=0.03, momentum=0.9),
    Regime(name="Adam", learning_rate=0.003, optimizer="adam"),
    Regime(name="squared loss", learning_rate=0.03, loss="squared"),
    Regime(name="right labels", learning_rate=0.1, wrong_labels=0.0),
    Regime(name="no decay", learning_rate=0.1, weight_decay=0.0),
    Regime(name="interpolation", learning_rate=0.1, **NO_NOISE),
    Regime(
        name="interpolation, squared", learning_rate=0.03, loss="squared", examples=64, hidden=(128,), **NO_NOISE
    ),
    Regime(name="rate like 1/t", learning_rate=0.5, schedule="inverse", timescale=400, length=LONG),
    Regime(
        name="rate like 1/t, right labels", learning_rate=0.5, schedule="inverse", timescale=400, length=LONG,
        wrong_labels=0.0,
    ),
    Regime(name="full batch", learning_rate=0.2, batch_size=0, length=SHORT),
    Regime(name="full batch, no decay", learning_rate=0.2, batch_size=0, weight_decay=0.0, length=SHORT),
    Regime(name="full batch, unstable", learning_rate=2.0, batch_size=0, length=SHORT),
)  # fmt: skip


def _wider(width: int) -> tuple[Regime, ...]:
    """Return the regimes with a hidden layer of that width, where they have the usual one."""
    return tuple(
        regime.model_copy(update={"hidden": (width,)}) if regime.hidden == (32,) else regime
        for regime in REGIMES
    )


register(
    "regimes",
    RegimeStudy(
        dataset="digits", examples=256, regimes=REGIMES, members=5, steps=10000, threads=1
    ),
    single_gpu=dict(examples=0, regimes=_wider(64), members=10, steps=100000, threads=0),
    paper=dict(
        dataset="cifar10", examples=5000, regimes=_wider(256), members=10, steps=100000,
        threads=0,
    ),
)  # fmt: skip

# The axes: a ResNet at every scale, changed in one place.
RESNET = Training(
    dataset="digits", model="cifar_resnet", width=8, blocks=(1, 1, 1), crop_padding=1,
    epochs=14, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=5e-4,
    precision="float32", measure_every=2, measure_batches=40, sharpness_batches=1,
    sharpness_products=4, threads=1,
)  # fmt: skip
CIFAR = dict(
    dataset="cifar10", batch_size=128, learning_rate=0.05, blocks=(2, 2, 2, 2),
    crop_padding=4, flip=True, precision="auto", threads=0,
)  # fmt: skip
TWO_CORES = CIFAR | dict(
    examples=10000, width=16, epochs=40, measure_batches=80, sharpness_batches=2,
    sharpness_products=10,
)  # fmt: skip
ONE_GPU = CIFAR | dict(width=64, epochs=100, measure_every=4, sharpness_products=8)
FULL_SIZE = CIFAR | dict(
    epochs=200, learning_rate=0.1, width=64, measure_every=5, measure_batches=50,
    sharpness_products=10,
)  # fmt: skip
IMAGENET = dict(
    dataset="imagenet", model="resnet101", epochs=90, batch_size=256, learning_rate=0.01,
    width=64, blocks=(2, 2, 2, 2), crop_padding=0, flip=True, weight_decay=1e-4,
    precision="auto", threads=0, measure_batches=360, sharpness_batches=3,
    sharpness_products=10,
)  # fmt: skip
AXES = {
    "resnet_constant": {},
    "resnet_constant_small": {},  # a tenth of the learning rate
    "resnet_without_batchnorm": {"batch_norm": False},
    "resnet_without_augmentation": {"crop_padding": 0, "flip": False},
    "resnet_squared_loss": {"loss": "squared"},
}
for name, changes in AXES.items():
    paper = IMAGENET if "constant" in name else FULL_SIZE
    scales = dict(two_cores=TWO_CORES, single_gpu=ONE_GPU, paper=paper)
    classroom, *others = (
        given | {"learning_rate": given["learning_rate"] / 10}
        if name == "resnet_constant_small"
        else given | changes
        for given in (dict(RESNET), *scales.values())
    )
    register(name, RESNET.but(**classroom), **dict(zip(scales, others, strict=True)))
