"""What is said of a loss that rises, that falls by little, or that is negative."""

import dataclasses

import numpy as np
import pytest
from stationarity.watching import questions, settling
from stationarity.watching.answers import Answer
from stationarity.watching.simulated import measured, seen
from trainings import SEEDS, at_most, counted

STEPS = 2000
PASSED = np.linspace(0, 1, STEPS)


def watched(values, start: float):
    series = {"loss": measured(values, every=1), "noise_norm": measured(np.ones(20))}
    return seen(series=series, start={"mean_loss": (start, 0.01)})


def noisy(mean, seed=0):
    return mean + 0.1 * np.random.default_rng(seed).standard_normal(STEPS)


@pytest.mark.parametrize(
    "values, start, said",
    [
        (np.geomspace(1, 1e17, STEPS), 1.0, "it has risen"),
        (2.0 + PASSED, 1.0, "it rises, by 0.99"),
        (-2.0 + PASSED, -3.0, "it rises, by 0.99"),
        (30.0 + 0 * PASSED, 1.0, "it has risen"),
    ],
)
def test_a_loss_that_rises_has_not_settled(values, start, said):
    one = watched(noisy(values), start)
    answer = settling.loss(one)
    assert answer.verdict == "no" and said in answer.why and "Lower the rate" in answer.advice
    known = {"loss": answer} | {
        key: Answer(key, "", "no", 0.0, 0.0, 0.0, "", "", "", "")
        for key in ("gradient", "spread")
    }
    assert questions.regime(one, known).why == (
        "The loss rises: this is no state that a theory of the papers is about."
    )


def test_a_loss_that_stands_still_above_its_start_is_seldom_said_to_rise():
    trainings = [watched(noisy(1.5, seed), 1.0) for seed in range(SEEDS)]
    said, answers = counted(settling.loss, trainings)
    assert not said["yes"] and said["no"] <= at_most(0.025)
    assert all("lost nothing" in one.why for one in answers if one.verdict != "no")


@pytest.mark.parametrize("steady", [True, False])
@pytest.mark.parametrize("falls", [True, False])
def test_a_settled_loss_that_still_falls_is_no_reason_to_stop(falls, steady):
    one = watched(noisy(3 - 0.2 * falls * PASSED), 10.0)
    answer = settling.loss(dataclasses.replace(one, steady=steady))
    assert answer.verdict == "yes" and (answer.high < 0) == falls
    assert ("It still falls" in answer.advice) == falls
    assert ("or stop" in answer.advice) == (steady and not falls)
    assert ("under this schedule" in answer.advice) != steady


@pytest.mark.parametrize("level", [2.0, -2.0])
def test_a_ratio_of_losses_is_one_of_positive_ones(level):
    answer = settling.loss(watched(noisy(level), 10.0))
    assert ("last quarter" in answer.why) == (level > 0)


def test_losses_about_zero_are_no_multiples_of_each_other():
    draw = np.random.default_rng(0).standard_normal((2, STEPS))
    one = watched(0.1 * draw[0] - 1, 3.0)
    one.series["mean_loss"] = measured(0.1 * draw[1, ::100] - 2)
    one.start["loss"] = 1.0, np.nan
    assert settling.loss(one).verdict == "yes"


@pytest.mark.parametrize(
    "low, high, said",
    [
        (0.8, 1.3, "(anomalous diffusion, as Kunin et al. report, is not shown)."),
        (1.1, 1.3, "travel meanwhile, as in a drift"),
        (0.5, 0.9, "more slowly than by plain diffusion, as Kunin et al. report."),
    ],
)
def test_the_regime_says_how_weights_go_on(low, high, said):
    known = {
        key: Answer(key, "", verdict, (low + high) / 2, low, high, "", "", "", "")
        for key, verdict in {"loss": "yes", "gradient": "no", "spread": "yes"}.items()
    }
    why = questions.regime(watched(noisy(3 + 0 * PASSED), 10.0), known).why
    assert said in why
