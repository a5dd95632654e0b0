"""What to measure (chapter 2): estimators, each against a truth that is known."""
from .settings import CurvatureStudy, EstimatorStudy, NormalisationStudy, Training

MEASURING = {
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
}
