"""Where the time of a build goes, and what is left of it where there are many cores.

    python benchmarks/build.py

After `make book` from nothing: the seconds that each page took, and the CPU seconds of its own
runs that take one core each. Beside one another they take as long as the longest: so the
longest chain is at most the longest chapter with its longest run, then the longest of the pages
that look at runs. It is less where a page waited for others' runs or made them, as chapter 7
does for those of chapters 3 and 4: its seconds hold theirs. What Sphinx does before and after,
and the installation, come on top.
"""

import json
from pathlib import Path

import pandas as pd
from jupyter_cache import get_cache
from stationarity.book import plain, teaching
from stationarity.runs.records import runs_root

ROOT = Path(__file__).parents[1]


def runs(page: str) -> list[dict]:
    """Return what is known of a chapter's classroom runs on one core."""
    folders = [runs_root() / name for name in teaching.experiments(page)]
    paths = [path for folder in folders for path in folder.glob("classroom-*/run.json")]
    made = [json.loads(path.read_text()) for path in paths]
    return [one for one in made if one["settings"].get("threads", 1) == 1]


if __name__ == "__main__":
    rows, book = [], plain.Book(ROOT)
    for record in get_cache(ROOT / "_build" / ".jupyter_cache").list_cache_records():
        page = Path(record.uri).stem
        took = [one["cpu_seconds"] for one in runs(page)] if page in book.chapters else []
        of_page = record.data["execution_seconds"]
        alone = max(of_page - sum(took), 0) + max(took, default=0)
        rows.append([page, page in book.chapters, of_page, len(took), sum(took), alone])
    names = ["page", "chapter", "seconds", "runs", "their CPU", "side by side"]
    table = pd.DataFrame(rows, columns=names).sort_values("seconds", ascending=False)
    print(table.to_string(index=False, float_format="{:.0f}".format))
    ways = table.groupby("chapter")["side by side"].max()
    print(f"all: {table.seconds.sum():.0f} s, of them runs {table['their CPU'].sum():.0f}")
    print(f"the longest chain: at most {ways[True]:.0f} s, then {ways[False]:.0f} s")
