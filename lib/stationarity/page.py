"""What a chapter needs to be a page: its style, and numbers for its prose."""
import numbers

from .figures.style import use_style


def begin() -> None:
    """Set the style of the figures; call it once, in a chapter's first cell."""
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    if get_ipython() is not None:
        set_matplotlib_formats("svg")
    use_style()


def markdown(text: str) -> None:
    """Show text as Markdown of the page, with its roles and references."""
    from IPython.display import Markdown, display

    display(Markdown(text))


def glue(**values) -> None:
    """Make numbers and strings available to the prose of the page.

    NumPy scalars and tensors of one element become plain Python values, which
    is what the formats of ``{glue:text}`` take.
    """
    try:
        from myst_nb import glue as glue_one
    except ImportError:  # outside the book's environment a page has no prose to fill
        return

    for name, value in values.items():
        if isinstance(value, str | bool):
            plain = value
        elif isinstance(value, numbers.Integral):
            plain = int(value)
        else:
            plain = float(value)
        glue_one(name, plain, display=False)
