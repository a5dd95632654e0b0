"""What the watches of a run saw, and what their reports say."""

import pandas as pd

from ...errors import UsageError
from ...runs.records import Run
from ...stats.estimate import Estimate
from ...watching import drifts, identities, page
from ...watching.answers import number
from ...watching.report import report
from ...watching.watched import Watched, watched
from . import schedules

HELD, LOWER = "held", "lower"  # the end of the first stage, and that of the last
MATRICES, FREE = 0, 1  # the parameter group that decays; gains and biases, which do not


class Seen(Run):
    """A watched training of a run, as it was after its step ``last``."""

    def __init__(self, run: Run, name: str, last: int, label: str):
        facts = {"experiment": label, "watch": run.info["watched"][name]}
        super().__init__(run.folder / name, run.info | facts)
        self.whole = run
        rows = run.metrics[run.metrics.member == schedules.NAMES.index(name)]
        vars(self)["metrics"] = rows[rows.step <= last].assign(member=None)


def moments(run: Run) -> dict[str, Run]:
    """Return the trainings as they were when each report was made, by what that is called."""
    settings = run.settings
    ends = {
        "cosine": ("cosine", settings.steps),
        HELD: ("stages", settings.warmup + settings.stages[0]),
        LOWER: ("stages", settings.steps),
    }
    return {label: Seen(run, *end, label) for label, end in ends.items()}


def reports(run: Run) -> dict[str, dict[str, dict]]:
    """Return the answers of each report, by its moment and the question's key."""
    return {
        label: {one["key"]: one for one in report(seen)["answers"]}
        for label, seen in moments(run).items()
    }


def as_page(training: Run) -> str:
    """Return the report of one of the :func:`moments` as the HTML of the command line."""
    return page.page(training, report(training))


def verdicts(by_label: dict[str, dict[str, dict]]) -> pd.DataFrame:
    """Return the verdicts of the :func:`reports`, a row a question."""
    first = next(iter(by_label.values())).values()
    columns = {"question": [one["question"] for one in first]}
    for label, answers in by_label.items():
        columns[label] = [one["verdict"] for one in answers.values()]
    return pd.DataFrame(columns)


def answers(by_label: dict[str, dict[str, dict]], key: str) -> pd.DataFrame:
    """Return the answers to one question, a row a report: verdict, number, interval, reason."""
    rows = []
    for label, given in by_label.items():
        one = given[key]
        value, low, high = (_written(one[end]) for end in ("number", "low", "high"))
        row = {
            "at the end of": label,
            "verdict": one["verdict"],
            "number": value,
            "interval": f"{low} to {high}",
            "why": one["why"],
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _written(value: float | None) -> str:
    return "?" if value is None else number(value)


def over_stable(training: Run) -> pd.DataFrame:
    """Return two bounds of the top curvature over the largest stable one, a row a step.

    That of the ``few`` batches, and of ``fresh`` ones along its direction. Empty where the
    curvature was left out.
    """
    names = "sharpness", "fresh_curvature", "stable_sharpness"
    try:
        few, fresh, stable = (training.series(name).set_index("step").value for name in names)
    except UsageError:
        return pd.DataFrame({"few": [], "fresh": []})
    return pd.DataFrame({"few": few / stable, "fresh": fresh / stable})


def drop(run: Run) -> tuple[Estimate, Estimate]:
    """Return how far the stages' loss lies above the cosine's, as the rate drops and later.

    Means over a tenth of the last stage each, the last one before the drop and the second one
    after it, with intervals that hold jointly. Both trainings see the same batches, whose noise
    the difference is nearly free of. Raises :class:`UsageError` for a stage of a few steps.
    """
    trainings, stages = moments(run), run.settings.stages
    stepped, smooth = (
        trainings[label].series("loss").value.to_numpy() for label in (LOWER, "cosine")
    )
    at, width = run.settings.warmup + stages[0], max(stages[1] // 10, 5)
    before, after = (
        stepped[i : i + width] - smooth[i : i + width] for i in (at - width, at + width)
    )
    return drifts.level(before, together=2), drifts.level(after, together=2)


def refusal(seen: Watched) -> str:
    """Return why the fluctuation-dissipation relation is not derived for a training."""
    try:
        identities.fluctuation_dissipation(None, 0.0, 1.0, 1, seen)
    except UsageError as error:
        return str(error)
    return ""


def balance(run: Run) -> pd.DataFrame:
    """Return what moves ||theta||^2 of the matrices in the windows of constant rate.

    Half the change of ||theta||^2 a step is the push outwards, ||u||^2 / 2, less what the decay
    pulls inwards, eta lambda ||theta||^2, less what the gradients do, eta <theta, a>: that is
    what is left. Columns, over the push: ``decay``, ``gradients`` and ``growth``, which add up
    to 1; ``size``, the root mean square of a weight. No row for a stage that is too short.
    """
    rows, entries = [], run.info["watched"]["stages"]["matrix_entries"]
    for label, training in moments(run).items():
        if not (seen := watched(training)).steady:
            continue

        size, moved = _in_window(training, "weight"), _in_window(training, "update").iloc[1:]
        push = moved.mean() / 2
        growth = (size.iloc[-1] - size.iloc[0]) / 2 / len(moved)
        decays = seen.facts["groups"][MATRICES]["weight_decay"]
        decay = seen.rates[MATRICES] * decays * size.iloc[:-1].mean()
        row = {
            "stage": label,
            "decay": decay / push,
            "growth": growth / push,
            "gradients": 1 - (decay + growth) / push,
            "size": (size.mean() / entries) ** 0.5,
        }
        rows.append(row)
    return pd.DataFrame(rows, columns=["stage", "decay", "gradients", "growth", "size"])


def _in_window(training: Run, of: str, group: int = MATRICES) -> pd.Series:
    """Return the squares of a group's weights or updates by step, from before the window on."""
    seen = watched(training)
    values = training.series(f"group_{of}_square", index=group).set_index("step").value
    return values.loc[seen.first - 1 : seen.last]


def changes(training: Run) -> tuple[float, float]:
    """Return the changes of ||theta||^2 over the window: of the matrices, and of all others."""
    squares = (_in_window(training, "weight", group) for group in (MATRICES, FREE))
    return tuple(float(each.iloc[-1] - each.iloc[0]) for each in squares)


def costs(run: Run) -> pd.DataFrame:
    """Return the seconds of each training, of its notes and of its measurements, a row each."""
    rows = [
        {"training": name, **facts["seconds"], "taken": run.settings.steps}
        for name, facts in run.info["watched"].items()
    ]
    return pd.DataFrame(rows)
