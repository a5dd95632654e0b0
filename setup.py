"""Builds the library; ``pyproject.toml`` says the rest.

A wheel serves without the clone: the package has within it, in ``project``, what the library
reads of the project (see ``runs.provenance``), and the commit that it was built from.
"""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PARTS = ("pyproject.toml", "book/claims.yml", "book/reference/*", "book/results/**/*.*")


def files() -> list[str]:
    """Return the files of the project that the library reads."""
    return sorted(path.as_posix() for part in PARTS for path in Path().glob(part))


class WithProject(build_py):
    """Copies them into the package, unless that stays where it is."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        project = Path(self.build_lib, "stationarity", "project")
        for name in files():
            self.mkpath(str((project / name).parent))
            self.copy_file(name, str(project / name))
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        told = subprocess.run(command, capture_output=True, text=True)
        commit = told.stdout.strip() or f"v{self.distribution.get_version()}"
        (project / "commit").write_text(commit, encoding="utf-8")

    def get_source_files(self):
        return [*super().get_source_files(), *files()]


setup(cmdclass={"build_py": WithProject})
