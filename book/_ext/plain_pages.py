"""Takes from the pages what nobody asked for: a launcher that the book does not use, and the
labels by which a screen reader says other words than the ones that are seen.
"""

NAMES = """addEventListener('load', () => document.querySelectorAll(
  '.theme-switch-button, .search-button__button').forEach(button => {
    const told = button.ariaLabel;
    const name = () => {
      const seen = button.textContent.trim().replace(/\\s+/g, ' ');
      button.ariaLabel = seen ? told + ': ' + seen : told;
    };
    // Icons come late.
    new MutationObserver(name).observe(button, {childList: true, subtree: true});
    name();
}));"""


def tidy(app, page, template, context, doctree):
    """Leave out Thebe, whose scripts come twice and fail; name folds and lists for readers."""
    for kind in ("script_files", "css_files"):
        context[kind] = [
            file
            for file in context.get(kind, ())
            if "thebe" not in f"{file.filename} {file.attributes.get('body', '')}".lower()
        ]
    body = context.get("body", "").replace(' aria-label="Toggle hidden content"', "")
    context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    app.add_js_file(None, body=NAMES)
    app.connect("html-page-context", tidy, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
