"""Makes every build execute every chapter.

Sphinx skips a page whose own file has not changed. What a chapter shows also
depends on the library, on the runs and on the recorded results, which Sphinx
does not see. Runs that are complete are loaded, so this costs little.

A kernel is stopped at once when its chapter is done: it holds nothing to be saved,
and its orderly end takes seconds.

Progress of the runs stays off the pages.
"""

import os

from nbclient import NotebookClient


def every_page(app, env, added, changed, removed):
    return env.found_docs


def setup(app):
    os.environ.setdefault("STATIONARITY_PROGRESS", os.devnull)
    NotebookClient.shutdown_kernel.default_value = "immediate"
    app.connect("env-get-outdated", every_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
