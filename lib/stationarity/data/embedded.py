"""What needs no download: scikit-learn's digits, and a text that ships with Python."""

import hashlib
import pydoc_data.topics
from functools import cache

import numpy as np
from sklearn.datasets import load_digits


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
    bunch = load_digits()
    images = (bunch.images * 15.9375).astype(np.uint8)[..., None]  # 16 becomes 255
    labels = bunch.target.astype(np.int64)
    parts = np.split(np.random.default_rng(0).permutation(len(labels)), [1437])
    return {name: (images[p], labels[p]) for name, p in zip(("train", "test"), parts)}
