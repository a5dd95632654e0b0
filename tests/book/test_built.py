"""The files of the built book: every link within it leads somewhere, and pages are light."""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built import BOOK, needs_the_book, pages

MEGABYTE = 1_000_000


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
            if not target.exists() or (anchor and target in parsed and anchor not in (
                parsed[target].names)):  # fmt: skip
                lost.append(f"{path.name} to {link}")
    assert lost == []


@needs_the_book
@pytest.mark.parametrize("page", pages())
def test_a_page_is_below_a_megabyte_without_its_figures(page):
    text = (BOOK / f"{page}.html").read_text(encoding="utf-8")
    figures = sum(len(part) for part in text.split('"') if part.startswith("data:image/"))
    assert len(text) - figures < MEGABYTE
