"""The Transformer-XL against formulas written out, in float64."""

import itertools
import math

import pytest
import torch
from stationarity import UsageError, measure
from stationarity.nets.transformer_xl import (
    AdaptiveVocabulary,
    TransformerXL,
    relative_attention,
    sinusoids,
)
from torch import nn

PAPER = {
    "vocabulary": 267735, "width": 410, "heads": 10, "head_width": 41, "inner_width": 2100,
    "memory": 150, "cutoffs": (20000, 40000, 200000), "dropout": 0.1,
}  # fmt: skip


def small(memory=6, spread=0.3, **changes):
    """A small net in float64 whose weights are large enough to matter."""
    torch.manual_seed(0)
    sizes = {
        "vocabulary": 30, "layers": 3, "width": 12, "heads": 3, "head_width": 5,
        "inner_width": 20, "cutoffs": (8, 17),
    }  # fmt: skip
    model = TransformerXL(memory=memory, **(sizes | changes)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=spread)
    return model


def text(*shape):
    return torch.randint(0, 30, shape, generator=torch.Generator().manual_seed(1))


def test_attention_is_the_formula_written_with_loops():
    heads, batch, length, keys, width = 2, 3, 4, 7, 5
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    q, k, v = (normal(heads, batch, n, width) for n in (length, keys, keys))
    r = normal(heads, 1, keys, width)
    u, b = (normal(heads, 1, 1, width) for _ in range(2))
    found = relative_attention(q, k, v, r, u, b)
    older = keys - length
    for h in range(heads):
        for n in range(batch):
            for i in range(length):
                scores = []
                for j in range(older + i + 1):
                    distance = older + i - j
                    of_distance = r[h, 0, keys - 1 - distance]
                    content = (q[h, n, i] + u[h, 0, 0]) @ k[h, n, j]
                    position = (q[h, n, i] + b[h, 0, 0]) @ of_distance
                    scores.append((content + position) / math.sqrt(width))
                weights = torch.stack(scores).softmax(0)
                mixed = sum(w * v[h, n, j] for j, w in enumerate(weights))
                assert torch.allclose(found[h, n, i], mixed, rtol=1e-12, atol=1e-13)


def test_sinusoids_are_of_falling_distances():
    found = sinusoids(9, 4)
    for row, distance in zip(found, range(8, -1, -1), strict=True):
        angles = torch.tensor([distance, distance / 100.0], dtype=torch.float64)
        assert torch.allclose(row, torch.cat([angles.sin(), angles.cos()]))


def test_segments_with_memory_equal_the_same_tokens_seen_at_once():
    model, tokens, targets = small(memory=12), text(2, 12), text(2, 12).flip(0)
    whole, _ = model(tokens, targets)
    memory, parts = None, []
    for part in (slice(0, 5), slice(5, 9), slice(9, 12)):
        losses, memory = model(tokens[:, part], targets[:, part], memory)
        parts.append(losses)
    assert torch.allclose(torch.cat(parts, dim=1), whole, rtol=1e-12, atol=1e-12)


def test_the_memory_holds_the_last_states_of_each_layer():
    model, tokens = small(memory=4), text(2, 9)
    embedded = model.vocabulary.embed(tokens) * math.sqrt(12)
    _, memory = model.read(tokens)
    assert memory.shape == (3, 2, 4, 12)
    assert torch.equal(memory[0], embedded[:, -4:])
    _, grown = model.read(tokens[:, :3])
    assert grown.shape == (3, 2, 3, 12)


def test_what_lies_beyond_layers_times_memory_is_forgotten():
    """With segments as long as the memory, as many of them as layers decide all."""
    model, tokens = small(memory=4), text(1, 40)

    def last(begin):
        memory = None
        for part in tokens[:, begin:].split(4, dim=1):
            states, memory = model.read(part, memory)
        return states

    assert torch.allclose(last(40 - 16), last(0), rtol=1e-13, atol=1e-13)
    assert not torch.allclose(last(40 - 12), last(0), rtol=1e-6)


def test_a_token_knows_nothing_of_later_ones():
    model, tokens = small(), text(1, 8)
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 30
    before, after = (model.read(t)[0] for t in (tokens, changed))
    assert torch.equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(dim=2).all()


def test_no_gradient_flows_through_the_memory():
    model = small()
    memory = torch.randn(3, 2, 6, 12, dtype=torch.float64, requires_grad=True)
    _, kept = model(text(2, 5), text(2, 5), memory)
    assert not kept.requires_grad
    # The gradient with a memory that the weights made is that with a constant one.
    _, made = model(text(2, 6), text(2, 6))
    losses, _ = model(text(2, 5), text(2, 5), made)
    found = torch.autograd.grad(losses.mean(), list(model.parameters()))
    constant = made.clone()
    for parameter in model.parameters():
        assert parameter.grad is None
    losses, _ = model(text(2, 5), text(2, 5), constant)
    again = torch.autograd.grad(losses.mean(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


@pytest.mark.parametrize("divisor", [1, 2])
def test_the_gradient_at_a_fixed_memory_is_that_of_finite_differences(divisor):
    model = small(spread=0.2, divisor=divisor)
    _, memory = model(text(2, 6), text(2, 6))

    def loss():
        return model(text(2, 5), text(2, 5).flip(0), memory)[0].mean()

    for parameter, slope in zip(
        model.parameters(), torch.autograd.grad(loss(), list(model.parameters())), strict=True
    ):
        direction = torch.randn_like(parameter)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-6)
                values.append(loss())
                parameter.sub_(direction, alpha=sign * 1e-6)
        difference = (values[0] - values[1]) / 2e-6
        assert torch.isclose((slope * direction).sum(), difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("cutoffs", "divisor"), [((), 1), ((8, 17), 1), ((8, 17), 2)])
def test_the_adaptive_softmax_is_the_dense_one(cutoffs, divisor):
    torch.manual_seed(0)
    vocabulary = AdaptiveVocabulary(30, 12, cutoffs, divisor).double()
    for parameter in vocabulary.parameters():
        nn.init.normal_(parameter)
    states, targets = torch.randn(40, 12, dtype=torch.float64), torch.arange(40) % 30
    # A dense computation: each token's logit in its own cluster.
    edges, table = [0, *cutoffs, 30], []
    for cluster, rows in enumerate(vocabulary.tables):
        projected = rows if rows.shape[1] == 12 else rows @ vocabulary.projections[cluster - 1]
        table.append(projected)
    assert [rows.shape[1] for rows in vocabulary.tables] == [
        12 // divisor**i for i in range(len(edges) - 1)
    ]
    logits = states @ torch.cat(table).T + vocabulary.bias
    clusters = states @ vocabulary.cluster_weight.T + vocabulary.cluster_bias
    first = torch.cat([logits[:, : edges[1]], clusters], dim=1).exp()
    dense = first[:, : edges[1]] / first.sum(1, keepdim=True)
    for i, (begin, end) in enumerate(itertools.pairwise(edges[1:])):
        inside = logits[:, begin:end].exp()
        share = first[:, edges[1] + i, None] / first.sum(1, keepdim=True)
        dense = torch.cat([dense, share * inside / inside.sum(1, keepdim=True)], dim=1)
    losses = vocabulary.losses(states, targets)
    assert torch.allclose(losses, -dense[torch.arange(40), targets].log(), rtol=1e-12)
    each = vocabulary.losses(states.repeat_interleave(30, 0), torch.arange(30).repeat(40))
    assert torch.allclose((-each).exp().view(40, 30), dense, rtol=1e-10, atol=1e-14)
    assert torch.allclose(dense.sum(1), torch.ones(40, dtype=torch.float64))
    # The embedding reads the same rows.
    assert torch.allclose(vocabulary.embed(targets), torch.cat(table)[targets])


def test_embedding_and_softmax_share_their_tensors():
    vocabulary = AdaptiveVocabulary(30, 12, (8, 17))
    assert sum(p.shape[0] == 30 or p.dim() == 2 for p in vocabulary.parameters()) == 3 + 1 + 1
    for parameter in vocabulary.parameters():
        nn.init.normal_(parameter)
    states, token = torch.randn(1, 12), torch.tensor([20])
    before = vocabulary.losses(states, token), vocabulary.embed(token)
    with torch.no_grad():
        vocabulary.tables[2][3] += 1.0
    after = vocabulary.losses(states, token), vocabulary.embed(token)
    assert torch.allclose(after[1], before[1] + 1.0)
    assert not torch.allclose(after[0], before[0])


def test_every_cluster_gets_a_gradient_whatever_the_targets():
    """Else Adam would leave out the clusters that a minibatch does not hold."""
    model, tokens = small(), torch.zeros(1, 4, dtype=torch.int64)
    model(tokens, tokens)[0].mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def count(layers):
    with torch.device("meta"):
        model = TransformerXL(layers=layers, **PAPER)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_number_of_parameters_is_that_of_the_published_sizes():
    """By hand; with 16 layers the 151 million that Dai et al. state."""
    layer = 410 * 1230 + 2 * 410 * 410 + 820 + 2 * 410 * 2100 + 2100 + 410 + 820
    shared = 267735 * 410 + 267735 + 3 * 410 + 3 + 820
    assert layer == 2_566_650
    assert count(12) == shared + 12 * layer == 140_840_938
    assert count(16) == shared + 16 * layer == 151_107_538


def second_order(divisor=1):
    model = small(layers=1, width=4, heads=2, head_width=2, inner_width=5, divisor=divisor)
    _, memory = model(text(2, 6), text(2, 6))

    def objective(model, batch):
        return model(batch[0], batch[1], memory)[0].mean()

    return model, objective, [(text(2, 5), text(2, 5).flip(0))]


@pytest.mark.parametrize("divisor", [1, 2])
def test_sharpness_is_the_top_of_the_dense_hessian(divisor):
    model, objective, batches = second_order(divisor)
    parameters = list(model.parameters())
    slopes = torch.autograd.grad(objective(model, batches[0]), parameters, create_graph=True)
    rows = [
        torch.autograd.grad(entry, parameters, retain_graph=True, materialize_grads=True)
        for slope in slopes
        for entry in slope.flatten()
    ]
    hessian = torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])
    assert torch.allclose(hessian, hessian.T, atol=1e-12)
    top = torch.linalg.eigvalsh(hessian)[-1]
    found = measure.sharpness(model, objective, batches, tol=1e-6)
    assert found.converged and torch.isclose(found.eigenvalues[0], top, rtol=1e-5)


def test_the_hessian_product_is_that_of_finite_differences():
    model, objective, batches = second_order()
    direction = torch.randn_like(measure.parameter_vector(model))
    curvature = measure.directional_sharpness(model, objective, batches, direction)
    unit, gradients = direction / direction.norm(), []
    for sign in (1, -1):
        nn.utils.vector_to_parameters(
            measure.parameter_vector(model) + sign * 1e-5 * unit, model.parameters()
        )
        loss = objective(model, batches[0])
        gradients.append(torch.autograd.grad(loss, list(model.parameters())))
        nn.utils.vector_to_parameters(
            measure.parameter_vector(model) - sign * 1e-5 * unit, model.parameters()
        )
    plus, minus = (torch.cat([g.flatten() for g in group]) for group in gradients)
    assert curvature == pytest.approx(((plus - minus) @ unit / 2e-5).item(), rel=1e-6)


def test_dropout_acts_in_training_mode_only():
    model, tokens = small(dropout=0.5), text(1, 6)
    first, second = (model.read(tokens)[0] for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model.read(tokens)[0] for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize("cutoffs", [(30,), (20, 10), (0,)])
def test_cutoffs_must_rise_within_the_vocabulary(cutoffs):
    with pytest.raises(UsageError, match="must rise within the vocabulary"):
        AdaptiveVocabulary(30, 12, cutoffs)


def test_an_odd_width_is_refused():
    with pytest.raises(UsageError, match="even, not 13"):
        small(width=13)
