"""Do the weights ever settle? Training and measurement code of the book.

One verb runs, continues or loads any experiment of the book::

    import stationarity

    run = stationarity.run("imagenet_resnet", scale="classroom")
    run.series("gradient_norm_squared")
"""
from .errors import UsageError
from .launch import run
from .runs.records import Run
from .runs.results import recorded

__all__ = ["Run", "UsageError", "recorded", "run"]
