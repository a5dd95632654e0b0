"""Makes every build execute every chapter, as many at a time as there are cores.

Sphinx skips a page whose own file has not changed, and Jupyter's cache one that it has
executed before. What a chapter shows also depends on the library, on the runs and on the
recorded results, which neither sees. So each build empties the cache and fills it with
chapters that are executed side by side; Sphinx then takes them from there. They wait for
nothing of each other but runs that two of them need, which locks see to. Runs that are
complete are loaded, so this costs little. A chapter that fails is left out of the cache:
Sphinx executes it again, and says why.

A kernel is stopped at once when its chapter is done: it holds nothing to be saved,
and its orderly end takes seconds.

Progress of the runs stays off the pages.
"""

import logging
import os

from jupyter_cache import get_cache
from jupyter_cache.executors import load_executor
from nbclient import NotebookClient


def execute_every_page(app, env, added, changed, removed):
    cache = get_cache(env.mystnb_config.execution_cache_path)
    cache.clear_cache()
    pages = [env.doc2path(name) for name in sorted(env.found_docs)]
    for page in pages:
        if page.endswith(".ipynb"):
            cache.add_nb_to_project(page)
    logger = logging.getLogger(__name__)
    logger.setLevel(logging.INFO)  # says which chapters have begun and ended
    load_executor("local-parallel", cache, logger).run_and_cache(timeout=None)
    return env.found_docs


def setup(app):
    os.environ.setdefault("STATIONARITY_PROGRESS", os.devnull)
    NotebookClient.shutdown_kernel.default_value = "immediate"
    app.connect("env-get-outdated", execute_every_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
