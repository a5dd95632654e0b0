"""What the page on teaching shows: what a chapter needs, how long it takes, what it asks.

All is read off the book itself: its pages, its runs. Source: our section "Teaching with this
book".
"""

import math
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from ..chapters.plots import WIDTH
from ..runs.settings import EXPERIMENTS
from . import classroom, cost, verdicts
from .plain import Book, title_of

CHAPTERS = Path(__file__).parents[1] / "chapters"
KINDS = ("proof", "computation", "experiment")


def needs(book: Book) -> dict[str, list[str]]:
    """Return the earlier chapters that each one names as what to know before, the nearest."""
    nearest, known = {}, {}
    for page in book.chapters:
        opening = book.opening(page)
        told = re.search(r"\*\*Before you start\*\*.*", opening)
        named = re.findall(r"\{doc\}`([\w-]+)`", told[0] if told else opening)
        direct = {one for one in named if one in known}
        known[page] = direct.union(*(known[one] for one in direct))
        implied = set().union(*(known[one] for one in direct))
        nearest[page] = sorted(direct - implied)
    return nearest


def graph(book: Book) -> Figure:
    """Draw which chapters each one needs: an arrow leads to a chapter from what it needs."""
    before, rows = needs(book), {}
    for page, earlier in before.items():
        rows[page] = 1 + max((rows[one] for one in earlier), default=-1)
    height = 1 + max(rows.values())
    figure, axes = plt.subplots(figsize=(WIDTH, 0.85 * height))
    places = {}
    for row in range(height):
        level = [page for page in rows if rows[page] == row]
        level.sort(key=lambda page: sum(places[one][0] for one in before[page]))
        for number, page in enumerate(level, start=1):
            places[page] = number / (len(level) + 1), -row
    for page, (x, y) in places.items():
        title = f"{1 + list(book.chapters).index(page)}. {title_of(book.opening(page))}"
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"}
        text = textwrap.fill(title, 22)
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
        for one in before[page]:
            arrow = {"arrowstyle": "-|>", "color": "C0", "shrinkA": 14, "shrinkB": 16}
            axes.annotate("", (x, y), places[one], arrowprops=arrow, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0.5 - height, 0.5))
    axes.axis("off")
    return figure


def experiments(page: str) -> list[str]:
    """Return the experiments of a chapter's own."""
    text = (CHAPTERS / f"ch{page.replace('-', '_')}" / "settings.py").read_text("utf-8")
    registered = re.findall(r'register\(\s*"(\w+)"', text)
    return [name for name in EXPERIMENTS if name in registered]


def seconds(page: str) -> tuple[float, list[str]]:
    """Return how long a chapter's runs took at ``classroom``, and on what; else no number."""
    made = [run for name in experiments(page) for run in verdicts.existing_runs(name)]
    small = [run.info for run in made if run.scale == "classroom"]
    took = sum(info["wall_seconds"] for info in small) if small else math.nan
    return took, [info["device"] for info in small]


def table(book: Book, slower: float) -> pd.DataFrame:
    """Return a row a chapter: time of its runs, here and ``slower``; exercises and checks."""
    rows = {}
    for number, page in enumerate(book.chapters, start=1):
        notebook = book.notebook(page)
        took, devices = seconds(page)
        asked = re.findall(r"· (\w+) ★", "\n".join(c.source for c in notebook.cells))
        rows[f"{number}. {title_of(notebook.cells[0].source)}"] = {
            "runs": len(devices),
            "here": cost.spoken(took),
            "Colab": cost.spoken(took * slower),
            **{kind: asked.count(kind) for kind in KINDS},
            "checks": len(classroom.checks(notebook)),
        }
    return pd.DataFrame(rows).T.rename_axis(columns="chapter")
