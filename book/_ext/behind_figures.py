"""Puts a line under each figure: the function that drew it, the runs behind it, its numbers.

The function is the one in the figure's cell that returns a ``Figure``; it links to the code, as
``sphinx.ext.viewcode`` shows it. The runs are those that the cell's names lead to, through the
assignments of the cells before. The numbers came with the cell's output, as ``page`` puts them
there; they become a file of comma separated values.
"""

import ast
import importlib
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from jupyter_cache import get_cache
from sphinx.addnodes import pending_xref
from sphinx.ext.viewcode import OUTPUT_DIRNAME
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.osutil import relative_uri
from stationarity.runs.settings import EXPERIMENTS

GIVEN = {"arguments"}  # it leads to all experiments of a page
DATA = "_data"


def code(source: str) -> ast.Module:
    """Return a cell's code as a tree, without its magics."""
    return ast.parse(re.sub(r"^([ \t]*)%.*$", r"\1pass", source, flags=re.MULTILINE))


def imported(trees: list[ast.Module]) -> dict[str, str]:
    """Return what imported names stand for."""
    found = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def drawn_by(tree: ast.Module, names: dict[str, str]) -> tuple[str, str] | None:
    """Return the module and the name of the library's function that draws a figure."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = names.get(node.value.id, "")
            if module.startswith("stationarity."):
                function = getattr(importlib.import_module(module), node.attr, None)
                result = getattr(function, "__annotations__", {}).get("return")
                if "Figure" in (result, getattr(result, "__name__", "")):
                    return function.__module__, node.attr
    return None


def own(tree: ast.AST) -> set[str]:
    """Return the names that are bound within an expression alone."""
    found = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for one in (node for node in ast.walk(tree) if isinstance(node, ast.comprehension)):
        found |= {name.id for name in ast.walk(one.target) if isinstance(name, ast.Name)}
    return found


def bound(statement: ast.stmt) -> dict[str, bool]:
    """Return the names that a statement binds or fills, and whether that makes them anew."""
    found, anew, inner = {}, isinstance(statement, ast.Assign), own(statement)
    for node in ast.walk(statement):
        if isinstance(getattr(node, "ctx", None), ast.Store):
            if isinstance(node, ast.Name):
                found[node.id] = anew
            elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
                found.setdefault(node.value.id, False)
    return {name: whole for name, whole in found.items() if name not in inner}


def settings_alone(tree: ast.AST) -> set[ast.AST]:
    """Return the parts that ask for settings by ``get``, and for no run."""
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {part for c in calls if getattr(c.func, "id", "") == "get" for part in ast.walk(c)}


def experiments(cell: ast.Module, before: list[ast.stmt]) -> list[str]:
    """Return the experiments that a cell's names lead to, in the library's order."""
    found, seen, waiting = set(), set(GIVEN), [cell]
    while waiting:
        tree = waiting.pop()
        inner, settings = own(tree), settings_alone(tree)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and node.value in EXPERIMENTS
                and node not in settings
            ):
                found.add(node.value)
            if isinstance(node, ast.Name) and node.id not in seen | inner:
                seen.add(node.id)
                for statement in reversed(before):
                    anew = bound(statement).get(node.id)
                    waiting += [statement] if anew is not None else []
                    if anew:
                        break
    return [name for name in EXPERIMENTS if name in found]


def drawn(notebook: Path) -> dict[str, tuple]:
    """Return of each figure of a notebook what draws it, and the experiments behind it."""
    found, trees = {}, []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            before = [statement for tree in trees for statement in tree.body]
            trees.append(code("".join(cell["source"])))
            if name := figure_of(cell["metadata"]):
                by = drawn_by(trees[-1], imported(trees))
                found[name] = by, experiments(trees[-1], before + trees[-1].body)
    return found


def figure_of(metadata: dict) -> str | None:
    """Return the name of the figure that a cell's metadata announce."""
    return metadata.get("mystnb", {}).get("figure", {}).get("name")


def tables(app, docname: str) -> dict[str, str]:
    """Return the numbers of each figure of a page, as its execution has left them."""
    cache, found = get_cache(app.env.mystnb_config.execution_cache_path), {}
    path = app.env.doc2path(docname)
    if not path.endswith(".ipynb"):
        return {}
    try:
        executed = cache.match_cache_file(path)
    except KeyError:  # as one that failed
        return {}
    for cell in cache.get_cache_bundle(executed.pk).nb.cells:
        for output in cell.get("outputs", ()):
            said = output.get("metadata", {})
            table = said.get("table") or said.get("image/svg+xml", {}).get("table")
            if table and table.count("\n") > 1 and (name := figure_of(cell.metadata)):
                found[name] = table
    return found


def place(docname: str, figure: str) -> str:
    """Return where the numbers of a figure lie in the book."""
    return f"{DATA}/{posixpath.basename(docname)}/{figure}.csv"


def link_to_code(app, module: str, name: str) -> nodes.reference:
    """Return a link to a function, whose module viewcode then shows."""
    env = app.env
    if not hasattr(env, "_viewcode_modules"):
        env._viewcode_modules = {}
    analyser = ModuleAnalyzer.for_module(module)
    analyser.find_tags()
    entry = env._viewcode_modules.setdefault(module, (analyser.code, analyser.tags, {}, module))
    entry[2][name] = env.docname
    page = f"{OUTPUT_DIRNAME}/{module.replace('.', '/')}"
    target = app.builder.get_relative_uri(env.docname, page)
    shown = nodes.literal("", f"{module.rpartition('.')[2]}.{name}")
    return nodes.reference("", "", shown, refuri=f"{target}#{name}", internal=True)


def link_to_run(docname: str, run: str) -> pending_xref:
    """Return a link to an experiment on the page that lists all runs."""
    given = {"refdomain": "std", "reftype": "ref", "reftarget": f"run-{run}", "refdoc": docname}
    return pending_xref("", nodes.literal("", run), **given, refexplicit=True, refwarn=True)


def between(parts: list, mark: str) -> Iterator[nodes.Node]:
    for number, part in enumerate(parts):
        if number:
            yield nodes.Text(mark)
        yield part


def line_of(app, figure: str, by: tuple | None, runs: list[str], numbers: bool) -> nodes.legend:
    """Return the line under a figure."""
    docname, parts = app.env.docname, []
    if by:
        parts += [[nodes.Text("drawn by "), link_to_code(app, *by)]]
    if runs:
        word = nodes.Text("run " if len(runs) == 1 else "runs ")
        parts += [[word, *between([link_to_run(docname, run) for run in runs], ", ")]]
    if numbers:
        target = relative_uri(app.builder.get_target_uri(docname), place(docname, figure))
        shown = nodes.reference("", "numbers (CSV)", refuri=target, internal=True)
        parts += [[shown]]
    inlines = [nodes.inline("", "", *part) for part in parts]
    return nodes.legend(
        "", nodes.paragraph("", "", *between(inlines, " · ")), classes=["behind"]
    )


def add_lines(app, doctree):
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    known, numbers, linked = drawn(path), tables(app, app.env.docname), set()
    for cell in doctree.findall(nodes.container):
        if name := figure_of(cell.get("cell_metadata", {})):
            by, runs = known[name]
            for figure in list(cell.findall(nodes.figure)):
                line = line_of(app, name, by, runs, name in numbers)
                if by and by not in linked:  # where the shown code leads back to
                    linked.add(by)
                    line["ids"].append(".".join(by))
                figure += line


def write_numbers(app, exception):
    """Write the numbers of the figures of all pages."""
    if exception or app.builder.format != "html":
        return
    for docname in sorted(app.env.found_docs):
        for name, table in tables(app, docname).items():
            path = Path(app.outdir, place(docname, name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(table, encoding="utf-8")


def setup(app):
    app.connect("doctree-read", add_lines)
    app.connect("build-finished", write_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
