"""Time an ensemble of small nets against the same nets one after the other.

Steps of SGD with momentum, batches included, on one CPU thread: by the ensemble,
by single nets with ``torch.optim.SGD``, and the gradients alone by ``torch.func``.
"""

import time

import torch
from stationarity import measure
from stationarity.nets import mlp
from stationarity.train import ensembles

WIDTHS, COUNT, SECONDS = (64, 32, 10), 1437, 1.0


def seconds_per_call(call) -> float:
    """Return CPU seconds of one call, from as many as fit in a second."""
    call()
    start, calls = time.process_time(), 0
    while time.process_time() - start < SECONDS:
        call()
        calls += 1
    return (time.process_time() - start) / calls


def step_of_ensemble(members: int, size: int, inputs, labels):
    """Return a function that takes one step of all members."""
    theta = ensembles.initialise(WIDTHS, range(members))
    buffer = torch.zeros_like(theta)
    drawn = ensembles.batches(COUNT, size, range(members), 10**9)

    def step():
        chosen = next(drawn)
        _, gradients = ensembles.losses_and_gradients(
            theta, WIDTHS, inputs[chosen], labels[chosen]
        )
        ensembles.sgd_step(theta, gradients, buffer, 0.01, 0.9, 1e-3)

    return step


def step_of_single_nets(members: int, size: int, inputs, labels):
    """Return a function that takes one step of as many single nets."""
    nets = [mlp(WIDTHS) for _ in range(members)]
    optimizers = [
        torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=1e-3) for net in nets
    ]
    drawn = ensembles.batches(COUNT, size, range(members), 10**9)

    def step():
        for net, optimizer, chosen in zip(nets, optimizers, next(drawn)):
            optimizer.zero_grad()
            measure.cross_entropy(net, (inputs[chosen], labels[chosen])).backward()
            optimizer.step()

    return step


def gradients_by_vmap(members: int, size: int, inputs, labels):
    """Return a function that computes all gradients by torch.func."""
    nets = [mlp(WIDTHS) for _ in range(members)]
    stacked, _ = torch.func.stack_module_state(nets)
    drawn = ensembles.batches(COUNT, size, range(members), 10**9)

    def loss(parameters, x, y):
        def net(inputs):
            return torch.func.functional_call(nets[0], parameters, (inputs,))

        return measure.cross_entropy(net, (x, y))

    gradients = torch.func.vmap(torch.func.grad(loss))

    def step():
        chosen = next(drawn)
        gradients(stacked, inputs[chosen], labels[chosen])

    return step


def main() -> None:
    """Print microseconds per net and step."""
    torch.set_num_threads(1)
    inputs, labels = torch.randn(COUNT, WIDTHS[0]), torch.randint(WIDTHS[-1], (COUNT,))
    ways = (step_of_ensemble, step_of_single_nets, gradients_by_vmap)
    print("microseconds of CPU a net and step: ensemble, single nets, gradients by torch.func")
    for members, size in ((5, 16), (50, 16), (50, 64), (50, 256)):
        times = [
            1e6 * seconds_per_call(way(members, size, inputs, labels)) / members for way in ways
        ]
        shown = ", ".join(f"{value:.1f}" for value in times)
        print(f"{members} nets, batch {size}: {shown}; {times[1] / times[0]:.1f} times faster")


if __name__ == "__main__":
    main()
