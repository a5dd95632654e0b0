"""A curvature that cannot be computed is left out: training goes on, the report says why."""

import pytest
import torch
from stationarity.chapters.ch02_what_to_measure.models import Square
from stationarity.errors import UsageError
from torch import nn
from trainings import watched_training

pytestmark = pytest.mark.usefixtures("one_thread")


class Once(nn.Linear):
    def forward(self, x):
        return Square.apply(super().forward(x.float()))


def words():
    return nn.Sequential(nn.EmbeddingBag(9, 4, sparse=True), nn.Linear(4, 2))


def objective(model, x):
    return (model(x) - 1).square().mean()


def draws(step, count):
    return [torch.randint(9, (8, 5)) for _ in range(count)]


def trained(tmp_path, model, steps=80, **how):
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    how = {"root": tmp_path, "every": 8, "measure_batches": 4} | how
    return watched_training(model, objective, optimizer, draws, steps, **how)


@pytest.mark.parametrize("make", [words, lambda: Once(5, 2)], ids=["sparse", "once"])
def test_a_curvature_without_second_derivative_is_left_out_with_one_warning(tmp_path, make):
    with pytest.warns(UserWarning) as told:
        watch = trained(tmp_path, make())
    (said,) = [str(one.message) for one in told if "curvature" in str(one.message)]
    assert "lacks a derivative" in said and "left out" in said
    run = watch.run
    assert run.complete and len(run.series("loss")) == 80 and not run.has("sharpness")
    assert len(run.series("noise_norm")) == 11
    assert "lacks a derivative" in run.info["watch"]["sharpness"]
    found = {one["key"]: one for one in watch.report()["answers"]}["edge"]
    assert found["verdict"] == "cannot be judged"
    assert "The sharpness was left out: an operation lacks a derivative" in found["why"]


def test_a_curvature_that_was_asked_for_is_an_error_with_the_way_on(tmp_path):
    with pytest.raises(UsageError, match=r"lacks a derivative.*give sharpness=False"):
        trained(tmp_path, words(), steps=2, sharpness=True)
    run = trained(tmp_path, words(), steps=2, sharpness=False).run
    assert run.complete and not run.has("sharpness")


def test_where_the_gradient_fails_nothing_is_left_out(tmp_path):
    class Broken(nn.Linear):
        def forward(self, x):
            if torch.is_grad_enabled() and self.training:
                self.calls += 1
            if self.calls > 1:
                raise RuntimeError("no gradient today")
            return super().forward(x.float())

    model = Broken(5, 2)
    model.calls = 0
    with pytest.raises(RuntimeError, match="no gradient today"):
        trained(tmp_path, model, steps=1)
