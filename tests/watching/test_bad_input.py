"""What cannot be watched is told in one sentence, most of it at the first step."""

import warnings
from types import SimpleNamespace

import pytest
import stationarity
import torch
from stationarity.errors import UsageError
from stationarity.watching import checks
from torch import nn
from torch.utils import data

pytestmark = pytest.mark.usefixtures("one_thread")


def objective(model, batch):
    return model(batch).square().mean()


def fresh(step, count):
    return [torch.randn(8, 2) for _ in range(count)]


class Begun:
    """A training of one linear layer that is watched, by default well."""

    def __init__(self, tmp_path, objective=objective, batches=fresh, model=None, **how):
        self.model = model or nn.Linear(2, 2)
        optimizer = how.pop("optimizer", torch.optim.SGD(self.model.parameters(), 0.1))
        how = {"root": tmp_path, "every": 1, "measure_batches": 4, "sharpness_batches": 2} | how
        self.watch = stationarity.watch(self.model, objective, optimizer, batches, **how)

    def steps(self, count=2):
        for _ in range(count):
            if self.watch.optimizer:
                self.watch.optimizer.step()  # which moves nothing: there is no gradient
            self.watch.step(loss=1.0)
        return self


def test_good_input_passes(tmp_path):
    assert Begun(tmp_path).steps().watch.close().complete


def wrong(tmp_path, said, count=2, **how):
    with pytest.raises(UsageError, match=said) as told:
        Begun(tmp_path, **how).steps(count)
    text = str(told.value)
    assert text.count(".") <= text.count("torch.") + 4 and "\n" not in text


@pytest.mark.parametrize(
    ("said", "batches"),
    [
        ("no fresh ones", [torch.randn(8, 2) for _ in range(4)]),
        ("Half the batches of one measurement are the same", [torch.ones(8, 2)] * 4),
        ("only 3 could be drawn", [torch.randn(8, 2) for _ in range(3)]),
        ("gone through only once", iter([torch.randn(8, 2)])),
        ("batches cannot be 3", 3),
        (
            "first tensor has none",
            lambda step, count: [{"x": torch.randn(())} for _ in range(count)],
        ),
    ],
)
def test_batches_that_are_not_fresh_or_too_few(tmp_path, said, batches):
    how = {}
    if "first tensor" in said:
        how["objective"] = lambda model, batch: (model.weight * batch["x"]).square().mean()
    wrong(tmp_path, said, batches=batches, **how)


class Last(nn.Module):
    """What a recurrent net says after the last of its inputs (T, B, 4)."""

    def __init__(self):
        super().__init__()
        self.net, self.head = nn.GRU(4, 8), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.net(x)[0][-1])[:, 0]


@pytest.mark.parametrize("how", [{"batch_size": 8}, {}, {"batch_size": 16}])
def test_examples_that_are_not_the_first_dimension(tmp_path, how):
    def some(step, count):
        return [(torch.randn(40, 8, 4), torch.randn(8)) for _ in range(count)]

    fit = lambda model, batch: (model(batch[0]) - batch[1]).square().mean()
    how, (batch,) = {"sharpness": False} | how, some(0, 1)
    if "batch_size" in how:
        watch = Begun(tmp_path, fit, some, Last(), **how).watch
        watch.optimizer.step()
        with pytest.raises(UsageError, match="step of 40: give measured_batch_size"):
            watch.step(batch)
    watch = Begun(tmp_path, fit, some, Last(), measured_batch_size=8, **how).watch
    watch.optimizer.step()
    watch.step(batch)
    told = watch.close().info["watch"]
    assert told["batch_size"] == how.get("batch_size", 8) and told["measured_batch_size"] == 8


def test_the_same_examples_in_another_order_are_not_fresh(tmp_path):
    labelled = torch.randn(8, 2), torch.arange(8)
    anew = lambda: (turn := torch.randperm(8), [one[turn] for one in labelled])[1]
    first = lambda model, batch: model(batch[0]).square().mean()
    some = lambda step, count: [anew() for _ in range(count)]
    wrong(tmp_path, "Half the batches.*measure_batches=1 is for", batches=some, objective=first)


@pytest.mark.parametrize("examples", [16, 20, 31, 32, 64])
def test_a_loader_of_few_examples_is_warned_of(tmp_path, examples):
    whole = data.TensorDataset(torch.randn(examples, 2))
    loader = data.DataLoader(whole, batch_size=16 if examples < 32 else 8)
    first = lambda model, batch: model(batch[0]).square().mean()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        Begun(tmp_path, first, loader).steps().watch.close()
    said = [str(one.message) for one in told if "examples" in str(one.message)]
    assert len(said) == (examples in (20, 31))
    assert all(f"has {examples} examples, a batch 16" in one for one in said)


@pytest.mark.filterwarnings("ignore:The loader for measurements has")
def test_small_batches_may_coincide_by_chance(tmp_path):
    whole = data.TensorDataset(torch.tensor([[1.0, 2.0], [3.0, 1.0], [0.5, 2.0]]))
    loader = data.DataLoader(whole, batch_size=1, shuffle=True)
    first = lambda model, batch: model(batch[0]).square().mean()
    how = {"measure_batches": 8}
    drawn = Begun(tmp_path, batches=loader, objective=first, **how).steps(3).watch.close()
    few = lambda step, count: [torch.randn(1, 2) for _ in range(count - 1)]
    twice = lambda step, count: [*(one := few(step, count)), one[0]]
    given = Begun(tmp_path, batches=twice, **how).steps(3).watch.close()
    for run in (drawn, given):
        assert run.complete and len(run.series("gradient_norm_squared")) == 3


def test_a_loader_with_persistent_workers_and_its_own_sampling(tmp_path):
    whole = data.TensorDataset(torch.randn(64, 2))
    how = {"batch_size": 8, "num_workers": 1, "persistent_workers": True}
    sampler = data.WeightedRandomSampler([1.0] * 64, 64)
    loader = data.DataLoader(whole, sampler=sampler, **how)
    wrong(tmp_path, "persistent workers", batches=loader)


def test_a_sum_instead_of_a_mean(tmp_path):
    wrong(tmp_path, "is a sum over the examples", objective=lambda m, x: m(x).square().sum())
    decay = lambda m, x: m(x).square().sum() + 2 * m.weight.square().sum()
    wrong(tmp_path, "is a sum over the examples", objective=decay)


@pytest.mark.parametrize("size", [2, 4, 8, 16, 64])
@pytest.mark.parametrize("sharper", [0.1, 1.0, 10.0])
def test_a_mean_that_compares_examples_is_no_sum(tmp_path, size, sharper):
    def contrast(model, x):
        scores = sharper * model(x) @ x.T
        return nn.functional.cross_entropy(scores, torch.arange(len(x)))

    some = lambda step, count: [torch.randn(size, 2) for _ in range(count)]
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.eye(2)
    run = Begun(tmp_path, contrast, some, model, sharpness=False).steps(1).watch.close()
    assert run.complete and run.has("gradient_norm_squared")


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ("measure_batches=2", {"measure_batches": 2}),
        ("every must be", {"every": 0}),
        ("measured_batch_size=0 must be", {"measured_batch_size": 0}),
        ("accumulate=0 must be a whole number", {"accumulate": 0}),
        ("accumulate=2.5 must be a whole number", {"accumulate": 2.5}),
        ("sharpness_batches", {"sharpness_batches": 0}),
        (
            "must be from 1 to 3, half of measure_batches=6",
            {"sharpness_batches": 4, "measure_batches": 6},
        ),
        ("cannot be a folder's", {"name": "a/b"}),
        ("cannot be a folder's", {"name": ".."}),
    ],
)
def test_numbers_and_names_that_cannot_be(tmp_path, said, how):
    wrong(tmp_path, said, **how)


def test_a_model_whose_forward_pass_changes_its_parameters(tmp_path):
    class Renormed(nn.Linear):
        def forward(self, x):
            self.weight.data /= self.weight.data.norm()
            return super().forward(x)

    with pytest.raises(ValueError, match="the forward pass changes parameters"):
        Begun(tmp_path, model=Renormed(2, 2)).steps()


def test_a_model_that_gets_other_parameters(tmp_path):
    begun = Begun(tmp_path).steps(1)
    begun.model.weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(UsageError, match="trainable parameters changed"):
        begun.steps(1)


def test_a_model_whose_parameters_are_resized(tmp_path):
    begun = Begun(tmp_path, every=100).steps(2)
    begun.model.weight.data = torch.ones(3, 2)
    with pytest.raises(UsageError, match="another shape or device"):
        begun.steps(1)


def test_parameters_that_are_not_the_optimizers(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([model.weight], 0.1)
    wrong(tmp_path, "1 of the model's 2", model=model, optimizer=optimizer)
    model.bias.requires_grad_(False)
    Begun(tmp_path, model=model, optimizer=optimizer).steps()


def test_a_rate_for_each_entry(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    optimizer.param_groups[0]["lr"] = torch.full((2, 2), 0.1)
    wrong(tmp_path, "a parameter group of its own", model=model, optimizer=optimizer)


def test_a_group_for_each_parameter_is_no_bad_input(tmp_path):
    model = nn.Linear(2, 2)
    groups = [{"params": [p], "lr": 0.1 / (n + 1)} for n, p in enumerate(model.parameters())]
    begun = Begun(tmp_path, model=model, optimizer=torch.optim.SGD(groups, 0.1)).steps()
    rates = begun.watch.close().wide("learning_rate", "index")
    assert rates.iloc[0].tolist() == [0.1, 0.05]


def test_an_unknown_optimizer_and_the_way_without_it(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.RMSprop(model.parameters(), 0.1)
    wrong(tmp_path, "RMSprop.*with optimizer=None", model=model, optimizer=optimizer)
    wrong(tmp_path, "no torch.optim.Optimizer", model=model, optimizer="sgd")
    how = torch.optim.SGD(model.parameters(), 0.1, maximize=True)
    wrong(tmp_path, "maximizes", model=model, optimizer=how)
    run = Begun(tmp_path, model=model, optimizer=None).steps(3).watch.close()
    assert run.has("sharpness") and run.has("noise_scale") and run.has("weight_square")
    assert not run.has("stable_sharpness") and not run.has("learning_rate")


def test_an_optimizer_that_takes_no_step(tmp_path):
    watch = Begun(tmp_path, every=1000).watch
    with pytest.raises(UsageError, match="took no step.*call watch.step after"):
        for _ in range(300):
            watch.step(loss=1.0)
    assert watch.taken == 0


@pytest.mark.parametrize("taken", [0, 2])
def test_another_optimizer_that_takes_over(tmp_path, taken):
    begun = Begun(tmp_path, every=1000).steps(taken)
    other = torch.optim.SGD(begun.model.parameters(), 0.1)

    def step():
        begun.model.weight.grad = torch.ones(2, 2)
        other.step()
        begun.watch.step(loss=1.0)

    for _ in range(2 + (taken == 0)):  # the first weights are not known before a call
        step()
    with pytest.raises(UsageError, match=r"moved 3 times.*begin a new watch with the one"):
        step()
    assert begun.watch.taken == taken


@pytest.mark.parametrize("loss", [torch.ones(8), [1.0, 2.0], torch.ones(0)])
def test_a_loss_of_a_step_that_is_not_one_number(tmp_path, loss):
    begun = Begun(tmp_path).steps(1)
    begun.watch.optimizer.step()
    with pytest.raises(UsageError, match=f"has {len(loss)} numbers: give the mean loss"):
        begun.watch.step(loss=loss)
    assert begun.watch.taken == 1
    begun.steps(1)


def test_a_device_without_float64():
    with pytest.raises(UsageError, match="mps, which has no float64"):
        checks.check_device(torch.device("mps"))


def test_an_optimizer_that_gets_another_group(tmp_path):
    begun = Begun(tmp_path).steps(1)
    begun.watch.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
    with pytest.raises(UsageError, match="begin a new watch"):
        begun.steps(1)


def test_a_measurement_that_fails_leaves_the_steps_as_they_are(tmp_path):
    begun, all_good = Begun(tmp_path, every=2), [True]
    draw = begun.watch.draws.make
    begun.watch.draws.make = lambda step, count: draw(step, count) if all_good[0] else []
    begun.steps(1)
    all_good[0] = False
    with pytest.raises(UsageError, match="only 0"):
        begun.steps(1)
    all_good[0] = True
    with torch.no_grad():
        begun.model.weight += 1
    begun.steps(1)
    run = begun.watch.close()
    assert run.series("update_square").value.iloc[-1] == pytest.approx(4, rel=1e-5)


def test_a_closed_watch_takes_no_step(tmp_path):
    begun = Begun(tmp_path).steps(1)
    begun.watch.close()
    with pytest.raises(UsageError, match="closed"):
        begun.steps(1)


@pytest.mark.parametrize("changed", [False, True])
def test_a_training_that_fails_is_marked_so_and_left_alone(tmp_path, changed):
    closed = []
    writer = SimpleNamespace(write=lambda *_: None, close=lambda: closed.append(True))
    begun = Begun(tmp_path, every=1000, also=[writer])
    with pytest.raises(UsageError if changed else ZeroDivisionError), begun.watch:
        begun.steps(2)
        if not changed:
            raise ZeroDivisionError
        begun.watch.flush()
        begun.model.weight = nn.Parameter(torch.ones(2, 2))
    run = begun.watch.run
    assert run.info["status"] == "interrupted" and len(run.series("loss")) == 2
    assert closed == [True] and not begun.model.bias._backward_hooks
    assert not begun.watch.optimizer._optimizer_step_post_hooks


def test_a_training_that_ended_in_nan_is_not_judged(tmp_path):
    begun = Begun(tmp_path, every=1000).steps(50)
    with pytest.raises(UsageError, match="at about step 51,"), begun.watch:
        begun.model.weight.data.fill_(torch.nan)
        begun.steps(10).watch.report()
    assert begun.watch.run.info["status"] == "diverged"


def test_weights_that_are_no_longer_finite_stop_the_measuring_and_not_the_training(tmp_path):
    begun = Begun(tmp_path).steps(2)
    begun.model.weight.data.fill_(torch.nan)
    with pytest.warns(UserWarning, match="no longer finite"):
        begun.steps(3)
    run = begun.watch.close()
    assert run.info["status"] == "diverged" and len(run.series("loss")) == 5
    assert run.series("gradient_norm_squared").step.max() == 2
