"""What to measure (chapter 2): estimators, each against a truth that is known."""

from typing import ClassVar

from ...runs.settings import Count, NotNegative, Positive, Settings, Share, Whole, register
from ...train.settings import AtLeastTwo, SmallImages, SmallNet, Training


class EstimatorStudy(SmallNet):
    """Settings of the study of gradient-norm estimators."""

    study: ClassVar[str] = "chapters.ch02_what_to_measure.study:gradient_estimators"
    model: ClassVar[str] = "mlp"

    training_steps: Whole  # SGD steps before the measurement
    sizes: tuple[AtLeastTwo, ...]  # numbers of independent minibatches M
    drawn: tuple[AtLeastTwo, ...]  # numbers of minibatches drawn from a partition of the data
    replicates: AtLeastTwo  # repetitions of each measurement
    measured = property(lambda self: self.replicates * sum(self.sizes + self.drawn))
    total_steps = property(lambda self: self.training_steps + self.measured)


class CurvatureStudy(SmallNet):
    """Settings of the study of sharpness against the dense Hessian."""

    study: ClassVar[str] = "chapters.ch02_what_to_measure.study:sharpness_estimators"
    model: ClassVar[str] = "mlp"

    batches: Count  # fixed minibatches that define the Hessian
    training_steps: Whole  # SGD steps before the second measurement
    max_products: Count  # Hessian-vector products that are followed
    total_steps = property(lambda self: self.training_steps)


class NormalisationStudy(Settings):
    """Settings of the study of the loss of a BatchNorm net."""

    study: ClassVar[str] = "chapters.ch02_what_to_measure.study:normalised_loss"
    model: ClassVar[str] = "cifar_resnet"
    batch_norm: ClassVar[bool] = True

    dataset: SmallImages
    examples: Whole  # training examples; 0: all
    width: Count  # of the cifar_resnet
    blocks: tuple[Count, ...]
    batch_size: Count
    crop_padding: Whole  # of the training
    training_steps: Whole  # SGD steps before the measurement
    learning_rate: Positive
    momentum: Share
    weight_decay: NotNegative
    scales: tuple[Positive, ...]  # factors of the convolutions' weights
    batch_sizes: tuple[Count, ...]  # for which the loss is measured
    measured_examples: Count  # drawn for each of these measurements
    total_steps = property(lambda self: self.training_steps)


CIFAR = dict(dataset="cifar10", batch_size=128, threads=0)
register(
    "gradient_estimators",
    EstimatorStudy(
        dataset="digits", examples=1408, hidden=(32,), batch_size=64, training_steps=300,
        learning_rate=0.1, sizes=(4, 8, 16, 32, 64), drawn=(3, 6, 11, 17, 22), replicates=120,
        threads=1,
    ),
    single_gpu=CIFAR | dict(
        examples=49920, hidden=(100,), training_steps=2000, learning_rate=0.05,
        sizes=(4, 16, 64, 256, 1024), drawn=(10, 50, 130, 260, 390), replicates=50,
    ),
    paper=CIFAR | dict(
        examples=49920, hidden=(1024, 1024), training_steps=20000, learning_rate=0.05,
        sizes=(4, 16, 64, 256, 1024, 4096), drawn=(10, 50, 130, 260, 390), replicates=100,
    ),
)  # fmt: skip
register(
    "normalised_loss",
    NormalisationStudy(
        dataset="digits", examples=0, width=6, blocks=(1, 1, 1), batch_size=64,
        crop_padding=4, training_steps=132, learning_rate=0.05, momentum=0.9,
        weight_decay=0.0005, scales=(0.2, 0.5, 1.0, 2.0, 5.0), batch_sizes=(4, 16, 64, 256),
        measured_examples=1024, threads=1,
    ),
    single_gpu=CIFAR | dict(
        width=64, blocks=(2, 2, 2, 2), training_steps=3900, learning_rate=0.1,
        batch_sizes=(8, 32, 128, 512), measured_examples=50000,
    ),
    paper=CIFAR | dict(
        width=64, blocks=(2, 2, 2, 2), training_steps=39000, learning_rate=0.1,
        batch_sizes=(8, 32, 128, 512, 2048), measured_examples=200000,
    ),
)  # fmt: skip
register(
    "sharpness_estimators",
    CurvatureStudy(
        dataset="digits", examples=0, hidden=(8, 8, 8), batch_size=64, batches=4,
        training_steps=200, learning_rate=0.1, max_products=20, threads=1,
    ),
    single_gpu=CIFAR | dict(
        hidden=(3, 8, 8), training_steps=2000, learning_rate=0.05, max_products=30,
    ),
    paper=CIFAR | dict(batches=10, training_steps=20000, learning_rate=0.05, max_products=40),
)  # fmt: skip
register(
    "update_size",
    Training(
        dataset="digits", model="mlp", epochs=12, batch_size=16, learning_rate=0.02,
        hidden=(32,), sampling="independent", momentum=0.9, precision="float32", threads=1,
        measure_every=1, measure_batches=300,
    ),
    single_gpu=CIFAR | dict(
        epochs=40, learning_rate=0.01, hidden=(512,), measure_every=2, measure_batches=100,
    ),
    paper=CIFAR | dict(
        model="cifar_resnet", epochs=200, learning_rate=0.1, hidden=(), precision="auto",
        measure_every=5, measure_batches=100,
    ),
)  # fmt: skip
