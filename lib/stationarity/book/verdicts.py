"""What the runs say of every claim: computed here, and nowhere written by hand.

A piece of evidence is judged only where a control fails at the same scale, and what is known
to hold holds. Source: our section "The ledger of claims".
"""

import datetime
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from .. import launch
from ..chapters import plots, quantities, scales
from ..chapters.ch03_imagenet_resnet101 import reading
from ..chapters.ch13_two_clocks import figure_1
from ..errors import UsageError
from ..runs import records
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS, SCALES
from ..stats.estimate import Estimate
from . import results
from .claims import Case, Claim, Criterion, Evidence

CANNOT, VOID, NOT_RUN = "cannot be judged here", "void", "not run"
MARGINS = ("margin", "margin_low", "margin_high")
WEAKEST_FIRST = ("does not hold", VOID, CANNOT, "undecided", "holds")
COLUMNS = [
    "claim", "piece", "experiment", "quantity", "role", "of", "scale", "run", "kind", "value",
    "low", "high", *MARGINS, "verdict", "reason", "criterion_first",
]  # fmt: skip


def existing_runs(name: str) -> list[Run]:
    """Return an experiment's complete runs: records, and live ones as the book has it."""
    kept = [run for run in results.recorded(name) if run.complete]
    known = {run.info["fingerprint"] for run in kept}
    folders = (launch.folder_of(name, *chosen) for chosen in EXPERIMENTS[name].items())
    live = [run for run in map(records.read, folders) if run and run.complete]
    live = [run for run in live if run.info["fingerprint"] not in known]
    kept += [run for run in live if run.made_by_this_code]
    return sorted(kept, key=results.by_scale)


def judge(quantity: str, criterion: Criterion, run: Run, case: str = "") -> dict:
    """Return what a run says: the estimate, its margin, the verdict, or why there is none."""
    begun, known = datetime.datetime.fromisoformat(run.info["start"]), quantities()[quantity]
    row = {"scale": run.scale, "run": run.label, "kind": scales.kind(run)}
    row |= {"criterion_first": criterion.since <= begun, "reason": ""}
    try:
        estimate = known(run, case)
    except UsageError as error:
        return row | {"verdict": CANNOT, "reason": str(error)}
    row |= estimate._asdict() | {"verdict": criterion.judge(estimate)}
    row |= dict(zip(MARGINS, criterion.margin(estimate), strict=True))
    if row["verdict"] == "undecided":
        row["reason"] = "The interval lies on both sides of a limit."
        if not criterion.needed(estimate, known.within):
            reason = "With an interval as wide, no value that it can have would hold."
            row |= {"verdict": CANNOT, "reason": reason}
    return row


def verdicts(claims: Sequence[Claim], runs: Callable[[str], list[Run]] = existing_runs):
    """Return a table of all verdicts (COLUMNS), a row for each evidence and run.

    ``role`` is ``claim``, or ``control`` and ``known`` for what must fail and what must
    hold beside it, ``of`` says where. ``criterion_first``: is it older than the run?
    """
    rows = []
    for claim in claims:
        if claim.kind == "measurement" and not claim.evidence:
            rows.append({"claim": claim.name, "role": "claim", "verdict": NOT_RUN})
        for number, evidence in enumerate(claim.evidence, start=1):
            row = {"claim": claim.name, "piece": number, "quantity": evidence.quantity}
            row |= {"experiment": evidence.experiment, "role": "claim"}
            made = results.of_one_seed_each(runs(evidence.experiment) or ())
            if not made:
                rows.append(row | {"verdict": NOT_RUN})
            for run in made:
                rows += [row | judged for judged in _judged(evidence, run, runs)]
    return pd.DataFrame(rows).reindex(columns=COLUMNS)


def _judged(evidence: Evidence, run: Run, runs: Callable) -> list[dict]:
    """Return the row of a piece and a run, and those of its controls and known cases."""
    criterion = evidence.criteria[-1]

    def beside(role: str, place: Case) -> dict:
        row = {"role": role, "of": str(place), "scale": run.scale, "run": run.label}
        others = (runs(place.experiment) or ()) if place.experiment else (run,)
        there = next((one for one in others if one.scale == run.scale), None)
        if there is None:
            return row | {"verdict": NOT_RUN}
        net, own = (getattr(one.settings, "model", "") for one in (there, run))
        row["of"] += f" (another net, {net})" if net != own else ""
        return judge(evidence.quantity, criterion, there, place.case) | row

    own = judge(evidence.quantity, criterion, run)
    controls = [beside("control", place) for place in evidence.controls]
    known = [beside("known", place) for place in evidence.known]
    if own["verdict"] != CANNOT:
        own |= _barred(controls, known)
    return [own, *controls, *known]


def _barred(controls: list[dict], known: list[dict]) -> dict[str, str]:
    """Return the verdict and the reason where controls or known cases forbid another."""
    for rows, what, right, wrong in (
        (controls, "control", "does not hold", VOID),
        (known, "case known to hold", "holds", CANNOT),
    ):
        ran = [row for row in rows if "value" in row]
        if not ran:
            names = ", ".join(row["of"] for row in rows)
            said = f"No {what} can be judged at this scale ({names})."
            return {"verdict": CANNOT, "reason": said}
        for row in ran:
            if row["verdict"] != right:
                said = f"The {what}, {row['of']}, has the verdict {row['verdict']!r} here"
                return {"verdict": wrong, "reason": f"{said}: {estimate_text(row)}."}
    return {}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a verdict for each claim (rows) and scale (columns).

    That of the weakest piece where all pieces have run, with their number; else how many
    have. Beside it stands what their runs are to the paper's, see :func:`scales.kind`.
    """
    own = table[table.role == "claim"]
    grid = pd.DataFrame(NOT_RUN, own.claim.unique(), list(SCALES))
    for (claim, scale), group in own.groupby(["claim", "scale"]):
        pieces = own[own.claim == claim].piece.nunique()
        weakest = [_weakest(piece.verdict) for _, piece in group.groupby("piece")]
        of = f"{len(weakest)} of {pieces}"
        whole = f"{_weakest(weakest)} ({of})" if len(weakest) == pieces else f"{of} pieces run"
        kinds = " and ".join(sorted(set(group.kind.dropna()) - {"paper"}))
        grid.loc[claim, scale] = f"{whole}, {kinds}" if kinds else whole
    return grid.rename_axis(index="claim", columns="scale")


def _weakest(verdicts) -> str:
    return min(verdicts, key=WEAKEST_FIRST.index)


def needed_experiments(claims: Sequence[Claim]) -> dict[str, int]:
    """Return the experiments that decide the claims, and of how many seeds each is needed."""
    seeds = {}
    for item in (item for claim in claims for item in claim.evidence):
        for one in (item, *item.controls, *item.known):
            if one.experiment:
                seeds[one.experiment] = max(seeds.get(one.experiment, 1), item.seeds)
    return seeds


def live_runs(claims: Sequence[Claim], arguments: dict[str, dict]) -> dict[str, list[Run]]:
    """Make or load the runs, by experiment, with records; arguments as for stationarity.run."""
    made = {}
    for name, many in needed_experiments(claims).items():
        run = launch.run(name, **arguments[name])
        for further in range(1, many):
            launch.run(name, **arguments[name], seed=run.settings.seed + further)
        made[name] = results.beside(run)
    return made


def report(claims: Sequence[Claim], table: pd.DataFrame) -> str:
    """Return the ledger as MyST Markdown: claim, criterion, what each run says, and why."""
    blocks = []
    for claim in claims:
        chapter = f" See {{doc}}`{claim.chapter}`." if claim.chapter else ""
        blocks.append(f"**{claim.name}** {{cite}}`{claim.paper}`. {claim.text}{chapter}")
        if claim.kind == "argument":
            blocks.append("- An argument and not a measurement: no verdict.")
        elif not claim.evidence:
            blocks.append("- *not run*: the book has no experiment for it yet.")
        for number, evidence in enumerate(claim.evidence, start=1):
            rows = table[(table.claim == claim.name) & (table.piece == number)]
            blocks.append("\n".join(_lines(evidence, rows)))
        blocks += [
            f"- Withdrawn on {old.since:%Y-%m-%d}: {old.quantity.replace('_', ' ')} "
            f"({old.experiment}, {old.criteria[-1]}). {old.why}"
            for old in claim.withdrawn
        ]
    return "\n\n".join(blocks) + "\n"


def plain_report(claims: Sequence[Claim]) -> str:
    """Return what the runs say of every claim, and in sum, as text for a terminal."""
    table, lines = verdicts(claims), []
    for claim in claims:
        lines.append(f"{claim.name}  {claim.text}")
        if claim.kind == "argument":
            lines.append("    an argument: no verdict")
        rows = table[(table.claim == claim.name) & (table.role == "claim")]
        for row in rows.to_dict("records"):
            if row["verdict"] == NOT_RUN:
                where = row["experiment"] if claim.evidence else ""
                lines.append(f"    {NOT_RUN}  {where}".rstrip())
                continue
            limits = claim.evidence[int(row["piece"]) - 1].criteria[-1]
            value = f"{row['quantity']} {estimate_text(row)}, {limits}"
            run = f"{row['experiment']} {row['run']} ({row['kind']})"
            lines.append(f"    {row['verdict']}  {run}: {value}")
            lines += [f"        {row['reason']}"] if row["reason"] else []
    return "\n".join([*lines, "", summary(table).to_string()])


def _lines(evidence: Evidence, rows: pd.DataFrame) -> list[str]:
    quantity, criterion = quantities()[evidence.quantity], evidence.criteria[-1]
    asked = f"- {quantity.meaning} ({evidence.experiment}, {{numref}}`{evidence.shown}`): "
    asked += f"must lie {criterion} (criterion of {criterion.since:%Y-%m-%d, %H:%M} UTC). "
    asked += f"{criterion.reason} The interval is {quantity.interval}."
    if evidence.experiment == "imagenet_resnet" and evidence.quantity in reading.READ_OFF:
        paper = quantity(reading.figure_1())._asdict()
        asked += f" The paper's Figure 1: {estimate_text(paper)}."
    if of_paper := figure_1.BY_QUANTITY.get(evidence.quantity):
        paper = of_paper().items()
        said = (f"{k}: {estimate_text(v._asdict())}, *{criterion.judge(v)}*" for k, v in paper)
        asked += f" All points of a stage of Figure 1, by their scatter: {'; '.join(said)}."
    lines = [asked]
    for row in rows[rows.role == "claim"].itertuples():
        if row.verdict == NOT_RUN:
            lines.append("  - *not run*.")
            continue
        text = f"{estimate_text(row._asdict())}, **{row.verdict}**. {row.reason}"
        sentence = {"holds": evidence.seen, "does not hold": evidence.otherwise}
        text += f" {sentence.get(row.verdict, '')}{_turn(row, criterion)}"
        later = "" if row.criterion_first else " The criterion is younger than this run."
        label = row.run if row.kind == "paper" else f"{row.run} ({row.kind})"
        lines.append(f"  - {label}: {text}{later}")
        beside = rows[(rows.run == row.run) & (rows.role != "claim")].to_dict("records")
        for role, word in (("control", "Must fail"), ("known", "Must hold")):
            chosen = [one for one in beside if one["role"] == role]
            said = [f"{one['of']}: {estimate_text(one)}, *{one['verdict']}*" for one in chosen]
            lines.append(f"    - {word}: {'; '.join(said)}.")
    for before, after in itertools.pairwise(evidence.criteria):
        lines.append(f"  - Changed on {after.since:%Y-%m-%d}: it was {before}. {after.why}")
    return lines


def _turn(row, criterion: Criterion) -> str:
    """Say at which criterion a verdict would turn, and which values could have held."""
    said = ""
    if row.verdict == "holds" and math.isfinite(row.margin_low):
        said = f" It holds for a criterion up to {row.margin_low:.3g} times as strict."
    elif row.verdict == "does not hold" and row.margin_low > 0:
        said = f" It would hold for one {1 / row.margin_low:.3g} times as loose."
    estimate, within = Estimate(row.value, row.low, row.high), quantities()[row.quantity].within
    if needed := criterion.needed(estimate, within):
        above, below = (float(f"{end:.2g}") for end in needed)
        limits = replace(criterion, above=above, below=below)
        said += f" With an interval as wide, a value {limits} would hold."
    return said


def estimate_text(row: dict) -> str:
    """Return a value with its interval, or that there is none."""
    if math.isnan(row.get("value", math.nan)):
        return "no value"
    return f"{row['value']:.3g} ({row['low']:.3g} to {row['high']:.3g})"


MARKS = {  # in the figure
    "claim": {"fmt": "o", "color": "C0", "label": "the run"},
    "control": {"fmt": "x", "color": "C3", "label": "must fail"},
    "known": {"fmt": "^", "color": "C2", "label": "must hold"},
}
FURTHEST = 30.0  # margins beyond it are drawn at the edge


def figure(table: pd.DataFrame) -> Figure:
    """Draw how much stricter each criterion could be, a panel for each scale."""
    rows = table[table.margin.notna()]
    labels = rows.claim + " " + rows.quantity.str.replace("_", " ") + " of " + rows.experiment
    order, scales = list(labels.unique()), [s for s in SCALES if (rows.scale == s).any()]
    height, many = 1.2 + 0.3 * len(order), max(len(scales), 1)
    figure, (panels,) = plots.panels(1, many, height, sharey=True)
    for axes, scale in zip(panels, scales, strict=False):
        for role, style in MARKS.items():
            chosen = rows[(rows.scale == scale) & (rows.role == role)]
            ends = chosen[[*MARGINS]].clip(1 / FURTHEST, FURTHEST)
            places = labels[chosen.index].map(order.index).to_numpy(float)
            plots.intervals(axes, places, *ends.to_numpy().T, along="x", **style)
        axes.axvline(1, **plots.THRESHOLD)
        axes.set(xscale="log", xlabel="factor of strictness", title=scale)
    panels[0].set_yticks(range(len(order)), order, fontsize="small")
    panels[0].invert_yaxis()
    plots.legend_above(figure, panels[0], 3)
    return figure
