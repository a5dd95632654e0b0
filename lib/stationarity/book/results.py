"""The book's results: runs that a build does not repeat.

A record is a run's folder below ``book/results`` without checkpoints. What shows one says
where it comes from, and whether its settings are still those of the book.
"""

import json
import shutil
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError, from_home
from ..runs import records
from ..runs.provenance import PROJECT
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS, SCALES, get

if TYPE_CHECKING:  # it takes a second to import
    import pandas as pd


class Record(Run):
    """A run in the book's results."""

    @property
    def label(self) -> str:
        """What figures call the record: never like a live run, and stale where it is."""
        label = f"{self.scale} {self.info['fingerprint'][:4]}"
        return f"{label}, stale" if stale(self) else label


def root() -> Path:
    """Return the folder of the book's results."""
    return PROJECT / "book" / "results"


def recorded(name: str) -> list[Record]:
    """Return the book's records of an experiment, by scale; those that can be read."""
    kept = []
    for path in (root() / name).glob("*/run.json"):
        try:
            run = records.read(path.parent)
            kept.append(Record(run.folder, run.info))
        except UsageError as error:
            warnings.warn(f"A record is left out. {error}", stacklevel=2)
    return sorted(kept, key=by_scale)


def by_scale(run: Run) -> tuple:
    """Return the key that sorts runs by scale, then by folder."""
    return SCALES.index(run.scale) if run.scale in SCALES else len(SCALES), run.folder


def beside(run: Run, *names: str) -> list[Run]:
    """Return a run followed by the book's other records of its experiment, and of others.

    Of records that differ in the seed alone there is one.
    """
    kept = (one for name in (run.name, *names) for one in of_one_seed_each(recorded(name)))
    return [run, *(one for one in kept if one.info["fingerprint"] != run.info["fingerprint"])]


def of_one_seed_each(runs: list[Run]) -> list[Run]:
    """Return of runs that differ in the seed alone that of the first: it stands for all."""
    by_seed = sorted(runs, key=lambda run: run.info["settings"].get("seed", 0), reverse=True)
    first = {run.but_for_the_seed: run for run in by_seed}
    return [run for run in runs if first[run.but_for_the_seed] is run]


def record(run: Run, note: str | None = None) -> Path:
    """Copy a complete run into the book's results, with a note on what its settings lack.

    Raises :class:`UsageError` for a run that is not complete, and without rights or room.
    """
    if not run.complete:
        said = f"{run.folder.name} is {run.info['status']}, and only a complete run is recorded"
        raise UsageError(f"{said}: stationarity run {run.name} --scale {run.scale} ends it.")
    target = root() / run.name / run.folder.name
    how = {"remedy": "make that folder writable, with room, and record the run again"}
    with records.writing(target, **how):
        target.mkdir(parents=True, exist_ok=True)
    if note:  # a locale without UTF-8 has taken it for bytes
        note = note.encode(errors="surrogateescape").decode(errors="replace")
    text = json.dumps(run.info | ({"note": note} if note else {}), indent=1) + "\n"
    source = run.folder / records.METRICS
    records.write_whole(target / source.name, lambda path: shutil.copy(source, path), **how)
    written = target / "run.json"
    records.write_whole(written, lambda path: path.write_text(text, encoding="utf-8"), **how)
    return target


def stale(run: Run) -> dict[str, tuple]:
    """Return the settings in which a run differs from its experiment as the book has it.

    Setting -> (the run's, and the book's), None for no such one; but for the seed. ``scale``
    stands for an experiment or a scale that the book has no longer.
    """
    try:
        settings = get(run.name, run.scale)
    except UsageError:
        return {"scale": (f"{run.name} {run.scale}", None)}
    fields = type(settings).model_fields.items()
    defaults = {key: field.default for key, field in fields if not field.is_required()}
    mine, now = json.loads(json.dumps(defaults)) | run.info["settings"], settings.plain()
    both = {key: (mine.get(key), now.get(key)) for key in now | mine if key != "seed"}
    return {key: (then, here) for key, (then, here) in both.items() if then != here}


def stale_note(run: Run) -> str:
    """Return the sentence that flags a record of other settings, else an empty text."""
    differing = {
        key: ["absent" if one is None else textwrap.shorten(str(one), 40) for one in both]
        for key, both in (stale(run) if isinstance(run, Record) else {}).items()
    }
    said = "; ".join(f"{key}: {then}, now {now}" for key, (then, now) in differing.items())
    return said and f"Recorded with settings that the book no longer has ({said})."


def _of_this_call(run: Run) -> str:
    """Return in which settings a live run differs from the book's, by their names."""
    differing = ", ".join(stale(run))
    return f"others than the book's: {differing}" if differing else "of this book"


def provenance(runs: list[Run]) -> "pd.DataFrame":
    """Return a table of where runs come from; the last column flags stale records."""
    import pandas as pd

    rows = []
    for run in runs:
        commit = run.info["commit"] or "?"
        changed = ", changed" * commit.endswith("-dirty")
        row = {
            "run": run.label,
            "kind": "recorded" if isinstance(run, Record) else "live",
            "data": run.info.get("note") or run.info["settings"].get("dataset"),
            "hardware": run.info["device"],
            "date": run.info["start"][:10],
            "minutes": round(run.info["wall_seconds"] / 60, 1),
            "code": "this" if run.made_by_this_code else f"commit {commit[:8]}{changed}",
            "settings": stale_note(run) or _of_this_call(run),
        }
        rows.append(row)
    return pd.DataFrame(rows).set_index("run")


def behind_the_book(scale: str = "classroom") -> list[Run]:
    """Return the runs that the book shows, by experiment: live ones of a scale, then records.

    A run that is not complete, or that other code made, is no longer the book's.
    """
    paths = sorted(records.runs_root().glob(f"*/{scale}-*"))
    live = [run for run in map(records.read, paths) if run and run.complete]
    live = [run for run in live if run.name in EXPERIMENTS and run.made_by_this_code]
    kept = [one for name in EXPERIMENTS for one in recorded(name)]
    return sorted([*live, *kept], key=lambda run: [*EXPERIMENTS].index(run.name))


def anchor(run: Run) -> str:
    """Return the target of a run among all that the book shows."""
    kind = "recorded" if isinstance(run, Record) else "live"
    return f"run-{run.name}-{kind}-{run.folder.name}"


def with_anchors(runs: list[Run]) -> str:
    """Return :func:`provenance` in Markdown, each run a target, the first ``run-NAME``, too.

    The last column is for the pages with a figure of a run, which the book fills in.
    """
    table, named = provenance(runs).reset_index(), set()
    labels = (f"{one}, seed {run.info['seed']}" for one, run in zip(table["run"], runs))
    table["run"] = [f"[{one}]{{#{anchor(run)}}}" for one, run in zip(labels, runs)]
    table["pages with a figure of it"] = ""
    lines = [["experiment", *table], ["---"] * (len(table.columns) + 1)]
    for run, row in zip(runs, table.itertuples(index=False)):
        name = run.name if run.name in named else f"[{run.name}]{{#run-{run.name}}}"
        named.add(run.name)
        texts = ("" if one is None or one != one else str(one) for one in row)
        lines.append([name, *(text.replace("|", "\\|") for text in texts)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def origin(run: Run) -> str:
    """Return where a run comes from, as a line of text."""
    kind, *facts, minutes, code, _ = provenance([run]).iloc[0]
    parts = [f"{kind.capitalize()} run", *facts, f"{minutes} minutes", f"code: {code}"]
    return "; ".join(filter(None, parts)) + "."


def named(name: str) -> Run:
    """Return the run in a folder, or of a name as :func:`listing` has it.

    Raises :class:`UsageError` where there is none.
    """
    folders = (from_home(name), records.runs_root() / name)
    if not (chosen := next(filter(None, map(records.read, folders)), None)):
        raise UsageError(f"No run at {name}: `stationarity list` shows the runs.")
    return chosen


def listing() -> str:
    """Return the experiments with their scales and records, and the runs that there are."""
    lines = []
    for name, scales in EXPERIMENTS.items():
        lines.append(name)
        for scale, chosen in scales.items():
            summary = type(chosen).__name__
            if chosen.shares_its_work:
                summary = f"{chosen.model} on {chosen.dataset}, {chosen.epochs} epochs"
            lines.append(f"  {scale:<11} {summary}")
        kept = ((one.folder.name, one.info["device"]) for one in recorded(name))
        lines += [f"  recorded: {folder}, {device}" for folder, device in kept]
    runs = sorted(records.runs_root().glob("*/*/run.json"))
    lines.append(f"\n{len(runs)} runs in {records.runs_root()}")
    for path in runs:
        try:
            listed = records.read(path.parent)
            known = listed.made_by_this_code or "watch" in listed.info
            code = "" if known else ", other code"
            lines.append(f"  {listed.name}/{path.parent.name}  {listed.info['status']}{code}")
        except UsageError as error:
            lines.append(f"  {error}")
    return "\n".join(lines)
