"""The loss of the next token on streams of a text: its memory, its gradient, its draws."""

import pytest
import torch
from stationarity import data, measure
from stationarity.nets.transformer_xl import NextTokenLoss, TransformerXL, remember
from torch import nn


def in_float64(tokens=4000):
    """A small net whose weights are large enough to matter, and a text."""
    streams = data.load_text(
        "python-reference",
        batch_size=4,
        segment=8,
        context=2,
        tokens=tokens,
        dtype=torch.float64,
    )
    torch.manual_seed(0)
    model = TransformerXL(
        len(streams.vocabulary),
        layers=2,
        width=8,
        heads=2,
        head_width=4,
        inner_width=8,
        memory=8,
    ).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model, streams


def test_enough_context_makes_the_memory_of_the_whole_stream():
    """With as many segments of context as layers nothing older is left in the memory."""
    model, streams = in_float64()
    memory = None
    for tokens, _, _ in streams.training_batches(0, 7):
        if memory is None:
            memory = remember(model, tokens, 8)
        else:
            memory = model.read(tokens, memory)[1].detach()
    rows = torch.cat([t for t, _, _ in streams.training_batches(5, 7)], dim=1)
    assert torch.allclose(remember(model, rows, 8), memory, rtol=1e-12, atol=1e-13)
    assert not torch.allclose(remember(model, rows[:, 8:], 8), memory, rtol=1e-6)


def test_batches_in_order_go_on_with_the_memory_of_the_last():
    """Bit for bit, over the end of a pass, where the memory is emptied."""
    model, streams = in_float64(tokens=400)
    loss, memory = NextTokenLoss(), None
    for step, batch in enumerate(streams.training_batches(0, streams.steps_per_pass + 3)):
        memory = memory if step % streams.steps_per_pass else None
        losses, memory = model(*batch[:2], memory)
        assert torch.equal(loss(model, batch), losses.mean())
        assert torch.equal(loss.memory, memory)


def test_the_measured_gradient_is_the_one_at_a_fixed_memory():
    """It is no gradient of the loss as a function of all that the weights decide."""
    model, streams = in_float64()
    batch = next(iter(streams.draws(1, "gradient")))
    tokens, targets, context = batch
    memory = remember(model, context, 8).detach()
    parameters = list(model.parameters())
    fixed = torch.autograd.grad(model(tokens, targets, memory)[0].mean(), parameters)
    found = torch.autograd.grad(NextTokenLoss()(model, batch), parameters)
    assert all(torch.equal(a, b) for a, b in zip(fixed, found, strict=True))
    direction = [torch.randn_like(p) for p in parameters]
    slope = sum((g * d).sum() for g, d in zip(found, direction, strict=True)).item()

    def along(memory):
        values = []
        for sign in (1, -2, 1):
            with torch.no_grad():
                for p, d in zip(parameters, direction, strict=True):
                    p.add_(d, alpha=sign * 1e-6)
                kept = remember(model, context, 8) if memory is None else memory
                values.append(model(tokens, targets, kept)[0].mean().item())
        return (values[0] - values[1]) / 2e-6

    assert along(memory) == pytest.approx(slope, rel=1e-6)
    assert along(None) != pytest.approx(slope, rel=1e-3)


def test_the_gradient_over_an_epoch_of_segments_is_what_draws_estimate():
    model, streams = in_float64(tokens=400)
    starts = torch.arange(streams.count - 2)[:, None] * 8
    rows = streams.train[starts + torch.arange(25)].long()
    whole = (rows[:, 16:24], rows[:, 17:], rows[:, :16])
    truth = torch.autograd.grad(NextTokenLoss()(model, whole), list(model.parameters()))
    square = sum(g.square().sum() for g in truth).item()
    batches = streams.draws(400, "many")
    found = measure.gradient_statistics(model, NextTokenLoss(), batches)
    assert abs(found.gradient_norm_squared - square) < 4 * found.standard_error
    assert found.standard_error < 0.1 * square
