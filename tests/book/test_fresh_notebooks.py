"""The extension that executes the chapters: whenever a page may differ, and only then."""

from types import SimpleNamespace

import nbformat
import pytest
from extensions import extension
from jupyter_cache import get_cache

fresh = extension("fresh_notebooks")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of one chapter and one page that looks at runs; both count their executions."""
    for folder in ("lib", "book/results/one", "runs/one/classroom-1"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("lib/code.py", "book/results/one/run.json", "runs/one/classroom-1/run.json"):
        (tmp_path / file).write_text("1")
    for name in ("01-first", "claims"):
        line = f"with open(r'{tmp_path}/executed', 'a') as file: file.write('{name} ')"
        cells = [nbformat.v4.new_code_cell(line), nbformat.v4.new_markdown_cell("Words.")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"book/{name}.ipynb")
    monkeypatch.setenv("STATIONARITY_RUNS", str(tmp_path / "runs"))
    return tmp_path


def executed(project, *more: str) -> list[str]:
    """Return which of the two pages, and of some more, a build executes, in turn."""
    config = SimpleNamespace(execution_cache_path=str(project / "_build" / "cache"))
    names = {"book/claims", "book/01-first", *more}
    env = SimpleNamespace(
        mystnb_config=config, found_docs=names, doc2path=lambda name: f"{project}/{name}.ipynb"
    )
    (project / "executed").write_text("")
    app = SimpleNamespace(srcdir=str(project))
    assert fresh.execute_where_needed(app, env, set(), set(), set()) == names
    assert len(get_cache(config.execution_cache_path).list_cache_records()) >= 2  # none failed
    return (project / "executed").read_text().split()


def test_every_page_is_executed_once_chapters_first(project):
    assert executed(project) == ["01-first", "claims"]
    assert executed(project) == []
    cells = nbformat.read(project / "book/claims.ipynb", 4)
    cells.cells[1].source = "Other words."
    nbformat.write(cells, project / "book/claims.ipynb")
    assert executed(project) == []
    cells.cells[0].source += "; file.close()"
    nbformat.write(cells, project / "book/claims.ipynb")
    assert executed(project) == ["claims"]


def test_what_judges_runs_follows_what_makes_them_and_what_lists_them_is_last():
    names = "01-first", fresh.MAKES_MOST_RUNS, fresh.JUDGES_RUNS, "14-last", "claims", "status"
    pages = [f"book/{name}.ipynb" for name in names]
    first, most, judges, makes, claims, lists = pages
    assert fresh.in_turn(pages) == [[most, makes, first], [judges, claims], [lists]]
    assert fresh.in_turn([claims]) == [[claims]]


@pytest.mark.parametrize(("said", "expected"), [(None, "1"), ("3", "3")])
def test_a_page_has_one_thread_or_those_that_are_asked_for(
    said, expected, project, monkeypatch
):
    for name in fresh.THREADS:
        monkeypatch.delenv(name, raising=False)
        if said:
            monkeypatch.setenv(name, said)
    line = f"import os; file = open(r'{project}/executed', 'a')"
    lines = [line, *(f"print(os.environ['{name}'], file=file)" for name in fresh.THREADS)]
    cells = [nbformat.v4.new_code_cell("\n".join([*lines, "file.close()"]))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "book/claims.ipynb")
    assert executed(project) == ["01-first", *[expected] * len(fresh.THREADS)]


@pytest.mark.parametrize(
    "file",
    [
        "lib/code.py", "lib/new.py", "book/results/one/run.json", "book/claims.yml",
        "book/reference/curve.csv", "runs/one/classroom-1/run.json",
        "runs/one/two-cores-2/run.json", "requirements.txt",
    ],
)  # fmt: skip
def test_what_a_page_depends_on_changes_the_state(project, file):
    def state():
        return fresh.sources(project), fresh.runs()

    before = state()
    assert state() == before
    (project / file).parent.mkdir(parents=True, exist_ok=True)
    (project / file).write_text("2")
    assert state() != before


def test_another_state_executes_every_page(project, monkeypatch):
    executed(project)
    monkeypatch.setenv("STATIONARITY_DATA", "elsewhere")
    assert executed(project) == ["01-first", "claims"]


@pytest.mark.parametrize("file", ["book/01-first.ipynb", "_toc.yml"])
def test_the_page_that_reads_the_chapters_follows_each_change_of_them(project, file):
    line = f"with open(r'{project}/executed', 'a') as file: file.write('teaching ')"
    cells = [nbformat.v4.new_code_cell(line)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project / "book/teaching.ipynb")
    (project / "_toc.yml").write_text("")
    assert sorted(executed(project, "book/teaching")) == ["01-first", "claims", "teaching"]
    assert executed(project, "book/teaching") == []
    if file.endswith(".ipynb"):
        cells = nbformat.read(project / file, 4)
        cells.cells[1].source = "Another exercise."
        nbformat.write(cells, project / file)
    else:
        (project / file).write_text("parts: []")
    assert executed(project, "book/teaching") == ["teaching"]
    assert executed(project, "book/teaching") == []


def test_a_build_that_was_stopped_leaves_no_state(project, monkeypatch):
    def stop(*args, **keywords):
        raise KeyboardInterrupt

    executed(project)
    (project / "lib/code.py").write_text("2")
    with monkeypatch.context() as stopped, pytest.raises(KeyboardInterrupt):
        stopped.setattr(fresh, "OneByOne", stop)
        executed(project)
    assert executed(project) == ["01-first", "claims"]


def test_a_library_that_changed_while_pages_were_executed_executes_them_again(project):
    line = f"open(r'{project}/lib/code.py', 'w').write('2')"
    notebook = nbformat.read(project / "book/01-first.ipynb", 4)
    notebook.cells[0].source += f"; {line}"
    nbformat.write(notebook, project / "book/01-first.ipynb")
    assert executed(project) == executed(project) == ["01-first", "claims"]
    assert executed(project) == []
