"""The page of a report as a browser shows it: at a desk and on a phone, by day and by night."""

from pathlib import Path

import pytest
from browsers import PHONE, chromium, started
from stationarity.watching import report
from stationarity.watching.simulated import quadratic
from trainings import measurements, written

AXE = Path(__file__).parents[1] / "assets" / "axe-core" / "axe.min.js"
FAULTS = """
const done = arguments[arguments.length - 1];
axe.run().then(found => done(found.violations.map(fault =>
  fault.id + ': ' + fault.nodes.slice(0, 3).map(node => node.html.slice(0, 150)).join(' | '))));
"""


@pytest.fixture(scope="module")
def browser():
    driver = started(chromium)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("report"), quadratic(1, start=3.0)
    run = written(folder / "run", found, more=measurements(found), weight_decay=0.01)
    return report.write(run, folder / "page.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, 1200])
def test_the_page_fits_is_read_by_all_and_asks_for_nothing(browser, address, width, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().width)"
    )
    assert len(drawn) == 6 and min(drawn) > 280
    text = "return Math.min(...[...document.querySelectorAll('p, dd, td, th')].map("
    text += "e => parseFloat(getComputedStyle(e).fontSize)))"
    assert browser.execute_script(text) >= 14
    browser.execute_script(AXE.read_text())
    assert browser.execute_async_script(FAULTS) == []
    assert browser.get_log("browser") == []
