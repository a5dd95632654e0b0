"""Second derivatives of convolutions and batch normalisations, held against PyTorch's own."""

from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from stationarity.measure import double_backward
from stationarity.measure.curvature import MeanHessian
from stationarity.measure.derivatives import parameter_vector
from stationarity.measure.state import without_trace
from torch import nn
from torch.nn import functional

NETS = {
    "strides": lambda: (nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), 2),
    "groups": lambda: (nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), 2),
    "dilation": lambda: (nn.Conv2d(2, 4, (3, 2), dilation=(2, 1)), nn.BatchNorm2d(4), 2),
    "same": lambda: (nn.Conv2d(2, 4, 3, padding="same"), nn.BatchNorm2d(4), 2),
    "1d": lambda: (nn.Conv1d(2, 4, 3, padding=1), nn.BatchNorm1d(4), 1),
    "3d": lambda: (nn.Conv3d(2, 4, 2), nn.BatchNorm3d(4), 3),
    "no weights of its own": lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, affine=False), 2),
    "evaluation": lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4).eval(), 2),
    "cumulative": lambda: (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, momentum=None), 2),
    "no statistics": lambda: (
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), 2
    ),
}  # fmt: skip
OWN = {"_ConvolutionBackward", "_BatchNormBackward"}


def made(kind: str, channels_last=False) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    first, norm, sides = NETS[kind]()
    convolution = type(first)(4, 3, 2)
    model = nn.Sequential(
        first, norm, nn.Softplus(), convolution, nn.Flatten(), nn.LazyLinear(1)
    )
    x = torch.randn(3, 2, *[6] * sides, dtype=torch.float64)
    model.double()(x)
    for p in norm.parameters():
        nn.init.normal_(p)
    if channels_last:
        model, x = (it.to(memory_format=torch.channels_last) for it in (model, x))
    return model, x


def loss(model, x):
    return model(x).square().mean()


def penalised(model, x):
    """With the squared gradient, so that a product takes third derivatives."""
    value = loss(model, x)
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = torch.autograd.grad(value, parameters, create_graph=True)
    return value + sum(slope.square().sum() for slope in slopes)


REFUSED = "no weights of its own", penalised  # a third derivative of PyTorch's own kernel


def products(model, objective, x, count=6) -> torch.Tensor:
    torch.manual_seed(1)
    with without_trace(model, objective, curvature=True) as before:
        hessian = MeanHessian(before, objective, [x])
        vectors = torch.randn(count, len(parameter_vector(model)), dtype=torch.float64)
        return torch.stack([hessian(vector, check=True) for vector in vectors])


def elementary(x, mean, var, weight, bias, training, momentum, eps):
    """A batch normalisation, of which PyTorch has a third derivative."""
    side = [-1, *[1] * (x.dim() - 2)]
    axes = [0, *range(2, x.dim())]
    if training:
        mean, var = x.mean(axes), (x - x.mean(axes, keepdim=True)).square().mean(axes)
    z = (x - mean.view(side)) / (var.view(side) + eps).sqrt()
    return z if weight is None else z * weight.view(side) + bias.view(side)


def of_pytorch(*what) -> torch.Tensor:
    changes = [] if what[1] is loss else [(functional, "batch_norm", elementary)]
    with mock.patch.object(double_backward, "changes", lambda: changes):
        return products(*what)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [(kind, one) for kind in NETS for one in (loss, penalised) if (kind, one) != REFUSED],
)
def test_products_are_those_of_pytorch(kind, objective):
    model, x = made(kind)
    expected = of_pytorch(model, objective, x)
    torch.testing.assert_close(products(model, objective, x), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("objective", [loss, penalised])
@pytest.mark.parametrize(
    "frozen", [("0.weight",), ("0.bias",), ("1.weight",), ("0.weight", "1.bias")]
)
def test_a_part_may_be_frozen(frozen, objective):
    model, x = made("strides")
    for name, p in model.named_parameters():
        p.requires_grad_(name not in frozen)
    expected = of_pytorch(model, objective, x)
    torch.testing.assert_close(products(model, objective, x), expected, rtol=1e-9, atol=1e-11)


def test_channels_may_be_last():
    model, x = made("strides", channels_last=True)
    expected = of_pytorch(model, loss, x)
    torch.testing.assert_close(products(model, loss, x), expected, rtol=1e-9, atol=1e-11)


def operations(output: torch.Tensor) -> set[str]:
    found, nodes = set(), [output.grad_fn]
    while nodes:
        node = nodes.pop()
        found.add(node.name())
        nodes += [before for before, _ in node.next_functions if before]
    return found


def test_they_are_used_while_curvature_is_measured_and_only_then():
    model, x = made("strides")
    assert not operations(model(x)) & OWN
    with without_trace(model):
        assert not operations(model(x)) & OWN
    with without_trace(model, curvature=True):
        assert operations(model(x)) >= OWN
    assert not operations(model(x)) & OWN


def test_autocast_has_its_own():
    model, x = made("strides")
    model, x = model.float(), x.float()
    with without_trace(model, curvature=True), torch.autocast("cpu", dtype=torch.bfloat16):
        assert not operations(model(x)) & OWN


@pytest.mark.parametrize(
    "through",
    [
        lambda model, x: torch.func.jvp(model, (x,), (torch.ones_like(x),))[1],
        lambda model, x: torch.func.vmap(model, randomness="same")(x[None].expand(2, *x.shape)),
    ],
)
def test_an_objective_may_transform_the_model(through):
    model, x = made("no statistics")
    objective = lambda model, x: through(model, x).square().mean()
    expected = of_pytorch(model, objective, x)
    torch.testing.assert_close(products(model, objective, x), expected, rtol=1e-9, atol=1e-11)


def test_what_pytorch_lacks_is_refused():
    model, x = made(REFUSED[0])
    with pytest.raises(ValueError, match="lacks a derivative"):
        products(model, REFUSED[1], x)


def in_many_directions(model, x):
    """With gradients of many functions at once."""
    first = next(model.parameters())
    outputs = model(x).flatten()
    how = {"is_grads_batched": True, "create_graph": True}
    (slopes,) = torch.autograd.grad(outputs, first, torch.eye(len(outputs)).to(outputs), **how)
    return loss(model, x) + slopes.square().sum()


@pytest.mark.parametrize("kind", ["strides", "groups", "1d", "evaluation", "no statistics"])
def test_many_gradients_at_once_are_differentiated(kind):
    model, x = made(kind)
    changes = [(functional, "batch_norm", elementary)]
    with mock.patch.object(double_backward, "changes", lambda: changes):
        expected = products(model, in_many_directions, x)
    found = products(model, in_many_directions, x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_many_products_at_once():
    model, x = made("strides")
    parameters = list(model.parameters())
    with without_trace(model, curvature=True):
        slopes = torch.autograd.grad(loss(model, x), parameters, create_graph=True)
        rows = [torch.randn(3, *p.shape, dtype=p.dtype) for p in parameters]
        grad = partial(torch.autograd.grad, slopes, parameters, retain_graph=True)
        many = grad(rows, is_grads_batched=True)
        single = zip(*(grad([row[i] for row in rows]) for i in range(3)))
        for one, expected in zip(many, single, strict=True):
            torch.testing.assert_close(one, torch.stack(expected))


class Silent(torch.autograd.Function):
    """Whose backward says that nothing depends on its input."""

    forward = staticmethod(lambda ctx, x: x.clone())
    backward = staticmethod(lambda ctx, g: None)


def test_slopes_that_nothing_depends_on():
    def objective(model, x):
        value = loss(model, x)
        slopes = torch.autograd.grad(value, list(model.parameters()), create_graph=True)
        return value + sum(Silent.apply(slope).sum() for slope in slopes)

    model, x = made("strides")
    expected = of_pytorch(model, loss, x)
    torch.testing.assert_close(products(model, objective, x), expected, rtol=1e-9, atol=1e-11)


def test_arguments_are_named_as_those_of_pytorch():
    x, weight = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 2, 2, requires_grad=True)
    gain = torch.ones(3, requires_grad=True)
    known = lambda: {"running_mean": torch.zeros(3), "running_var": torch.ones(3)}
    calls = [
        lambda: functional.conv2d(input=x, weight=weight, stride=(2,), padding=np.int64(1)),
        lambda: functional.conv2d(x, weight, None, 1, 1, groups=1),
        lambda: functional.batch_norm(
            input=x, **known(), weight=gain, bias=gain, training=True
        ),
        lambda: functional.batch_norm(x, None, None, gain, gain, True, 0.1, eps=1e-3),
        lambda: functional.batch_norm(x, **known(), weight=gain, bias=gain),
    ]
    plain = [call() for call in calls]
    with without_trace(nn.Linear(1, 1), curvature=True):
        ours = [call() for call in calls]
    torch.testing.assert_close(ours, plain)
    assert [bool(operations(one) & OWN) for one in ours] == [True] * 4 + [False]


@pytest.mark.parametrize(
    ("channels", "eps"),
    [((3, 3, 4096, 4096), 1e-5), ((4096, 4096, 3, 3), 1e-5), ((3,) * 4, 0.0)],
)
def test_what_pytorch_refuses_of_a_batch_normalisation(channels, eps):
    mean, var, weight, bias = map(torch.ones, channels)
    given = torch.randn(2, 3, 2, 2), mean, var, weight.requires_grad_(), bias, True, 0.1, eps
    with (
        without_trace(nn.Linear(1, 1), curvature=True),
        pytest.raises((RuntimeError, ValueError)),
    ):
        functional.batch_norm(*given)


def standardised(x, weight, *rest, plain=torch.conv2d):
    return plain(x, weight - weight.mean((1, 2, 3), keepdim=True), *rest)


class Standardises(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, arguments=(), named=None):
        if function is torch.conv2d:
            function = standardised
        return function(*arguments, **(named or {}))


@pytest.mark.parametrize(
    "way", [Standardises, partial(mock.patch.object, functional, "conv2d", standardised)]
)
def test_what_others_put_in_their_place_stays(way):
    model, x = made("strides")
    with way():
        expected = of_pytorch(model, loss, x)
        found = products(model, loss, x)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(found, products(model, loss, x), rtol=1e-3)


def test_a_single_value_a_channel_is_refused_as_pytorch_does():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with (
        without_trace(model, curvature=True),
        pytest.raises(ValueError, match="more than 1 value"),
    ):
        model(torch.ones(1, 3))
    with without_trace(model, curvature=True), pytest.raises(RuntimeError, match="channels"):
        functional.conv2d(torch.ones(1, 3, 4, 4), torch.ones(2, 2, 1, 1, requires_grad=True))
