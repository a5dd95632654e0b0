"""Executes the chapters, as many at a time as there are cores, wherever a page may differ.

Sphinx skips a page whose own file has not changed, and Jupyter's cache one whose cells have
not. What a chapter shows also depends on the library, on the recorded results and on the
runs, which neither sees. So the cache holds for one state of all these; a build that meets
another empties it, and executes every chapter. Runs that are complete are loaded. A chapter
that fails is left out of the cache: Sphinx executes it again, and says why. Every page is
written anew, so that a warning comes again.

The pages that look at runs come after the chapters that make them, and so does chapter 8, which
judges them: it would hold a core while it waits. The page that lists all runs is the last. That
on teaching, which reads the chapters' files, is executed when one of these has changed, too.

Each has one thread, unless a variable says otherwise: on a core that another page uses, threads
that wait for one another take many times as long as one alone.

A kernel is stopped at once when its chapter is done: it holds nothing to be saved,
and its orderly end takes seconds.

Progress of the runs stays off the pages.

Pages are written side by side, too. They are read one after another, as not all of the theme's
extensions can be.
"""

import hashlib
import multiprocessing
import os
import sys
from pathlib import Path

import warm_kernels
from jupyter_cache import get_cache
from jupyter_cache.executors import basic
from nbclient import NotebookClient
from stationarity.runs.records import runs_root

# What a page depends on beside its own cells, and the variables that it listens to.
SOURCES = ("lib/**/*.py", "book/*.yml", "book/re*/**/*", "pyproject.toml", "requirements.txt")
JUDGES_RUNS, LISTS_RUNS = "08-back-to-practice", "status"
READS_CHAPTERS = "teaching"  # a page that shows what the files of the chapters say
MAKES_MOST_RUNS = "03-imagenet-resnet101"
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
VARIABLES = ("STATIONARITY_DATA", "STATIONARITY_RUNS", "HF_HOME", "CUDA_VISIBLE_DEVICES")


def hashed(paths, *others) -> str:
    """Return a hash of files, by their places, and of other things."""
    digest = hashlib.sha256(repr(others).encode())
    for path in sorted(paths):
        if path.is_file():
            digest.update(f"{path}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def sources(project: Path) -> str:
    """Return a hash of the library, the records and the settings of this build."""
    paths = (path for pattern in SOURCES for path in project.glob(pattern))
    return hashed(paths, sys.version, [os.environ.get(name) for name in VARIABLES])


def runs() -> str:
    """Return a hash of the runs that there are."""
    return hashed(runs_root().glob("*/*/run.json"))


def forget_what_reads_chapters(cache, project: Path):
    """Drop the page that reads the chapters' files from the cache where one has changed."""
    of_chapters = Path(cache.path) / "chapters"
    now = hashed([*project.glob("book/*.ipynb"), project / "_toc.yml", project / "_config.yml"])
    if not of_chapters.exists() or of_chapters.read_text() != now:
        for record in cache.list_cache_records():
            if Path(record.uri).stem == READS_CHAPTERS:
                cache.remove_cache(record.pk)
    of_chapters.write_text(now)


class OneByOne(basic.JupyterExecutorLocalMproc):
    """Executes side by side, handing out one page at a time: of two, one would wait."""

    def run_and_cache(self, *, filter_uris):
        if not (records := self.get_records(filter_uris)):
            return
        for name in THREADS:
            os.environ.setdefault(name, "1")
        warm_kernels.install()
        given = [basic.ProcessData(one.pk, one.uri, self.cache, None, False) for one in records]
        with multiprocessing.Pool() as pool:
            pool.map(basic.ExecutionWorkerLocalMProc(), given, chunksize=1)


def in_turn(pages: list[str]) -> list[list[str]]:
    """Return which pages are executed together, one group after another."""
    chapters, others, last = [], [], []
    for page in pages:
        name = Path(page).stem
        makes_runs = name[0].isdigit() and name != JUDGES_RUNS
        group = chapters if makes_runs else last if name == LISTS_RUNS else others
        group.append(page)
    # Those with the most and the longest runs first: at the end no core waits long for another.
    chapters.sort(key=lambda page: (Path(page).stem == MAKES_MOST_RUNS, page), reverse=True)
    return [group for group in (chapters, others, last) if group]


def execute_where_needed(app, env, added, changed, removed):
    cache = get_cache(env.mystnb_config.execution_cache_path)
    begun_with, of_state = sources(Path(app.srcdir)), Path(cache.path) / "state"
    if not of_state.exists() or of_state.read_text() != begun_with + runs():
        cache.clear_cache()
    forget_what_reads_chapters(cache, Path(app.srcdir))
    of_state.unlink(missing_ok=True)  # until every page is done
    multiprocessing.log_to_stderr(basic.REPORT_LEVEL)  # which have begun and ended
    pages = sorted(p for p in map(env.doc2path, env.found_docs) if p.endswith(".ipynb"))
    for some in in_turn(pages):
        for page in some:
            cache.add_nb_to_project(page)
        OneByOne(cache).run_and_cache(filter_uris=some)
    of_state.write_text(begun_with + runs())  # which this build may have made
    return env.found_docs


def write_side_by_side(app, env):
    app.parallel = multiprocessing.cpu_count()


def setup(app):
    os.environ.setdefault("STATIONARITY_PROGRESS", os.devnull)
    NotebookClient.shutdown_kernel.default_value = "immediate"
    app.connect("env-get-outdated", execute_where_needed)
    app.connect("env-updated", write_side_by_side)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
