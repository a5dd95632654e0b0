"""Torchvision's weights of nets that were trained on ImageNet.

They are found below the data root, or downloaded into PyTorch's cache (``TORCH_HOME``).
A file's name ends with the first eight digits of its SHA-256, which is always checked.
"""

import hashlib
from pathlib import Path

import torch

from ..errors import UsageError, from_home


def weights(model: str, classes: int, root: str | Path | None = None) -> tuple[dict, str]:
    """Return the state of a pretrained net such as ``resnet18``, and its file's name.

    Raises :class:`UsageError` where the data have other classes than ImageNet-1k, and
    where the file is damaged or cannot be had.
    """
    if classes != 1000:
        said = f"The pretrained {model} tells 1000 classes apart, and the images here have"
        raise UsageError(f"{said} {classes}: give all of ImageNet-1k, or set pretrained=false.")
    from torchvision.models import get_model_weights  # takes seconds to import

    address = get_model_weights(model).IMAGENET1K_V1.url
    name = address.rpartition("/")[2]
    cache = from_home(torch.hub.get_dir()) / "checkpoints" / name
    below = Path(root or cache.parent)
    places = (below / name, below / "imagenet" / name, cache)
    file = next((place for place in places if place.is_file()), cache)
    digits = file.stem.rpartition("-")[2]
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(address, file, hash_prefix=digits, progress=False)
        except (OSError, RuntimeError) as error:  # the latter for a wrong hash
            why = str(error).splitlines()[0]
            said = f"The pretrained {model} could not be downloaded ({why})"
            remedy = f"go online and call again, or put {name} from {address} under a data root"
            raise UsageError(f"{said}: {remedy}.") from None
    if not hashlib.sha256(file.read_bytes()).hexdigest().startswith(digits):
        raise UsageError(f"{file} is damaged: delete it, or fetch {address} again.")
    return torch.load(file, map_location="cpu", weights_only=True), name
