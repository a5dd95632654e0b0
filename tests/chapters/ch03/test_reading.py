"""What a training run says to the ledger, and the paper's figure beside it."""

import numpy as np
import pytest
from stationarity.chapters import levels
from stationarity.chapters.ch03_imagenet_resnet101 import figures, reading
from stationarity.errors import UsageError
from stationarity.runs import metrics, records
from stationarity.runs.settings import get


def test_the_papers_figure_is_a_run_in_three_stages():
    run = reading.figure_1()
    assert levels.stages(run) == [(0, 30), (30, 60), (60, 90)]
    assert len(levels.stage_levels(run)) == 3
    assert -0.2 < reading.settled_loss_change(run).value < 0


def test_the_stage_with_the_smallest_lower_end_counts(tmp_path):
    settings = get("imagenet_resnet").but(epochs=30, drops=(10, 20))
    squares = np.repeat([1.0, 0.04, 0.16], [11, 10, 10])
    info = {"experiment": "imagenet_resnet", "settings": settings.plain()}
    rows = [
        row
        for quantity in ("gradient_norm_squared", "regularised_gradient_norm_squared", "loss")
        for row in metrics.rows(quantity, squares, 1e-4, step=range(31), epoch=float)
    ]
    run = records.write(tmp_path, info, rows)
    assert reading.smallest_gradient_ratio(run).value == pytest.approx(0.2)
    assert reading.smallest_regularised_ratio(run).value == pytest.approx(0.2)
    assert reading.settled_loss_change(run).value == pytest.approx(0)


def test_a_loss_that_fell_nowhere_is_refused(tmp_path):
    info = {"experiment": "imagenet_resnet", "settings": get("imagenet_resnet").plain()}
    rows = metrics.rows("loss", 1 + np.arange(91.0), step=range(91), epoch=float)
    with pytest.raises(UsageError, match="fell nowhere"):
        reading.settled_loss_change(records.write(tmp_path, info, rows))


def test_the_papers_figure_is_drawn():
    curve = records.reference("zhang2022-figure1")
    validation = records.reference("zhang2022-figure1-validation")
    figure = figures.paper_figure(curve, validation)
    assert len(figure.axes) == 3 and all(axis.get_ylabel() for axis in figure.axes)
