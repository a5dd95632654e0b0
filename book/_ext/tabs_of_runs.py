"""Gives the images of tabs, and the small one of a chapter's minute, their alternative text.

The page knows which run an image shows; what it shows stands in the metadata of the
cell, as for every other figure of the book. The small one is that of ``page.glimpse``.
"""

from docutils import nodes


def describe(app, doctree):
    boxes = [box for box in doctree.findall(nodes.admonition) if "minute" in box["classes"]]
    for cell in doctree.findall(nodes.container):
        text = cell.get("cell_metadata", {}).get("mystnb", {}).get("image", {}).get("alt")
        if text is None:
            continue
        for tab in cell.findall(nodes.container):
            if tab.get("design_component") == "tab-item":
                for image in tab.findall(nodes.image):
                    image["alt"] = f"{image['alt']}. {text}"
        if any("page.glimpse(" in code.astext() for code in cell.findall(nodes.literal_block)):
            for image in (image for box in boxes for image in box.findall(nodes.image)):
                image["alt"] = text


def setup(app):
    app.connect("doctree-read", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
