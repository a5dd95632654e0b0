"""What a page shows of its runs: a tab for each, in the book and in a notebook."""

import base64
import re

import IPython.display
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import papermill
import pytest
import stationarity
from nbformat.v4 import new_code_cell, new_notebook
from stationarity import UsageError
from stationarity.book import page, results
from stationarity.chapters.ch03_imagenet_resnet101 import reading

SMALL = {"epochs": 3, "measure_every": 1}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """What `page.tabs` displays, for a live run and some records."""
    monkeypatch.setattr(results, "root", lambda: tmp_path)
    bundles = []
    told = "display", lambda data, raw, metadata: bundles.append(data | metadata)
    monkeypatch.setattr(IPython.display, *told)

    def show(widths, draw):
        live, *others = (
            stationarity.run("full_batch", settings=SMALL | {"hidden": f"{width}"})
            for width in widths
        )
        for other in others:
            results.record(other, note="<a record>")
        page.tabs(results.beside(live), draw)
        return bundles[-1]

    return show


def draw(run):
    figure, axes = plt.subplots()
    axes.set_title(run.label)
    return figure


@pytest.mark.parametrize("widths", [(4,), (4, 5), (4, 5, 6)])
def test_each_run_has_its_tab_and_no_figure_stays_open(shown, widths):
    before = plt.get_fignums()
    bundle = shown(widths, draw)
    book, notebook = bundle["text/markdown"], bundle["text/html"]
    assert book.count("{tab-item}") == book.count("{image}") == len(widths)
    assert notebook.count("<img ") == len(widths)
    assert book.index("Live run; digits; CPU") < book.find("Recorded run; <a record>") or (
        len(widths) == 1
    )
    assert len(set(re.findall(r"^:sync: (.*)$", book, re.MULTILINE))) == len(widths)
    images = re.findall(r"base64,([\w+/=]+)", book)
    assert all(b"<svg" in base64.b64decode(image) for image in images)
    assert plt.get_fignums() == before
    assert bundle["table"].startswith("run,panel,series,part,x,y")
    (behind,) = bundle["runs"].values()
    assert [target.split("-")[2] for _, target, _ in behind] == (
        ["live"] + ["recorded"] * (len(widths) - 1)
    )


def test_tabs_of_several_experiments_name_the_net(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "root", lambda: tmp_path)
    bundles = []
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: bundles.append(data))
    net = stationarity.run("full_batch", settings=SMALL)
    study = stationarity.run("noisy_quadratic", settings={"steps": 5})
    for runs in ([net, study], [net]):
        page.tabs(runs, draw)
    both, one = (re.findall(r"tab-item} (.*)$", b["text/markdown"], re.M) for b in bundles)
    assert both == ["classroom, mlp", "classroom, noisy_quadratic"] and one == ["classroom"]


def test_settings_that_the_book_no_longer_has_are_flagged(shown):
    bundle = shown((4, 5), draw)
    assert bundle["text/markdown"].count("{warning}") == 1  # of the record, not of the live run
    flag = "Recorded with settings that the book no longer has (epochs: 3, now"
    assert flag in bundle["text/markdown"] and flag in bundle["text/html"]


def test_a_run_that_cannot_be_drawn_says_why(shown):
    def fail(run):
        if isinstance(run, results.Record):
            raise UsageError("It lacks <what> the figure needs.")
        return draw(run)

    bundle = shown((4, 5), fail)
    assert bundle["text/markdown"].count("{image}") == 1
    assert "It lacks <what> the figure needs." in bundle["text/markdown"]
    assert "It lacks &lt;what&gt; the figure needs." in bundle["text/html"]


def test_a_finding_shows_the_sentence_that_its_condition_allows(monkeypatch):
    shown = []
    monkeypatch.setattr(
        IPython.display, "display", lambda one, metadata: shown.append((one.data, metadata))
    )
    for condition in (True, np.bool_(False)):
        page.finding(condition, "It drifts.", otherwise="No drift was seen.")
    (drifts, held), (still, failed) = shown
    assert drifts == "It drifts."
    assert "No drift was seen." in still and "It drifts." not in still
    assert "admonition" in still
    said = {"text": "It drifts.", "otherwise": "No drift was seen."}
    assert held == {"finding": said | {"holds": True}}
    assert failed == {"finding": said | {"holds": False}}


def test_a_file_is_within_the_page(monkeypatch):
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda one: shown.append(one.data))
    page.attach('a "report".html', "<p>‖θ‖²</p>", "Save <it>")
    (link,) = shown
    assert 'download="a &quot;report&quot;.html"' in link and ">Save &lt;it&gt;</a>" in link
    inside = re.search(r'href="data:text/html;base64,([^"]*)"', link)[1]
    assert base64.b64decode(inside).decode() == "<p>‖θ‖²</p>"


def test_the_runs_in_a_value_are_found():
    run = stationarity.run("full_batch", settings=SMALL)
    one = ("full_batch", results.anchor(run), "classroom, seed 0")
    assert page._behind({"a": [run, 3], "b": (run,)}) == [one, one]
    assert page._behind("run") == page._behind(reading.figure_1()) == []


@pytest.mark.parametrize("backend", ["TkAgg", "nonsense"])
def test_a_page_shows_its_figures_whatever_mplbackend_says(backend, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", backend)
    cells = (
        "from stationarity.book import page",
        "page.begin('full_batch');",
        f"import stationarity\nrun = stationarity.run('full_batch', settings={SMALL})",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(
        cells=list(map(new_code_cell, cells)), metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, tmp_path / "page.ipynb")
    done = papermill.execute_notebook(tmp_path / "page.ipynb", None, progress_bar=False)
    begun, _, (shown,) = (cell.outputs for cell in done.cells[-3:])
    assert not begun and "image/svg+xml" in shown.data
    assert [name for name, *_ in shown.metadata["image/svg+xml"]["runs"]["run"]] == [
        "full_batch"
    ]
