"""ImageNet + ResNet-101 (chapter 3): the experiment of Figure 1.

A pass of a measurement costs several steps, because it is float32 and not compiled.
At ``single-gpu`` and ``paper`` the numbers of batches and products are such that
measuring takes at most a quarter of the training's time (benchmarks/training.py).
"""
from .settings import Training

IMAGES = {
    "imagenet_resnet": {
        "classroom": Training(
            dataset="digits", model="cifar_resnet", width=6, blocks=(1, 1, 1),
            crop_padding=4, epochs=90, batch_size=64, learning_rate=0.2,
            momentum=0.9, weight_decay=5e-4, schedule="stages", drops=(30, 60),
            precision="float32", measure_every=2, measure_batches=150,
            sharpness_batches=5, observe_every=2, threads=1,
        ),
        "two-cores": Training(
            dataset="cifar10", examples=10000, model="cifar_resnet", width=16,
            crop_padding=4, flip=True, epochs=60, batch_size=128, learning_rate=0.1,
            momentum=0.9, weight_decay=5e-4, schedule="stages", drops=(30, 45),
            measure_every=2, measure_batches=80, sharpness_batches=2, observe_every=2,
        ),
        "single-gpu": Training(
            dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True,
            epochs=200, batch_size=128, learning_rate=0.1, momentum=0.9,
            weight_decay=5e-4, schedule="stages", drops=(100, 150),
            measure_every=5, measure_batches=50, sharpness_batches=1,
            sharpness_products=10, observe_every=20,
        ),
        "paper": Training(
            dataset="imagenet", model="resnet101", flip=True, epochs=90,
            batch_size=256, learning_rate=0.1, momentum=0.9, weight_decay=1e-4,
            schedule="stages", drops=(30, 60), measure_every=2, measure_batches=360,
            sharpness_batches=3, sharpness_products=10, observe_every=100,
        ),
    },
}
