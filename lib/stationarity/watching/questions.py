"""The questions that a report answers about a watched training, and the regime it is in.

Each is a function of a :class:`~.watched.Watched` and of ``together``, the number of questions
whose intervals shall hold jointly; each returns an :class:`~.answers.Answer`. Verdicts follow
from intervals at 95 %; what a verdict says is said by its criterion, and no more.

**Errors.** Where a number lies at its criterion, the verdict on either side of it is given in
at most 2.5 % of trainings; where it is what the question calls nothing, an alarm in at most 5
%, and 7 % where the loss or ||theta||^2 has a slow part (:mod:`~.drifts`).

**Power**, of 200 trainings each on noisy quadratics in 20 directions, whose slowest has a
memory of 66 steps (``python benchmarks/report.py``). The loss is called settled in all of
them, in equilibrium over 4,000 steps, and never where it falls; the gradient vanished in 99 %
where it is zero and measured to 1 % of the start, never at a tenth of it; the weights
stationary in 74 % after 16,000 steps of equilibrium, in none after 4,000; not so in all that
relax or follow a minimum that moves, and in half of those that diffuse freely: such a walk is
a stationary process with a long memory, as far as one sees; the exponent tells it from one
that has ended in all. Edge and batch are told in all where they are off their criteria by a
factor; so is the regime, of noise at a settled loss, noise that ends at the minimum, and no
noise. tests/watching/ counts the same.
"""

import contextlib

from ..errors import UsageError
from ..stats.estimate import Estimate
from . import identities
from .answers import NO, OPEN, RISES, UNKNOWN, YES, Answer, all_of, asks, number, opposite
from .limits import batch, edge
from .scales import MEANINGS
from .settling import HOLD, gradient, loss, spread, weights
from .watched import Watched

QUESTIONS = loss, gradient, weights, spread, edge, batch
MEMORIES = 3.0  # of the weights in a stage: their start then counts for e^-3 = 5 %


@asks(
    "Is this the regime of the papers?",
    MEANINGS["memories"],
    "yes: at a constant rate the loss has settled, the gradient has not vanished, and there is"
    " noise; no: one of these is answered otherwise",
)
def regime(watched: Watched, answers: dict[str, Answer]) -> Answer:
    """Say whether this is the regime of the papers, from the other answers.

    Zhang et al.: the loss has settled, and the gradient has not vanished, with noise. Kunin et
    al.: the weights move on meanwhile. Both speak of a rate that is held: without one there is
    no ``yes``. The number is :func:`~.identities.memories` in the stage, exact: what the start
    of the stage still counts for is its negative exponential.
    """
    passed, steps = UNKNOWN, watched.last - watched.begin
    advice = "Nothing beyond the answers above."
    noisy = bool(watched.of("noise_norm").values.any())
    settled, vanished = answers["loss"].verdict, answers["gradient"].verdict
    verdict = all_of(settled, opposite(vanished), YES if noisy else NO)
    if not noisy:
        why = "There is no noise: this is full-batch descent, and no theory of the papers."
    elif vanished == YES:
        why = "The gradient has come to within 1 % of its norm at the start"
        rest = {
            YES: ", and the loss has settled: loss and gradient have come to rest. Whether the"
            " weights have is another question.",
            NO: ", but the loss still changes.",
        }
        why += rest.get(settled, "; whether the loss has settled cannot be judged.")
    elif answers["loss"].found == RISES:
        why = "The loss rises: this is no state that a theory of the papers is about."
    elif settled == NO:
        why = "The loss still changes: this is learning, and not yet the state after it."
    elif verdict == YES and not watched.steady:
        verdict = OPEN
        why = "The loss has settled and the gradient has not vanished, but in the"
        why += f" window {watched.course}: the papers' state is one at a rate that is held."
        advice = HOLD
    elif verdict == YES:
        why = "The loss has settled and the gradient has not vanished: the state that Zhang et"
        why += " al. describe."
        why += f" {_meanwhile(answers['spread'])}"
    else:
        first = "the loss has settled" if settled == OPEN else "the gradient has vanished"
        why = f"It cannot be judged whether {first}."
    if watched.steady:
        with contextlib.suppress(UsageError):
            count = identities.memories(watched, steps)
            passed = Estimate(count, count, count)
            why += f" The stage is {number(count, 2)} memories of the weights long"
            if len(watched.facts["groups"]) > 1:
                why += ", in the parameter group that forgets fastest"
            young = count < MEMORIES
            why += ": they still depend on its start." if young else ": its start is forgotten."
            if young:
                advice = f"The norm of the weights settles after about {MEMORIES / count:.2g}"
                advice += " times as many steps at this rate and decay."
    return verdict, passed, why, advice


def _meanwhile(spread: Answer) -> str:
    """Say what weights do while the loss has settled, from the answer whether they diffuse."""
    goes = "go on meanwhile (anomalous diffusion, as Kunin et al. report, is not shown)"
    if spread.high < 1:
        goes = "go on meanwhile, more slowly than by plain diffusion, as Kunin et al. report"
    elif spread.low > 1:
        goes = "travel meanwhile, as in a drift, and faster than a diffusion"
    said = {
        YES: f"The weights {goes}.",
        NO: "The weights stay in one region: Kunin et al.'s diffusion is not seen.",
    }
    return said.get(spread.verdict, "Whether the weights go on meanwhile cannot be judged.")


def answers(watched: Watched, together: int = 1) -> list[Answer]:
    """Return the answers to all questions, in the order of the report."""
    alone = [loss(watched, together)]
    for ask in QUESTIONS[1:]:
        known = {"rises": alone[0].found == RISES} if ask is edge else {}
        alone.append(ask(watched, together, **known))
    return [*alone, regime(watched, {one.key: one for one in alone})]
