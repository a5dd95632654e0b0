"""The line under a figure: what drew it, the runs behind it, its numbers."""

from types import SimpleNamespace

import pytest
from docutils import nodes
from extensions import extension
from stationarity.runs.provenance import PROJECT

behind = extension("behind_figures")

MODULE = "stationarity.chapters.ch09_anomalous_diffusion"
BEFORE = """
import stationarity
from stationarity.chapters.ch09_anomalous_diffusion import figures, reading as read
from stationarity.book import page
arguments = page.begin("diffusion", "quenched", "continued")
run = stationarity.run("diffusion", **arguments["diffusion"])
table = read.sweep_table(run)
one = stationarity.run("continued")
both = {}
for name in ("quenched", "quenched_more_decay"):
    both[name] = stationarity.run(name)
"""


def runs_behind(cell: str, **held) -> list[tuple]:
    return behind.runs_behind(behind.code(cell), behind.code(BEFORE).body, held)


@pytest.mark.parametrize(
    ("cell", "runs"),
    [
        ("figures.trajectory(run)", ["diffusion"]),
        ("figures.sweeps(table)", ["diffusion"]),
        ("figures.quenched(both)", ["quenched", "quenched_more_decay"]),
        ("figures.x([one for one in table])", ["diffusion"]),  # its own `one`
        ("figures.x(lambda one: one)", []),
        ("figures.x(arguments)", []),
        ("figures.x(run, one)", ["diffusion", "continued"]),
        ('figures.x(stationarity.run("settling"))', ["settling"]),
        ('figures.x(get("settling", "paper"), run)', ["diffusion"]),  # settings alone
    ],
)
def test_the_runs_are_those_that_the_names_of_a_cell_lead_to(cell, runs):
    assert sorted(name for name, *_ in runs_behind(cell)) == sorted(runs)


def test_a_name_leads_to_the_very_runs_that_it_held():
    live = ("diffusion", "run-diffusion-live-a", "classroom, seed 0")
    kept = ("diffusion", "run-diffusion-recorded-b", "two-cores, seed 0")
    held = {"run": [live], "every": [live, kept]}
    assert runs_behind("figures.sweeps(table)", **held) == [live]
    assert runs_behind("figures.x(every[1:], run)", **held) == [live, kept]
    other = ("continued", "run-continued", "")  # by its name alone
    assert sorted(runs_behind("figures.x(one, run)", **held)) == sorted([live, other])
    assert behind.runs_behind(behind.code("page.tabs(run)"), [], held | {"": [kept]}) == [kept]


def test_the_figure_of_the_ledger_leads_to_the_runs_that_its_verdicts_are_of():
    held = {"runs": {"runs": [("diffusion", "run-diffusion-live-a", "classroom, seed 0")]}}
    (drawn,) = behind.drawn(PROJECT / "book" / "claims.ipynb", {"fig-margins": held}).values()
    assert drawn[1] == held["runs"]["runs"]


def test_a_run_of_no_experiment_of_the_book_comes_last():
    own = ("nobodys", "run-nobodys-live-a", "classroom, seed 0")
    found = runs_behind("figures.x(mine, one)", mine=[own])
    assert found == [("continued", "run-continued", ""), own]


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("run-settling-live-single-gpu-1", "run-settling"),  # of a scale that is not listed
        ("run-nobodys-live-single-gpu-1", ""),  # and that is no warning
    ],
)
def test_a_run_that_is_not_listed_leads_to_its_experiment_or_nowhere(target, leads_to):
    def resolve_xref(env, docname, builder, kind, label, node, shown):
        return nodes.reference(refuri=label) if label == "run-settling" else None

    domains = {"std": SimpleNamespace(resolve_xref=resolve_xref)}
    env, shown = SimpleNamespace(get_domain=domains.get), nodes.inline("", "classroom")
    link = behind.link_to_run("page", target, shown)
    found = behind.lead_elsewhere(SimpleNamespace(builder=None), env, link, shown)
    assert found.get("refuri", "") == leads_to and (leads_to or found is shown)
    other = behind.link_to_run("page", "chap-reach", shown)
    assert behind.lead_elsewhere(None, env, other, shown) is None


def test_a_name_that_is_given_anew_leads_to_its_last_value():
    again = BEFORE + 'run = stationarity.run("settling")\n'
    cell = behind.code("figures.x(run)")
    found = behind.runs_behind(cell, behind.code(again).body, {})
    assert found == [("settling", "run-settling", "")]


@pytest.mark.parametrize(
    ("cell", "by"),
    [
        ("page.tabs([run], figures.trajectory)", (f"{MODULE}.figures", "trajectory")),
        ("page.glimpse(figures.sweeps(read.x(run)));", (f"{MODULE}.figures", "sweeps")),
        ("%time\nfigures.sweeps(table)", (f"{MODULE}.figures", "sweeps")),
        ("read.exponents(run)", None),
        ("table.plot()", None),
    ],
)
def test_the_function_is_the_one_that_returns_a_figure(cell, by):
    names = behind.imported([behind.code(BEFORE)])
    assert behind.drawn_by(behind.code(cell), names) == by


NOTEBOOKS = sorted((PROJECT / "book").glob("*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_figure_of_the_book_has_its_function(notebook):
    lacking = [name for name, (by, _) in behind.drawn(notebook, {}).items() if by is None]
    assert lacking == (["fig-own-model"] if notebook.stem == "own-model" else [])
