"""The numbers that a figure shows, as a table: read off what was drawn, exactly."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import Collection, PathCollection, QuadMesh
from matplotlib.container import Container, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle, StepPatch
from matplotlib.quiver import Quiver
from matplotlib.ticker import FixedLocator

COLUMNS = ["panel", "series", "part", "x", "y", "value", "row"]
ACROSS = "across"  # a part: of a line from one side of its panel to the other


def table(figure: Figure) -> pd.DataFrame:
    """Return what a figure's axes show, a row a point: panel, series, part, x, y, value.

    ``panel`` is the number of the axes, with their title, and what y and x are. Where y has
    words for its rows, there is a column ``row`` with the word. ``series`` is the label of
    the legend where there is one, else the kind and its number. Bars of errors, areas and
    segments have a row a corner, and in ``part`` which of them it is of. A line across the
    whole panel, such as a level, and either side of a band have one place alone, x or y, and
    in ``part`` the word across. ``value`` is the colour's number, or an arrow's x and y, a row
    each. Text is left out.

    >>> figure = Figure()
    >>> _ = figure.subplots().plot([1, 2], [3, 4], label="a line")
    >>> table(figure)[["series", "x", "y"]].values.tolist()
    [['a line', 1.0, 3.0], ['a line', 2.0, 4.0]]
    """
    rows = []
    for number, axes in enumerate(figure.axes, 1):
        texts = axes.get_title("left"), axes.get_title(), _called(axes, "y")
        across = _called(axes, "x")
        panel = f"{number}: {', '.join(filter(None, texts))}{across and f' against {across}'}"
        rows_called = _rows(axes)
        for series, part, points, values in _drawn(axes):
            points = np.ma.filled(np.ma.asarray(points, dtype=float), np.nan).reshape(-1, 2)
            values = np.broadcast_to(values, len(points))
            rows += [
                (panel, series, part, *xy, v, rows_called(xy[1]))
                for xy, v in zip(points.tolist(), values)
            ]
    shown = pd.DataFrame(rows, columns=COLUMNS)
    shown = shown[(shown.part == ACROSS) | shown[["x", "y"]].notna().all(axis=1)]
    return shown if shown.row.any() else shown.drop(columns="row")


def _called(axes: Axes, which: str) -> str:
    """Return the name of an axis, from the panel that shows it where axes share it."""
    shared = getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)
    names = [getattr(one, f"get_{which}label")() for one in (axes, *shared)]
    return " ".join(next(filter(None, names), "").split())


def _rows(axes: Axes) -> Callable[[float], str]:
    """Return what says which row of an axis with words instead of numbers a place is in."""
    axis, words = axes.yaxis, {}
    if isinstance(axis.get_major_locator(), FixedLocator):
        places = axis.get_majorticklocs()
        words = dict(zip(places, axis.get_major_formatter().format_ticks(places)))
    numbers = all(
        re.fullmatch(r"[$\\\w{}^.,−+-]*\d[$\\\w{}^.,−+-]*", w) for w in words.values()
    )
    if numbers:
        return lambda place: ""
    return lambda place: (
        "" if np.isnan(place) else words[min(words, key=lambda tick: abs(tick - place))]
    )


def _drawn(axes: Axes) -> Iterator[tuple]:
    """Yield series, part, points (n, 2) and values (n,) of what stands in an axes' data."""
    numbered = enumerate(axes.containers, 1)
    held = [(part, _named(one, n)) for n, one in numbered for part in one.get_children()]
    names, bars = dict(held), [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    caps = {cap for _, caps, _ in bars for cap in caps}
    kinds = {"line": axes.lines, "marks": axes.collections, "image": axes.images}
    for kind, artists in (kinds | {"bar": axes.patches}).items():
        for number, one in enumerate(artists, 1):
            label = str(names.get(one) or one.get_label() or "_")
            label = f"{kind} {number}" if label.startswith("_") else label
            if one.get_visible() and one not in caps:
                yield from ((label, *part) for part in _parts(one, *_in_data(one, axes)))


def _named(one: Container, number: int) -> str:
    """Return the label of points with bars, or of columns, that belong together."""
    label = str(one.get_label() or "_")
    kind = "points" if isinstance(one, ErrorbarContainer) else "columns"
    return f"{kind} {number}" if label.startswith("_") else label


def _in_data(artist: Artist, axes: Axes) -> tuple[bool, bool]:
    """Return whether x and y are the data's: one alone is of a line across the axes."""
    marks = isinstance(artist, PathCollection | Quiver)  # a drawn quiver has another transform
    place = artist.get_offset_transform() if marks else artist.get_transform()
    return place.contains_branch_seperately(axes.transData)


def _parts(artist, x_is_data: bool, y_is_data: bool) -> Iterator[tuple]:
    """Yield part, points and values of an artist: nothing of a kind that shows no numbers."""
    if not (x_is_data and y_is_data):
        line, span = isinstance(artist, Line2D), isinstance(artist, Rectangle)
        if (line or span) and (x_is_data or y_is_data):
            places = artist.get_xydata()[:1] if line else artist.get_corners()[::2]
            yield ACROSS, np.where([x_is_data, y_is_data], places, np.nan), np.nan
        return
    array = artist.get_array() if isinstance(artist, ScalarMappable) else None
    colours = np.nan if array is None else np.ma.filled(array.astype(float), np.nan)
    if isinstance(artist, Line2D):
        yield "", artist.get_xydata(), np.nan
    elif isinstance(artist, PathCollection):
        yield "", artist.get_offsets(), colours
    elif isinstance(artist, QuadMesh | AxesImage):
        yield "", _centres(artist, colours.shape), colours.ravel()
    elif isinstance(artist, Quiver):
        yield "x", artist.get_offsets(), artist.U
        yield "y", artist.get_offsets(), artist.V
    elif isinstance(artist, Collection):
        each = np.broadcast_to(colours, len(artist.get_paths()))
        for number, (path, colour) in enumerate(zip(artist.get_paths(), each), 1):
            yield number, path.vertices, colour
    elif isinstance(artist, StepPatch):
        heights, edges, _ = artist.get_data()
        yield "", np.stack([(edges[1:] + edges[:-1]) / 2, heights], 1), np.nan
    elif isinstance(artist, Rectangle):
        corner = [artist.get_x() + artist.get_width() / 2, artist.get_y() + artist.get_height()]
        yield "", np.array([corner]), np.nan
    elif isinstance(artist, Polygon):
        yield "", artist.get_xy(), np.nan


def _centres(artist: QuadMesh | AxesImage, shape: tuple[int, int]) -> np.ndarray:
    """Return the centres (n, 2) of the cells of a mesh or an image, row by row."""
    if isinstance(artist, QuadMesh):
        grid = artist.get_coordinates()
        return (grid[1:, 1:] + grid[:-1, :-1]).reshape(-1, 2) / 2
    left, right, bottom, top = artist.get_extent()
    rows, columns = ((np.arange(count) + 0.5) / count for count in shape[:2])
    if artist.origin == "upper":
        bottom, top = top, bottom
    x, y = np.meshgrid(left + (right - left) * columns, bottom + (top - bottom) * rows)
    return np.stack([x.ravel(), y.ravel()], 1)
