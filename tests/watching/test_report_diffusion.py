"""The exponent of a single trajectory: its interval holds the truth, and it tells."""

import numpy as np
import pytest
from stationarity.chapters.ch09_anomalous_diffusion.stochastic_processes import (
    brownian,
    fractional,
    ornstein_uhlenbeck,
)
from stationarity.errors import UsageError
from stationarity.watching import diffusion, settling
from stationarity.watching.simulated import seen
from trainings import SEEDS, at_least, at_most, counted

ROWS, WIDTH = 1000, 20


def paths(draw, argument):
    generator = np.random.default_rng(0)
    return [draw(generator, 1, ROWS, WIDTH, argument)[0] for _ in range(SEEDS)]


@pytest.mark.parametrize(
    "draw, argument, exponent",
    [(brownian, 0.0, 1.0), (fractional, 0.3, 0.6), (fractional, 0.7, 1.4)],
)
def test_the_interval_of_an_exponent_holds_it(draw, argument, exponent):
    found = [diffusion.displacements(one).exponent() for one in paths(draw, argument)]
    held = sum(one.low <= exponent <= one.high for one in found)
    assert held >= at_least(0.93)
    assert np.mean([one.value for one in found]) == pytest.approx(exponent, abs=0.02)
    assert np.mean([one.high - one.low for one in found]) < 0.35


def test_diffusion_and_its_end_are_told():
    wanders, answers = counted(
        settling.spread, [seen(sketch=one) for one in paths(brownian, 0.0)]
    )
    assert wanders["yes"] == SEEDS
    said = [one.why for one in answers]
    assert sum("as Brownian motion does" in one for one in said) >= at_least(0.93)
    stays, _ = counted(
        settling.spread, [seen(sketch=one) for one in paths(ornstein_uhlenbeck, 8.0)]
    )
    assert stays["no"] > 0.9 * SEEDS and not stays["yes"]
    flies, answers = counted(
        settling.spread, [seen(sketch=one) for one in paths(brownian, 0.3)]
    )
    assert flies["yes"] == SEEDS
    assert all("faster than Brownian" in one.why for one in answers)
    assert all("travel, as in a drift" in one.why for one in answers)
    assert sum("travel" in one for one in said) <= at_most(0.07)


def test_a_sketch_that_is_missing_or_short_is_no_verdict():
    for sketch in (None, np.ones((100, 3))):
        answer = settling.spread(seen(sketch=sketch))
        assert answer.verdict == "cannot be judged" and np.isnan(answer.number)
    with pytest.raises(UsageError, match="121 are needed"):
        diffusion.displacements(np.ones((100, 3)))
