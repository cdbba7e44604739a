"""A headless Chromium that opens pages from disk, and tells what they said and what they asked of the network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kdiag.model.report import Report
from kdiag.pipeline.flow import Scope, diagnose, open_snapshot
from kdiag.render.html import HTML
from kdiag.render.style import Style
from tests.browser.large import large_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")

Open = Callable[..., "Browser"]


class Browser:
    """One page in a browser."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def script(self, code: str, *arguments: Any) -> Any:
        """What a piece of script returns."""
        return self.driver.execute_script(code, *arguments)

    def find(self, selector: str) -> Any:
        """The first element that a selector finds."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """Everything that a selector finds and a person sees."""
        return [item for item in self.driver.find_elements("css selector", selector) if item.is_displayed()]

    def text(self, selector: str) -> str:
        """The text of the first element, as it is seen."""
        found: str = self.find(selector).text
        return found

    def wait(self, code: str) -> None:
        """Until an expression of the page is true, at most five seconds."""
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 5, poll_frequency=0.02).until(lambda _: self.script(f"return Boolean({code})"))

    def keys(self, *keys: str) -> None:
        """Presses keys, one after the other, wherever the focus is."""
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focus(self) -> str:
        """What a screen reader would say of the element in focus, roughly."""
        label: str = self.script(
            "const e = document.activeElement; return e.getAttribute('aria-label') || e.textContent.trim() || e.id"
        )
        return label

    def media(self, **features: str) -> None:
        """Emulates media features (`prefers_color_scheme="dark"`); none sets all back."""
        listed = [{"name": key.replace("_", "-"), "value": value} for key, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})

    def complaints(self) -> list[str]:
        """What the console was told: errors and warnings, those of the Content-Security-Policy among them."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for, the page itself apart."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [item["params"]["request"]["url"] for item in events if item["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if url.split("#")[0] != self.driver.current_url.split("#")[0] and url != "data:,"]


# Chromium's own talk with its makers would be told apart from the page's requests only by address.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (in the extra dev)")
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    for word in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000", *QUIET):
        options.add_argument(word)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to run as root with its sandbox
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    started.set_page_load_timeout(60)
    try:
        yield started
    finally:
        started.quit()


@pytest.fixture(scope="session")
def demo() -> Report:
    return diagnose(open_snapshot(None, demo=True), Scope(with_overview=True))


@pytest.fixture(scope="session")
def large() -> Report:
    return large_report()


@pytest.fixture
def open_page(driver: Any, tmp_path: Path) -> Iterator[Open]:
    """Opens a report as a page from disk. At the end, nothing may have complained or asked for anything."""
    browser = Browser(driver)

    def open_(report: Report, fragment: str = "") -> Browser:
        path = tmp_path / "report.html"
        path.write_text(HTML.report(report, Style()), encoding="utf-8")
        driver.get("about:blank")
        browser.complaints()
        browser.requests()
        driver.get(path.as_uri() + fragment)
        browser.wait("document.documentElement.dataset.ready === 'yes'")
        return browser

    yield open_
    browser.media()
    assert browser.complaints() == []
    assert browser.requests() == []
