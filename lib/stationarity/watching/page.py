"""A report as one HTML page that needs nothing else: no network, no scripts, no other file."""

import html
from collections.abc import Iterator
from dataclasses import dataclass

from ..runs.records import Run
from . import figures
from .answers import number as written
from .scales import MEANINGS
from .watched import watched

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #586069;
  --line: #d5dae0; --yes: #116329; --no: #a04100; --open: #57606a; --card: #f6f8fa; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #14171b;
  --soft: #a3abb5; --line: #39414a; --yes: #5fd07f; --no: #ffab70; --open: #b1bac4;
  --card: #1d2229; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin: 0; }
p, dl { margin: .5rem 0; } .soft, dt { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } a { color: inherit; }
th, td { text-align: left; padding: .4rem .5rem .4rem 0; border-top: 1px solid var(--line);
  vertical-align: top; font-weight: normal; }
thead th { color: var(--soft); border: 0; } td { white-space: nowrap; }
section { margin: 1.5rem 0; padding: 1rem; background: var(--card); border-radius: .5rem; }
.verdict { font-weight: 600; white-space: nowrap; } .yes { color: var(--yes); }
.no { color: var(--no); } .open { color: var(--open); }
svg { display: block; width: 100%; height: auto; max-width: 34rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem .8rem;
  font-size: .9rem; }
dd { margin: 0; }
@media (max-width: 30rem) { section { margin: 1rem -1rem; border-radius: 0; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
@media print { section { break-inside: avoid; } }
"""
SIGNS = {"yes": ("yes", "✓"), "no": ("no", "✗"), "cannot be judged": ("open", "?")}


@dataclass(frozen=True)
class _Safe:
    """Gives the texts of a dictionary escaped."""

    given: dict

    def __getitem__(self, key: str) -> str:
        return html.escape(str(self.given[key]))


def page(run: Run, report: dict) -> str:
    """Return the page of a run and of its :func:`~.report.report`."""
    seen, safe = watched(run), _Safe(report)
    title = f"{safe['name']}: what its training shows"
    rows = "\n".join(map(_row, report["answers"]))
    numbers = "\n".join(_number_rows(report["numbers"]))
    sections = "\n".join(_section(run, seen, one) for one in report["answers"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{_about(report)}</p>
<table>
<thead><tr><th scope="col">Question</th><th scope="col">Answer</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
{sections}
<h2>Numbers without units</h2>
<p>Trainings with the same numbers do alike, whatever their size.</p>
<table>
<tbody>
{numbers}
</tbody>
</table>
<p class="soft">{safe["note"]}</p>
</main>
</body>
</html>
"""


def _about(report: dict) -> str:
    """Say what was watched, and which of its steps are judged."""
    safe, window = _Safe(report), report["window"]
    said = f"{safe['run']} ({safe['status']}), {safe['optimizer'] or 'no optimizer'},"
    said += f" {report['parameters']:,} parameters. Judged are the steps"
    said += f" {window['first']:,} to {window['last']:,}, "
    rates = ", ".join(f"{rate:.3g}" for rate in window["learning_rates"][:4])
    rates += ", …" if len(window["learning_rates"]) > 4 else ""
    if window["constant_rate"]:
        said += f"the last two thirds of the stage since step {window['stage_begins']:,}"
        return f"{said} at the constant rate {rates}."
    moves = "rate, momentum or decay never stands still, and the rate is"
    never = f": {moves} {rates} at the end." if rates else "."
    return f"{said}the last third{never}"


def _number_rows(numbers: dict) -> Iterator[str]:
    """Yield a row of the table for each number that is known."""
    for name, value in numbers.items():
        if value is not None:
            yield f'<tr><th scope="row">{MEANINGS[name]}</th><td>{written(value)}</td></tr>'


def _verdict(answer: dict) -> str:
    kind, sign = SIGNS[answer["verdict"]]
    words = html.escape(answer["verdict"])
    return f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> {words}</span>'


def _row(answer: dict) -> str:
    safe = _Safe(answer)
    link = f'<a href="#{safe["key"]}">{safe["question"]}</a>'
    return f'<tr><th scope="row">{link}</th><td>{_verdict(answer)}</td></tr>'


def _number(value: float | None) -> str:
    return "unknown" if value is None else written(value)


def _section(run: Run, seen, answer: dict) -> str:
    safe = _Safe(answer)
    drawing, number = "", "none"
    if answer["key"] in figures.DRAWN:
        draw, alt = figures.DRAWN[answer["key"]]
        drawing = figures.svg(draw, run, seen, answer["key"], html.escape(alt))
    if answer["number"] is not None or answer["low"] is not None:
        low, high = _number(answer["low"]), _number(answer["high"])
        number = _number(answer["number"])
        if low != high:  # as of what is exact
            number += f", at 95 % from {low} to {high}"
    return f"""<section id="{safe["key"]}">
<h2>{safe["question"]} {_verdict(answer)}</h2>
<p>{safe["why"]}</p>
<p><strong>What follows.</strong> {safe["advice"]}</p>
{drawing}
<dl><dt>Number</dt><dd>{safe["quantity"]}: {number}</dd>
<dt>Criterion</dt><dd>{safe["criterion"]}</dd></dl>
</section>"""
