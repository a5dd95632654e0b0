"""What a chapter needs to be a page: its style, and numbers for its prose."""
import numbers

from . import parameters
from .figures.style import use_style


def begin(*names: str, **given) -> dict[str, dict]:
    """Check the parameters of the page and set the style of its figures.

    Takes and returns what :func:`stationarity.parameters.checked` does: the keyword
    arguments of :func:`stationarity.run` for each experiment that is named. Call it
    once, in the first cell after the parameters.
    """
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    arguments = parameters.checked(*names, **given)
    if get_ipython() is not None:
        set_matplotlib_formats("svg")
    use_style()
    return arguments


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
