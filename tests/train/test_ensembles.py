"""Ensembles: each member is a net of its own, trained as PyTorch trains it."""

import numpy as np
import pytest
import torch
from stationarity import UsageError, measure
from stationarity.nets import mlp
from stationarity.train import ensembles
from torch.nn import functional

WIDTHS, MEMBERS, COUNT = (6, 5, 4, 3), 3, 20


def data(seed=0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(COUNT, WIDTHS[0], generator=generator, dtype=torch.float64)
    return inputs, torch.randint(WIDTHS[-1], (COUNT,), generator=generator)


def initial(members=MEMBERS):
    return ensembles.initialise(WIDTHS, range(members), dtype=torch.float64)


def net(vector):
    """Return the single net of one member."""
    model = mlp(WIDTHS).double()
    torch.nn.utils.vector_to_parameters(vector.clone(), model.parameters())
    return model


def objective(loss):
    def squared(model, batch):
        inputs, labels = batch
        wrong = model(inputs) - functional.one_hot(labels, WIDTHS[-1])
        return wrong.square().sum(1).mean() / 2

    return {"cross_entropy": measure.cross_entropy, "squared": squared}[loss]


def gradient(model, loss, batch):
    found = torch.autograd.grad(objective(loss)(model, batch), list(model.parameters()))
    return torch.cat([g.flatten() for g in found])


each_loss = pytest.mark.parametrize("loss", measure.LOSSES)


@each_loss
def test_losses_and_gradients_are_those_of_the_single_nets(loss):
    (inputs, labels), theta = data(), initial()
    chosen = next(ensembles.batches(COUNT, 8, range(MEMBERS), last=1))
    losses, gradients = ensembles.losses_and_gradients(
        theta, WIDTHS, inputs[chosen], labels[chosen], loss=loss
    )
    for k in range(MEMBERS):
        model, batch = net(theta[k]), (inputs[chosen[k]], labels[chosen[k]])
        assert losses[k].item() == pytest.approx(objective(loss)(model, batch).item(), 1e-12)
        torch.testing.assert_close(
            gradients[k], gradient(model, loss, batch), rtol=0, atol=1e-13
        )


def test_a_batch_for_all_is_that_batch_for_each():
    (inputs, labels), theta = data(), initial()
    shared = ensembles.losses_and_gradients(theta, WIDTHS, inputs, labels)
    repeated = ensembles.losses_and_gradients(
        theta, WIDTHS, inputs.repeat(MEMBERS, 1, 1), labels.repeat(MEMBERS, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(shared, repeated))


@each_loss
def test_exact_statistics_are_those_of_every_example(loss, monkeypatch):
    monkeypatch.setattr(ensembles, "CHUNK", 7)  # the last chunk is smaller
    (inputs, labels), theta = data(), initial()
    losses, gradients, variances = ensembles.exact_statistics(
        theta, WIDTHS, inputs, labels, loss=loss
    )
    for k in range(MEMBERS):
        model = net(theta[k])
        single = torch.stack(
            [
                gradient(model, loss, (inputs[i : i + 1], labels[i : i + 1]))
                for i in range(COUNT)
            ]
        )
        value = objective(loss)(model, (inputs, labels)).item()
        assert losses[k].item() == pytest.approx(value, 1e-12)
        torch.testing.assert_close(gradients[k], single.mean(0), rtol=0, atol=1e-13)
        variance = (single - single.mean(0)).square().sum(1).mean().item()
        assert variances[k].item() == pytest.approx(variance, 1e-10)


def test_the_noise_variance_of_a_batch_follows_from_that_of_one_example():
    (inputs, labels), theta = data(), initial(1)
    _, full, variances = ensembles.exact_statistics(theta, WIDTHS, inputs, labels)
    size, draws = 5, 20000
    for sampling, factor in (("replacement", 1), ("reshuffled", (COUNT - size) / (COUNT - 1))):
        drawn = ensembles.batches(COUNT, size, range(40), draws // 40, sampling=sampling)
        chosen = torch.cat(list(drawn))
        _, found = ensembles.losses_and_gradients(
            theta.expand(draws, -1), WIDTHS, inputs[chosen], labels[chosen]
        )
        squares = (found - full).square().sum(1)
        error = squares.std().item() / draws**0.5
        assert abs(squares.mean().item() - variances.item() / size * factor) < 4 * error


@each_loss
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_steps_are_those_of_pytorch(optimizer, loss):
    (inputs, labels), theta = data(), initial()
    start = theta.clone()
    rates, momenta, decays = [0.3, 0.1, 0.05], [0.0, 0.5, 0.9], [0.0, 0.1, 0.01]
    column = {
        "rate": torch.tensor(rates, dtype=torch.float64).unsqueeze(1),
        "weight_decay": torch.tensor(decays, dtype=torch.float64).unsqueeze(1),
    }
    buffer, moments = torch.zeros_like(theta), torch.zeros(2, *theta.shape).double()
    steps = list(ensembles.batches(COUNT, 4, range(MEMBERS), last=12))
    for step, chosen in enumerate(steps, start=1):
        _, gradients = ensembles.losses_and_gradients(
            theta, WIDTHS, inputs[chosen], labels[chosen], loss=loss
        )
        if optimizer == "adam":
            ensembles.adam_step(theta, gradients, moments, step, **column)
        else:
            momentum = torch.tensor(momenta, dtype=torch.float64).unsqueeze(1)
            ensembles.sgd_step(theta, gradients, buffer, momentum=momentum, **column)
    for k in range(MEMBERS):
        model, keywords = net(start[k]), {"lr": rates[k], "weight_decay": decays[k]}
        if optimizer == "adam":
            single = torch.optim.Adam(model.parameters(), **keywords)
        else:
            single = torch.optim.SGD(model.parameters(), momentum=momenta[k], **keywords)
        for chosen in steps:
            single.zero_grad()
            objective(loss)(model, (inputs[chosen[k]], labels[chosen[k]])).backward()
            single.step()
        vector = measure.parameter_vector(model)
        torch.testing.assert_close(theta[k], vector, rtol=0, atol=1e-12)


def test_a_member_does_not_depend_on_the_others():
    few, many = initial(2), initial(5)
    assert torch.equal(few, many[:2])
    assert len({tuple(row.tolist()) for row in many}) == 5
    assert torch.equal(*ensembles.initialise(WIDTHS, [3, 3]))
    for sampling in ensembles.SAMPLINGS:
        one = torch.stack(list(ensembles.batches(COUNT, 6, [7], 9, sampling=sampling)))
        drawn = list(ensembles.batches(COUNT, 6, [1, 7], 9, sampling=sampling))
        assert torch.equal(one[:, 0], torch.stack(drawn)[:, 1])


@pytest.mark.parametrize("sampling", ensembles.SAMPLINGS)
def test_batches_do_not_depend_on_where_one_begins(sampling, monkeypatch):
    monkeypatch.setattr(ensembles, "BLOCK", 4)
    whole = torch.stack(list(ensembles.batches(COUNT, 6, range(2), 11, sampling=sampling)))
    assert whole.shape == (11, 2, 6)
    rest = ensembles.batches(COUNT, 6, range(2), 11, first=5, sampling=sampling)
    assert torch.equal(torch.stack(list(rest)), whole[5:])


def test_a_seed_of_numpy_is_the_same_seed():
    kinds = [3], np.array([3]), torch.tensor([3])
    first, *others = (next(ensembles.batches(9, 4, seeds, 1)).tolist() for seeds in kinds)
    assert others == [first, first]


def test_every_sampling_draws_uniformly_and_as_it_says():
    for sampling in ensembles.SAMPLINGS:
        drawn = torch.stack(list(ensembles.batches(COUNT, 5, range(50), 40, sampling=sampling)))
        counts = torch.bincount(drawn.flatten(), minlength=COUNT).double()
        if sampling == "reshuffled":
            assert (counts == counts[0]).all()
            assert (drawn[:4, 0].flatten().sort().values == torch.arange(COUNT)).all()
            continue
        expected = drawn.numel() / COUNT
        assert (counts - expected).abs().max() < 4.5 * expected**0.5
        doubled = (drawn.sort(-1).values.diff() == 0).any()
        assert doubled == (sampling == "replacement")


def test_initial_weights_leave_global_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    initial()
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, x, y: ensembles.losses_and_gradients(t, (6, 3), x, y), "have 21 param"),
        (
            lambda t, x, y: ensembles.losses_and_gradients(t, WIDTHS, x, y, loss="l1"),
            "loss 'l1'",
        ),
        (
            lambda t, x, y: next(ensembles.batches(4, 5, [0], 1, sampling="reshuffled")),
            "Lower the batch size",
        ),
        (lambda t, x, y: next(ensembles.batches(4, 5, [0], 1, sampling="x")), "sampling 'x'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(UsageError, match=message):
        call(initial(), *data())
