"""What needs no download: scikit-learn's digits, and a text that ships with Python."""

import hashlib
import importlib.util
import pydoc_data.topics
from functools import cache
from pathlib import Path

import numpy as np


def embedded_hash(name: str | None) -> str | None:
    """Return the SHA-256 of an embedded dataset, None for any other.

    It enters the fingerprint of a run: with a version of Python or of a package, data change.
    """
    if name == "python-reference":
        content = python_reference().encode()
    elif name == "digits":
        content = b"".join(a.tobytes() for part in digits().values() for a in part)
    else:
        return None
    return hashlib.sha256(content).hexdigest()


def python_reference() -> str:
    """Return the half a million characters of Python's own language reference."""
    return "\n\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))


@cache
def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the digits: 1437 for training (``train``), 360 for testing (``test``).

    Images are uint8 ``(N, 8, 8, 1)``, labels int64 ``(N,)``.
    """
    (package,) = importlib.util.find_spec("sklearn").submodule_search_locations
    table = np.loadtxt(Path(package, "datasets/data/digits.csv.gz"), delimiter=",")
    images = (table[:, :-1] * 15.9375).astype(np.uint8).reshape(-1, 8, 8, 1)  # 16 becomes 255
    labels = table[:, -1].astype(np.int64)
    parts = np.split(np.random.default_rng(0).permutation(len(labels)), [1437])
    return {name: (images[p], labels[p]) for name, p in zip(("train", "test"), parts)}
