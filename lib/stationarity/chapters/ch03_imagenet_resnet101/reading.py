"""What a training run says of its gradient and its loss, for the ledger."""

import contextlib
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import UsageError
from ...runs import metrics, records
from ...runs.records import Run
from ...runs.settings import get
from ...stats.estimate import SMALLEST, Estimate, mean_and_error
from .. import SIZE, levels, quantity, reference, scales

SQUARE, NAIVE = "regularised_gradient_norm_squared", "gradient_norm_naive"
# What the numbers of the paper's Figure 1 yield, too.
READ_OFF = ("gradient_left", "settled_loss_change", "norm_rise", "norm_level", "loss_rise")
ENDS = ["value", "low", "high", "joint_low", "joint_high"]
FEWEST = 3  # measurements in a quarter of a stage that one run needs for an interval
FALL = 3  # by which the norm falls in the case `falling`
# Times the criterion, the change of the loss in the case `cut_early`: the smallest whole
# number by which every run so far can show it. By 3 the classroom's ResNet cannot.
STEEPER = 4
ROSE = 0.1  # of what the loss has lost: a rise of the loss, by the criterion of `loss_rise`


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
    rows = []
    for number, norms in _norms_by_quarter(run):
        row = {"stage": number}
        for name, place in (("first", 1), ("last", 4)):
            if place not in norms:
                said = f"{run.name} has no {NAIVE} in the {name} quarter of stage {number}"
                raise UsageError(f"{said}: lower measure_every.")
            row[name], error = mean_and_error(norms[place])
            row[f"{name}_error"] = error / row[name]
        rows.append(row | {"fewest": min(len(norms[1]), len(norms[4]))})
    return pd.DataFrame(rows)


def _norms_by_quarter(run: Run) -> Iterator[tuple[int, dict[int, pd.Series]]]:
    """Yield each stage's number, and its naive norms by quarter, 1 to 4, where it has any."""
    series = run.series(NAIVE)
    for number, (begin, end) in enumerate(levels.stages(run.settings), start=1):
        passed = (series.epoch - begin) / (end - begin)
        inside = (passed > 0) & (passed <= 1)
        yield number, dict(iter(series.value[inside].groupby(np.ceil(4 * passed[inside]))))


def _over_seeds(stages, values: NDArray, error, degrees) -> pd.DataFrame:
    """Return means over seeds of numbers (seeds, stages), with intervals by Student's t.

    A row a stage: ``stage``, ``value``, ``low``, ``high``, and ``joint_low`` and
    ``joint_high`` for all stages together. Of one seed they are those of its ``error``.
    """
    if len(values) == 1:
        each, joint = (Estimate.of(values[0], error, degrees, n) for n in (1, len(stages)))
    else:
        each, joint = (Estimate.mean(values, n) for n in (1, len(stages)))
    columns = (stages, *each, joint.low, joint.high)
    return pd.DataFrame(dict(zip(("stage", *ENDS), columns, strict=True)))


def rises(run: Run, seeds: list[Run] | None = None) -> pd.DataFrame:
    """Return the naive norm's rise within each stage but the first, of all seeds of a run.

    The last quarter's mean over the first's, a geometric mean over ``seeds``, by default
    those of :func:`of_all_seeds`: a table of :func:`_over_seeds`. Of one seed the error is
    that of the scatter in the two quarters, held for independent, with as many degrees of
    freedom as the quarter with fewer measurements has: NaN of one. ``fewest`` is how many
    that has, and infinite of several seeds, where it does not matter.
    """
    parts = [quarters(one).iloc[1:] for one in seeds or of_all_seeds(run)]
    first, alone = parts[0], len(parts) == 1
    logarithms = np.log([one["last"] / one["first"] for one in parts])
    errors = np.hypot(first.first_error, first.last_error).to_numpy()
    table = _over_seeds(first.stage.to_numpy(), logarithms, errors, first.fewest.to_numpy() - 1)
    table[ENDS] = np.exp(table[ENDS])
    return table.assign(fewest=first.fewest.to_numpy() if alone else math.inf)


def stage_norms(run: Run) -> pd.DataFrame:
    """Return the mean of the naive norm over each stage, a row a stage.

    ``stage``, ``mean``, and ``error``, the relative standard error of the mean of the
    stage's four quarters from their scatter. Raises :class:`UsageError` for a stage with a
    quarter that has no measurement.
    """
    rows = []
    for number, norms in _norms_by_quarter(run):
        if len(norms) < 4:
            said = f"{run.name} has no {NAIVE} in a quarter of stage {number}"
            raise UsageError(f"{said}: lower measure_every.")
        mean, error = mean_and_error([values.mean() for values in norms.values()])
        rows.append((number, pd.concat(norms).mean(), error / mean))
    return pd.DataFrame(rows, columns=["stage", "mean", "error"])


def level_ratios(run: Run) -> pd.DataFrame:
    """Return the mean naive norm of each later stage over that of the first, of all seeds.

    Geometric means over the seeds: a table of :func:`_over_seeds`. Of one seed the errors
    are those of :func:`stage_norms`.
    """
    parts = [stage_norms(one) for one in of_all_seeds(run)]
    logarithms = np.log([one["mean"].iloc[1:] / one["mean"].iloc[0] for one in parts])
    first = parts[0]
    errors = np.hypot(first.error.iloc[1:], first.error.iloc[0]).to_numpy()
    table = _over_seeds(first.stage.iloc[1:].to_numpy(), logarithms, errors, 3)
    table[ENDS] = np.exp(table[ENDS])
    return table


def later_loss_changes(run: Run) -> pd.DataFrame:
    """Return the :func:`.levels.loss_change` of each stage but the first, of all seeds.

    Means over the seeds, with those that learn nothing: a table of :func:`_over_seeds`. Of
    one seed the intervals are those of the lines, the joint ones for all stages.
    """
    seeds = of_all_seeds(run)
    each = [levels.loss_change(one).set_index("stage") for one in seeds]
    each = [one.drop(index=1, errors="ignore") for one in each]
    stages = each[0].index.to_numpy()
    if len(seeds) > 1:
        return _over_seeds(stages, np.array([one.value for one in each]), None, None)
    joint = levels.loss_change(run, jointly=True).set_index("stage").loc[stages]
    table = each[0].assign(joint_low=joint.low, joint_high=joint.high)
    return table.reset_index()[["stage", *ENDS]]


def shape(run: Run) -> pd.DataFrame:
    """Return what Figure 1 shows of a run and its other seeds, a row a later stage.

    ``rise``, ``level`` and ``loss change`` of :func:`rises`, :func:`level_ratios` and
    :func:`later_loss_changes`, each with its interval, ``low`` and ``high``: columns are
    pairs, of the part and of the end. A part that the run cannot tell is NaN.
    """
    parts = {"rise": rises, "level": level_ratios, "loss change": later_loss_changes}
    stages = range(2, 1 + len(levels.stages(run.settings)))
    tables = {name: pd.DataFrame(math.nan, stages, ENDS[:3]) for name in parts}
    for name, part in parts.items():
        with contextlib.suppress(UsageError):
            tables[name] = part(run).set_index("stage")[ENDS[:3]]
    return pd.concat(tables, axis=1).rename_axis(index="stage")


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
        made_up = (0.5 if case == "halving" else 2.0) / table.value
        table[ENDS] = table[ENDS].mul(made_up, axis=0)
    return smallest(table)


def smallest(table: pd.DataFrame) -> Estimate:
    """Return the smallest over the stages of a table, as :func:`norm_rise` does."""
    ends = table.value, table.low, table.joint_high
    return Estimate(*(float(end.min(skipna=False)) for end in ends))


@quantity(
    "of the smallest over the stages after the first, simultaneous, by Student's t over seeds, "
    "or of one seed over the quarters of its stages: its lower end needs no correction, its "
    "upper end is by Bonferroni",
    within=SIZE,
    as_on_a_quadratic="a norm as on a quadratic, whose square goes with the step size, but for "
    "the noise of the measurement, as large as in the first stage; with the scatter of this "
    "run's seeds",
    even="a norm of one level in all stages, with the scatter of this run's seeds",
)
def norm_level(run: Run, case: str = "") -> Estimate:
    """The mean naive norm of a later stage over that of the first, where smallest."""
    table = level_ratios(run)
    if case:
        falls = 1.0
        if case == "as_on_a_quadratic":
            rates = scales.clocks(run.settings).rate.to_numpy()
            noise = np.mean([_inflation(one) for one in of_all_seeds(run)])
            falls = np.sqrt((rates[1:] / rates[0] + noise) / (1 + noise))
        table[ENDS] = table[ENDS].mul(falls / table.value, axis=0)
    return smallest(table)


def _inflation(run: Run) -> float:
    """Return what noise adds to the naive square over the signal, in the first stage."""
    _, end = levels.stages(run.settings)[0]
    naive, square = (run.series(name) for name in (NAIVE, "gradient_norm_squared"))
    inside = (naive.epoch > 0) & (naive.epoch <= end)
    signal = max(square.value[inside].mean(), SMALLEST)
    return float(max((naive.value[inside] ** 2).mean() - signal, 0.0) / signal)


@quantity(
    "of the largest over the stages after the first, simultaneous, by Student's t over seeds, "
    "or of one seed of the line through its settled part: its upper end needs no correction, "
    "its lower end is by Bonferroni, of one seed over all stages",
    rising="a loss that rises by twice the criterion in each of these stages, with the scatter "
    "of this run's seeds",
    flat="a loss that is flat in these stages, with the scatter of this run's seeds",
)
def loss_rise(run: Run, case: str = "") -> Estimate:
    """The change of the loss in a later stage, over what it lost before, where largest."""
    table = later_loss_changes(run)
    if case:
        made_up = 2 * ROSE if case == "rising" else 0.0
        table[ENDS] = table[ENDS].add(made_up - table.value, axis=0)
    ends = table.value, table.joint_low, table.high
    return Estimate(*(float(end.max(skipna=False)) for end in ends))


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
