"""report.html in a real browser: it opens, sorts, filters, answers where one points, and leads to a version."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import rooflift as rl

ROOT = Path(__file__).parents[2]
LADDER = max(ROOT.glob("reports/*/*/metrics.csv"), key=lambda path: len(rl.open(path.parent).versions)).parent
SAMPLED = ROOT / "tests" / "fixtures" / "h100_source"


def page_of(run: Path, folder: Path) -> Path:
    rl.open(run, root=ROOT).report(folder)
    return folder / "report.html"


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: Any) -> Path:
    return page_of(SAMPLED, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def long_page(browser: Any, tmp_path_factory: Any) -> Path:
    return page_of(LADDER, tmp_path_factory.mktemp("long"))


def test_the_page_opens_without_errors_and_answers_where_one_points(browser: Any, page: Path) -> None:
    browser.open(page)
    assert browser.find("#tip").text == ""
    browser.point("[id='progress.progress-1'] .hit")
    said = browser.find("#tip").text
    assert said.startswith("v7_sectors Sectors: a row of results is stored as one tensor")
    for part in ("726.8 µs", "0.7193x (0.7187 to 0.7200) faster", "excess_traffic < 1.05", "one store of VEC columns"):
        assert part in said
    browser.find("[id='progress.progress-1'] .hit").click()
    assert browser.find("#version-1").get_attribute("open") == "true"
    assert browser("return document.activeElement.parentElement.id") == "version-1"
    assert not browser.find("#tip").is_displayed()
    assert browser.errors() == []
    assert browser.loaded() == []


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_no_page_scrolls_sideways(browser: Any, page: Path, long_page: Path, width: int, dark: bool) -> None:
    for one in (page, long_page):
        browser.open(one, width=width, dark=dark)
        browser("for (const one of document.querySelectorAll('details')) one.open = true")
        assert browser.overflow() == 0
        assert browser.errors() == []


@pytest.mark.slow
def test_texts_stand_out_on_a_light_and_a_dark_page(browser: Any, page: Path) -> None:
    for dark in (False, True):
        browser.open(page, dark=dark)
        browser("for (const one of document.querySelectorAll('details')) one.open = true")
        assert (luminance(browser, "body", "backgroundColor") < 0.1) == dark
        for selector in (".soft", "td a", ".source b.k", ".source b.s", ".source b.n", ".source b.c", ".source b.f"):
            assert contrast(browser, selector) >= 4.5, (selector, dark)  # WCAG 2.2, 1.4.3
        assert (luminance(browser, "figure svg text", "fill") > 0.25) == dark


def luminance(browser: Any, selector: str, style: str) -> float:
    """Relative luminance of WCAG."""
    colour = browser(f"return getComputedStyle(document.querySelector(arguments[0])).{style}", selector)
    shares = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(browser: Any, selector: str) -> float:
    one, other = luminance(browser, selector, "color"), luminance(browser, "body", "backgroundColor")
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


@pytest.mark.slow
def test_a_heading_sorts_by_number_up_and_down_and_a_third_click_restores_the_order(
    browser: Any, long_page: Path
) -> None:
    browser.open(long_page)
    table = "[aria-label^='Versions on']"
    before = browser.texts(f"{table} tbody td:first-child")
    assert len(before) > 8
    button = browser.find(f"{table} th:nth-child(2) button")
    button.click()
    keys = [float(key) for key in browser(KEYS, table)]
    assert keys == sorted(keys)
    assert browser.find(f"{table} th:nth-child(2)").get_attribute("aria-sort") == "ascending"
    button.click()
    assert [float(key) for key in browser(KEYS, table)] == sorted(keys, reverse=True)
    button.click()
    assert browser.texts(f"{table} tbody td:first-child") == before


KEYS = "return [...document.querySelectorAll(`${arguments[0]} tbody td:nth-child(2)`)].map(one => one.dataset.key)"


@pytest.mark.slow
def test_a_filter_leaves_the_rows_with_all_words_and_says_how_many(browser: Any, long_page: Path) -> None:
    browser.open(long_page)
    field = browser.find("[aria-label='filter: Predictions']")
    rows = "[aria-label='Predictions'] tbody tr"
    every = browser.texts(rows)
    field.send_keys("v7 dram")
    left = browser.texts(rows)
    assert left == [row for row in every if "v7" in row and "dram" in row]
    assert 0 < len(left) < len(every)
    assert browser.find(".filter:has([aria-label='filter: Predictions']) [role=status]").text == (
        f"{len(left)} of {len(every)} rows"
    )


@pytest.mark.slow
def test_the_roofline_answers_and_the_keyboard_walks_along_it(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.point("[id='roofline.roofline-0-L2'] .hit")
    assert browser.find("#tip").text.startswith("v1_grid")
    browser('document.querySelector(\'.points:has([id^="roofline."]) [tabindex="0"]\').focus()')
    browser.press("ARROW_DOWN", "ARROW_DOWN")
    assert browser.find("#tip").text.startswith("v10_shapes")
    browser.press("ESCAPE")
    assert not browser.find("#tip").is_displayed()
    browser.press("ENTER")
    assert browser.find("#version-2").get_attribute("open") == "true"


@pytest.mark.slow
def test_what_answers_has_no_controls_and_stays_in_the_window(browser: Any, long_page: Path) -> None:
    browser.open(long_page)
    browser("""
        for (const facts of document.querySelectorAll(".facts")) {
            facts.prepend(Object.assign(document.createElement("div"), { className: "filter", innerHTML: "<input>" }));
        }
    """)
    for place in (0, 5, 9):
        browser.point(f"[id='progress.progress-{place}'] .hit")
        assert browser("return document.querySelectorAll('#tip input, #tip button, #tip [tabindex]').length") == 0
        top, bottom, height = browser(WINDOW)
        assert 0 <= top < bottom <= height


WINDOW = "const at = document.getElementById('tip').getBoundingClientRect(); return [at.top, at.bottom, innerHeight]"


@pytest.mark.slow
def test_a_hot_line_leads_to_its_source_which_unfolds_to_its_instructions(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.find("[aria-label^='Versions on'] tbody tr:nth-child(2) a").click()
    browser.find("[aria-label='Hot lines of v7_sectors'] tbody a").click()
    row = browser.find(":target")
    assert row.get_attribute("id") == "version-1-v7_sectors.py-94"
    assert " ".join(row.text.split()).startswith("94 64.7 % acc = tl.fma(")
    row.find_element("css selector", "summary").click()
    assert "FFMA R24, R0, R24, RZ" in row.text
    assert browser.find("#version-1 pre.diff ins").get_attribute("textContent").startswith('+"""Sectors')


@pytest.mark.slow
def test_every_control_has_a_name_and_every_mark_a_role(browser: Any, page: Path) -> None:
    browser.open(page)
    assert browser(NAMELESS) == []
    names = browser("return [...document.querySelectorAll('.points [role=link]')].map(one => one.ariaLabel)")
    assert sorted(names) == sorted(2 * [f"{v}: open its section" for v in ("v1_grid", "v7_sectors", "v10_shapes")])
    assert browser("return document.querySelectorAll('.points [tabindex=\"0\"]').length") == 2  # one stop a figure


NAMELESS = """
return [...document.querySelectorAll("button, a, input, [role=region], figure")]
  .filter(one => !one.textContent.trim() && !one.ariaLabel).map(one => one.outerHTML)
"""
