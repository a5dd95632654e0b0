"""Puts the pages of the built book into one, to print: ``python one_page.py _build/html``."""

import os
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

from bs4 import BeautifulSoup


def pages(root: Path) -> list[Path]:
    """Return the pages in their order: each names the next one."""
    found, path = [], root / "book" / "index.html"
    while path:
        found.append(path)
        link = re.search(r'<link rel="next"[^>]*href="([^"]+)"', path.read_text("utf-8"))
        path = (path.parent / link[1]).resolve() if link else None
    return found


def article(path: Path, within: list[Path]):
    """Return the text of a page; its names begin with the page's, and links lead to those."""
    text = BeautifulSoup(path.read_text("utf-8"), "html.parser").select_one(
        "article.bd-article"
    )
    for one in text.find_all(True):
        for key in ("id", "for", "name"):
            if one.get(key):
                one[key] = f"{path.stem}-{one[key]}"
        for key in ("href", "src"):
            link = urlsplit(one.get(key, "data:"))
            if link.scheme or link.netloc:
                continue
            target = (path.parent / link.path).resolve() if link.path else path
            inner = f"#{target.stem}-{link.fragment or 'page'}"
            one[key] = inner if target in within else os.path.relpath(target, within[0].parent)
    text["id"] = f"{path.stem}-page"
    return text


def main(root: Path) -> Path:
    """Write the page beside the first one; return where."""
    within = pages(root.resolve())
    whole = BeautifulSoup(within[0].read_text("utf-8"), "html.parser")
    whole.select_one("article.bd-article").replace_with(*(article(p, within) for p in within))
    for contents in whole.select(".bd-sidebar-secondary"):  # of the first page alone
        contents.decompose()
    place = within[0].with_name("whole.html")
    place.write_text(str(whole), encoding="utf-8")
    return place


if __name__ == "__main__":
    print(main(Path(sys.argv[1])))
