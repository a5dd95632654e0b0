"""Figures of training runs, of the live run and of the records."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import stationarity
from stationarity.book import results
from stationarity.chapters import levels, reference, training_plots

SHORT = {
    "epochs": 15, "drops": [5, 10], "examples": 96, "batch_size": 32, "width": 4,
    "measure_every": 1, "measure_batches": 3, "sharpness_batches": 1, "sharpness_every": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A live run and two records: another seed, and one without validation data."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("results")
        patch.setattr(results, "root", lambda: folder)
        live, other = (
            stationarity.run("imagenet_resnet", settings=SHORT, seed=seed) for seed in (0, 1)
        )
        kept = results.record(other, note="another seed")
        blind = results.Record(kept, other.info | {"scale": "two-cores"})
        assert live.label == "classroom" and blind.label.startswith("two-cores ")
        blind.__dict__["metrics"] = other.metrics[other.metrics.quantity != "accuracy"]
        yield [*results.beside(live), blind]
        plt.close("all")


def titles(figure):
    return [axis.get_title() for axis in figure.axes if axis.get_title()]


@pytest.mark.parametrize(
    "draw", [training_plots.loss_and_gradient, training_plots.along_the_run]
)
def test_the_figure_of_a_run_has_its_name(draw, runs):
    figures = [draw(run) for run in runs]
    assert [titles(figure) for figure in figures] == [[run.label] for run in runs]
    assert all(axis.get_ylabel() for figure in figures for axis in figure.axes)


@pytest.mark.parametrize("late", [1.0, -2.0])
def test_a_start_that_would_hide_the_rest_is_written_and_not_drawn(late, runs):
    far, rows = results.Record(runs[1].folder, runs[1].info), runs[1].metrics.copy()
    moved = rows.quantity.isin(["gradient_norm_naive", "noise_norm"])
    rows.loc[moved, "value"] = rows.step.map(lambda step: late if step else 12345.0)
    far.__dict__["metrics"] = rows
    drawn = training_plots.loss_and_gradient(far), training_plots.along_the_run(far)
    for axes in (figure.axes[1] for figure in drawn):
        assert [text.get_text() for text in axes.texts] == ["at the start 12,300"] * (late > 0)
        assert (axes.get_ylim()[1] < 100) == (late > 0)  # else all of it is drawn
    assert not training_plots.loss_and_gradient(runs[0]).axes[1].texts


def test_the_paper_stands_beside_every_run(runs):
    figure = training_plots.naive_beside_naive(reference("zhang2022-figure1"), runs)
    lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    assert len(lines) == 1 + len(runs)
    assert all(np.isclose(np.mean(line.get_ydata()), 1, atol=0.2) for line in lines)


def test_each_share_has_its_panel(runs):
    table = levels.all_shares({run.label: run for run in runs})
    figure = training_plots.shares(table)
    assert len(figure.axes) == table.share.nunique() == 3
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == list(table.label.unique()) and len(labels) == 3 * len(runs)
    assert levels.described(runs[0]).shape == (3, 11)


def test_two_runs_share_the_landing_page(runs):
    assert len(training_plots.two_runs(runs[0], runs[1]).axes) == 4
