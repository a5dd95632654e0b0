"""Time the simulator of ensembles against the floor: drawing the normal numbers.

10,000 trajectories in 20 directions for 10,000 steps, in float64, on two threads; true
minibatches of linear regression at a size that takes as long. Rates, wall and CPU
seconds; the floors are timed on fewer numbers, before and after, and scaled. Normals in
float32, cast up, would be faster, but they are cut off at 5.8 standard deviations and
lie on a grid of 24 bits: the simulator keeps to float64.
"""

import functools
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from stationarity.chapters.ch10_langevin import study
from stationarity.theory import simulation

TRAJECTORIES, DIRECTIONS, STEPS, THREADS = 10_000, 20, 10_000, 2
FLOOR = 100  # the floors draw one hundredth of the numbers


def timed(call) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    wall, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - processor


def on_threads(draw, count: int) -> None:
    """Call ``draw(seed)`` for so many blocks of numbers on the threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(draw, range(count)))


def floors(total: int) -> dict[str, tuple[float, float]]:
    """Return the seconds that drawing so many normals takes, by each generator."""
    each, blocks = simulation.BLOCK, THREADS
    repeats = total // FLOOR // each // blocks

    def numpy64(seed):
        generator = np.random.Generator(np.random.SFC64(seed))
        numbers = np.empty(each)
        for _ in range(repeats):
            generator.standard_normal(out=numbers)

    def torch_draws(dtype):
        def draw(seed):
            generator = torch.Generator().manual_seed(seed)
            numbers = torch.empty(each, dtype=dtype)
            for _ in range(repeats):
                numbers.normal_(generator=generator)

        return draw

    ways = {
        "NumPy's ziggurat, float64 (what the simulator draws)": numpy64,
        "PyTorch, float64": torch_draws(torch.float64),
        "PyTorch, float32": torch_draws(torch.float32),
    }
    scale = total / (each * blocks * repeats)
    return {
        name: tuple(
            scale * seconds for seconds in timed(functools.partial(on_threads, draw, blocks))
        )
        for name, draw in ways.items()
    }


def gaussian(steps: int) -> None:
    """Simulate with Gaussian noise, recording the last step."""
    curvature = 1 / np.arange(1.0, DIRECTIONS + 1)
    simulation.simulate(
        curvature,
        np.full(steps, 0.1),
        curvature,
        trajectories=TRAJECTORIES,
        recorded=[steps],
        momentum=0.9,
    )


def batches(trajectories: int, steps: int, reshuffled: bool) -> None:
    """Simulate linear regression on minibatches of 32 of 1,024 examples."""
    generator = np.random.default_rng(0)
    inputs = generator.standard_normal((1024, DIRECTIONS))
    given = study.least_squares(inputs, generator.standard_normal(1024))
    simulation.follow(
        study.gradients(given, 32, reshuffled=reshuffled),
        np.full(steps, 0.05),
        trajectories=trajectories,
        recorded=[steps],
        start=np.zeros(DIRECTIONS),
        momentum=0.9,
        summary=np.mean,
    )


def main(shorter: int = 1) -> None:
    """Print the times; ``shorter`` divides the steps, and the times are scaled up."""
    torch.set_num_threads(THREADS)
    total, steps = TRAJECTORIES * DIRECTIONS * STEPS, STEPS // shorter
    print(
        f"{TRAJECTORIES:,} trajectories x {DIRECTIONS} directions x {STEPS:,} steps, "
        f"{THREADS} threads: seconds (wall, CPU); steps simulated: {steps:,}"
    )
    before = floors(total)
    seconds = timed(functools.partial(gaussian, steps))
    after = floors(total)
    for name, times in before.items():
        wall, processor = np.mean([times, after[name]], 0)
        print(f"  floor, {name}: {wall:.1f}, {processor:.1f}")
    floor = np.mean([next(iter(part.values()))[1] for part in (before, after)])
    print(
        f"  Gaussian noise: {shorter * seconds[0]:.1f}, {shorter * seconds[1]:.1f}; "
        f"{shorter * seconds[1] / floor:.2f} times the floor's CPU time"
    )
    for name, reshuffled in (("with replacement", False), ("reshuffled epochs", True)):
        many = 4000
        wall, processor = timed(functools.partial(batches, many, steps, reshuffled))
        print(
            f"  minibatches {name}, {many:,} trajectories: {shorter * wall:.1f}, "
            f"{shorter * processor:.1f}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
