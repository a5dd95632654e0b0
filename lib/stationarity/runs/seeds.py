"""Random seeds from keys: any draw can be repeated without those before it."""

import hashlib


def seed_of(*key) -> int:
    """Return a seed of 63 bits that depends on the key alone.

    Its parts are numbers and strings, such as the run's seed, a purpose and a step.
    """
    key = tuple(part.item() if hasattr(part, "item") else part for part in key)  # of NumPy
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
