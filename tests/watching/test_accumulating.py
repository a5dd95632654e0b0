"""Steps that add up the gradients of several backward passes, with and without word of it."""

import pytest
import stationarity
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")


class Accumulating:
    """A training whose steps add up ``passes`` minibatches, noted after a step or minibatch."""

    def __init__(self, root, passes=3, noted="steps", set_to_none=True, steps=40, **how):
        self.model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(self.model.parameters(), 1e-3)
        fit = lambda model, x: model(x).square().mean()
        self.draws = lambda step, count: [torch.randn(8, 3) for _ in range(count)]
        how = {"root": root, "every": 4, "measure_batches": 4, "sharpness": False} | how
        with stationarity.watch(self.model, fit, optimizer, self.draws, **how) as self.watch:
            for number, batch in enumerate(self.draws(0, passes * steps), 1):
                loss = fit(self.model, batch)
                (loss / passes).backward()
                if number % passes == 0:
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=set_to_none)
                if number % passes == 0 or noted == "minibatches":
                    self.watch.step(batch, loss)

    @property
    def larger(self) -> dict:
        return {one["key"]: one for one in self.watch.report()["answers"]}["batch"]


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("noted", ["steps", "minibatches"])
def test_passes_that_are_added_up_and_not_told_of_are_noticed(tmp_path, noted, set_to_none):
    with pytest.warns(UserWarning) as told:
        one = Accumulating(tmp_path, noted=noted, set_to_none=set_to_none)
    (said,) = [str(each.message) for each in told if each.category is UserWarning]
    assert "of 3 backward passes, and accumulate=1: give accumulate=3 if" in said
    assert one.watch.taken == 40 and all(not p._backward_hooks for p in one.model.parameters())
    found = one.larger
    assert found["verdict"] == "cannot be judged" and "3 backward passes" in found["why"]


@pytest.mark.parametrize("how", [{"accumulate": 3}, {"batch_size": 8}, {"passes": 1}])
def test_minibatches_that_were_told_of_are_not_warned_of(tmp_path, how):
    one = Accumulating(tmp_path, **how)
    told = one.watch.run.info["watch"]
    assert "passes" not in told and told["batch_size"] == (24 if "accumulate" in how else 8)
    assert "backward passes" not in one.larger["why"]


def test_passes_whose_gradients_were_dropped_are_not_added_up(tmp_path):
    """As of a discriminator, which the generator's loss has gradients for, too."""
    model, fit = nn.Linear(3, 1), lambda model, x: model(x).square().mean()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    draws = lambda step, count: [torch.randn(8, 3) for _ in range(count)]
    with stationarity.watch(model, fit, optimizer, draws, root=tmp_path) as watch:
        for batch in draws(0, 5):
            fit(model, batch).backward()
            optimizer.zero_grad()
            fit(model, batch).backward()
            optimizer.step()
            watch.step(batch)
    assert "passes" not in watch.run.info["watch"]
