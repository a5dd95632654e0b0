"""A trained net continued at a constant rate, its weights followed (chapters 9 and 12).

Batches are drawn independently, images are then plain and normalisations frozen: as the
theory has it. At the ``paper`` scale it is the authors' setting: torchvision's weights,
ten more epochs of augmented images, reshuffled, and normalisation by the batch. The
``classroom`` net is too small to learn its wrong labels by heart, so that its loss settles.
"""

from .settings import Training

CONTINUED = {
    "continued": {
        "classroom": Training(
            dataset="digits", model="cifar_resnet", width=2, blocks=(1, 1, 1), epochs=85,
            batch_size=32, sampling="independent", learning_rate=0.1, momentum=0.9,
            weight_decay=2e-3, schedule="cosine", precision="float32", threads=1,
            followed_epochs=45, followed_rate=0.01, frozen_norms=True, label_noise=0.15,
            direction_batches=5, measure_every=15, measure_batches=50, sharpness_batches=1,
            sharpness_products=10,
        ),
        "two-cores": Training(
            dataset="cifar10", examples=10000, model="cifar_resnet", width=16,
            crop_padding=4, flip=True, epochs=46, batch_size=64, sampling="independent",
            learning_rate=0.1, momentum=0.9, weight_decay=5e-4, schedule="cosine",
            followed_epochs=26, followed_rate=1e-3, frozen_norms=True, plain_images=True,
            direction_batches=4, noise_batches=100, measure_every=20, measure_batches=20,
            sharpness_batches=1, sharpness_products=10,
        ),
        "single-gpu": Training(
            dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True, epochs=203,
            batch_size=256, sampling="independent", learning_rate=0.1, momentum=0.9,
            weight_decay=5e-4, schedule="cosine", followed_epochs=103, followed_rate=1e-4,
            frozen_norms=True, plain_images=True, direction_batches=20, measure_every=20,
            measure_batches=40, sharpness_batches=1, sharpness_products=10,
        ),
        "paper": Training(
            dataset="imagenet", model="resnet18", pretrained=True, flip=True, epochs=10,
            batch_size=256, learning_rate=1e-4, momentum=0.9, weight_decay=1e-4,
            followed_epochs=10, followed_rate=1e-4, direction_batches=40, measure_every=5,
            measure_batches=200, sharpness_batches=3, sharpness_products=10,
        ),
    },
}  # fmt: skip
