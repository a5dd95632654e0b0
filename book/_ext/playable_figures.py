"""Loads scripts and styles of ``book/_static/playable`` on pages that have a playable figure.

That is a figure whose cell has a tag ``playable-NAME``. The cell draws what is shown where
scripts are off; the script of that name puts sliders in its place.
"""

from docutils import nodes

SCRIPTS = ("plot.min.js", "theory.js", "figures.js", "sliders.js")


def load(app, pagename, templatename, context, doctree):
    cells = doctree.findall(nodes.container) if doctree else ()
    tags = (name for cell in cells for name in cell["classes"])
    if any(name.startswith("tag_playable-") for name in tags):
        app.add_css_file("playable/playable.css")
        for script in SCRIPTS:
            app.add_js_file(f"playable/{script}")


def setup(app):
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
