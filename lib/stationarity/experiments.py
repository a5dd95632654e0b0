"""Every experiment of the book at every scale: one place to read all settings.

A scale is data, sizes and lengths, never another code path. Every experiment
has ``classroom``, ``single-gpu`` and ``paper``, which holds the settings of the
authors' code where an experiment is theirs. A few have ``two-cores`` too: real
data, a smaller net, half an hour of two CPU cores.
"""
import dataclasses
import difflib
import itertools
import types
import typing
from dataclasses import dataclass

from .errors import UsageError

SCALES = ("classroom", "two-cores", "single-gpu", "paper")


@dataclass(frozen=True)
class Training:
    """Settings of one training run and of what is measured along it."""

    dataset: str  # digits, cifar10 or imagenet
    model: str  # cifar_resnet, mlp, or resnet18 to resnet152 (torchvision's)
    epochs: int
    batch_size: int
    learning_rate: float
    examples: int = 0  # training examples that are used; 0: all
    width: int = 64  # channels of the first stage of a cifar_resnet
    blocks: tuple[int, ...] = (2, 2, 2, 2)  # blocks in each stage of a cifar_resnet
    hidden: tuple[int, ...] = ()  # hidden widths of an mlp; none: softmax regression
    crop_padding: int = 0  # random crops of small images, padded by so many pixels
    flip: bool = False  # random horizontal flips
    image_size: int = 224  # side of the random resized crops of imagenet, in pixels
    sampling: str = "reshuffled"  # reshuffled epochs, or independent batches
    optimizer: str = "sgd"  # sgd or adam
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0  # coupled: it adds weight_decay * weights to the gradient
    schedule: str = "constant"  # constant, stages or cosine
    drops: tuple[int, ...] = ()  # stages: epochs at which the rate is divided by 10
    precision: str = "auto"  # of training: float32, bfloat16, float64, auto (timed)
    threads: int = 0  # of the CPU; 0: all; small nets are faster, and the same, with 1
    measure_every: int = 5  # epochs between measurements; 0: never
    measure_on: str = "draws"  # independent draws, or the whole partition of the data
    measure_batches: int = 100  # independent minibatches of one measurement
    sharpness_batches: int = 10  # fixed minibatches of sharpness and of loss change
    sharpness_products: int = 30  # Hessian-vector products of one measurement, at most
    seed: int = 0


@dataclass(frozen=True)
class NoisyQuadratic:
    """Settings of an ensemble of SGD trajectories on noisy quadratics."""

    curvatures: tuple[float, ...]  # eigenvalues of the Hessian
    noise_variance: float  # of the gradient, in each direction
    learning_rates: tuple[float, ...]
    steps: int
    trajectories: int
    drops: tuple[int, ...] = ()  # steps at which the learning rate is divided by 10
    start: float = 1.0  # initial distance from the minimum in each direction
    momentum: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class EstimatorStudy:
    """Settings of the study of gradient-norm estimators (chapter 2)."""

    dataset: str
    examples: int  # training examples: a multiple of the batch size; 0: all
    hidden: tuple[int, ...]  # hidden widths of the mlp
    batch_size: int
    training_steps: int  # SGD steps before the measurement
    learning_rate: float
    sizes: tuple[int, ...]  # numbers of independent minibatches M
    drawn: tuple[int, ...]  # numbers of minibatches drawn from a partition of the data
    replicates: int  # repetitions of each measurement
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


@dataclass(frozen=True)
class NormalisationStudy:
    """Settings of the study of the loss of a BatchNorm net (chapter 2)."""

    dataset: str
    examples: int  # training examples; 0: all
    width: int  # of the cifar_resnet
    blocks: tuple[int, ...]
    batch_size: int
    crop_padding: int  # of the training
    training_steps: int  # SGD steps before the measurement
    learning_rate: float
    momentum: float
    weight_decay: float
    scales: tuple[float, ...]  # factors of the convolutions' weights
    batch_sizes: tuple[int, ...]  # for which the loss is measured
    measured_examples: int  # drawn for each of these measurements
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


@dataclass(frozen=True)
class CurvatureStudy:
    """Settings of the study of sharpness against the dense Hessian (chapter 2)."""

    dataset: str
    examples: int  # training examples; 0: all
    hidden: tuple[int, ...]  # hidden widths of the mlp
    batch_size: int
    batches: int  # fixed minibatches that define the Hessian
    training_steps: int  # SGD steps before the second measurement
    learning_rate: float
    max_products: int  # Hessian-vector products that are followed
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


Settings = (
    Training | NoisyQuadratic | EstimatorStudy | NormalisationStudy | CurvatureStudy
)

EXPERIMENTS: dict[str, dict[str, Settings]] = {
    # Chapter 2: estimators, each against a truth that is known.
    "gradient_estimators": {
        "classroom": EstimatorStudy(
            dataset="digits", examples=1408, hidden=(32,), batch_size=64,
            training_steps=300, learning_rate=0.1, sizes=(4, 8, 16, 32, 64),
            drawn=(3, 6, 11, 17, 22), replicates=120, threads=1,
        ),
        "single-gpu": EstimatorStudy(
            dataset="cifar10", examples=49920, hidden=(100,), batch_size=128,
            training_steps=2000, learning_rate=0.05, sizes=(4, 16, 64, 256, 1024),
            drawn=(10, 50, 130, 260, 390), replicates=50,
        ),
        "paper": EstimatorStudy(
            dataset="cifar10", examples=49920, hidden=(1024, 1024), batch_size=128,
            training_steps=20000, learning_rate=0.05,
            sizes=(4, 16, 64, 256, 1024, 4096), drawn=(10, 50, 130, 260, 390),
            replicates=100,
        ),
    },
    "normalised_loss": {
        "classroom": NormalisationStudy(
            dataset="digits", examples=0, width=6, blocks=(1, 1, 1), batch_size=64,
            crop_padding=4, training_steps=132, learning_rate=0.05, momentum=0.9,
            weight_decay=5e-4, scales=(0.2, 0.5, 1.0, 2.0, 5.0),
            batch_sizes=(4, 16, 64, 256), measured_examples=1024, threads=1,
        ),
        "single-gpu": NormalisationStudy(
            dataset="cifar10", examples=0, width=64, blocks=(2, 2, 2, 2),
            batch_size=128, crop_padding=4, training_steps=3900, learning_rate=0.1,
            momentum=0.9, weight_decay=5e-4, scales=(0.2, 0.5, 1.0, 2.0, 5.0),
            batch_sizes=(8, 32, 128, 512), measured_examples=50000,
        ),
        "paper": NormalisationStudy(
            dataset="cifar10", examples=0, width=64, blocks=(2, 2, 2, 2),
            batch_size=128, crop_padding=4, training_steps=39000, learning_rate=0.1,
            momentum=0.9, weight_decay=5e-4, scales=(0.2, 0.5, 1.0, 2.0, 5.0),
            batch_sizes=(8, 32, 128, 512, 2048), measured_examples=200000,
        ),
    },
    "sharpness_estimators": {
        "classroom": CurvatureStudy(
            dataset="digits", examples=0, hidden=(8, 8, 8), batch_size=64, batches=4,
            training_steps=200, learning_rate=0.1, max_products=20, threads=1,
        ),
        "single-gpu": CurvatureStudy(
            dataset="cifar10", examples=0, hidden=(3, 8, 8), batch_size=128, batches=4,
            training_steps=2000, learning_rate=0.05, max_products=30,
        ),
        "paper": CurvatureStudy(
            dataset="cifar10", examples=0, hidden=(8, 8, 8), batch_size=128, batches=10,
            training_steps=20000, learning_rate=0.05, max_products=40,
        ),
    },
    "update_size": {
        "classroom": Training(
            dataset="digits", model="mlp", hidden=(32,), epochs=12, batch_size=16,
            learning_rate=0.02, momentum=0.9, sampling="independent",
            precision="float32", measure_every=1, measure_batches=300, threads=1,
        ),
        "single-gpu": Training(
            dataset="cifar10", model="mlp", hidden=(512,), epochs=40, batch_size=128,
            learning_rate=0.01, momentum=0.9, sampling="independent",
            precision="float32", measure_every=2,
        ),
        "paper": Training(
            dataset="cifar10", model="cifar_resnet", epochs=200, batch_size=128,
            learning_rate=0.1, momentum=0.9, sampling="independent", measure_every=5,
        ),
    },
    # Chapter 3: the experiment of Figure 1.
    "imagenet_resnet": {
        "classroom": Training(
            dataset="digits", model="cifar_resnet", width=6, blocks=(1, 1, 1),
            crop_padding=4, epochs=90, batch_size=64, learning_rate=0.2,
            momentum=0.9, weight_decay=5e-4, schedule="stages", drops=(30, 60),
            precision="float32", measure_every=2, measure_batches=150,
            sharpness_batches=5, threads=1,
        ),
        "two-cores": Training(
            dataset="cifar10", examples=10000, model="cifar_resnet", width=16,
            crop_padding=4, flip=True, epochs=60, batch_size=128, learning_rate=0.1,
            momentum=0.9, weight_decay=5e-4, schedule="stages", drops=(30, 45),
            measure_every=2, measure_batches=80, sharpness_batches=2,
        ),
        "single-gpu": Training(
            dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True,
            epochs=200, batch_size=128, learning_rate=0.1, momentum=0.9,
            weight_decay=5e-4, schedule="stages", drops=(100, 150),
            measure_every=5, measure_batches=390,
        ),
        "paper": Training(
            dataset="imagenet", model="resnet101", flip=True, epochs=90,
            batch_size=256, learning_rate=0.1, momentum=0.9, weight_decay=1e-4,
            schedule="stages", drops=(30, 60), measure_every=2, measure_batches=1000,
        ),
    },
    # Chapter 1: SGD at three constant rates on a quadratic with gradient noise.
    "noisy_quadratic": {
        "classroom": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=2000, trajectories=5000, start=3.0,
        ),
        "single-gpu": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=8000, trajectories=20000, start=3.0,
        ),
        "paper": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4, 0.1, 0.025),
            steps=8000, trajectories=100000, start=3.0,
        ),
    },
    # Chapter 1: the same with a learning rate that drops twice.
    "noisy_quadratic_drops": {
        "classroom": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=5000, start=3.0, drops=(500, 1500),
        ),
        "single-gpu": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=20000, start=3.0, drops=(500, 1500),
        ),
        "paper": NoisyQuadratic(
            curvatures=(1.0, 0.25), noise_variance=1.0, learning_rates=(0.4,),
            steps=4000, trajectories=100000, start=3.0, drops=(500, 1500),
        ),
    },
    # Chapters 1 and 3: full-batch descent, the control that does converge.
    "full_batch": {
        "classroom": Training(
            dataset="digits", model="mlp", hidden=(32,), epochs=4000,
            batch_size=1437, learning_rate=0.5, weight_decay=2e-3,
            precision="float64", measure_every=100, measure_on="partition",
            sharpness_batches=1, threads=1,
        ),
        "single-gpu": Training(
            dataset="cifar10", examples=5000, model="mlp", hidden=(256,),
            epochs=20000, batch_size=5000, learning_rate=0.1, weight_decay=2e-3,
            precision="float64", measure_every=500, measure_on="partition",
            sharpness_batches=1,
        ),
        "paper": Training(
            dataset="cifar10", model="mlp", hidden=(1024,), epochs=100000,
            batch_size=50000, learning_rate=0.1, weight_decay=2e-3,
            precision="float64", measure_every=1000, measure_on="partition",
            sharpness_batches=1,
        ),
    },
}


def get(name: str, scale: str = "classroom", overrides: dict | None = None) -> Settings:
    """Return the settings of an experiment at a scale, with some overridden.

    Values of ``overrides`` may be strings, as typed on the command line.
    Raises :class:`UsageError` for an unknown experiment, scale or setting and
    for a value of the wrong type.

    >>> get("imagenet_resnet", overrides={"epochs": "3"}).epochs
    3
    """
    scales = EXPERIMENTS[_known(name, EXPERIMENTS, "experiment")]
    settings = scales[_known(scale, scales, "scale")]
    hints = typing.get_type_hints(type(settings))
    values = {
        _known(key, hints, f"setting of {name}"): _cast(key, value, hints[key])
        for key, value in (overrides or {}).items()
    }
    settings = dataclasses.replace(settings, **values)
    _check(settings)
    return settings


def to_dict(settings: Settings) -> dict:
    """Return the settings as plain JSON values, with their kind."""
    values = dataclasses.asdict(settings)
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {"kind": type(settings).__name__} | plain


def _known(name: str, valid, what: str) -> str:
    if name in valid:
        return name
    near = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"Unknown {what} {name!r}: the valid names are {', '.join(valid)}.{hint}"
    )


def _cast(key: str, value, hint):
    """Cast a value, or the string of one, to the type of its field."""
    try:
        if isinstance(hint, types.GenericAlias):  # tuple[int, ...]
            item = typing.get_args(hint)[0]
            if isinstance(value, str):
                value = [part for part in value.strip("()[] ").split(",") if part.strip()]
            return tuple(_cast(key, part, item) for part in value)
        if hint is bool and str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        if hint is int and not isinstance(value, bool) and int(float(value)) == float(value):
            return int(float(value))
        if hint is float and not isinstance(value, bool):
            return float(value)
        if hint is str and isinstance(value, str):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    wanted = hint.__name__ if isinstance(hint, type) else str(hint)
    raise UsageError(f"The setting {key} takes {wanted}, and {value!r} is not that.")


CHOICES = {
    "model": ("cifar_resnet", "mlp", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "dataset": ("digits", "cifar10", "imagenet"),
    "sampling": ("reshuffled", "independent"),
    "optimizer": ("sgd", "adam"),
    "schedule": ("constant", "stages", "cosine"),
    "precision": ("auto", "float32", "bfloat16", "float64"),
    "measure_on": ("draws", "partition"),
}
POSITIVE = (
    "epochs", "batch_size", "learning_rate", "width", "image_size", "sharpness_batches",
    "sharpness_products",
    "steps", "trajectories", "replicates",
)  # fmt: skip


def _check(settings: Settings) -> None:
    """Raise :class:`UsageError` for values that no run could start with."""
    values = dataclasses.asdict(settings)
    for key, valid in CHOICES.items():
        if key in values:
            _known(values[key], valid, f"value of {key}")
    for key in POSITIVE:
        if key in values and not values[key] > 0:
            raise UsageError(f"The setting {key} must be positive, not {values[key]}.")
    if not 0 <= values.get("momentum", 0) < 1:
        raise UsageError(f"The momentum must lie in [0, 1), not {values['momentum']}.")
    for key in ("weight_decay", "threads", "examples", "crop_padding", "measure_every"):
        if not values.get(key, 0) >= 0:
            raise UsageError(f"The setting {key} must not be negative: it is {values[key]}.")
    drops = values.get("drops", ())
    if any(later <= earlier for earlier, later in itertools.pairwise((0, *drops))):
        raise UsageError(f"The setting drops must be positive and rising, not {drops}.")
    if isinstance(settings, Training):
        if settings.measure_on == "draws" and settings.measure_batches < 2:
            raise UsageError("The setting measure_batches must be at least 2.")
        augmented = settings.crop_padding or settings.flip or settings.dataset == "imagenet"
        if settings.measure_on == "partition" and augmented:
            raise UsageError(
                "measure_on='partition' needs data without augmentation: set "
                "crop_padding=0 and flip=false, or measure_on='draws'."
            )
