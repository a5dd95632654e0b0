"""The files of the built book: every link within it leads somewhere, and pages are light."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pandas as pd
import pytest
from built import BOOK, ROOT, needs_the_book, pages
from extensions import extension

MEGABYTE = 1_000_000
behind = extension("behind_figures")


class Page(HTMLParser):
    """The names in a page, and what it refers to."""

    def __init__(self, path: Path):
        super().__init__()
        self.names, self.links = set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]


@pytest.fixture(scope="module")
def parsed():
    return {path: Page(path) for path in BOOK.rglob("*.html") if "_static" not in path.parts}


@needs_the_book
def test_every_link_within_the_book_leads_somewhere(parsed):
    lost = []
    for path, page in parsed.items():
        for link in page.links:
            to = urlsplit(link)
            if to.scheme or to.netloc:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            anchor = unquote(to.fragment)
            known = not anchor or target not in parsed or anchor in parsed[target].names
            if not (target.exists() and known):
                lost.append(f"{path.name} to {link}")
    assert lost == []


@needs_the_book
@pytest.mark.parametrize("page", pages())
def test_a_page_is_below_a_megabyte_without_its_figures(page):
    text = (BOOK / f"{page}.html").read_text(encoding="utf-8")
    figures = sum(len(part) for part in text.split('"') if part.startswith("data:image/"))
    assert len(text) - figures < MEGABYTE


@needs_the_book
@pytest.mark.parametrize(
    "source", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_under_each_figure_stands_what_is_behind_it(source):
    path = BOOK / "book" / f"{source.stem}.html"
    text, drawn = path.read_text(encoding="utf-8"), behind.drawn(source, {})
    for cell in nbformat.read(source, as_version=4).cells:
        if name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
            line = text.partition(f'id="{name}"')[2].partition("</figure>")[0]
            by, runs = drawn[name]
            assert ("drawn by" in line) == bool(by), name
            assert not runs or 'href="status.html#run-' in line, name
            told = f"_data/{source.stem}/{name}.csv" in line
            assert told or name == "fig-prerequisites", name  # of words and arrows
            if told:
                table = pd.read_csv(BOOK / "_data" / source.stem / f"{name}.csv")
                assert len(table) and {"panel", "series", "x", "y"} <= set(table)


@needs_the_book
@pytest.mark.parametrize("page", pages())
def test_an_image_is_told_in_words(page):
    text = (BOOK / f"{page}.html").read_text(encoding="utf-8")
    told = re.findall(r'<img [^>]*alt="([^"]*)"', text)
    assert [words for words in told if words.endswith(".svg")] == []


@needs_the_book
def test_a_term_of_the_glossary_is_told_where_it_first_stands():
    text = (BOOK / "book" / "01-two-stories.html").read_text(encoding="utf-8")
    links = re.findall(r'<a [^>]*href="(glossary.html#[^"]*)"[^>]*title="([^"]*)"', text)
    assert len(links) >= 5 and len(set(links)) == len(links)
    assert all(told.endswith(".") for _, told in links)
