"""The styles of the built book: what no page has a use for is left out, and nothing else."""

from types import SimpleNamespace

import pytest
from extensions import extension

light = extension("light_styles")
WORDS = {"note", "show"}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (".note{a:b}.tip{a:b}", ".note{a:b}"),
        (".note, .tip a,p{a:b}", ".note,p{a:b}"),
        (".note.tip{a:b}html .show>a:after{a:b}", "html .show>a:after{a:b}"),
        ("p:not(.tip){a:b}:is(.tip, .note:has(a, b)) a{a:b}", None),
        ("[href='a.tip,b']{a:b}.bs-tooltip-auto{a:b}", None),
        ("@media (width<9px){.tip{a:b}.note{a:b}}", "@media (width<9px){.note{a:b}}"),
        ("@media print{.tip{a:b}}p{a:b}", "p{a:b}"),
        ('@charset "UTF-8";@font-face{src:url(a.tip)}', None),
        ("@keyframes turn{from{a:b}to{a:c}}@property --a{b:c}", None),
        (".note:after{content:'}.tip{'}p{a:url(data:x;y/*,{})}", None),
        ("/* of .tip { */.note{a:b}/**/", ".note{a:b}"),
        (".note\\:x{a:b}", ""),
    ],
)
def test_a_rule_stays_where_its_classes_occur(given, left):
    assert light.lighter(given, WORDS) == (given if left is None else left)


def test_words_are_the_classes_of_the_pages_and_all_that_scripts_name(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "page.html").write_text('<p class="note sd-tab">tip <b id="no"></b>')
    (tmp_path / "_static" / "a.js").write_text("e.classList.add('is-open')")
    style = tmp_path / "_static" / "a.css"
    style.write_text(".note{a:b}.sd-tab{a:b}.is-open{a:b}.tip{a:b}.no{a:b}")
    app = SimpleNamespace(builder=SimpleNamespace(format="html"), outdir=tmp_path)
    light.lighten(app, None)
    assert style.read_text() == ".note{a:b}.sd-tab{a:b}.is-open{a:b}"
