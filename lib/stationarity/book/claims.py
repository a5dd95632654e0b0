"""The ledger: every claim of the two papers, and what the runs say of it.

``book/claims.yml`` holds each claim with its evidence; no verdict is written anywhere: each
is computed here from the runs that exist. Source: our section "The ledger of claims".
"""

import datetime
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import yaml
from pydantic import BaseModel, Field, ValidationError

from .. import launch
from ..chapters import quantities
from ..chapters.ch03_imagenet_resnet101 import reading
from ..errors import UsageError, known_name
from ..runs import records
from ..runs.provenance import PROJECT
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS, SCALES
from ..stats.estimate import Estimate
from . import results

COLUMNS = [
    "claim", "experiment", "quantity", "scale", "run", "value", "low", "high",
    "criterion", "verdict", "reason", "criterion_first", "control", "shown",
]  # fmt: skip


@dataclass(frozen=True)
class Criterion:
    """Where a quantity must lie, since a moment: between ``above`` and ``below``."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    since: datetime.datetime
    above: float = -math.inf
    below: float = math.inf
    why: str = ""  # it replaced the one before it

    def judge(self, found: Estimate) -> str:
        """Return ``holds`` for an interval inside, ``does not hold`` outside, ``undecided``.

        >>> limit = Criterion(since=None, above=0.01)
        >>> [limit.judge(Estimate(x, x - 0.1, x + 0.1)) for x in (0.5, 0.05, -0.2)]
        ['holds', 'undecided', 'does not hold']
        """
        if self.above < found.low and found.high < self.below:
            return "holds"
        if found.high < self.above or found.low > self.below:
            return "does not hold"
        return "undecided"

    def __str__(self) -> str:
        if math.isinf(self.below):
            return f"above {self.above:g}"
        if math.isinf(self.above):
            return f"below {self.below:g}"
        return f"between {self.above:g} and {self.below:g}"


class Measured(BaseModel, extra="forbid", frozen=True):
    """A quantity of an experiment."""

    experiment: str
    quantity: str


class Evidence(Measured):
    """What decides a claim: a quantity, the criteria for it, and a control."""

    criteria: tuple[Criterion, ...]  # the last one counts
    control: Measured | None = None  # must not fulfil it
    shown: str  # label of the figure


class Claim(BaseModel, extra="forbid", frozen=True, str_strip_whitespace=True):
    """A claim of one of the papers, in the book's words."""

    name: str = Field(alias="claim")
    paper: str  # key of the bibliography
    kind: str  # measurement or argument
    chapter: str | None = None  # the file of the chapter that is about it
    text: str
    evidence: tuple[Evidence, ...] = ()


def read(path: Path = PROJECT / "book" / "claims.yml") -> list[Claim]:
    """Return a ledger's claims; :class:`UsageError` for an unknown name or a missing entry."""
    ledger = []
    for entry in yaml.safe_load(path.read_text()):
        name = entry.get("claim", "without a name")
        try:
            claim = Claim(**entry)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            said = f"Claim {name} of the ledger lacks its {place!r}, or has a wrong one"
            raise UsageError(f"{said}: mend it.") from None
        known_name(claim.kind, ("measurement", "argument"), f"kind of claim {name}")
        for item in claim.evidence:
            for one in filter(None, (item, item.control)):
                known_name(one.quantity, quantities(), f"quantity of claim {name}")
                known_name(one.experiment, EXPERIMENTS, f"experiment of claim {name}")
        ledger.append(claim)
    return ledger


def existing_runs(name: str) -> list[Run]:
    """Return an experiment's complete runs: records, and live ones as the book has it."""
    kept = [run for run in results.recorded(name) if run.complete]
    known = {run.info["fingerprint"] for run in kept}
    folders = (launch.folder_of(name, *chosen) for chosen in EXPERIMENTS[name].items())
    live = [run for run in map(records.read, folders) if run and run.complete]
    live = [run for run in live if run.info["fingerprint"] not in known]
    kept += [run for run in live if run.made_by_this_code]
    return sorted(kept, key=results.by_scale)


def judge(quantity: str, criterion: Criterion, run: Run) -> dict:
    """Return what a run says: the estimate, the verdict, or why there is none."""
    try:
        found, reason = quantities()[quantity](run), ""
    except UsageError as error:
        found, reason = Estimate(math.nan, math.nan, math.nan), str(error)
    begun = datetime.datetime.fromisoformat(run.info["start"])
    return {
        "value": found.value, "low": found.low, "high": found.high,
        "criterion": str(criterion), "verdict": criterion.judge(found), "reason": reason,
        "criterion_first": criterion.since <= begun,
    }  # fmt: skip


def verdicts(claims: list[Claim], runs: Callable[[str], list[Run]] = existing_runs):
    """Return a table of all verdicts (COLUMNS), a row for each evidence and run.

    ``criterion_first`` is whether the criterion is older. An argument has no row.
    """
    rows = []
    for claim in claims:
        if claim.kind == "argument":
            continue
        if not claim.evidence:
            rows.append({"claim": claim.name, "verdict": "not run"})
        for evidence in claim.evidence:
            row = evidence.model_dump(include={"experiment", "quantity", "shown"})
            row["claim"] = claim.name
            criterion, made = evidence.criteria[-1], runs(evidence.experiment)
            control = ""
            if there := evidence.control:  # it should not hold there
                judged = (
                    judge(there.quantity, criterion, run) for run in runs(there.experiment)
                )
                control = next(judged, {"verdict": "not run"})["verdict"]
            if not made:
                rows.append(row | {"verdict": "not run", "criterion": str(criterion)})
            for run in made:
                place = {"scale": run.scale, "run": run.label, "control": control}
                rows.append(row | place | judge(evidence.quantity, criterion, run))
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a verdict for each claim (rows) and scale (columns): of the weakest evidence."""
    weakest_first = ["does not hold", "undecided", "holds"]
    grid = pd.DataFrame("not run", table.claim.unique(), list(SCALES))
    for (claim, scale), group in table.groupby(["claim", "scale"]):
        judged = set(group.verdict) - {"not run"}
        grid.loc[claim, scale] = min(judged, key=weakest_first.index, default="not run")
    return grid.rename_axis(index="claim", columns="scale")


def needed_experiments(claims: list[Claim]) -> list[str]:
    """Return the experiments that decide the claims, with their controls."""
    evidence = [item for claim in claims for item in claim.evidence]
    places = [one for item in evidence for one in (item, item.control) if one]
    return list(dict.fromkeys(one.experiment for one in places))


def live_runs(claims: list[Claim], arguments: dict[str, dict]) -> dict[str, list[Run]]:
    """Make or load the runs, by experiment, with records; arguments as for stationarity.run."""
    names = needed_experiments(claims)
    return {name: results.beside(launch.run(name, **arguments[name])) for name in names}


def report(claims: list[Claim], table: pd.DataFrame) -> str:
    """Return the ledger as MyST Markdown: claim, paper's value, ours, verdict."""
    blocks = []
    for claim in claims:
        chapter = f" See {{doc}}`{claim.chapter}`." if claim.chapter else ""
        blocks.append(f"**{claim.name}** {{cite}}`{claim.paper}`. {claim.text}{chapter}")
        if claim.kind == "argument":
            blocks.append("- An argument and not a measurement: no verdict.")
        elif not claim.evidence:
            blocks.append("- *not run*: the book has no experiment for it yet.")
        for evidence in claim.evidence:
            chosen = (table.claim == claim.name) & (table.quantity == evidence.quantity)
            chosen &= table.experiment == evidence.experiment
            blocks.append(_lines(evidence, table[chosen]))
    return "\n\n".join(blocks) + "\n"


def _lines(evidence: Evidence, rows: pd.DataFrame) -> str:
    quantity = quantities()[evidence.quantity]
    meaning = quantity.__doc__.split("\n")[0].rstrip(".")
    asked = f"- {meaning} ({evidence.experiment}, {{numref}}`{evidence.shown}`): "
    since = evidence.criteria[-1].since
    asked += f"must lie {evidence.criteria[-1]} (criterion of {since:%Y-%m-%d, %H:%M} UTC)."
    if evidence.experiment == "imagenet_resnet" and evidence.quantity in reading.READ_OFF:
        asked += f" The paper's Figure 1: {_text(quantity(reading.figure_1()))}."
    if control := evidence.control:
        asked += f" Verdict on the control, {control.experiment}: *{rows.control.iloc[0]}*."
    lines = [asked]
    for row in rows.itertuples():
        if row.verdict == "not run":
            lines.append("  - *not run*.")
            continue
        found = "" if math.isnan(row.value) else f"{_text(row)}, "
        later = "" if row.criterion_first else " The criterion is younger than this run."
        why = f" {row.reason}" if row.reason else ""
        lines.append(f"  - {row.run}: {found}**{row.verdict}**.{why}{later}")
    for before, after in itertools.pairwise(evidence.criteria):
        lines.append(f"  - Changed on {after.since:%Y-%m-%d}: it was {before}. {after.why}")
    return "\n".join(lines)


def _text(found) -> str:
    return f"{found.value:.2g} ({found.low:.2g} to {found.high:.2g})"
