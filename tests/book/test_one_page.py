"""The book as one page, for a printer."""

from bs4 import BeautifulSoup
from extensions import extension

one_page = extension("one_page")

PAGE = """<html><head>{head}</head><body><nav>menu</nav>
<article class="bd-article">{text}</article></body></html>"""
FIRST = '<a href="second.html#part">on</a><a href="second.html">there</a><h1 id="part">A</h1>'
SECOND = """<h2 id="part">B</h2><a href="#part">here</a><img src="../_images/a.svg">
<a href="index.html#part">back</a><a href="https://example.org/x">away</a>
<img src="data:image/svg+xml;base64,AA==">"""


def test_names_of_all_pages_are_apart_and_links_lead_to_them(tmp_path):
    (tmp_path / "book").mkdir()
    head = '<link rel="next" title="B" href="second.html" />'
    (tmp_path / "book" / "index.html").write_text(PAGE.format(head=head, text=FIRST))
    (tmp_path / "book" / "second.html").write_text(PAGE.format(head="", text=SECOND))
    place = one_page.main(tmp_path)
    whole = BeautifulSoup(place.read_text(), "html.parser")
    assert place.parent == tmp_path / "book"
    names = [one["id"] for one in whole.find_all(id=True)]
    assert names == ["index-page", "index-part", "second-page", "second-part"]
    links = [one["href"] for one in whole.select("article a")]
    inner = ["#second-part", "#second-page", "#second-part", "#index-part"]
    assert links == [*inner, "https://example.org/x"]
    sources = [one["src"] for one in whole.find_all("img")]
    assert sources == ["../_images/a.svg", "data:image/svg+xml;base64,AA=="]
