"""What a class copy of a chapter needs as it runs: prose with numbers, and self-checks.

A copy is made by :mod:`.classroom`. Where the answer depends on the results of the page, as
the student ran it, a self-check has the exercise's own solution to run on them: packed, so
that nobody reads it by accident. Else it is locked: it has neither solution nor answer.
"""

import base64
import contextlib
import hashlib
import io
import json
import math
import re
import zlib

from ..errors import UsageError, known_name
from . import page

GLUED = re.compile(r"\{glue:(?:text|md)\}`([\w-]+)(:[^`]*)?`")
WITHIN = 0.01  # how far from the solution's value an answer may lie, as a share of it

# What would be right if an answer had a slip, and what to tell then: the first that fits.
SLIPS = (
    (lambda given: -given, "The size is right: look at the sign."),
    (lambda given: given / 2, "You are a factor of two too high."),
    (lambda given: 2 * given, "You are a factor of two too low."),
    (lambda given: given / 100, "The answer is asked as a share, not in per cent."),
    (lambda given: max(given, 0) ** 0.5, "That looks like the square of the answer."),
    (lambda given: given**2, "That looks like the root of the answer."),
    (lambda given: 1 / (given or math.inf), "That looks like one over the answer."),
    (lambda given: 1 - given, "That looks like one less the answer."),
)


def say(text: str) -> None:
    """Show prose with the numbers that the page glues, now or in a later cell."""
    from IPython import get_ipython
    from IPython.display import Markdown, display

    shown = display(Markdown(filled(text)), display_id=True)
    if set(keys := [key for key, _ in GLUED.findall(text)]) <= set(page.GLUED):
        return
    events = get_ipython().events

    def update(*_):
        if set(keys) <= set(page.GLUED):
            events.unregister("post_run_cell", update)
        if set(keys) & set(page.GLUED):
            shown.update(Markdown(filled(text)))

    events.register("post_run_cell", update)


def filled(text: str, values: dict | None = None) -> str:
    """Return prose with numbers in their places, the page's own or those given; else a dot."""
    known = page.GLUED if values is None else values

    def number(match: re.Match) -> str:
        value, form = known.get(match[1], "…"), (match[2] or ":")[1:]
        return value if isinstance(value, str) else format(value, form)

    return GLUED.sub(number, text)


def packed(checks: dict) -> str:
    """Return the checks of a page as a text: ``{label: {code, value, within}}``, or locked."""
    return base64.b85encode(zlib.compress(json.dumps(checks).encode(), 9)).decode()


def solved(check: dict, names: dict) -> float:
    """Return what the solution gives with some names; ``NameError`` where it needs others."""
    space = dict(names)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(check["code"], space)
        return float(eval(check["value"], space))


def locked(label: str, right: float, within: float) -> dict:
    """Return a check that knows an answer, not zero, when it sees it, and does not hold it.

    A logarithmic ruler has marks at twice the tolerance. Kept are a hash of the gap that the
    answer lies in, slow to compute, and by how many quarters of a gap the ruler is shifted so
    that it lies near the middle: the tolerance is right up to a quarter.
    """
    quarters = round(4 * _place(right, within)) % 4
    return {"within": within, "quarters": quarters, "key": _key(label, right, within, quarters)}


def _place(number: float, within: float) -> float:
    return math.log(abs(number)) / (2 * math.log1p(within))


def _key(label: str, number: float, within: float, quarters: int) -> str:
    gap = math.floor(_place(number, within) - quarters / 4 + 0.5)
    told = f"{gap} {number > 0}".encode()
    return hashlib.scrypt(told, salt=label.encode(), n=2**13, r=8, p=1, dklen=16).hex()


class SelfChecks:
    """``check(label, answer)`` says whether an answer is right, for the results of the page."""

    def __init__(self, names: dict, text: str):
        """``names``: the page's, before the first answer; ``text``: as from :func:`packed`."""
        self._names = dict(names)
        self._checks = json.loads(zlib.decompress(base64.b85decode(text)))
        self._right: dict[str, float] = {}

    def __call__(self, label: str, answer) -> None:
        print(self.judge(label, answer))

    def judge(self, label: str, answer) -> str:
        """Return what to tell about an answer: right, or not and perhaps why."""
        known_name(label, self._checks, "exercise with a self-check on this page")
        if answer is ...:
            return "No answer yet: put a number in place of the three dots."
        try:
            given = float(answer)
        except (TypeError, ValueError):
            given = math.nan
        if isinstance(answer, bool) or not math.isfinite(given):
            said = f"The answer to {label} is one finite number"
            raise UsageError(f"{said}, and {answer!r} is not that.")
        if self._fits(label, given):
            return "Right."
        slips = SLIPS if "key" in self._checks[label] or self._solved(label) else ()
        fits = (hint for slip, hint in slips if self._fits(label, slip(given)))
        return f"Not right. {next(fits, '')}".strip()

    def _fits(self, label: str, given: float) -> bool:
        check = self._checks[label]
        if "key" not in check:
            return near(given, self._solved(label), check["within"])
        form = check["within"], check["quarters"]
        return given != 0 and _key(label, given, *form) == check["key"]

    def _solved(self, label: str) -> float:
        if label not in self._right:
            try:
                self._right[label] = solved(self._checks[label], self._names)
            except NameError as error:
                said = f"The check of {label} needs the results of this page"
                raise UsageError(
                    f"{said}: run all cells above the first exercise, then that one."
                ) from error
        return self._right[label]


def near(given: float, right: float, within: float) -> bool:
    """Say whether a number is the right one, up to a share of it (of one, where it is zero)."""
    return abs(given - right) <= within * (abs(right) or 1)
