"""Verdicts on trainings with known answers: how often they err, and how often they see.

False alarms are counted over 200 seeds, against the nominal rate with a bound that chance
passes once in a thousand; power is what the report may claim.
"""

import dataclasses
import re

import numpy as np
import pytest
from stationarity.errors import UsageError
from stationarity.watching import limits, questions, settling
from stationarity.watching.answers import Answer
from stationarity.watching.simulated import (
    CURVATURE,
    FREE,
    RATE,
    REGIMES,
    SLOW,
    batches,
    facts,
    gradients,
    later,
    measured,
    quadratic,
    regime,
    seen,
    whole,
)
from stationarity.watching.watched import MEASUREMENTS
from trainings import SEEDS, STEPS, at_least, at_most, counted


@pytest.fixture(scope="module")
def settled():
    """In equilibrium from the first step."""
    return quadratic(SEEDS, start="stationary")


def each(found, **given):
    return (seen(found, member, **given) for member in range(SEEDS))


# --- the loss ---


def test_a_settled_loss_is_settled(settled):
    said, answers = counted(settling.loss, each(settled, start={"mean_loss": (60.0, 0.1)}))
    assert said["yes"] == SEEDS
    held = sum(one.low <= 0 <= one.high for one in answers)
    assert at_least(0.93) <= held


def test_a_settled_loss_seldom_alarms_where_the_test_is_blunt(settled):
    said, _ = counted(settling.loss, each(settled, start={"mean_loss": (3.0, 0.1)}))
    assert said["no"] <= at_most(0.05) and said["cannot be judged"]


def test_a_loss_that_changes_by_the_tolerance_is_seldom_called_settled(settled):
    gain = np.linspace(-0.5, 0.5, STEPS)
    start = settled["loss"].mean() + 10.0  # it lost 10, and changes by 1: twice the tolerance
    found = settled | {"loss": settled["loss"] - gain}
    said, answers = counted(settling.loss, each(found, start={"mean_loss": (start, 0.1)}))
    assert said["no"] == SEEDS and all(one.high < 0 for one in answers)
    found = settled | {"loss": settled["loss"] - gain / 2}  # the tolerance itself
    said, _ = counted(settling.loss, each(found, start={"mean_loss": (start, 0.1)}))
    assert said["yes"] <= at_most(0.025)


def test_a_loss_that_still_falls_is_seen():
    found = quadratic(SEEDS, curvature=SLOW, start=5.0, noise=0.01)
    said, answers = counted(settling.loss, each(found))
    assert said["no"] == SEEDS
    assert "Train longer" in answers[0].advice


def test_a_loss_that_never_fell_has_no_share(settled):
    answer = settling.loss(seen(settled, start={"mean_loss": (0.1, 0.01)}))
    assert answer.verdict == "cannot be judged" and "lost nothing" in answer.why


# --- the gradient ---


def test_a_gradient_that_noise_keeps_up_has_not_vanished():
    said, answers = counted(settling.gradient, gradients(0.01, 0.005, SEEDS))
    assert said["no"] == SEEDS
    assert sum(one.low <= 0.1 <= one.high for one in answers) >= at_least(0.95)


@pytest.mark.parametrize("over, wrong", [(1.0001, "yes"), (0.9999, "no")])
def test_at_the_criterion_a_gradient_is_seldom_on_the_wrong_side(over, wrong):
    said, _ = counted(settling.gradient, gradients(over * 1e-4, 1e-4, SEEDS))
    assert said[wrong] <= at_most(0.025)


def test_a_gradient_that_is_zero_has_vanished_where_it_is_measured_well():
    assert counted(settling.gradient, gradients(0.0, 1e-4, SEEDS))[0]["yes"] >= 0.98 * SEEDS
    said, _ = counted(settling.gradient, gradients(0.0, 0.1, SEEDS))
    assert max(said["no"], said["yes"]) <= at_most(0.025)


def test_a_start_that_is_not_told_from_zero_is_no_measure():
    answer = settling.gradient(next(gradients(0.0, 0.1, 1, begin=0.001)))
    assert answer.verdict == "cannot be judged" and "more batches" in answer.why


# --- the weights ---


def test_settled_weights_are_stationary(settled):
    said, answers = counted(settling.weights, each(settled))
    assert said["no"] <= at_most(0.05) and not said["yes"]
    assert sum(one.low <= 0 <= one.high for one in answers) >= at_least(0.96)
    longer = quadratic(SEEDS, start="stationary", steps=4 * STEPS)
    said, _ = counted(settling.weights, each(longer))
    assert said["no"] <= at_most(0.05) and 0.71 * SEEDS < said["yes"] < 0.77 * SEEDS


def test_weights_with_momentum_are_stationary_too():
    found = quadratic(SEEDS, momentum=0.9, noise=0.1, steps=STEPS + 1000)
    found = later(found, 1000)
    changed = facts(momentum=0.9)
    said, answers = counted(settling.weights, each(found, facts=changed))
    assert said["no"] <= at_most(0.05)
    said = r"Fluctuation-dissipation ratio: (\S+) \((\S+) to (\S+)\)"
    ratios = np.array([re.search(said, one.why).groups() for one in answers], float)
    value, low, high = ratios.T
    assert abs(value - 1).max() < 0.05 and abs(value.mean() - 1) < 0.005
    assert ((low <= 1) & (high >= 1)).sum() >= at_least(0.95)


def test_slow_weights_in_equilibrium_are_not_called_drifting():
    found = quadratic(SEEDS, curvature=np.full(20, 0.002), start="stationary")
    said, answers = counted(settling.weights, each(found))
    assert said["no"] <= at_most(0.05) and not said["yes"]
    assert any("looks like a drift" in one.why for one in answers)


@pytest.mark.parametrize(
    "case, power",
    [
        (dict(start="stationary", drift=4e-4), 1.0),
        (dict(start=5.0, curvature=SLOW, noise=0.01), 1.0),
        # Free diffusion is a stationary process with a very long memory, as far as one sees.
        (dict(start=0.0, curvature=FREE), 0.45),
    ],
    ids=["the minimum moves", "out of equilibrium", "free diffusion"],
)
def test_weights_that_go_on_are_seen_and_never_called_stationary(case, power):
    said, _ = counted(settling.weights, each(quadratic(SEEDS, **case)))
    assert not said["yes"]
    assert said["no"] >= power * SEEDS


def test_a_rate_that_never_stands_still_has_no_stationary_weights(settled):
    one = seen(settled, steady=False, rate_before=0.2)
    for ask in (settling.weights, settling.spread):
        answer = ask(one)
        assert answer.verdict == "cannot be judged" and "from 0.2 to 0.1" in answer.why


def test_a_drift_that_is_seen_is_one_whatever_the_rate_does():
    found = quadratic(1, start="stationary", drift=4e-4)
    answer = settling.weights(seen(found, steady=False, rate_before=0.2))
    assert answer.verdict == "no" and "hold the rate" in answer.advice
    assert "What drifts" in answer.why and "from 0.2 to 0.1" in answer.why
    assert settling.spread(seen(found, steady=False)).verdict == "cannot be judged"


def test_frozen_weights_are_no_stationary_ones(settled):
    still = {name: np.ones_like(settled[name]) for name in settled}
    still["update_square"] *= 0
    assert "frozen" in settling.weights(seen(still)).why


def test_a_vanished_gradient_is_one_against_the_start_and_memories_are_of_a_group():
    (one,) = gradients(0.0, 1e-4, 1)
    answer = settling.gradient(one)
    assert answer.verdict == "yes" and "of its norm at the start" in answer.advice
    group, keys = facts(weight_decay=0.1)["groups"][0], ("loss", "gradient", "spread")
    noise = {"noise_norm": measured(np.ones(400))}
    known = {key: Answer(key, "", "yes", 0.0, 0.0, 0.0, "", "", "", "") for key in keys}
    for count in (1, 2):
        told = {"facts": facts(groups=[group] * count), "rates": np.full(count, RATE)}
        why = questions.regime(seen(series=noise, **told), known).why
        assert ("forgets fastest" in why) == (count > 1)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0, 2.0])
def test_a_loss_that_is_divided_is_not_compared_with_one_that_is_not(share):
    draw = np.random.default_rng(0).normal(1, 0.01, 1000)
    series = {"loss": measured(share * draw, every=1), "mean_loss": measured(draw[::100])}
    start = {"loss": (1.1 * share, np.nan), "mean_loss": (1.1, 0.01)}
    answer = settling.loss(seen(series=series, start=start))
    assert ("times the measured one" in answer.why) == (share != 1)
    assert share == 1 or answer.verdict == "cannot be judged"


@pytest.mark.parametrize("settled", ["yes", "no", "cannot be judged"])
def test_the_regime_says_of_the_loss_no_more_than_its_own_answer(settled):
    given = {
        key: Answer(key, "", verdict, 0.0, 0.0, 0.0, "", "", "", "")
        for key, verdict in {"loss": settled, "gradient": "yes", "spread": "yes"}.items()
    }
    answer = questions.regime(seen(series={"noise_norm": measured(np.ones(4))}), given)
    assert answer.verdict == "no"
    assert ("loss and gradient have come to rest" in answer.why) == (settled == "yes")
    assert ("the loss still changes" in answer.why) == (settled == "no")


def test_weights_that_turn_at_a_constant_norm_are_seen_by_the_sketch():
    angle = np.linspace(0, 1, STEPS)
    turning = 10 * np.stack([np.cos(angle), np.sin(angle)], 1)
    draw = np.random.default_rng(0).standard_normal((STEPS, 2))
    series = {
        name: measured(1 + 0.1 * draw[:, n], every=1)
        for n, name in enumerate(("weight_square", "update_square"))
    }
    answer = settling.weights(seen(series=series, sketch=turning + 0.1 * draw))
    assert answer.verdict == "no" and answer.why.endswith("What drifts: the weights.")
    assert settling.weights(seen(series=series, sketch=0.1 * draw)).verdict == "yes"


# --- the batch ---


@pytest.mark.parametrize("ratio", [1.0, 10.0, 40.0])
def test_the_interval_of_the_noise_scale_holds_it(ratio):
    _, answers = counted(limits.batch, batches(ratio, SEEDS))
    assert sum(one.low <= ratio <= one.high for one in answers) >= at_least(0.95)


@pytest.mark.parametrize(
    "ratio, optimizer, verdict",
    [(10.0, "SGD", "yes"), (0.2, "SGD", "no"), (1.0, "SGD", "cannot be judged"),
     (10.0, "AdamW", "cannot be judged"), (40.0, "AdamW", "yes")],
)  # fmt: skip
def test_whether_a_larger_batch_helps_is_told_beyond_the_factor(ratio, optimizer, verdict):
    said, answers = counted(limits.batch, batches(ratio, SEEDS, optimizer, 0.001))
    assert said[verdict] == SEEDS
    if ratio == 1.0:  # far within the factor
        assert all("the curvature decides: try" in one.advice for one in answers)


def test_at_the_factor_a_larger_batch_is_seldom_called_helpful():
    said, _ = counted(limits.batch, batches(limits.MOSTLY, SEEDS))
    assert said["yes"] <= at_most(0.025)


def test_a_signal_not_told_from_zero_leaves_a_lower_end():
    _, answers = counted(limits.batch, batches(1e6, SEEDS))
    assert any(np.isinf(one.high) for one in answers)
    assert all(one.verdict in ("yes", "cannot be judged") for one in answers)
    open_ones = [one for one in answers if one.verdict == "cannot be judged"]
    assert all("too wide to tell" in one.advice for one in open_ones)


def test_the_batch_is_the_one_of_a_step():
    one = next(batches(1.0, 1))
    scaled = seen(series=one.series, facts=facts(batch_size=64, measured_batch_size=32))
    answer, other = limits.batch(one), limits.batch(scaled)
    assert other.number == pytest.approx(answer.number / 2)
    assert answer.why.split("batches, ")[1] == other.why.split("batches, ")[1]


# --- the regime ---


@pytest.fixture(scope="module")
def regimes():
    """Trainings of each regime, by its name."""
    return {name: [*whole(SEEDS, **given)] for name, given in REGIMES.items()}


def said_of(trainings):
    """How often each question has each answer, and what is said of the regime."""
    found = {ask.__name__: counted(ask, trainings) for ask in (*questions.QUESTIONS, regime)}
    return {name: said for name, (said, _) in found.items()}, [
        one.why for one in found["regime"][1]
    ]


def test_noise_at_a_settled_loss_is_the_papers_regime(regimes):
    said, why = said_of(regimes["noise at a settled loss"])
    assert said["regime"]["yes"] > 0.98 * SEEDS and not said["regime"]["no"]
    assert said["gradient"]["no"] == said["spread"]["no"] == SEEDS
    assert sum("diffusion is not seen" in one for one in why) == said["regime"]["yes"]


def test_interpolation_is_another_regime(regimes):
    said, why = said_of(regimes["noise that ends at the minimum"])
    assert said["gradient"]["yes"] == said["loss"]["yes"] == said["regime"]["no"] == SEEDS
    assert all("loss and gradient have come to rest" in one for one in why)


def test_full_batch_descent_is_another_regime(regimes):
    said, why = said_of(regimes["no noise"])
    assert said["batch"]["no"] == said["regime"]["no"] == said["loss"]["no"] == SEEDS
    assert said["weights"]["no"] > 0.98 * SEEDS and not said["weights"]["yes"]
    assert all("full-batch" in one for one in why)


def changed(one, **given):
    return questions.answers(dataclasses.replace(one, facts=facts(**given)))[-1]


def test_a_young_stage_is_said_to_be_one(regimes):
    one = regimes["noise at a settled loss"][0]
    answer = changed(one, weight_decay=1e-3, momentum=0.9)
    assert answer.number == pytest.approx(RATE * 1e-3 * one.last / 0.1)
    assert "start is forgotten" in answer.why
    adam = {"optimizer": "AdamW", "decoupled": True, "momentum": [0.9, 0.999]}
    answer = changed(one, weight_decay=1e-3, **adam)
    assert answer.number == pytest.approx(RATE * 1e-3 * one.last)
    assert "still depend on its start" in answer.why


def test_jointly_is_wider(regimes):
    one = regimes["noise at a settled loss"][0]
    alone, joint = (questions.answers(one, n) for n in (1, 6))
    for one, other in zip(alone[:3], joint[:3]):
        assert other.high - other.low > one.high - one.low


def test_what_was_not_watched_is_no_verdict():
    for answer in questions.answers(seen()):
        assert answer.verdict == "cannot be judged" and answer.why
    with pytest.raises(UsageError, match="noise_norm was not watched .*: watch with it"):
        seen().of("noise_norm")


@pytest.mark.parametrize("first", range(2001, 2011))
def test_of_what_was_measured_too_seldom_an_interval_is_said_that_is_enough(first):
    one = seen(start={"noise_norm": (1.0, 0.0)}, first=first, last=2999)
    with pytest.raises(UsageError, match=r"measure more often, with every=\d+ or less") as told:
        one.of("noise_norm")
    every = int(re.search(r"every=(\d+)", str(told.value))[1])
    measured_at = [step for step in range(first, 3000) if step % every == 0]
    assert len(measured_at) >= MEASUREMENTS and every > 100


def test_the_curvature_of_these_processes_is_stable():
    assert CURVATURE.max() < 2 / RATE
