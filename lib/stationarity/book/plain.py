"""The book's MyST as plain Markdown, for readers outside the book: class copies and slides."""

import re
from functools import cached_property
from pathlib import Path

import nbformat
import yaml
from pybtex.database import parse_file

DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,}|:{3,})\{(?P<name>[\w:-]+)\}[ ]*(?P<title>[^\n]*)\n"
    r"(?P<options>(?::[\w-]+:[^\n]*\n)*)\n*(?P<body>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
ROLE = re.compile(r"\{+(numref|eq|prf:ref|ref|doc|cite)\}+`(?:([^`<]*) <)?([^`>]*)>?`")
EQUATION = re.compile(r"^([ ]*)\$\$ \(([\w-]+)\)$", re.MULTILINE)
TARGET = re.compile(r"^\(([\w-]+)\)=\n+(?:#+ ([^\n]*))?", re.MULTILINE)


def pages_of(repository: str) -> str:
    """Return where GitHub puts the pages of a repository; of another host that is not known."""
    parts = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+)", repository)
    if not parts:
        return ""
    own = f"{parts[1]}.github.io".lower()
    return f"https://{own}/" + (f"{parts[2]}/" if parts[2].lower() != own else "")


class Book:
    """The sources of the book: its pages in order, and what a reference is called."""

    def __init__(self, root: Path):
        self.root = root
        self.config = yaml.safe_load((root / "_config.yml").read_text("utf-8"))
        parts = yaml.safe_load((root / "_toc.yml").read_text("utf-8"))["parts"]
        numbered = [part for part in parts if part.get("numbered")]
        files = [one["file"] for part in numbered for one in part["chapters"]]
        self.chapters = {Path(name).name: root / f"{name}.ipynb" for name in files}
        self.others = [
            root / one["file"]
            for part in parts
            if part not in numbered
            for one in part["chapters"]
        ]
        settings = self.config["sphinx"]["config"]
        said = self.config["repository"]["url"] or ""
        self.address = settings.get("html_baseurl") or pages_of(said)
        self.macros = settings["mathjax3_config"]["tex"]["macros"]

    def definitions(self) -> dict[str, str]:
        """Return the book's TeX macros as what follows their names in a definition."""
        given = self.macros.items()
        return {
            n: f"{{{m}}}" if isinstance(m, str) else f"[{m[1]}]{{{m[0]}}}" for n, m in given
        }

    def notebook(self, page: str):
        """Return the source of a chapter."""
        return nbformat.read(self.chapters[page], as_version=4)

    def opening(self, page: str) -> str:
        """Return the first cell of a chapter, which has its title."""
        return self.notebook(page).cells[0].source

    @cached_property
    def names(self) -> dict[str, tuple[str, str]]:
        """What a label is called in prose, and its page."""
        named = {}
        for path in self.others:
            if path.with_suffix(".md").exists():
                text = path.with_suffix(".md").read_text("utf-8")
            else:
                first = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells[0]
                text = first.source
            named[path.name] = f"*{title_of(text)}*", path.name
        for number, page in enumerate(self.chapters, start=1):
            for label, name in _names(self.notebook(page), page, number).items():
                named[label] = name, page
        return named

    def called(self, label: str, text: str = "") -> str:
        """Return a label's name, or the text given for it: a link where the book has one."""
        name, page = self.names.get(label, (label, ""))
        if not (self.address and page):
            return text or name
        anchor = "" if label == page else f"#{label}"
        return f"[{text or name}]({self.address.rstrip('/')}/book/{page}.html{anchor})"

    @cached_property
    def sources(self) -> dict[str, str]:
        """Authors and year of each work in the bibliography."""
        entries = parse_file(self.root / self.config["bibtex_bibfiles"][0]).entries
        return {key: _cited(entry) for key, entry in entries.items()}

    def references(self, text: str) -> str:
        """Return a text with the names of things in place of roles."""

        def named(match: re.Match) -> str:
            role, text, target = match.groups()
            if role == "cite":
                works = (self.sources.get(key.strip(), key) for key in target.split(","))
                return f"({'; '.join(works)})"
            return self.called(target, text)

        return ROLE.sub(named, text)

    def plain(self, text: str) -> str:
        """Return a Markdown cell of the book as plain Markdown; glued numbers stay."""
        text = re.sub(r"^\([\w-]+\)=\n+", "", text, flags=re.MULTILINE)
        text = self._without_directives(text)

        def tag(match: re.Match) -> str:
            begin, label = match.groups()
            return f"{begin}\\tag{{{self.names[label][0].strip('()')}}}\n{begin}$$"

        return self._expanded(self.references(EQUATION.sub(tag, text))).strip()

    def _without_directives(self, text: str) -> str:
        def written(match: re.Match) -> str:
            kind, title, body = match["name"], match["title"].strip(), match["body"].strip()
            label = re.search(r":label: (\S+)", match["options"])
            name = self.names.get(label[1], ("",))[0] if label else ""
            body = self._without_directives(body)
            if kind.startswith("glue:"):  # words are filled in; a figure has its own place
                return f"{{glue:md}}`{title}`" if kind == "glue:md" else ""
            if kind == "exercise":
                return f"### {name}: {title}\n\n{body}"
            if kind == "prf:proof":
                return f"*Proof.* {body} ∎"
            if kind.startswith("prf:"):
                return f"**{name}**{f' ({title})' if title else ''}. {body}"
            if kind in ("note", "tip", "warning", "admonition", "important", "seealso"):
                quoted = f"**{title or kind.capitalize()}.** {body}".replace("\n", "\n> ")
                return f"> {quoted}"
            return body

        return DIRECTIVE.sub(written, text)

    def _expanded(self, text: str) -> str:
        """Return a text without the book's own TeX macros, which Jupyter does not know."""
        for name, macro in self.macros.items():
            form = macro if isinstance(macro, str) else macro[0]
            pattern = rf"\\{name}(?![A-Za-z])"
            if isinstance(macro, str):
                text = re.sub(pattern, lambda _, form=form: form, text)
            else:
                parts = re.split(pattern, text)
                text = parts[0] + "".join(_applied(form, part) for part in parts[1:])
        return text


def _applied(form: str, text: str) -> str:
    """Return a macro's form for the group or sign that a text begins with, then the rest."""
    first = re.match(r"\s*(\\[A-Za-z]+|.)", text)
    given, end = first[1], first.end()
    if given == "{":
        begin, depth = end, 1
        while depth:
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        given = text[begin : end - 1]
    return form.replace("#1", given) + text[end:]


def title_of(text: str) -> str:
    """Return the first heading."""
    return re.search(r"^# (.*)$", text, re.MULTILINE)[1]


def _names(notebook, page: str, number: int) -> dict[str, str]:
    """What the labels of a chapter are called, as the book counts them."""
    names, counts = {}, {}

    def counted(kind: str) -> str:
        counts[kind] = counts.get(kind, 0) + 1
        return f"{number}.{counts[kind]}"

    for cell in notebook.cells:
        if figure := cell.metadata.get("mystnb", {}).get("figure"):
            names[figure["name"]] = f"Figure {counted('figure')}"
        if cell.cell_type != "markdown":
            continue
        for label, heading in TARGET.findall(cell.source):
            names[label] = f"*{heading}*"
        for _, label in EQUATION.findall(cell.source):
            names[label] = f"({counted('equation')})"
        for one in DIRECTIVE.finditer(cell.source):
            label = re.search(r":label: (\S+)", one["options"])
            kind = one["name"].removeprefix("prf:")
            proved = one["name"].startswith("prf:") and kind != "proof"
            if proved or kind == "exercise":
                name = f"{kind.capitalize()} {counted(kind)}"
                names |= {label[1]: name} if label else {}
    names[page] = f"Chapter {number}, *{title_of(notebook.cells[0].source)}*"
    return names


def _cited(entry) -> str:
    people = entry.persons.get("author") or entry.persons.get("editor") or []
    names = [" ".join(one.prelast_names + one.last_names) for one in people]
    names = names or [entry.fields.get("title", entry.key)]
    some = names[0] + " et al." if len(names) > 2 else " and ".join(names)
    return f"{some} {entry.fields.get('year', '')}".replace("{", "").replace("}", "")
