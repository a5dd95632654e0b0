"""The settings of training runs, and those that studies of small nets have in common."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ..errors import UsageError
from ..runs.settings import Count, Drops, NotNegative, Positive, Settings, Share, Whole

Path = Literal[
    "auto", "float32", "float64", "float32 channels_last", "tf32", "bfloat16",
    "tf32 compiled", "bfloat16 compiled",
]  # of precision.PATHS, which takes seconds to import  # fmt: skip
SmallImages = Literal["digits", "cifar10", "tiny-imagenet"]
AtLeastTwo = Annotated[Count, Field(ge=2)]


class AnyTraining(Settings):
    """What the settings of every training run have: its optimiser and its measurements."""

    study: ClassVar[str] = "train.loop:train"
    shares_its_work: ClassVar[bool] = True
    control: ClassVar[bool] = False  # at no scale has it the settings of a paper

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    optimizer: Literal["sgd", "adam"] = "sgd"
    momentum: Share = 0.0  # of sgd
    weight_decay: NotNegative = 0.0  # coupled: it adds weight_decay * weights to the gradient
    clip: NotNegative = 0.0  # longer gradients are shortened to this norm; 0: never
    schedule: Literal["constant", "stages", "cosine"] = "constant"
    drops: Drops = ()  # stages: epochs at which the rate is divided by 10
    precision: Path = "auto"  # of training, see train.precision; auto: the fastest
    measure_every: Whole = 5  # epochs between measurements; 0: never
    measure_on: Literal["draws", "partition"] = "draws"  # independent, or all the data, twice
    measure_batches: AtLeastTwo = 100  # independent minibatches of one measurement
    sharpness_batches: Count = 10  # fixed minibatches of sharpness and of loss change
    sharpness_products: Count = 30  # Hessian-vector products of one measurement, at most
    sharpness_every: Count = 1  # of so many measurements one has the sharpness
    observe_every: Whole = 0  # steps between cheap records of the state; 0: none
    deterministic: bool = False  # on a GPU: slower, and the same bit for bit


class Training(AnyTraining):
    """Settings of one training run on images, and of what is measured along it."""

    dataset: Literal["digits", "cifar10", "tiny-imagenet", "imagenet"]
    model: Literal[
        "cifar_resnet", "mlp", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"
    ]  # the latter are torchvision's
    examples: Whole = 0  # training examples that are used; 0: all
    classes: Whole = 0  # of small images, the first so many that are used; 0: all
    width: Count = 64  # channels of the first stage of a cifar_resnet
    blocks: tuple[Count, ...] = (2, 2, 2, 2)  # blocks in each stage of a cifar_resnet
    batch_norm: bool = True  # of a cifar_resnet; else gains and biases, see nets.resnets
    hidden: tuple[Count, ...] = ()  # hidden widths of an mlp; none: softmax regression
    crop_padding: Whole = 0  # random crops of small images, padded by so many pixels
    flip: bool = False  # random horizontal flips
    image_size: Count = 224  # side of the random resized crops of imagenet, in pixels
    sampling: Literal["reshuffled", "independent"] = "reshuffled"  # epochs, or batches
    loss: Literal["cross_entropy", "squared"] = "cross_entropy"  # see measure.objectives
    pretrained: bool = False  # begin with torchvision's weights, of ImageNet
    followed_epochs: Whole = 0  # the last of the epochs, in which weights are followed
    followed_rate: NotNegative = 0.0  # constant learning rate in them
    frozen_norms: bool = False  # in them: batch normalisation by its running statistics
    label_noise: Share = 0.0  # part of the training examples with a wrong label; small images
    plain_images: bool = False  # in them: images are neither cropped nor flipped
    directions: Count = 30  # top eigenvectors of the Hessian at their beginning
    direction_batches: Count = 10  # fixed minibatches that define that Hessian
    direction_products: Count = 600  # of it with vectors, at most
    noise_batches: AtLeastTwo = 200  # independent minibatches of the noise along directions

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if not self.batch_norm and self.model != "cifar_resnet":
            told = "batch_norm=false is for model=cifar_resnet"
            raise UsageError(f"{told}; {self.model} has its own.")
        most = 2 * (1 + self.momentum) / self.learning_rate
        if self.optimizer == "sgd" and self.weight_decay >= most:
            told = f"By weight_decay={self.weight_decay:g} alone each step makes weights larger"
            raise UsageError(f"{told}: set it well below {most:g}, or learning_rate lower.")
        large = self.dataset == "imagenet"
        if self.measure_on == "partition" and (self.crop_padding or self.flip or large):
            told = "measure_on='partition' needs data without augmentation: set crop_padding=0"
            raise UsageError(f"{told} and flip=false, or measure_on='draws'.")
        if large and (self.plain_images or self.label_noise or self.classes):
            told = "plain_images=true, label_noise and classes are for small images"
            raise UsageError(f"{told}, which imagenet's are not.")
        if self.pretrained and not (large and self.model.startswith("resnet")):
            told = "There are pretrained weights of torchvision's nets on imagenet alone"
            remedy = "set dataset=imagenet and model=resnet18, or pretrained=false"
            raise UsageError(f"{told}: {remedy}.")
        if self.followed_epochs > self.epochs:
            told = f"The last {self.followed_epochs} of {self.epochs} epochs cannot be followed"
            raise UsageError(f"{told}: lower followed_epochs, or raise epochs.")
        if self.followed_epochs and not self.followed_rate:
            said = "Weights are followed at a constant rate"
            raise UsageError(f"{said}: set followed_rate to it.")
        if self.direction_products < self.directions:
            raise UsageError("The setting direction_products is at least that of directions.")
        return self


class LanguageTraining(AnyTraining):
    """Settings of one training run of a Transformer-XL, and of its measurements."""

    dataset: Literal["python-reference", "wikitext103"]
    layers: Count
    width: Count  # of the states
    heads: Count
    head_width: Count
    inner_width: Count  # of the feed-forward nets
    segment: Count  # tokens of each stream that a step takes; batch_size counts streams
    memory: Whole  # earlier tokens whose states each layer remembers
    steps_per_epoch: Whole = 0  # what counts as an epoch; 0: a pass over the text
    tokens: Whole = 0  # training tokens that are used, if there are as many; 0: all
    cutoffs: tuple[Count, ...] = ()  # of the adaptive softmax
    divisor: Count = 1  # each further cluster's embeddings are narrower by this factor
    dropout: Share = 0.0
    optimizer: Literal["sgd", "adam"] = "adam"
    clip: NotNegative = 0.25
    measure_every: Whole = 1
    measure_on: Literal["draws"] = "draws"
    measure_context: Whole = 1  # segments of context that a measured segment is given

    model: ClassVar[str] = "transformer_xl"  # always so, as the next two
    followed_epochs: ClassVar[int] = 0
    pretrained: ClassVar[bool] = False


class SmallNets(Settings):
    """What the settings of studies of small fully connected nets have."""

    dataset: SmallImages
    hidden: tuple[Count, ...]  # hidden widths of the mlps; none: softmax regression
    batch_size: Count
    examples: Whole = 0  # training examples; 0: all
    label_noise: Share = 0.0  # part of the training examples that get a wrong label
    momentum: Share = 0.0
    weight_decay: NotNegative = 0.0


class SmallNet(SmallNets):
    """What those have that train at one learning rate."""

    learning_rate: Positive
