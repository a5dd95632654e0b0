"""Torchvision's weights of nets that were trained on ImageNet.

They are found below the data root, or downloaded into PyTorch's cache (``TORCH_HOME``).
The name of a file ends with the first eight digits of its SHA-256, which is computed
whenever the file is read; and nothing is unpickled.
"""

import hashlib
import urllib.parse
from pathlib import Path

import torch

from ..errors import UsageError

CLASSES = 1000  # of ImageNet-1k


def weights(model: str, classes: int, root: str | Path | None = None) -> tuple[dict, str]:
    """Return the state of a pretrained net such as ``resnet18``, and its file's name.

    Raises :class:`UsageError` where the data have other classes than ImageNet-1k, and
    where the file is damaged or cannot be had.
    """
    if classes != CLASSES:
        raise UsageError(
            f"The pretrained {model} tells {CLASSES} classes apart, and the images here have "
            f"{classes}: give all of ImageNet-1k, or set pretrained=false."
        )
    address = _address(model)
    file = _found(address, model, Path(root).expanduser() if root else None)
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not digest.startswith(file.stem.rpartition("-")[2]):
        raise UsageError(f"{file} is damaged: delete it, or fetch {address} again.")
    return torch.load(file, map_location="cpu", weights_only=True), file.name


def _address(model: str) -> str:
    from torchvision.models import get_model_weights  # takes seconds to import

    return get_model_weights(model).IMAGENET1K_V1.url


def _found(address: str, model: str, root: Path | None) -> Path:
    """Return the file, downloaded where it is neither below the root nor in the cache."""
    name = Path(urllib.parse.urlparse(address).path).name
    cache = Path(torch.hub.get_dir()) / "checkpoints" / name
    places = [*((root / name, root / "imagenet" / name) if root else ()), cache]
    for place in places:
        if place.is_file():
            return place
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            address, cache, hash_prefix=cache.stem.rpartition("-")[2], progress=False
        )
    except (OSError, RuntimeError) as error:  # the latter for a wrong hash
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"The pretrained {model} could not be downloaded ({reason}): go online and call "
            f"again, or put {name} from {address} under a data root."
        ) from None
    return cache
