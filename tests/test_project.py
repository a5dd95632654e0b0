"""The parts of the project outside the library agree with each other."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from stationarity.runs.settings import EXPERIMENTS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", text, re.MULTILINE))


def test_the_table_of_contents_lists_every_page_of_the_book():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {toc["root"]} | {
        chapter["file"] for part in toc["parts"] for chapter in part["chapters"]
    }
    found = {
        f"book/{path.stem}"
        for path in (ROOT / "book").iterdir()
        if path.suffix in (".ipynb", ".md")
    }
    assert listed == found


def test_no_page_is_kept_in_two_forms():
    stems = [
        path.stem for path in (ROOT / "book").iterdir() if path.suffix in (".ipynb", ".md")
    ]
    assert len(stems) == len(set(stems))


def test_the_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)\b", text))
    assert {"book", "test"} <= named <= targets()


def rows_of_the_readme(columns: int) -> list[list[str]]:
    """The cells of the rows of its tables with so many columns."""
    lines = (ROOT / "README.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    return [row for row in rows if len(row) == columns]


def test_the_readme_shows_every_place():
    shown = " ".join(place for place, _ in rows_of_the_readme(2))
    for path in (ROOT / "lib" / "stationarity").iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert f"`{path.name}{'/' if path.is_dir() else ''}`" in shown
    for place in re.findall(r"`([\w./]+)`", shown):
        assert (ROOT / place).exists() or (ROOT / "lib" / "stationarity" / place).exists(), (
            place
        )


def test_the_readme_shows_every_chapter_with_its_folder_and_its_experiments():
    _, *chapters = rows_of_the_readme(3)
    folders = sorted((ROOT / "lib" / "stationarity" / "chapters").glob("ch*"))
    experiments = []
    for (title, place, names), folder in zip(chapters, folders, strict=True):
        page = folder.name.removeprefix("ch").replace("_", "-")
        assert f"(book/{page}.ipynb)" in title and (ROOT / "book" / f"{page}.ipynb").exists()
        assert place == f"[`{folder.name}`](lib/stationarity/chapters/{folder.name})"
        own = re.findall(r"`(\w+)`", names)
        assert all(f'"{name}"' in (folder / "settings.py").read_text() for name in own), place
        experiments += own
    assert experiments == list(EXPERIMENTS)


def test_the_readme_tells_what_else_lies_in_a_chapters_folder():
    told = (ROOT / "README.md").read_text().partition("A chapter's folder in ")[2]
    _, *parts = re.split(r"[Cc]hapter (\d+)", told.partition("\n\n")[0])
    named = {
        int(number): set(re.findall(r"`(\w+\.py)`", text))
        for number, text in zip(parts[::2], parts[1::2], strict=True)
    }
    usual = {f"{name}.py" for name in ("__init__", "settings", "study", "reading", "figures")}
    for folder in (ROOT / "lib" / "stationarity" / "chapters").glob("ch*"):
        others = {path.name for path in folder.glob("*.py")} - usual
        assert named.pop(int(folder.name[2:4]), set()) == others, folder.name
    assert named == {}


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_the_code_is_in_the_form_that_pyproject_asks_for(command):
    line = [sys.executable, "-m", "ruff", *command.split(), "--no-cache", "--quiet", "."]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_wing_imports_what_it_may_not():
    line = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_of_the_library_is_longer_than_a_reader_can_bear():
    package = ROOT / "lib" / "stationarity"
    lengths = {path: len(path.read_text().splitlines()) for path in package.rglob("*.py")}
    assert [path for path, lines in lengths.items() if lines > 350] == []
    assert len(list(package.glob("*.py"))) <= 5
    fronts = {package / name for name in ("chapters", "book", "watching")}
    core = (n for path, n in lengths.items() if not fronts & set(path.parents))
    assert sum(core) <= 6500


def test_the_core_path_is_read_aloud_in_an_hour():
    """The whole of each file that CONTRIBUTING.md names: a minute has 150 words, by blanks."""
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## What to read first")[2]
    folder, files = ROOT / "lib" / "stationarity", set()
    for name in re.findall(r"`([\w/]+\.py)`", text.partition("\n## ")[0]):
        within = "/" in name or name == "launch.py"
        folder = (ROOT / "lib" / "stationarity" / name).parent if within else folder
        files.add(folder / Path(name).name)
    assert len(files) == 10
    texts = [file.read_text() for file in files]
    assert sum(len(text.splitlines()) for text in texts) <= 1800
    assert sum(len(text.split()) for text in texts) <= 60 * 150


def lines_of_code(function: ast.FunctionDef, lines: list[str]) -> int:
    """Count a function's lines, but for blank ones, comments and its docstring."""
    first, own = function.body[0], lines[function.lineno - 1 : function.end_lineno]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    code = sum(not re.match(r"\s*(#|$)", line) for line in own)
    blank = sum(not line.strip() for line in lines[first.lineno - 1 : first.end_lineno])
    return code - documented * (first.end_lineno - first.lineno + 1 - blank)


def test_no_function_of_the_library_has_more_than_fifty_lines_of_code():
    long = []
    for path in (ROOT / "lib").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                count = lines_of_code(node, text.splitlines())
                long += [(path.name, node.name, count)] if count > 50 else []
    assert long == []


def test_the_citation_states_the_version_and_the_licence():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]


def test_the_continuous_integration_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.search(r"^make test$", script.read_text(), re.MULTILINE)


@needs_make
def test_make_without_a_suitable_python_says_so_in_one_sentence(tmp_path):
    for name in ("Makefile", "pyproject.toml", "requirements.txt", "install.py"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "--no-print-directory", "book", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no-such-python is no working Python" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # the sentence, and make's own line
    assert not (tmp_path / ".venv").exists()


PLAIN = """#!/bin/sh
# Stands for Python, pip and Jupyter Book.
case "$*" in
*"-m venv"*) mkdir -p .venv/bin
  cp "$0" .venv/bin/python && cp "$0" .venv/bin/jupyter-book ;;
*.place*) cat .venv/.place ;;
build*) echo "bytecode ${PYTHONDONTWRITEBYTECODE-kept}"
  echo "progress in $STATIONARITY_PROGRESS" ;;
*pytest*) echo tested ;;
esac
"""


@needs_make
@pytest.mark.parametrize(
    "name", ["it's here", 'a "book" `x` $HOME $(x) #1', "B\u00fccher, (2)"]
)
def test_make_works_in_a_folder_of_any_name(tmp_path, name, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    place = tmp_path / name
    place.mkdir()
    for file in ("Makefile", "pyproject.toml", "requirements.txt", "install.py"):
        shutil.copy(ROOT / file, place)
    (place / "plain").write_text(PLAIN)
    (place / "plain").chmod(0o755)

    def make(target: str) -> str:
        command = ["make", "--no-print-directory", target, "PYTHON=./plain"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    said = make("book")
    assert (
        "Making .venv" in said
        and "bytecode kept" in said
        and f"progress in {place}/_build/progress.log\n" in said
    )
    assert f"Open {place}/_build/html/index.html\n" in said
    assert "tested" in make("test")
    assert "Making .venv" not in make("book")
