"""What machines elsewhere run: workflows, the container, Binder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from stationarity.train.precision import PATHS

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DOCKERFILE = ROOT / "container" / "Dockerfile"


def passes(linter: str, *paths: Path) -> None:
    """Hold files against a linter; skip where it is not installed."""
    if not shutil.which(linter):
        pytest.skip(f"{linter} is not installed")
    done = subprocess.run([linter, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def steps(workflow: Path) -> list[dict]:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_the_workflows_pass_actionlint():
    passes("actionlint", *WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_runs_pinned_actions_and_may_read_alone(workflow):
    used = re.findall(r"uses: (.*)", workflow.read_text())
    assert used and all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v[\d.]+", u) for u in used)
    said = yaml.safe_load(workflow.read_text())
    assert said["permissions"] == {"contents": "read"}
    writers = {name: job.get("permissions") for name, job in said["jobs"].items()}
    allowed = {
        "deploy": {"pages": "write", "id-token": "write"},
        "release": {"contents": "write"},
    }
    assert {name: given for name, given in writers.items() if given} == {
        name: allowed[name] for name in writers if name in allowed
    }
    # What may write runs nothing of the repository: it has no checkout.
    for name in set(said["jobs"]) & set(allowed):
        assert "checkout" not in str(said["jobs"][name]["steps"])


def test_the_workflows_name_only_commands_and_files_that_there_are():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    commands = [step.get("run", "") for path in WORKFLOWS for step in steps(path)]
    lines = [line.split('ARGS="') for text in commands for line in re.findall("make .*", text)]
    assert {"book", "test", "links", "pdf"} <= {w for line in lines for w in line[0].split()}
    for named, *arguments in lines:
        assert set(named.split()[1:]) <= targets
        for path in " ".join(arguments).strip('"').split():
            assert path.startswith("--") or (ROOT / path).exists(), path


def test_what_is_published_was_seen_in_a_browser_and_waits_for_nobody_elses_pages():
    book, nightly = (ROOT / ".github" / "workflows" / f"{n}.yml" for n in ("book", "nightly"))
    before = "\n".join(step.get("run", "") for step in steps(book))
    looked = 'make test ARGS="tests/book/test_browser.py tests/book/test_built.py'
    assert f"{looked} --no-skip-but=firefox" in before
    assert "make links" not in before
    assert "make links" in [step.get("run") for step in steps(nightly)]


@pytest.mark.parametrize(
    ("name", "fail"),
    [("firefox", ["page"]), ("page", ["firefox"]), ("chrome", ["firefox", "page"])],
)
def test_a_skip_is_a_failure_where_it_is_not_allowed(name, fail, tmp_path):
    (tmp_path / "conftest.py").write_text(
        f"exec(open({str(ROOT / 'tests' / 'conftest.py')!r}).read())"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_firefox(): pytest.skip('not here')\n"
        "@pytest.mark.skipif(True, reason='no book')\n"
        "def test_page(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [*command, f"--no-skip-but={name}"], capture_output=True, text=True, env=environment
    )
    told = re.findall(r"^(?:FAILED|ERROR) .*::test_(\w+)\b", done.stdout, re.MULTILINE)
    assert sorted(told) == fail, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint():
    passes("hadolint", DOCKERFILE)


def test_the_container_has_what_it_installs_from_and_leaves_out_what_is_made():
    left_out = (ROOT / ".dockerignore").read_text().split()
    text = DOCKERFILE.read_text()
    assert re.search("^COPY . .$", text, re.MULTILINE) and "install.py" in text
    assert f"-f {DOCKERFILE.relative_to(ROOT)} ." in text
    assert re.search("^ENV HOME=/tmp ", text, re.MULTILINE)  # who has no home may write
    if any(path.compiled for path in PATHS.values()):
        assert " g++ " in text
    for name in ("install.py", "requirements.txt", "pyproject.toml", "lib", "book", ".git"):
        assert name not in left_out
    assert {".venv", "_build", "runs"} <= set(left_out)
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {name.strip("/") for name in ignored} >= {
        one.removeprefix("**/") for one in left_out
    }


def test_binder_installs_the_same_packages():
    script = ROOT / "postBuild"
    assert os.access(script, os.X_OK) and "python install.py" in script.read_text()
    assert (ROOT / "environment.yml").exists()  # which brings Python
    # Any of these would come first, and these two files would not be read.
    for name in ("binder", ".binder", "Dockerfile"):
        assert not (ROOT / name).exists()


def test_contributing_names_only_what_there_is():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in re.findall(r"`((?:tests|book)/[\w./]+)`", text):
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", text)) <= targets
    assert "python book/_ext/publishing.py" in text
