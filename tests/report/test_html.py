"""report.html: one file that fetches nothing, escapes everything, and sorts by numbers."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from rooflift.report.data import ReportData, report_data
from rooflift.report.html import strong, write_page
from rooflift.report.pictures import draw
from rooflift.runs.run import Run

VOID = {"meta", "br", "link", "img"}


class Reader(HTMLParser):
    """The elements of a page, with a check that every one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(h100: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    story = report_data(h100.manifest, h100.metrics, h100.timings, h100.compiled, h100.samples)
    draw(story, folder)
    return write_page(story, folder)


def test_page_fetches_nothing_and_holds_its_figures(page: Path) -> None:
    seen = read(page).seen
    tags = [tag for tag, _ in seen]
    assert tags.count("svg") == tags.count("figure") == 4
    assert not {"img", "link", "iframe", "object"} & set(tags)
    for tag, attributes in seen:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#"), (tag, attributes)
    text = page.read_text()
    assert not re.findall(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", text)


def test_the_policy_lets_nothing_run_but_the_page_s_own_script(page: Path) -> None:
    text = page.read_text()
    script = text.split("<script>")[1].split("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-"
    assert f"{allowed}{digest}'" in html.unescape(text)


def test_page_has_both_themes(page: Path) -> None:
    text = page.read_text()
    assert "prefers-color-scheme: dark" in text
    assert "color-scheme: light dark" in text


def test_page_says_what_the_report_says(page: Path) -> None:
    text = " ".join("".join(read(page).text).split())
    for part in ("v1_grid is faster than v0_baseline.", "0.5018x (0.5017 to 0.5019) the time"):
        assert part in text
    for part in ("Predictions", "time_x 0.40..0.55", "580.159.04", "$ rooflift profile"):
        assert part in text


def test_figures_stand_behind_the_table_of_the_versions(page: Path) -> None:
    text = page.read_text()
    assert text.index("<h2>Versions on") < text.index("<figure") < text.index("<h2>Predictions")


def test_every_heading_of_a_table_is_a_button(page: Path) -> None:
    headings = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", page.read_text())
    named = [heading for heading in headings if heading]
    assert len(named) > 20
    assert all(re.fullmatch(r'<button type="button">[^<]+</button>', heading) for heading in named)


def test_texts_of_a_run_are_escaped(told_with: Callable[..., ReportData], h100: Run, tmp_path: Path) -> None:
    evil = '<script>alert("x")</script> & **bold**'
    manifest = msgspec.structs.replace(h100.manifest, notes=[evil], command=["rooflift", evil], operator="<b>")
    story = report_data(manifest, h100.metrics, h100.timings.assign(provider=evil), h100.compiled)
    reader = read(write_page(story, tmp_path))
    assert [tag for tag, _ in reader.seen].count("script") == 1  # the page's own
    assert "".join(reader.text).count('alert("x")') >= 3


def test_cells_sort_by_their_value_and_not_by_their_text(page: Path) -> None:
    texts = {text: key for key, text in re.findall(r'data-key="([^"]*)">([^<]*)</td>', page.read_text())}
    assert float(texts["1.011 ms"]) == pytest.approx(1011, abs=0.5)
    assert float(texts["\u2191 86"]) == pytest.approx(86.3, abs=0.1)
    assert '<td><a href="#version-1">v1_grid</a></td>' in page.read_text()  # without a key it sorts as the text it is


def test_bold_parts_are_elements_and_the_rest_is_escaped() -> None:
    assert str(strong("**a<b** & c")) == "<strong>a&lt;b</strong> &amp; c"
    assert str(strong("`<a>`, ` and **`b`**")) == "<code>&lt;a&gt;</code>, ` and <strong><code>b</code></strong>"
