"""Where a run comes from: the code that decides it, the commit, the device."""

import ast
import datetime
import hashlib
import importlib.util
import os
import platform
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
WITHIN = PACKAGE / "project"  # a wheel has it: what the library reads of its project
PROJECT = WITHIN if WITHIN.exists() else PACKAGE.parents[1]


@cache
def code_hash(study: str) -> str:
    """Return a hash of the code that decides a study, ``module:function``.

    That is its module and all that it imports of the library: what is for type checkers
    alone does not count, nor do comments, docstrings and the layout of the code.
    """
    digest = hashlib.sha256()
    for path in closure(study.partition(":")[0]):
        code, _ = _running(path)
        digest.update(f"{path.relative_to(PACKAGE).as_posix()}\n{code}".encode())
    return digest.hexdigest()[:12]


def closure(module: str) -> list[Path]:
    """Return the files of a module of the library and of all it imports there, sorted."""
    reached, waiting = set(), {_file(module)}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= _running(path)[1] - reached
    return sorted(reached)


def _file(module: str) -> Path | None:
    path = PACKAGE.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if module and file.is_file()), None)


def _imported(path: Path, tree: ast.Module) -> Iterator[Path | None]:
    package = ".".join(["stationarity", *path.relative_to(PACKAGE).parts[:-1]])
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            name = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            top, _, module = name.partition(".")
            for one in node.names if top == "stationarity" else ():
                # It is a module of the package, or a name in it.
                yield _file(f"{module}.{one.name}".lstrip(".")) or _file(module)


class _AsItRuns(ast.NodeTransformer):
    """Drops docstrings, and what is for type checkers alone."""

    def visit_If(self, node):
        checking = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return None if checking else self.generic_visit(node)

    def visit_Expr(self, node):
        return None if isinstance(node.value, ast.Constant) else node


@cache
def _running(path: Path) -> tuple[str, set[Path]]:
    """Return a file's code as it runs, and the files of the library that it imports."""
    tree = _AsItRuns().visit(ast.parse(path.read_bytes()))
    return repr(_plain(tree)), set(filter(None, _imported(path, tree)))


def _plain(node):
    """Return a tree without what is empty: then it is alike in all versions of Python."""
    if isinstance(node, ast.AST):
        held = [(k, _plain(v)) for k, v in ast.iter_fields(node) if v not in (None, [])]
        return type(node).__name__, held
    return [*map(_plain, node)] if isinstance(node, list) else node


def device_name(device) -> str:
    """Return the name of a device, such as ``NVIDIA H200`` or ``CPU (arm64), 8 threads``."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: *(.*\S)", text, re.MULTILINE)
    name, count = model[1] if model else platform.machine(), torch.get_num_threads()
    return f"{device.type.upper()} ({name}), {count} thread{'s' if count > 1 else ''}"


def commit() -> str | None:
    """Return the commit: ``STATIONARITY_COMMIT``, the wheel's, or what git says."""
    told = os.environ.get("STATIONARITY_COMMIT")
    if told or PROJECT == WITHIN:
        return told or (WITHIN / "commit").read_text("utf-8")
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.check_output(command, stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def version() -> str:
    """Return the library's version."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
