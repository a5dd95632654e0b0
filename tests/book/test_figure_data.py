"""The numbers behind a figure: those that were drawn, each kind of artist."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from stationarity.book.figure_data import table

GRID = np.array([[1.0, 2.0], [3.0, 4.0]])
CELLS = [(0.5, 0.5, 1), (1.5, 0.5, 2), (0.5, 1.5, 3), (1.5, 1.5, 4)]
NAN = float("nan")
KINDS = {  # what is drawn, and its series, parts, and points with their values
    "a line": (lambda a: a.plot([1, 2], [3, 4], label="L"), "L", [""] * 2, [(1, 3), (2, 4)]),
    "a scatter": (
        lambda a: a.scatter([1, 2], [3, 4], c=[5, 6]),
        "marks 1",
        [""] * 2,
        [(1, 3, 5), (2, 4, 6)],
    ),
    "bars of errors": (
        lambda a: a.errorbar([1, 2], [3, 4], [0.5, 1], capsize=3, label="E"),
        "E",
        ["", "", 1, 1, 2, 2],
        [(1, 3), (2, 4), (1, 2.5), (1, 3.5), (2, 3), (2, 5)],
    ),
    "a mesh": (lambda a: a.pcolormesh([0, 1, 2], [0, 1, 2], GRID), "marks 1", [""] * 4, CELLS),
    "an image": (
        lambda a: a.imshow(GRID, origin="lower", extent=(0, 2, 0, 2)),
        "image 1",
        [""] * 4,
        CELLS,
    ),
    "an image from above": (
        lambda a: a.imshow(GRID[::-1], extent=(0, 2, 0, 2)),
        "image 1",
        [""] * 4,
        CELLS[2:] + CELLS[:2],
    ),
    "arrows": (
        lambda a: a.quiver([0, 1], [2, 3], [4, 5], [6, 7]),
        "marks 1",
        ["x", "x", "y", "y"],
        [(0, 2, 4), (1, 3, 5), (0, 2, 6), (1, 3, 7)],
    ),
    "columns": (lambda a: a.bar([1, 2], [3, 4], label="B"), "B", [""] * 2, [(1, 3), (2, 4)]),
    "stairs": (
        lambda a: a.stairs([3, 4], [0, 1, 3], label="S"),
        "S",
        [""] * 2,
        [(0.5, 3), (2, 4)],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_those_that_were_drawn(kind):
    draw, series, parts, points = KINDS[kind]
    axes = Figure().subplots()
    axes.set_title("T")
    axes.set_ylabel("Y")
    axes.set_xlabel("X")
    draw(axes)
    axes.figure.savefig(io.BytesIO())  # a drawn one says the same
    found = table(axes.figure)
    assert set(found.panel) == {"1: T, Y against X"} and set(found.series) == {series}
    assert found.part.tolist() == parts
    whole = [(*point, NAN)[:3] for point in points]
    np.testing.assert_allclose(found[["x", "y", "value"]].to_numpy(float), whole)


def test_what_shows_no_numbers_is_left_out():
    axes = Figure().subplots()
    axes.plot([0, 1], [0, 1], transform=axes.transAxes)
    axes.plot([0, 1], [0, 1], visible=False)
    axes.text(0, 0, "words")
    axes.plot([1, np.nan, 3], np.ma.array([1, 2, 3], mask=[0, 0, 1]))
    assert table(axes.figure)[["series", "x", "y"]].values.tolist() == [["line 3", 1, 1]]
    assert table(Figure()).empty


def test_a_line_across_a_panel_has_its_one_place_and_its_label():
    axes = Figure().subplots()
    axes.axhline(2, label="truth")
    axes.axvline(5)
    axes.axhspan(0, 1, label="band")
    axes.set_yticks([0, 2], ["loss", "norm"])
    found = table(axes.figure)
    assert found.series.tolist() == ["truth", "line 2", "band", "band"]
    assert set(found.part) == {"across"} and found.row.tolist() == ["norm", "", "loss", "loss"]
    places = [(NAN, 2), (5, NAN), (NAN, 0), (NAN, 1)]
    np.testing.assert_allclose(found[["x", "y"]].to_numpy(float), places)


def test_panels_and_areas():
    figure = Figure()
    first, second = figure.subplots(2)
    first.fill_between([0, 1], [1, 1], [2, 3], label="between")
    second.contour(np.add.outer(np.arange(3.0), np.arange(3.0)), levels=[1.5])
    found = table(figure)
    corners = found[found.series == "between"]
    assert {(0, 1), (1, 1), (0, 2), (1, 3)} == set(zip(corners.x, corners.y))
    level = found[found.panel == "2: "]
    np.testing.assert_allclose(level.x + level.y, 1.5)
    assert set(level.value) == {1.5}
    plt.close("all")


def test_rows_with_words_are_told():
    axes = Figure().subplots()
    axes.errorbar([1.0, 2.0], [0, 1], xerr=[0.1, 0.2])
    axes.set_yticks([0, 1], ["loss", "norm"])
    found = table(axes.figure)
    assert set(found.series) == {"points 1"}
    assert found.groupby("y").row.unique().map(list).tolist() == [["loss"], ["norm"]]
