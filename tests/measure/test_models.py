"""Models and objectives of others: measured right, or refused in a clear sentence."""

import contextlib
import math
import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
from stationarity import measure
from stationarity.chapters.ch02_what_to_measure.models import Replayed, Square, Through
from stationarity.measure import derivatives as engine
from stationarity.measure import (
    directional_sharpness,
    gradient_statistics,
    mean_loss,
    sharpness,
    subspace,
)
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import weight_norm
from torch.utils.checkpoint import checkpoint

DOUBLE = torch.float64
INPUTS = torch.linspace(-1, 1, 12, dtype=DOUBLE).view(4, 3).sin()


def cubes(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return (model(inputs) + 1).pow(3).mean()


def net(*layers: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    layers = layers or (nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    return nn.Sequential(*layers).double()


def gradient_of(model, objective=cubes, inputs=INPUTS) -> torch.Tensor:
    return gradient_statistics(model, objective, [inputs], population=1).mean_gradient


def along_ones(model, objective=cubes, inputs=INPUTS) -> float:
    direction = torch.ones_like(measure.parameter_vector(model))
    return directional_sharpness(model, objective, [inputs], direction)


def top_of(model, objective=cubes, inputs=INPUTS) -> float:
    found = sharpness(model, objective, [inputs], tol=1e-8)
    assert found.converged
    return found.eigenvalues.item()


DERIVATIVES = {"gradient": gradient_of, "sharpness": top_of, "directional": along_ones}
EVERYTHING = DERIVATIVES | {"loss": lambda m, f, b=INPUTS: mean_loss(m, f, [b])}
derivatives = pytest.mark.parametrize("name", DERIVATIVES)
everything = pytest.mark.parametrize("name", EVERYTHING)


def assert_equal(model, other) -> None:
    for function in DERIVATIVES.values():
        found, expected = function(model), function(other)
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-10)


class Function(nn.Module):
    """A net whose forward pass is a function of it and its inputs."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function, self.inner = function, net()
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, inputs):
        return self.function(self, inputs)


@everything
@pytest.mark.parametrize("guard", [torch.inference_mode, torch.no_grad])
def test_inside_a_mode_without_graphs(name, guard):
    model = net()
    outside = EVERYTHING[name](model, cubes)
    with guard():
        inside = EVERYTHING[name](model, cubes)
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)
    assert not torch.is_inference(INPUTS)


@derivatives
def test_batches_and_models_made_in_inference_mode(name):
    model = net()
    with torch.inference_mode():
        inputs, born = INPUTS + 0, net()
        with pytest.raises(ValueError, match=r"inference_mode\(\): make it, or a clone"):
            DERIVATIVES[name](model, cubes, inputs)
        with pytest.raises(ValueError, match=r"'0.weight' was made in inference_mode"):
            DERIVATIVES[name](born, cubes, INPUTS)
        assert mean_loss(born, cubes, [inputs]) == mean_loss(model, cubes, [INPUTS])


@pytest.mark.parametrize("starts", [False, True])
def test_reentrant_checkpoints_in_front_of_which_nothing_is_trained(starts):
    """What they hold is measured, with gradients of their inputs or without."""
    plain = net()
    plain[0].requires_grad_(False)

    def forward(model, inputs):
        frozen, *trained = model.inner
        hidden = frozen(inputs).requires_grad_(starts)
        return checkpoint(nn.Sequential(*trained), hidden, use_reentrant=True)

    model = Function(forward)
    model.inner[0].requires_grad_(False)
    assert_equal(model, plain)
    model.inner[0].requires_grad_(True)
    model.function = lambda model, inputs: checkpoint(model.inner, inputs, use_reentrant=True)
    assert_equal(model, net())
    head = Function(lambda model, x: model.head(forward(model, x)), head=nn.Linear(2, 2))
    head.double().inner[0].requires_grad_(False)
    assert gradient_of(head)[: 4 * 2 + 2].abs().min() > 0


@derivatives
@pytest.mark.parametrize(
    "objective",
    [
        torch.no_grad()(cubes),
        lambda model, inputs: cubes(model, inputs).detach(),
        lambda model, inputs: cubes(model, inputs).detach().requires_grad_(),
        lambda model, inputs: inputs.sum(),
    ],
)
def test_a_loss_without_a_graph_to_the_parameters(name, objective):
    with pytest.raises(ValueError, match="depends on no trainable parameter"):
        DERIVATIVES[name](net(), objective)


def test_a_loss_that_is_constant_stays_zero():
    model, constant = net(), lambda model, inputs: 0 * cubes(model, inputs)
    assert not gradient_of(model, constant).any()
    assert top_of(model, constant) == along_ones(model, constant) == 0


@everything
@pytest.mark.parametrize("present", [False, True])
def test_a_buffer_of_the_first_forward_pass_does_not_stay(name, present):
    def forward(model, inputs):
        seen = getattr(model, "seen", None)
        counts.append(0 if seen is None else 1)
        model.register_buffer("seen", inputs.mean(0))
        return model.inner(inputs)

    model, counts = Function(forward), []
    if present:
        model.register_buffer("seen", None)
    EVERYTHING[name](model, cubes)
    assert not any(counts) and list(model._buffers) == ["seen"] * present
    assert getattr(model, "seen", None) is None


def clamped(model, inputs):
    for weight in model.inner.parameters():
        weight.data.clamp_(-0.1, 0.1)
    return model.inner(inputs)


def replaced(model, inputs):
    model.inner[0].weight = nn.Parameter(2 * model.inner[0].weight.detach())
    return model.inner(inputs)


def averaged(model, inputs):
    model.inner[0].bias.data = model.inner[0].bias.data + 1
    return model.inner(inputs)


@everything
@pytest.mark.parametrize("forward", [clamped, replaced, averaged])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_forward_pass_that_changes_parameters_is_undone_and_refused(name, forward, frozen):
    model = Function(forward)
    model.inner[0].requires_grad_(not frozen)
    before = list(model.parameters())
    values = [p.detach().clone() for p in before]
    with pytest.raises(ValueError, match="forward pass changes parameters"):
        EVERYTHING[name](model, cubes)
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert all(map(torch.equal, before, values))


def test_weights_that_are_not_numbers_have_not_changed():
    model = net()
    model[0].bias.data.fill_(math.nan)
    assert gradient_of(model).isnan().any()
    with pytest.raises(FloatingPointError, match="not finite"):
        top_of(model)


def test_a_complex_parameter_is_refused_by_name():
    model = nn.ParameterDict({"z": torch.tensor([1.0 + 2.0j])})
    for function in DERIVATIVES.values():
        with pytest.raises(ValueError, match="'z' is complex"):
            function(model, lambda model, batch: model["z"].abs().square().sum())


class Far(nn.Parameter):
    """Lies on a device without float64."""

    device = property(lambda parameter: torch.device("mps"))


@everything
def test_a_model_on_a_device_without_float64_is_refused(name):
    model = nn.Linear(3, 2)
    model.weight, model.bias = Far(torch.ones(2, 3)), Far(torch.ones(2))
    with pytest.raises(ValueError, match="mps, which has no float64: move it to the CPU"):
        EVERYTHING[name](model, cubes)
    with pytest.raises(ValueError, match="'weight' is on mps, which has no float64: move"):
        measure.displacement(model, torch.ones(8))


def test_a_sparse_parameter_is_refused_by_name():
    model = nn.ParameterDict({"table": torch.eye(3).to_sparse()})
    for function in DERIVATIVES.values():
        with pytest.raises(ValueError, match="'table' is sparse: make it dense"):
            function(model, lambda model, batch: model["table"].to_dense().square().sum())


@everything
def test_arrays_of_objects_and_frozen_complex_values_that_are_no_numbers(name):
    model = net()
    model.lengths = np.array([np.zeros(2), np.zeros(3)], dtype=object)
    model.phase = nn.Parameter(torch.tensor(complex(math.nan, 1)), requires_grad=False)
    assert EVERYTHING[name](model, cubes) == pytest.approx(EVERYTHING[name](net(), cubes))


@derivatives
def test_an_objective_that_goes_backward_by_itself(name):
    def objective(model, inputs):
        loss = cubes(model, inputs)
        loss.backward(retain_graph=True)
        return loss

    with pytest.raises(ValueError, match="write .grad: .*objectives without one"):
        DERIVATIVES[name](net(), objective)


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_very_long_and_very_short_vectors(scale):
    model, inputs = net().float(), INPUTS.float()
    direction = torch.ones_like(measure.parameter_vector(model))
    usual = directional_sharpness(model, cubes, [inputs], direction)
    for dtype in (torch.float32, DOUBLE):
        long = directional_sharpness(model, cubes, [inputs], direction.to(dtype) * scale)
        assert long == pytest.approx(usual, rel=1e-5)

    def scaled(model, inputs):
        return scale * cubes(model, inputs)

    def ratio(function, *arguments) -> float:
        return function(model, scaled, *arguments) / function(model, cubes, *arguments) / scale

    assert ratio(along_ones, inputs) == pytest.approx(1, rel=1e-4)
    assert sharpness(model, scaled, [inputs]).eigenvalues.item() / scale == pytest.approx(
        sharpness(model, cubes, [inputs]).eigenvalues.item(), rel=1e-2
    )
    batches = [inputs + shift for shift in torch.linspace(0, 1, 40)]
    ours, theirs = (gradient_statistics(model, f, batches) for f in (scaled, cubes))
    for name in ("gradient_norm_naive", "noise_norm"):
        assert getattr(ours, name) / scale == pytest.approx(getattr(theirs, name), rel=1e-4)
    origin = measure.parameter_vector(model)
    with torch.no_grad():
        model[0].bias.copy_(torch.full((4,), scale))
        model[0].weight.zero_(), model[2].weight.zero_(), model[2].bias.zero_()
    if scale > 1:
        assert measure.displacement(model, origin) == pytest.approx(2 * scale)


def test_directions_of_another_dtype():
    model, inputs = net().float(), INPUTS.float()
    direction = torch.ones_like(measure.parameter_vector(model))
    rows = measure.projected_gradients(model, cubes, [inputs], direction[None].double())
    assert rows.item() == pytest.approx(
        gradient_of(model, inputs=inputs).sum().item(), rel=1e-5
    )


@pytest.mark.parametrize("norm", [weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, DOUBLE])
@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_second_derivative_that_pytorch_has_wrong_is_noticed(norm, dtype):
    model, inputs = net(norm(nn.Linear(3, 2))).to(dtype), INPUTS.to(dtype)
    assert gradient_of(model, inputs=inputs).isfinite().all()
    for function in (top_of, along_ones):
        with pytest.raises(ValueError, match=r"weight_norm is wrong: .* \(weight_norm as"):
            function(model, inputs=inputs)


def test_weight_norm_whose_direction_is_frozen_is_right():
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    model = net(normed)
    direction = normed.parametrizations.weight.original1.requires_grad_(False)
    unit = direction / direction.norm(dim=1, keepdim=True)
    written = Function(lambda model, x: x @ (model.size * unit).T + model.bias)
    written.inner, written.bias = nn.Identity(), nn.Parameter(normed.bias.detach().clone())
    size = normed.parametrizations.weight.original0.detach().clone()
    written.size = nn.Parameter(size)
    assert top_of(model) == pytest.approx(top_of(written), rel=1e-6)


def test_weight_norm_is_noticed_in_autocast_whose_rounding_hides_it():
    def rounded(model, inputs):
        with torch.autocast("cpu", torch.bfloat16):
            return cubes(model, inputs).float()

    model = net(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))).float()
    for function in (top_of, along_ones):
        with pytest.raises(ValueError, match="weight_norm is wrong"):
            function(model, rounded, INPUTS.float())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("wrong", "noticed"), [(0.0, False), (0.1, True)])
def test_products_that_are_not_symmetric_are_noticed_in_bfloat16_too(wrong, noticed, seed):
    torch.manual_seed(seed)
    matrix = torch.randn(20, 20)
    matrix = (matrix + matrix.T) / 2
    turned = matrix + wrong * (torch.triu(matrix, 1) - torch.tril(matrix, -1))
    product = lambda row: (turned.bfloat16() @ row.bfloat16()).float()
    first = nn.functional.normalize(torch.randn(20), dim=0)
    rows = torch.stack([first, nn.functional.normalize(product(first), dim=0)])
    images = torch.stack([product(row) for row in rows])
    refused = pytest.raises(ValueError, match="not symmetric")
    with refused if noticed else contextlib.nullcontext():
        subspace.check_symmetric(product, rows, images, torch.finfo(torch.bfloat16).eps)


def test_a_wrong_second_derivative_of_a_later_batch_and_of_little_weight_is_noticed(
    monkeypatch,
):
    """That of weight_norm, where its name is not known."""
    nodes = engine._nodes
    unnamed = lambda ends: {one for one in nodes(ends) if "WeightNorm" not in one.name()}
    monkeypatch.setattr(engine, "_nodes", unnamed)
    model = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight_g.mul_(100)  # the largest curvatures are not those of the direction
    direction = torch.zeros_like(measure.parameter_vector(model))
    direction[8:20] = 1.0  # weight_v, after the bias and weight_g
    for batches in ([torch.zeros(4, 3), INPUTS.float()], [INPUTS.float()]):
        with pytest.raises(ValueError, match="not symmetric"):
            directional_sharpness(model, cubes, batches, direction)


@everything
def test_autocast_around_a_measurement_is_left(name):
    model, inputs = net().float(), INPUTS.float()
    alone = EVERYTHING[name](model, cubes, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(
            EVERYTHING[name](model, cubes, inputs), alone, rtol=0, atol=0
        )
        assert torch.is_autocast_enabled("cpu")


def in_autocast(dtype: torch.dtype):
    def objective(model, inputs):
        with torch.autocast("cpu", dtype):
            outputs = model(inputs)
        return (outputs.float() + 1).pow(3).mean()

    return objective


@everything
def test_an_objective_may_compute_in_bfloat16_and_not_in_float16(name):
    for seed in range(8):
        torch.manual_seed(seed)
        model, inputs = (
            nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)),
            INPUTS.float(),
        )
        coarse = in_autocast(torch.bfloat16)
        if name == "sharpness":
            whole, found = (sharpness(model, f, [inputs])[0] for f in (cubes, coarse))
        else:
            whole, found = (EVERYTHING[name](model, f, inputs) for f in (cubes, coarse))
        torch.testing.assert_close(found, whole, rtol=0.1, atol=0.1)
        with pytest.raises(ValueError, match="float16 .*, too coarse .*: let it use bfloat16"):
            EVERYTHING[name](model, in_autocast(torch.float16), inputs)


def test_rounding_is_not_taken_for_a_wrong_derivative():
    """The curvature of a net that is sure of its answers is little but rounding."""
    model, inputs = net().float(), 3 * torch.randn(16, 3)
    outputs = model(inputs).detach()
    sure = (outputs[:, 0] - outputs[:, 1]).abs() > 0.2
    batch = inputs[sure], outputs[sure].argmax(1)
    for scale in (10.0, 20.0, 30.0, 40.0, 50.0):
        stretched = lambda model, batch: measure.cross_entropy(
            lambda x: scale * model(x), batch
        )
        for seed in range(3):
            found = sharpness(model, stretched, [batch], max_products=20, seed=seed)
            assert found.eigenvalues.isfinite().all()
        assert math.isfinite(along_ones(model, stretched, batch))


@everything
def test_an_expanded_buffer(name):
    model = Function(lambda model, inputs: model.inner(inputs + model.shift))
    model.register_buffer("shift", torch.zeros(1, dtype=DOUBLE).expand(3))
    found, expected = (EVERYTHING[name](m, cubes) for m in (model, net()))
    torch.testing.assert_close(found, expected)


@everything
def test_an_expanded_buffer_that_the_forward_pass_writes_is_put_back(name):
    def counted(model, inputs):
        model.seen[:1].add_(1)  # the one entry that all of it shows
        return model.inner(inputs) * model.seen[0]

    model = Function(counted)
    model.register_buffer("seen", torch.ones(1, dtype=DOUBLE).expand(3))
    first, again = (EVERYTHING[name](model, cubes) for _ in range(2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert model.seen.tolist() == [1.0] * 3


def test_sparse_gradients():
    tokens = torch.tensor([[0, 1], [1, 3]])
    embeddings = [nn.Embedding(4, 3, sparse=sparse) for sparse in (True, False)]
    models = [net(embedding, nn.Linear(3, 1)) for embedding in embeddings]
    models[1].load_state_dict(models[0].state_dict())
    for function in DERIVATIVES.values():
        found, expected = (function(model, inputs=tokens) for model in models)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("whole", [False, True])
def test_a_compiled_model_is_measured_uncompiled_and_stays_compiled(whole):
    calls = []

    def backend(graph, inputs):
        calls.append("compiled")
        return lambda *given: calls.append("run") or graph(*given)

    compiled = torch.compile(net(), backend=backend) if whole else net()
    if not whole:
        compiled[0] = torch.compile(compiled[0], backend=backend)
    compiled(INPUTS)
    before = list(calls)
    assert_equal(compiled, net())
    assert calls == before
    compiled(INPUTS)
    assert calls == [*before, "run"]


def test_another_default_device():
    found = [function(net()) for function in DERIVATIVES.values()]
    model = net()
    with torch.device("meta"):
        other = [function(model) for function in DERIVATIVES.values()]
        restarted = sharpness(model, cubes, [INPUTS], k=1, tol=1e-12, max_products=60)
        assert sharpness(model, cubes, [INPUTS], k=3).converged
    torch.testing.assert_close(other, found, rtol=0, atol=0)
    assert restarted.eigenvalues.isfinite().all()


@everything
@pytest.mark.parametrize(
    "wrap",
    [
        lambda loss: (loss, loss),
        lambda loss: {"loss": loss},
        lambda loss: type("Output", (), {"loss": loss})(),
        lambda loss: loss.item(),
        lambda loss: None,
        lambda loss: loss.expand(3),
    ],
)
def test_an_objective_that_returns_no_loss(name, wrap):
    with pytest.raises(ValueError, match="must return its loss, a scalar tensor"):
        EVERYTHING[name](net(), lambda model, inputs: wrap(cubes(model, inputs)))


def test_directional_sharpness_of_what_is_not_a_number():
    with pytest.raises(FloatingPointError, match="not finite"):
        along_ones(net(), lambda model, inputs: math.nan * cubes(model, inputs))
    direction = torch.full_like(measure.parameter_vector(net()), math.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        directional_sharpness(net(), cubes, [INPUTS], direction)


def test_mean_loss_of_an_objective_that_differentiates():
    def slopes(model, inputs, guard=contextlib.nullcontext):
        inputs = inputs.clone().requires_grad_()
        with guard():
            loss = cubes(model, inputs)
            return torch.autograd.grad(loss, inputs, create_graph=True)[0].square().sum()

    with pytest.raises(ValueError, match="differentiates: it must use torch.enable_grad"):
        mean_loss(net(), slopes, [INPUTS])
    guarded = lambda model, inputs: slopes(model, inputs, torch.enable_grad)
    found = gradient_statistics(net(), slopes, [INPUTS], population=1).loss
    assert mean_loss(net(), guarded, [INPUTS]) == pytest.approx(found)


def test_an_operation_without_a_second_derivative():
    model = net(nn.EmbeddingBag(4, 3), nn.Linear(3, 2))
    tokens = torch.tensor([[0, 1], [1, 3]])
    assert gradient_of(model, inputs=tokens).isfinite().all()
    for function in (top_of, along_ones):
        with pytest.raises(ValueError, match="write it with elementary ones"):
            function(model, inputs=tokens)


def test_a_sharded_model_is_refused(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/all", rank=0, world_size=1)
    try:
        model = fully_shard(net(), mesh=init_device_mesh("cpu", (1,)))
        for function in EVERYTHING.values():
            with pytest.raises(ValueError, match="sharded .*: measure an unsharded copy"):
                function(model, cubes)
        for function in (measure.parameter_vector, lambda m: measure.displacement(m, INPUTS)):
            with pytest.raises(ValueError, match="sharded .*: measure an unsharded copy"):
                function(model)
    finally:
        dist.destroy_process_group()


def test_parameters_of_several_dtypes():
    model, whole = net(), net()
    model[0].bfloat16().forward = lambda x, layer=model[0]: nn.functional.linear(
        x, layer.weight.double(), layer.bias.double()
    )
    whole.load_state_dict(model.state_dict())
    found, expected = gradient_of(model), gradient_of(whole)
    assert found.dtype == DOUBLE
    torch.testing.assert_close(found[-10:], expected[-10:])
    assert along_ones(model) == pytest.approx(along_ones(whole), rel=1e-2)


def two_layers(function):
    return Through(function, nn.Linear(3, 4), nn.Linear(4, 2))


def cubed(model, x):
    return (model(x) + 1).pow(3).mean()


SHORT = torch.linspace(-1, 1, 12).view(4, 3).sin()  # in float32


@pytest.mark.parametrize(
    "function",
    [lambda a, b, x: Square.apply(b(a(x).tanh())), lambda a, b, x: Square.apply(a(x))],
)
def test_an_operation_that_is_differentiable_once_is_refused(function):
    model = two_layers(function)
    for measured in (
        lambda: measure.sharpness(model, cubed, [SHORT]),
        lambda: measure.directional_sharpness(model, cubed, [SHORT], torch.ones(26)),
    ):
        with pytest.raises(ValueError, match="lacks a derivative: write it"):
            measured()
    assert measure.gradient_statistics(model, cubed, [SHORT] * 2).gradient_norm_naive > 0


def test_a_backward_pass_that_writes_gradients_is_refused_and_leaves_none():
    model = two_layers(lambda a, b, x: Replayed.apply(lambda h: b(h.tanh()), a(x)))
    kept = torch.ones(4, 3)
    model.layers[0].weight.grad = kept
    with pytest.raises(ValueError, match=r"write \.grad: use non-reentrant checkpoints"):
        measure.gradient_statistics(model, cubed, [SHORT] * 2)
    assert model.layers[0].weight.grad is kept and bool((kept == 1).all())
    assert [p.grad is None for p in model.parameters()] == [False, True, True, True]


def test_a_traced_model_is_measured_as_the_model():
    model = nn.Linear(3, 2)
    script = torch.jit.trace(model, SHORT)
    found, truth = (measure.sharpness(m, cubed, [SHORT]).eigenvalues for m in (script, model))
    assert found == pytest.approx(truth)


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
def test_a_sparse_buffer_stays_as_it_was(layout):
    model = nn.Linear(3, 2)
    model.register_buffer("mask", torch.eye(3).to_sparse(layout=layout))
    measure.mean_loss(model, cubed, [SHORT])
    assert torch.equal(model.mask.to_dense(), torch.eye(3))


@pytest.mark.parametrize("length", [1e200, 1e-170])
def test_directions_of_any_length_in_float64_and_of_whole_numbers(length):
    model = nn.Linear(3, 2)
    truth = measure.directional_sharpness(model, cubed, [SHORT], torch.ones(8))
    for along in (torch.full((8,), length, dtype=torch.float64), torch.ones(8).long()):
        found = measure.directional_sharpness(model, cubed, [SHORT], along)
        assert found == pytest.approx(truth)


def test_a_layer_that_the_first_pass_adds_is_taken_out_again():
    def add(a, b, x):
        if not hasattr(a, "late"):
            a.late = nn.Linear(4, 4).requires_grad_(False)
        return b(a(x).tanh())

    model = two_layers(add)
    measure.mean_loss(model, cubed, [SHORT])
    assert not hasattr(model.layers[0], "late")


def test_a_linear_loss_has_no_curvature():
    linear = two_layers(lambda a, b, x: a(x))
    assert measure.sharpness(linear, lambda model, x: model(x).mean(), [SHORT]).converged


@everything
def test_random_numbers_of_python_and_numpy_are_those_of_the_caller(name):
    def drawn(model, inputs):
        noise = random.random() + np.random.random()
        draws.append(noise)
        return model.inner(inputs) * noise

    model, draws = Function(drawn), []
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    EVERYTHING[name](model, cubes)
    assert random.getstate() == states[0] and (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2]) and len(set(draws)) == 1


@everything
def test_a_forward_pass_that_freezes_parameters_is_undone_and_refused(name):
    def freezing(model, inputs):
        model.inner[0].weight.requires_grad_(False)
        return model.inner(inputs)

    model = Function(freezing)
    with pytest.raises(ValueError, match="forward pass changes parameters"):
        EVERYTHING[name](model, cubes)
    assert model.inner[0].weight.requires_grad


@everything
def test_a_buffer_that_grows_in_the_forward_pass_has_its_size_again(name):
    def growing(model, inputs):
        sizes.append(len(model.seen))
        model.seen.resize_(len(model.seen) + 1).zero_()
        return model.inner(inputs)

    model, sizes = Function(growing), []
    model.register_buffer("seen", torch.ones(2))
    kept = model.seen
    EVERYTHING[name](model, cubes)
    assert model.seen is kept and kept.tolist() == [1, 1] and set(sizes) == {2}


@everything
def test_a_model_without_values_is_refused(name):
    with torch.device("meta"):
        model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match="is on the meta device: give it values"):
        EVERYTHING[name](model, cubes)


def test_directions_of_numpy():
    model = net()
    ones = np.ones(len(measure.parameter_vector(model)))
    assert directional_sharpness(model, cubes, [INPUTS], ones) == along_ones(model)
    found = measure.projected_gradients(model, cubes, [INPUTS], ones[None])
    assert found.item() == pytest.approx(gradient_of(model).sum().item())


@pytest.mark.parametrize("scale", [1e160, 1e-170])
def test_gradients_whose_square_has_no_room_in_float64(scale):
    with pytest.raises(FloatingPointError, match=r"no square in float64: multiply the obj"):
        gradient_of(net(), lambda model, inputs: scale * cubes(model, inputs))


def test_half_precision_is_measured_in_float32():
    dtype = torch.bfloat16
    model, inputs = net().to(dtype), INPUTS.to(dtype)
    whole = net().to(dtype).double()
    found = gradient_of(model, inputs=inputs)
    assert found.dtype == torch.float32 == measure.parameter_vector(model).dtype
    for function in (
        along_ones,
        lambda *a, **b: sharpness(a[0], cubes, [b["inputs"]])[0].item(),
    ):
        close = pytest.approx(function(whole, inputs=inputs.double()), rel=2e-2)
        assert function(model, inputs=inputs) == close
    assert (found - gradient_of(whole, inputs=inputs.double())).norm() < 2e-2 * found.norm()
