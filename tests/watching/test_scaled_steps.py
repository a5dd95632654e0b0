"""Steps that a gradient scaler skips are no steps."""

import pytest
import stationarity
import torch
from torch import nn

pytestmark = pytest.mark.usefixtures("one_thread")
SKIPPED = {0, 1, 7, 8, 30}  # batches whose gradients are not finite


def objective(model, batch):
    return model(batch).square().mean()


def fresh(step, count):
    return [torch.randn(8, 3) for _ in range(count)]


MAKES = {
    "SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    "fused AdamW": lambda p: torch.optim.AdamW(p, 0.01, fused=True),
}


def trained(make, watched=None):
    """Train with a scaler; return weights, learning rates of the steps taken, and the watch."""
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = make(model.parameters())
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
    scaler, watch = torch.amp.GradScaler("cpu", init_scale=2.0**10), None
    if watched:
        watch = watched(model, optimizer)
    taken = []
    for number, batch in enumerate(fresh(0, 40)):
        optimizer.zero_grad()
        loss = objective(model, batch)
        scaler.scale(loss * torch.inf if number in SKIPPED else loss).backward()
        before, rate = model.weight.detach().clone(), optimizer.param_groups[0]["lr"]
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, model.weight) == (number in SKIPPED)
        taken += [] if number in SKIPPED else [(loss.item(), rate)]
        schedule.step()
        optimizer.zero_grad()
        if watch:
            watch.step(batch, loss)
    return model.weight.detach(), taken, watch


@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES.keys())
@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_a_step_that_the_scaler_skips_is_none(tmp_path, make):
    how = {"root": tmp_path, "every": 5, "measure_batches": 4}
    begin = lambda *of: stationarity.watch(of[0], objective, of[1], fresh, **how)
    alone, _, _ = trained(make)
    weights, taken, watch = trained(make, begin)
    assert torch.equal(weights, alone)
    run, count = watch.close(), 40 - len(SKIPPED)
    for name in ("loss", "weight_square", "learning_rate"):
        assert run.series(name).step.tolist() == [*range(1, count + 1)]
    noted = zip(run.series("loss").value, run.series("learning_rate").value)
    assert [*noted] == [(pytest.approx(loss), rate) for loss, rate in taken]
    assert (run.series("update_square").value > 0).all()
    assert run.series("sharpness").step.tolist() == [1, *range(5, count + 1, 5)]
