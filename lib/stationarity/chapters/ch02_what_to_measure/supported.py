"""Which models are measured right, case by case: the tests and the page use this list.

Source: our section "What to measure".
"""

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, parametrizations, vector_to_parameters

from ... import measure
from .models import (
    Deaf,
    Saving,
    Scaled,
    Square,
    Through,
    adapted,
    attention,
    cast,
    checkpointed,
    clamping,
    complex_layer,
    counting,
    expanded,
    hooked,
    net,
    of_half_precision,
    recurrent,
    replaying,
    spectral,
    tied,
    traced,
    written_out,
)

DENSE, DIFFERENCES = "dense autograd", "finite differences"
STEP, TOLERANCE = 1e-5, 1e-6  # of differences; relative error that still counts as right
CURVATURES = ("sharpness", "directional")
ALL = ("gradient", *CURVATURES)


@dataclass(frozen=True)
class Case:
    """A layer or wrapper in a small model, how its truth is known, and what is not right."""

    name: str
    build: Callable[[], nn.Module]
    how: str = DENSE
    refused: tuple[str, ...] = ()  # of ALL
    unseen: tuple[str, ...] = ()  # of ALL: wrong, and nothing tells it
    shape: tuple[int, ...] = (5, 3)  # of the inputs
    tokens: bool = False  # whether these are whole numbers below 4
    training: bool = True
    measured: Callable = contextlib.nullcontext  # the context in which it is measured
    end: Callable[[Tensor], Tensor] = torch.positive  # what the objective does to its loss
    twin: Callable[[], nn.Module] | None = None  # has the same values, and tells the truth

    def model(self, build: Callable | None = None) -> nn.Module:
        torch.manual_seed(0)
        return (build or self.build)().double().train(self.training)

    def inputs(self) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        if self.tokens:
            return torch.randint(0, 4, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64)


TEXT = {"shape": (2, 3), "tokens": True}
IMAGE = {"shape": (4, 1, 4, 4)}
CASES = (
    Case("Linear, tanh", net),
    Case("ReLU", lambda: net(nn.Linear(4, 4), nn.ReLU())),
    Case("GELU", lambda: net(nn.GELU())),
    Case(
        "Conv2d, MaxPool2d",
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()),
        **IMAGE,
    ),
    Case("LayerNorm", lambda: net(nn.LayerNorm(4)), DIFFERENCES),  # torch.func has it wrong
    Case("GroupNorm", lambda: net(nn.GroupNorm(2, 4))),
    Case("BatchNorm1d, training", lambda: net(nn.BatchNorm1d(4)), DIFFERENCES),
    Case("BatchNorm1d, evaluation", lambda: net(nn.BatchNorm1d(4)), training=False),
    Case("Dropout, training", lambda: net(nn.Dropout(0.5)), DIFFERENCES),
    Case("Embedding", lambda: nn.Sequential(nn.Embedding(4, 3), net()), **TEXT),
    Case(
        "Embedding, sparse gradients",
        lambda: nn.Sequential(nn.Embedding(4, 3, sparse=True), net()),
        DIFFERENCES,
        **TEXT,
    ),
    Case(
        "EmbeddingBag",
        lambda: nn.Sequential(nn.EmbeddingBag(4, 3), net()),
        DIFFERENCES,
        CURVATURES,
        **TEXT,
    ),
    Case("RNN", lambda: recurrent(nn.RNN), DIFFERENCES, shape=(2, 3, 3)),
    Case("GRU", lambda: recurrent(nn.GRU), DIFFERENCES, shape=(2, 3, 3)),
    Case("LSTM", lambda: recurrent(nn.LSTM), DIFFERENCES, shape=(2, 3, 3)),
    Case("MultiheadAttention", attention, shape=(2, 3, 4)),
    Case("weights used twice", tied),
    Case("frozen layers", adapted),
    Case("a parameter without a dimension", lambda: net(Scaled())),
    Case("spectral_norm, evaluation", spectral, DIFFERENCES, training=False),
    Case("spectral_norm, training", spectral, DIFFERENCES, unseen=ALL),
    Case(
        "weight_norm",
        lambda: net(parametrizations.weight_norm(nn.Linear(4, 4))),
        DIFFERENCES,
        CURVATURES,
    ),
    Case("weight_norm, written out", lambda: Through(written_out, nn.Linear(3, 2))),
    Case("checkpoint", lambda: checkpointed(False), DIFFERENCES),
    Case(
        "checkpoint, re-entrant",
        lambda: checkpointed(True),
        DIFFERENCES,
        twin=lambda: checkpointed(False),
    ),
    Case("torch.compile", lambda: torch.compile(net(), backend="aot_eager"), twin=net),
    Case("torch.jit.trace", traced, twin=net),
    Case(
        "a Function that is differentiable once",
        lambda: Through(lambda layer, x: Square.apply(layer(x)), nn.Linear(3, 2)),
        DIFFERENCES,
        CURVATURES,
    ),
    Case(
        "a Function that hides its derivative",
        lambda: net(Through(Deaf.apply)),
        DIFFERENCES,
        CURVATURES,
    ),
    Case(
        "a Function that saves what it computed",
        lambda: net(Through(Saving.apply)),
        DIFFERENCES,
        unseen=CURVATURES,
    ),
    Case(
        "a re-entrant checkpoint of one's own",
        lambda: Through(replaying, nn.Linear(3, 4), nn.Linear(4, 2)),
        DIFFERENCES,
        ALL,
    ),
    Case("an expanded buffer", expanded),
    Case("a counter that changes the outputs", counting, twin=net),
    Case("hooks of parameters", hooked, twin=net),
    Case("float16", of_half_precision, DIFFERENCES, ALL),
    Case("autocast to float16", lambda: Through(cast, net()), DIFFERENCES, ALL),
    Case("inside inference_mode", net, measured=torch.inference_mode),
    Case("a complex parameter", complex_layer, DIFFERENCES, ALL),
    Case(
        "a forward pass that clamps weights",
        lambda: Through(clamping, nn.Linear(3, 2)),
        DIFFERENCES,
        ALL,
    ),
    Case("a loss without a graph", net, DENSE, ALL, end=torch.detach),
)


def objective(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return a loss that curves in the outputs, also where the model is linear."""
    return (model(inputs) + 1).pow(3).mean()


def by_autograd(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient (P,) and Hessian (P, P), forward over backward differentiation."""
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}

    def loss(vector: Tensor) -> Tensor:
        pieces = vector.split([p.numel() for p in named.values()])
        values = {k: v.view(p.shape) for v, (k, p) in zip(pieces, named.items())}
        return objective(lambda x: functional_call(model, values, (x,)), inputs)

    theta = parameters_to_vector(named.values())
    with sdpa_kernel(SDPBackend.MATH):
        return grad(loss)(theta), hessian(loss)(theta)


def by_differences(model: nn.Module, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return gradient by differences of losses, Hessian by those of backward gradients."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    weights = [p for p in model.parameters() if p.requires_grad]
    theta = parameters_to_vector(weights).detach()

    def at(vector: Tensor) -> tuple[Tensor, Tensor]:
        model.load_state_dict(state)
        vector_to_parameters(vector, weights)
        model.zero_grad()
        torch.manual_seed(2)
        loss = objective(model, inputs)
        loss.backward()
        slopes = [p.grad.to_dense().flatten() for p in weights]
        return loss.detach(), torch.cat(slopes)

    steps = STEP * torch.eye(len(theta), dtype=theta.dtype)
    pairs = [(at(theta + step), at(theta - step)) for step in steps]
    model.load_state_dict(state)
    model.zero_grad()
    losses, slopes = ([(a[i] - b[i]) / (2 * STEP) for a, b in pairs] for i in (0, 1))
    return torch.stack(losses), torch.stack(slopes)


def measurements(model: nn.Module, loss: Callable, inputs: Tensor) -> dict[str, Callable]:
    """Return what measures each of ``ALL``, (n,)."""
    given, along = (model, loss, [inputs]), torch.ones_like(measure.parameter_vector(model))
    return {
        "gradient": lambda: measure.gradient_statistics(*given, population=1).mean_gradient,
        "sharpness": lambda: measure.sharpness(*given, tol=1e-9).eigenvalues,
        "directional": lambda: torch.tensor([measure.directional_sharpness(*given, along)]),
    }


def truths(case: Case) -> dict[str, Tensor]:
    """Return the true value of each of ``ALL``, (n,), as the case says."""
    ways = {DENSE: by_autograd, DIFFERENCES: by_differences}
    slopes, curvature = ways[case.how](case.model(case.twin), case.inputs())
    top = torch.linalg.eigvalsh((curvature + curvature.T) / 2)[-1:]
    return {"gradient": slopes, "sharpness": top, "directional": curvature.mean(1).sum()[None]}


def outcomes(case: Case) -> dict[str, str]:
    """Measure a case and compare: a row of the table.

    Of each of ``ALL`` it says "right", "refused", or by how much it is wrong, relative to
    the largest entry of the truth; ``the error says`` what the last refusal says.
    """
    row, says, model, inputs = {"layer or wrapper": case.name}, "", case.model(), case.inputs()

    def loss(model: nn.Module, inputs: Tensor) -> Tensor:
        return case.end(objective(model, inputs))

    exact = {} if set(case.refused) == set(ALL) else truths(case)
    for name in ALL:
        torch.manual_seed(2)  # as the differences do
        try:
            with case.measured():
                measured = measurements(model, loss, inputs)[name]()
        except ValueError as error:
            row[name], says = "refused", str(error)
        else:
            apart = ((measured - exact[name]).abs().max() / exact[name].abs().max()).item()
            row[name] = "right" if apart < TOLERANCE else f"wrong by {apart:.0e}"
    return row | {"checked against": case.how if exact else "", "the error says": says}


def table() -> pd.DataFrame:
    """Return the outcomes of all cases: a few seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, of what is old
        return pd.DataFrame([outcomes(case) for case in CASES]).set_index("layer or wrapper")
