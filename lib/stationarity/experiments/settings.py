"""The settings that experiments have, and which values no run could start with."""
import dataclasses
import itertools
from dataclasses import dataclass

from ..errors import UsageError, known_name


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
    observe_every: int = 0  # steps between cheap records of the state; 0: none
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


def check(settings) -> None:
    """Raise :class:`UsageError` for values that no run could start with."""
    values = dataclasses.asdict(settings)
    for key, valid in CHOICES.items():
        if key in values:
            known_name(values[key], valid, f"value of {key}")
    for key in POSITIVE:
        if key in values and not values[key] > 0:
            raise UsageError(f"The setting {key} must be positive, not {values[key]}.")
    if not 0 <= values.get("momentum", 0) < 1:
        raise UsageError(f"The momentum must lie in [0, 1), not {values['momentum']}.")
    unsigned = (
        "weight_decay", "threads", "examples", "crop_padding", "measure_every", "observe_every",
    )  # fmt: skip
    for key in unsigned:
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
