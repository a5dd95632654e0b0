"""The parts of the project outside the library agree with each other."""
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text()
    return set(re.findall(r"^([a-z]+):", text, re.MULTILINE))


def test_conda_users_get_their_packages_from_pyproject_and_constraints():
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert sorted(re.match(r"[a-z-]+", name)[0] for name in conda) == ["pip", "python"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[book,test]"]}


def test_every_direct_dependency_is_pinned_within_its_bounds():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    versions = {}
    for pin in pins:
        (bound,) = pin.specifier
        assert bound.operator == "==", pin
        versions.setdefault(canonicalize_name(pin.name), []).append(bound.version)
    extras = PROJECT["optional-dependencies"].values()
    for text in PROJECT["dependencies"] + [text for extra in extras for text in extra]:
        need = Requirement(text)
        found = versions.get(canonicalize_name(need.name))
        assert found, f"constraints.txt does not pin {need.name}: run `make lock`"
        assert all(need.specifier.contains(version) for version in found), (need, found)


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
    stems = [path.stem for path in (ROOT / "book").iterdir() if path.suffix in (".ipynb", ".md")]
    assert len(stems) == len(set(stems))


def test_the_readme_names_only_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\bmake ([a-z]+)\b", text))
    assert {"book", "test"} <= named <= targets()


def test_the_extras_that_make_installs_exist():
    lists = re.findall(r"^extras-\w+ := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = {extra for names in lists for extra in names.split(",")}
    assert extras == set(PROJECT["optional-dependencies"])


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
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "--no-print-directory", "book", "PYTHON=no-such-python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no-such-python is no working Python" in done.stderr
    assert len(done.stderr.splitlines()) == 2  # the sentence, and make's own line
    assert not (tmp_path / ".venv").exists()
