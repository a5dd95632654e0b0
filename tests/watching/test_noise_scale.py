"""The noise scale against the exact one of a linear model, where all is known."""

import math

import numpy as np
import pytest
import torch
from stationarity.watching.noise import Gradients, noise_scale
from stationarity.watching.sketch import Sketch
from trainings import at_least

DIMENSIONS, EXAMPLES, BATCHES, REPEATS = 20, 32, 16, 2000
SPECTRUM = np.linspace(0.3, 2.0, DIMENSIONS)


def exact(offset, noise: float) -> float:
    """tr Sigma / |g|^2 for one example of a Gaussian linear model, offset from its solution.

    The gradient of (x'd - e)^2 / 2 is x (x'd - e), of mean S d; and for Gaussian x
    E ||x||^2 (x'd)^2 = tr S d'S d + 2 |S d|^2.
    """
    signal = ((SPECTRUM * offset) ** 2).sum()
    square = SPECTRUM.sum() * ((offset**2 * SPECTRUM).sum() + noise**2) + 2 * signal
    return (square - signal) / signal


def gradients(rng, offset, noise: float, batches=BATCHES) -> np.ndarray:
    inputs = rng.standard_normal((batches, EXAMPLES, DIMENSIONS)) * np.sqrt(SPECTRUM)
    errors = inputs @ offset - noise * rng.standard_normal((batches, EXAMPLES))
    return (inputs * errors[..., None]).mean(1)


def offset_of(size: float):
    offset = np.random.default_rng(0).standard_normal(DIMENSIONS)
    return offset * size / np.linalg.norm(SPECTRUM * offset)


def estimates(
    size: float, seed=1, repeats=REPEATS, batches=BATCHES
) -> tuple[float, list, np.ndarray]:
    """The exact scale, our estimates, and those of two batches."""
    rng, offset, found, two = np.random.default_rng(seed), offset_of(size), [], []
    for _ in range(repeats):
        g = gradients(rng, offset, 0.5, batches)
        found.append(noise_scale(g @ g.T, EXAMPLES))
        two.append(two_batches((g[0] ** 2).sum(), (g.mean(0) ** 2).sum()))
    return exact(offset, 0.5), found, np.array(two)


def two_batches(small: float, large: float) -> float:
    """McCandlish et al. 2018, appendix A.1: from one batch of B and one of M B."""
    few, many = EXAMPLES, BATCHES * EXAMPLES
    signal = (many * large - few * small) / (many - few)
    return (small - large) / (1 / few - 1 / many) / signal


@pytest.mark.parametrize("size", [3.0, 1.0, 0.5])
def test_the_noise_scale_is_unbiased_and_its_interval_covers_it(size):
    true, found, two = estimates(size)
    values = np.array([one.value for one in found])
    mean, error = values.mean(), values.std() / math.sqrt(REPEATS)
    assert abs(mean - true) < 3 * error and error < 0.01 * true
    covered = np.mean([one.low <= true <= one.high for one in found])
    assert 0.93 <= covered <= 0.97  # four errors to either side: 0.948 of 20,000
    assert two.std() > 4 * values.std()
    noted = np.mean([one.error for one in found])
    assert 0.9 < noted / values.std() < 1.2


@pytest.mark.parametrize("batches", [3, 6, 12])
def test_of_fewer_batches_the_interval_is_no_narrower_than_is_said(batches):
    true, found, _ = estimates(1.0, repeats=1000, batches=batches)
    covered = sum(one.low <= true <= one.high for one in found)
    assert covered >= at_least(0.93, 1000)


def test_averaged_over_its_choices_the_estimate_of_two_batches_is_ours_but_for_the_bias():
    g = gradients(np.random.default_rng(2), offset_of(3.0), 0.5)
    small, large = (g**2).sum(1).mean(), (g.mean(0) ** 2).sum()
    assert noise_scale(g @ g.T, EXAMPLES).value == pytest.approx(
        two_batches(small, large), rel=0.05
    )


def test_where_the_gradient_is_not_told_from_zero_the_scale_has_no_upper_end():
    true, found, _ = estimates(0.01, repeats=100)
    assert np.mean([math.isinf(one.high) for one in found]) > 0.95
    assert np.mean([one.low <= true for one in found]) > 0.95
    assert all(math.isnan(one.error) or math.isinf(one.high) is False for one in found)


def test_of_one_or_two_batches_nothing_is_said():
    found = noise_scale(np.eye(2), 8)
    assert math.isnan(found.value) and (found.low, found.high) == (0.0, math.inf)


def test_a_sketch_of_long_gradients_keeps_all_within_a_per_cent():
    generator = torch.Generator().manual_seed(0)
    shapes = (400, 500), (130_001,), (3,)
    mean = [torch.randn(shape, generator=generator) for shape in shapes]
    weights = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    collected, rows = Gradients(weights, 8), []
    for number in range(8):
        one = [m + torch.randn(m.shape, generator=generator) for m in mean]
        rows.append(torch.cat([part.flatten() for part in one]).double())
        collected.add(sum((w * g).sum() for w, g in zip(weights, one)))
        assert torch.allclose(collected.rows[number], collected.sketch(one), atol=1e-4)
    whole = torch.stack(rows).numpy()
    kept = collected.noise([0.0] * 3, examples=4)
    whole = whole @ whole.T
    assert np.allclose(kept.gram[:-1, :-1], whole, rtol=0, atol=0.02 * whole.max())
    assert kept.scale.value == pytest.approx(noise_scale(whole, 4).value, rel=0.02)
    assert kept.sample.estimate == pytest.approx(
        sum(m.square().sum().item() for m in mean), rel=0.02
    )


def test_gradients_are_taken_of_what_is_sparse_used_twice_or_not_and_leave_no_hook():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.EmbeddingBag(9, 4, sparse=True), torch.nn.Linear(4, 4))
    model.append(model[1])
    model.unused, parameters = torch.nn.Parameter(torch.ones(3)), [*model.parameters()]
    collected, words = Gradients(parameters, 1), torch.randint(9, (8, 5))
    collected.add(model(words).square().mean())
    model(words).square().mean().backward()
    known = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in parameters]
    assert torch.allclose(collected.rows[0], collected.sketch(known), atol=1e-7)
    assert all(p._backward_hooks is None for p in parameters)
    with pytest.raises(ValueError, match="depends on no trainable parameter"):
        collected.add(torch.tensor(1.0))


@pytest.mark.parametrize("width", [7, 64, 5000])
def test_a_sketch_of_parts_in_any_order_is_that_of_all(width):
    parts = [torch.randn(n, dtype=torch.float64) for n in (3, 1000, 64, 1, 77, 500)]
    sketch = Sketch(parts, min(width, 1645))
    whole = Sketch([torch.cat(parts)], sketch.width)([torch.cat(parts)])
    total = sketch.nothing()
    for at, part in [*zip(sketch.starts, parts)][::-1]:
        sketch.add(total, at, part)
    assert torch.allclose(sketch(parts), whole) and torch.allclose(total, whole)
    if width == 5000:
        assert torch.equal(whole.abs(), torch.cat(parts).abs())


@pytest.mark.parametrize("shape", [(1024, 256), (256, 1024), (300, 700)])
def test_a_sketch_of_a_tensor_of_rank_one_is_as_exact_as_of_any(shape):
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(shape[0], 1, generator=generator) * torch.randn(
        shape[1], generator=generator
    )
    for whole, width in ((one, 2**12), (torch.ones(shape), 2**12)):
        square = whole.double().square().sum()
        ratios = [
            Sketch([whole], width, seed)([whole]).square().sum() / square for seed in range(60)
        ]
        error = torch.stack(ratios).sub(1).square().mean().sqrt()
        assert error < 1.4 * (4 / width) ** 0.5


def test_the_numbers_are_those_of_the_librarys_gradient_statistics():
    from stationarity import measure

    model = torch.nn.Linear(5, 1)
    objective = lambda model, x: model(x).square().mean()
    batches = [torch.randn(8, 5) for _ in range(8)]
    known = measure.gradient_statistics(model, objective, batches, weight_decay=0.3)
    collected = Gradients([*model.parameters()], 8)
    for batch in batches:
        collected.add(objective(model, batch))
    noise = collected.noise([0.3, 0.3], examples=8)
    for sample, name in ((noise.sample, ""), (noise.regularised, "regularised_")):
        square = getattr(known, f"{name}gradient_norm_squared")
        assert sample.estimate == pytest.approx(square, rel=1e-4)
        assert sample.standard_error == pytest.approx(
            getattr(known, f"{name}standard_error"), rel=1e-3
        )
    assert noise.sample.variance**0.5 == pytest.approx(known.noise_norm, rel=1e-4)
    assert noise.losses.mean() == pytest.approx(known.loss, rel=1e-6)
