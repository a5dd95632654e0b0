"""Decks of slides: what of an executed chapter they show, and that they need no network."""

import re

import pytest
from book.test_book import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from stationarity import UsageError
from stationarity.book import slides
from stationarity.book.plain import Book

BOOK = Book(ROOT)
PAGE = "01-two-stories"
THEOREM = """## A theorem

:::{prf:theorem} Descent
:label: thm-descent

Let $f$ be smooth. See {numref}`fig-descent`.
:::

:::{prf:proof}
Only the teacher has it.
:::"""


def output(data, **metadata):
    return new_output("display_data", data=data, metadata=metadata)


def finding(text, holds):
    said = {"text": text, "otherwise": f"The other of {text}", "holds": holds}
    return output({"text/markdown": text}, finding=said)


def chapter():
    prefix = "application/papermill.record/"
    number = {"name": "norm", "mime_prefix": prefix}
    figure = {"caption": "Norm {glue:text}`norm:.2f`, $a<b$.", "name": "fig-descent"}
    told = {"mystnb": {"figure": figure, "image": {"alt": "A <falling> line."}}}
    drawn = {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>"}
    svg = output(drawn | {"text/plain": "<Figure size 2x1>"})
    small = {"name": "minute_figure", "mime_prefix": prefix}
    again = {f"{prefix}{kind}": one for kind, one in svg.data.items()}
    return new_notebook(
        cells=[
            new_markdown_cell("# Two stories\n\nThe question.\n\n**You need** much."),
            new_code_cell(
                "", outputs=[output({f"{prefix}text/plain": "0.251"}, scrapbook=number)]
            ),
            new_markdown_cell(THEOREM),
            new_code_cell("", metadata=told, outputs=[output(again, scrapbook=small), svg]),
            new_code_cell("", outputs=[finding("It is so.", True), finding("that.", False)]),
            new_markdown_cell("## Summary\n\n- The norm is {glue:text}`norm:.1f`."),
            new_markdown_cell("```{exercise} Try it · proof ★\n:label: ex-try\n\nDo.\n```"),
        ]
    )


def test_a_deck_shows_question_theorem_figure_findings_summary_and_exercises():
    text = slides.deck(BOOK, PAGE, chapter())
    shown = re.findall(r"<section id=.*?</section>", text, re.DOTALL)
    expected = [
        "The question.",
        "Theorem 1.1",
        "<figure>",
        "The norm is 0.3",
        "It is so.",
        "Try it",
    ]
    assert len(shown) == len(expected)
    assert all(words in one for words, one in zip(expected, shown))
    assert "You need" not in text and "Only the teacher" not in text
    items = re.findall("<li>(.*?)</li>", shown[4])
    assert items == ["It is so.", "<strong>Not so here.</strong> The other of that."]


def test_a_figure_has_its_caption_with_numbers_its_name_and_its_alt_text():
    text = slides.deck(BOOK, PAGE, chapter())
    assert "<strong>Figure 1.1.</strong> Norm 0.25" in text
    assert r"\(a&lt;b\)" in text and 'alt="A &lt;falling&gt; line."' in text


def test_a_finding_with_a_name_is_repeated():
    made, prefix = chapter(), "application/papermill.record/"
    kept = {"name": "found-it", "mime_prefix": prefix}
    data = {f"{prefix}text/markdown": "*So* it is.", f"{prefix}text/plain": "<Markdown>"}
    made.cells[1].outputs.append(output(data, scrapbook=kept))
    made.cells[5].source += "\n\n```{glue:md} found-it\n:format: myst\n```"
    assert "<em>So</em> it is." in slides.deck(BOOK, PAGE, made)


def test_of_tabs_a_slide_shows_the_first_run():
    made = chapter()
    images = (
        '<img src="data:image/svg+xml;base64,QQ=="><img src="data:image/svg+xml;base64,Qg==">'
    )
    made.cells[3].outputs = [output({"text/html": images})]
    text = slides.deck(BOOK, PAGE, made)
    assert "base64,QQ==" in text and "base64,Qg==" not in text


def test_a_deck_fetches_nothing_but_the_formulas_beside_it():
    text = slides.deck(BOOK, PAGE, chapter())
    fetched = re.findall(r'(?:src|href)="([^"]+)"|url\(([^)]+)\)', text)
    assert {a or b for a, b in fetched if not a.startswith("data:")} == {slides.MATHJAX}
    assert (ROOT / "book" / "_static" / "mathjax" / slides.MATHJAX).exists()


def test_a_book_that_was_not_built_is_told_so(tmp_path):
    book = Book(ROOT)
    book.root = tmp_path
    with pytest.raises(UsageError, match="build the book by `make book`"):
        slides.executed(book, PAGE)
