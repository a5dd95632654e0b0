"""Notebooks for a class: each chapter for students and for teachers, and an archive of each.

``python -m stationarity.book.classroom [FOLDER]`` makes them from the book's sources. A
student's copy has a cell to answer in where the book has a solution; a teacher's has both.
The cell in which a solution begins may hold ``check`` in its metadata: what is ``asked``, one
number; its ``value``, an expression in the names of the solution's code, or of another
``code``; and how far ``within`` an answer may lie, as a share.
"""

import contextlib
import math
import re
import sys
import zipfile
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import nbformat
import numpy as np
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

import stationarity

from .. import theory
from ..runs.provenance import PROJECT
from . import lesson
from .lesson import GLUED, WITHIN, packed
from .plain import Book

START = re.compile(r"^(`{3,})\{solution-start\} (\S+)\n(?::.*\n)*\1 *$", re.MULTILINE)
END = re.compile(r"^(`{3,})\{solution-end\}\n\1 *$", re.MULTILINE)
KINDS = ("student", "teacher")
INSTALL = "install"  # the cell that the book's publishing puts into each page
HIDDEN = {"jupyter": {"source_hidden": True}, "cellView": "form"}  # Jupyter's word, Colab's

OPENING = """\
*A {kind}'s copy of {chapter}, of the book **{book}**.* It needs Python with the book's \
library, `stationarity`, and no other file. Run it from the top; the exercises come last."""


def pieces(notebook) -> Iterator[tuple[str | None, object]]:
    """Yield the cells of a page with the exercise that each is a part of the solution of.

    A Markdown cell is split where a solution begins or ends. The first piece of a solution is
    its check, ``None`` where it has none.
    """
    label = None
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            yield label, cell
            continue
        rest = cell.source
        while rest:
            mark = (END if label else START).search(rest)
            text = rest[: mark.start() if mark else None].strip()
            if text:
                yield label, new_markdown_cell(text)
            if mark:
                label = None if label else mark[2]
                if label:
                    yield label, cell.metadata.get("check")
            rest = rest[mark.end() :] if mark else ""


def solutions(notebook) -> dict[str, dict]:
    """Return the solution of each exercise: its cells, their code, and its self-check."""
    by_label = {}
    for label, group in groupby(pieces(notebook), key=itemgetter(0)):
        if label:
            check, *cells = [piece for _, piece in group]
            code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
            by_label[label] = {"check": check, "cells": cells, "code": code}
    return by_label


def checks(notebook) -> dict[str, dict]:
    """Return what the self-checks of a page run: code, value and tolerance by exercise."""
    return {
        label: {"code": one["code"], "within": WITHIN} | check
        for label, one in solutions(notebook).items()
        if (check := one["check"])
    }


def locked(checks: dict[str, dict]) -> dict[str, dict]:
    """Return the checks, with those locked whose answer needs no result of the page."""
    names = {"math": math, "np": np, "stationarity": stationarity, "theory": theory}
    made = dict(checks)
    for label, check in checks.items():
        with contextlib.suppress(NameError):
            if right := lesson.solved(check, names):
                made[label] = lesson.locked(label, right, check["within"])
    return made


def preparation(checks: dict[str, dict]):
    """Return the cell before the first exercise, which keeps the names that it finds."""
    source = (
        "#@title The self-checks of this page: run this cell before the first exercise.\n"
        "from stationarity.book.lesson import SelfChecks\n\n"
        f"check = SelfChecks(globals(), {packed(checks)!r})"
    )
    return new_code_cell(source, metadata=HIDDEN)


def copy(book: Book, page: str, kind: str):
    """Return a chapter as a notebook for students or for teachers."""
    source = book.notebook(page)
    solved, made, asked = solutions(source), _opening(book, page, kind, source), []
    for label, cell in pieces(source):
        if label is None:
            if not asked and "{exercise}" in cell.source:
                made.append(preparation(locked(checks(source))))
            made += _cells(book, cell)
        elif label not in asked:  # its first piece
            made += _solution(book, label, solved[label], kind)
        asked += [label] if label else []
    for number, cell in enumerate(made):
        cell["id"] = f"{kind}-{number}"
    return new_notebook(cells=made, metadata=source.metadata)


def _solution(book: Book, label: str, solved: dict, kind: str) -> list:
    """Return cells to answer in, or the solution, and the self-check of either."""
    check = solved["check"]
    if kind == "student":
        made, value = [new_markdown_cell("*Your answer, and why:*")], "..."
    else:
        made = [new for one in solved["cells"] for new in _cells(book, one)]
        made.insert(0, new_markdown_cell("**Solution**"))
        value = check and check["value"]
    begun = ["# Your code", ""] if kind == "student" else []
    if check:
        begun += [f"answer = {value}  # {check['asked']}", f"check({label!r}, answer)"]
    return [*made, *([new_code_cell("\n".join(begun))] if begun else [])]


def _opening(book: Book, page: str, kind: str, source) -> list:
    """Return the cells above the page's own: whose copy it is, and what its prose needs.

    Where the page installs the library, as on Colab, the copy does so before it needs it.
    """
    macros = [rf"\newcommand{{\{name}}}{form}" for name, form in book.definitions().items()]
    text = OPENING.format(kind=kind, chapter=book.called(page), book=book.config["title"])
    needed = [cell.source for cell in source.cells if cell.id == INSTALL]
    needed.append("from stationarity.book.lesson import say")
    cells = [new_code_cell(one, metadata=HIDDEN) for one in needed]
    return [new_markdown_cell(f"{text} ${' '.join(macros)}$"), *cells]


def _cells(book: Book, cell) -> list:
    """Return a cell of the book as cells that read well elsewhere: a caption follows it."""
    if cell.cell_type == "markdown":
        text = book.plain(cell.source)
        return [_prose(text)] if text else []
    if cell.id == INSTALL:  # it stands above
        return []
    tags = [tag for tag in cell.metadata.get("tags", []) if not tag.startswith("remove")]
    metadata = {"tags": tags} if tags else {}
    made = [new_code_cell(book.references(cell.source), metadata=metadata)]
    if figure := cell.metadata.get("mystnb", {}).get("figure"):
        name, _ = book.names[figure["name"]]
        made.append(_prose(f"**{name}.** {book.plain(figure['caption'])}"))
    return made


def _prose(text: str):
    """Return prose as a cell: one that is run where it shows computed numbers."""
    if not GLUED.search(text):
        return new_markdown_cell(text)
    return new_code_cell(f'say(r"""{text}\n""")', metadata=HIDDEN)


def make(folder: Path, root: Path = PROJECT) -> list[Path]:
    """Write the notebooks of both kinds and their archives; return the archives."""
    book, archives = Book(root), []
    for kind in KINDS:
        place = folder / kind
        place.mkdir(parents=True, exist_ok=True)
        archives.append(folder / f"{kind}.zip")
        with zipfile.ZipFile(archives[-1], "w", zipfile.ZIP_DEFLATED) as archive:
            for page in book.chapters:
                nbformat.write(copy(book, page, kind), place / f"{page}.ipynb")
                archive.write(place / f"{page}.ipynb", f"{kind}/{page}.ipynb")
    return archives


if __name__ == "__main__":
    for path in make(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/class")):
        print(path)
