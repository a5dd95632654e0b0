"""References by number: each page's tree is read once, and all else is the environment's."""

from types import SimpleNamespace

import pytest
from extensions import extension
from sphinx.domains.std import StandardDomain

numbered = extension("numbered_references")


def test_a_tree_is_read_once_and_all_else_is_the_environments():
    read = []
    trees = numbered.Trees(SimpleNamespace(get_doctree=read.append, config="as it is"))
    for page in ("first", "second", "first"):
        trees.get_doctree(page)
    assert read == ["first", "second"] and trees.config == "as it is"
    with pytest.raises(AttributeError):
        _ = trees.unknown


def test_sphinx_resolves_them_with_the_trees_that_are_kept(monkeypatch):
    """The method that is wrapped is there, and takes the environment first."""
    given = []
    monkeypatch.setattr(
        StandardDomain, "_resolve_numref_xref", lambda self, *reference: given.append(reference)
    )
    domain = numbered.NumberedReferences.__new__(numbered.NumberedReferences)
    domain.trees = "kept"
    domain._resolve_numref_xref("env", "page", "builder")
    assert given == [("kept", "page", "builder")]
