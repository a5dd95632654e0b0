"""How soon a page of the built book shows something, and what it weighs without its figures.

    python benchmarks/pages.py [FOLDER]

Opens each page of `_build/html`, or of another folder, three times in Chromium, from disk:
the least time until the first paint, in milliseconds, and what the page loads, in kilobytes,
as it is and as a server sends it. Half a minute.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"

if __name__ == "__main__":
    from browsers import chromium, opened, requested, resize, started, weight

    book, driver = (
        Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "_build/html"),
        started(chromium),
    )
    resize(driver, 1280)
    print(f"{'page':<36}{'first paint':>12}{'whole':>9}{'sent':>9}")
    for path in [*sorted(book.resolve().glob("book/*.html")), book.resolve() / "search.html"]:
        paints = [opened(driver, path).execute_script(PAINT) for _ in range(3)]
        whole, sent = (number / 1e3 for number in weight(requested(driver)))
        print(f"{path.stem:<36}{min(paints):>9.0f} ms{whole:>6.0f} kB{sent:>6.0f} kB")
    driver.quit()
