"""What the memory does: objectives that differ in it alone."""

import matplotlib.pyplot as plt
import pytest
import stationarity
import torch
from stationarity import measure, nets
from stationarity.chapters import training_plots
from stationarity.chapters.ch04_wikitext_transformer_xl import figures, reading
from stationarity.nets.transformer_xl import NextTokenLoss
from stationarity.runs.checkpoints import Place
from stationarity.runs.settings import get
from stationarity.train.loop import load_data

TINY = {
    "tokens": 4000, "width": 8, "heads": 2, "head_width": 4, "inner_width": 8, "segment": 8,
    "memory": 8, "batch_size": 4, "steps_per_epoch": 9, "epochs": 15, "drops": "5,10",
    "measure_batches": 3, "measure_context": 2, "sharpness_batches": 1,
    "sharpness_products": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def run():
    return stationarity.run("wikitext_transformer_xl", settings=TINY)


def test_context_beyond_the_reach_changes_nothing_and_less_does(run):
    table = reading.memory_effects(run, (0, 1, 2, 3), batches=6).set_index("objective")
    objectives = [
        "0 segments", "1 segment", "2 segments", "through the memory",
        "the gradient itself", "itself, through the memory",
    ]  # fmt: skip
    assert list(table.index) == objectives
    assert abs(table.loss_difference["2 segments"]) < 1e-6
    assert table.distance["2 segments"] < 1e-4
    assert abs(table.loss_difference["0 segments"]) > 1e-4
    assert table.loss_difference["through the memory"] == pytest.approx(0, abs=1e-7)
    assert (table.low <= table.distance).all() and (table.distance <= table.high).all()


def test_the_gradient_through_the_memory_is_that_of_finite_differences():
    chosen = get("wikitext_transformer_xl", overrides=TINY | {"precision": "float64"})
    streams = load_data(chosen, Place())
    model = nets.build(chosen, streams).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batch = next(iter(streams.draws(1, "through")))
    parameters = list(model.parameters())

    def gradient(objective):
        found = torch.autograd.grad(objective(model, batch), parameters)
        return torch.cat([g.flatten() for g in found])

    values = [reading.through_the_memory(model, batch), NextTokenLoss()(model, batch)]
    assert torch.equal(*values)
    direction = torch.randn(sum(p.numel() for p in parameters), dtype=torch.float64)
    whole, fixed = (gradient(o) for o in (reading.through_the_memory, NextTokenLoss()))
    vector, ends = measure.parameter_vector(model), []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(vector + sign * 1e-6 * direction, parameters)
        ends.append(reading.through_the_memory(model, batch).item())
    slope = (ends[0] - ends[1]) / 2e-6
    assert (whole @ direction).item() == pytest.approx(slope, rel=1e-6)
    assert abs((fixed @ direction).item() / slope - 1) > 1e-3


def test_a_run_of_a_text_has_its_figures(run):
    for draw in (
        training_plots.loss_and_gradient,
        training_plots.along_the_run,
        figures.kept_memory,
    ):
        assert all(axis.get_ylabel() for axis in draw(run).axes)
    labels = [axis.get_ylabel() for axis in training_plots.along_the_run(run).axes]
    assert labels[-1] == "perplexity"
    plt.close("all")


def test_the_effects_of_memory_stand_side_by_side(run):
    table = reading.memory_effects(run, (0, 2), batches=3)
    figure = figures.memory_effects(table)
    assert len(figure.axes) == 2 and figure.axes[0].get_yticks().tolist() == [0, 1, 2, 3]
    plt.close("all")
