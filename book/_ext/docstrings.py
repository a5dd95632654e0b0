"""Makes reStructuredText of the library's docstrings, for the pages of the API.

A docstring is written to be read where it stands: parameters as ``name: text``, bars of
norms as they are, chapters and sections by their names. Here the former become a list,
and the latter links to the section that derives what the function computes; a docstring
that names none gets one.
"""

import json
import re
from functools import cache
from pathlib import Path

PARAMETERS = re.compile(r"^Parameters\n-+\n((?:.+\n)+)", re.MULTILINE)
PARAMETER = re.compile(r"^(\w[\w, ]*?) ?: ", re.MULTILINE)
SECTION = re.compile(r'our section:? (?:"([^"]+)"|([^".]+)(?=\.))')
# What derives the functions of a module or one of them, or shows their use, where their
# docstrings do not say.
DERIVED = {
    "measure.curvature": "Curvature without the Hessian",
    "measure.derivatives": "The distance from a reference point",
    "measure.gradients": "The norm of a mean is too large",
    "measure.lanczos": "Curvature without the Hessian",
    "measure.objectives": "Which function is it?",
    "measure.state": "For which models is this right?",
    "theory.continuous": "A quadratic is solved exactly",
    "theory.discrete": "What the equation misses",
    "theory.discrete.linear_chain": "An exact stationary density",
    "theory.discrete.displacement_squared": "How far in $k$ steps",
    "theory.simulation": "Three laws against simulation",
    "stats.displacement": "An exponent with an honest interval",
    "stats.estimate": "An error bar for a squared norm",
    "stats.modes": "What theory predicts of one mode",
    "chapters.trends": "The questions, computed",
    "runs.checkpoints": "When it is killed",
    "runs.devices": "Starting a run",
    "runs.distributed": "Running at full size",
    "runs.metrics": "Keeping the evidence",
    "runs.provenance": "Runs",
    "runs.records": "Keeping the evidence",
    "runs.seeds": "When it is killed",
    "runs.settings": "Starting a run",
    "runs.tables": "When it is killed",
    "launch": "Starting a run",
    "book.results": "Keeping the evidence",
}
CHAPTERS = re.compile(r"\bchapters? (\d+)(?: and (\d+))?")


@cache
def headings(book: Path) -> dict[str, str]:
    """Return the page that has each heading of the book, the first one."""
    found = {}
    for page in sorted(book.glob("*.ipynb")):
        for cell in json.loads(page.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                for title in re.findall(r"^#+ (.+)$", "".join(cell["source"]), re.MULTILINE):
                    found.setdefault(title, page.stem)
    return found


def link(text: str, page: str) -> str:
    return f":doc:`{text} </book/{page}>`"


def with_links(text: str, pages: dict[str, str]) -> str:
    """Return a docstring whose sections and numbers of chapters are links."""

    def section(match) -> str:
        name = " ".join((match[1] or match[2]).split())
        title = next((title for title in pages if title.startswith(name)), None)
        if not title:
            return match[0]
        plain = re.sub(r"[$`*]", "", title)
        return f"our section :ref:`{plain} <book/{pages[title]}:{title}>`"

    def chapter(match) -> str:
        numbers = [number for number in match.groups() if number]
        known = {page[:2]: page for page in pages.values()}
        links = [link(f"chapter {n}", known[f"{int(n):02}"]) for n in numbers]
        return " and ".join(links)

    return CHAPTERS.sub(chapter, SECTION.sub(section, text))


def escaped(text: str) -> str:
    """Return a docstring whose bars and lone asterisks mean themselves, but for its code."""
    parts = re.split(r"(``.+?``)", text, flags=re.DOTALL)
    parts[::2] = (re.sub(r"(?<!\\)([|*])", r"\\\1", part) for part in parts[::2])
    return "".join(parts)


def listed(match) -> str:
    """Return the lines ``name: text`` of parameters as a list of definitions."""
    lines = PARAMETER.sub(lambda name: f"``{name[1]}``\n    ", match[1])
    return f"**Parameters**\n\n{lines}\n"


def derivation(obj) -> str:
    """Return what says where a function or a class is derived or used, or nothing."""
    place = f"{obj.__module__}.{obj.__qualname__}".removeprefix("stationarity.")
    known = next((s for s in (place, place.rpartition(".")[0]) if s in DERIVED), None)
    what = "Derivation" if place.startswith(("measure.", "theory.", "stats.")) else "Use"
    return f'\n\n{what}: our section "{DERIVED[known]}".\n' if known else ""


def prepare(app, what, name, obj, options, lines):
    text = PARAMETERS.sub(listed, escaped("\n".join(lines)) + "\n")
    if what in ("function", "class") and not SECTION.search(text):
        text += derivation(obj)
    lines[:] = with_links(text, headings(Path(app.srcdir) / "book")).splitlines()


def is_left_out(app, what, name, obj, skip, options):
    """Tell fields of a named tuple, of which Python itself says but their number."""
    return (getattr(obj, "__doc__", None) or "").startswith("Alias for field") or None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.autosectionlabel")
    app.config.autosectionlabel_prefix_document = True
    # What cells print has headings without a source: all of a page have one label.
    app.config.suppress_warnings = [*app.config.suppress_warnings, "autosectionlabel"]
    app.connect("autodoc-skip-member", is_left_out)
    app.connect("autodoc-process-docstring", prepare)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
