"""How far does it reach? (chapter 5): regimes of training, axis by axis."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, model_validator

from ...errors import UsageError
from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register
from ...train.settings import AtLeastTwo, SmallImages, Training


class Regime(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """One way to train the small nets of a :class:`RegimeStudy`."""

    name: str
    learning_rate: Positive
    batch_size: Whole = 16  # 0: the whole training set
    sampling: Literal["replacement", "reshuffled"] = "replacement"
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Share = 0.0  # of sgd
    weight_decay: NotNegative = 2e-3
    schedule: Literal["constant", "stages", "cosine", "inverse"] = "constant"
    timescale: Whole = 0  # inverse: learning_rate / (1 + step / timescale)
    wrong_labels: Share = 0.15  # share of the labels that are replaced by others
    hidden: tuple[Count, ...] = (32,)  # hidden widths of the mlp
    examples: Whole = 0  # the first so many of the study's; 0: all of them
    length: Positive = 1.0  # its steps over those of the study

    @model_validator(mode="after")
    def _time_to_fall(self) -> Self:
        if self.schedule == "inverse" and not self.timescale:
            said = f"The schedule of {self.name!r} is inverse"
            raise UsageError(f"{said}: set its timescale, in steps.")
        return self


class RegimeStudy(Settings):
    """Settings of the study where weights converge and where not (chapter 5)."""

    study: ClassVar[str] = "chapters.ch05_how_far_does_it_reach.study:regimes"

    dataset: SmallImages
    examples: Whole  # training examples; 0: all
    regimes: tuple[Regime, ...]
    members: AtLeastTwo  # seeds of each regime
    steps: Count
    precision: Literal["float32", "float64"] = "float32"
    total_steps = property(lambda self: self.members * self.steps)

    def steps_of(self, regime: Regime) -> int:
        """Return the number of steps that a regime takes."""
        return max(1, round(regime.length * self.steps))

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        names = [regime.name for regime in self.regimes]
        if len(set(names)) < len(names):
            raise UsageError(f"Every regime needs a name of its own: {', '.join(names)}.")
        return self


INVERSE = {"learning_rate": 0.5, "schedule": "inverse", "timescale": 400, "length": 3.2}
RIGHT, NO_DECAY = {"wrong_labels": 0.0}, {"weight_decay": 0.0}
WHOLE = {"batch_size": 0, "length": 0.4}
SQUARED = {"learning_rate": 0.03, "loss": "squared"}
FEW = {"examples": 64, "hidden": (128,)}

REGIMES = (
    *(Regime(name=f"constant {rate}", learning_rate=rate) for rate in (0.3, 0.1, 0.03, 0.01)),
    Regime(name="stages from 0.3", learning_rate=0.3, schedule="stages"),
    Regime(name="cosine from 0.3", learning_rate=0.3, schedule="cosine"),
    Regime(name="reshuffled epochs", learning_rate=0.1, sampling="reshuffled"),
    Regime(name="batch of 4", learning_rate=0.1, batch_size=4),
    Regime(name="batch of 128", learning_rate=0.1, batch_size=128),
    Regime(name="momentum 0.9", learning_rate=0.03, momentum=0.9),
    Regime(name="Adam", learning_rate=0.003, optimizer="adam"),
    Regime(name="squared loss", **SQUARED),
    Regime(name="right labels", learning_rate=0.1, **RIGHT),
    Regime(name="no decay", learning_rate=0.1, **NO_DECAY),
    Regime(name="interpolation", learning_rate=0.1, **RIGHT, **NO_DECAY),
    Regime(name="interpolation, squared", **SQUARED, **RIGHT, **NO_DECAY, **FEW),
    Regime(name="rate like 1/t", **INVERSE),
    Regime(name="rate like 1/t, right labels", **INVERSE, **RIGHT),
    Regime(name="full batch", learning_rate=0.2, **WHOLE),
    Regime(name="full batch, no decay", learning_rate=0.2, **WHOLE, **NO_DECAY),
    Regime(name="full batch, unstable", learning_rate=2.0, **WHOLE),
)  # fmt: skip


def _wider(width: int) -> tuple[Regime, ...]:
    wide = {"hidden": (width,)}
    return tuple(one if one.examples else one.model_copy(update=wide) for one in REGIMES)


LARGER = dict(members=10, steps=100000, threads=0)
register(
    "regimes", RegimeStudy(
        dataset="digits", examples=256, regimes=REGIMES, members=5, steps=10000, threads=1
    ),
    single_gpu=LARGER | dict(examples=0, regimes=_wider(64)),
    paper=LARGER | dict(dataset="cifar10", examples=5000, regimes=_wider(256)),
)  # fmt: skip

# A ResNet at a constant rate, and the same without or with something else.
RESNET = Training(
    dataset="digits", model="cifar_resnet", width=8, blocks=(1, 1, 1), crop_padding=1,
    epochs=14, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=5e-4,
    precision="float32", measure_every=2, measure_batches=40, sharpness_batches=1,
    sharpness_products=4, threads=1,
)  # fmt: skip
TWO_CORES = dict(
    dataset="cifar10", examples=10000, width=16, blocks=(2, 2, 2, 2), crop_padding=4,
    flip=True, epochs=40, batch_size=128, learning_rate=0.05, precision="auto", threads=0,
    measure_batches=80, sharpness_batches=2, sharpness_products=10,
)  # fmt: skip
SINGLE_GPU = TWO_CORES | dict(
    examples=0, width=64, epochs=100, measure_every=4, measure_batches=40,
    sharpness_batches=1, sharpness_products=8,
)  # fmt: skip
PAPER = SINGLE_GPU | dict(
    epochs=200, learning_rate=0.1, measure_every=5, measure_batches=50, sharpness_products=10,
)  # fmt: skip
IMAGENET = PAPER | dict(
    dataset="imagenet", model="resnet101", epochs=90, batch_size=256, learning_rate=0.01,
    crop_padding=0, weight_decay=1e-4, measure_every=2, measure_batches=360,
    sharpness_batches=3,
)  # fmt: skip


def _register(name: str, paper: dict = PAPER, slower: int = 1, **changes) -> None:
    scales = dict(two_cores=TWO_CORES, single_gpu=SINGLE_GPU, paper=paper)
    for scale, table in scales.items():
        scales[scale] = table | {"learning_rate": table["learning_rate"] / slower} | changes
    register(name, RESNET.but(learning_rate=RESNET.learning_rate / slower, **changes), **scales)


_register("resnet_constant", IMAGENET)
_register("resnet_constant_small", IMAGENET, slower=10)
_register("resnet_without_batchnorm", batch_norm=False)
_register("resnet_without_augmentation", crop_padding=0, flip=False)
_register("resnet_squared_loss", loss="squared")
