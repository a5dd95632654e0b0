"""What a training run says of its gradient and its loss, for the ledger."""

import contextlib
import math

import numpy as np
import pandas as pd

from ...errors import UsageError
from ...runs import metrics, records
from ...runs.records import Run
from ...runs.settings import get
from ...stats.estimate import Estimate, mean_and_error
from .. import SIZE, levels, quantity, reference

SQUARE, NAIVE = "regularised_gradient_norm_squared", "gradient_norm_naive"
# What the numbers of the paper's Figure 1 yield, too.
READ_OFF = ("gradient_left", "settled_loss_change", "norm_rise")
FEWEST = 3  # measurements in a quarter of a stage that one run needs for an interval
FALL = 3  # by which the norm falls in the case `falling`
# Times the criterion, the change of the loss in the case `cut_early`: the smallest whole
# number by which every run so far can show it. By 3 the classroom's ResNet cannot.
STEEPER = 4


@quantity(
    "of the smallest over the stages, simultaneous: its upper end by Bonferroni, while the "
    "lower end needs no correction",
    within=SIZE,
    zero="in every stage a gradient of zero, which nothing moves: with the reported errors of "
    "the measurements alone",
    tenth="in every stage the run's own scatter about a tenth of the quadratic's level",
)
def stationary_share(run: Run, case: str = "") -> Estimate:
    """The squared norm of grad f over what noise keeps up on a quadratic, where least.

    Of the unbiased norm with decay, over the settled part of a stage; see
    :func:`stationarity.chapters.levels.quadratic_level`.
    """

    def edit(window, number, _):
        if case == "zero":
            return 0.0
        return levels.steady(window) + 0.1 * unit[number] - window.value.mean()

    if case:
        unit = levels.quadratic_level(run)
        run = levels.made_up(run, SQUARE, edit)
    return levels.smallest(levels.stationary_share, run)


@quantity(
    "of one number",
    falling="the run's own scatter about a norm that falls to a third in each settled part",
    steady="the run's own scatter about a norm that is steady",
)
def gradient_left(run: Run, case: str = "") -> Estimate:
    """What is left of the squared norm of grad f at the end of a stage, on average.

    The end of the line through the settled part over the mean there, averaged over the
    stages with the weights of :func:`stationarity.chapters.levels.gradient_left`.
    """

    def edit(window, number, passed):
        fall = FALL ** (-2 * passed) if case == "falling" else 1 + 0 * passed
        return levels.steady(window) + window.value.mean() * (fall / fall.mean() - 1)

    if case:
        run = levels.made_up(run, SQUARE, edit)
    return levels.weighted(levels.gradient_left(run))


@quantity(
    "of the largest over the stages, simultaneous: its lower end by Bonferroni, while the "
    "upper end needs no correction",
    within=SIZE,
    cut_early=f"the run's own scatter about a loss that falls in the first stage, by {STEEPER} "
    "times the criterion, and is flat once the step size is cut; by 3 times not every run "
    "could show it",
    flat="in every stage the run's own scatter about a loss that is flat",
)
def settled_loss_change(run: Run, case: str = "") -> Estimate:
    """The change of the loss within a stage, as a share of what it lost before, where largest.

    The size of the change of the line through the settled part. The case ``cut_early``
    falls by ``STEEPER`` times the criterion. The scatter of both cases is that about a
    parabola: in the first stage a part of that about the line is the curve of the descent.
    """

    def edit(window, number, passed):
        mean = window.value.mean()
        falls = case == "cut_early" and number == min(levels.windows(run, "loss"))
        lost = run.series("loss").value[0] - mean
        fall = falls * STEEPER * levels.STABLE * lost * (passed - passed.mean())
        return levels.steady(window, 2) - fall

    return levels.largest_size(
        levels.loss_change, levels.made_up(run, "loss", edit) if case else run
    )


def of_all_seeds(run: Run) -> list[Run]:
    """Return the complete runs beside a run that differ from it in the seed alone, by seed.

    The run itself is among them; those that other code made are not.
    """
    by_seed = {run.info["settings"]["seed"]: run}
    for folder in run.folder.parent.glob("*"):
        with contextlib.suppress(UsageError):  # one that cannot be read is none of these
            one = records.read(folder)
            if one and one.but_for_the_seed == run.but_for_the_seed:
                by_seed.setdefault(one.info["settings"]["seed"], one)
    return [by_seed[seed] for seed in sorted(by_seed)]


def quarters(run: Run) -> pd.DataFrame:
    """Return the means of the naive norm over the first and the last quarter of each stage.

    One row a stage: ``stage``, ``first``, ``last``, their relative standard errors
    ``first_error`` and ``last_error`` from the scatter there (NaN of one value alone), and
    ``fewest``, the measurements of the quarter that has fewer.
    Raises :class:`UsageError` for a stage without a measurement in one of the two.
    """
    series, rows = run.series(NAIVE), []
    for number, (begin, end) in enumerate(levels.stages(run.settings), start=1):
        row = {"stage": number, "fewest": len(series)}
        for name, low, high in (("first", 0, 0.25), ("last", 0.75, 1)):
            passed = (series.epoch - begin) / (end - begin)
            values = series.value[(passed > low) & (passed <= high)]
            if values.empty:
                raise UsageError(
                    f"{run.name} has no {NAIVE} in the {name} quarter of stage {number}: "
                    "lower measure_every."
                )
            row[name], error = mean_and_error(values)
            row[f"{name}_error"] = error / row[name]
            row["fewest"] = min(row["fewest"], len(values))
        rows.append(row)
    return pd.DataFrame(rows)


def rises(run: Run, seeds: list[Run] | None = None) -> pd.DataFrame:
    """Return the naive norm's rise within each stage but the first, of all seeds of a run.

    A row a stage: ``rise``, the last quarter's mean over the first's, a geometric mean over
    ``seeds``, by default those of :func:`of_all_seeds`, with ``low`` and ``high`` by Student's
    t over them, and ``joint_low`` and ``joint_high`` for all stages together. Of one seed the
    interval is that of the scatter in the two quarters, held for independent, by Student's t
    with as many degrees of freedom as the quarter with fewer measurements has: NaN of one.
    ``fewest`` is how many that has, and infinite of several seeds, where it does not matter.
    """
    parts = [quarters(one).iloc[1:] for one in seeds or of_all_seeds(run)]
    logarithms = np.log([one["last"] / one["first"] for one in parts])
    together = len(parts[0])
    if len(parts) == 1:
        errors = np.hypot(parts[0].first_error, parts[0].last_error).to_numpy()
        degrees = parts[0].fewest.to_numpy() - 1
        each, joint = (Estimate.of(logarithms[0], errors, degrees, n) for n in (1, together))
    else:
        each, joint = (Estimate.mean(logarithms, many) for many in (1, together))
    columns = {"stage": parts[0].stage.to_numpy()}
    columns["fewest"] = parts[0].fewest.to_numpy() if len(parts) == 1 else math.inf
    columns |= dict(zip(("rise", "low", "high"), np.exp(each), strict=True))
    columns |= dict(zip(("joint_low", "joint_high"), np.exp(joint[1:]), strict=True))
    return pd.DataFrame(columns)


def shape(run: Run) -> pd.DataFrame:
    """Return what Figure 1 shows of a run and its other seeds, a row a stage.

    ``rise`` with ``low`` and ``high`` is that of :func:`rises` (NaN in the first stage),
    ``level`` the mean of the naive norm over that of the first stage, ``loss change`` that
    of :func:`stationarity.chapters.levels.loss_change`; means over the seeds.
    """
    seeds, columns = of_all_seeds(run), ["stage", "rise", "low", "high"]
    rows = []
    for one in seeds:
        norms = one.series(NAIVE)
        for number, (begin, end) in enumerate(levels.stages(one.settings), start=1):
            inside = norms.value[(norms.epoch > begin) & (norms.epoch <= end)]
            rows.append({"stage": number, "level": inside.mean()})
    means = pd.DataFrame(rows).groupby("stage", as_index=False).mean()
    means["level"] /= means.level.iloc[0]
    changes = pd.concat([levels.loss_change(one) for one in seeds])
    changes = changes.groupby("stage").value.mean().rename("loss change")
    table = means.merge(rises(run)[columns], how="left", on="stage")
    return table.join(changes, on="stage")[[*columns, "level", "loss change"]]


@quantity(
    "of the smallest over the stages after the first, simultaneous, by Student's t over seeds, "
    "or of one seed over the measurements in the quarters: its lower end needs no correction, "
    "its upper end is by Bonferroni",
    within=SIZE,
    halving="a norm that halves within every stage, with the scatter of this run's seeds",
    doubling="a norm that doubles within every stage, with the scatter of this run's seeds",
)
def norm_rise(run: Run, case: str = "") -> Estimate:
    """The naive norm in the last quarter of a stage over that in the first, where smallest.

    Of the stages after the first, in which the step size has dropped. Raises
    :class:`UsageError` for one seed with fewer than ``FEWEST`` measurements in a quarter.
    """
    table = rises(run)
    if table.fewest.min() < FEWEST:
        raise UsageError(
            f"One run tells a rise where each quarter of a stage has {FEWEST} measurements, "
            f"and one has {table.fewest.min()} here: lower measure_every, or make runs of "
            "several seeds."
        )
    if case:
        made_up = (0.5 if case == "halving" else 2.0) / table.rise
        ends = ["rise", "low", "high", "joint_low", "joint_high"]
        table[ends] = table[ends].mul(made_up, axis=0)
    return smallest(table)


def smallest(table: pd.DataFrame) -> Estimate:
    """Return the smallest over the stages of :func:`rises`, as :func:`norm_rise` does."""
    ends = table.rise, table.low, table.joint_high
    return Estimate(*(float(end.min(skipna=False)) for end in ends))


def figure_1() -> Run:
    """Return the paper's Figure 1 as a run, for its values beside ours.

    Its gradient norm is the naive one, without decay, and stands for that of ours; its loss
    is that of one minibatch.
    """
    curve = reference("zhang2022-figure1")
    settings = get("imagenet_resnet", "paper").plain()  # with the stages of the figure
    info = {"experiment": "imagenet_resnet", "settings": settings}
    run = Run(records.PROJECT / "book" / "reference", info)
    squares = curve.gradient_norm**2
    # A point is the mean of its epoch: it lies in the middle of it.
    series = {
        "loss": curve.train_loss,
        NAIVE: curve.gradient_norm,
        "gradient_norm_squared": squares,
        SQUARE: squares,
    }
    rows = metrics.common_rows(series, step=curve.epoch, epoch=lambda step: step + 0.5)
    run.__dict__["metrics"] = metrics.frame(rows)
    return run
