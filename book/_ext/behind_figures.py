"""Puts a line under each figure: the function that drew it, the runs behind it, its numbers.

The function is the one in the figure's cell that returns a ``Figure``; it links to the code, as
``sphinx.ext.viewcode`` shows it. The runs are those that the cell's names lead to, through the
assignments of the cells before: which runs a name held came with the cell's output, as
``page`` puts them there. So did the numbers, which become a file of comma separated values.

The page that lists all runs says of each which pages have a figure of it.
"""

import ast
import importlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
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


def runs_behind(cell: ast.Module, before: list[ast.stmt], held: dict[str, list]) -> list[tuple]:
    """Return the runs that a cell's names lead to: experiment, target, what to call it.

    ``held`` has the runs that a name held, of ``page.tabs`` under no name. Of an experiment
    that is known by its name alone the target is the first run. In the library's order.
    """
    found, seen, waiting = set(), set(GIVEN), [cell] * ("" not in held)
    runs = {tuple(run): None for run in held.get("", ())}
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
                runs |= {tuple(run): None for run in held.get(node.id, ())}
                for statement in reversed(before if node.id not in held else ()):
                    anew = bound(statement).get(node.id)
                    waiting += [statement] if anew is not None else []
                    if anew:
                        break
    some = found - {name for name, *_ in runs}
    every = [*runs, *((name, f"run-{name}", "") for name in some)]
    order = {name: place for place, name in enumerate(EXPERIMENTS)}
    return sorted(every, key=lambda run: order.get(run[0], len(order)))


def drawn(notebook: Path, told: dict[str, dict]) -> dict[str, tuple]:
    """Return of each figure of a notebook what draws it, and the runs behind it."""
    found, trees = {}, []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            before = [statement for tree in trees for statement in tree.body]
            trees.append(code("".join(cell["source"])))
            if name := figure_of(cell["metadata"]):
                by = drawn_by(trees[-1], imported(trees))
                held = told.get(name, {}).get("runs", {})
                found[name] = by, runs_behind(trees[-1], before + trees[-1].body, held)
    return found


def figure_of(metadata: dict) -> str | None:
    """Return the name of the figure that a cell's metadata announce."""
    return metadata.get("mystnb", {}).get("figure", {}).get("name")


def told_of(app, docname: str) -> dict[str, dict]:
    """Return of each figure of a page the ``table`` and ``runs`` that its execution left."""
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
            said = said.get("image/svg+xml", said)
            if "runs" in said and (name := figure_of(cell.metadata)):
                found.setdefault(name, {}).update(said)
    return found


def tables(told: dict[str, dict]) -> dict[str, str]:
    """Return the numbers of the figures that have some."""
    given = {name: one.get("table", "") for name, one in told.items()}
    return {name: table for name, table in given.items() if table.count("\n") > 1}


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


def link_to_run(docname: str, target: str, shown: nodes.Node) -> pending_xref:
    """Return a link to a run on the page that lists all runs."""
    given = {"refdomain": "std", "reftype": "ref", "reftarget": target, "refdoc": docname}
    return pending_xref("", shown, **given, refexplicit=True, refwarn=True)


def lead_elsewhere(app, env, node, shown):
    """Lead to the experiment where the page of all runs lacks one of it, else nowhere.

    A chapter may show a run of another scale than those that the page lists.
    """
    if run := re.fullmatch(r"(run-\w+)-(live|recorded)-.*", node.get("reftarget", "")):
        given = env, node["refdoc"], app.builder, "ref", run[1], node, shown
        return env.get_domain("std").resolve_xref(*given) or shown
    return None


def links_to_runs(docname: str, runs: list[tuple]) -> Iterator[nodes.Node]:
    """Yield each experiment with links to its runs."""
    for name, some in groupby(runs, key=itemgetter(0)):
        links = {told: link_to_run(docname, to, nodes.inline("", told)) for _, to, told in some}
        if "" in links:
            yield link_to_run(docname, f"run-{name}", nodes.literal("", name))
        else:
            listed = between(links.values(), "; ")
            shown = [nodes.literal("", name), nodes.Text(" ("), *listed, nodes.Text(")")]
            yield nodes.inline("", "", *shown)


def between(parts: Iterable, mark: str) -> Iterator[nodes.Node]:
    for number, part in enumerate(parts):
        if number:
            yield nodes.Text(mark)
        yield part


def line_of(app, figure: str, by: tuple | None, runs: list, numbers: bool) -> nodes.legend:
    """Return the line under a figure."""
    docname, parts = app.env.docname, []
    if by:
        parts += [[nodes.Text("drawn by "), link_to_code(app, *by)]]
    if runs:
        word = nodes.Text("run " if len(runs) == 1 else "runs ")
        parts += [[word, *between(links_to_runs(docname, runs), ", ")]]
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
    told, linked = told_of(app, app.env.docname), set()
    known, numbers = drawn(path, told), tables(told)
    for cell in doctree.findall(nodes.container):
        if name := figure_of(cell.get("cell_metadata", {})):
            by, runs = known[name]
            for figure in list(cell.findall(nodes.figure)):
                line = line_of(app, name, by, runs, name in numbers)
                if by and by not in linked:  # where the shown code leads back to
                    linked.add(by)
                    line["ids"].append(".".join(by))
                figure += line


def name_pages(app, doctree):
    """Say in the table of all runs which pages have a figure of each of them."""
    rows = {row: row_of(row) for row in doctree.findall(nodes.row)}
    if not any(rows.values()):
        return
    having = {}  # target -> pages
    for docname in sorted(app.env.found_docs):
        held = [one["runs"] for one in told_of(app, docname).values()]
        for run in (run for one in held for runs in one.values() for run in runs):
            having.setdefault(run[1], {})[docname] = None
    for row, target in rows.items():
        links = [link_to_page(app.env.docname, page) for page in having.get(target, ())]
        if links:
            row[-1].clear()
            row[-1] += nodes.paragraph("", "", *between(links, "; "))


def row_of(row: nodes.row) -> str:
    """Return the target of a run's row, or nothing."""
    names = (name for node in row.findall(nodes.inline) for name in node.get("names", ()))
    return next((name for name in names if re.match("run-.*-(live|recorded)-", name)), "")


def link_to_page(docname: str, page: str) -> pending_xref:
    """Return a link to a page, which shows its title."""
    given = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page}", "refdoc": docname}
    return pending_xref("", nodes.inline("", page), **given, refexplicit=False, refwarn=True)


def write_numbers(app, exception):
    """Write the numbers of the figures of all pages."""
    if exception or app.builder.format != "html":
        return
    for docname in sorted(app.env.found_docs):
        for name, table in tables(told_of(app, docname)).items():
            path = Path(app.outdir, place(docname, name))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(table, encoding="utf-8")


def setup(app):
    app.connect("doctree-read", add_lines)
    app.connect("doctree-read", name_pages)
    app.connect("missing-reference", lead_elsewhere)
    app.connect("build-finished", write_numbers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
