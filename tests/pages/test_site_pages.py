"""The site in a real browser: it opens from a disk, its search finds, and it fits a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rooflift as rl
from rooflift.site.build import site

ROOT = Path(__file__).parents[2]
RUN = f"runs/depthwise_conv2d/{rl.latest('depthwise_conv2d', root=ROOT).name}/index.html"


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("site")
    site(folder, root=ROOT)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("width", [375, 1280])
def test_no_page_scrolls_sideways_or_complains(browser: Any, pages: Path, width: int) -> None:
    operator = "operators/depthwise_conv2d.html"
    source = "sources/depthwise_conv2d/v1_grid.py.html"
    for page in ("index.html", "comparisons.html", "gpus.html", "runs/index.html", operator, RUN, source):
        browser.open(pages / page, width=width, dark=width == 375)
        assert browser.overflow() == 0, page
        assert browser.errors() == [], page
        assert all(name.startswith(pages.as_uri()) for name in browser.loaded()), page


@pytest.mark.slow
def test_the_search_finds_by_all_words_and_the_keyboard_opens_what_it_found(browser: Any, pages: Path) -> None:
    browser.open(pages / RUN)
    field = browser.find("#search")
    field.send_keys("depthwise v1_grid")
    assert " ".join(browser.texts("#found a")[0].split()).startswith("depthwise_conv2d v1_grid version Grid:")
    browser.press("ARROW_DOWN", "ENTER")
    assert browser.find("h1").text == "kernels/depthwise_conv2d/v1_grid.py"
    browser.find("#search").send_keys("no such thing")
    assert browser.texts("#found li") == ["nothing found"]
    browser.press("ESCAPE")
    assert browser.texts("#found li") == []


@pytest.mark.slow
def test_the_tables_of_the_site_sort_and_filter(browser: Any, pages: Path) -> None:
    browser.open(pages / "runs" / "index.html")
    browser.find("[aria-label='filter: Runs']").send_keys("softmax")
    assert all("softmax" in row for row in browser.texts("[aria-label='Runs'] tbody tr"))
    browser.open(pages / "index.html")
    browser.find("[aria-label='Operators'] th:nth-child(6) button").click()
    shares = [float(text) for text in browser.texts("[aria-label='Operators'] tbody td:nth-child(6)")]
    assert shares == sorted(shares)
    assert len(shares) > 5
