"""The sizes of datasets and nets, without loading or making them."""

import contextlib
from collections.abc import Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .. import nets
from ..train.settings import AnyTraining, LanguageTraining, SmallNets

if TYPE_CHECKING:
    from ..runs.records import Run


class Data(NamedTuple):
    """The size of a dataset: images of ``size`` squared, or words of text."""

    examples: int  # training images, or tokens
    tests: int = 0
    channels: int = 0
    size: int = 0
    classes: int = 0  # of the images; of a text, the words of its vocabulary
    gigabytes: float = 0.0  # of the files; 0: it is embedded


DATA = {
    "digits": Data(1437, 360, 1, 8, 10),
    "cifar10": Data(50_000, 10_000, 3, 32, 10, 0.2),
    "tiny-imagenet": Data(100_000, 10_000, 3, 64, 200, 0.15),
    "imagenet": Data(1_281_167, 50_000, 3, 224, 1000, 150),
    "python-reference": Data(418_613, 46_513, classes=103),
    "wikitext103": Data(103_227_021, 217_646, classes=267_735, gigabytes=0.6),
}

# What records were made on that is no whole dataset, by the SHA-256 of the training file.
PARTS = {
    "a78933e283b4bc69ace18690a1ad2027019d520f7a5557a35298cdb29cfd9e01": Data(
        255_710, 226_329, classes=19_767
    )  # the 60 test articles of WikiText-103, for training, and its 60 validation articles
}


def data_of(settings) -> Data:
    """Return the size of the settings' dataset as they use it, of the hub's files.

    Of ``classes``, ``side`` and ``examples``, or ``tokens``, what the settings have counts.
    """
    data = DATA[settings.dataset]
    classes = getattr(settings, "classes", 0) or data.classes
    used = getattr(settings, "examples", 0) or getattr(settings, "tokens", 0)
    examples, tests = (round(many * classes / data.classes) for many in data[:2])
    size = getattr(settings, "side", 0) or data.size
    return data._replace(examples=used or examples, tests=tests, classes=classes, size=size)


def data_behind(run: "Run") -> Data:
    """Return the size of what a run read: that of :func:`data_of`, or its part of a text."""
    hashes = run.info.get("data", {}).get("sha256", {})
    files = hashes.values() if isinstance(hashes, dict) else ()
    return next((PARTS[one] for one in files if one in PARTS), data_of(run.settings))


def steps_per_epoch(settings) -> int:
    """Return the steps of an epoch of a training run.

    >>> from stationarity.runs.settings import get
    >>> steps_per_epoch(get("imagenet_resnet", "paper"))
    5004
    """
    examples, batch = data_of(settings).examples, settings.batch_size
    if isinstance(settings, LanguageTraining):
        return settings.steps_per_epoch or (examples - 1) // (batch * settings.segment)
    return examples // batch


class _Undrawn(TorchFunctionMode):
    """Draws no weights: without numbers PyTorch would import its compiler for that."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__.endswith(("normal_", "uniform_")):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def net(settings: AnyTraining | SmallNets, words: int = 0, device="meta") -> nn.Module:
    """Return the settings' model for their data, in training mode, without loading these.

    It has no numbers where the device is ``meta``. ``words`` is a vocabulary's size, if not
    that of the whole text.
    """
    like = data_of(settings)
    vocabulary = range(words or like.classes)
    shapes_only = _Undrawn() if device == "meta" else contextlib.nullcontext()
    with torch.random.fork_rng(devices=[]), torch.device(device), shapes_only:
        if isinstance(settings, SmallNets):
            pixels = like.channels * like.size**2
            return nets.mlp((pixels, *settings.hidden, like.classes))
        model = nets.build(settings, SimpleNamespace(vocabulary=vocabulary, **like._asdict()))
    return model.train()


def count_entries(tensors: Iterable[Tensor]) -> int:
    """Return the number P of entries of all the tensors."""
    return sum(tensor.numel() for tensor in tensors)
