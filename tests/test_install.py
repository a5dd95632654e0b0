"""The environment: the packages in the lock, and how they are installed."""

import contextlib
import importlib.util
import re
import socket
import sys
import tomllib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from threading import Thread

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("install", ROOT / "install.py")
SPEC.loader.exec_module(install := importlib.util.module_from_spec(SPEC))
TEXT = (ROOT / "requirements.txt").read_text()


def locked(python: str, system: str) -> dict[str, str]:
    """The versions for a Python and a system, by name."""
    place = {"python_version": python, "python_full_version": f"{python}.9"}
    place |= {"sys_platform": system, "platform_machine": "x86_64"}
    pins = [Requirement(entry.split("\\")[0]) for entry in install.entries(TEXT)]
    here = [pin for pin in pins if not pin.marker or pin.marker.evaluate(place)]
    versions = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in here}
    assert len(versions) == len(here) and all(f"=={v}" in TEXT for v in versions.values())
    return versions


def test_every_line_of_the_lock_is_read_and_every_package_has_hashes():
    entries = install.entries(TEXT)
    assert "".join(entries) == "".join(re.findall(r"^[^#].*\n", TEXT, re.MULTILINE))
    assert [e for e in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\n$", e)] == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_direct_dependency_is_locked_within_its_bounds(python, system):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = locked(python, system)
    extras, own = project["optional-dependencies"], ("lightning", "transformers", "loggers")
    needed = [text for name, extra in extras.items() if name not in own for text in extra]
    for text in project["dependencies"] + needed:
        need = Requirement(text)
        version = versions.get(canonicalize_name(need.name), "none")
        assert version != "none" and need.specifier.contains(version), (
            f"requirements.txt has {version} for {need}: run `make lock`"
        )


def test_the_lock_has_all_that_its_packages_need():
    versions = locked(f"{sys.version_info[0]}.{sys.version_info[1]}", sys.platform)
    for name, version in versions.items():
        with contextlib.suppress(metadata.PackageNotFoundError):
            if metadata.version(name) == version:
                for need in map(Requirement, metadata.requires(name) or ()):
                    if not need.marker or need.marker.evaluate({"extra": ""}):
                        found = versions.get(canonicalize_name(need.name), "none")
                        assert need.specifier.contains(found, prereleases=True), (name, need)


def test_what_pytorchs_cpu_build_does_without_is_for_linux_alone():
    cuda = set(locked("3.12", "linux")) - set(locked("3.12", "darwin"))
    of_build = {name for name in locked("3.12", "linux") if install.BUILD.match(f"{name}==")}
    assert of_build == cuda | {"torch", "torchvision"}


def test_conda_brings_python_and_pip_and_the_lock_the_rest():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert sorted(re.match(r"[a-z-]+", name)[0] for name in conda) == ["pip", "python"]


class Machine:
    """Stands for one: ``ran`` are the commands that it ran, with their packages."""

    def __init__(self, monkeypatch, failing=(), **facts):
        self.ran, self.failing = [], failing
        monkeypatch.delenv("TORCH_CPU_INDEX", raising=False)
        monkeypatch.setattr(install, "done", self.done)
        facts = {"pip_has_an_index": False, "lacks_driver": True, "answers": True} | facts
        for name, fact in facts.items():
            monkeypatch.setattr(install, name, lambda *_, fact=fact: fact)

    def done(self, command, packages=()):
        tool = "uv" if "uv" in command else "pip"
        what = "lock" if "--require-hashes" in command else "torch"
        what = "library" if "-e" in command else what
        self.ran.append((tool, what, [entry.split("==")[0] for entry in packages]))
        return (tool, what) not in self.failing

    def packages(self) -> list[str]:
        """Install; return each step, and the packages of the last one from the lock."""
        install.main()
        assert self.ran[-1][:2] == ("pip", "library")
        steps = [f"{tool} {what}" for tool, what, _ in self.ran[:-1]]
        return steps, self.ran[-2][2]


def test_the_cpu_build_is_taken_where_there_is_no_driver(monkeypatch):
    steps, packages = Machine(monkeypatch).packages()
    assert steps == ["pip torch", "pip lock", "uv lock"]
    assert "numpy" in packages and "torch" not in packages and "triton" not in packages
    assert not any(name.startswith("nvidia") for name in packages)


@pytest.mark.parametrize("fact", [{"lacks_driver": False}, {"answers": False}])
def test_the_whole_lock_is_installed_with_a_driver_or_where_the_index_is_silent(
    monkeypatch, fact
):
    steps, packages = Machine(monkeypatch, **fact).packages()
    assert steps == ["pip lock", "uv lock"]
    assert {"numpy", "torch", "triton"} <= set(packages)


def test_what_fails_is_done_in_the_slower_way(monkeypatch):
    failing = [("pip", "torch"), ("uv", "lock")]
    steps, packages = Machine(monkeypatch, failing).packages()
    assert steps == ["pip torch", "pip lock", "uv lock", "pip lock"]
    assert {"numpy", "torch", "triton"} <= set(packages)
    machine = Machine(monkeypatch, [("uv", "lock"), ("pip", "lock")], answers=False)
    with pytest.raises(SystemExit, match="Not everything"):
        machine.packages()


def test_where_pip_has_an_index_all_comes_from_there(monkeypatch):
    steps, packages = Machine(monkeypatch, pip_has_an_index=True).packages()
    assert steps == ["pip lock"] and "torch" in packages
    machine = Machine(monkeypatch, pip_has_an_index=True)
    monkeypatch.setenv("TORCH_CPU_INDEX", "https://mirror.example/cpu")
    steps, packages = machine.packages()
    assert steps == ["pip torch", "pip lock"] and "torch" not in packages
    machine = Machine(monkeypatch)
    monkeypatch.setenv("TORCH_CPU_INDEX", "")
    assert "torch" in machine.packages()[1]


@pytest.mark.parametrize(
    ("name", "value", "own"),
    [("INDEX_URL", "https://mirror.example", True), ("EXTRA_INDEX_URL", "file:///x", False)],
)
def test_an_index_that_only_adds_to_pypi_is_no_index_of_ones_own(monkeypatch, name, value, own):
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv(f"PIP_{name}", value)
    assert install.pip_has_an_index() is own


def test_an_index_that_says_nothing_is_not_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert not install.answers(address)
    assert not install.answers(address)


def test_an_index_that_answers_is_found(tmp_path):
    (tmp_path / "torch").mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        assert install.answers(f"http://127.0.0.1:{server.server_port}")
        assert not install.answers(f"http://127.0.0.1:{server.server_port}/elsewhere")
        server.shutdown()
