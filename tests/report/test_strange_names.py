"""Names of strangers in every place of a run: shown as they are, they break no report, page, figure or table."""

from __future__ import annotations

import csv
import io
import itertools
import re
import unicodedata
import xml.etree.ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from rooflift.analysis.predictions import judge
from rooflift.analysis.summary import summarize
from rooflift.cli.console import drawn
from rooflift.cli.layout import blocks
from rooflift.escape import code, emphasised, escaped, plain
from rooflift.report import cells
from rooflift.report.data import ReportData, report_data
from rooflift.report.html import write_page
from rooflift.report.markdown import write_report
from rooflift.report.pictures import draw
from rooflift.report.terminal import titled
from rooflift.rerender import bundle, rerender
from rooflift.runs.run import Run, read_run, to_frame
from rooflift.runs.verify import write_manifest
from rooflift.schema import CompiledRow, Manifest, ResolvedCase, SanitizerRecord

STRANGE = {
    "script": "<script>alert(1)</script>",
    "pipe": "a|b\\|c\\",
    "backticks": "`x` ``` `` y`",
    "newlines": "one\n\n# two\r\n- three\n```\n<b>\n",
    "link": "[a](javascript:alert(1)) ![b](javascript:b) [c]: http://d <javascript:e> [^1]",
    "template": "{{ 7*7 }} {% raw %}",
    "long": "long_name_" * 60,
    "direction": "\u202eteews\u202c \u05d0\u05d1 \u200f\u2067x\u2069",
    "terminal": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x08\x7f\x9b",
    "markup": "[red]x[/red] [link=http://y]z[/link]",
    "emphasis": "**b** *i* _j_ ~~k~~ $x$ __init__ 2*x*y",
    "entity": "&lt;script&gt; &#60;b&#62; &amp;",
    "quotes": '" onload="alert(1)" \' > </svg> ]]> <!-- --> %s',
    "mention": "@triton.jit by @someone",
    "heading": "# not a heading",
    "details": "</details></summary>",
}
EVERY_DAY = {"script", "pipe", "newlines", "terminal"}  # the others are rendered with --slow
MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {"<details>", "</details>", "<summary>", "</summary>"}


def shown(text: str) -> str:
    """A strange text as a reader sees it, wherever it stands."""
    return " ".join(plain(text).split())


@pytest.fixture(scope="module")
def strangely(h100: Run) -> Callable[[str], tuple[Manifest, dict[str, Any]]]:
    """Return a function: the H100 run with a text wherever a stranger may write, as manifest and tables."""

    def rename(text: str) -> tuple[Manifest, dict[str, Any]]:
        old = h100.manifest
        names = {version.version: f"v{place}_{text}" for place, version in enumerate(old.versions)}
        versions = [
            msgspec.structs.replace(v, version=names[v.version], title=text, stage=text, change=text, why=text)
            for v in old.versions
        ]
        cases = [msgspec.structs.replace(case, case=text, bytes_source=text) for case in old.cases]
        cases.append(msgspec.structs.replace(old.cases[0], case=text, dtype="float16", init={text: text}))
        clean = SanitizerRecord("memcheck", text, [text], ["float32"], ["k"], 1, 0, text)
        manifest = msgspec.structs.replace(
            old,
            operator=text,
            name=text,
            command=["rooflift", "profile", text],
            notes=[text, text],
            machine=msgspec.structs.replace(old.machine, gpu=text, torch=text),
            versions=versions,
            cases=cases,
            checks=[msgspec.structs.replace(c, version=names[c.version], case=text) for c in old.checks],
            sanitizer=[clean],
        )
        frames = {
            "metrics": h100.metrics.assign(version=h100.metrics["version"].map(names), case=text, kernel=text),
            "timings": h100.timings.assign(provider=h100.timings["provider"].replace(names), case=text),
            "samples": h100.samples.assign(provider=h100.samples["provider"].replace(names), case=text),
            "compiled": to_frame(
                [CompiledRow(names["v0_baseline"], text, "float32", "sm_90", text, 40, 0, 0, 1024, 75.0, text)],
                CompiledRow,
            ),
        }
        return manifest, frames

    return rename


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[] if name in EVERY_DAY else [pytest.mark.slow]) for name in STRANGE],
)
def told(
    request: pytest.FixtureRequest, h100: Run, strangely: Any, tmp_path_factory: Any
) -> tuple[str, ReportData, Path]:
    """A strange text, the story that is full of it, and the folder in which it is told."""
    text = STRANGE[request.param]
    manifest, frames = strangely(text)
    story = report_data(manifest, frames["metrics"], frames["timings"], frames["compiled"], frames["samples"])
    assert set(story.judged["verdict"]) <= {"not judged: this run has no main"}  # no case is called main here
    judged = judge(h100.manifest, summarize(h100.manifest, h100.metrics, h100.timings))
    names = {old.version: new.version for old, new in zip(h100.manifest.versions, manifest.versions, strict=True)}
    story = replace(story, judged=judged.assign(version=judged["version"].map(names), prediction=text))
    folder = tmp_path_factory.mktemp("told")
    draw(story, folder)
    write_report(story, folder)
    write_page(story, folder)
    return text, story, folder


def tokens(text: str) -> Iterator[Token]:
    for token in MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def visible(text: str) -> str:
    """All that a reader of Markdown sees, white space as one space."""
    words = [token.content for token in tokens(text) if token.type in ("text", "code_inline", "fence", "softbreak")]
    return " ".join("".join(words).replace("\u2060", "").split())


def bare(text: str) -> str:
    """A text without white space, which Markdown may fold, and without backticks, which may be marks of code."""
    return "".join(text.replace("`", "").split())


def test_report_shows_it_and_holds_no_markup_of_its_own(told: tuple[str, ReportData, Path]) -> None:
    text, _, folder = told
    report = (folder / "report.md").read_text(encoding="utf-8")
    found = list(tokens(report))
    kinds = {token.type for token in found}
    assert not kinds & {"link_open", "html_inline", "s_open", "em_open", "lheading_open"}
    html = re.findall(r"<[^>]*>", "".join(token.content for token in found if token.type == "html_block"))
    assert set(html) <= OURS
    assert [token.attrs["src"] for token in found if token.type == "image"] == [
        *("progress.svg", "roofline.svg", "bottleneck.svg", "stalls.svg")
    ]
    headings = [token for token in found if token.type == "heading_open"]
    assert len(headings) == report.count("\n#") + 1 <= 16
    assert sum(token.type == "fence" for token in found) == 1
    assert bare(shown(text)) in bare(visible(report))
    assert len(report) < 65_536
    assert not [sign for sign in report if unicodedata.category(sign) in ("Cc", "Cf") and sign not in "\n\u2060"]
    assert not [token for token in found if token.type == "text" and re.search(r"(?<!\w)@\w", token.content)]


def test_tables_of_the_report_keep_their_columns(told: tuple[str, ReportData, Path]) -> None:
    _, story, folder = told
    widths: list[list[int]] = []
    for token in tokens((folder / "report.md").read_text(encoding="utf-8")):
        if token.type == "table_open":
            widths.append([])
        elif token.type == "tr_open":
            widths[-1].append(0)
        elif token.type in ("th_open", "td_open"):
            widths[-1][-1] += 1
    assert len(widths) >= 8
    assert all(len(set(table)) == 1 for table in widths)
    assert story.comparison is not None
    assert len(widths[0]) == 1 + len(story.comparison.cases)
    lines = (folder / "report.md").read_text(encoding="utf-8").splitlines()
    for line, rule in itertools.pairwise(lines):  # a parser cuts off what is too long
        if set(rule) == set("|-: "):
            assert len(re.findall(r"(?<!\\)\|", line)) == rule.count("|")


class Page(HTMLParser):
    """The elements of a page and its texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_shows_it_and_has_no_script_but_its_own(told: tuple[str, ReportData, Path]) -> None:
    text, _, folder = told
    page = Page()
    page.feed((folder / "report.html").read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    assert page.tags.count("script") == 1
    assert page.tags.count("svg") == 4
    assert not {"iframe", "object", "embed", "img", "link", "form", "input", "base", "b"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name in ("src", "href") and not value.startswith("#")]
    said = " ".join("".join(page.words).split())
    assert shown(text).replace("**", "") in said.replace("**", "")
    assert not [sign for sign in said if unicodedata.category(sign) in ("Cc", "Cf")]


def test_figures_are_sound_and_show_its_beginning(told: tuple[str, ReportData, Path]) -> None:
    text, _, folder = told
    for path in folder.glob("*.svg"):
        root = xml.etree.ElementTree.parse(path).getroot()
        assert {element.tag.rpartition("}")[2] for element in root.iter()} & {"script", "a", "foreignObject"} == set()
        words = " ".join("".join(root.itertext()).split())
        assert shown(text)[:12].replace("_", " ") in words.replace("_", " ")


def test_terminal_is_told_the_text_and_nothing_to_do(told: tuple[str, ReportData, Path]) -> None:
    text, story, _ = told
    console = Console(file=io.StringIO(), width=2000, force_terminal=True, color_system="truecolor", highlight=False)
    for block in blocks(titled("summary", story.main, text), 2000):
        console.print(drawn(block))
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert set(re.findall(r"\x1b[^m]*m", said)) <= {"\x1b[1m", "\x1b[0m"}  # bold, for title and headings
    bare = re.sub(r"\x1b\[[01]m", "", said)
    assert not [sign for sign in bare if unicodedata.category(sign) in ("Cc", "Cf") and sign != "\n"]
    assert shown(text) in " ".join(bare.split())


@pytest.mark.parametrize(
    "text",
    [pytest.param(t, id=name, marks=[] if name in EVERY_DAY else [pytest.mark.slow]) for name, t in STRANGE.items()],
)
def test_run_with_such_names_is_stored_and_told_again(
    strangely: Any, h100_run: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, frames = strangely(text)
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("metrics", "timings", "compiled"):
        frames[name].to_csv(folder / f"{name}.csv", index=False)
    frames["samples"].to_parquet(folder / "samples.parquet", index=False)
    # names that lead to files are checked when they are read
    plain_names = {"operator": "strange", "ladder": "", "name": "run", "created": "2026-11-22T08:40:49Z"}
    write_manifest(folder, msgspec.structs.replace(manifest, **plain_names))
    run = read_run(folder)
    assert run.manifest.versions == manifest.versions
    pd.testing.assert_frame_equal(run.metrics, frames["metrics"].reset_index(drop=True), check_dtype=False)
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {len(frames["metrics"].columns)}
    monkeypatch.setattr("rooflift.rerender.draw", lambda *_, **__: [])  # drawn above
    again = rerender(run, tmp_path / "told", page=True)
    assert bundle(run, tmp_path / "told", again.written).stat().st_size > 10_000


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("`*_[]()<>!|\\&;#@~$ ab\n-", max_size=25)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_is_one_paragraph_of_text_in_markdown(text: str) -> None:
    found = list(tokens(f"x {escaped(text)} y"))
    assert {token.type for token in found} <= {"paragraph_open", "paragraph_close", "inline", "text", "code_inline"}
    assert bare(visible(f"x {escaped(text)} y")) == bare(f"x {shown(text)} y")


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS)
def test_any_text_is_one_cell_of_a_table(one: str, other: str) -> None:
    written = cells.markdown(cells.table(pd.DataFrame({"a": [one], "b": [other]}), map(cells.words, "ab")))
    kinds = [token.type for token in tokens(written)]
    assert kinds.count("tr_open") == kinds.count("th_open") == kinds.count("td_open") == 2
    assert "link_open" not in kinds
    assert not {"html_inline", "html_block", "image"} & set(kinds)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_any_text_is_one_code_span(text: str) -> None:
    found = [token for token in tokens(f"x {code('a' + text)} y") if token.type in ("code_inline", "html_inline")]
    assert [" ".join(token.content.split()) for token in found] == [shown("a" + text)]


def test_bold_parts_stay_bold_and_an_odd_mark_is_a_sign() -> None:
    assert emphasised("**v1_a|b** is <b>faster</b>") == "**v1_a\\|b** is \\<b>faster\\</b>"
    assert emphasised("2 ** 3") == "2 \\*\\* 3"


def test_case_record_fields_are_those_that_are_renamed() -> None:
    """A new text field of a case has to be renamed above."""
    texts = [field.name for field in msgspec.structs.fields(ResolvedCase) if field.type is str]
    assert texts == ["case", "dtype", "flop_source", "bytes_source"]
