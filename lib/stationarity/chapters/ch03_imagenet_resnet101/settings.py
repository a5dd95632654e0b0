"""ImageNet + ResNet-101 (chapter 3): the experiment of Figure 1.

A pass of a measurement costs several steps, because it is float32 and not compiled.
At ``single-gpu`` and ``paper`` the numbers of batches and products are such that
measuring takes at most a quarter of the training's time (benchmarks/training.py).
"""

from ...runs.settings import register
from ...train.settings import Training

register(
    "imagenet_resnet",
    Training(
        dataset="digits", model="cifar_resnet", epochs=90, batch_size=64, learning_rate=0.2,
        width=6, blocks=(1, 1, 1), crop_padding=4, momentum=0.9, weight_decay=0.0005,
        schedule="stages", drops=(30, 60), precision="float32", threads=1, measure_every=2,
        measure_batches=150, sharpness_batches=5, observe_every=2,
    ),
    two_cores=dict(
        dataset="cifar10", epochs=60, batch_size=128, learning_rate=0.1, examples=10000,
        width=16, blocks=(2, 2, 2, 2), flip=True, drops=(30, 45), precision="auto", threads=0,
        measure_batches=80, sharpness_batches=2,
    ),
    single_gpu=dict(
        dataset="cifar10", epochs=200, batch_size=128, learning_rate=0.1, width=64,
        blocks=(2, 2, 2, 2), flip=True, drops=(100, 150), precision="auto", threads=0,
        measure_every=5, measure_batches=50, sharpness_batches=1, sharpness_products=10,
        observe_every=20,
    ),
    paper=dict(
        dataset="imagenet", model="resnet101", batch_size=256, learning_rate=0.1, width=64,
        blocks=(2, 2, 2, 2), crop_padding=0, flip=True, weight_decay=0.0001, precision="auto",
        threads=0, measure_batches=360, sharpness_batches=3, sharpness_products=10,
        observe_every=100,
    ),
)  # fmt: skip
