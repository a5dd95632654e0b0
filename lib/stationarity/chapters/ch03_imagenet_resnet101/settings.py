"""ImageNet + ResNet-101 (chapter 3): the experiment of Figure 1.

At ``classroom`` it is a scale model of the paper's run: its stages are as many memories of
the weights long, see chapters/scales.py. ``little_decay`` is not: its control. At
``two-cores`` and ``single-gpu`` it is the paper's net on a part of Tiny ImageNet;
``imagenet_resnet18`` is a smaller net on the same, in several seeds, and
``cifar10_resnet`` a ResNet-18 on CIFAR-10.

A pass of a measurement costs several steps, because it is float32 and not compiled.
At ``single-gpu`` and ``paper`` the numbers of batches and products are such that
measuring takes at most a quarter of the training's time (benchmarks/training.py).
"""

from typing import ClassVar

from ...runs.settings import register
from ...train.settings import Training


class Control(Training):
    """Settings of a training run whose decay is none of the authors', at any scale."""

    control: ClassVar[bool] = True


CLASSROOM = Training(
    dataset="digits", model="cifar_resnet", epochs=120, batch_size=128, learning_rate=0.2,
    examples=1408, label_noise=0.3, width=8, blocks=(1, 1), momentum=0.9, weight_decay=0.01725,
    schedule="stages", drops=(40, 80), precision="float32", threads=1, measure_every=3,
    measure_on="partition", sharpness_batches=1, sharpness_products=4, sharpness_every=2,
    observe_every=1,
)  # fmt: skip
LARGER = dict(
    examples=0, label_noise=0.0, flip=True, measure_on="draws", sharpness_every=1, threads=0
)
CIFAR = LARGER | dict(
    dataset="cifar10", learning_rate=0.1, blocks=(2, 2, 2, 2), crop_padding=4,
    weight_decay=0.0005, precision="auto",
)  # fmt: skip
CIFAR_TWO_CORES = CIFAR | dict(
    epochs=60, examples=10000, width=16, drops=(20, 40), batch_size=32, weight_decay=0.0024,
    threads=1, measure_every=2, measure_batches=40, sharpness_batches=2,
    sharpness_products=10, observe_every=62,
)  # fmt: skip
CIFAR_WHOLE = CIFAR | dict(
    epochs=200, width=64, drops=(100, 150), measure_every=5, measure_batches=50,
    sharpness_products=10, observe_every=20,
)  # fmt: skip
TINY = dict(
    dataset="tiny-imagenet", model="resnet101", epochs=90, drops=(30, 60), crop_padding=8
)
TWO_CORES = CIFAR_TWO_CORES | TINY | dict(
    classes=4, examples=1000, batch_size=16, weight_decay=0.008065, measure_batches=24,
    sharpness_batches=1, sharpness_products=3, observe_every=31,
)  # fmt: skip
CIFAR_SINGLE_GPU = CIFAR_WHOLE | dict(
    examples=12800, epochs=90, drops=(30, 60), weight_decay=0.005, precision="bfloat16",
    measure_every=3, measure_batches=30, sharpness_batches=2, sharpness_products=8,
    observe_every=12,
)  # fmt: skip
SINGLE_GPU = CIFAR_SINGLE_GPU | TINY | dict(
    classes=25, examples=6250, weight_decay=0.0104, measure_every=5, observe_every=6,
)  # fmt: skip
PAPER = LARGER | dict(
    dataset="imagenet", model="resnet101", epochs=90, batch_size=256, learning_rate=0.1,
    width=64, blocks=(2, 2, 2, 2), weight_decay=0.0001, drops=(30, 60), precision="auto",
    measure_every=2, measure_batches=360, sharpness_batches=3, sharpness_products=10,
    observe_every=100,
)  # fmt: skip
register("imagenet_resnet", CLASSROOM, two_cores=TWO_CORES, single_gpu=SINGLE_GPU, paper=PAPER)
register(
    "little_decay",
    Control(**dict(CLASSROOM) | {"weight_decay": 0.0005}),
    two_cores=TWO_CORES | dict(model="resnet18", weight_decay=0.00032),
    single_gpu=SINGLE_GPU | dict(weight_decay=0.000416),
    paper=PAPER | dict(weight_decay=0.000004),
)
register(
    "imagenet_resnet18",
    CLASSROOM,
    two_cores=TWO_CORES | dict(model="resnet18"),
    single_gpu=SINGLE_GPU | dict(model="resnet18"),
    paper=PAPER | dict(model="resnet18"),
)
register(
    "cifar10_resnet",
    CLASSROOM,
    two_cores=CIFAR_TWO_CORES | dict(measure_every=1, observe_every=25),
    single_gpu=CIFAR_SINGLE_GPU,
    paper=CIFAR_WHOLE,
)
