"""The built book, for the tests that look at it."""

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
BOOK = ROOT / "_build" / "html"
SOURCES = ("_config.yml", "_toc.yml", "book/*.*", "book/_[et]*/*", "book/_static/**/*.*")


def pages() -> list[str]:
    """The pages of the table of contents, and the one that searches."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    parts = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [toc["root"], *parts, "search"]


def unbuilt() -> str:
    """Why there is no book to test, or nothing."""
    built = [BOOK / f"{page}.html" for page in pages()]
    if missing := [path for path in built if not path.exists()]:
        return f"{missing[0].name} is not built: run `make book` first"
    sources = [path for pattern in SOURCES for path in ROOT.glob(pattern)]
    newest = max(sources, key=lambda path: path.stat().st_mtime)
    if newest.stat().st_mtime > min(path.stat().st_mtime for path in built):
        return f"{newest.name} is newer than the built book: run `make book` first"
    return ""


needs_the_book = pytest.mark.skipif(bool(unbuilt()), reason=unbuilt())
