"""How far does it reach? (chapter 5): regimes of training, axis by axis."""

import dataclasses

from .settings import Regime, RegimeStudy, Training

LONG, SHORT = 3.2, 0.4  # times the study's steps: a rate that decays; the whole set
NO_NOISE = {"weight_decay": 0.0, "wrong_labels": 0.0}

REGIMES = (
    Regime("constant 0.3", 0.3),
    Regime("constant 0.1", 0.1),
    Regime("constant 0.03", 0.03),
    Regime("constant 0.01", 0.01),
    Regime("stages from 0.3", 0.3, schedule="stages"),
    Regime("cosine from 0.3", 0.3, schedule="cosine"),
    Regime("reshuffled epochs", 0.1, sampling="reshuffled"),
    Regime("batch of 4", 0.1, batch_size=4),
    Regime("batch of 128", 0.1, batch_size=128),
    Regime("momentum 0.9", 0.03, momentum=0.9),
    Regime("Adam", 0.003, optimizer="adam"),
    Regime("squared loss", 0.03, loss="squared"),
    Regime("right labels", 0.1, wrong_labels=0.0),
    Regime("no decay", 0.1, weight_decay=0.0),
    Regime("interpolation", 0.1, **NO_NOISE),
    Regime(
        "interpolation, squared", 0.03, loss="squared", examples=64, hidden=(128,), **NO_NOISE
    ),
    Regime("rate like 1/t", 0.5, schedule="inverse", timescale=400, length=LONG),
    Regime(
        "rate like 1/t, right labels", 0.5, schedule="inverse", timescale=400, length=LONG,
        wrong_labels=0.0,
    ),
    Regime("full batch", 0.2, batch_size=0, length=SHORT),
    Regime("full batch, no decay", 0.2, batch_size=0, weight_decay=0.0, length=SHORT),
    Regime("full batch, unstable", 2.0, batch_size=0, length=SHORT),
)  # fmt: skip


def _wider(hidden: tuple[int, ...]) -> tuple[Regime, ...]:
    """Return the regimes on a larger net, but for those on a part of the data."""
    return tuple(
        dataclasses.replace(regime, hidden=regime.hidden if regime.examples else hidden)
        for regime in REGIMES
    )


# A ResNet at a constant rate, and the same without or with something else.
BASE = {
    "classroom": Training(
        dataset="digits", model="cifar_resnet", width=8, blocks=(1, 1, 1), crop_padding=1,
        epochs=14, batch_size=64, learning_rate=0.1, momentum=0.9, weight_decay=5e-4,
        precision="float32", measure_every=2, measure_batches=40, sharpness_batches=1,
        sharpness_products=4, threads=1,
    ),
    "two-cores": Training(
        dataset="cifar10", examples=10000, model="cifar_resnet", width=16,
        crop_padding=4, flip=True, epochs=40, batch_size=128, learning_rate=0.05,
        momentum=0.9, weight_decay=5e-4, measure_every=2, measure_batches=80,
        sharpness_batches=2, sharpness_products=10,
    ),
    "single-gpu": Training(
        dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True, epochs=100,
        batch_size=128, learning_rate=0.05, momentum=0.9, weight_decay=5e-4,
        measure_every=4, measure_batches=40, sharpness_batches=1, sharpness_products=8,
    ),
    "paper": Training(
        dataset="cifar10", model="cifar_resnet", crop_padding=4, flip=True, epochs=200,
        batch_size=128, learning_rate=0.1, momentum=0.9, weight_decay=5e-4,
        measure_every=5, measure_batches=50, sharpness_batches=1, sharpness_products=10,
    ),
}  # fmt: skip
IMAGENET = Training(
    dataset="imagenet", model="resnet101", flip=True, epochs=90, batch_size=256,
    learning_rate=0.01, momentum=0.9, weight_decay=1e-4, measure_every=2,
    measure_batches=360, sharpness_batches=3, sharpness_products=10,
)  # fmt: skip


def _axis(**changes) -> dict[str, Training]:
    """Return the ResNet's scales with some settings changed."""
    return {scale: dataclasses.replace(s, **changes) for scale, s in BASE.items()}


REACH = {
    "regimes": {
        "classroom": RegimeStudy(
            dataset="digits", examples=256, regimes=REGIMES, members=5, steps=10000, threads=1
        ),
        "single-gpu": RegimeStudy(
            dataset="digits", examples=0, regimes=_wider((64,)), members=10,
            steps=100_000,
        ),
        "paper": RegimeStudy(
            dataset="cifar10", examples=5000, regimes=_wider((256,)), members=10,
            steps=100_000,
        ),
    },
    "resnet_constant": BASE | {"paper": IMAGENET},
    "resnet_constant_small": {
        scale: dataclasses.replace(s, learning_rate=s.learning_rate / 10)
        for scale, s in (BASE | {"paper": IMAGENET}).items()
    },
    "resnet_without_batchnorm": _axis(batch_norm=False),
    "resnet_without_augmentation": _axis(crop_padding=0, flip=False),
    "resnet_squared_loss": _axis(loss="squared"),
}  # fmt: skip
