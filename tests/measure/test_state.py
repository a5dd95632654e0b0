"""State of models and objectives that is neither parameter nor buffer, and hooks."""

import itertools

import pytest
import torch
from stationarity import measure
from stationarity.chapters.ch02_what_to_measure.models import Deaf, Square, Through
from stationarity.measure import curvature
from torch import nn
from torch.nn.utils import parametrizations, parametrize

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


def leave(model) -> float:
    mode = model.training
    model.eval()
    return 1.0 if mode else 2.0


STATES = {
    "a counter": lambda: Stateful(count, calls=0),
    "a list": lambda: Stateful(append, memory=[]),
    "a dict": lambda: Stateful(store, memory={}),
    "a set": lambda: Stateful(collect, memory=set()),
    "a tensor": lambda: Stateful(add, total=torch.zeros((), dtype=DOUBLE)),
    "a first pass": lambda: Stateful(once, fresh=True),
    "a mode": lambda: Stateful(leave),
}


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("kind", STATES)
@everything
def test_every_batch_begins_from_the_same_state(name, kind, keeps, monkeypatch):
    free = itertools.chain([100], itertools.repeat(60 * keeps))
    monkeypatch.setattr(curvature, "spare_memory", lambda device: next(free))
    model = STATES[kind]()
    before = {k: v.clone() if k == "total" else v for k, v in vars(model).items()}
    truth = EVERYTHING[name](model.inner)
    for _ in range(2):
        torch.testing.assert_close(EVERYTHING[name](model), truth, rtol=1e-9, atol=0)
    assert vars(model) == before and not getattr(model, "memory", None)
    if model.remember is leave:
        assert all(module.training for module in model.modules())


@everything
def test_a_generator_of_the_model_is_put_back(name):
    def draw(model):
        return 1 + torch.rand((), generator=model.source, dtype=DOUBLE)

    model = Stateful(draw, source=torch.Generator().manual_seed(3))
    first = EVERYTHING[name](model)
    assert torch.equal(first, EVERYTHING[name](model))
    fresh = torch.rand((), generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.rand((), generator=model.source), fresh)


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


@pytest.mark.parametrize("way", [lambda o: o, lambda o: o.method])
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


@pytest.mark.parametrize("objective", [counting, in_place])
def test_a_loss_that_is_another_when_it_is_asked_again_is_refused(objective, monkeypatch):
    """What changes it lies outside the model: nothing can put it back."""
    monkeypatch.setattr(curvature, "spare_memory", lambda device: 0)
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


def test_a_graph_that_stays_between_calls_is_named():
    model = nn.Sequential(parametrizations.orthogonal(nn.Linear(3, 3))).double()
    with parametrize.cached(), pytest.raises(ValueError, match=r"in parametrize.cached\(\)"):
        gradient_of(model)


def test_float16_is_refused():
    """A loss of 1e-8 has gradients of zero there."""
    model = net().half()
    for name in ("gradient", "sharpness", "directional"):
        with pytest.raises(ValueError, match=r"'0.weight' is float16.*measure model.float\(\)"):
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
    truth = measure.directional_sharpness(model, cubes, BATCHES, torch.eye(size)[1])
    row = [float(index == 1) for index in range(size)]
    for along in (row, torch.tensor(row).to_sparse()):
        assert measure.directional_sharpness(model, cubes, BATCHES, along) == truth
        found = measure.projected_gradients(model, cubes, BATCHES, [row])
        assert found[:, 0].tolist() == pytest.approx(
            [
                g.item()
                for g in measure.projected_gradients(
                    model, cubes, BATCHES, torch.eye(size)[1:2]
                )
            ]
        )
        assert measure.displacement(model, along) > 0
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
