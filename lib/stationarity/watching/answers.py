"""What an answer is: a verdict with its number, its interval and its reason."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

from ..errors import UsageError
from ..stats.estimate import UNKNOWN, Estimate

YES, NO, OPEN = "yes", "no", "cannot be judged"
RISES = "rises"  # what a loss is found to do


@dataclass(frozen=True)
class Answer:
    """The answer to one question about a watched training.

    ``number`` with its interval at 95 %, ``low`` to ``high``, is of ``quantity``; NaN where
    there is none. The ``verdict`` follows from the interval by the ``criterion`` alone, ``why``
    says how, and ``advice`` what follows. ``found`` is what else was, for other questions:
    :data:`RISES`, or nothing.
    """

    key: str
    question: str
    verdict: str
    number: float
    low: float
    high: float
    quantity: str
    criterion: str
    why: str
    advice: str
    found: str = ""

    @property
    def estimate(self) -> Estimate:
        """The number with its interval."""
        return Estimate(self.number, self.low, self.high)


def asks(question: str, quantity: str, criterion: str) -> Callable:
    """Make an answer of a function that returns verdict, estimate, why and advice.

    What it found may follow. Where it raises :class:`UsageError` the verdict is ``cannot be
    judged``, and its message says why, with the remedy.
    """

    def decorate(function: Callable) -> Callable:
        @wraps(function)
        def answer(*arguments, **keywords) -> Answer:
            try:
                verdict, estimate, why, *said = function(*arguments, **keywords)
            except UsageError as error:
                verdict, estimate, why = OPEN, UNKNOWN, str(error)
                said = ["Nothing follows from this."]
            given = function.__name__, question, verdict, *map(float, estimate)
            return Answer(*given, quantity, criterion, why, *said)

        return answer

    return decorate


def within(estimate: Estimate, tolerance: float) -> str:
    """Say whether a change is nothing, to a tolerance, by its interval.

    ``yes`` where the interval lies within the tolerance on either side of zero; else ``no``
    where it does not hold zero, and ``cannot be judged`` where it does. A change that is
    nothing is said to be one as often as the interval misses; and one that is larger than the
    tolerance is said to be nothing half as often.
    """
    if max(-estimate.low, estimate.high) <= tolerance:
        return YES
    return OPEN if estimate.low <= 0 <= estimate.high else NO


def between(estimate: Estimate, low: float, high: float) -> str:
    """Say whether a number lies between two ends, by its interval."""
    if low <= estimate.low and estimate.high <= high:
        return YES
    return NO if estimate.high < low or estimate.low > high else OPEN


def all_of(*verdicts: str) -> str:
    """Return ``no`` where any verdict is, ``yes`` where all are, else ``cannot be judged``."""
    if NO in verdicts:
        return NO
    return YES if set(verdicts) == {YES} else OPEN


def opposite(verdict: str) -> str:
    """Return the verdict on the opposite question."""
    return {YES: NO, NO: YES}.get(verdict, verdict)


def number(value: float, digits: int = 3) -> str:
    """Return a number with so many digits, without an exponent where it is readable.

    >>> number(1184.2), number(0.00171)
    ('1,180', '0.00171')
    """
    return f"{float(f'{value:.{digits}g}'):,g}"


def percent(value: float) -> str:
    """Return a share in per cent, with two digits.

    >>> percent(-2.81)
    '-280 %'
    """
    return f"{number(100 * value, 2)} %"


def ends(estimate: Estimate, form: Callable = number) -> str:
    """Return an estimate as a text: ``value (low to high)``."""
    value, low, high = map(form, estimate)
    return f"{value} ({low} to {high})"
