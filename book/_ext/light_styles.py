"""Takes from the styles of the built book the rules that no page of it has a use for.

The theme's styles are those of every site that may be made with it, 0.5 MB; the book needs a
third. A rule goes where it is about a class that stands neither in a page nor in a script,
which may give it to an element.
"""

import re
from collections.abc import Iterator
from pathlib import Path

# A comment, a string, an address, what ends a rule, and the rest.
TOKEN = re.compile(
    r"""/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|url\([^)"']*\)|[{};]|[^{};"'/u]+|.""",
    re.DOTALL,
)
# A comma that is in no parentheses or brackets.
COMMA = re.compile(r",(?=(?:[^][()]|\[[^]]*\]|\((?:[^()]|\([^()]*\))*\))*$)")
NESTED = ("@media", "@supports", "@container", "@layer")
MADE = "bs-"  # what Bootstrap puts together: bs-tooltip-auto


def rules(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield each rule of a style sheet: what it is about, and what stands in its braces."""
    depth, about, within = 0, "", ""
    for token in TOKEN.findall(text):
        if token.startswith("/*"):
            continue
        depth -= token == "}"
        if depth:
            within += token
        elif token == "}":
            yield about.strip(), within
            about, within = "", ""
        elif token == ";":
            yield about.strip(), None
            about = ""
        elif token != "{":
            about += token
        depth += token == "{"


def needed(selector: str, words: set[str]) -> bool:
    """Say whether the classes of a selector are all among the words; choices do not count."""
    plain = re.sub(r"\[[^]]*\]", "", selector)
    while plain != (plain := re.sub(r"\([^()]*\)", "", plain)):
        pass
    named = re.findall(r"\.((?:\\.|[\w-])+)", plain)
    return all(name in words or name.startswith(MADE) for name in named)


def lighter(text: str, words: set[str]) -> str:
    """Return a style sheet without its comments, and without the rules of other classes."""
    kept = []
    for about, within in rules(text):
        if within is None:
            kept.append(f"{about};")
        elif about.startswith(NESTED):
            inner = lighter(within, words)
            kept += [f"{about}{{{inner}}}"] * bool(inner)
        elif about.startswith("@"):
            kept.append(f"{about}{{{within}}}")
        else:
            about = ",".join(one for one in COMMA.split(about) if needed(one, words))
            kept += [f"{about}{{{within}}}"] * bool(about)
    return "".join(kept)


def words_of(built: Path) -> set[str]:
    """Return the classes of all pages of a built book, and the words of its scripts."""
    found = set()
    for path in built.rglob("*.html"):
        for names in re.findall(r'class="([^"]*)"', path.read_text(encoding="utf-8")):
            found.update(names.split())
    for path in built.rglob("*.js"):
        found.update(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    return found


def lighten(app, exception):
    if exception or app.builder.format != "html":
        return
    words = words_of(Path(app.outdir))
    for path in Path(app.outdir, "_static").rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        path.write_text(lighter(text, words), encoding="utf-8")


def setup(app):
    app.connect("build-finished", lighten, priority=900)  # once all styles are there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
