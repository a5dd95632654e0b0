"""The ledger: every claim of the two papers, with what decides it.

``book/claims.yml`` holds each claim with its evidence; verdicts are computed by
:mod:`.verdicts`. Source: our section "The ledger of claims".
"""

import datetime
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import yaml
from pydantic import BaseModel, Field, ValidationError

from ..chapters import quantities
from ..errors import UsageError, known_name
from ..runs.provenance import PROJECT
from ..runs.settings import EXPERIMENTS
from ..stats.estimate import Estimate


@dataclass(frozen=True)
class Criterion:
    """Where a quantity must lie, since a moment: between ``above`` and ``below``.

    Alone, ``above`` is positive, and ``below`` not zero. ``reason`` says why the limits lie
    there, ``why`` what was wrong with the criterion that this one replaced.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    since: datetime.datetime
    above: float = -math.inf
    below: float = math.inf
    reason: str = ""
    why: str = ""

    def margin(self, estimate: Estimate) -> Estimate:
        """Return the factor by which the criterion could be stricter, and still be met.

        Met is where the whole interval lies above 1. Stricter is a higher ``above``, a lower
        ``below``, or a band narrower about its centre: in logarithms where it is positive.
        """
        given = np.array([*estimate, self.above, self.below])
        positive = np.maximum(given, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            if np.isnan(given).any():
                margins = np.full(3, np.nan)
            elif math.isinf(self.below):
                margins = positive[:3] / self.above
            elif math.isinf(self.above) and self.below < 0:
                margins = np.maximum(-given[[0, 2, 1]], 0.0) / -self.below
            elif math.isinf(self.above):
                margins = self.below / positive[[0, 2, 1]]
            else:
                *parts, least, most = np.log(positive) if self.above > 0 else given
                value, low, high = np.array(parts) - (least + most) / 2
                nearest = 0.0 if low < 0 < high else min(abs(low), abs(high))
                away = np.array([abs(value), max(abs(low), abs(high)), nearest])
                margins = (most - least) / 2 / away
        return Estimate(*margins.tolist())

    def judge(self, estimate: Estimate) -> str:
        """Return ``holds`` for an interval inside, ``does not hold`` outside, ``undecided``."""
        margin = self.margin(estimate)
        if margin.low > 1:
            return "holds"
        return "does not hold" if margin.high < 1 else "undecided"

    def needed(self, estimate: Estimate, within: tuple) -> tuple[float, float] | None:
        """Return between which values an interval as wide as ``estimate`` would hold.

        None where none would of those that there are, which lie ``within`` two bounds.
        """
        least = self.above + (estimate.value - estimate.low)
        most = self.below - (estimate.high - estimate.value)
        return (least, most) if max(least, within[0]) <= min(most, within[1]) else None

    def __str__(self) -> str:
        if math.isinf(self.below):
            return f"above {self.above:g}"
        if math.isinf(self.above):
            return f"below {self.below:g}"
        return f"between {self.above:g} and {self.below:g}"


class Case(BaseModel, extra="forbid", frozen=True):
    """Where else a quantity is judged at the same scale: of another run, or in a case."""

    experiment: str = ""
    case: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.experiment, self.case.replace("_", " "))))


class Piece(BaseModel, extra="forbid", frozen=True, str_strip_whitespace=True):
    """A quantity of an experiment with its criteria, of which the last one counts."""

    experiment: str
    quantity: str
    criteria: tuple[Criterion, ...] = Field(min_length=1)


class Evidence(Piece):
    """A piece that decides a claim: where a control fails, and what is known to hold holds."""

    seeds: int = 1  # of the experiment and of its controls, which the quantity takes together
    controls: tuple[Case, ...] = Field(min_length=1)
    known: tuple[Case, ...] = Field(min_length=1)
    seen: str  # what was seen where it holds
    otherwise: str  # and where it does not
    shown: str  # label of the figure


class Withdrawn(Piece):
    """A piece that decides nothing any more, and why."""

    since: datetime.datetime
    why: str


class Claim(BaseModel, extra="forbid", frozen=True, str_strip_whitespace=True):
    """A claim of one of the papers, in the book's words."""

    name: str = Field(alias="claim")
    paper: str  # key of the bibliography
    kind: str  # measurement or argument
    chapter: str | None = None  # the file of the chapter that is about it
    text: str
    evidence: tuple[Evidence, ...] = ()
    withdrawn: tuple[Withdrawn, ...] = ()


@cache
def read(path: Path = PROJECT / "book" / "claims.yml") -> tuple[Claim, ...]:
    """Return a ledger's claims; :class:`UsageError` for an unknown name or a missing entry.

    A file is read once: a page asks often, and YAML takes long.
    """
    ledger = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        name = entry.get("claim", "without a name")
        try:
            claim = Claim(**entry)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            said = f"Claim {name} of the ledger lacks its {place!r}, or has a wrong one"
            raise UsageError(f"{said}: mend it.") from None
        known_name(claim.kind, ("measurement", "argument"), f"kind of claim {name}")
        for item in claim.evidence:
            known_name(item.quantity, quantities(), f"quantity of claim {name}")
            cases = ("", *quantities()[item.quantity].cases)
            for one in (Case(), *item.controls, *item.known):
                known_name(one.case, cases, f"case of claim {name}")
                place = one.experiment or item.experiment
                known_name(place, EXPERIMENTS, f"experiment of claim {name}")
        ledger.append(claim)
    return tuple(ledger)
