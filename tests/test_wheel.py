"""The library without its clone: installed from a wheel, or from a repository's address."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from extensions import extension
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[1]
publishing = extension("publishing")
BUILT_FROM = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "lib", "book")
NO_CACHES = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.ipynb", "mathjax")


def copied(place: Path) -> None:
    """Make a folder with what the library is built from, and an environment without it."""
    (place / "clone").mkdir(parents=True)
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        how = {"ignore": NO_CACHES} if copy is shutil.copytree else {}
        copy(ROOT / name, place / "clone" / name, **how)
    venv.create(place / "venv")
    # The packages of this environment, but not the library: its .pth file is not read there.
    within = next((place / "venv").glob("lib/*/site-packages"))
    (within / "packages.pth").write_text(sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    place = tmp_path_factory.mktemp("elsewhere")
    copied(place)
    return place


def call(place: Path, *command: str, **environment: str) -> str:
    """What a command says in a folder that is no clone."""
    (place / "work").mkdir(exist_ok=True)
    free = {key: os.environ[key] for key in os.environ if not key.startswith("STATIONARITY_")}
    free.pop("PYTHONPATH", None)
    environment = free | {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"} | environment
    environment |= {"PIP_NO_BUILD_ISOLATION": "0"}  # pip reads it as --no-build-isolation
    done = subprocess.run(
        command, cwd=place / "work", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(elsewhere):
    """The Python of an environment with the library, from a wheel."""
    python = str(elsewhere / "venv" / "bin" / "python")
    wheels = str(elsewhere / "wheels")
    call(elsewhere, sys.executable, "-m", "pip", "wheel", "-q", "-w", wheels, "../clone")
    shutil.rmtree(elsewhere / "clone")  # no help from there
    (wheel,) = map(str, Path(wheels).iterdir())
    call(elsewhere, python, "-m", "pip", "install", "-q", "--force-reinstall", wheel)
    return python


FACTS = """
import json, stationarity
from stationarity.book import claims, results
from stationarity.chapters import reference
from stationarity.runs import provenance, records
run = stationarity.run("descent_map", settings={"times": [10, 100], "trajectories": 5})
print(json.dumps({
    "package": str(provenance.PACKAGE), "runs": str(records.runs_root()),
    "folder": str(run.folder), "versions": run.info["versions"], "commit": run.info["commit"],
    "claims": [claim.name for claim in claims.read()],
    "records": sorted(path.name for path in results.root().glob("*/*")),
    "reference": len(reference("zhang2022-figure1")),
    "stale": [one.folder.name for one in stationarity.recorded("settling")
              if not one.made_by_this_code],
}))
"""


def test_a_wheel_runs_experiments_and_has_the_claims_records_and_references(
    elsewhere, installed
):
    from stationarity.book import claims, results
    from stationarity.chapters import reference
    from stationarity.runs import provenance

    found = json.loads(call(elsewhere, installed, "-c", FACTS))
    assert found["package"].startswith(str(elsewhere / "venv"))
    assert found["runs"] == str(elsewhere / "work" / "runs")
    assert found["folder"].startswith(found["runs"])
    assert found["versions"]["stationarity"] == provenance.version()
    assert found["commit"] == f"v{provenance.version()}"  # the copy was no repository
    assert found["claims"] == [claim.name for claim in claims.read()]
    assert found["records"] == sorted(path.name for path in results.root().glob("*/*"))
    assert found["reference"] == len(reference("zhang2022-figure1"))
    kept = results.recorded("settling")
    stale = [one.folder.name for one in kept if not one.made_by_this_code]
    assert found["stale"] == stale


def test_a_chapter_runs_with_a_wheel_outside_the_repository(elsewhere, installed):
    settings = "{two_clocks*: {examples: 96, hidden: [5], batch_size: 16, members: 2, "
    settings += "stages: [40, 80, 40], full_steps: 40, measure_every: 5}}"
    page = ROOT / "book" / "13-two-clocks.ipynb"
    line = ["-m", "papermill", str(page), "mine.ipynb", "-k", "python3", "--no-progress-bar"]
    call(elsewhere, installed, *line, "-y", f"settings: {settings}")
    made = {path.parent.name for path in (elsewhere / "work" / "runs").glob("*/*")}
    assert {"two_clocks", "two_clocks_by_heart"} <= made


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_first_cell_of_a_notebook_installs_the_library_where_it_is_missing(elsewhere):
    place = elsewhere / "colab"
    copied(place)
    git = ["git", "-C", str(place / "clone"), "-c", "user.name=x", "-c", "user.email=x@x.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        call(place, *git, *command)
    commit = call(place, *git, "rev-parse", "HEAD").strip()
    facts = "from stationarity.runs import provenance\nprint(provenance.commit())"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    cells = [new_markdown_cell("# A page"), new_code_cell(facts)]
    page = new_notebook(cells=cells, metadata=kernel)
    page = publishing.with_address(page, (place / "clone").as_uri())
    nbformat.write(page, place / "page.ipynb")
    line = ["-m", "papermill", str(place / "page.ipynb"), "mine.ipynb", "-k", "python3"]
    call(place, str(place / "venv" / "bin" / "python"), *line)
    done = nbformat.read(place / "work" / "mine.ipynb", as_version=4)
    assert done.cells[-1].outputs[0].text.strip() == commit
