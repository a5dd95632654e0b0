"""What a chapter needs to be a page: style, numbers for its prose, a tab for each run."""

import base64
import contextlib
import html
import io
import numbers
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from ..chapters.plots import use_style
from ..errors import UsageError
from ..runs import records
from . import ahead, figure_data, parameters, results

GLUED: dict[str, object] = {}  # what a page has given to its prose


def begin(*names: str, sown: Mapping[str, int] | None = None, **given) -> dict[str, dict]:
    """Set the style of figures; take and return what ``parameters.checked`` does.

    The runs, from as many seeds as ``sown`` says of an experiment, are begun beside the page.
    """
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    arguments, shell = parameters.checked(*names, **given), get_ipython()
    if hasattr(shell, "kernel"):  # figures are shown, whatever MPLBACKEND says
        shell.run_line_magic("matplotlib", "inline")
        pyplot.uninstall_repl_displayhook()  # which draws each once more, for nobody
    if shell is not None:
        set_matplotlib_formats("svg")
        pictures = shell.display_formatter.formatters["image/svg+xml"]
        pictures.for_type(Figure, partial(_with_table, pictures.lookup_by_type(Figure)))
    use_style()
    ahead.begin(arguments, sown or {})
    pd.set_option("display.max_colwidth", None)  # a verdict is read whole
    return arguments


def _with_table(draw: Callable[[Figure], str], figure: Figure) -> tuple[str, dict]:
    """Return a figure's picture, and as metadata of that its numbers and the page's runs."""
    from IPython import get_ipython

    held = {key: _behind(one) for key, one in get_ipython().user_ns.items() if key[:1] != "_"}
    said = {"runs": {key: runs for key, runs in held.items() if runs}}
    return draw(figure), {"table": _as_csv(figure_data.table(figure))} | said


def _behind(value) -> list[tuple[str, str, str]]:
    """Return of each run in a value its experiment, its target, and what to call it."""
    if isinstance(value, records.Run):
        value = getattr(value, "whole", value)  # the run that it is a part of
        if "fingerprint" not in value.info:  # the paper's curve, as a run
            return []
        told = f"{value.label}, seed {value.info['seed']}"
        return [(value.name, results.anchor(value), told)]
    inside = value.values() if isinstance(value, dict) else value
    held = isinstance(value, dict | list | tuple)
    return [run for one in inside for run in _behind(one)] if held else []


def _as_csv(table: pd.DataFrame) -> str:
    return table.to_csv(index=False, float_format="%.10g", lineterminator="\n")


def markdown(text: str) -> None:
    """Show text as Markdown of the page, with its roles and references."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def finding(condition: bool, text: str, *, otherwise: str, name: str = "") -> None:
    """State what was seen where its condition is true, or else what is so instead, marked.

    Both are Markdown, in full sentences with numbers. The output's metadata has all three.
    What has a name can be repeated anywhere on the page: ``{glue:md}`` in the format ``myst``.
    """
    from IPython.display import Markdown, display

    shown = text if condition else f":::{{admonition}} Not so here\n{otherwise}\n:::"
    said = {"text": text, "otherwise": otherwise, "holds": bool(condition)}
    display(Markdown(shown), metadata={"finding": said})
    if name:
        _glue(name, Markdown((text if condition else otherwise).removeprefix("- ")))


def glimpse(figure: Figure) -> None:
    """Let a figure of the page stand in its minute, too: ``{glue:} minute_figure``."""
    _glue("minute_figure", figure)


def attach(name: str, content: str, label: str) -> None:
    """Show a link that saves an HTML file, which the page holds within itself."""
    from IPython.display import HTML, display

    inside = base64.b64encode(content.encode()).decode()
    to = f"data:text/html;base64,{inside}"
    shown = f'<a download="{html.escape(name)}" href="{to}">{html.escape(label)}</a>'
    display(HTML(f"<p>{shown}</p>"))


def tabs(runs: Iterable[records.Run], draw: Callable[[records.Run], object]) -> None:
    """Show the figure ``draw(run)`` of each run, or why there is none: a tab a run.

    Each says where its run comes from, and flags settings that the book no longer has; of
    several experiments it names the net. The tabs of one run open together; a notebook has
    no tabs. The metadata has the numbers, and the runs.
    """
    from IPython.display import display

    tables: list[pd.DataFrame] = []
    runs = [*runs]
    several = len({run.name for run in runs}) > 1
    nets = [f", {getattr(run.settings, 'model', run.name)}" * several for run in runs]
    titles = [f"{run.label}{net}" for run, net in zip(runs, nets)]
    shown = [(run, t, *_image(draw, run, tables)) for run, t in zip(runs, titles)]
    forms = {"text/markdown": _tab_set(shown)}
    forms["text/html"] = "\n".join(_as_html(*one) for one in shown)
    lines = (f"{title}: {results.origin(run)}" for run, title, *_ in shown)
    said = {"runs": {"": _behind(runs)}}
    said |= {"table": _as_csv(pd.concat(tables))} if tables else {}
    display(forms | {"text/plain": "\n".join(lines)}, raw=True, metadata=said)


def _image(draw, run, tables: list[pd.DataFrame]) -> tuple[str, str]:
    try:
        figure = draw(run)
    except UsageError as error:
        return "", str(error)
    file = io.BytesIO()
    figure.savefig(file, format="svg", bbox_inches="tight")
    tables.append(figure_data.table(figure))
    tables[-1].insert(0, "run", run.label)
    pyplot.close(figure)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}", ""


def _tab_set(shown: list) -> str:
    lines = [":::::{tab-set}", ":sync-group: run", ""]
    for run, title, address, reason in shown:
        lines += [f"::::{{tab-item}} {title}", f":sync: {run.label}", ""]
        if note := results.stale_note(run):
            lines += [":::{warning}", note, ":::"]
        if address:
            lines += [f":::{{image}} {address}", f":alt: {title}", ":::"]
        lines += ["", reason, "", results.origin(run), "::::"]
    return "\n".join([*lines, ":::::"])


def _as_html(run, title: str, address: str, reason: str) -> str:
    texts = [title, results.stale_note(run), reason, results.origin(run)]
    label, note, reason, origin = map(html.escape, texts)
    flag = f"<p><strong>{note}</strong></p>" if note else ""
    image = f'<img src="{address}" alt="{label}">' if address else f"<p>{reason}</p>"
    return f"<h4>{label}</h4>\n{flag}{image}\n<p>{origin}</p>"


def glue(**values) -> None:
    """Make numbers and strings available to the prose of the page, as plain Python values."""
    for name, value in values.items():
        if not isinstance(value, str | bool):
            value = int(value) if isinstance(value, numbers.Integral) else float(value)
        _glue(name, value)


def _glue(name: str, value) -> None:
    GLUED[name] = getattr(value, "data", value)  # of Markdown, its text
    with contextlib.suppress(ImportError):  # outside the book a class copy fills them in itself
        from myst_nb import glue as glue_one

        glue_one(name, value, display=False)
