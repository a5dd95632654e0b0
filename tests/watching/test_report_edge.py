"""The edge of stability: both ends of the bracket of the top curvature, and the verdict."""

import dataclasses

import numpy as np
import pytest
from stationarity.watching import limits, questions
from stationarity.watching.simulated import POINTS, RATE, edges, measured, quadratic, seen
from trainings import SEEDS, at_least, at_most, counted


@pytest.mark.parametrize("level, verdict", [(1.0, "yes"), (0.5, "no"), (1.5, "no")])
def test_the_edge_is_told(level, verdict):
    said, _ = counted(limits.edge, edges(level, 0.1, SEEDS))
    assert said[verdict] == SEEDS


@pytest.mark.parametrize("end", limits.EDGE)
def test_at_an_end_of_the_edge_neither_side_is_said_too_often(end):
    said, _ = counted(limits.edge, edges(end, 0.1, SEEDS))
    assert said["yes"] <= at_most(0.025) and said["no"] <= at_most(0.025)


@pytest.mark.parametrize("level", [0.75, 0.85, 1.0, 1.15, 1.3])
def test_a_bracket_that_holds_an_end_of_the_edge_is_no_verdict(level):
    """The few batches have 30 % more than all data, and their direction 30 % less."""
    said, answers = counted(limits.edge, edges(level, 0.02, SEEDS, apart=0.3))
    assert said["cannot be judged"] == SEEDS
    assert all(one.low < level < one.high for one in answers)


def of_known_hessian(examples: int, level: float, size=20):
    """Squared losses (x'theta)^2 / 2 of normal x: the Hessian of n examples is Wishart's.

    That of all has the largest eigenvalue ``level``, in units of the stable one; as many
    examples check it as find it.
    """
    roots = np.sqrt(level * np.r_[1, np.linspace(0.5, 0.1, size - 1)])
    freedom, shape = examples - np.arange(size), (2, POINTS, size)
    for seed in range(SEEDS):
        generator = np.random.default_rng(seed)
        lower = np.tril(generator.standard_normal((*shape, size)), -1)  # Bartlett's
        lower += np.eye(size) * np.sqrt(generator.chisquare(freedom, shape))[..., None]
        lower *= roots[:, None] / examples**0.5
        found, fresh = lower @ lower.swapaxes(-1, -2)
        values, vectors = np.linalg.eigh(found)
        top = vectors[..., -1]
        along = ((top[:, None] @ fresh)[:, 0] * top).sum(1)
        series = {"sharpness": measured(values[:, -1], 0.0), "fresh_curvature": measured(along)}
        yield seen(series=series | {"stable_sharpness": measured(np.ones(POINTS))})


@pytest.mark.parametrize("level", limits.EDGE)
def test_the_edge_of_a_known_hessian_is_told_falsely_as_seldom_as_is_said(level):
    said, answers = counted(limits.edge, of_known_hessian(400, level))
    assert max(said["yes"], said["no"]) <= at_most(0.025)
    assert sum(one.low <= level <= one.high for one in answers) >= at_least(0.95)


def test_a_known_hessian_of_enough_examples_is_judged_right():
    for level, verdict in ((0.5, "no"), (1.0, "yes"), (1.5, "no")):
        said, _ = counted(limits.edge, of_known_hessian(2000, level))
        assert said[verdict] > 0.95 * SEEDS


def test_few_batches_at_the_edge_are_not_the_edge_of_all_data():
    found = [*of_known_hessian(20, 0.68)]
    assert all(0.85 < one.of("sharpness").values.mean() < 1.15 for one in found)
    said, _ = counted(limits.edge, found)
    assert said["cannot be judged"] == SEEDS


@pytest.mark.parametrize(
    "level, verdict", [(0.5, "cannot be judged"), (1.0, "cannot be judged"), (1.5, "no")]
)
def test_where_the_top_eigenvalue_was_not_found_there_is_no_upper_end(level, verdict):
    for one in edges(level, 0.02, 8):
        one.series["sharpness"].errors[3] = np.inf
        answer = limits.edge(one)
        assert answer.verdict == verdict and np.isinf(answer.high)
        assert answer.low < level < answer.number + 0.1 and "not known" in answer.why
        alone = limits.edge(dataclasses.replace(one, facts=one.facts | {"batches": 1}))
        assert alone.verdict == verdict and alone.low > level - 0.1


def test_the_edge_of_a_quadratic_under_momentum_is_where_it_diverges():
    for beta in (0.0, 0.9):
        limit = 2 * (1 + beta) / RATE
        sizes = [
            abs(
                quadratic(1, [share * limit], noise=0.0, start=1.0, momentum=beta, steps=1500)[
                    "theta"
                ]
                - 3
            )
            for share in (0.99, 1.01)
        ]
        assert sizes[0][0, -1, 0] < 1e-6 and sizes[1][0, -1, 0] > 1e6


def test_the_edge_says_of_how_many_examples_it_is():
    for level, said in ((1.0, True), (2.0, True), (0.5, False)):
        (one,) = edges(level, 0.01, 1)
        one.facts["sharpness_examples"] = 128
        answer = limits.edge(one)
        assert "of 128 examples" in answer.why and ("clipped" in answer.why) == said


@pytest.mark.parametrize("rises", [True, False])
def test_a_larger_rate_is_not_called_stable_under_noise_nor_where_the_loss_rises(rises):
    (one,) = edges(0.5, 0.01, 1)
    draw = np.random.default_rng(0).normal(1, 0.01, 1000)
    loss = measured(draw * np.geomspace(1, 1e17, 1000) ** rises, every=1)
    one = dataclasses.replace(one, series=one.series | {"loss": loss})
    one.start["loss"] = 2.0, 0.0
    advice = {answer.key: answer for answer in questions.answers(one)}["edge"].advice
    assert ("Lower the rate" in advice) == rises
    assert ("without noise" in advice and "noise may forbid it" in advice) != rises
    assert "rate is stable" not in advice
