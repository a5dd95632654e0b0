"""Browsers without a window that never ask the network."""

import gzip
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

PHONE = 360  # pixels that a narrow phone has
OUTSIDE = {"proxyType": "manual", "httpProxy": "127.0.0.1:9", "sslProxy": "127.0.0.1:9"}
CALM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--allow-file-access-from-files", "--hide-scrollbars",
)  # fmt: skip
READY = """
const done = arguments[arguments.length - 1];
const typeset = window.MathJax?.startup?.promise ?? Promise.resolve();
typeset.then(() => requestAnimationFrame(() => setTimeout(done, 100)));
"""


def found(*names: str) -> str | None:
    """The path of the first program of these names that is installed."""
    return next(filter(None, map(shutil.which, names)), None)


def needed(*names: str) -> str:
    """The path of a program, without which a test is skipped."""
    if path := found(*names):
        return path
    pytest.skip(f"{names[0]} is not installed")


def chromium():
    """A Chromium that tells the console's messages and every request."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = needed("chromium", "chromium-browser", "google-chrome")
    service = webdriver.ChromeService(needed("chromedriver"))
    for one in CALM:
        options.add_argument(one)
    options.proxy = webdriver.Proxy(OUTSIDE)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options, service)


def firefox():
    """A Firefox."""
    from selenium import webdriver

    options = webdriver.FirefoxOptions()
    options.binary_location = needed("firefox", "firefox-esr")
    options.add_argument("-headless")
    options.proxy = webdriver.Proxy(OUTSIDE)
    return webdriver.Firefox(options, webdriver.FirefoxService(needed("geckodriver")))


def started(start: Callable):
    """A browser that works here, or none: without Selenium or the browser a test is skipped."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    os.environ["SE_OFFLINE"] = "true"  # it would look for drivers in the network
    driver = start()
    driver.set_script_timeout(120)
    driver.set_page_load_timeout(120)
    return driver


def resize(driver, width: int, height: int = 800) -> None:
    """Give the page of a browser a size: a phone's width is less than a window's least."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def opened(driver, path: Path):
    """A page in a browser, typeset."""
    driver.get(path.as_uri())
    driver.execute_async_script(READY)
    return driver


def requested(driver) -> list[str]:
    """What Chromium asked for since it was last asked."""
    logged = " ".join(entry["message"] for entry in driver.get_log("performance"))
    return re.findall(r'"Network.requestWillBeSent".*?"request":.*?"url":"(.*?)"', logged)


def weight(urls: list[str]) -> tuple[int, int]:
    """The bytes of these files without the figures in them: as they are, and as a server
    sends them, compressed."""
    paths = {Path(unquote(urlsplit(url).path)) for url in urls if url.startswith("file:")}
    paths = {path for path in paths if path.parent.name != "_images"}
    texts = [re.sub(rb'"data:image/[^"]*"', b"", path.read_bytes()) for path in paths]
    return sum(map(len, texts)), sum(len(gzip.compress(text)) for text in texts)
