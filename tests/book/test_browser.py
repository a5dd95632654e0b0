"""The built book in a browser: each page as its readers see it, on a phone and a desk."""

import re
import shutil

import browsers
import pytest
from book.test_slides import BOOK as DECK
from book.test_slides import PAGE, chapter
from browsers import PHONE, READY, chromium, firefox, requested, resize, started, weight
from built import BOOK, ROOT, needs_the_book, pages
from stationarity.book import slides

AXE = ROOT / "tests" / "assets" / "axe-core" / "axe.min.js"
ARROW_LEFT, HOME = "\ue012", "\ue011"  # keys, as WebDriver has them
each_page = pytest.mark.parametrize("page", pages())

# Formulas that are bare, wrong, have a letter that MathJax's part in the book lacks, or bars of
# a norm that are smaller than others.
FORMULAS = """
const bare = [...document.querySelectorAll('.math')]
  .filter(e => !e.querySelector('mjx-container'));
const wrong = document.querySelectorAll(
  '[data-mml-node="merror"], mjx-container svg text, mjx-container [id$="-SO-2016"]');
return [...bare, ...wrong].map(e => e.textContent.trim().slice(0, 80));
"""
# What is wider than the page and neither scrolls nor lies outside it, as a closed sidebar does;
# and images that a box cuts.
WIDE = """
const width = document.documentElement.clientWidth, wide = [];
if (document.documentElement.scrollWidth > width) wide.push('the page itself');
const scrolls = e => e && (/auto|scroll/.test(getComputedStyle(e).overflowX)
  || scrolls(e.parentElement));
for (const e of document.querySelectorAll('.bd-article-container *')) {
  const box = e.getBoundingClientRect();
  if (box.width && box.right > width + 1 && !scrolls(e.parentElement)
      && !e.closest('mjx-container *') && e.checkVisibility())
    wide.push(e.tagName + '.' + e.getAttribute('class') + ' to ' + Math.round(box.right));
}
const cutting = e => e && (/hidden|clip/.test(getComputedStyle(e).overflowX) ? e
  : cutting(e.parentElement));
for (const e of document.querySelectorAll('.bd-article-container img')) {
  const box = cutting(e.parentElement);
  if (box && e.checkVisibility()
      && e.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)
    wide.push('cut: ' + e.alt.slice(0, 60));
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
# Faults that are serious; in the dark theme, of what is other there. Formulas have a reader
# of their own in MathJax.
AXE_RUN = """
const [theme, done] = arguments;
document.documentElement.dataset.theme = theme;
const still = document.createElement('style');
still.textContent = '* { transition: none !important; animation: none !important }';
document.head.append(still);
document.querySelectorAll('mjx-container').forEach(formula => formula.replaceChildren());
const rules = theme === 'light' ? {} : {runOnly: ['color-contrast', 'link-in-text-block']};
axe.run({exclude: ['mjx-container']}, rules).then(found => done(
  found.violations.filter(fault => ['serious', 'critical'].includes(fault.impact)).map(fault =>
    fault.id + ': ' + fault.nodes.slice(0, 4).map(node => node.html.slice(0, 150) + ' '
      + node.any.map(one => one.message).join(' ')).join(' | ') + ': ' + fault.nodes.length)));
"""


@pytest.fixture(scope="module")
def browser():
    driver = started(chromium)
    yield driver
    driver.quit()


def opened(driver, page: str):
    """A page of the book in a browser, typeset."""
    return browsers.opened(driver, BOOK / f"{page}.html")


@needs_the_book
@each_page
def test_a_page_on_a_phone(browser, page):
    resize(browser, PHONE)
    opened(browser, page)
    log = browser.get_log("browser")
    assert [entry["message"] for entry in log if entry["level"] == "SEVERE"] == []
    urls = requested(browser)
    assert [url for url in urls if not re.match("(file|data|blob):", url)] == []
    whole, sent = weight(urls)
    assert sent < 600_000 and whole < 1_800_000
    assert any("searchindex.js" in url for url in urls) == (page == "search")
    assert browser.execute_script(FORMULAS) == []
    assert browser.execute_script(EQUATIONS) == []
    assert browser.execute_script(WIDE) == []
    assert browser.execute_script(TABS) == []
    assert browser.execute_script(FOLDS) == []
    assert browser.execute_script(WIDE) == []  # with all folds open


def one_of_its_code() -> str:
    """A page of the library's code, to which the line under a figure leads."""
    return "_modules/stationarity/theory/discrete"


@needs_the_book
@pytest.mark.parametrize("page", [*pages(), one_of_its_code()])
def test_a_page_on_a_desk_is_accessible(browser, page):
    resize(browser, 1280)
    opened(browser, page)
    assert browser.execute_script(FOLDS) == []
    browser.execute_script(AXE.read_text())
    for theme in ("light", "dark"):
        assert browser.execute_async_script(AXE_RUN, theme) == []


# The words under a playable figure and its pictures, once they are others than before.
PLAYED = """
const [name, before, done] = arguments;
const look = () => {
  const shown = document.querySelector(`.tag_playable-${name} .playable`);
  const said = shown?.querySelector('[role=status]').textContent;
  const drawn = [...shown?.querySelectorAll('.panels svg') ?? []]
    .map(one => one.innerHTML).join();
  said && drawn && said !== before[0] && drawn !== before[1] ? done([said, drawn])
    : setTimeout(look, 50);
};
look();
"""


def playable() -> list[tuple[str, str]]:
    """The playable figures of the book, each with its page."""
    texts = {page: ROOT / f"{page}.ipynb" for page in pages()}
    read = {page: path.read_text() for page, path in texts.items() if path.exists()}
    return [
        (n, page) for page, text in read.items() for n in re.findall('"playable-(.*)"', text)
    ]


@needs_the_book
@pytest.mark.parametrize(("name", "page"), playable())
def test_a_playable_figure_follows_the_keys_and_is_an_image_without_scripts(
    browser, name, page
):
    from selenium.webdriver.support.ui import WebDriverWait

    resize(browser, 1280)
    opened(browser, page)
    first = browser.execute_async_script(PLAYED, name, ["", ""])
    control = browser.find_element("css selector", f".tag_playable-{name} .playable input")
    control.send_keys(12 * ARROW_LEFT)
    browser.execute_async_script(PLAYED, name, first)
    images = f".tag_playable-{name} figure img"
    assert browser.find_elements("css selector", images) == []
    switch = "Emulation.setScriptExecutionDisabled"
    browser.execute_cdp_cmd(switch, {"value": True})
    try:
        browser.get((BOOK / f"{page}.html").as_uri())
        wait = WebDriverWait(browser, 30)  # where much else runs
        (image,) = wait.until(lambda browser: browser.find_elements("css selector", images))
        assert image.is_displayed() and image.get_attribute("alt")
    finally:
        browser.execute_cdp_cmd(switch, {"value": False})


@needs_the_book
def test_without_noise_a_playable_figure_shows_no_deviation(browser):
    (page,) = [page for name, page in playable() if name == "quadratic"]
    opened(browser, page)
    first = browser.execute_async_script(PLAYED, "quadratic", ["", ""])
    browser.find_element("css selector", ".tag_playable-quadratic [name=noise]").send_keys(HOME)
    _, drawn = browser.execute_async_script(PLAYED, "quadratic", first)
    assert "no noise: a point" in drawn and "no noise: no deviation" in drawn
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


@needs_the_book
def test_the_first_page_shows_question_answers_figure_and_ways_on_in_one_screen(browser):
    resize(browser, 1280, 900)
    opened(browser, pages()[0])
    told = """
    const foot = where => Math.max(...[...document.querySelectorAll(where)].map(
      one => one.getBoundingClientRect().bottom));
    return ['h1', '.tag_beside img', '.tag_beside ~ .cell:has(~ .sd-container-fluid)',
      '.sd-card'].map(foot).map(end => end > 0 && end <= innerHeight ? 'seen' : end);
    """
    assert browser.execute_script(told) == 4 * ["seen"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_slides_are_accessible(browser, theme, tmp_path):
    (tmp_path / "deck.html").write_text(slides.deck(DECK, PAGE, chapter()), encoding="utf-8")
    shutil.copy(ROOT / "book" / "_static" / "mathjax" / slides.MATHJAX, tmp_path)
    said = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", said)
    resize(browser, 1280)
    browser.get((tmp_path / "deck.html").as_uri())
    browser.execute_async_script(READY)
    browser.execute_script(AXE.read_text())
    assert browser.execute_async_script(AXE_RUN, theme) == []


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
