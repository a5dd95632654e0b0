"""Links the first mention of each term of the glossary on a page; its text appears on hovering.

A mention is the term in running text, in any case and number: not in headings, captions,
tables, code, formulas or other links.
"""

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

GLOSSARY = "book/glossary"
DIRECTIVE = re.compile(r"^```\{glossary\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
APART = (
    nodes.title, nodes.caption, nodes.legend, nodes.entry, nodes.literal, nodes.reference,
    nodes.math, nodes.strong, nodes.rubric, addnodes.pending_xref, addnodes.desc,
)  # fmt: skip


@cache
def terms(source: Path) -> dict[str, str]:
    """Return the terms of the glossary and what is said of each; none without one."""
    if not source.exists():
        return {}
    found, waiting = {}, []
    for line in DIRECTIVE.search(source.read_text(encoding="utf-8"))[1].splitlines():
        if line.startswith("  "):
            found |= dict.fromkeys(waiting, line.strip())
            waiting = []
        elif line:
            waiting.append(line)
    return found


@cache
def pattern(words: tuple[str, ...]) -> re.Pattern:
    """Return what finds any of the terms, the longest first, in the singular and the plural."""
    ordered = sorted(words, key=len, reverse=True)
    return re.compile(
        rf"(?<![\w-])({'|'.join(map(re.escape, ordered))})(?:e?s)?(?![\w-])", re.I
    )


def parts(text: str, known: dict[str, str], seen: set[str]) -> list[tuple[str, str | None]]:
    """Return a text in pieces, each with the term that it is a first mention of, or None."""
    by_words = {term.lower(): term for term in known}
    pieces, place = [], 0
    for match in pattern(tuple(known)).finditer(text):
        term = by_words[match[1].lower()]
        if known[term] not in seen:
            seen.add(known[term])
            pieces += [(text[place : match.start()], None), (match[0], term)]
            place = match.end()
    return [*pieces, (text[place:], None)] if pieces else []


def ancestors(node: nodes.Node):
    while node := node.parent:
        yield node


def link(app, doctree):
    """Make links of the first mentions on a page."""
    known, seen = terms(Path(app.env.doc2path(GLOSSARY))), set()
    if app.env.docname == GLOSSARY or not known:
        return
    for paragraph in doctree.findall(nodes.paragraph):
        for text in list(paragraph.findall(nodes.Text)):
            if any(isinstance(one, APART) for one in ancestors(text)):
                continue
            pieces = parts(text.astext(), known, seen)
            new = [
                reference(app, *piece) if piece[1] else nodes.Text(piece[0]) for piece in pieces
            ]
            if new:
                text.parent.replace(text, new)


def reference(app, words: str, term: str) -> addnodes.pending_xref:
    """Return a link to a term, as the role ``term`` makes it."""
    shown = nodes.inline("", words, classes=["xref", "std", "std-term"])
    given = {"refdomain": "std", "reftype": "term", "reftarget": term, "refwarn": True}
    return addnodes.pending_xref("", shown, **given, refdoc=app.env.docname, refexplicit=True)


def tell(app, doctree, docname):
    """Give each link to a term what is said of it, for the pointer."""
    known = terms(Path(app.env.doc2path(GLOSSARY)))
    texts = {f"term-{nodes.make_id(term)}": said for term, said in known.items()}
    for one in doctree.findall(nodes.reference):
        if any("std-term" in child.get("classes", ()) for child in one.findall(nodes.inline)):
            name = one.get("refid") or one["refuri"].partition("#")[2]
            one["reftitle"] = texts[name.lower()]


def setup(app):
    app.connect("doctree-read", link)
    app.connect("doctree-resolved", tell)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
