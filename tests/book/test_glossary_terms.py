"""The glossary: its terms are found in running text, once a page."""

from types import SimpleNamespace

import pytest
from docutils import nodes
from extensions import extension
from stationarity.runs.provenance import PROJECT

glossary = extension("glossary_terms")

KNOWN = {"sharpness": "S", "exponent": "E", "scale model": "M", "scale": "C", "memory": "K"}
KNOWN |= {"memories": "K"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The sharpness, and again sharpness.", ["sharpness"]),
        ("Exponents fall.", ["exponent"]),
        ("A scale model of another scale", ["scale model", "scale"]),
        ("scale-free, pre-scale, scales", ["scale"]),
        ("memories of a memory", ["memories"]),
        ("nothing", []),
    ],
)
def test_the_first_mention_of_a_term_is_found(text, found):
    pieces = glossary.parts(text, KNOWN, set())
    assert [term for _, term in pieces if term] == found
    assert "".join(words for words, _ in pieces) == (text if found else "")


def test_every_term_is_told_in_one_sentence_without_markup():
    known = glossary.terms(PROJECT / "book" / "glossary.md")
    assert len(known) >= 38
    assert list(known) == sorted(known, key=str.lower)
    for said in known.values():
        assert said.endswith(".") and not set(said) & set("$`{}*"), said


def test_what_is_said_of_a_term_is_its_links_title_whatever_its_case():
    env = SimpleNamespace(doc2path=lambda name: str(PROJECT / "book" / "glossary.md"))
    shown = nodes.inline("", "Hessians", classes=["xref", "std", "std-term"])
    page = nodes.section("", nodes.reference("", "", shown, refuri="glossary#term-Hessian"))
    glossary.tell(SimpleNamespace(env=env), page, "book/page")
    assert page[0]["reftitle"].startswith("The matrix of second derivatives")


def test_links_stand_in_running_text_alone():
    path = str(PROJECT / "book" / "glossary.md")
    env = SimpleNamespace(docname="book/page", doc2path=lambda name: path)
    page = nodes.section("", nodes.title("", "Sharpness"))
    page += nodes.paragraph("", "", nodes.literal("", "sharpness"), nodes.Text(" is code"))
    page += nodes.figure("", nodes.caption("", "The sharpness"))
    page += nodes.paragraph("", "Here the sharpness is a word, and sharpness again.")
    glossary.link(SimpleNamespace(env=env), page)
    (found,) = page.findall(glossary.addnodes.pending_xref)
    assert found["reftarget"] == "sharpness" and found.parent is page[-1]
    assert page[-1].astext() == "Here the sharpness is a word, and sharpness again."
