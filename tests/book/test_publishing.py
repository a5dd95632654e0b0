"""The book with an address and without: buttons, links, and notebooks that install."""

import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import nbformat
import pytest
import sphinx_book_theme
import yaml
from extensions import extension
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from PIL import Image
from sphinx.errors import ConfigError

ROOT = Path(__file__).parents[2]
publishing = extension("publishing")
ADDRESS = "https://github.com/some-body/the-book"
PAGES = "https://some-body.github.io/the-book/"


def test_every_notebook_of_the_book_installs_from_the_address_that_is_set_or_none_does():
    assert publishing.without_it(ROOT) == []


def small_book(place: Path, address: str) -> Path:
    """The book's settings and extensions with two pages of its own; where it is built."""
    (place / "book").mkdir(parents=True)
    for name in ("_ext", "_static", "_templates", "references.bib"):
        copy = shutil.copytree if (ROOT / "book" / name).is_dir() else shutil.copy
        copy(ROOT / "book" / name, place / "book" / name)
    for name in ("CITATION.cff", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, place)
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["repository"]["url"] = address
    (place / "_config.yml").write_text(yaml.safe_dump(config))
    names = ("page", "teaching")
    toc = {"format": "jb-book", "root": "book/index"}
    toc |= {"chapters": [{"file": f"book/{name}"} for name in names]}
    (place / "_toc.yml").write_text(yaml.safe_dump(toc))
    (place / "book" / "index.md").write_text("# A book\n\nWith {doc}`page`.\n")
    cells = [new_markdown_cell("# A page"), new_code_cell("print(6 * 7)")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for name in names:
        notebook = new_notebook(cells=cells, metadata=kernel)
        nbformat.write(notebook, place / "book" / f"{name}.ipynb")
    return place


def build(place: Path, *how: str) -> tuple[Path, str]:
    """Build a small book; return the folder of its pages, and what was said."""
    how = how or ("-W", "--keep-going")
    command = [Path(sys.executable).parent / "jupyter-book", "build", ".", *how]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    return place / "_build" / "html", done.stdout + done.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A small book with an address, whose notebook installs from there."""
    place = small_book(tmp_path_factory.mktemp("published"), ADDRESS)
    command = [sys.executable, place / "book" / "_ext" / "publishing.py"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"page.ipynb installs from '{ADDRESS}'\n"
    pages, said = build(place)
    assert "succeeded" in said and "WARNING" not in said, said
    return pages


def test_a_page_can_be_launched_edited_discussed_and_cited(published):
    page = (published / "book" / "page.html").read_text()
    links = re.findall(r'href="(http[^"]+|[^"]*cite\.bib)"', page)
    colab = "https://colab.research.google.com/github/some-body/the-book/blob/main/book/page"
    assert f"{colab}.ipynb" in links
    binder = "https://mybinder.org/v2/gh/some-body/the-book/main?urlpath=lab/tree/book/page"
    assert f"{binder}.ipynb" in links
    assert f"{ADDRESS}/edit/main/book/page.ipynb" in links
    assert any(link.startswith(f"{ADDRESS}/issues/new?title=Issue") for link in links)
    assert "../cite.bib" in links
    told = (published / "cite.bib").read_text()
    assert re.match(r"@software\{stationarity,\n  title = \{Do the Weights Ever", told)
    assert f"url = {{{PAGES}}}" in told


def test_a_page_that_reads_the_sources_of_the_book_is_not_launched_elsewhere(published):
    page = (published / "book" / "teaching.html").read_text()
    assert "colab" not in page and "mybinder" not in page and "cite.bib" in page
    notebook = published / "_sources" / "book" / "teaching.ipynb"
    assert "install" not in notebook.read_text()


def test_each_button_has_its_icon(published):
    icons = (published / "_static" / "scripts" / "fontawesome.js").read_text()
    sources = [
        *published.glob("book/*.html"),
        *Path(sphinx_book_theme.__file__).parent.rglob("*.py"),
    ]
    classes = "".join(path.read_text(encoding="utf-8") for path in sources)
    named = set(re.findall(r"\bfa-([a-z-]+)", classes)) - {"solid", "brands", "lg"}
    assert {"bars", "rocket", "quote-right"} <= named
    assert [name for name in named if f'"{name}"' not in icons] == []


def test_search_engines_and_previews_find_the_page(published):
    page = (published / "book" / "page.html").read_text()
    assert f'<link rel="canonical" href="{PAGES}book/page.html" />' in page
    assert f'<meta property="og:image" content="{PAGES}_static/preview.png" />' in page
    assert '<meta property="og:title" content="A page" />' in page
    image = published / "_static" / "preview.png"
    assert Image.open(image).size == (1200, 630) and image.stat().st_size < 150_000
    places = re.findall("<loc>(.*?)</loc>", (published / "sitemap.xml").read_text())
    assert places == [f"{PAGES}book/{name}.html" for name in ("index", "page", "teaching")]


def test_what_installs_the_library_is_in_the_notebook_and_not_on_the_page(published):
    page = (published / "book" / "page.html").read_text()
    assert "pip install" not in page and "42" in page
    notebook = nbformat.read(published / "_sources" / "book" / "page.ipynb", as_version=4)
    nbformat.validate(notebook)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert f'%pip install --quiet "git+{ADDRESS}"' in first.source


def test_without_an_address_nothing_points_at_one(tmp_path):
    pages, said = build(small_book(tmp_path, ""))
    assert "succeeded" in said and "WARNING" not in said, said
    page = (pages / "book" / "page.html").read_text()
    for trace in ("colab", "mybinder", "/edit/", "/issues/", "cite.bib", "canonical", "og:"):
        assert trace not in page, trace
    assert not (pages / "sitemap.xml").exists()


def test_an_address_that_the_notebooks_do_not_have_is_a_warning_with_the_remedy(tmp_path):
    place = small_book(tmp_path, ADDRESS)
    assert [path.name for path in publishing.without_it(place)] == ["page.ipynb"]
    _, said = build(place)
    assert "1 notebooks, page.ipynb first, do not install the library" in said
    assert "run `python book/_ext/publishing.py`" in said


def test_a_link_that_leads_nowhere_is_told_with_its_page(tmp_path, monkeypatch):
    recipe = (ROOT / "Makefile").read_text().partition("\nlinks:")[2].splitlines()[1]
    _, how = recipe.split("jupyter-book build . ")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    place = small_book(tmp_path, "")
    serve = partial(SimpleHTTPRequestHandler, directory=place)
    with ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        text = f"# A book\n\nWith {{doc}}`page`, [this]({at}/_toc.yml), [that]({at}/gone).\n"
        (place / "book" / "index.md").write_text(text)
        _, said = build(place, *how.split())
        server.shutdown()
    links = re.findall(r"\( *([\w/]+): line +\d+\) (\w+) +(\S+)", re.sub("\x1b.*?m", "", said))
    found = {(page, status, link.removeprefix(at)) for page, status, link in links}
    assert found == {("book/index", "ok", "/_toc.yml"), ("book/index", "broken", "/gone")}
    assert "returns a non-zero exit code" in said


@pytest.mark.parametrize(
    ("address", "pages"),
    [
        ("https://github.com/me/me.github.io", "https://me.github.io/"),
        ("https://github.com/Me/book", "https://me.github.io/book/"),
        ("https://git.example.org/me/book", ""),
    ],
)
def test_the_pages_of_a_repository_lie_where_github_puts_them(address, pages, monkeypatch):
    class Config:
        html_theme_options, html_baseurl = {}, ""

    class App:
        srcdir = ROOT

    monkeypatch.setattr(publishing, "without_it", lambda _: [])
    said = {"url": address, "branch": "main"}
    monkeypatch.setattr(publishing, "repository", lambda _: said)
    publishing.turn_on(App, Config)
    assert Config.html_baseurl == pages
    said["url"] = "https://github.com/me"
    with pytest.raises(ConfigError, match="such as https://github.com/owner/name"):
        publishing.turn_on(App, Config)
