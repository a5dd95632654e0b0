"""What a class copy of a chapter needs as it runs: prose with numbers, and self-checks.

A copy is made by :mod:`.classroom`. A self-check holds the exercise's own solution, packed:
it runs that on the results of the page as the student ran it, and tells no answer.
"""

import base64
import contextlib
import io
import json
import math
import re
import zlib

from ..errors import UsageError, known_name
from . import page

GLUED = re.compile(r"\{glue:(?:text|md)\}`([\w-]+)(:[^`]*)?`")
WITHIN = 0.01  # how far from the solution's value an answer may lie, as a share of it

# What an answer may be instead, and what to tell: the first that fits.
SLIPS = (
    (lambda right: -right, "The size is right: look at the sign."),
    (lambda right: 2 * right, "You are a factor of two too high."),
    (lambda right: right / 2, "You are a factor of two too low."),
    (lambda right: 100 * right, "The answer is asked as a share, not in per cent."),
    (lambda right: right**2, "That looks like the square of the answer."),
    (lambda right: math.sqrt(abs(right)), "That looks like the root of the answer."),
    (lambda right: 1 / right, "That looks like one over the answer."),
    (lambda right: 1 - right, "That looks like one less the answer."),
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
    """Return the checks of a page, ``{label: {code, value, within}}``, as a text."""
    return base64.b85encode(zlib.compress(json.dumps(checks).encode(), 9)).decode()


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
        return self._told(given, self._solved(label), self._checks[label]["within"])

    def _told(self, given: float, right: float, within: float) -> str:
        if near(given, right, within):
            return "Right."
        slips = SLIPS if right else ()
        fits = (hint for slip, hint in slips if near(given, slip(right), within))
        return f"Not right. {next(fits, '')}".strip()

    def _solved(self, label: str) -> float:
        if label not in self._right:
            names, check = dict(self._names), self._checks[label]
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(check["code"], names)
                    answer = eval(check["value"], names)
            except NameError as error:
                said = f"The check of {label} needs the results of this page"
                raise UsageError(
                    f"{said}: run all cells above the first exercise, then that one."
                ) from error
            self._right[label] = float(answer)
        return self._right[label]


def near(given: float, right: float, within: float) -> bool:
    """Say whether a number is the right one, up to a share of it (of one, where it is zero)."""
    return abs(given - right) <= within * (abs(right) or 1)
