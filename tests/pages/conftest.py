"""A Chromium that looks at pages, where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage")  # a container has no room for its sandbox


class Browser:
    """A Chromium without a window."""

    def __init__(self, chromium: str, driver: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(driver))

    def open(self, page: Path, *, width: int = 1280, dark: bool = False) -> None:
        """Load a page anew in a viewport of so many pixels, as a reader with a light or a dark system."""
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get("about:blank")
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())

    def __call__(self, script: str, *values: Any) -> Any:
        """Return what a script returns in the page."""
        return self.driver.execute_script(script, *values)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of what a reader sees of these elements."""
        return [one.text for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]

    def point(self, selector: str) -> None:
        element = self.find(selector)
        self("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).perform()

    def press(self, *names: str) -> None:
        """Press keys by their names: TAB, ENTER, ARROW_DOWN."""
        for name in names:
            ActionChains(self.driver).send_keys(getattr(Keys, name)).perform()

    def loaded(self) -> list[str]:
        """Return what the page has fetched."""
        found: list[str] = self("return performance.getEntriesByType('resource').map(one => one.name)")
        return found

    def errors(self) -> list[Any]:
        """Return what the console says, since the page was opened."""
        return self.driver.get_log("browser")

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the viewport."""
        wide: int = self("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return wide


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A Chromium that is driven, or a skip that says how to get one."""
    chromium, driver = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver on PATH; Debian has both: apt install chromium chromium-driver")
    found = Browser(chromium, driver)
    yield found
    found.driver.quit()
