"""A number with its interval."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A value with its interval at 95 %, in the units of its quantity."""

    value: float
    low: float
    high: float
