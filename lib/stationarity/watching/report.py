"""What a watched training shows: its answers as a dictionary, as text and as a page."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..errors import from_home
from ..runs import records
from ..runs.records import Run
from . import page, questions, scales
from .watched import watched

JUDGED = len(questions.QUESTIONS)


def report(run: Run, *, jointly: bool = False) -> dict:
    """Return what a watched run shows.

    ``answers`` holds a dictionary for each question: ``key``, ``question``, ``verdict``
    (``yes``, ``no`` or ``cannot be judged``), ``number`` with ``low`` and ``high``, the ends of
    its interval at 95 % (None where there is none), ``quantity``, ``criterion``, ``why`` and
    ``advice``. ``jointly`` makes the intervals hold all together (Bonferroni). ``note`` says
    what several answers at once mean, ``window`` what is judged, and ``numbers`` are those of
    :func:`~.scales.numbers`. Raises :class:`UsageError`
    for a run that was not watched.
    """
    seen = watched(run)
    answers = questions.answers(seen, JUDGED if jointly else 1)
    facts = {key: run.info["watch"].get(key) for key in ("optimizer", "parameters")}
    return {
        "run": run.folder.name,
        "name": run.name,
        "status": run.info["status"],
        **facts,
        "window": {
            "first": seen.first,
            "last": seen.last,
            "stage_begins": seen.begin,
            "constant_rate": seen.steady,
            "learning_rates": seen.rates.tolist(),
        },
        "answers": [_plain(asdict(one)) for one in answers],
        "numbers": _plain(scales.numbers(seen)),
        "note": note(jointly),
    }


def _plain(entries: dict) -> dict:
    """Return a dictionary as JSON has it: a number that is not finite is None."""
    bad = [k for k, v in entries.items() if isinstance(v, float) and not math.isfinite(v)]
    return entries | dict.fromkeys(bad)


def note(jointly: bool) -> str:
    """Say what several answers at once mean."""
    if jointly:
        return (
            f"The intervals of the {JUDGED} questions hold all together with 95 % (Bonferroni):"
            " that any verdict is wrong by chance has at most a probability of 5 %."
        )
    return (
        f"Each interval holds alone, with 95 %. Of {JUDGED} questions, one verdict or more is "
        f"wrong by chance with a probability of up to {5 * JUDGED} %; who reads the reports of "
        "20 runs must expect a wrong verdict among them. Made with --jointly, the intervals "
        "hold all together. The last question follows from the others."
    )


def text(shown: dict) -> str:
    """Return a report as text for a terminal."""
    window = shown["window"]
    lines = [f"{shown['run']} ({shown['status']}), steps {window['first']} to {window['last']}"]
    for one in shown["answers"]:
        lines += ["", f"{one['question']} {one['verdict']}", f"  {one['why']}"]
        lines += [f"  {one['advice']}"]
    return "\n".join([*lines, "", shown["note"]])


def write(run: Run, path: str | Path, *, jointly: bool = False) -> Path:
    """Write the report of a watched run as one HTML page, and return its path."""
    content = page.page(run, report(run, jointly=jointly))
    return _whole(path, lambda to: to.write_text(content, encoding="utf-8"))


def write_table(run: Run, path: str | Path) -> None:
    """Write all metrics of a run as CSV, a row a value."""
    how = {"index": False, "encoding": "utf-8"}
    _whole(path, lambda to: run.metrics.to_csv(to, **how))


def _whole(path: str | Path, save: Callable) -> Path:
    records.write_whole(from_home(path), save, remedy="choose another place for it")
    return from_home(path)
