"""References by number for which each page's tree is read once.

Sphinx reads the tree of the page that a reference leads to, to be told what is numbered there,
once for each reference: a fifth of the time in which the book is built again.
"""

import functools

from sphinx.domains.std import StandardDomain


class Trees:
    """An environment whose trees are read once, to be looked at and not to be changed."""

    def __init__(self, env):
        self.env, self.get_doctree = env, functools.cache(env.get_doctree)

    def __getattr__(self, name: str):
        return getattr(self.env, name)


class NumberedReferences(StandardDomain):
    """What Sphinx has for labels, as it is, but for the trees."""

    @functools.cached_property
    def trees(self) -> Trees:
        return Trees(self.env)

    def _resolve_numref_xref(self, env, *reference):
        return super()._resolve_numref_xref(self.trees, *reference)


def setup(app):
    app.add_domain(NumberedReferences, override=True)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
