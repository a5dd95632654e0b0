"""The code that decides a run, and the names of its settings."""

import ast

import pytest
from stationarity import launch
from stationarity.runs import provenance
from stationarity.runs.settings import EXPERIMENTS, Settings, get


def test_the_fingerprint_follows_the_settings_and_the_embedded_data(monkeypatch):
    settings = get("full_batch")
    first = launch.fingerprint(settings)
    assert first == launch.fingerprint(get("full_batch"))
    assert first != launch.fingerprint(settings.but(learning_rate=0.1))
    monkeypatch.setattr(launch, "embedded_hash", lambda name: "other digits")
    assert launch.fingerprint(settings) != first


def test_a_later_setting_with_a_default_leaves_the_fingerprint_as_it_is():
    class Before(Settings):
        steps: int

    class After(Before):
        later: float = 0.5

    first = Before(steps=3).fingerprint()
    assert After(steps=3).fingerprint() == first
    assert After(steps=3, later=1.0).fingerprint() != first


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of small modules, and a function that writes one and hashes the study."""
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    (tmp_path / "wing").mkdir()
    (tmp_path / "wing" / "__init__.py").write_text("")
    sources = {
        "wing/study.py": "from ..base import f\n\ndef study():\n    return f()\n",
        "base.py": 'def f():\n    """Doc."""\n    return 1\n',
        "wing/reading.py": "from .study import study\n",
    }
    for name, source in sources.items():
        (tmp_path / name).write_text(source)

    def hash_with(name="base.py", old="", new=""):
        (tmp_path / name).write_text(sources.get(name, "").replace(old, new))
        provenance.code_hash.cache_clear()
        provenance._running.cache_clear()
        return provenance.code_hash("wing.study:study")

    yield hash_with
    provenance.code_hash.cache_clear()
    provenance._running.cache_clear()


def test_the_code_hash_sees_code_and_not_comments(package):
    first = package()
    assert package(old="Doc", new="Other words") == first
    assert package(old="return 1", new="return (1)  # one") == first
    assert package(old="return 1", new="return 2") != first


def test_the_code_hash_sees_what_the_study_imports_and_nothing_else(package):
    first = package()
    assert package("wing/reading.py", "study", "anything") == first
    assert package("new.py", "", "anything = 1") == first
    study = "wing/study.py"
    assert package(study, "import f", "import f as f, g") != first
    checking = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..new import x\n"
    typed = package(study, "def study", f"{checking}def study")
    assert package("new.py", "", "anything = 2") == typed  # for type checkers alone
    runs = package(study, "    return f()", "    from .. import new\n    return f()")
    assert package("new.py", "", "anything = 3") != runs


def test_the_code_is_alike_in_versions_of_python_whose_trees_have_more_fields():
    tree = ast.parse("def f(x=None, y=0): return x")
    before = provenance._plain(tree)
    assert before == provenance._plain(ast.parse("def f(x = None, y = 0):\n    return x"))
    assert before != provenance._plain(ast.parse("def f(x=None, y=None): return x"))
    tree.body[0]._fields += ("type_params",)
    tree.body[0].type_params = []
    assert provenance._plain(tree) == before


@pytest.mark.parametrize(
    "study", sorted({one["classroom"].study for one in EXPERIMENTS.values()})
)
def test_what_reads_a_run_does_not_decide_it(study):
    paths = provenance.closure(study.partition(":")[0])
    names = {path.relative_to(provenance.PACKAGE).as_posix() for path in paths}
    writes = "watching/tables.py" in names  # a watch writes a run of its own, as a launch does
    read = set() if writes else {"runs/records.py", "runs/provenance.py"}
    assert not names & {"launch.py", "watching/report.py", *read}
    assert not any(path.stem in ("reading", "figures", "plots") for path in paths)
