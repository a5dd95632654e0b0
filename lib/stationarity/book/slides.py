"""A deck of slides for each chapter: its figures and key sentences, as the last build has them.

``python -m stationarity.book.slides [FOLDER]`` makes them from the executed notebooks of a
built book. A deck is a page of HTML that needs no network; formulas are set by the book's own
MathJax, which is copied beside the decks.
"""

import ast
import base64
import html
import re
import shutil
import sys
from pathlib import Path

from jupyter_cache import get_cache
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

from ..errors import UsageError
from ..runs.provenance import PROJECT
from .lesson import filled
from .plain import DIRECTIVE, Book, title_of

TABS = ", one tab for each run"  # of which a slide shows the first
MATHJAX = "mathjax.js"
STATEMENTS = ("theorem", "proposition", "corollary", "lemma", "definition")

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --text: #222; --back: #fff; --mark: #2c6fbb; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #ddd; --back: #15181c; --mark: #7fb2e5; }}
}}
html {{ scroll-snap-type: y mandatory; font: max(1.05rem, 2.1vmin)/1.45 system-ui,
  sans-serif; }}
body {{ margin: 0; color: var(--text); background: var(--back); counter-reset: slide; }}
section {{ min-height: 100vh; box-sizing: border-box; padding: 4vmin 7vmin 8vmin;
  scroll-snap-align: start; counter-increment: slide; position: relative;
  display: flex; flex-direction: column; justify-content: center; }}
section::after {{ content: counter(slide); position: absolute; right: 3vmin; bottom: 2vmin; }}
h1, h2 {{ color: var(--mark); line-height: 1.15; margin: 0 0 0.6em; }}
section > * {{ max-width: 64rem; width: 100%; margin-inline: auto; overflow-wrap: anywhere; }}
figure {{ margin: 0 auto; }}
img {{ display: block; max-width: 100%; width: 100%; max-height: 62vh; object-fit: contain;
  background: #fff; border-radius: 4px; }}
figcaption {{ margin-top: 0.8em; }}
mjx-container {{ overflow-x: auto; max-width: 100%; }}
@media print {{ section {{ break-after: page; }} }}
</style>
<script>
MathJax = {{ tex: {{ inlineMath: [["\\\\(", "\\\\)"]] }} }};
addEventListener("keydown", (event) => {{
  const step = {{ ArrowRight: 1, PageDown: 1, " ": 1, ArrowLeft: -1, PageUp: -1 }}[event.key];
  if (!step) return;
  event.preventDefault();
  const slides = [...document.querySelectorAll("section")];
  const here = slides.findLastIndex((one) => one.getBoundingClientRect().top < 10);
  slides[Math.min(Math.max(here + step, 0), slides.length - 1)].scrollIntoView();
}});
</script>
<script defer src="{mathjax}"></script></head>
<body>
{slides}
</body></html>
"""


def executed(book: Book, page: str):
    """Return a chapter as the last build executed it."""
    folder = book.root / "_build" / ".jupyter_cache"
    try:
        _, notebook = get_cache(folder).merge_match_into_notebook(book.notebook(page))
    except KeyError:
        said = f"The last build has not executed {page} as it is now"
        raise UsageError(f"{said}: build the book by `make book`.") from None
    return notebook


def deck(book: Book, page: str, notebook) -> str:
    """Return the slides of an executed chapter as a page of HTML."""
    values = glued(notebook)
    write = Writer(book, values)
    opening = notebook.cells[0].source
    name, number = title_of(opening), 1 + list(book.chapters).index(page)
    slides = [f"<h1>{html.escape(name)}</h1>" + write(_question(opening))]
    heading, findings = name, []
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^##+ (.*)$", cell.source, re.MULTILINE)
            if "{exercise}" in cell.source:
                break
            slides += [f"<h2>{write.line(one)}</h2>{write(text)}" for one, text in _said(cell)]
            if headings and headings[-1].startswith("Summary"):
                slides.append(f"<h2>Summary</h2>{write(cell.source.split(headings[-1])[-1])}")
            heading = headings[-1] if headings else heading
            continue
        if findings and cell.metadata.get("mystnb", {}).get("figure"):
            slides.append(_listed("What was found", findings, write))
            findings = []
        slides += [f"<h2>{write.line(heading)}</h2>{one}" for one in _figures(cell, write)]
        shown = [
            o.metadata["finding"] for o in cell.outputs if "finding" in o.get("metadata", {})
        ]
        findings += [_found(one) for one in shown]
    slides += [_listed("What was found", findings, write)] if findings else []
    slides.append(_listed("To work on", _exercises(notebook), write))
    numbered = enumerate(slides, start=1)
    body = "\n".join(f'<section id="s{n}">\n{one}\n</section>' for n, one in numbered)
    return PAGE.format(title=f"{number}. {html.escape(name)}", slides=body, mathjax=MATHJAX)


class Writer:
    """Turns Markdown of the book into HTML, with the numbers of a page in their places."""

    def __init__(self, book: Book, values: dict):
        self.book, self.values = book, values
        self.markdown = MarkdownIt("commonmark").enable("table")
        self.markdown.use(dollarmath_plugin, renderer=_formula, allow_labels=False)

    def __call__(self, text: str) -> str:
        return self.markdown.render(self._filled(text))

    def line(self, text: str) -> str:
        """Return one line without a paragraph around it."""
        return self.markdown.renderInline(self._filled(text))

    def _filled(self, text: str) -> str:
        return self.book.plain(filled(self.book.plain(text), self.values))


def _formula(text: str, options: dict) -> str:
    left, right = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
    return f"{left}{html.escape(text)}{right}"


def glued(notebook) -> dict:
    """Return the numbers and texts that an executed page gives to its prose."""
    values = {}
    for output in (one for cell in notebook.cells for one in cell.get("outputs", [])):
        if kept := output.get("metadata", {}).get("scrapbook"):
            data = {k.removeprefix(kept["mime_prefix"]): v for k, v in output.data.items()}
            if "text/markdown" in data:  # a finding with a name
                values[kept["name"]] = data["text/markdown"]
            elif not any(kind.startswith("image/") for kind in data):
                values[kept["name"]] = ast.literal_eval(data["text/plain"])
    return values


def _question(opening: str) -> str:
    """Return what a chapter says first: its question and its aims, not what it needs."""
    after = re.split(r"^# .*$", opening, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(r"^\*\*(?:Before|You need|Time)", after, flags=re.MULTILINE)[0]


def _said(cell) -> list[tuple[str, str]]:
    """Return the title and the words of each theorem or definition in a cell."""
    kinds = [(one, one["name"].removeprefix("prf:")) for one in DIRECTIVE.finditer(cell.source)]
    return [(one["title"], one[0]) for one, kind in kinds if kind in STATEMENTS]


def _figures(cell, write: Writer) -> list[str]:
    """Return the figure of a cell with its caption; of tabs, that of the first run."""
    told = cell.metadata.get("mystnb", {})
    if "figure" not in told:
        return []
    sources = []
    for output in cell.outputs:
        data = output.get("data", {})
        sources += re.findall(r'<img src="(data:[^"]+)"', data.get("text/html", ""))
        if svg := data.get("image/svg+xml"):
            sources.append(
                f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
            )
        elif png := data.get("image/png"):
            sources.append(f"data:image/png;base64,{png.strip()}")
    label, _ = write.book.names[told["figure"]["name"]]
    alt = html.escape(told.get("image", {}).get("alt", ""))
    caption = write(f"**{label}.** {told['figure']['caption'].replace(TABS, '')}")
    image = '<figure><img src="{}" alt="{}"><figcaption>{}</figcaption></figure>'
    return [image.format(source, alt, caption) for source in sources[:1]]


def _listed(title: str, texts: list[str], write: Writer) -> str:
    items = "\n".join(f"<li>{write.line(text)}</li>" for text in texts)
    return f"<h2>{title}</h2>\n<ul>{items}</ul>"


def _found(finding: dict) -> str:
    """Return the sentence of a finding, marked where what was looked for is not so."""
    if finding["holds"]:
        return finding["text"].removeprefix("- ")
    return f"**Not so here.** {finding['otherwise'].removeprefix('- ')}"


def _exercises(notebook) -> list[str]:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return re.findall(r"\{exercise\} (.*)", text)


def make(folder: Path, root: Path = PROJECT) -> list[Path]:
    """Write a deck for each chapter, and the page that lists them; return their files."""
    book = Book(root)
    pages = {page: deck(book, page, executed(book, page)) for page in book.chapters}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(root / "book" / "_static" / "mathjax" / MATHJAX, folder)
    names = [(page, book.called(page).replace("*", "")) for page in book.chapters]
    links = "\n".join(f'<li><a href="{page}.html">{name}</a></li>' for page, name in names)
    listed = f"<section><h1>{book.config['title']}</h1><ul>{links}</ul></section>"
    pages["index"] = PAGE.format(title=book.config["title"], slides=listed, mathjax=MATHJAX)
    for page, text in pages.items():
        (folder / f"{page}.html").write_text(text, encoding="utf-8")
    return [folder / f"{page}.html" for page in pages]


if __name__ == "__main__":
    print(make(Path(sys.argv[1] if len(sys.argv) > 1 else "_build/slides"))[-1])
