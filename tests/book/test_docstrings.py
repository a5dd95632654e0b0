"""The pages of the library's functions: all stand there, with links that lead somewhere."""

import importlib
import inspect
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import pytest
from extensions import extension

ROOT = Path(__file__).parents[2]
BOOK, LIBRARY = ROOT / "book", ROOT / "lib" / "stationarity"
WINGS = ("measure", "theory", "stats", "runs")
# What no page shows: it makes other functions, and is not for a reader's own use.
INNER = {"progress"}

docstrings = extension("docstrings")


def shown(wing: str) -> set[str]:
    text = (BOOK / f"api-{wing}.md").read_text(encoding="utf-8")
    return set(re.findall(r"auto(?:module|class|function):: ([\w.]+)", text))


@pytest.mark.parametrize("wing", ["theory", "stats", "runs"])
def test_every_module_of_a_wing_has_its_place(wing):
    modules = {path.stem for path in (LIBRARY / wing).glob("[a-z]*.py")}
    for module in modules - INNER:
        name = f"stationarity.{wing}.{module}"
        assert any(f"{one}.".startswith(f"{name}.") for one in shown(wing)), name


def test_every_public_name_of_what_measures_has_a_docstring():
    measure = importlib.import_module("stationarity.measure")
    public = [one for name, one in vars(measure).items() if not name.startswith("_")]
    functions = [one for one in public if inspect.isfunction(one) or inspect.isclass(one)]
    assert len(functions) > 10 and all(one.__doc__ for one in functions)
    assert shown("measure") == {"stationarity.measure"}


def test_every_section_that_a_docstring_names_is_found():
    pages, linked = docstrings.headings(BOOK), 0
    for wing in WINGS:
        for path in (LIBRARY / wing).glob("*.py"):
            for match in docstrings.SECTION.finditer(path.read_text(encoding="utf-8")):
                text = docstrings.with_links(match[0] + ".", pages)
                page, title = re.search(r"<book/([\w-]+):(.*)>`", text).groups()
                assert pages[title] == page, (path, match[0])
                linked += 1
    assert linked > 5


def members(wing: str) -> Iterator:
    """Yield what the page of a wing shows by its name, or within a module."""
    for name in shown(wing):
        place = pydoc.locate(name)
        inside = vars(place).values() if inspect.ismodule(place) else [place]
        for one in inside:
            own = getattr(one, "__module__", "").startswith(f"stationarity.{wing}.")
            if (own or one is place) and (inspect.isfunction(one) or inspect.isclass(one)):
                yield one


@pytest.mark.parametrize("wing", WINGS)
def test_every_function_on_the_pages_names_the_section_that_derives_or_uses_it(wing):
    pages, named = docstrings.headings(BOOK), 0
    for one in members(wing):
        if one.__doc__:
            lines = inspect.getdoc(one).splitlines()
            what = "function" if inspect.isfunction(one) else "class"
            app = SimpleNamespace(srcdir=ROOT)
            docstrings.prepare(app, what, one.__name__, one, None, lines)
            assert "our section :ref:`" in "\n".join(lines), one
            named += 1
    assert named > 5
    assert set(docstrings.DERIVED.values()) <= set(pages)


def test_chapters_become_links():
    text = docstrings.with_links("Book: chapters 1 and 10.", docstrings.headings(BOOK))
    assert text == (
        "Book: :doc:`chapter 1 </book/01-two-stories>` and "
        ":doc:`chapter 10 </book/10-langevin>`."
    )


def test_parameters_become_a_list_and_norms_stay_norms():
    text = (
        "Estimate ||g||^2 * M of ``a|b``.\n\nParameters\n----------\n"
        "model, batches: what it is\n    and is not.\nk : how many.\n\nMore.\n"
    )
    made = docstrings.PARAMETERS.sub(docstrings.listed, docstrings.escaped(text))
    settings = {"report_level": 1, "halt_level": 2}
    html = docutils.core.publish_parts(made, writer_name="html5", settings_overrides=settings)
    body = html["body"]
    assert "Estimate ||g||^2 * M of" in body and "a|b" in body
    assert re.findall(r"<dt>.*?>([\w, ]+)<.*?</dt>", body) == ["model, batches", "k"]
