"""State of models and objectives that is neither parameter nor buffer, and hooks."""

import collections
import concurrent.futures
import copy
import functools
import gc
import itertools
import multiprocessing
import random
import threading
import types
import weakref

import numpy as np
import pytest
import torch
from stationarity import measure
from stationarity.chapters.ch02_what_to_measure.models import Deaf, Square, Through
from stationarity.measure import curvature
from torch import nn
from torch.nn.modules import module as globally
from torch.nn.utils import parametrizations, parametrize
from torch.utils.data import DataLoader, TensorDataset

DOUBLE = torch.float64
BATCHES = [torch.linspace(-1, i, 12, dtype=DOUBLE).view(4, 3).sin() for i in (1, 2)]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def cubes(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return (model(inputs) + 1).pow(3).mean()


def ones(model: nn.Module) -> torch.Tensor:
    return torch.ones_like(measure.parameter_vector(model))


def gradient_of(model, objective=cubes) -> torch.Tensor:
    return measure.gradient_statistics(model, objective, BATCHES).mean_gradient


def top_of(model, objective=cubes) -> torch.Tensor:
    found = measure.sharpness(model, objective, BATCHES, tol=1e-9)
    assert found.converged
    return found.eigenvalues


EVERYTHING = {
    "gradient": gradient_of,
    "sharpness": top_of,
    "directional": lambda m, f=cubes: torch.tensor(
        measure.directional_sharpness(m, f, BATCHES, ones(m))
    ),
    "loss": lambda m, f=cubes: torch.tensor(measure.mean_loss(m, f, BATCHES)),
}
everything = pytest.mark.parametrize("name", EVERYTHING)


class Stateful(nn.Module):
    """A net whose outputs are multiplied by what it remembers: 1 at first."""

    def __init__(self, remember, **attributes):
        super().__init__()
        self.inner, self.remember = net(), remember
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, inputs):
        return self.inner(inputs) * self.remember(self)


def count(model) -> int:
    model.calls += 1
    return model.calls


def append(model) -> int:
    model.memory.append(0)
    return len(model.memory)


def store(model) -> int:
    model.memory[len(model.memory)] = 0
    return len(model.memory)


def collect(model) -> int:
    model.memory.add(len(model.memory))
    return len(model.memory)


def add(model) -> torch.Tensor:
    return model.total.add_(1)


def once(model) -> float:
    if model.fresh:
        model.fresh = False
        return 1.0
    return 2.0


def nested(model) -> int:
    model.memory.setdefault("seen", []).append(0)
    return len(model.memory["seen"])


def deep(model) -> int:
    model.kept["seen"].append(0)
    return len(model.kept["seen"])


def inside(model) -> torch.Tensor:
    return model.held[0]["total"].add_(1)


def array(model) -> float:
    model.numbers += 1
    return float(model.numbers)


def wander(model) -> float:
    model.to.insert(0, model.fro.pop())
    return float(len(model.to))


def rename(model) -> float:
    was = next(iter(model.memory))
    model.memory = {was + 1: None}
    return float(was + 1)


def rekey(model) -> float:
    was, value = model.memory.popitem()
    model.memory[was + 1] = value
    return float(was + 1)


def rotate(model) -> float:
    model.memory.rotate()
    return model.memory[0]


def kept(model) -> int:
    model.memory.calls += 1
    model.memory.seen.append(0)
    return model.memory.calls * len(model.memory.seen)


def leave(model) -> float:
    mode = model.training
    model.eval()
    return 1.0 if mode else 2.0


STATES = {
    "a counter": lambda: Stateful(count, calls=0),
    "a list": lambda: Stateful(append, memory=[]),
    "a dict": lambda: Stateful(store, memory={}),
    "a set": lambda: Stateful(collect, memory=set()),
    "a dict of lists": lambda: Stateful(nested, memory={}),
    "a list in a dict": lambda: Stateful(deep, kept={"seen": []}),
    "a queue": lambda: Stateful(append, memory=collections.deque(maxlen=9)),
    "a tensor": lambda: Stateful(add, total=torch.zeros((), dtype=DOUBLE)),
    "a tensor in containers": lambda: Stateful(
        inside, held=[{"total": torch.zeros((), dtype=DOUBLE)}]
    ),
    "an array": lambda: Stateful(array, numbers=np.zeros(())),
    "a first pass": lambda: Stateful(once, fresh=True),
    "a part that wanders": lambda: Stateful(wander, fro=[None, None], to=[]),
    "a new table": lambda: Stateful(rename, memory={0: None}),
    "a key": lambda: Stateful(rekey, memory={0: None}),
    "an order": lambda: Stateful(rotate, memory=collections.deque([2.0, 3.0, 1.0])),
    "a mode": lambda: Stateful(leave),
    "an object": lambda: Stateful(kept, memory=types.SimpleNamespace(calls=0, seen=[])),
}


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("kind", STATES)
@everything
def test_every_batch_begins_from_the_same_state(name, kind, keeps, monkeypatch):
    free = itertools.chain([100], itertools.repeat(60 * keeps))
    monkeypatch.setattr(curvature, "spare_memory", lambda device: next(free))
    model = STATES[kind]()
    before = copy.deepcopy({k: v for k, v in vars(model).items() if k[0] != "_"})
    truth = EVERYTHING[name](model.inner)
    for _ in range(2):
        torch.testing.assert_close(EVERYTHING[name](model), truth, rtol=1e-9, atol=0)
    assert {k: v for k, v in vars(model).items() if k[0] != "_"} == before
    if model.remember is leave:
        assert all(module.training for module in model.modules())


GENERATORS = {
    "PyTorch": (lambda: torch.Generator().manual_seed(3), lambda g: torch.rand(1, generator=g)),
    "PyTorch, in a list": (
        lambda: [torch.Generator().manual_seed(3)],
        lambda g: torch.rand(1, generator=g[0]),
    ),
    "NumPy": (lambda: np.random.default_rng(3), lambda g: g.random()),
    "NumPy, old": (lambda: np.random.RandomState(3), lambda g: g.random()),
    "Python": (lambda: random.Random(3), lambda g: g.random()),
}


@pytest.mark.parametrize("kind", GENERATORS)
@everything
def test_a_generator_of_the_model_is_put_back(name, kind):
    make, draw = GENERATORS[kind]
    model = Stateful(lambda model: 1 + draw(model.source), source=make())
    first = EVERYTHING[name](model)
    assert torch.equal(first, EVERYTHING[name](model))
    assert draw(model.source) == draw(make())


@pytest.mark.parametrize("kind", GENERATORS)
@everything
def test_a_generator_that_the_objective_knows_is_put_back(name, kind):
    make, draw = GENERATORS[kind]
    source = make()
    first, second = (
        EVERYTHING[name](net(), lambda model, inputs: (1 + draw(source)) * cubes(model, inputs))
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert draw(source) == draw(make())


def test_a_variable_of_an_objective_that_is_not_assigned_is_none_of_its_own():
    def made(teaches: bool):
        if teaches:
            teacher = net()
        return lambda model, inputs: teacher(inputs) if teaches else cubes(model, inputs)

    expected = measure.mean_loss(net(), cubes, BATCHES)
    assert measure.mean_loss(net(), made(False), BATCHES) == expected


def test_a_loss_whose_tensor_is_used_again_is_taken_as_it_was():
    place = torch.zeros(())
    losses = [1.0, 2.0, 3.0]
    assert measure.mean_loss(net(), lambda model, batch: place.fill_(batch), losses) == 2


class Centred(nn.Module):
    """An objective that remembers a centre of the losses it has seen."""

    def __init__(self):
        super().__init__()
        self.scale = 1.0
        self.register_buffer("centre", torch.zeros((), dtype=DOUBLE))

    def forward(self, model, inputs):
        loss = self.scale * cubes(model, inputs) - self.centre
        self.scale, self.centre = 2 * self.scale, self.centre + loss.detach()
        return loss

    def method(self, model, inputs):
        return self(model, inputs)


WAYS = (
    lambda o: o,
    lambda o: o.method,
    lambda o: functools.partial(o),
    lambda o: functools.partial(lambda o, model, inputs: o(model, inputs), o),
    lambda o: lambda model, inputs: o(model, inputs),
    lambda o: lambda model, inputs, used=o: used(model, inputs),
    lambda o: lambda model, inputs, used=[{"loss": o}]: used[0]["loss"](model, inputs),
    lambda o: Trainer(o),
    lambda o: Trainer(o).loss,
    lambda o: functools.partial(calling, losses={"main": o}),
    lambda o: vars(LATE).update(used=o) or by_name,
)


class Trainer:
    """An object of no library, with a loss."""

    def __init__(self, used):
        self.used = used

    def loss(self, model, inputs):
        return self.used(model, inputs)

    __call__ = loss


def calling(model, inputs, losses):
    return losses["main"](model, inputs)


LATE = Trainer(None)


def by_name(model, inputs):
    return called_by_name(model, inputs)


def called_by_name(model, inputs):
    return LATE.used(model, inputs)


@pytest.mark.parametrize("way", WAYS)
@everything
def test_the_state_of_an_objective_is_put_back(name, way):
    objective, model = Centred(), net()
    found = EVERYTHING[name](model, way(objective))
    torch.testing.assert_close(found, EVERYTHING[name](model), rtol=1e-9, atol=0)
    assert objective.scale == 1 and objective.centre == 0


def counting():
    calls = itertools.count(1)
    return lambda model, inputs: next(calls) * cubes(model, inputs)


def in_place():
    return lambda model, inputs: cubes(model, inputs.mul_(1.1))


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("objective", [counting, in_place])
def test_a_loss_that_is_another_when_it_is_asked_again_is_refused(
    objective, keeps, monkeypatch
):
    """What changes it lies outside the model: nothing can put it back."""
    free = itertools.chain([100], itertools.repeat(60 * keeps))
    monkeypatch.setattr(curvature, "spare_memory", lambda device: next(free))
    batches = [batch.clone() for batch in BATCHES]
    with pytest.raises(ValueError, match="gives a batch another loss when it is asked again"):
        measure.sharpness(net(), objective(), batches)


@everything
def test_hooks_change_no_measurement_and_stay(name):
    calls, model = [], net()
    model[0].weight.register_hook(lambda slope: calls.append("weight") or 3 * slope)
    model[2].bias.register_hook(lambda slope: calls.append("bias") or slope.clamp(-1e-9, 1e-9))
    model[2].register_full_backward_hook(lambda m, i, o: calls.append("module") or (2 * i[0],))
    model[0].register_full_backward_pre_hook(lambda m, o: calls.append("before") or (2 * o[0],))
    assert torch.equal(EVERYTHING[name](model), EVERYTHING[name](net()))
    assert not calls
    cubes(model, BATCHES[0]).backward()
    assert sorted(calls) == ["before", "bias", "module", "weight"]


def hooks_of(model) -> list[dict]:
    """What holds hooks: of the modules, the parameters, and all modules there are."""
    known = [vars(globally), *map(vars, model.modules())]
    found = [dict(v) for table in known for k, v in sorted(table.items()) if "_hooks" in k]
    names = "_backward_hooks", "_post_accumulate_grad_hooks"
    return found + [dict(getattr(p, n) or {}) for p in model.parameters() for n in names]


SET = {
    "a parameter's": lambda layer: layer.weight.register_hook(lambda slope: 2 * slope),
    "a parameter's, once it has its gradient": lambda layer: (
        layer.weight.register_post_accumulate_grad_hook(lambda p: p.data.add_(1))
    ),
    "a module's": lambda layer: layer.register_full_backward_hook(
        lambda layer, into, out: (2 * into[0],)
    ),
    "a module's, before": lambda layer: layer.register_full_backward_pre_hook(
        lambda layer, out: (2 * out[0],)
    ),
    "a module's, forward": lambda layer: layer.register_forward_hook(lambda *_: None),
    "all modules'": lambda layer: globally.register_module_full_backward_hook(
        lambda layer, into, out: (2 * out[0],) if into[0] is not None else None
    ),
    "all modules', forward": lambda layer: globally.register_module_forward_hook(
        lambda *_: None
    ),
}


@pytest.mark.parametrize("of", SET)
@pytest.mark.parametrize("late", [False, True])
@everything
def test_hooks_that_a_forward_pass_sets_change_nothing_and_do_not_stay(name, late, of):
    def objective(model, inputs):
        inputs = inputs.clone().requires_grad_()
        handles.append(None if late else SET[of](model[2]))
        loss = cubes(model, inputs)
        handles.append(SET[of](model[2]) if late else None)
        return loss

    model, handles = net(), []
    model[0].weight.register_hook(lambda slope: 3 * slope)
    before = hooks_of(model)
    assert torch.equal(EVERYTHING[name](model, objective), EVERYTHING[name](net()))
    assert hooks_of(model) == before
    for handle in filter(None, handles):
        handle.remove()
    assert hooks_of(model) == before


@everything
def test_hooks_of_hidden_states_change_no_measurement(name):
    def objective(model, inputs):
        hidden = model[:2](inputs)
        if hidden.requires_grad:
            hidden.register_hook(lambda slope: slope.clamp(-1e-3, 1e-3)).remove()
            hidden.register_hook(lambda slope: slope.clamp(-1e-3, 1e-3))
        return cubes(model[2], hidden)

    assert torch.equal(EVERYTHING[name](net(), objective), EVERYTHING[name](net()))


class Same(torch.autograd.Function):
    """A function that is its own derivative's graph: nothing lacks."""

    @staticmethod
    def forward(context, x):
        return x.clone()

    @staticmethod
    def backward(context, slope):
        return slope.clone()


class Rounded(Same):
    """A step, whose derivative is zero."""

    @staticmethod
    def backward(context, slope):
        return torch.zeros_like(slope)


@pytest.mark.parametrize("kind", [Deaf, Square])
@pytest.mark.parametrize(
    "function",
    [
        lambda f, a, b, x: b(f(a(x))),
        lambda f, a, b, x: b(f(a(x)).tanh()),
        lambda f, a, b, x: f(b(a(x).tanh())),
        lambda f, a, b, x: a(x).sum() + f(b(a(x).tanh())),
    ],
)
@pytest.mark.parametrize("loss", [torch.mean, lambda y: (y + 1).pow(3).mean()])
def test_a_derivative_without_a_graph_is_refused_wherever_it_is(function, kind, loss):
    layers = [nn.Linear(3, 4), nn.Linear(4, 2)]
    model = Through(lambda a, b, x: function(kind.apply, a, b, x), *layers).double()
    for name in ("sharpness", "directional"):
        with pytest.raises(ValueError, match="lacks a derivative: write it"):
            EVERYTHING[name](model, lambda model, x: loss(model(x)))


@pytest.mark.parametrize("loss", [torch.mean, lambda y: (y + 1).pow(3).mean()])
def test_a_function_with_its_whole_derivative_is_measured(loss):
    layers = net()
    truth = top_of(layers, lambda model, x: loss(model(x)))
    for end in (Same.apply, lambda y: y + Rounded.apply(y).detach() - y.detach()):
        model = Through(lambda net, x, end=end: end(net(x)), layers)
        if end is Same.apply:
            found = top_of(model, lambda model, x: loss(model(x)))
            torch.testing.assert_close(found, truth, rtol=1e-9, atol=0)
    model = Through(lambda net, x: net(x) + Rounded.apply(net(x)), layers)
    assert top_of(model, lambda model, x: model(x).pow(3).mean()).isfinite().all()


class SquaredError(torch.autograd.Function):
    """It has its whole derivative, whatever its name."""

    @staticmethod
    def forward(context, x):
        context.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(context, slope):
        return 2 * context.saved_tensors[0] * slope


def test_functions_that_are_whole_are_not_refused():
    model = net()
    squared = Through(lambda layers, x: SquaredError.apply(layers(x)), model)
    truth = top_of(model, lambda model, x: model(x).square().mean())
    found = top_of(squared, lambda model, x: model(x).mean())
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=0)


def test_measurements_in_several_threads_leave_nothing_set_aside():
    from torch._dynamo import eval_frame  # which an optimizer imports, too

    before = torch.Tensor.register_hook, torch.autocast.__enter__
    models, together = [net() for _ in range(3)], threading.Barrier(3)

    def measured(model):
        together.wait()
        return [EVERYTHING["gradient"](model) for _ in range(5)][-1]

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = list(pool.map(measured, models))
    assert (torch.Tensor.register_hook, torch.autocast.__enter__) == before
    assert eval_frame._stance.stance == "default"
    for one in found:
        torch.testing.assert_close(one, EVERYTHING["gradient"](net()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: x.mean()[None].to_sparse(),
        lambda x: torch.nested.nested_tensor([x.mean()[None]]),
    ],
)
def test_a_loss_of_another_layout_is_no_number(loss):
    for function in EVERYTHING.values():
        with pytest.raises(ValueError, match="must return its loss, a scalar tensor"):
            function(net(), lambda model, inputs: loss(model(inputs)))


def test_a_process_that_is_forked_while_a_thread_measures_can_measure():
    inside, go_on = threading.Event(), threading.Event()

    def slow(model, inputs):
        inside.set()
        go_on.wait()
        return cubes(model, inputs)

    measuring = threading.Thread(target=EVERYTHING["loss"], args=(net(), slow))
    measuring.start()
    inside.wait()
    child = multiprocessing.get_context("fork").Process(
        target=EVERYTHING["loss"], args=(net(), cubes)
    )
    child.start()
    child.join(30)
    go_on.set()
    measuring.join()
    assert child.exitcode == 0


def test_a_seed_of_any_size_is_taken():
    first, again = (
        measure.sharpness(net(), cubes, BATCHES, seed=seed) for seed in (np.int64(3), 2**64 + 3)
    )
    assert torch.equal(first.eigenvalues, again.eigenvalues)


class Auxiliary(torch.autograd.Function):
    """Adds a loss by its gradient, as routers of experts do: with each product again."""

    @staticmethod
    def forward(context, x, loss):
        context.save_for_backward(loss)
        return x.clone()

    @staticmethod
    def backward(context, slope):
        (loss,) = context.saved_tensors
        return slope, 1 + 0 * loss if slope.requires_grad else torch.ones_like(loss)


def test_a_gradient_that_is_put_in_is_refused():
    """Its product with a vector of zeros is not zero, so that rounding seems large."""
    model = Through(lambda net, x: Auxiliary.apply(net(x), net(x).square().mean()), net())
    for name in ("sharpness", "directional"):
        with pytest.raises(ValueError, match="not symmetric"):
            EVERYTHING[name](model)


class Discarding(torch.autograd.Function):
    """A checkpoint of one's own, which forgets its inputs in the backward pass."""

    @staticmethod
    def forward(context, function, x, *weights):
        context.function, context.inputs = function, [x, *weights]
        return function(x)

    @staticmethod
    def backward(context, slope):
        x, *weights = context.inputs
        with torch.enable_grad():
            found = torch.autograd.grad(context.function(x), weights, slope)
        del context.inputs
        return None, None, *(one.detach() for one in found)


@pytest.mark.parametrize("loss", [torch.mean, lambda y: (y + 1).pow(3).mean()])
def test_a_checkpoint_of_ones_own_around_all_is_refused(loss):
    layers = net()
    model = Through(lambda net, x: Discarding.apply(net, x, *net.parameters()), layers)
    with pytest.raises(ValueError, match="lacks a derivative"):
        top_of(model, lambda model, x: loss(model(x)))


@everything
def test_parametrisations_that_are_cached_are_computed_and_stay(name):
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 3))).double()
    truth = EVERYTHING[name](model)
    with parametrize.cached():
        assert torch.equal(EVERYTHING[name](model), truth)
        cubes(model, BATCHES[0]).backward()
    assert model[0].parametrizations.weight.original.grad.abs().sum() > 0


def test_an_objective_that_uses_up_its_graph_is_told():
    def backward(model, inputs):
        loss = cubes(model, inputs)
        loss.backward(inputs=[extra])
        return loss

    model, extra = net(), torch.ones(3, dtype=DOUBLE, requires_grad=True)
    objective = lambda model, inputs: backward(model, inputs * extra)
    with pytest.raises(ValueError, match=r"a graph is used twice: .* without calling backward"):
        gradient_of(model, objective)


def test_float16_is_refused():
    """A loss of 1e-8 has gradients of zero there."""
    model = net().half()
    for name in ("gradient", "sharpness", "directional"):
        with pytest.raises(
            ValueError, match=r"'0.weight' is float16, too coarse: measure model.float\(\)"
        ):
            EVERYTHING[name](model, lambda model, inputs: cubes(model, inputs.half()))


@pytest.mark.parametrize("length", [1e-50, 1e50, 1e300])
def test_projections_on_directions_of_any_length(length):
    model = net().float()
    batches = [batch.float() for batch in BATCHES]
    along = ones(model)[None]
    truth = measure.projected_gradients(model, cubes, batches, along)
    found = measure.projected_gradients(model, cubes, batches, length * along.double())
    torch.testing.assert_close(found, length * truth, rtol=1e-6, atol=0)


def test_directions_and_origins_as_lists_and_sparse_tensors():
    model = net()
    size = len(ones(model))
    second = torch.eye(size)[1]
    truth = measure.directional_sharpness(model, cubes, BATCHES, second)
    products = measure.projected_gradients(model, cubes, BATCHES, second[None])
    distance = (measure.parameter_vector(model) - second).norm().item()
    row = [float(index == 1) for index in range(size)]
    for along in (row, torch.tensor(row).to_sparse()):
        assert measure.directional_sharpness(model, cubes, BATCHES, along) == truth
        found = measure.projected_gradients(model, cubes, BATCHES, [row])
        torch.testing.assert_close(found, products)
        assert measure.displacement(model, along) == pytest.approx(distance)
    for wrong in (torch.ones(1), torch.ones(size, 1), ones(model)[1:]):
        with pytest.raises(ValueError, match=r"has shape \(.*\), not \("):
            measure.displacement(model, wrong)
        with pytest.raises(ValueError, match=r"has shape \(.*\), not \("):
            measure.directional_sharpness(model, cubes, BATCHES, wrong)


def test_the_shortest_direction_there_is():
    model, least = net(), 5e-324
    direction = torch.zeros_like(ones(model))
    direction[0] = least
    truth = measure.directional_sharpness(model, cubes, BATCHES, direction > 0)
    assert measure.directional_sharpness(model, cubes, BATCHES, direction) == truth


@pytest.mark.parametrize("scale", [1e160, 1e-170])
def test_gradients_that_cancel_and_whose_square_has_no_room(scale):
    def objective(model, sign):
        return sign * scale * cubes(model, BATCHES[0])

    for count in (2, 40):
        with pytest.raises(FloatingPointError, match="no square in float64"):
            measure.gradient_statistics(net(), objective, [1.0, -1.0] * (count // 2))


def test_partitions_are_drawn_one_after_the_other():
    """A shuffling loader gives two partitions, and not one twice."""
    data = TensorDataset(
        torch.randn(40, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
    )
    loader = DataLoader(data, batch_size=8, shuffle=True)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    state = torch.get_rng_state()
    found = measure.partition_statistics(model, lambda m, b: cubes(m, b[0]), [loader, loader])
    assert found.standard_error > 0 and found.loss_standard_error > 0
    assert torch.equal(torch.get_rng_state(), state)
    for wrong in ([], [loader] * 3, [(batch for batch in loader)]):
        with pytest.raises(ValueError, match="one or two, each with a length"):
            measure.partition_statistics(model, cubes, wrong)


def test_at_an_exact_stationary_point():
    for seed in range(10):
        torch.manual_seed(seed)
        inputs, targets = torch.randn(64, 5, dtype=DOUBLE), torch.randn(64, 1, dtype=DOUBLE)
        model = nn.Linear(5, 1, bias=False).double()
        model.weight.data = torch.linalg.lstsq(inputs, targets).solution.T.contiguous()

        def objective(model, rows, inputs=inputs, targets=targets):
            return (model(inputs[rows]) - targets[rows]).square().mean()

        parts = [list(torch.randperm(64).split(8)) for _ in range(2)]
        for decay in (0.0, 1e-3):
            found = measure.gradient_statistics(
                model, objective, parts[0], population=8, weight_decay=decay
            )
            assert found.gradient_norm_naive == pytest.approx(
                found.mean_gradient.norm().item(), rel=1e-6, abs=1e-30
            )
            both = measure.partition_statistics(model, objective, parts, weight_decay=decay)
            assert both.gradient_norm_naive < 1e-14


@everything
def test_a_forward_pass_of_the_caller_may_go_backward_afterwards(name):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()
    loss = cubes(model, BATCHES[0])
    EVERYTHING[name](model)
    loss.backward()


@everything
def test_what_a_forward_pass_writes_into_a_buffer_leaves_no_graph(name):
    model = Stateful(lambda model: 1.0)
    model.register_buffer("running", torch.zeros(2, dtype=DOUBLE))

    def average(model):
        model.running.mul_(0.9).add_(model.inner(BATCHES[0]).mean(0))
        return 1.0

    model.remember = average
    truth = EVERYTHING[name](model.inner)
    torch.testing.assert_close(EVERYTHING[name](model), truth, rtol=1e-9, atol=0)
    assert model.running.grad_fn is None and not model.running.requires_grad
    assert model.running.tolist() == [0, 0]


def test_graphs_of_values_that_change_unseen_are_not_kept():
    """A change of ``.data`` has no mark; that of an array, in which a tensor lies, neither."""

    def scaled(model):
        model.step += 1
        model.scale.data.fill_(1 / model.step)
        return model.scale

    def shared(model):
        model.numbers /= 2
        return torch.from_numpy(model.numbers)

    once = Stateful(scaled, step=0, scale=torch.tensor(7.0, dtype=DOUBLE))
    twice = Stateful(shared, numbers=np.array([2.0, 2.0]))
    for model in (once, twice):
        truth = top_of(model.inner)
        torch.testing.assert_close(top_of(model), truth, rtol=1e-9, atol=0)
    assert once.scale == 7 and twice.numbers.tolist() == [2, 2]


@everything
def test_a_buffer_that_a_forward_pass_tracks_is_tracked_no_longer(name):
    model = Stateful(lambda model: model.scale.requires_grad_())
    model.register_buffer("scale", torch.ones((), dtype=DOUBLE))
    assert torch.equal(EVERYTHING[name](model), EVERYTHING[name](model.inner))
    assert not model.scale.requires_grad


@everything
def test_a_teacher_that_the_objective_averages_is_as_it_was(name):
    teacher, model = net(), net()
    before = copy.deepcopy(teacher.state_dict())

    def taught(model, inputs):
        with torch.no_grad():
            for mine, other in zip(teacher.parameters(), model.parameters(), strict=True):
                mine.mul_(0.9).add_(other, alpha=0.2)
            target = teacher(inputs)
        return (model(inputs) - target).pow(4).mean()

    first = EVERYTHING[name](model, taught)
    assert torch.equal(first, EVERYTHING[name](model, taught))
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())


@everything
def test_arrays_that_cannot_be_written_are_left_alone(name):
    model = Stateful(lambda model: 1.0, table=np.broadcast_to(np.ones(1), (3,)))
    model.other = np.frombuffer(b"12345678")
    assert torch.equal(EVERYTHING[name](model), EVERYTHING[name](model.inner))


def test_a_backward_pass_that_fails_leaves_no_hook():
    class Failing(Same):
        @staticmethod
        def backward(context, slope):
            kept.append(weakref.ref(context))
            raise RuntimeError("boom")

    kept, model = [], Through(lambda net, x: Failing.apply(net(x)), net())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="boom"):
            top_of(model)
    gc.collect()
    assert [one() for one in kept] == [None, None]


def test_an_objective_that_differentiates_has_a_sharpness():
    def penalty(model, inputs):
        inputs = inputs.clone().requires_grad_()
        (slopes,) = torch.autograd.grad(model(inputs).sum(), inputs, create_graph=True)
        return slopes.square().mean()

    assert top_of(net(), penalty) > 0


def test_a_model_without_values_is_told():
    model = nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1))
    for function in EVERYTHING.values():
        with pytest.raises(ValueError, match="lazy.*: give (it|them) values"):
            function(model)


@everything
def test_forward_hooks_of_the_first_pass_do_not_stay(name):
    def add(model):
        if not model.inner[0]._forward_hooks:
            model.inner[0].register_forward_hook(lambda module, inputs, output: 2 * output)
        return 1.0

    model = Stateful(add)
    assert torch.equal(EVERYTHING[name](model), EVERYTHING[name](model))
    assert not model.inner[0]._forward_hooks


def test_a_module_in_a_list_keeps_its_buffers():
    teacher = nn.BatchNorm1d(3).double()
    model = Stateful(lambda model: model.others[0](BATCHES[0]).abs().mean().detach())
    model.others = [teacher]
    top_of(model)
    assert teacher.num_batches_tracked == 0 and (teacher.running_mean == 0).all()


@everything
def test_hooks_stay_where_measuring_is_refused(name):
    calls, model = [], nn.Sequential(nn.Linear(3, 2), nn.LazyBatchNorm1d()).double()
    model[0].weight.register_hook(calls.append)
    with pytest.raises((ValueError, RuntimeError)):
        EVERYTHING[name](model)
    model[0](BATCHES[0]).sum().backward()
    assert len(calls) == 1

    def failing(model, inputs):
        if next(asked):
            raise KeyboardInterrupt
        return cubes(model, inputs)

    model, asked = net(), itertools.count()
    model[0].weight.register_hook(calls.append)
    with pytest.raises(KeyboardInterrupt):
        EVERYTHING[name](model, failing)
    cubes(model, BATCHES[0]).backward()
    assert len(calls) == 2


@everything
def test_forward_hooks_that_remove_themselves_stay(name):
    model, calls = net(), []

    def once(module, inputs, output):
        calls.append(1)
        handle.remove()

    handle = model[0].register_forward_hook(once)
    EVERYTHING[name](model)
    assert len(calls) >= len(BATCHES) and len(model[0]._forward_hooks) == 1


@everything
def test_trainable_weights_made_in_the_forward_pass_are_refused(name):
    def grow(model):
        if not hasattr(model, "head"):
            model.head = nn.Linear(2, 2).double()
        return 1.0

    model = Stateful(grow)
    with pytest.raises(ValueError, match="forward pass changes parameters"):
        EVERYTHING[name](model)
    assert not hasattr(model, "head")


def test_recurrent_layers_do_without_cudnn_where_it_has_no_second_derivative():
    seen = []

    def forward(layer, x):
        seen.append(torch.backends.cudnn.enabled)
        return layer(x)[0]

    model = Through(forward, nn.LSTM(3, 2)).double()
    before = torch.backends.cudnn.enabled
    gradient_of(model)
    assert seen == [before] * 2
    seen.clear()
    top_of(model)
    assert set(seen) == {False} and torch.backends.cudnn.enabled == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_directions_in_half_precision(dtype):
    model = net()
    along = ones(model)
    truth = measure.directional_sharpness(model, cubes, BATCHES, along)
    found = measure.directional_sharpness(model, cubes, BATCHES, along.to(dtype))
    assert found == pytest.approx(truth, rel=1e-12)


def test_what_is_no_direction_is_told():
    model = net()
    for wrong, said in (
        (1j * ones(model), "direction is complex: pass real numbers"),
        (None, "direction must be numbers, not None"),
        ("up", "direction must be numbers, not up"),
    ):
        with pytest.raises(ValueError, match=said):
            measure.directional_sharpness(model, cubes, BATCHES, wrong)
    with pytest.raises(ValueError, match=r"directions has shape \(26,\), not \(k, 26\)"):
        measure.projected_gradients(model, cubes, BATCHES, ones(model))
    rows = [ones(model), 2 * ones(model)]
    found = measure.projected_gradients(model, cubes, BATCHES, rows)
    torch.testing.assert_close(2 * found[:, 0], found[:, 1])


def test_losses_of_several_shapes_and_of_whole_numbers():
    model, shapes = net(), iter([(), (1,), (), (1, 1)])

    def shaped(model, inputs):
        return cubes(model, inputs).reshape(next(shapes))

    for function in (gradient_of, EVERYTHING["loss"]):
        assert torch.equal(function(model, shaped), function(model))
    with pytest.raises(ValueError, match="depends on no trainable parameter"):
        top_of(model, lambda model, inputs: model(inputs).argmax())
