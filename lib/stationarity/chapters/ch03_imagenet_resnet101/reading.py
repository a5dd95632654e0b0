"""What a training run says of its gradient and its loss, for the ledger."""

from ...runs import metrics, records
from ...runs.records import Run
from ...runs.settings import get
from ...stats.estimate import Estimate
from .. import SIZE, levels, quantity

SQUARE = "regularised_gradient_norm_squared"
# What the numbers of the paper's Figure 1 yield, too.
READ_OFF = ("gradient_left", "settled_loss_change")
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


def figure_1() -> Run:
    """Return the paper's Figure 1 as a run, for its values beside ours.

    Its gradient norm is the naive one, without decay, and stands for that of ours; its loss
    is that of one minibatch.
    """
    curve = records.reference("zhang2022-figure1")
    settings = get("imagenet_resnet", "paper").plain()  # with the stages of the figure
    info = {"experiment": "imagenet_resnet", "settings": settings}
    run = Run(records.PROJECT / "book" / "reference", info)
    squares = curve.gradient_norm**2
    # A point is the mean of its epoch: it lies in the middle of it.
    series = {"loss": curve.train_loss, "gradient_norm_squared": squares, SQUARE: squares}
    rows = metrics.common_rows(series, step=curve.epoch, epoch=lambda step: step + 0.5)
    run.__dict__["metrics"] = metrics.frame(rows)
    return run
