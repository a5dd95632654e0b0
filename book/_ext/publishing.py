"""What the book has once it has an address: ``repository: url`` in ``_config.yml``.

Buttons that launch a page on Colab or Binder, edit it, open an issue, cite the book; canonical
links, a sitemap, the preview that a link to a page shows. Without an address there are none.

On Colab a notebook has no clone around it. So its first cell installs the library from the
address where that is missing: ``python book/_ext/publishing.py`` puts it there.
"""

import re
from pathlib import Path

import nbformat
import yaml
from nbformat.v4 import new_code_cell
from sphinx.errors import ConfigError
from sphinx.util import logging
from stationarity.book.plain import pages_of

LAUNCH = {
    "colab_url": "https://colab.research.google.com",
    "binderhub_url": "https://mybinder.org",
    "notebook_interface": "jupyterlab",
}
INSTALL = """\
try:
    import stationarity
except ImportError:  # as on Colab
    %pip install --quiet "git+{address}"
"""
PREVIEW = "preview.png"
OF_A_CLONE = {"teaching"}  # pages that read the book's own sources: Colab has not got these


def cell_of(address: str):
    """Return the cell that installs the library; it is not shown in the book."""
    source = INSTALL.format(address=address).rstrip()
    return new_code_cell(source, id="install", metadata={"tags": ["remove-cell"]})


def with_address(notebook, address: str):
    """Return a notebook whose first code cell, after the title, installs from an address."""
    cells = [cell for cell in notebook.cells if cell.id != "install"]
    notebook.cells = cells[:1] + ([cell_of(address)] if address else []) + cells[1:]
    return notebook


def repository(project: Path) -> dict:
    """Return what a project's ``_config.yml`` says of its repository: url and branch."""
    config = yaml.safe_load((project / "_config.yml").read_text(encoding="utf-8"))
    return config["repository"]


def notebooks(project: Path) -> list[Path]:
    """Return the notebooks of the book that can be run anywhere."""
    every = sorted((project / "book").glob("*.ipynb"))
    return [path for path in every if path.stem not in OF_A_CLONE]


def without_it(project: Path) -> list[Path]:
    """Return the notebooks that do not install from the address that is set."""
    address = repository(project)["url"]
    wanted = [cell_of(address)] if address else []
    read = {path: nbformat.read(path, as_version=4) for path in notebooks(project)}
    found = {path: [one for one in read[path].cells if one.id == "install"] for path in read}
    return [path for path in found if sources(found[path]) != sources(wanted)]


def sources(cells: list) -> list[str]:
    """Return the texts of cells."""
    return [cell.source for cell in cells]


def turn_on(app, config):
    said = repository(Path(app.srcdir))
    if not (address := said["url"]):
        return
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", address):
        told = f"repository: url in _config.yml is {address!r}: an address such as"
        raise ConfigError(f"{told} https://github.com/owner/name is wanted, or an empty one.")
    if missing := without_it(Path(app.srcdir)):
        told = f"{len(missing)} notebooks, {missing[0].name} first, do not install the library"
        remedy = "run `python book/_ext/publishing.py`"
        logging.getLogger(__name__).warning(f"{told} from {address}: {remedy}.")
    on = ("use_repository_button", "use_edit_page_button", "use_issues_button")
    given = {"repository_url": address, "repository_branch": said["branch"]}
    config.html_theme_options |= given | dict.fromkeys(on, True) | {"launch_buttons": LAUNCH}
    config.html_baseurl = config.html_baseurl or pages_of(address)


def describe(app, page, template, context, doctree):
    """Give a page the button to cite it, and what the preview of a link to it shows."""
    if not app.config.html_theme_options.get("repository_url"):
        return
    cite = {
        "type": "link",
        "url": context["pathto"]("cite.bib", 1),
        "text": "",
        "label": "cite",
    }
    cite |= {"tooltip": "Cite this book (BibTeX)", "icon": "fas fa-quote-right"}
    offered = [one for one in context["header_buttons"] if not is_launch_of_clone(one, page)]
    context["header_buttons"][:] = [*offered, cite]
    if (base := app.config.html_baseurl) and doctree:
        of_page = {
            "og:type": "article",
            "og:site_name": app.config.project,
            "og:title": re.sub(r"<[^>]+>", "", context.get("title", "")),
            "og:description": citation(app)["abstract"],
            "og:url": context["pageurl"],
            "og:image": f"{base}_static/{PREVIEW}",
            "twitter:card": "summary_large_image",
        }
        for name, text in of_page.items():
            text = text.replace('"', "&quot;")
            context["metatags"] += f'\n<meta property="{name}" content="{text}" />'


def is_launch_of_clone(button: dict, page: str) -> bool:
    """Tell the buttons that launch a page which reads the book's own sources."""
    return button.get("label") == "launch-buttons" and Path(page).name in OF_A_CLONE


def citation(app) -> dict:
    """Return what CITATION.cff says."""
    return yaml.safe_load(Path(app.srcdir, "CITATION.cff").read_text(encoding="utf-8"))


def draw_preview(path: Path, title: str):
    """Draw the image of the previews: the paper's curve and ours, 1200 by 630 pixels."""
    from stationarity.book.results import recorded
    from stationarity.chapters import plots, reference, training_plots

    plots.use_style()
    curve = reference("zhang2022-figure1")
    figure = training_plots.naive_beside_naive(curve, recorded("imagenet_resnet"))
    figure.set_size_inches(6, 3.15)
    figure.suptitle(title, weight="bold")
    figure.savefig(path, dpi=200)


def finish(app, exception):
    """Write how to cite the book, the sitemap, and the image of the previews."""
    address, base = app.config.html_theme_options.get("repository_url"), app.config.html_baseurl
    if exception or not address or app.builder.format != "html":
        return
    cited, out = citation(app), Path(app.outdir)
    fields = {
        "title": cited["title"],
        "author": cited["authors"][0]["name"].join("{}"),
        "year": app.config.copyright,
        "version": cited["version"],
        "url": base or address,
    }
    text = "".join(f"  {key} = {{{value}}},\n" for key, value in fields.items())
    (out / "cite.bib").write_text(f"@software{{stationarity,\n{text}}}\n", encoding="utf-8")
    if base:
        draw_preview(out / "_static" / PREVIEW, cited["title"])
        pages = sorted(base + app.builder.get_target_uri(name) for name in app.env.found_docs)
        entries = "".join(f"<url><loc>{page}</loc></url>\n" for page in pages)
        schema = "http://www.sitemaps.org/schemas/sitemap/0.9"
        whole = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{schema}">\n{entries}'
        (out / "sitemap.xml").write_text(f"{whole}</urlset>\n", encoding="utf-8")


def setup(app):
    app.connect("config-inited", turn_on, priority=100)
    app.connect("html-page-context", describe, priority=900)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    address = repository(root)["url"]
    for path in without_it(root):
        kept = with_address(nbformat.read(path, as_version=4), address)
        path.write_text(nbformat.writes(kept, indent=1) + "\n", encoding="utf-8")
        print(f"{path.name} installs from {address!r}")
