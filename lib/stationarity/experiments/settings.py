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
    batch_norm: bool = True  # of a cifar_resnet; else gains and biases, see models
    hidden: tuple[int, ...] = ()  # hidden widths of an mlp; none: softmax regression
    crop_padding: int = 0  # random crops of small images, padded by so many pixels
    flip: bool = False  # random horizontal flips
    image_size: int = 224  # side of the random resized crops of imagenet, in pixels
    sampling: str = "reshuffled"  # reshuffled epochs, or independent batches
    loss: str = "cross_entropy"  # or squared: of the logits from the label's unit vector
    optimizer: str = "sgd"  # sgd or adam
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0  # coupled: it adds weight_decay * weights to the gradient
    clip: float = 0.0  # longer gradients are shortened to this norm; 0: never
    schedule: str = "constant"  # constant, stages or cosine
    drops: tuple[int, ...] = ()  # stages: epochs at which the rate is divided by 10
    precision: str = "auto"  # of training, see train.PATHS; auto: the fastest
    threads: int = 0  # of the CPU; 0: all; small nets are faster, and the same, with 1
    measure_every: int = 5  # epochs between measurements; 0: never
    measure_on: str = "draws"  # independent draws, or the whole partition of the data
    measure_batches: int = 100  # independent minibatches of one measurement
    sharpness_batches: int = 10  # fixed minibatches of sharpness and of loss change
    sharpness_products: int = 30  # Hessian-vector products of one measurement, at most
    observe_every: int = 0  # steps between cheap records of the state; 0: none
    pretrained: bool = False  # begin with torchvision's weights, of ImageNet
    followed_epochs: int = 0  # the last of the epochs, in which weights are followed
    followed_rate: float = 0.0  # constant learning rate in them
    frozen_norms: bool = False  # in them: batch normalisation by its running statistics
    label_noise: float = 0.0  # part of the training examples with a wrong label; small images
    plain_images: bool = False  # in them: images are neither cropped nor flipped
    directions: int = 30  # top eigenvectors of the Hessian at their beginning
    direction_batches: int = 10  # fixed minibatches that define that Hessian
    direction_products: int = 600  # of it with vectors, at most
    noise_batches: int = 200  # independent minibatches of the noise along directions
    deterministic: bool = False  # on a GPU: slower, and the same bit for bit
    seed: int = 0


@dataclass(frozen=True)
class LanguageTraining:
    """Settings of one training run of a Transformer-XL, and of its measurements."""

    dataset: str  # python-reference or wikitext103
    layers: int
    width: int  # of the states
    heads: int
    head_width: int
    inner_width: int  # of the feed-forward nets
    segment: int  # tokens of each stream that a step takes
    memory: int  # earlier tokens whose states each layer remembers
    epochs: int
    batch_size: int  # streams
    learning_rate: float
    steps_per_epoch: int = 0  # what counts as an epoch; 0: a pass over the text
    tokens: int = 0  # training tokens that are used; 0: all
    cutoffs: tuple[int, ...] = ()  # of the adaptive softmax
    divisor: int = 1  # each further cluster's embeddings are narrower by this factor
    dropout: float = 0.0
    optimizer: str = "adam"  # sgd or adam
    momentum: float = 0.0  # of sgd
    weight_decay: float = 0.0
    clip: float = 0.25
    schedule: str = "constant"  # constant, stages or cosine
    drops: tuple[int, ...] = ()
    precision: str = "auto"
    threads: int = 0
    measure_every: int = 1  # epochs between measurements; 0: never
    measure_batches: int = 100  # independent minibatches of one measurement
    measure_context: int = 1  # segments of context that a measured segment is given
    sharpness_batches: int = 10
    sharpness_products: int = 30
    observe_every: int = 0  # steps between cheap observations of the run; 0: never
    deterministic: bool = False
    seed: int = 0

    # Always so: constants, and no fields.
    model = "transformer_xl"
    measure_on = "draws"
    followed_epochs = 0
    pretrained = False


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


@dataclass(frozen=True)
class Regime:
    """One way to train the small nets of a :class:`RegimeStudy`."""

    name: str
    learning_rate: float
    batch_size: int = 16  # 0: the whole training set
    sampling: str = "replacement"  # replacement, independent or reshuffled, see ensembles
    loss: str = "cross_entropy"  # or squared
    optimizer: str = "sgd"  # sgd or adam
    momentum: float = 0.0  # of sgd
    weight_decay: float = 2e-3
    schedule: str = "constant"  # constant, stages, cosine or inverse
    timescale: int = 0  # inverse: learning_rate / (1 + step / timescale)
    wrong_labels: float = 0.15  # share of the labels that are replaced by others
    hidden: tuple[int, ...] = (32,)  # hidden widths of the mlp
    examples: int = 0  # the first so many of the study's; 0: all of them
    length: float = 1.0  # its steps over those of the study


@dataclass(frozen=True)
class RegimeStudy:
    """Settings of the study where weights converge and where not (chapter 5)."""

    dataset: str
    examples: int  # training examples; 0: all
    regimes: tuple[Regime, ...]
    members: int  # seeds of each regime
    steps: int
    precision: str = "float32"
    threads: int = 0  # of the CPU; 0: all
    seed: int = 0


CHOICES = {
    "model": ("cifar_resnet", "mlp", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "dataset": ("digits", "cifar10", "imagenet"),
    "sampling": ("reshuffled", "independent"),
    "loss": ("cross_entropy", "squared"),
    "optimizer": ("sgd", "adam"),
    "schedule": ("constant", "stages", "cosine"),
    "precision": (
        "auto", "float32", "float32 channels_last", "tf32", "bfloat16", "tf32 compiled",
        "bfloat16 compiled", "float64",
    ),
    "measure_on": ("draws", "partition"),
}
LANGUAGE_CHOICES = CHOICES | {"dataset": ("python-reference", "wikitext103")}
POSITIVE = (
    "layers", "heads", "head_width", "inner_width", "segment", "divisor", "epochs", "batch_size", "learning_rate", "width", "image_size", "sharpness_batches",
    "sharpness_products", "directions", "direction_batches",
    "steps", "trajectories", "replicates",
)  # fmt: skip


def _check_regimes(settings: RegimeStudy) -> None:
    """Raise :class:`UsageError` for a regime that no ensemble could train."""
    choices = {
        "schedule": ("constant", "stages", "cosine", "inverse"),
        "sampling": ("replacement", "independent", "reshuffled"),
        "loss": CHOICES["loss"],
        "optimizer": CHOICES["optimizer"],
    }
    if settings.members < 2:
        raise UsageError("The setting members must be at least 2, for error bars.")
    names = [regime.name for regime in settings.regimes]
    if len(set(names)) < len(names):
        raise UsageError(f"Every regime needs a name of its own: {', '.join(names)}.")
    for regime in settings.regimes:
        for key, valid in choices.items():
            known_name(getattr(regime, key), valid, f"value of {key} in {regime.name!r}")
        positive = [regime.learning_rate, regime.length]
        if regime.schedule == "inverse":
            positive.append(regime.timescale)
        if not all(value > 0 for value in positive):
            raise UsageError(
                f"The regime {regime.name!r} needs a positive learning rate, length and, "
                "where its schedule is inverse, timescale."
            )


def _check_followed(settings: Training) -> None:
    """Raise :class:`UsageError` where a net cannot be continued and followed as is said."""
    if settings.followed_epochs > settings.epochs:
        raise UsageError(
            f"The last {settings.followed_epochs} of {settings.epochs} epochs cannot be "
            "followed: lower followed_epochs, or raise epochs."
        )
    if settings.followed_epochs and not settings.followed_rate:
        raise UsageError(
            "Weights are followed at a constant learning rate: set followed_rate to it."
        )
    if settings.direction_products < settings.directions or settings.noise_batches < 2:
        raise UsageError(
            "The setting direction_products must be at least that of directions, and "
            "noise_batches at least 2."
        )
    if not 0 <= settings.label_noise < 1:
        raise UsageError(f"label_noise must lie in [0, 1), not {settings.label_noise}.")
    if settings.dataset == "imagenet" and (settings.plain_images or settings.label_noise):
        raise UsageError(
            "plain_images=true and label_noise are for small images, which imagenet's are not."
        )
    torchvisions = settings.dataset == "imagenet" and settings.model.startswith("resnet")
    if settings.pretrained and not torchvisions:
        raise UsageError(
            "There are pretrained weights of torchvision's nets on imagenet alone: set "
            "dataset=imagenet and model=resnet18, or pretrained=false."
        )


def check(settings) -> None:
    """Raise :class:`UsageError` for values that no run could start with."""
    values = dataclasses.asdict(settings)
    if isinstance(settings, RegimeStudy):
        _check_regimes(settings)
    language = isinstance(settings, LanguageTraining)
    for key, valid in (LANGUAGE_CHOICES if language else CHOICES).items():
        if key in values:
            known_name(values[key], valid, f"value of {key}")
    for key in POSITIVE:
        if key in values and not values[key] > 0:
            raise UsageError(f"The setting {key} must be positive, not {values[key]}.")
    if not 0 <= values.get("momentum", 0) < 1:
        raise UsageError(f"The momentum must lie in [0, 1), not {values['momentum']}.")
    if not 0 <= values.get("dropout", 0) < 1:
        raise UsageError(f"The dropout must lie in [0, 1), not {values['dropout']}.")
    for key in (
        "weight_decay", "clip", "threads", "examples", "tokens", "crop_padding", "memory",
        "steps_per_epoch", "measure_every", "measure_context", "observe_every",
        "followed_epochs", "followed_rate",
    ):  # fmt: skip
        if not values.get(key, 0) >= 0:
            raise UsageError(f"The setting {key} must not be negative: it is {values[key]}.")
    drops = values.get("drops", ())
    if any(later <= earlier for earlier, later in itertools.pairwise((0, *drops))):
        raise UsageError(f"The setting drops must be positive and rising, not {drops}.")
    trains = language or isinstance(settings, Training)
    if trains and settings.measure_on == "draws" and settings.measure_batches < 2:
        raise UsageError("The setting measure_batches must be at least 2.")
    if isinstance(settings, Training):
        _check_followed(settings)
        if not settings.batch_norm and settings.model != "cifar_resnet":
            raise UsageError(
                f"batch_norm=false is for model=cifar_resnet; {settings.model} has its own."
            )
        augmented = settings.crop_padding or settings.flip or settings.dataset == "imagenet"
        if settings.measure_on == "partition" and augmented:
            raise UsageError(
                "measure_on='partition' needs data without augmentation: set "
                "crop_padding=0 and flip=false, or measure_on='draws'."
            )
