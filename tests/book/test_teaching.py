"""The page on teaching agrees with the book that it teaches."""

import math
import re
from itertools import combinations
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
from book.test_book import ROOT
from stationarity.book import teaching
from stationarity.book.plain import Book

BOOK = Book(ROOT)
PAGE = nbformat.read(ROOT / "book" / "teaching.ipynb", as_version=4)


def rows(name: str) -> list[str]:
    """The rows of the table in a cell of the page, without its head."""
    (cell,) = [cell for cell in PAGE.cells if cell.id == name]
    return [line for line in cell.source.splitlines() if line.startswith("| ")][1:]


def test_every_reference_of_the_page_is_to_something_in_the_book():
    text = "\n".join(cell.source for cell in PAGE.cells)
    named = re.findall(r"\{(?:numref|ref|prf:ref|doc)\}`([^`]+)`", text)
    assert len(named) > 100
    assert set(named) - set(BOOK.names) == {"fig-prerequisites"}


def test_the_course_has_twelve_lessons_and_every_chapter():
    lessons = rows("course")
    assert len(lessons) == 12
    assert set(re.findall(r"\{doc\}`([^`]+)`", "\n".join(lessons))) == set(BOOK.chapters)
    for lesson in lessons:
        assert "{numref}" in lesson and len(re.findall(r"\{ref\}`ex", lesson)) >= 2


def test_every_mistake_is_caught_by_an_exercise():
    mistakes = rows("mistakes")
    assert len(mistakes) >= 12
    assert all(re.search(r"\{ref\}`ex[^|]*\|$", one) for one in mistakes)


def test_what_a_chapter_needs_comes_before_it_and_nothing_twice():
    pages, needed = list(BOOK.chapters), teaching.needs(BOOK)
    for page, earlier in needed.items():
        assert all(pages.index(one) < pages.index(page) for one in earlier)
    assert needed["04-wikitext-transformer-xl"] == ["03-imagenet-resnet101"]  # and with it 2


def test_every_experiment_belongs_to_one_chapter():
    own = [name for page in BOOK.chapters for name in teaching.experiments(page)]
    assert own == list(teaching.EXPERIMENTS)


def test_the_table_has_times_of_runs_and_counts_of_exercises(monkeypatch):
    took = dict.fromkeys(BOOK.chapters, 90.0) | {"14-your-own-training": math.nan}
    monkeypatch.setattr(teaching, "seconds", lambda page: (took[page], ["a machine"]))
    table = teaching.table(BOOK, 2.0)
    assert list(table.iloc[0])[:3] == [1, "1.5 min", "3 min"]
    assert list(table.iloc[-1])[1:3] == ["?", "?"]
    assert (table[list(teaching.KINDS)] >= 1).all(axis=None)
    assert table["checks"].sum() >= 40


def test_the_graph_shows_every_chapter():
    figure = teaching.graph(BOOK)
    shown = [text.get_text() for text in figure.axes[0].texts]
    plt.close(figure)
    numbers = {int(one.split(".")[0]) for one in shown if one}
    assert numbers == set(range(1, len(BOOK.chapters) + 1))


def test_no_arrow_of_the_graph_passes_behind_a_box():
    """Each part of one leads from a row to the next, and where it bends there is no box."""
    figure = teaching.graph(BOOK)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    arrows = [one for one in axes.texts if not one.get_text()]
    boxes = [one.get_bbox_patch().get_window_extent() for one in axes.texts if one.get_text()]
    bends = [one.xy for one in arrows if one.arrowprops["arrowstyle"] == "-"]
    plt.close(figure)
    assert all(one.xyann[1] - one.xy[1] <= 1 for one in arrows)
    assert len(bends) > 2 and not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert not any(box.contains(*axes.transData.transform(xy)) for xy in bends for box in boxes)


def test_the_time_of_a_chapter_is_that_of_all_seeds_of_its_runs(monkeypatch):
    made = {}

    def read(folder):
        facts = {"status": "complete", "wall_seconds": 1.0, "device": "a machine"}
        made[folder] = SimpleNamespace(info=facts, complete=True, made_by_this_code=True)
        return made[folder]

    monkeypatch.setattr(teaching.records, "read", read)
    many = [len(teaching.live(name)) for name in ("imagenet_resnet", "little_decay")]
    took, devices = teaching.seconds("03-imagenet-resnet101")
    assert many == [4, 4] and took == len(devices) == len(made) > 8
