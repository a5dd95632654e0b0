"""Where a run comes from: the code that decides it, the commit, the device."""

import ast
import datetime
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parents[1]


@cache
def code_hash(study: str) -> str:
    """Return a hash of the code that decides a study, ``module:function``.

    That is its module with all that it imports of the library, directly or not, as it
    runs: what is imported for type checkers alone does not count, nor do comments,
    docstrings, blank lines and the layout of the code.
    """
    digest = hashlib.sha256()
    for path in closure(study.partition(":")[0]):
        code = ast.dump(_running(path))
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n{code}".encode())
    return digest.hexdigest()[:12]


def closure(module: str) -> list[Path]:
    """Return the files of a module of the library and of all it imports there, sorted.

    >>> [path.name for path in closure("runs.seeds")]
    ['seeds.py']
    """
    found, waiting = set(), [_file(module)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


def _file(module: str) -> Path | None:
    """Return the file of a module below the package, None where there is none."""
    path = PACKAGE.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if module and candidate.is_file():
            return candidate
    return None


def _imported(path: Path) -> Iterator[Path]:
    """Yield the files that a module imports as it runs, at its top or within functions."""
    package = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(_running(path)):
        if not isinstance(node, ast.ImportFrom):
            continue
        names = (node.module or "").split(".") if node.module else []
        if node.level:
            names = [*package[: len(package) - node.level + 1], *names]
        elif names[:1] == ["stationarity"]:
            names = names[1:]
        else:
            continue
        for name in node.names:  # a module of the package, or a name in it
            if file := _file(".".join([*names, name.name])) or _file(".".join(names)):
                yield file


class _AsItRuns(ast.NodeTransformer):
    """Drops docstrings, and what is for type checkers alone."""

    def visit_If(self, node):
        checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if checking else self.generic_visit(node)

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant) else node


@cache
def _running(path: Path) -> ast.Module:
    return _AsItRuns().visit(ast.parse(path.read_text()))


def device_name(device) -> str:
    """Return the name of a device, such as ``NVIDIA H200`` or ``CPU (arm64), 8 threads``."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    count = torch.get_num_threads()
    return f"{device.type.upper()} ({model}), {count} thread{'s' if count > 1 else ''}"


def commit() -> str | None:
    """Return the commit: ``STATIONARITY_COMMIT``, or what git says of the project."""
    if os.environ.get("STATIONARITY_COMMIT"):
        return os.environ["STATIONARITY_COMMIT"]
    try:
        command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40"]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
