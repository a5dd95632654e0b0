"""Class copies: what students and teachers get, and the self-checks of their answers."""

import ast
import builtins
import itertools
import math
import re
import zipfile

import nbformat
import numpy as np
import papermill
import pytest
import stationarity
import yaml
from book.test_book import NOTEBOOKS, ROOT, SMALL, names, statements
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from self_checks import audit
from stationarity import UsageError, theory
from stationarity.book import classroom, lesson, page
from stationarity.book.plain import ROLE, Book

BOOK = Book(ROOT)
NAMES = {"math": math, "np": np, "stationarity": stationarity, "theory": theory}
TITLE = re.compile(r"\{exercise\} .+ · (proof|computation|experiment) ★{1,3}$", re.MULTILINE)
each_chapter = pytest.mark.parametrize("chapter", BOOK.chapters)
both_kinds = pytest.mark.parametrize("kind", classroom.KINDS)


def text_of(notebook, kind="markdown") -> str:
    return "\n".join(c.source for c in notebook.cells if c.cell_type == kind)


def labels(notebook) -> list[str]:
    return re.findall(r"\{exercise\} .*\n:label: (\S+)", text_of(notebook))


# --- the exercises of the book -------------------------------------------------


@each_chapter
def test_an_exercise_says_its_kind_and_its_difficulty_and_each_kind_occurs(chapter):
    text = text_of(BOOK.notebook(chapter))
    kinds = TITLE.findall(text)
    assert len(kinds) == text.count("{exercise}")
    assert set(kinds) == {"proof", "computation", "experiment"}


@each_chapter
def test_every_exercise_has_its_solution_and_no_other(chapter):
    notebook = BOOK.notebook(chapter)
    assert labels(notebook) == list(classroom.solutions(notebook))


def test_there_are_forty_self_checks_and_some_in_each_chapter():
    found = {name: classroom.checks(BOOK.notebook(name)) for name in BOOK.chapters}
    assert sum(map(len, found.values())) >= 40
    assert all(len(checks) >= 3 for checks in found.values())
    known = [label for checks in found.values() for label in checks]
    assert len(known) == len(set(known))


@each_chapter
def test_a_solution_needs_no_other_solution(chapter):
    """A self-check runs it after the cells before the exercises, and after nothing else."""
    notebook = BOOK.notebook(chapter)
    own = set()
    for label, cell in classroom.pieces(notebook):
        if label is None and cell.cell_type == "code":
            own |= assigned(cell)
    for label, solved in classroom.solutions(notebook).items():
        code = new_code_cell(solved["code"])
        tree = ast.Module(statements(code), [])
        lacking = names(tree, ast.Load) - own - assigned(code) - set(dir(builtins))
        lacking -= {arg.arg for arg in ast.walk(tree) if isinstance(arg, ast.arg)}
        assert not lacking, (label, lacking)


def assigned(cell) -> set[str]:
    tree = ast.Module(statements(cell), [])
    found = names(tree, ast.Store)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(one.asname or one.name).split(".")[0] for one in node.names}
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            found.add(node.name)
    return found


# --- the copies ----------------------------------------------------------------


@each_chapter
@both_kinds
def test_a_copy_is_a_valid_notebook_in_plain_markdown(chapter, kind):
    copy = classroom.copy(BOOK, chapter, kind)
    nbformat.validate(copy)
    prose = [c.source for c in copy.cells if c.cell_type == "markdown" or "say(" in c.source]
    text = lesson.GLUED.sub("", "\n".join(prose))
    assert not re.search(r"^[`:]{3,}\{|\{[\w:]+\}`|^\([\w-]+\)=$", text, re.MULTILINE)
    assert not re.search(r"\\(norm|loss|R|E|Var)(?![A-Za-z}])", text.split("\n\n", 2)[2])
    for cell in copy.cells:
        if cell.cell_type == "code":
            statements(cell)  # it is Python


@each_chapter
def test_a_student_has_no_solution_and_a_teacher_has_them_all(chapter):
    source = BOOK.notebook(chapter)
    student = text_of(classroom.copy(BOOK, chapter, "student"), "code")
    teacher = text_of(classroom.copy(BOOK, chapter, "teacher"), "code")
    for solved in classroom.solutions(source).values():
        for cell in solved["cells"]:
            if cell.cell_type == "code":
                assert BOOK.references(cell.source) in teacher
                assert cell.source not in student
    asked = len(classroom.checks(source))
    assert student.count("answer = ...") == teacher.count("check('") == asked


@both_kinds
def test_a_copy_installs_the_library_before_it_is_needed_where_the_page_does(kind):
    chapter, book = "01-two-stories", Book(ROOT)
    made = code_of(classroom.copy(BOOK, chapter, kind))
    source = BOOK.notebook(chapter)
    source.cells.insert(1, new_code_cell("%pip install it", id=classroom.INSTALL))
    book.notebook = lambda page: source if page == chapter else BOOK.notebook(page)
    assert code_of(classroom.copy(book, chapter, kind)) == ["%pip install it", *made]


def code_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_make_writes_the_copies_and_an_archive_of_each_kind(tmp_path):
    archives = classroom.make(tmp_path, ROOT)
    for archive, kind in zip(archives, classroom.KINDS, strict=True):
        inside = zipfile.ZipFile(archive).namelist()
        assert inside == [f"{kind}/{name}.ipynb" for name in BOOK.chapters]
        assert nbformat.read(tmp_path / inside[0], as_version=4)


def pytest_generate_tests(metafunc):
    """With ``--every-copy``, as each night, the copies of all chapters are executed."""
    if "executed" in metafunc.fixturenames:
        every = itertools.product(BOOK.chapters, classroom.KINDS)
        few = zip(["01-two-stories", "13-two-clocks"], classroom.KINDS)
        chosen = every if metafunc.config.getoption("every_copy") else few
        metafunc.parametrize("executed, kind", [*chosen])


def test_a_copy_runs_from_any_folder(executed, kind, tmp_path, runs_of_pages):
    nbformat.write(classroom.copy(BOOK, executed, kind), tmp_path / "copy.ipynb")
    done = papermill.execute_notebook(
        tmp_path / "copy.ipynb",
        None,
        parameters=SMALL[executed],
        kernel_name="python3",
        cwd=tmp_path,
        progress_bar=False,
    )
    asked = [cell for cell in done.cells if "\ncheck('" in cell.source]
    told = ["".join(part.text for part in cell.outputs).strip() for cell in asked]
    assert len(told) == len(classroom.checks(BOOK.notebook(executed)))
    expected = "Right." if kind == "teacher" else "No answer yet"
    assert all(one.startswith(expected) for one in told), told
    prose = [o for c in done.cells if c.source.startswith("say(") for o in c.outputs]
    assert prose and not any("{glue" in o.data["text/markdown"] for o in prose)
    assert not any("…" in o.data["text/markdown"] for o in prose)  # no number is missing


# --- the parts, on tiny ones ---------------------------------------------------

SOURCE = """```{exercise} Twice · computation ★
:label: ex-twice

What is twice $x$?
```

````{solution-start} ex-twice
:class: dropdown
````

Add it to itself."""


def tiny(value="y", code="y = x + x"):
    check = {"asked": "twice x", "value": value}
    begin = new_markdown_cell(SOURCE, metadata={"check": check})
    cells = [new_code_cell("x = 2.0"), begin, new_code_cell(code)]
    return new_notebook(cells=[*cells, new_markdown_cell("````{solution-end}\n````\n\nEnd.")])


def checker(**names):
    return lesson.SelfChecks(names, lesson.packed(classroom.checks(tiny())))


def test_a_solution_is_cut_out_of_the_cells_that_it_shares():
    found = classroom.solutions(tiny())["ex-twice"]
    assert [cell.source for cell in found["cells"]] == ["Add it to itself.", "y = x + x"]
    outside = [cell.source for label, cell in classroom.pieces(tiny()) if label is None]
    assert outside[0] == "x = 2.0" and outside[-1] == "End." and len(outside) == 3


def test_a_check_follows_the_run_and_not_what_a_student_names():
    space = {"x": 3.0}
    check = lesson.SelfChecks(space, lesson.packed(classroom.checks(tiny())))
    space["x"] = 100.0
    assert check.judge("ex-twice", 6.0) == "Right."
    assert check.judge("ex-twice", 6.05) == "Right."
    assert check.judge("ex-twice", 6.1) == "Not right."
    assert audit(check) == {"ex-twice": 6.0}


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (-6, "sign"),
        (12, "high"),
        (3, "low"),
        (600, "per cent"),
        (36, "square"),
        (1 / 6, "one over"),
    ],
)
def test_a_slip_gets_a_hint(wrong, hint):
    shut = lesson.packed({"ex-twice": lesson.locked("ex-twice", 6.0, 0.01)})
    for check in (checker(x=3.0), lesson.SelfChecks({}, shut)):
        told = check.judge("ex-twice", wrong)
        assert told.startswith("Not right. ") and hint in told


def test_an_answer_of_zero_gives_no_hint_and_is_not_locked():
    assert checker(x=0.0).judge("ex-twice", 0.5) == "Not right."
    (check,) = classroom.checks(tiny(code="y = 0")).values()
    assert classroom.locked({"ex-twice": check}) == {"ex-twice": check}


@each_chapter
def test_a_check_that_needs_no_result_of_the_page_is_locked(chapter):
    """It holds neither solution nor answer, and judges as the solution does."""
    checks = classroom.checks(BOOK.notebook(chapter))
    locked = classroom.locked(checks)
    shut = {label: check for label, check in locked.items() if "key" in check}
    assert all(set(check) == {"within", "quarters", "key"} for check in shut.values())
    assert shut, "each chapter has some"
    check = lesson.SelfChecks({}, lesson.packed(locked))
    for label in shut:
        right = lesson.solved(checks[label], NAMES)
        within = checks[label]["within"]
        for given in (right, right * (1 + 0.7 * within), right / (1 + 0.7 * within)):
            assert check._fits(label, given)
        for wrong in (right * (1 + 1.3 * within), right / (1 + 1.3 * within), 0):
            assert not check._fits(label, wrong)
    for label in set(checks) - set(shut):
        assert locked[label] == checks[label]


def test_a_check_tells_no_answer():
    check = checker(x=3.25)
    told = [check.judge("ex-twice", given) for given in (..., 1, 6.5, -6.5, 13)]
    assert not any("6.5" in one for one in told)


@pytest.mark.parametrize("answer", ["six", None, True, float("nan"), [6.0, 6.0]])
def test_an_answer_that_is_no_number_is_told_so(answer):
    with pytest.raises(UsageError, match="The answer to ex-twice is one finite number"):
        checker(x=3.0).judge("ex-twice", answer)


def test_an_unknown_exercise_and_a_page_that_was_not_run_are_told():
    with pytest.raises(UsageError, match="Did you mean 'ex-twice'"):
        checker(x=3.0).judge("ex-twine", 1)
    with pytest.raises(UsageError, match="run all cells above the first exercise"):
        checker().judge("ex-twice", 1)


def test_an_audit_refuses_a_check_that_takes_all():
    checks = classroom.checks(tiny())
    checks["ex-twice"]["within"] = 9.0
    with pytest.raises(AssertionError, match="takes"):
        audit(lesson.SelfChecks({"x": 3.0}, lesson.packed(checks)))


def test_prose_shows_glued_numbers_and_a_dot_for_what_is_to_come(monkeypatch):
    monkeypatch.setattr(page, "GLUED", {"loss": 0.25, "net": "a net"})
    text = "{glue:text}`loss:.1%` of {glue:text}`net`, {glue:text}`later:.2f`"
    assert lesson.filled(text) == "25.0% of a net, …"


@pytest.mark.parametrize(
    ("myst", "plain"),
    [
        ("{numref}`fig-loss-gradient`", "Figure 3.2"),
        ("{doc}`13-two-clocks`", "Chapter 13, *Two clocks*"),
        ("{doc}`notation`", "*Notation*"),
        ("{cite}`robbins1951,zhang2022`", "(Robbins and Monro 1951; Zhang et al. 2022)"),
        (
            r"$\norm{a_{1}}+\E\loss$",
            r"$\left\lVert a_{1} \right\rVert+\operatorname{\mathbb{E}}L$",
        ),
        (":::{note}\nMind.\n:::", "> **Note.** Mind."),
        ("```{glue:md} said\n:format: myst\n```", "{glue:md}`said`"),
        ("```{glue:} small_figure\n```", ""),
    ],
)
def test_the_book_in_plain_markdown(myst, plain):
    assert BOOK.plain(myst) == plain


@each_chapter
def test_every_reference_of_a_chapter_is_to_something_in_the_book(chapter):
    cells = BOOK.notebook(chapter).cells
    shown = [cell.metadata.get("mystnb", {}).get("figure", {}) for cell in cells]
    captions = [figure.get("caption", "") for figure in shown]
    text = "\n".join([*(cell.source for cell in cells), *captions])
    targets = {target for role, _, target in ROLE.findall(text) if role != "cite"}
    assert targets - set(BOOK.names) == set()
    numbered = re.findall(r"^ *\$\$ \(([\w-]+)\)$", text, re.MULTILINE)
    tags = re.findall(r"\\tag\{([\d.]+)\}", BOOK.plain(text))
    number = list(BOOK.chapters).index(chapter) + 1
    assert tags == [f"{number}.{k}" for k, _ in enumerate(numbered, start=1)]


def test_a_reference_is_a_link_where_the_book_has_an_address(tmp_path):
    for name in ("_toc.yml", "book"):
        (tmp_path / name).symlink_to(ROOT / name)
    said = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    said["repository"]["url"] = "https://github.com/some-body/the-book"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(said), "utf-8")
    link = "https://some-body.github.io/the-book/book/13-two-clocks.html"
    named = f"[Chapter 13, *Two clocks*]({link})"
    assert Book(tmp_path).plain("{doc}`13-two-clocks`") == named
    said["sphinx"]["config"]["html_baseurl"] = "https://example.org/"
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(said), "utf-8")
    assert "(https://example.org/book/13" in Book(tmp_path).plain("{doc}`13-two-clocks`")


def test_the_chapters_of_the_book_are_those_of_its_contents():
    assert set(BOOK.chapters.values()) <= set(NOTEBOOKS)
