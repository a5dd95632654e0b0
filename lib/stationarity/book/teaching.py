"""What the page on teaching shows: what a chapter needs, how long it takes, what it asks.

All is read off the book itself: its pages, its runs. Source: our section "Teaching with this
book".
"""

import math
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .. import launch
from ..chapters.plots import WIDTH
from ..runs import records
from ..runs.records import Run
from ..runs.settings import EXPERIMENTS
from . import claims, classroom, cost, verdicts
from .plain import Book, title_of

CHAPTERS = Path(__file__).parents[1] / "chapters"
KINDS = ("proof", "computation", "experiment")
BEND = 0.4  # of a box, the width that an arrow has which passes a row
BOX = 0.13  # of the figure, half the width of a box with some room


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
    before, rows = _with_bends(needs(book))
    height = 1 + max(rows.values())
    figure, axes = plt.subplots(figsize=(WIDTH, 0.85 * height))
    places = _places(before, rows, list(book.chapters))
    for one, (x, y) in places.items():
        text = ""
        if one in book.chapters:
            title = f"{1 + list(book.chapters).index(one)}. {title_of(book.opening(one))}"
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.4"}
            text = textwrap.fill(title, 22)
            axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
        top = y + 0.02 + 0.1 * len(text.splitlines()) if text else y
        for two in before[one]:
            arrow = {
                "color": "C0",
                "arrowstyle": "-|>" if text else "-",
                "shrinkA": 0,
                "shrinkB": 0,
            }
            axes.annotate("", (x, top), places[two], arrowprops=arrow, zorder=1)
    axes.set(xlim=(0, 1), ylim=(0.5 - height, 0.5))
    axes.axis("off")
    return figure


def _with_bends(needed: dict[str, list[str]]) -> tuple[dict, dict]:
    """Return what each chapter comes after, and its row; with bends in the rows between."""
    rows = {}
    for page, earlier in needed.items():
        rows[page] = 1 + max((rows[one] for one in earlier), default=-1)
    before = {page: [] for page in needed}
    for page, earlier in needed.items():
        for one in earlier:
            last = one
            for row in range(rows[one] + 1, rows[page]):
                bend = one, page, row
                rows[bend], before[bend], last = row, [last], bend
            before[page].append(last)
    return before, rows


def _places(before: dict, rows: dict, chapters: list) -> dict[object, tuple[float, float]]:
    """Return where each chapter stands, and each bend: near a straight line, between boxes."""
    places = {}
    for row in range(1 + max(rows.values())):
        level = [one for one in rows if rows[one] == row]
        at = {one: np.mean([places[two][0] for two in before[one]] or 0) for one in level}
        level.sort(key=lambda one: (at[one], one in chapters))
        widths = [1 if one in chapters else BEND for one in level]
        middles = np.cumsum(widths) - np.divide(widths, 2)
        places |= {one: (x / sum(widths), -row) for one, x in zip(level, middles, strict=True)}
    for bend in (one for one in rows if one not in chapters):
        (x, top), (goal, low) = (places[one] for one in bend[:2])
        x += (goal - x) * (rows[bend] + top) / (top - low)
        boxes = [places[one][0] for one in chapters if rows[one] == rows[bend]]
        left = max((one for one in boxes if one < places[bend][0]), default=-1) + BOX
        right = min((one for one in boxes if one > places[bend][0]), default=2) - BOX
        places[bend] = float(np.clip(x, left, right)), -rows[bend]
    return places


def experiments(page: str) -> list[str]:
    """Return the experiments of a chapter's own."""
    text = (CHAPTERS / f"ch{page.replace('-', '_')}" / "settings.py").read_text("utf-8")
    registered = re.findall(r'register\(\s*"(\w+)"', text)
    return [name for name in EXPERIMENTS if name in registered]


def live(name: str) -> list[Run]:
    """Return an experiment's complete runs at ``classroom``, of all seeds that the book has."""
    chosen, many = EXPERIMENTS[name]["classroom"], verdicts.needed_experiments(claims.read())
    each = (chosen.but(seed=chosen.seed + further) for further in range(many.get(name, 1)))
    folders = (launch.folder_of(name, "classroom", one) for one in each)
    made = [run for run in map(records.read, folders) if run and run.complete]
    return [run for run in made if run.made_by_this_code]


def seconds(page: str) -> tuple[float, list[str]]:
    """Return how long a chapter's runs took at ``classroom``, and on what; else no number."""
    small = [run.info for name in experiments(page) for run in live(name)]
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
