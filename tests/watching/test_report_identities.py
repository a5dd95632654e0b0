"""The identities of the report hold on steps of the optimizers that they are derived for."""

import numpy as np
import pytest
import torch
from stationarity.errors import UsageError
from stationarity.stats.estimate import Estimate
from stationarity.watching import identities, optimizers
from stationarity.watching.simulated import facts, seen

STEPS = 60


def steps(optimizer, theta):
    """Take noisy steps; return weights (n + 1, d), minibatch gradients (decayed), buffers."""
    generator = torch.Generator().manual_seed(0)
    weights, gradients, buffers = [theta.detach().clone()], [], []
    decay = optimizer.param_groups[0]["weight_decay"]
    for _ in range(STEPS):
        theta.grad = theta.detach() + torch.randn(5, generator=generator, dtype=torch.float64)
        gradients.append(theta.grad + decay * theta.detach())
        optimizer.step()
        weights.append(theta.detach().clone())
        buffers.append(optimizer.state[theta].get("momentum_buffer", torch.zeros(5)).clone())
    return map(torch.stack, (weights, gradients, buffers))


def parameter():
    return torch.nn.Parameter(torch.linspace(1, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize(
    "kind, how",
    [
        (torch.optim.SGD, dict(momentum=0.9, weight_decay=0.1)),
        (torch.optim.SGD, dict(momentum=0.9, nesterov=True)),
        (torch.optim.Adam, dict(weight_decay=0.1)),
        (torch.optim.AdamW, dict(weight_decay=0.1)),
    ],
)
def test_pull_over_push_differs_from_one_by_the_drift_alone(kind, how):
    theta = parameter()
    weights, _, _ = steps(kind([theta], lr=0.05, **how), theta)
    updates = weights[:-1] - weights[1:]
    pushed = float((updates**2).sum())
    pull = 2 * float((weights[:-1] * updates).sum()) / pushed
    gain = float((weights[-1] ** 2).sum() - (weights[0] ** 2).sum())
    found = identities.pull_over_push(Estimate(gain, gain, gain), pushed / STEPS, STEPS)
    assert found.value == pytest.approx(pull, rel=1e-9)


@pytest.mark.parametrize("beta, dampening", [(0.0, 0.0), (0.9, 0.0), (0.9, 0.3)])
def test_fluctuation_dissipation_differs_from_one_by_the_drifts_alone(beta, dampening):
    theta, rate = parameter(), 0.05
    how = dict(momentum=beta, dampening=dampening, weight_decay=0.1)
    weights, gradients, buffers = steps(torch.optim.SGD([theta], lr=rate, **how), theta)
    if not beta:
        buffers = gradients
    # From the first buffer on: PyTorch does not dampen the first gradient.
    weights, gradients, buffers = weights[1:], gradients[1:], buffers
    square = float((buffers[1:] ** 2).sum())
    dissipated = (1 - dampening) * float((weights[:-1] * gradients).sum())
    ratio = dissipated / (rate * (1 + beta) / 2 * square)
    gain = float((weights[-1] ** 2).sum() - (weights[0] ** 2).sum())
    turned = float((weights[-1] * buffers[-1]).sum() - (weights[0] * buffers[0]).sum())
    one = seen(facts=facts(momentum=beta), rates=np.array([rate]))
    mean = rate**2 * square / (STEPS - 1)
    found = identities.fluctuation_dissipation(
        Estimate(gain, gain, gain), turned, mean, STEPS - 1, one
    )
    assert found.value == pytest.approx(ratio, rel=1e-9)


def test_fluctuation_dissipation_is_refused_where_it_is_not_derived():
    for changed in (
        facts(optimizer="AdamW", momentum=[0.9, 0.999]),
        facts(momentum=0.9, nesterov=True),
        facts(groups=[facts()["groups"][0], facts(momentum=0.9)["groups"][0]]),
    ):
        with pytest.raises(UsageError):
            identities.fluctuation_dissipation(
                Estimate(0, 0, 0), 0.0, 1.0, 10, seen(facts=changed)
            )


@pytest.mark.parametrize(
    "kind, how, edge",
    [
        (torch.optim.SGD, dict(momentum=0.9), 2 * 1.9 / 0.1),
        (torch.optim.SGD, dict(momentum=0.9, nesterov=True), 2 * 1.9 / (2.8 * 0.1)),
        (torch.optim.AdamW, dict(eps=1.0, weight_decay=0.0), 38 / 0.1),
        (torch.optim.AdamW, dict(eps=1.0, weight_decay=2.0), (20 - 2) * 19),
    ],
    ids=["momentum", "Nesterov", "Adam", "AdamW"],
)
def test_the_edge_of_stability_is_where_a_quadratic_begins_to_diverge(kind, how, edge):
    sizes, small = [], 1e-12  # so small that Adam's preconditioner is its epsilon
    for share in (0.99, 1.01):
        theta = torch.nn.Parameter(torch.full((1,), small, dtype=torch.float64))
        optimizer = kind([theta], lr=0.1, **how)
        if "eps" in how:  # the corrections of its start are over
            late = {"step": torch.tensor(1e6), "exp_avg": torch.zeros_like(theta)}
            optimizer.state[theta] = late | {"exp_avg_sq": torch.zeros_like(theta)}
        path = []
        for _ in range(300):
            theta.grad = share * edge * theta.detach()
            optimizer.step()
            path.append(abs(theta.item()) / small)
        sizes.append(path)
    assert sizes[0][-1] < 0.3 and max(sizes[1]) > 3


def test_memories_are_those_of_the_group_that_forgets_fastest():
    groups = [facts(weight_decay=w, momentum=0.9)["groups"][0] for w in (0.0, 0.1, 0.01)]
    one = seen(facts=facts(groups=groups), rates=np.array([0.1, 0.1, 0.1]))
    assert identities.memories(one, 100) == pytest.approx(10)
    with pytest.raises(UsageError, match="no weight decay"):
        identities.memories(seen(), 100)
    coupled = facts(optimizer="Adam", weight_decay=0.1, momentum=[0.9, 0.999])
    with pytest.raises(UsageError, match="no memory is known"):
        identities.memories(seen(facts=coupled), 100)


def test_memories_are_fewer_with_dampening_as_the_weights_tell():
    theta, how = parameter(), dict(momentum=0.9, dampening=0.5, weight_decay=0.1)
    optimizer, begin = torch.optim.SGD([theta], lr=0.01, **how), parameter()
    for _ in range(1000):
        theta.grad = torch.zeros_like(theta)
        optimizer.step()
    kept = float(torch.log(begin.detach() / theta.detach()).mean())
    told = optimizers.facts(optimizer)
    one = seen(facts=facts() | {"groups": told}, rates=np.array([0.01]))
    assert identities.memories(one, 1000) == pytest.approx(kept, rel=0.05)


def test_no_step_has_no_balance():
    with pytest.raises(UsageError, match="No step moves"):
        identities.pull_over_push(Estimate(0, 0, 0), 0.0, 10)
