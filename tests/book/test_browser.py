"""The built book in a browser: each page as its readers see it, on a phone and a desk."""

import gzip
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browsers import PHONE, chromium, firefox, started
from built import BOOK, ROOT, needs_the_book, pages

AXE = ROOT / "tests" / "assets" / "axe-core" / "axe.min.js"
each_page = pytest.mark.parametrize("page", pages())

READY = """
const done = arguments[arguments.length - 1];
const typeset = window.MathJax?.startup?.promise ?? Promise.resolve();
typeset.then(() => requestAnimationFrame(() => setTimeout(done, 100)));
"""
# Formulas that are bare, wrong, or have a letter that MathJax's part in the book lacks.
FORMULAS = """
const bare = [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'));
const wrong = document.querySelectorAll('[data-mml-node="merror"], mjx-container svg text');
return [...bare, ...wrong].map(e => e.textContent.trim().slice(0, 80));
"""
# What is wider than the page and neither scrolls nor lies outside it, as a closed sidebar does.
WIDE = """
const width = document.documentElement.clientWidth, wide = [];
if (document.documentElement.scrollWidth > width) wide.push('the page itself');
const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX)
  || scrolls(e.parentElement));
for (const e of document.querySelectorAll('.bd-article-container *')) {
  const box = e.getBoundingClientRect();
  if (box.width && box.right > width + 1 && !scrolls(e.parentElement) && !e.closest('mjx-container *')
      && e.checkVisibility())
    wide.push(e.tagName + '.' + e.getAttribute('class') + ' to ' + Math.round(box.right));
}
return wide.slice(0, 5);
"""
# Equations that are cut where they do not scroll, or lie under their own number.
EQUATIONS = """
const faults = [];
for (const box of document.querySelectorAll('div.math')) {
  const formula = box.querySelector('mjx-container svg'), number = box.querySelector('.eqno');
  if (!formula || !box.checkVisibility()) continue;
  const f = formula.getBoundingClientRect(), b = box.getBoundingClientRect();
  const told = (box.id || formula.textContent).slice(0, 60);
  if (f.left < b.left - 1) faults.push(told + ' begins outside');
  const scroller = formula.closest('mjx-container');
  const style = getComputedStyle(scroller).overflowX + getComputedStyle(box).overflowX;
  if (f.right > b.right + 1 && !/auto|scroll/.test(style)) faults.push(told + ' is cut');
  if (!number) continue;
  const n = number.getBoundingClientRect(), s = scroller.getBoundingClientRect();
  const right = Math.min(f.right, /auto|scroll/.test(getComputedStyle(scroller).overflowX)
    ? s.right : Infinity);
  if (f.left < n.right && n.left < right - 1 && f.top < n.bottom - 1 && n.top < f.bottom - 1)
    faults.push(told + ' runs under its number');
}
return faults;
"""
FOLDS = """
const closed = [...document.querySelectorAll('main details:not([open]) > summary')];
closed.forEach(summary => summary.click());
return closed.filter(s => !s.parentElement.open
  || s.parentElement.getBoundingClientRect().height <= s.getBoundingClientRect().height)
  .map(s => s.textContent);
"""
TABS = """
const faults = [];
for (const set of document.querySelectorAll('.sd-tab-set')) {
  const labels = [...set.querySelectorAll(':scope > label')];
  labels.reverse().forEach(label => {
    label.click();
    const shown = [...set.querySelectorAll(':scope > .sd-tab-content')]
      .filter(one => one.getBoundingClientRect().height > 0);
    if (shown.length !== 1 || shown[0] !== label.nextElementSibling)
      faults.push(label.textContent);
  });
}
return faults;
"""
# Faults that are serious, of all rules or some. Formulas have a reader of their own in MathJax.
AXE_RUN = """
const [theme, rules, done] = arguments;
document.documentElement.dataset.theme = theme;
const still = document.createElement('style');
still.textContent = '* { transition: none !important }';
document.head.append(still);
axe.run({exclude: ['mjx-container']}, rules ? {runOnly: rules} : {}).then(found => done(
  found.violations.filter(fault => ['serious', 'critical'].includes(fault.impact)).map(fault =>
    fault.id + ': ' + fault.nodes.slice(0, 4).map(node => node.html.slice(0, 150) + ' '
      + node.any.map(one => one.message).join(' ')).join(' | ') + ': ' + fault.nodes.length)));
"""


@pytest.fixture(scope="module")
def browser():
    driver = started(chromium)
    yield driver
    driver.quit()


def resize(driver, width: int) -> None:
    """Give the page of a browser a width: that of a phone is less than a window's least."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def opened(driver, page: str):
    """A page in a browser, typeset."""
    driver.get((BOOK / f"{page}.html").as_uri())
    driver.execute_async_script(READY)
    return driver


def sent(urls: list[str]) -> int:
    """The bytes that a server sends for these files, compressed, without the figures in them."""
    paths = {Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")}
    texts = (re.sub(rb'"data:image/[^"]*"', b"", path.read_bytes()) for path in paths)
    return sum(len(gzip.compress(text)) for text in texts)


def requested(driver) -> list[str]:
    """What Chromium asked for since it was last asked."""
    logged = " ".join(entry["message"] for entry in driver.get_log("performance"))
    return re.findall(r'"Network.requestWillBeSent".*?"request":.*?"url":"(.*?)"', logged)


@needs_the_book
@each_page
def test_a_page_on_a_phone(browser, page):
    resize(browser, PHONE)
    opened(browser, page)
    log = browser.get_log("browser")
    assert [entry["message"] for entry in log if entry["level"] == "SEVERE"] == []
    urls = requested(browser)
    assert [url for url in urls if not re.match("(file|data|blob):", url)] == []
    assert sent(urls) < 1_000_000
    assert browser.execute_script(FORMULAS) == []
    assert browser.execute_script(EQUATIONS) == []
    assert browser.execute_script(WIDE) == []
    assert browser.execute_script(TABS) == []
    assert browser.execute_script(FOLDS) == []
    assert browser.execute_script(WIDE) == []  # with all folds open


@needs_the_book
@each_page
def test_a_page_on_a_desk_is_accessible(browser, page):
    resize(browser, 1280)
    opened(browser, page)
    browser.execute_script(AXE.read_text())
    assert browser.execute_async_script(AXE_RUN, "light", None) == []
    assert browser.execute_async_script(AXE_RUN, "dark", ["color-contrast"]) == []


@needs_the_book
def test_the_first_page_shows_question_answers_figure_and_ways_on_in_one_screen(browser):
    resize(browser, 1280)
    opened(browser, pages()[0])
    told = """
    const foot = (where, side) => Math.max(...[...document.querySelectorAll(where)].map(
      one => one.getBoundingClientRect()[side]));
    return [foot('h1', 'bottom'), foot('.tag_beside img', 'bottom'),
      foot('.tag_beside ~ .cell:has(~ .sd-container-fluid)', 'bottom'), foot('.sd-card', 'top')];
    """
    places = browser.execute_script(told)
    assert len(places) == 4 and all(0 < place < 850 for place in places), places


@needs_the_book
def test_the_search_finds_the_name_of_a_function(browser):
    resize(browser, 1280)
    browser.get((BOOK / "search.html").as_uri() + "?q=gradient_statistics")
    found = """
    const done = arguments[arguments.length - 1];
    const look = () => {
      const links = [...document.querySelectorAll('#search-results li a')].map(a => a.href);
      links.length ? done(links) : setTimeout(look, 200);
    };
    look();
    """
    assert any("02-what-to-measure" in link for link in browser.execute_async_script(found))


@needs_the_book
def test_on_a_phone_one_goes_on_to_the_next_chapter_and_back(browser):
    resize(browser, PHONE)
    opened(browser, pages()[1])
    for link, page in (("right-next", pages()[2]), ("left-prev", pages()[1])):
        browser.execute_script(f"document.querySelector('.{link}').click()")
        assert browser.current_url.endswith(f"{page}.html")


@needs_the_book
def test_firefox_typesets_a_page_and_opens_its_folds_and_tabs():
    driver = started(firefox)
    try:
        page = next(page for page in pages() if "settle" in page)
        opened(driver, page)
        for what in (FORMULAS, EQUATIONS, TABS, FOLDS):
            assert driver.execute_script(what) == []
    finally:
        driver.quit()
