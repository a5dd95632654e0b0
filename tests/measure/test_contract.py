"""The contract of measuring, on random small nets: right, without a trace, never zero."""

import contextlib
import copy
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stationarity import measure
from stationarity.chapters.ch02_what_to_measure.models import Scaled
from stationarity.measure import curvature
from torch import nn

DOUBLE = torch.float64
WIDTH = 3
STARTS = {  # layers from a batch of 5 to (5, WIDTH), and the batch
    "linear": (lambda: [nn.Linear(2, WIDTH)], lambda: torch.randn(5, 2)),
    "conv": (
        lambda: [nn.Conv2d(1, WIDTH, 2), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()],
        lambda: torch.randn(5, 1, 3, 3),
    ),
    "embedding": (lambda: [nn.Embedding(4, WIDTH)], lambda: torch.randint(4, (5,))),
}
NEAR = {DOUBLE: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}  # the errors that dtypes allow


class Counted(nn.Module):
    """What it does depends on how often it was called."""

    calls = 0

    def forward(self, inputs):
        self.calls += 1
        return inputs * self.calls


def hooked() -> nn.Module:
    """A layer whose gradients are changed as they are computed."""
    layer = nn.Linear(WIDTH, WIDTH)
    layer.weight.register_hook(lambda slope: 5 * slope)
    layer.register_full_backward_hook(lambda layer, into, out: (2 * into[0],))
    return layer


MIDDLE = {
    "counted": Counted,
    "scaled": Scaled,
    "hooked": hooked,
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "layer": lambda: nn.LayerNorm(WIDTH),
    "batch": lambda: nn.BatchNorm1d(WIDTH),
    "group": lambda: nn.GroupNorm(1, WIDTH),
    "frozen": lambda: nn.Linear(WIDTH, WIDTH).requires_grad_(False),
}
ENDS = {
    "kept": torch.positive,
    "detached": torch.detach,
    "renewed": lambda loss: loss.detach().requires_grad_(),
    "constant": lambda loss: 0 * loss,
}
MODES = (contextlib.nullcontext, torch.no_grad, torch.inference_mode)
PROFILE = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def state_of(model: nn.Module) -> list:
    tensors = [value.detach().clone() for value in model.state_dict().values()]
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    modes = [(one, one.training, getattr(one, "calls", 0)) for one in model.modules()]
    return [tensors, grads, modes, list(model.state_dict()), torch.get_rng_state().clone()]


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first is second or first == second


def as_dtype(batch: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return batch.to(dtype) if batch.is_floating_point() else batch


def dense(model: nn.Module, objective, batches: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient and Hessian of the mean objective, entry by entry, of a copy in float64."""
    model = copy.deepcopy(model).double()  # without hooks of parameters
    for module in model.modules():
        module._backward_hooks.clear()
    weights = [p for p in model.parameters() if p.requires_grad]
    losses = []
    for batch in batches:
        for module in model.modules():
            vars(module).pop("calls", None)
        losses.append(objective(model, as_dtype(batch, DOUBLE)))
    loss = sum(losses) / len(losses)

    def row(value: torch.Tensor) -> torch.Tensor:
        how = {"create_graph": True, "materialize_grads": True}
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, weights, **how)])

    slopes = row(loss)
    return slopes.detach(), torch.stack([row(slope).detach() for slope in slopes])


@PROFILE
@given(
    start=st.sampled_from(sorted(STARTS)),
    middle=st.lists(st.sampled_from(sorted(MIDDLE)), max_size=3),
    dtype=st.sampled_from(sorted(NEAR, key=NEAR.get)),
    training=st.booleans(),
    dropout=st.booleans(),
    count=st.integers(2, 4),
    kept=st.integers(0, 4),
    end=st.sampled_from(sorted(ENDS)),
    mode=st.sampled_from(MODES),
    seed=st.integers(0, 99),
)
def test_the_contract(start, middle, dtype, training, dropout, count, kept, end, mode, seed):
    """Also with memory for so many graphs of the first derivative."""
    torch.manual_seed(seed)
    # In training its numbers are those of the caller's random state, and of the dtype.
    if training and dtype == torch.bfloat16:
        middle = [name for name in middle if name != "batch"]  # of five, it magnifies rounding
    last = [nn.Dropout(0.3)] * (dropout and (not training or dtype == DOUBLE))
    first, draw = STARTS[start]
    layers = [*first(), *(MIDDLE[name]() for name in middle), *last]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, 1)).to(dtype).train(training)
    model[0].weight.grad = torch.randn_like(model[0].weight)
    batches = [as_dtype(draw(), dtype) for _ in range(count)]

    def objective(model, batch):
        return ENDS[end]((model(batch) + 1).pow(3).mean())

    direction = torch.randn_like(measure.parameter_vector(model))
    functions = {
        "gradient": lambda: (
            measure.gradient_statistics(model, objective, batches).mean_gradient
        ),
        "partition": lambda: (
            measure.partition_statistics(model, objective, [batches]).gradient_norm_squared
        ),
        "projected": lambda: measure.projected_gradients(
            model, objective, batches, direction[None]
        ),
        "top": lambda: measure.sharpness(model, objective, batches, tol=1e-4).eigenvalues,
        "along": lambda: measure.directional_sharpness(model, objective, batches, direction),
        "loss": lambda: measure.mean_loss(model, objective, batches),
    }
    before, found = state_of(model), {}
    with mode(), mock.patch.object(curvature, "spare_memory") as spare:
        for name, function in functions.items():
            spare.side_effect = [100, *[60] * kept, *[40] * 999]
            if end in ("detached", "renewed") and name != "loss":
                with pytest.raises(ValueError, match="depends on no trainable parameter"):
                    function()
            else:
                found[name] = torch.as_tensor(function(), dtype=DOUBLE)
    assert same(before, state_of(model))
    if len(found) > 1:
        torch.set_rng_state(before[-1])
        slopes, matrix = dense(model, objective, batches)
        unit = direction.double() / direction.double().norm()
        size = matrix.norm()
        near = NEAR[dtype]
        top = torch.linalg.eigvalsh(matrix)[-1]
        assert (found["gradient"] - slopes).norm() <= near * slopes.norm()
        square, across = slopes.square().sum(), slopes @ direction.double()
        assert (found["partition"] - square).abs() <= 2 * near * square
        error = (found["projected"].mean() - across).abs()
        assert error <= near * slopes.norm() * direction.double().norm()
        assert (found["along"] - unit @ matrix @ unit).abs() <= near * size
        assert (found["top"] - top).abs().max() <= (1e-3 + near) * size
