"""Numbers without units: when does a small training run say something about a large one?

A run at whose stages these numbers are those of the paper's is a *scale model* of it, any
other an *analogue*. Source: our section "Numbers without units" of "What to measure".
"""

import contextlib
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS
from ..train.chance_level import NEAR
from ..train.schedules import learning_rate
from ..train.settings import AnyTraining, SmallNets
from .levels import stages, windows
from .numbers import NUMBERS
from .sizes import Data, count_entries, data_behind, data_of, net, steps_per_epoch

MATCH = 2.0  # numbers match within this factor: as little is known of the paper's batch size
DECIDING = "memories"  # the number that a scale model must have in every stage
BETAS = (0.9, 0.999)  # of Adam, as PyTorch has them by default


def _spans(settings) -> list[tuple[float, int]]:
    """Return the learning rate and the steps of each stage; of small nets, while followed."""
    if spans := getattr(settings, "spans", None):
        return spans
    if not isinstance(settings, AnyTraining):
        raise UsageError(f"No numbers without units are known of a {type(settings).__name__}.")
    each = steps_per_epoch(settings)
    rate = partial(learning_rate, settings, total=settings.epochs * each, per_epoch=each)
    return [(rate(begin * each), (end - begin) * each) for begin, end in stages(settings)]


def clocks(settings: AnyTraining | SmallNets) -> pd.DataFrame:
    """Return ``rate`` and the numbers that are clocks, a row a ``stage``.

    Memories and angular step need weight decay, and are those of SGD: NaN without. The
    second moment is Adam's. Where minibatches are independent, as those of small nets are
    unless their settings say so, or of a text, which is not shuffled, there is no ``order``.
    """
    spans, sgd = _spans(settings), getattr(settings, "optimizer", "sgd") == "sgd"
    beta = settings.momentum if sgd else BETAS[0]
    shuffled = getattr(settings, "sampling", "") == "reshuffled"
    changing = isinstance(settings, AnyTraining) and settings.schedule == "cosine"
    changing = changing and not settings.followed_epochs
    rows, decay = [], getattr(settings, "decays", [settings.weight_decay])[0]  # of the first
    for number, (rate, steps) in enumerate(spans, start=1):
        forgetting = rate * decay / (1 - beta)
        if not sgd or not forgetting or changing:
            forgetting = math.nan
        row = {
            "stage": number,
            "rate": rate,
            "memories": forgetting * steps,
            "angular_step": math.sqrt(2 * forgetting),
            "order": (1 - beta) * steps_per_epoch(settings) if shuffled else math.nan,
            "second_moment": math.nan if sgd else (1 - BETAS[1]) * steps,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def of_settings(settings: AnyTraining | SmallNets, data: Data | None = None) -> pd.DataFrame:
    """Return the numbers that settings decide, a row a stage: see :data:`NUMBERS`.

    Those of :func:`clocks`, and ``examples``, of the settings' whole dataset or of ``data``;
    those that only a run tells are NaN.
    """
    table, data = clocks(settings), data or data_of(settings)
    examples = data.examples / count_entries(net(settings, data.classes).parameters())
    return table.assign(examples=examples).reindex(columns=["stage", *NUMBERS])


def _paper_settings(name: str) -> AnyTraining | None:
    """Return the settings of the paper's run that an experiment is to model, or None.

    That is the experiment at the scale ``paper``; of a study of small nets, the run that
    its settings name.
    """
    named = getattr(EXPERIMENTS[name]["classroom"], "paper_run", name)
    paper = EXPERIMENTS[named].get("paper")
    return paper if isinstance(paper, AnyTraining) else None


def of_paper(name: str) -> pd.DataFrame | None:
    """Return :func:`of_settings` of the paper's run that an experiment is to model, or None."""
    paper = _paper_settings(name)
    return None if paper is None else of_settings(paper)


def _measured(run: Run, quantity: str) -> dict[int, pd.DataFrame]:
    """Return what was measured while a stage was settled; of small nets, while followed.

    Of small nets in stages that is the later half of each.
    """
    if not isinstance(run.settings, SmallNets):
        return windows(run, quantity)
    rows = run.series(quantity)
    rows = rows[rows.of.isna() | rows.of.eq(rows.of[0])]  # not of variations
    lengths = [steps for _, steps in _spans(run.settings)]
    if len(lengths) == 1:
        return {1: rows}
    stage, since = rows["index"], rows.step
    if stage.isna().any():  # stages are not numbered: steps count from the beginning
        begins = np.cumsum([0, *lengths[:-1]])
        stage = np.searchsorted(begins, rows.step, side="right")
        since = rows.step - begins[stage - 1]
    return {n: rows[(stage == n) & (since > each / 2)] for n, each in enumerate(lengths, 1)}


def of_run(run: Run) -> pd.DataFrame:
    """Return all the numbers of a run, a row a stage; NaN where a number was not measured.

    Those that are measured are means over the settled part of the stage, or while small
    nets are followed. A signal that is not seen above zero, an unbiased square below it, has
    infinite noise over it. The top curvature of a run that is followed is that of the
    directions that it is followed along.
    """
    settings, data = run.settings, data_behind(run)
    table = of_settings(settings, data).set_index("stage")

    def mean(quantity: str, of: Callable = np.asarray) -> pd.Series:
        means = {}
        with contextlib.suppress(UsageError):  # not measured, or not often enough
            means = {n: of(part.value).mean() for n, part in _measured(run, quantity).items()}
        return pd.Series(means, dtype=float).reindex(table.index)

    noise, square = mean("noise_norm") ** 2, mean("gradient_norm_squared")
    square = square.fillna(mean("gradient_norm", np.square))  # exact, where there is noise
    inflation, signal = mean("gradient_norm_naive", np.square) - square, square.clip(lower=0)
    rates = clocks(settings).rate.to_numpy()
    if getattr(settings, "optimizer", "sgd") == "sgd":
        top = (
            run.series("eigenvalue").value.max() if run.has("eigenvalue") else mean("sharpness")
        )
        table["curvature"] = top * rates / (2 * (1 + settings.momentum))
    table["clip"] = (getattr(settings, "clip", 0.0) or math.nan) / (noise + signal) ** 0.5
    table["noise_scale"] = noise / signal
    table["noise_over_signal"] = (inflation / signal).where(noise.notna())
    loss = mean("replica_loss" if run.has("replica_loss") else "loss")
    table["loss_left"] = loss.fillna(mean("train_loss")) / math.log(data.classes)
    return table.reset_index()


def guesses(run: Run) -> bool:
    """Return whether a net learned nothing: its last losses are those of guessing."""
    settled = windows(run, "loss")
    last = settled[max(settled)].value.mean()
    return bool(last > (1 - NEAR) * math.log(data_behind(run).classes))


def matches(mine: pd.Series, paper: pd.Series) -> bool | None:
    """Return whether a number is the paper's in every stage, None where one is not known.

    Where the paper's run has one stage, each is held against that.

    >>> matches(pd.Series([15.0, 1.4]), pd.Series([15.0, 1.5]))
    True
    """
    if len(paper) not in (1, len(mine)) or mine.isna().any() or paper.isna().any():
        return None
    ratio = mine.to_numpy() / paper.to_numpy()
    return bool(((ratio < MATCH) & (ratio > 1 / MATCH)).all())


def kind(run: Run) -> str:
    """Return what a run is to the paper's: ``paper``, ``scale model`` or ``analogue``."""
    settings, paper = run.settings, _paper_settings(run.name)
    if run.scale == "paper" and not isinstance(settings, SmallNets):
        return "paper"
    if paper is None or getattr(settings, "control", False):
        return "analogue"
    same = matches(*(clocks(one)[DECIDING] for one in (settings, paper)))
    return "scale model" if same else "analogue"


def _number(value: float) -> str:
    if math.isnan(value):
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{round(value, 9):.2g}"


def table(paper: pd.DataFrame, runs: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the numbers of the paper and of runs beside each other, as text.

    Those that are not known of any are left out. Each cell holds the stages in turn; a
    run's has ``=`` where it matches, ``≠`` where it does not, and neither where that is not
    known.
    """

    def text(values: pd.Series) -> str:
        known = values.drop_duplicates() if values.nunique(dropna=False) == 1 else values
        return " | ".join(_number(v) for v in known)

    columns = {"paper": {name: text(paper[name]) for name in NUMBERS}}
    for label, mine in runs.items():
        signs = {True: "= ", False: "≠ ", None: ""}
        columns[label] = {
            name: signs[matches(mine[name], paper[name])] + text(mine[name]) for name in NUMBERS
        }
    numbers = pd.DataFrame(columns)
    return numbers[(numbers != "?").any(axis=1)].rename(index=NUMBERS)
